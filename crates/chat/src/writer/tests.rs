//! Tests the written answers byte for byte, and that they read back.

use conversation::answer::ReadAnswer;
use domain::prompt::Json;
use domain::{Usage, UsageSource};
use proptest::prelude::*;

use super::*;
use crate::Reader;

fn wish(usage: bool) -> AnswerOptions {
    AnswerOptions {
        usage,
        model: "alias".to_owned(),
        trace: Some(TraceId::new(1_700_000_000_000, [7; 10])),
        is_named_by_trace: false,
        created_unix_s: 9,
        constraints: conversation::constraints::AnswerConstraints::default(),
        is_same_dialect: false,
        estimator: None,
        guard: None,
    }
}

fn start() -> Event {
    Event::Start { id: Some("msg_1".to_owned()), model: Some("m".to_owned()), created_unix_s: Some(5) }
}

fn begin(part: u32, kind: PartKind) -> Event {
    Event::Begin { choice: 0, part, kind }
}

fn delta(part: u32, text: &str) -> Event {
    Event::Delta { choice: 0, part, text: text.to_owned() }
}

fn end(part: u32) -> Event {
    Event::End { choice: 0, part }
}

fn finish(reason: Reason) -> Event {
    Event::Finish { choice: 0, finish: Finish::of(reason) }
}

fn call(id: &str, is_custom: bool) -> PartKind {
    PartKind::Call { id: id.to_owned(), name: "f".to_owned(), is_custom }
}

fn used() -> Usage {
    Usage {
        input: 3,
        cached_read: 2,
        output: 4,
        reasoning: 1,
        source: UsageSource::Provider,
        ..Usage::default()
    }
}

fn write(wish: AnswerOptions, events: Vec<Event>) -> String {
    let mut writer = Writer::new(wish);
    let mut out = Vec::new();
    events.into_iter().for_each(|event| writer.event(event, &mut out));
    String::from_utf8(out).unwrap()
}

/// The choices of each chunk, without the fields that all chunks repeat.
#[track_caller]
fn choices(events: Vec<Event>) -> Vec<String> {
    let head = r#"data: {"id":"chatcmpl-msg_1","object":"chat.completion.chunk","created":5,"model":"m","choices":["#;
    let mut all = vec![start()];
    all.extend(events);
    let text = write(wish(false), all);
    let frames = text.split("\n\n").filter(|frame| !frame.is_empty());
    frames.map(|frame| frame.strip_prefix(head).unwrap_or(frame).trim_end_matches("]}").to_owned()).collect()
}

fn choice(delta: &str) -> String {
    format!(r#"{{"index":0,"delta":{delta},"finish_reason":null,"logprobs":null}}"#)
}

fn ended(word: &str) -> String {
    format!(r#"{{"index":0,"delta":{{}},"finish_reason":"{word}","logprobs":null}}"#)
}

#[test]
fn a_stream_is_the_sequence_that_sdks_read() {
    let events = vec![
        begin(0, PartKind::Text),
        delta(0, "Hi"),
        delta(0, ""),
        end(0),
        begin(1, call("a", false)),
        begin(2, call("b", false)),
        delta(1, "{\"x\":"),
        delta(2, "{}"),
        delta(1, "1}"),
        end(1),
        end(2),
        finish(Reason::Calls),
        Event::Usage(used()),
        Event::Done,
    ];
    let expected = [
        choice(r#"{"role":"assistant","content":""}"#),
        choice(r#"{"content":"Hi"}"#),
        choice(
            r#"{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}"#,
        ),
        choice(
            r#"{"tool_calls":[{"index":1,"id":"b","type":"function","function":{"name":"f","arguments":""}}]}"#,
        ),
        choice(r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":"}}]}"#),
        choice(r#"{"tool_calls":[{"index":1,"function":{"arguments":"{}"}}]}"#),
        choice(r#"{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}"#),
        ended("tool_calls"),
        "data: [DONE]".to_owned(),
    ];
    assert_eq!(choices(events), expected);
}

#[test]
fn usage_is_told_where_it_was_asked_for_and_null_before() {
    let events = vec![
        start(),
        begin(0, PartKind::Text),
        end(0),
        finish(Reason::Stop),
        Event::Usage(used()),
        Event::Done,
    ];
    let text = write(wish(true), events);
    assert_eq!(text.matches(r#""usage":null"#).count(), 2);
    let usage = r#""choices":[],"usage":{"prompt_tokens":5,"completion_tokens":5,"total_tokens":10,"prompt_tokens_details":{"cached_tokens":2,"cache_write_tokens":0},"completion_tokens_details":{"reasoning_tokens":1}}}"#;
    assert!(text.contains(usage), "{text}");
    assert!(text.ends_with("data: [DONE]\n\n"));
}

#[test]
fn what_the_upstream_left_out_is_the_exchanges_own() {
    let start = Event::Start { id: None, model: None, created_unix_s: None };
    let text = write(wish(false), vec![start.clone(), begin(0, call("", false)), end(0)]);
    let trace = wish(false).trace.unwrap().to_string();
    let hex = trace.strip_prefix("trc_").unwrap();
    assert!(text.starts_with(&format!(
        r#"data: {{"id":"chatcmpl-{hex}","object":"chat.completion.chunk","created":9,"model":"alias","#
    )));
    assert!(text.contains(&format!(r#""id":"call_{hex}_0_0""#)), "{text}");
    // A call without arguments gets an empty object, not an empty string.
    assert!(text.contains(r#"{"index":0,"function":{"arguments":"{}"}}"#), "{text}");
    let body = Writer::new(wish(false)).write_buffered(vec![
        start,
        begin(0, call("", false)),
        end(0),
        finish(Reason::Calls),
    ]);
    let body = String::from_utf8(body).unwrap();
    assert!(
        body.contains(&format!(
            r#""id":"call_{hex}_0_0","type":"function","function":{{"name":"f","arguments":"{{}}"}}"#
        )),
        "{body}"
    );
}

#[test]
fn thoughts_and_pictures_have_the_fields_that_clients_look_for() {
    let picture = PartKind::Image { media_type: "image/png".to_owned(), base64: "AA==".to_owned() };
    let events = vec![
        begin(0, PartKind::Thought { is_summary: true, id: None }),
        delta(0, "hm"),
        end(0),
        begin(1, PartKind::Text),
        delta(1, "see"),
        end(1),
        begin(2, picture),
        end(2),
        finish(Reason::Stop),
    ];
    let images = r#""images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}]"#;
    let expected = [
        choice(r#"{"role":"assistant","content":""}"#),
        choice(r#"{"reasoning_content":"hm"}"#),
        choice(r#"{"content":"see"}"#),
        choice(&format!("{{{images}}}")),
        ended("stop"),
    ];
    assert_eq!(choices(events.clone()), expected);
    let body = String::from_utf8(Writer::new(wish(false)).write_buffered(events)).unwrap();
    let message = format!(
        r#""message":{{"role":"assistant","content":"see","refusal":null,"reasoning_content":"hm",{images}}}"#
    );
    assert!(body.contains(&message), "{body}");
    // A client that sends the message back sends the picture, too.
    let request = format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":"q"}},{{"role":"assistant","content":"see",{images}}}]}}"#
    );
    let prompt = crate::read_prompt(request.as_bytes()).unwrap();
    assert!(matches!(prompt.turns[1].parts[1].content, domain::prompt::Content::Image { .. }), "{prompt:?}");
}

#[test]
fn what_the_grammar_has_no_words_for_is_left_out() {
    let events = vec![
        begin(1, PartKind::Redacted),
        Event::Signature { choice: 0, part: 1, value: "s".to_owned() },
        end(1),
        begin(2, PartKind::Foreign { kind: "x".to_owned(), json: Json("{}".to_owned()) }),
        end(2),
        begin(3, PartKind::Text),
        delta(3, "a"),
        Event::Citation { choice: 0, part: 3, json: Json(r#"{"type":"char_location"}"#.to_owned()) },
        Event::Citation {
            choice: 0,
            part: 3,
            json: Json(
                r#"{"type":"url_citation","url":"u","title":"t","start_index":0,"end_index":1}"#.to_owned(),
            ),
        },
        end(3),
        finish(Reason::Stop),
    ];
    let annotation =
        r#"{"type":"url_citation","url_citation":{"end_index":1,"start_index":0,"title":"t","url":"u"}}"#;
    let expected = [
        choice(r#"{"role":"assistant","content":""}"#),
        choice(r#"{"content":"a"}"#),
        choice(&format!(r#"{{"annotations":[{annotation}]}}"#)),
        ended("stop"),
    ];
    assert_eq!(choices(events.clone()), expected);
    let body = String::from_utf8(Writer::new(wish(false)).write_buffered(events)).unwrap();
    let message = format!(
        r#""message":{{"role":"assistant","content":"a","refusal":null,"annotations":[{annotation}]}}"#
    );
    assert!(body.contains(&message), "{body}");
}

#[test]
fn every_reason_has_one_of_the_few_words() {
    let cases = [
        (Reason::Stop, "stop"),
        (Reason::StopSequence, "stop"),
        (Reason::Length, "length"),
        (Reason::ContextLength, "length"),
        (Reason::Calls, "tool_calls"),
        (Reason::ContentFilter, "content_filter"),
        (Reason::Refusal, "content_filter"),
        (Reason::Pause, "stop"),
        (Reason::MalformedCall, "stop"),
    ];
    for (reason, word) in cases {
        assert_eq!(choices(vec![finish(reason)])[1], ended(word));
        let body = Writer::new(wish(false)).write_buffered(vec![start(), finish(reason), Event::Done]);
        assert!(String::from_utf8(body).unwrap().contains(&format!(r#""finish_reason":"{word}""#)));
    }
    assert_eq!(cases.len() + 1, Reason::ALL.len());
}

#[test]
fn an_answer_that_failed_ends_with_the_error_and_nothing_after_it() {
    let finish = Finish { raw: Some("OTHER".to_owned()), ..Finish::of(Reason::Error) };
    let chunks = choices(vec![begin(0, PartKind::Text), Event::Finish { choice: 0, finish }, Event::Done]);
    assert_eq!(chunks.len(), 2);
    assert!(
        chunks[1].starts_with(r#"data: {"error":{"message":"The provider ended its answer with \"OTHER\"."#),
        "{}",
        chunks[1]
    );
}

#[test]
fn a_refusal_is_the_models_words_or_the_providers() {
    let chunks = choices(vec![begin(0, PartKind::Refusal), delta(0, "No."), end(0), finish(Reason::Refusal)]);
    assert_eq!(chunks[1..], [choice(r#"{"refusal":"No."}"#), ended("stop")]);
    let explained = Finish { explanation: Some("Because.".to_owned()), ..Finish::of(Reason::Refusal) };
    let events = vec![Event::Finish { choice: 0, finish: explained }];
    assert_eq!(choices(events.clone())[1..], [choice(r#"{"refusal":"Because."}"#), ended("stop")]);
    let body = String::from_utf8(Writer::new(wish(false)).write_buffered(events)).unwrap();
    assert!(body.contains(r#"{"role":"assistant","content":null,"refusal":"Because."}"#), "{body}");
}

#[test]
fn a_whole_answer_has_every_key_that_sdks_look_for() {
    let events = vec![
        start(),
        begin(0, PartKind::Text),
        Event::Logprobs { choice: 0, tokens: Json("[{\"token\":\"H\"}]".to_owned()) },
        delta(0, "H"),
        Event::Logprobs { choice: 0, tokens: Json("[{\"token\":\"i\"}]".to_owned()) },
        delta(0, "i"),
        end(0),
        begin(1, call("a", true)),
        delta(1, "free"),
        end(1),
        finish(Reason::Calls),
        Event::Usage(used()),
        Event::Done,
    ];
    let body = String::from_utf8(Writer::new(wish(false)).write_buffered(events)).unwrap();
    let expected = concat!(
        r#"{"id":"chatcmpl-msg_1","object":"chat.completion","created":5,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi","refusal":null,"#,
        r#""tool_calls":[{"id":"a","type":"custom","custom":{"name":"f","input":"free"}}]},"finish_reason":"tool_calls","#,
        r#""logprobs":{"content":[{"token":"H"},{"token":"i"}],"refusal":null}}],"usage":{"prompt_tokens":5,"#,
    );
    assert!(body.starts_with(expected), "{body}");
    // An answer without content has an empty text.
    let body =
        String::from_utf8(Writer::new(wish(false)).write_buffered(vec![start(), finish(Reason::Stop)]))
            .unwrap();
    assert!(body.contains(r#""content":"","refusal":null}"#), "{body}");
    assert!(!body.contains("usage"), "{body}");
}

#[test]
fn what_others_began_goes_on_under_its_name() {
    let mut progress =
        Progress { started: true, id: Some("x1".to_owned()), created_unix_s: Some(3), ..Progress::default() };
    progress.started_choices = vec![0];
    progress.open = vec![(0, 0, call("a", false))];
    let mut writer = Writer::new(wish(false));
    writer.resume(&progress);
    let mut out = Vec::new();
    for event in [end(0), finish(Reason::Length), Event::Usage(used()), Event::Done] {
        writer.event(event, &mut out);
    }
    let chunk =
        r#"data: {"id":"x1","object":"chat.completion.chunk","created":3,"model":"alias","choices":["#;
    assert_eq!(String::from_utf8(out).unwrap(), format!("{chunk}{}]}}\n\ndata: [DONE]\n\n", ended("length")));
}

#[test]
fn an_event_is_one_line_whatever_json_it_carries() {
    let tokens = Json("[\n{\"token\":\"\\n\"}\r\n]".to_owned());
    let text = write(
        wish(false),
        vec![start(), begin(0, PartKind::Text), Event::Logprobs { choice: 0, tokens }, delta(0, "\n")],
    );
    let frames: Vec<&str> = text.split_terminator("\n\n").collect();
    assert_eq!(frames.len(), 2, "{text}");
    assert!(frames.iter().all(|frame| frame.starts_with("data: {") && !frame.contains(['\n', '\r'])));
}

/// Parts of one choice that the format can express, in an order in which its reader emits them.
fn parts() -> impl Strategy<Value = Vec<(PartKind, Vec<String>)>> {
    let texts = || prop::collection::vec("[a-z é\\n\"\\\\]{1,6}", 1..4);
    let prose = prop_oneof![Just(PartKind::Text), Just(PartKind::Refusal)];
    let calls = prop::collection::vec((any::<bool>(), texts()), 0..4);
    (prop::option::of((prose, texts())), calls).prop_map(|(prose, calls)| {
        let calls = calls.into_iter().enumerate().map(|(index, (is_custom, texts))| {
            (PartKind::Call { id: format!("id{index}"), name: format!("f{index}"), is_custom }, texts)
        });
        prose.into_iter().chain(calls).collect()
    })
}

/// Events of several choices; calls are open together, and their deltas interleaved.
fn events(all: Vec<Vec<(PartKind, Vec<String>)>>, usage: Option<Usage>) -> Vec<Event> {
    let mut events = vec![Event::Start {
        id: Some("chatcmpl-7".to_owned()),
        model: Some("m".to_owned()),
        created_unix_s: Some(5),
    }];
    for (choice, parts) in all.into_iter().enumerate() {
        let choice = u32::try_from(choice).unwrap();
        let has_calls = parts.iter().any(|(kind, _)| matches!(kind, PartKind::Call { .. }));
        let has_refusal = parts.iter().any(|(kind, _)| *kind == PartKind::Refusal);
        let mut open = Vec::new();
        for (part, (kind, texts)) in parts.into_iter().enumerate() {
            let part = u32::try_from(part).unwrap();
            let is_call = matches!(kind, PartKind::Call { .. });
            events.push(Event::Begin { choice, part, kind });
            let mut texts = texts.into_iter().map(move |text| Event::Delta { choice, part, text });
            if is_call {
                events.extend(texts.next());
                open.push((part, texts));
            } else {
                events.extend(texts);
                events.push(Event::End { choice, part });
            }
        }
        let parts: Vec<u32> = open.iter().map(|(part, _)| *part).collect();
        for (_, texts) in &mut open {
            events.extend(texts);
        }
        events.extend(parts.into_iter().map(|part| Event::End { choice, part }));
        let reason = if has_calls {
            Reason::Calls
        } else if has_refusal {
            Reason::Refusal
        } else {
            Reason::Length
        };
        let raw = Some(finish_word(reason, has_refusal).to_owned());
        events.push(Event::Finish { choice, finish: Finish { raw, ..Finish::of(reason) } });
    }
    events.extend(usage.map(Event::Usage));
    events.push(Event::Done);
    events
}

/// Deltas of one part joined at the first of them: their order among other parts has no meaning.
fn normal(events: Vec<Event>) -> Vec<Event> {
    let mut normal: Vec<Event> = Vec::new();
    for event in events {
        let Event::Delta { choice, part, text } = &event else {
            normal.push(event);
            continue;
        };
        let known = normal.iter_mut().find_map(|event| match event {
            Event::Delta { choice: c, part: p, text } if (&*c, &*p) == (choice, part) => Some(text),
            _ => None,
        });
        match known {
            Some(known) => known.push_str(text),
            None => normal.push(event),
        }
    }
    normal
}

fn read_stream(text: &[u8]) -> Vec<Event> {
    let mut reader = Reader::default();
    let mut events = Vec::new();
    for frame in std::str::from_utf8(text).unwrap().split_terminator("\n\n") {
        reader.event(b"", frame.strip_prefix("data: ").unwrap().as_bytes(), &mut events).unwrap();
    }
    reader.end(&mut events).unwrap();
    events
}

proptest! {
    #[test]
    fn what_is_written_reads_back(all in prop::collection::vec(parts(), 1..4), has_usage: bool) {
        let usage = has_usage.then(used);
        let sent = events(all, usage);
        let streamed = read_stream(write(wish(true), sent.clone()).as_bytes());
        prop_assert_eq!(normal(streamed), normal(sent.clone()));
        let mut whole = Vec::new();
        Reader::default().read_buffered(&Writer::new(wish(false)).write_buffered(sent.clone()), &mut whole).unwrap();
        prop_assert_eq!(normal(whole), normal(sent));
    }
}
