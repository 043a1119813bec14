//! Property tests: every prompt and answer that the format can express is read back as it was written.

use conversation::answer::{AnswerOptions, Progress, ReadAnswer, WriteAnswer};
use conversation::losses::DroppedFields;
use conversation::target::TargetModel;
use domain::prompt::{
    CacheLifetime, CacheMark, Caching, Content, Effort, Instruction, Output, OutputFormat, Part, Reasoning,
    Role, Sampling, ServiceTier, Signature, Source, ThinkingVisibility, Thought, Tool, ToolCall, ToolChoice,
    ToolKind, ToolResult, Turn,
};
use domain::{
    Abilities, Event, Finish, Grammar, Json, PartKind, Prompt, Reason, TraceId, Usage, UsageSource,
};
use framing::sse::{Data, EventSplitter, read_event};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use responses::{Reader, Writer, read_prompt, write_prompt};

/// Texts with everything that JSON must escape, and multi-byte characters.
fn text() -> impl Strategy<Value = String> {
    "[a-zé😀\"\\\\\n\u{1} ]{0,8}"
}

fn some_text() -> impl Strategy<Value = String> {
    "[a-zé😀\"\\\\\n]{1,8}"
}

fn name() -> impl Strategy<Value = String> {
    "[a-z_]{1,6}"
}

fn json() -> impl Strategy<Value = Json> {
    prop_oneof![
        Just(Json(r#"{"type":"object","properties":{"a":{"const":12345678901234567890}}}"#.to_owned())),
        Just(Json("{\"a\":1,\"a\":[null]}".to_owned())),
    ]
}

fn mark() -> impl Strategy<Value = Option<CacheMark>> {
    let lifetime = option::of(prop_oneof![Just(CacheLifetime::Minutes30), Just(CacheLifetime::Hours12)]);
    option::of(lifetime.prop_map(|lifetime| CacheMark { lifetime }))
}

fn media() -> impl Strategy<Value = Content> {
    let file = || {
        prop_oneof![
            Just(Source::Inline { media_type: "image/png".to_owned(), base64: "AAAA".to_owned() }),
            Just(Source::Url { url: "https://a.example/b".to_owned(), media_type: None }),
            Just(Source::File { id: "file-1".to_owned(), media_type: None }),
        ]
    };
    prop_oneof![
        (file(), option::of(Just("high".to_owned())))
            .prop_map(|(source, detail)| Content::Image { source, detail }),
        (file(), option::of(name())).prop_map(|(source, name)| Content::Document {
            source,
            name,
            context: None,
            cite: false
        }),
    ]
}

fn plain(text: String) -> Content {
    Content::Text { text, citations: Vec::new() }
}

fn input_part() -> impl Strategy<Value = Part> {
    (prop_oneof![text().prop_map(plain), media()], mark())
        .prop_map(|(content, cache)| Part { cache, ..Part::of(content) })
}

fn user_turn() -> impl Strategy<Value = Turn> {
    vec(input_part(), 1..3).prop_map(|parts| Turn { role: Role::User, name: None, parts })
}

fn assistant_part() -> impl Strategy<Value = Part> {
    let citation = Json(r#"{"type":"url_citation","url":"https://a.example","start_index":0}"#.to_owned());
    let content = prop_oneof![
        (text(), vec(Just(citation), 0..2)).prop_map(|(text, citations)| Content::Text { text, citations }),
        text().prop_map(|text| Content::Refusal { text }),
        (name(), name(), text(), any::<bool>()).prop_map(|(id, name, arguments, is_custom)| {
            Content::ToolCall(ToolCall { id, name, arguments, is_custom, signature: None })
        }),
        (text(), any::<bool>(), some_text(), option::of(name())).prop_map(|(text, is_summary, value, id)| {
            let is_summary = is_summary || text.is_empty();
            let signature = Some(Signature { grammar: Grammar::Responses, value });
            Content::Thought(Thought { text, is_summary, signature, is_redacted: false, id })
        }),
    ];
    content.prop_map(Part::of)
}

fn exchange() -> impl Strategy<Value = Vec<Turn>> {
    let results = vec((name(), vec(input_part(), 1..3), any::<bool>()), 1..3).prop_map(|results| {
        let part = |(id, parts, is_custom)| {
            Part::of(Content::ToolResult(ToolResult { id, name: None, parts, is_error: false, is_custom }))
        };
        Turn { role: Role::Tool, name: None, parts: results.into_iter().map(part).collect() }
    });
    let assistant =
        vec(assistant_part(), 1..4).prop_map(|parts| Turn { role: Role::Assistant, name: None, parts });
    let instruction =
        (any::<bool>(), vec(text().prop_map(Part::text), 1..3)).prop_map(|(is_developer, parts)| Turn {
            role: if is_developer { Role::Developer } else { Role::System },
            name: None,
            parts,
        });
    (user_turn(), assistant, option::of(results), option::of(instruction)).prop_map(
        |(user, assistant, results, instruction)| {
            [Some(user), Some(assistant), results, instruction].into_iter().flatten().collect()
        },
    )
}

/// A schema with `properties`, which would be added to one without.
fn schema() -> impl Strategy<Value = Json> {
    json().prop_map(|inner| Json(format!(r#"{{"type":"object","properties":{{"a":{}}}}}"#, inner.0)))
}

fn tool() -> impl Strategy<Value = Tool> {
    let kind = prop_oneof![
        (name(), option::of(text()), option::of(schema()), any::<bool>()).prop_map(
            |(name, description, schema, strict)| ToolKind::Function {
                name,
                description,
                schema,
                strict: Some(strict)
            }
        ),
        (name(), option::of(text()), option::of(json()))
            .prop_map(|(name, description, format)| ToolKind::Custom { name, description, format }),
        Just(ToolKind::Hosted {
            kind: "web_search".to_owned(),
            json: Json(r#"{"type":"web_search","external_web_access":false}"#.to_owned()),
        }),
    ];
    kind.prop_map(|kind| Tool { kind, cache: None })
}

fn choice() -> impl Strategy<Value = ToolChoice> {
    prop_oneof![
        Just(ToolChoice::Auto),
        Just(ToolChoice::None),
        (name(), any::<bool>()).prop_map(|(name, is_custom)| ToolChoice::Named { name, is_custom }),
        (vec(name(), 1..3), any::<bool>())
            .prop_map(|(names, is_required)| ToolChoice::Allowed { names, is_required }),
    ]
}

fn output() -> impl Strategy<Value = Output> {
    let format = prop_oneof![
        Just(OutputFormat::Text),
        Just(OutputFormat::JsonObject),
        (name(), option::of(text()), json(), option::of(any::<bool>())).prop_map(
            |(name, description, schema, strict)| OutputFormat::JsonSchema {
                name: Some(name),
                description,
                schema,
                strict
            }
        ),
    ];
    (option::of(any::<u64>()), option::of(format), option::of(Just("low".to_owned()))).prop_map(
        |(tokens_max, format, verbosity)| Output { tokens_max, format, verbosity, ..Output::default() },
    )
}

fn reasoning() -> impl Strategy<Value = Reasoning> {
    let effort = option::of(proptest::sample::select(Effort::ALL.to_vec()));
    (effort, any::<bool>()).prop_map(|(effort, has_summary)| Reasoning {
        effort,
        visibility: has_summary.then_some(ThinkingVisibility::Summary),
        // Reasoning is requested in encrypted form where nothing is stored, so that it can come back.
        wants_encrypted: true,
        ..Reasoning::default()
    })
}

fn sampling() -> impl Strategy<Value = Sampling> {
    let number = || option::of(Just(Json("0.70".to_owned())));
    (number(), number(), any::<bool>(), option::of(0_u64..20)).prop_map(
        |(temperature, top_p, logprobs, top_logprobs)| Sampling {
            temperature,
            top_p,
            logprobs,
            top_logprobs,
            ..Sampling::default()
        },
    )
}

fn prompt() -> impl Strategy<Value = Prompt> {
    let instruction = (any::<bool>(), text(), mark()).prop_map(|(is_developer, text, cache)| Instruction {
        is_developer,
        text,
        cache,
    });
    let conversation =
        (vec(instruction, 0..3), vec(exchange(), 0..3), vec(tool(), 0..3), option::of(choice()));
    let settings =
        (sampling(), output(), reasoning(), option::of(any::<bool>()), any::<bool>(), any::<bool>());
    let rest = (
        option::of(name()),
        option::of(Just("24h".to_owned())),
        option::of(text()),
        vec((name(), text()), 0..2),
        option::of(Just(ServiceTier::Flex)),
    );
    (conversation, settings, rest).prop_map(|(conversation, settings, rest)| {
        let (instructions, turns, tools, tool_choice) = conversation;
        let (sampling, output, reasoning, parallel_tools, stream, store) = settings;
        let (key, retention, end_user, mut metadata, service_tier) = rest;
        metadata.dedup_by(|one, other| one.0 == other.0);
        let (turns, store) = (turns.concat(), Some(store));
        let caching = Caching { key, retention, ..Caching::default() };
        let said = Prompt { instructions, turns, tools, tool_choice, parallel_tools, ..Prompt::default() };
        let said = Prompt { sampling, output, reasoning, caching, stream, store, ..said };
        Prompt { service_tier, end_user, metadata, ..said }
    })
}

fn target() -> TargetModel<'static> {
    let abilities = Abilities { developer_role: true, cache_marks: true, ..Abilities::default() };
    TargetModel { model: "m", abilities }
}

/// The pieces of an answer: complete parts, as text.
#[derive(Debug, Clone)]
enum Piece {
    Text(PartKind, Vec<String>),
    Thought { is_summary: bool, texts: Vec<String>, seal: Option<String> },
    Calls(Vec<(String, String, bool, Vec<String>)>),
}

fn piece() -> impl Strategy<Value = Piece> {
    let texts = || vec(some_text(), 1..4);
    prop_oneof![
        (any::<bool>(), texts()).prop_map(|(refuses, texts)| {
            Piece::Text(if refuses { PartKind::Refusal } else { PartKind::Text }, texts)
        }),
        (any::<bool>(), texts(), option::of(some_text()))
            .prop_map(|(is_summary, texts, seal)| Piece::Thought { is_summary, texts, seal }),
        vec((name(), name(), any::<bool>(), vec(name(), 1..4)), 1..3).prop_map(Piece::Calls),
    ]
}

/// The events of these pieces; consecutive calls are open at the same time.
fn answer_events(pieces: &[Piece], reason: Reason) -> Vec<Event> {
    let model = Some("up".to_owned());
    let mut events = vec![Event::Start { id: Some("resp_1".to_owned()), model, created_unix_s: Some(7) }];
    let mut next = 0;
    let mut begin = |events: &mut Vec<Event>, kind| {
        events.push(Event::Begin { choice: 0, part: next, kind });
        next += 1;
        next - 1
    };
    let push_texts = |events: &mut Vec<Event>, part, texts: &[String]| {
        events.extend(texts.iter().map(|text| Event::Delta { choice: 0, part, text: text.clone() }));
    };
    for piece in pieces {
        match piece {
            Piece::Text(kind, texts) => {
                let part = begin(&mut events, kind.clone());
                push_texts(&mut events, part, texts);
                events.push(Event::End { choice: 0, part });
            }
            Piece::Thought { is_summary, texts, seal } => {
                let id = Some(format!("rs_{}", events.len()));
                let part = begin(&mut events, PartKind::Thought { is_summary: *is_summary, id });
                push_texts(&mut events, part, texts);
                let seal = seal.clone().map(|value| Event::Signature { choice: 0, part, value });
                events.extend(seal);
                events.push(Event::End { choice: 0, part });
            }
            Piece::Calls(calls) => {
                let mut open = Vec::new();
                for (id, name, is_custom, texts) in calls {
                    let (id, name) = (format!("{id}{}", events.len()), name.clone());
                    let kind = PartKind::Call { id, name, is_custom: *is_custom };
                    open.push((begin(&mut events, kind), texts));
                }
                for (part, texts) in open.iter().rev() {
                    push_texts(&mut events, *part, texts);
                }
                events.extend(open.iter().map(|(part, _)| Event::End { choice: 0, part: *part }));
            }
        }
    }
    events.push(Event::Finish { choice: 0, finish: Finish::of(reason) });
    let output = Usage { output: 6, reasoning: 5, source: UsageSource::Provider, ..Usage::default() };
    let usage = Usage { input: 9, cached_read: 8, cache_write: 7, ..output };
    events.extend([Event::Usage(usage), Event::Done]);
    events
}

/// Deltas of one part joined, parts in order: the common form of a stream and a buffered response.
fn join_parts(events: &[Event]) -> Vec<(PartKind, String, Option<String>)> {
    let mut parts: Vec<(PartKind, String, Option<String>)> = Vec::new();
    for event in events {
        match event {
            Event::Begin { kind, part, .. } => {
                assert_eq!(*part as usize, parts.len(), "parts are numbered in their order");
                parts.push((kind.clone(), String::new(), None));
            }
            Event::Delta { part, text, .. } => parts[*part as usize].1.push_str(text),
            Event::Signature { part, value, .. } => parts[*part as usize].2 = Some(value.clone()),
            _ => {}
        }
    }
    parts
}

fn tail(events: &[Event]) -> Vec<Event> {
    let is_end = |event: &&Event| matches!(event, Event::Usage(_) | Event::Done | Event::Start { .. });
    events.iter().filter(is_end).cloned().collect()
}

fn reason_of(events: &[Event]) -> Option<Reason> {
    events.iter().find_map(|event| match event {
        Event::Finish { finish, .. } => Some(finish.reason),
        _ => None,
    })
}

fn wish() -> AnswerOptions {
    let trace = Some(TraceId::new(1_700_000_000_000, [7; 10]));
    let model = "asked".to_owned();
    AnswerOptions { usage: true, model, trace, created_unix_s: 3, ..AnswerOptions::default() }
}

fn read_stream(bytes: &[u8]) -> Vec<Event> {
    let (mut reader, mut splitter) = (Reader::default(), EventSplitter::new());
    let (mut events, mut rest) = (Vec::new(), bytes);
    while let Some(length) = splitter.find_end(rest) {
        let (event, after) = rest.split_at(length);
        let parsed = read_event(event);
        let Data::One(range) = parsed.data else {
            panic!("one line of data: {:?}", String::from_utf8_lossy(event))
        };
        reader.event(parsed.name, &event[range], &mut events).expect("what we write is read");
        rest = after;
    }
    assert_eq!(rest, b"");
    reader.end(&mut events).expect("it is whole");
    events
}

fn is_well_formed(events: &[Event]) {
    let mut progress = Progress::default();
    for event in events {
        if let Event::Begin { kind, .. } = event {
            let is_call = |kind: &PartKind| matches!(kind, PartKind::Call { .. });
            assert!(progress.open.iter().all(|(_, _, open)| is_call(open) && is_call(kind)), "{events:?}");
        }
        progress.note(event);
    }
    assert_eq!(progress.open, []);
}

proptest! {
    #[test]
    fn a_prompt_comes_back_as_it_was(prompt in prompt()) {
        let mut losses = DroppedFields::new(Grammar::Responses, Grammar::Responses, dialects::feature_names);
        let body = write_prompt(&prompt, &target(), &mut losses).unwrap();
        prop_assert_eq!(losses.finish(false).unwrap(), Vec::<String>::new());
        let request = responses::decode_request(&bytes::Bytes::from(body.clone())).unwrap();
        prop_assert_eq!(request.stream, prompt.stream);
        prop_assert_eq!(request.max_output_tokens, prompt.output.tokens_max);
        prop_assert_eq!(read_prompt(&body).unwrap(), prompt, "{}", String::from_utf8_lossy(&body));
    }

    #[test]
    fn an_answer_comes_back_as_it_was(pieces in vec(piece(), 0..5), at in 0_usize..3) {
        let has_calls = pieces.iter().any(|piece| matches!(piece, Piece::Calls(_)));
        let refuses = pieces.iter().any(|piece| matches!(piece, Piece::Text(PartKind::Refusal, _)));
        let usual = if has_calls { Reason::Calls } else if refuses { Reason::Refusal } else { Reason::Stop };
        let reason = [usual, Reason::Length, Reason::ContentFilter][at];
        let events = answer_events(&pieces, reason);
        let mut bytes = Vec::new();
        let mut writer = Writer::new(wish());
        for event in events.clone() {
            writer.event(event, &mut bytes);
        }
        let streamed = read_stream(&bytes);
        let mut whole = Vec::new();
        let body = Writer::new(wish()).write_buffered(events.clone());
        Reader::default().read_buffered(&body, &mut whole).unwrap();
        for read in [streamed, whole] {
            is_well_formed(&read);
            prop_assert_eq!(join_parts(&read), join_parts(&events));
            prop_assert_eq!(tail(&read), tail(&events));
            prop_assert_eq!(reason_of(&read), Some(reason));
        }
    }
}
