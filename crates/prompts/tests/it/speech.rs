//! Output parsing: text, reasoning and tool calls are recognised, however the output is split into pieces.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::prompt::{Json, Tool, ToolKind};
use domain::{Event, PartKind, Prompt, Reason};
use prompts::{Begin, Ending, Form, ModelFormat, Offered, OutputParser};
use proptest::prelude::*;
use serde_json::{Value, json};

const TRANSCRIPTS: &str = include_str!("../fixtures/transcripts.txt");

/// A transcript: the model's output, its context, and the expected events.
#[derive(Debug, Clone, Default)]
struct Case {
    name: String,
    manner: ModelFormat,
    is_in_thought: bool,
    is_silent: bool,
    is_one: bool,
    is_cut: bool,
    stops: Vec<String>,
    output: String,
    means: String,
}

fn prompt(is_one: bool) -> Prompt {
    let (text, flag) = (json!({"type": "string"}), json!({"type": "boolean"}));
    let tools = [
        ("get_weather", json!({"city": text, "days": {"type": "integer"}})),
        ("run", json!({"command": text, "timeout": {"type": ["number", "null"]}, "background": flag})),
        ("write_file", json!({"path": text, "content": text})),
        ("edit", json!({"edits": {"type": "array"}, "options": {"type": "object"}})),
        ("list", json!({})),
    ];
    let tools = tools.map(|(name, properties)| {
        let schema = Some(Json(json!({"type": "object", "properties": properties}).to_string()));
        let kind = ToolKind::Function { name: name.to_owned(), description: None, schema, strict: None };
        Tool { kind, cache: None }
    });
    Prompt { tools: tools.into(), parallel_tools: is_one.then_some(false), ..Prompt::default() }
}

fn cases() -> Vec<Case> {
    let case = |text: &str| {
        let (name, rest) = text.split_once('\n').unwrap();
        let (how, rest) = rest.split_once("--- says\n").unwrap();
        let (output, means) = rest.split_once("--- means\n").unwrap();
        let has = |word: &str| how.split_whitespace().any(|flag| flag == word);
        let form = match how.split_whitespace().next().unwrap() {
            "json" => Some(Form::Json),
            "tagged" => Some(Form::Tagged),
            "none" => None,
            other => panic!("{name}: {other}"),
        };
        let stops = how.split("stop=\"").skip(1).map(|stop| stop.split('"').next().unwrap().to_owned());
        Case {
            name: name.to_owned(),
            manner: ModelFormat { form, thinks: has("thinks"), has_thinking_switch: false },
            is_in_thought: has("opened"),
            is_silent: has("silent"),
            is_one: has("one"),
            is_cut: has("length"),
            stops: stops.collect(),
            output: output.strip_suffix('\n').unwrap_or(output).to_owned(),
            means: means.to_owned(),
        }
    };
    TRANSCRIPTS.split("\n=== ").skip(1).map(case).collect()
}

/// All events for output that arrives in these pieces.
fn events<'a>(case: &Case, pieces: impl IntoIterator<Item = &'a str>) -> Vec<Event> {
    let offered = if case.is_silent { Offered::default() } else { Offered::of(&prompt(case.is_one)) };
    let mut calls = 0;
    let new_id = move || {
        calls += 1;
        format!("call_{calls}")
    };
    let mut speech = OutputParser::new(Begin {
        choice: 3,
        manner: case.manner,
        offered: Arc::new(offered),
        is_in_thought: case.is_in_thought,
        stops: case.stops.clone(),
        new_id: Box::new(new_id),
    });
    let mut out = Vec::new();
    for piece in pieces {
        speech.push(piece, &mut out);
    }
    speech.end(if case.is_cut { Ending::Length } else { Ending::Own }, &mut out);
    out
}

/// The events, part by part, in the notation of the transcripts. Checks that parts don't overlap and are in
/// order.
fn transcript(events: &[Event]) -> String {
    let mut parts: BTreeMap<u32, (PartKind, String)> = BTreeMap::new();
    let (mut open, mut end) = (None, None);
    for event in events {
        assert!(end.is_none(), "something is told behind the end");
        match event {
            Event::Begin { choice: 3, part, kind } => {
                assert_eq!((open, *part as usize), (None, parts.len()));
                open = Some(*part);
                parts.insert(*part, (kind.clone(), String::new()));
            }
            Event::Delta { choice: 3, part, text } => {
                assert!(open == Some(*part) && !text.is_empty());
                parts.get_mut(part).unwrap().1.push_str(text);
            }
            Event::End { choice: 3, part } => assert_eq!(open.take(), Some(*part)),
            Event::Finish { choice: 3, finish } => end = Some(finish.clone()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(open, None);
    let mut calls = 0;
    let line = |(kind, text): &(PartKind, String)| match kind {
        PartKind::Text => format!("text {}\n", json!(text)),
        PartKind::Thought { is_summary: false, id: None } => format!("thought {}\n", json!(text)),
        PartKind::Call { id, name, is_custom: false } => {
            calls += 1;
            assert_eq!(id, &format!("call_{calls}"));
            // Editors would strip a trailing space.
            let text = text.strip_suffix(' ').map_or_else(|| text.clone(), |text| format!("{text}·"));
            format!("call {name} {text}\n")
        }
        other => panic!("{other:?}"),
    };
    let mut out: String = parts.values().map(line).collect();
    let end = end.unwrap();
    out.push_str(&match end.reason {
        Reason::Stop => "ends stop\n".to_owned(),
        Reason::Calls => "ends calls\n".to_owned(),
        Reason::Length => "ends length\n".to_owned(),
        Reason::MalformedCall => "ends malformed\n".to_owned(),
        Reason::StopSequence => format!("ends stopped by {}\n", json!(end.sequence)),
        other => panic!("{other:?}"),
    });
    out
}

fn characters(text: &str) -> Vec<&str> {
    text.split_inclusive(|_: char| true).collect()
}

#[test]
fn transcripts_are_told_as_they_are_meant() {
    let cases = cases();
    assert!(cases.len() >= 60, "{}", cases.len());
    for case in &cases {
        let transcript = transcript(&events(case, [case.output.as_str()]));
        let means = case.means.trim_end_matches('\n');
        assert_eq!(transcript.trim_end_matches('\n'), means, "{}:\n{}", case.name, case.output);
        // The arguments of tool calls are valid JSON, unless the finish reason says otherwise.
        if transcript.ends_with("ends calls\n") {
            for call in transcript.lines().filter(|line| line.starts_with("call ")) {
                let arguments = call.splitn(3, ' ').nth(2).unwrap();
                assert!(serde_json::from_str::<Value>(arguments).unwrap().is_object(), "{call}");
            }
        }
    }
}

#[test]
fn the_same_is_told_however_a_transcript_is_cut() {
    for case in cases() {
        let whole = transcript(&events(&case, [case.output.as_str()]));
        for at in (0..=case.output.len()).filter(|at| case.output.is_char_boundary(*at)) {
            let (one, other) = case.output.split_at(at);
            assert_eq!(transcript(&events(&case, [one, other])), whole, "{}, cut at {at}", case.name);
        }
        let in_characters = transcript(&events(&case, characters(&case.output)));
        assert_eq!(in_characters, whole, "{}, in characters", case.name);
    }
}

#[test]
fn names_and_arguments_are_told_as_soon_as_they_are_known() {
    let at_first = |case: &Case, text: &str| {
        let mut out = events(&Case { is_cut: true, ..case.clone() }, [text]);
        out.truncate(out.iter().position(|event| matches!(event, Event::End { .. })).unwrap());
        out.into_iter()
            .map(|event| match event {
                Event::Begin { kind: PartKind::Call { name, .. }, .. } => name,
                Event::Delta { text, .. } => text,
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    let manner =
        |form| Case { manner: ModelFormat { form: Some(form), ..ModelFormat::default() }, ..Case::default() };
    let named = manner(Form::Json);
    assert_eq!(at_first(&named, "<tool_call>{\"name\": \"run\""), ["run"]);
    let begun = r#"<tool_call>{"name": "run", "arguments": {"command": "ls -"#;
    assert_eq!(at_first(&named, begun), ["run", r#"{"command": "ls -"#]);
    let tagged = manner(Form::Tagged);
    assert_eq!(at_first(&tagged, "<tool_call>\n<function=run>\n<parameter="), ["run"]);
    let begun = at_first(&tagged, "<function=run>\n<parameter=command>\nls \"-l\"\n");
    assert_eq!(begun, ["run", r#"{"command": "ls \"-l\""#]);
}

#[test]
fn a_template_shows_how_its_model_calls() {
    let manner = |form, thinks, has_thinking_switch| ModelFormat { form, thinks, has_thinking_switch };
    let tagged = ModelFormat::of("{{ '<tool_call>' }} {{ '<function=' }}");
    assert_eq!(tagged, manner(Some(Form::Tagged), false, false));
    let qwen = "<tool_call> <think> enable_thinking";
    assert_eq!(ModelFormat::of(qwen), manner(Some(Form::Json), true, true));
    assert_eq!(ModelFormat::of("<|im_start|>"), ModelFormat::default());
    assert!(ModelFormat::of(qwen).is_in_thought("<|im_start|>assistant\n<think>\n"));
    assert!(!ModelFormat::of(qwen).is_in_thought("<|im_start|>assistant\n<think>\n\n</think>\n\n"));
    assert!(!ModelFormat::default().is_in_thought("<think>"));
}

/// Markup, fragments of it and text around it, in any order.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => proptest::sample::select(vec![
            "<think>", "</think>", "<tool_call>", "</tool_call>", "<function=", "<function=run>", "<function=list>", "<function=fly>",
            "<function=\nrun>", "run>", "<parameter=\ncommand>", "command>", "</function>", "<parameter=", "<parameter=command>", "<parameter=timeout>", "</parameter>", "{\"name\": \"run\"",
            "{\"name\": \"fly\", ", "\"arguments\": {", "\"command\": \"", "\"", "}", "}}", ",", "\n", "\n\n", " ", "<", ">", "</", "[",
            "]", "\\", "\\u12", "\\ud800", "'", "null", "True", "12", "END",
        ]).prop_map(str::to_owned),
        1 => ".{0,6}",
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn any_case() -> impl Strategy<Value = Case> {
    let form = proptest::sample::select(vec![Some(Form::Json), Some(Form::Tagged), None]);
    let stops = proptest::sample::select(vec![
        vec![],
        vec!["END".to_owned()],
        vec!["\n\n".to_owned(), "D".to_owned()],
    ]);
    (soup(), form, any::<[bool; 5]>(), stops).prop_map(
        |(output, form, [thinks, opened, silent, one, cut], stops)| Case {
            manner: ModelFormat { form, thinks, has_thinking_switch: false },
            is_in_thought: thinks && opened,
            is_silent: silent,
            is_one: one,
            is_cut: cut,
            stops,
            output,
            ..Case::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_same_is_told_of_anything_however_it_is_cut(case in any_case(), size in 1usize..12) {
        let whole = transcript(&events(&case, [case.output.as_str()]));
        let characters = characters(&case.output);
        prop_assert_eq!(&transcript(&events(&case, characters.iter().copied())), &whole);
        let pieces: Vec<String> = characters.chunks(size).map(|piece| piece.concat()).collect();
        prop_assert_eq!(&transcript(&events(&case, pieces.iter().map(String::as_str))), &whole);
    }

    #[test]
    fn nothing_is_lost_of_what_is_text(case in any_case()) {
        let case = Case { is_silent: true, manner: ModelFormat::default(), is_in_thought: false, stops: vec![], ..case };
        let mut out = String::new();
        for event in events(&case, characters(&case.output)) {
            if let Event::Delta { text, .. } = event {
                out.push_str(&text);
            }
        }
        prop_assert_eq!(out, case.output);
    }

    #[test]
    fn text_among_signs_is_neither_lost_nor_mixed_up(words in proptest::collection::vec("[a-z]{1,5}", 1..6), has_calls in any::<bool>()) {
        let call = "<tool_call>\n{\"name\": \"list\", \"arguments\": {}}\n</tool_call>";
        let case = Case {
            manner: ModelFormat { form: Some(Form::Json), ..ModelFormat::default() },
            output: words.join(if has_calls { call } else { " <tool_cal " }),
            ..Case::default()
        };
        let transcript = transcript(&events(&case, characters(&case.output)));
        let texts: Vec<String> = transcript.lines().filter_map(|line| line.strip_prefix("text ")).map(str::to_owned).collect();
        if has_calls {
            prop_assert_eq!(texts, words.iter().map(|word| json!(word).to_string()).collect::<Vec<_>>());
            prop_assert_eq!(transcript.matches("call list {}").count(), words.len() - 1);
        } else {
            prop_assert_eq!(texts, [json!(case.output).to_string()]);
        }
    }

    #[test]
    fn what_ends_in_calls_has_calls_that_can_be_read(case in any_case()) {
        let transcript = transcript(&events(&case, [case.output.as_str()]));
        if transcript.ends_with("ends calls\n") {
            for call in transcript.lines().filter(|line| line.starts_with("call ")) {
                let arguments = call.splitn(3, ' ').nth(2).unwrap();
                prop_assert!(serde_json::from_str::<Value>(arguments).is_ok(), "{}", call);
            }
        }
    }
}
