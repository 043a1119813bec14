//! Converse as clients speak it: how their requests are read, and which responses they get.

use bytes::Bytes;
use conversation::answer::{AnswerOptions, ReadAnswer, WriteAnswer};
use conversation::losses::DroppedFields;
use conversation::request::{Addressed, Request, upstream_body};
use conversation::target::TargetModel;
use dialects::{AnswerStream, buffered_answer, decode_request, read_prompt, render_error, translate_request};
use domain::prompt::{
    CacheLifetime, Content, Effort, Role, Source, ThinkingVisibility, ToolChoice, ToolKind,
};
use domain::{
    Abilities, Dialect, Event, Fault, FaultClass, Finish, Grammar, Operation, PartKind, Reason, TraceId,
    Usage,
};
use framing::event_stream::FrameDecoder;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::answer_path::answer_path;
use super::{any_prompt, event, exception};
use crate::{Reader, Writer, write_prompt};

fn addressed() -> Addressed {
    Addressed { model: "m".to_owned(), ..Addressed::default() }
}

fn decode(body: &Value) -> Result<(Bytes, Request), Box<Fault>> {
    let body = Bytes::from(body.to_string());
    let request = decode_request(Grammar::Converse, Operation::Chat, &body, Some(&addressed()))?;
    Ok((body, request))
}

fn read(body: &Value) -> domain::Prompt {
    let (body, request) = decode(body).expect("a request");
    read_prompt(Grammar::Converse, &body, &request).expect("a prompt")
}

fn target() -> TargetModel<'static> {
    let abilities = Abilities { cache_marks: true, ..Abilities::default() };
    TargetModel { model: "m", abilities }
}

fn rewrite(prompt: &domain::Prompt) -> Value {
    let mut losses = DroppedFields::new(Grammar::Converse, Grammar::Converse, dialects::feature_names);
    let body = write_prompt(prompt, &target(), &mut losses).expect("it can be said");
    assert!(losses.finish(true).is_ok());
    serde_json::from_slice(&body).expect("JSON")
}

/// A request with everything that other dialects have equivalents for.
fn rich() -> Value {
    json!({
        "messages": [
            {"role": "user", "content": [
                {"text": "How high?"},
                {"image": {"format": "png", "source": {"bytes": "AAAA"}}},
                {"document": {"format": "pdf", "name": "Plan 1", "source": {"bytes": "BBBB"}, "context": "old", "citations": {"enabled": true}}},
                {"cachePoint": {"type": "default", "ttl": "1h"}},
            ]},
            {"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "why", "signature": "S=="}}},
                {"reasoningContent": {"redactedContent": "RRRR"}},
                {"text": "I look."},
                {"toolUse": {"toolUseId": "t1", "name": "look", "input": {"a": 1.50}}},
            ]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "t1", "content": [{"text": "2 m"}], "status": "error"}},
                {"text": "And now?"},
            ]},
        ],
        "system": [{"text": "Be brief."}, {"cachePoint": {"type": "default", "ttl": "1h"}}],
        "inferenceConfig": {"maxTokens": 9, "temperature": 0.5, "topP": 0.9, "stopSequences": ["x"]},
        "toolConfig": {
            "tools": [
                {"toolSpec": {"name": "look", "description": "Looks.", "inputSchema": {"json": {"type": "object"}}, "strict": true}},
                {"cachePoint": {"type": "default", "ttl": "1h"}},
            ],
            "toolChoice": {"tool": {"name": "look"}},
        },
        "serviceTier": {"type": "flex"},
        "outputConfig": {
            "textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": "{\"type\":\"object\"}", "name": "n"}}},
            "effort": "low",
        },
        "requestMetadata": {"team": "tides"},
    })
}

#[test]
fn what_is_read_is_said_again() {
    let prompt = read(&rich());
    assert_eq!(rewrite(&prompt), rich());
    assert_eq!(prompt.extras, []);
    let [user, assistant, tool, more] = &*prompt.turns else { panic!("{:?}", prompt.turns) };
    let roles = [user, assistant, tool, more].map(|turn| turn.role);
    assert_eq!(roles, [Role::User, Role::Assistant, Role::Tool, Role::User]);
    assert_eq!(user.parts.len(), 3);
    assert_eq!(user.parts[2].cache.and_then(|mark| mark.lifetime), Some(CacheLifetime::Hour1));
    let Content::Image { source: Source::Inline { media_type, .. }, .. } = &user.parts[1].content else {
        panic!("{user:?}");
    };
    assert_eq!(media_type, "image/png");
    let Content::ToolCall(call) = &assistant.parts[3].content else { panic!("{assistant:?}") };
    assert_eq!(call.arguments, r#"{"a":1.5}"#);
    assert_eq!(prompt.tool_choice, Some(ToolChoice::Named { name: "look".to_owned(), is_custom: false }));
    assert!(matches!(&prompt.tools[0].kind, ToolKind::Function { strict: Some(true), .. }));
    assert_eq!(
        (prompt.reasoning.effort, prompt.reasoning.visibility),
        (Some(Effort::Low), Some(ThinkingVisibility::Unasked))
    );
    assert_eq!(prompt.metadata, [("team".to_owned(), "tides".to_owned())]);
}

/// Translates a request with these extra fields into Chat Completions. Returns what was dropped, or the field
/// for which the request was refused.
fn dropped_fields(more: &Value) -> Result<Vec<String>, String> {
    let mut body = json!({"messages": [{"role": "user", "content": [{"text": "x"}]}]});
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let translated = translate_request(Grammar::Converse, &read(&body), Grammar::Chat, &target(), false);
    translated
        .map(|translated| translated.dropped)
        .map_err(|fault| fault.param.unwrap_or_default().into_string())
}

#[test]
fn what_only_this_grammar_says_is_refused_or_named() {
    for (more, dropped) in [
        (json!({"performanceConfig": {"latency": "optimized"}}), "performanceConfig"),
        (json!({"serviceTier": {"type": "reserved"}}), "serviceTier.type"),
        (json!({"additionalModelRequestFields": {"top_k": 5}}), "additionalModelRequestFields.top_k"),
        (
            json!({"additionalModelRequestFields": {"anthropic_beta": ["x"]}}),
            "additionalModelRequestFields.anthropic_beta",
        ),
        (json!({"system": [{"cachePoint": {"type": "default"}}]}), "system[0].cachePoint"),
    ] {
        assert_eq!(dropped_fields(&more), Ok(vec![dropped.to_owned()]), "{more}");
    }
    let block = |block: Value| json!({"messages": [{"role": "user", "content": [{"text": "x"}, block]}]});
    let location = json!({"s3Location": {"uri": "s3://b/k.png"}});
    for (more, refused) in [
        (json!({"guardrailConfig": {"guardrailIdentifier": "g"}}), "guardrailConfig"),
        (json!({"promptVariables": {"a": {"text": "b"}}}), "promptVariables"),
        (
            json!({"additionalModelResponseFieldPaths": ["/stop_sequence"]}),
            "additionalModelResponseFieldPaths",
        ),
        (json!({"additionalModelRequestFields": {"seed": 1}}), "additionalModelRequestFields.seed"),
        (json!({"inferenceConfig": {"topK": 3}}), "inferenceConfig.topK"),
        (json!({"tide": true}), "tide"),
        (
            block(json!({"image": {"format": "png", "source": location}})),
            "messages[0].content[1].image.source.s3Location",
        ),
        (block(json!({"guardContent": {"text": {"text": "x"}}})), "messages[0].content[1].guardContent"),
        (block(json!({"toolAddition": {"tool": {"name": "x"}}})), "messages[0].content[1].toolAddition"),
    ] {
        assert_eq!(dropped_fields(&more), Err(refused.to_owned()), "{more}");
    }
}

#[test]
fn what_is_no_request_is_refused_by_its_place() {
    let message = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    for (body, param) in [
        (json!({}), "messages"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": {}}), "messages"),
        (json!({"messages": [{"content": []}]}), "messages[0].role"),
        (json!({"messages": [{"role": "user", "content": "x"}]}), "messages[0].content"),
        (json!({"messages": [{"role": "tool", "content": [{"text": "x"}]}]}), "messages[0].role"),
        (message(json!(["x"])), "messages[0].content[0]"),
        (message(json!([{}])), "messages[0].content[0].text"),
        (
            message(json!([{"toolUse": {"toolUseId": "t", "name": "n", "input": {}}}])),
            "messages[0].content[0].toolUse",
        ),
        (
            message(json!([{"image": {"format": "png", "source": {}}}])),
            "messages[0].content[0].image.source.bytes",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"text": "x"}]}], "inferenceConfig": {"maxTokens": "9"}}),
            "inferenceConfig.maxTokens",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"text": "x"}]}], "toolConfig": {"tools": [{}]}}),
            "toolConfig.tools[0].toolSpec",
        ),
    ] {
        let result =
            decode(&body).and_then(|(bytes, request)| read_prompt(Grammar::Converse, &bytes, &request));
        let fault = result.expect_err("it is none");
        assert_eq!(
            (fault.class, fault.param.as_deref()),
            (FaultClass::BadRequest, Some(param)),
            "{body}: {fault}"
        );
    }
    let twice = Bytes::from_static(br#"{"messages":[{"role":"user","role":"user","content":[]}]}"#);
    let fault = decode_request(Grammar::Converse, Operation::Chat, &twice, Some(&addressed())).unwrap_err();
    assert_eq!(fault.code, "duplicate_field");
}

#[test]
fn what_is_counted_stands_two_levels_deeper() {
    let body = Bytes::from_static(
        br#"{"input":{"converse":{"messages":[{"role":"user","content":[{"text":"Hello"}]}]}}}"#,
    );
    let request = decode_request(Grammar::Converse, Operation::Count, &body, Some(&addressed())).unwrap();
    assert_eq!(request.prompt_bytes, 5);
    assert_eq!(read_prompt(Grammar::Converse, &body, &request).unwrap().turns.len(), 1);
    let other = Bytes::from_static(br#"{"input":{"invokeModel":{"body":"e30="}}}"#);
    let fault = decode_request(Grammar::Converse, Operation::Count, &other, Some(&addressed())).unwrap_err();
    assert_eq!(fault.param.as_deref(), Some("input.converse"));
}

#[test]
fn a_thought_of_another_provider_is_cut_from_the_bytes() {
    let thought =
        |seal: &str| format!(r#"{{"reasoningContent":{{"reasoningText":{{"text":"why"{seal}}}}}}}"#);
    let body = |content: &str| {
        Bytes::from(format!(
            r#"{{"messages":[{{"role":"user","content":[{{"text":"a"}}]}},{{"role":"assistant","content":[{content}]}}]}}"#
        ))
    };
    let text = r#"{"text":"b"}"#;
    for (content, left) in [
        (format!("{},{text}", thought("")), text.to_owned()),
        (format!("{text}, {}", thought(r#","signature":"""#)), text.to_owned()),
        (thought(r#","signature":"S""#), thought(r#","signature":"S""#)),
    ] {
        let body_of = body(&content);
        let request =
            decode_request(Grammar::Converse, Operation::Chat, &body_of, Some(&addressed())).unwrap();
        let sent = upstream_body(&body_of, &request, "other", true).concat();
        assert_eq!(String::from_utf8(sent).unwrap(), String::from_utf8(body(&left).to_vec()).unwrap());
    }
}

#[test]
fn errors_are_the_vendors() {
    let trace = TraceId::new(1, [7; 10]);
    for (class, code, status, kind) in [
        (FaultClass::BadRequest, "invalid_value", 400, "ValidationException"),
        (FaultClass::Unauthenticated, "invalid_signature", 403, "InvalidSignatureException"),
        (FaultClass::Unauthenticated, "missing_api_key", 403, "MissingAuthenticationTokenException"),
        (FaultClass::Unauthenticated, "invalid_api_key", 403, "UnrecognizedClientException"),
        (FaultClass::Forbidden, "insufficient_scope", 403, "AccessDeniedException"),
        (FaultClass::NotFound, "model_not_found", 404, "ResourceNotFoundException"),
        (FaultClass::RateLimit, "rate_limit_exceeded", 429, "ThrottlingException"),
        (FaultClass::UpstreamAuth, "upstream_auth_failed", 424, "ModelErrorException"),
        (FaultClass::Overloaded, "server_is_overloaded", 503, "ServiceUnavailableException"),
    ] {
        let answer = render_error(&Fault::new(class, code, "Text.").fix("Mend."), Dialect::Converse, trace);
        let header = |name: &str| {
            let found = answer.headers.iter().find(|(header, _)| header == name);
            found.and_then(|(_, value)| value.to_str().ok().map(str::to_owned))
        };
        assert_eq!((answer.status, header("x-amzn-errortype").as_deref()), (status, Some(kind)), "{code}");
        assert_eq!(header("x-amzn-requestid"), Some(trace.to_string()));
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body, json!({"message": format!("Text. Mend. (request id: {trace})")}));
    }
}

fn wish(is_own: bool) -> AnswerOptions {
    AnswerOptions {
        model: "m".to_owned(),
        trace: Some(TraceId::new(1, [7; 10])),
        is_same_dialect: is_own,
        ..AnswerOptions::default()
    }
}

fn write_stream(events: Vec<Event>, is_own: bool) -> Vec<u8> {
    let (mut writer, mut out) = (Writer::new(wish(is_own)), Vec::new());
    events.into_iter().for_each(|event| writer.event(event, &mut out));
    out
}

/// Each frame's name and payload, with every checksum verified.
fn frames(stream: &[u8]) -> Vec<(String, Value)> {
    let mut decoder = FrameDecoder::new();
    decoder.push(stream);
    let mut parsed = Vec::new();
    while let Some(frame) = decoder.next_frame().expect("a frame") {
        let name = frame.text(":event-type").or(frame.text(":exception-type")).unwrap_or_default();
        assert_eq!(frame.text(":content-type"), Some("application/json"));
        parsed.push((name.to_owned(), serde_json::from_slice(&frame.payload).expect("JSON")));
    }
    assert!(decoder.is_empty());
    parsed
}

fn call(part: u32, id: &str) -> Event {
    let kind = PartKind::Call { id: id.to_owned(), name: "look".to_owned(), is_custom: false };
    Event::Begin { choice: 0, part, kind }
}

fn delta(part: u32, text: &str) -> Event {
    Event::Delta { choice: 0, part, text: text.to_owned() }
}

const START: Event = Event::Start { id: None, model: None, created_unix_s: None };

fn ending(reason: Reason) -> [Event; 3] {
    let usage = Usage {
        input: 3,
        output: 4,
        cached_read: 5,
        cache_write: 6,
        cache_write_long: 7,
        ..Usage::default()
    };
    [Event::Finish { choice: 0, finish: Finish::of(reason) }, Event::Usage(usage), Event::Done]
}

#[test]
fn blocks_go_out_one_at_a_time_and_usage_behind_the_end() {
    let end = |part| Event::End { choice: 0, part };
    let mut events =
        vec![START, Event::Begin { choice: 0, part: 0, kind: PartKind::Text }, delta(0, "é"), end(0)];
    // Two concurrent calls, the second without arguments and without an id.
    events.extend([call(1, "t1"), call(2, ""), delta(1, "{\"a\":"), end(2), delta(1, "1}"), end(1)]);
    events.extend(ending(Reason::Calls));
    let index = |number: u32, more: Value| {
        let mut payload = json!({"contentBlockIndex": number});
        payload.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        payload
    };
    let start = |id: &str| json!({"start": {"toolUse": {"toolUseId": id, "name": "look"}}});
    let input = |text: &str| json!({"delta": {"toolUse": {"input": text}}});
    let own = format!("tooluse_{}_2", TraceId::new(1, [7; 10]));
    let expected: Vec<(&str, Value)> = vec![
        ("messageStart", json!({"role": "assistant"})),
        ("contentBlockDelta", index(0, json!({"delta": {"text": "é"}}))),
        ("contentBlockStop", index(0, json!({}))),
        ("contentBlockStart", index(1, start("t1"))),
        ("contentBlockDelta", index(1, input("{\"a\":"))),
        ("contentBlockDelta", index(1, input("1}"))),
        ("contentBlockStop", index(1, json!({}))),
        ("contentBlockStart", index(2, start(&own))),
        ("contentBlockDelta", index(2, input("{}"))),
        ("contentBlockStop", index(2, json!({}))),
        ("messageStop", json!({"stopReason": "tool_use"})),
        (
            "metadata",
            json!({
                "usage": {
                    "inputTokens": 3, "outputTokens": 4, "totalTokens": 25, "cacheReadInputTokens": 5,
                    "cacheWriteInputTokens": 13,
                    "cacheDetails": [{"ttl": "5m", "inputTokens": 6}, {"ttl": "1h", "inputTokens": 7}],
                },
                "metrics": {"latencyMs": 0},
            }),
        ),
    ];
    let written = frames(&write_stream(events, false));
    let written: Vec<(&str, Value)> =
        written.iter().map(|(name, payload)| (&**name, payload.clone())).collect();
    assert_eq!(written, expected);
}

#[test]
fn every_end_has_its_word() {
    for (reason, word) in [
        (Reason::Stop, "end_turn"),
        (Reason::StopSequence, "stop_sequence"),
        (Reason::Length, "max_tokens"),
        (Reason::ContextLength, "model_context_window_exceeded"),
        (Reason::Calls, "tool_use"),
        (Reason::ContentFilter, "content_filtered"),
        (Reason::Refusal, "content_filtered"),
        (Reason::Pause, "end_turn"),
        (Reason::MalformedCall, "malformed_tool_use"),
    ] {
        let events: Vec<Event> = [START].into_iter().chain(ending(reason)).collect();
        let written = frames(&write_stream(events.clone(), false));
        assert_eq!(written[1], ("messageStop".to_owned(), json!({"stopReason": word})), "{reason:?}");
        let whole: Value = serde_json::from_slice(&Writer::new(wish(false)).write_buffered(events)).unwrap();
        assert_eq!(whole["stopReason"], word, "{reason:?}");
    }
    // A failed response has no `messageStop`.
    let failed = write_stream([START].into_iter().chain(ending(Reason::Error)).collect(), false);
    let names: Vec<String> = frames(&failed).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["messageStart", "modelStreamErrorException"]);
}

#[test]
fn a_text_is_split_that_no_frame_holds() {
    let long = "é\u{1}".repeat(2 * 1024 * 1024);
    let mut events = vec![START, Event::Begin { choice: 0, part: 0, kind: PartKind::Text }, delta(0, &long)];
    events.extend(ending(Reason::Stop));
    let written = frames(&write_stream(events, false));
    let texts = written.iter().filter_map(|(_, payload)| payload["delta"]["text"].as_str());
    assert!(texts.clone().count() > 1 && texts.collect::<String>() == long);
}

/// A part of a response, as its events describe it.
#[derive(Debug, Clone)]
enum Piece {
    Text(Vec<String>),
    Thought(Vec<String>, Option<String>),
    Redacted(String),
    Call(String, Vec<String>),
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let words = || prop::collection::vec(".{1,12}", 1..4);
    let object = prop::collection::btree_map("[a-z]{1,3}", ".{0,8}", 0..3)
        .prop_map(|members| serde_json::to_string(&members).expect("JSON"));
    let arguments = (object, 1_usize..9).prop_map(|(text, size)| {
        let letters: Vec<char> = text.chars().collect();
        letters.chunks(size).map(|chunk| chunk.iter().collect()).collect::<Vec<String>>()
    });
    let piece = prop_oneof![
        words().prop_map(Piece::Text),
        (words(), prop::option::of("[A-Za-z0-9]{1,9}")).prop_map(|(words, seal)| Piece::Thought(words, seal)),
        "[A-Za-z0-9]{4,12}".prop_map(Piece::Redacted),
        ("[a-z0-9]{1,8}", arguments).prop_map(|(id, arguments)| Piece::Call(id, arguments)),
    ];
    prop::collection::vec(piece, 0..6)
}

fn events_of(pieces: Vec<Piece>) -> Vec<Event> {
    let mut events = vec![START];
    for (part, piece) in (0..).zip(pieces) {
        let (kind, texts, seal) = match piece {
            Piece::Text(words) => (PartKind::Text, words, None),
            Piece::Thought(words, seal) => (PartKind::Thought { is_summary: false, id: None }, words, seal),
            Piece::Redacted(seal) => (PartKind::Redacted, Vec::new(), Some(seal)),
            Piece::Call(id, texts) => {
                (PartKind::Call { id, name: "look".to_owned(), is_custom: false }, texts, None)
            }
        };
        events.push(Event::Begin { choice: 0, part, kind });
        events.extend(texts.iter().map(|text| delta(part, text)));
        events.extend(seal.map(|value| Event::Signature { choice: 0, part, value }));
        events.push(Event::End { choice: 0, part });
    }
    let finish = Finish { raw: Some("end_turn".to_owned()), ..Finish::of(Reason::Stop) };
    let usage = Usage { input: 3, output: 4, source: domain::UsageSource::Provider, ..Usage::default() };
    events.extend([Event::Finish { choice: 0, finish }, Event::Usage(usage), Event::Done]);
    events
}

/// Joins consecutive deltas of a part.
fn join_deltas(events: Vec<Event>) -> Vec<Event> {
    let mut joined: Vec<Event> = Vec::new();
    for event in events {
        match (joined.last_mut(), event) {
            (Some(Event::Delta { text, part, .. }), Event::Delta { text: more, part: of, .. })
                if *part == of =>
            {
                text.push_str(&more);
            }
            (_, event) => joined.push(event),
        }
    }
    joined
}

proptest! {
    #[test]
    fn every_prompt_that_is_said_here_is_read_and_said_again(prompt in any_prompt::prompt()) {
        let first = rewrite(&prompt);
        let again = rewrite(&read(&first));
        prop_assert_eq!(again, first);
    }

    #[test]
    fn every_answer_that_can_be_told_comes_back(pieces in pieces()) {
        let events = events_of(pieces);
        let stream = write_stream(events.clone(), true);
        let (again, end) = super::read(&stream);
        prop_assert_eq!(end, Ok(()));
        prop_assert_eq!(join_deltas(again), join_deltas(events.clone()));
        let whole = Writer::new(wish(true)).write_buffered(events.clone());
        let mut again = Vec::new();
        prop_assert_eq!(Reader::default().read_buffered(&whole, &mut again), Ok(()));
        prop_assert_eq!(join_deltas(again), join_deltas(events));
    }

    #[test]
    fn the_upstreams_frames_pass_as_they_are(pieces in pieces(), size in 1_usize..50) {
        let stream = write_stream(events_of(pieces), true);
        let mut answer = AnswerStream::new(answer_path(Grammar::Converse, Grammar::Converse, false));
        let mut out = Vec::new();
        for chunk in stream.chunks(size) {
            prop_assert_eq!(answer.push(Bytes::copy_from_slice(chunk), &mut out), Ok(()));
        }
        prop_assert_eq!(answer.finish(&mut out), Ok(()));
        prop_assert_eq!(out.concat(), stream);
        let usage = answer.facts().usage.expect("it was told");
        prop_assert_eq!((usage.input, usage.output), (3, 4));
    }
}

#[test]
fn a_stream_that_breaks_ends_in_an_exception() {
    let started = [
        event("messageStart", r#"{"role":"assistant"}"#),
        event("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"a"}}"#),
    ]
    .concat();
    let thrown = [started.clone(), exception("throttlingException", r#"{"message":"slow"}"#)].concat();
    for stream in [started, thrown] {
        let mut answer = AnswerStream::new(answer_path(Grammar::Converse, Grammar::Converse, false));
        let mut out = Vec::new();
        let end = answer.push(Bytes::from(stream), &mut out).and_then(|()| answer.finish(&mut out));
        assert!(end.is_err());
        let fault = Fault::new(FaultClass::StreamBroken, "upstream_answer_broken", "It broke.");
        out.push(answer.error_event(&fault, TraceId::new(1, [7; 10])));
        assert!(!answer.ends_with_its_error());
        let written = frames(&out.concat());
        let names: Vec<&str> = written.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["messageStart", "contentBlockDelta", "modelStreamErrorException"]);
        assert!(written[2].1["message"].as_str().unwrap().starts_with("It broke."), "{written:?}");
    }
}

#[test]
fn a_stream_that_the_money_ends_is_stopped_as_by_its_length() {
    let started = [
        event("messageStart", r#"{"role":"assistant"}"#),
        event(
            "contentBlockStart",
            r#"{"contentBlockIndex":0,"start":{"toolUse":{"toolUseId":"t","name":"f"}}}"#,
        ),
        event("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"toolUse":{"input":"{"}}}"#),
    ]
    .concat();
    let mut answer = AnswerStream::new(answer_path(Grammar::Converse, Grammar::Converse, false));
    let mut out = Vec::new();
    answer.push(Bytes::from(started), &mut out).unwrap();
    let usage = Usage { input: 3, output: 1, ..Usage::default() };
    out.push(answer.length_stop(b"", usage));
    let written = frames(&out.concat());
    let ends: Vec<(&str, &Value)> =
        written.iter().skip(3).map(|(name, payload)| (&**name, payload)).collect();
    let (stop, end) = (json!({"contentBlockIndex": 0}), json!({"stopReason": "max_tokens"}));
    assert_eq!(ends[..2], [("contentBlockStop", &stop), ("messageStop", &end)]);
    assert_eq!((ends.len(), ends[2].0, &ends[2].1["usage"]["outputTokens"]), (3, "metadata", &json!(1)));
}

#[test]
fn an_answer_of_another_grammar_is_told_whole_and_in_frames_alike() {
    let chat = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"tool_calls",
        "message":{"role":"assistant","content":"I look.","tool_calls":[{"id":"t1","type":"function","function":{"name":"look","arguments":"{\"a\": 1}"}}]}}],
        "usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}"#;
    let path = answer_path(Grammar::Converse, Grammar::Chat, false);
    let whole = buffered_answer(&path, Bytes::from_static(chat.as_bytes())).unwrap();
    let whole: Value = serde_json::from_slice(&whole.body).unwrap();
    assert_eq!(
        whole,
        json!({
            "output": {"message": {"role": "assistant", "content": [
                {"text": "I look."},
                {"toolUse": {"toolUseId": "t1", "name": "look", "input": {"a": 1}}},
            ]}},
            "stopReason": "tool_use",
            "usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7},
            "metrics": {"latencyMs": 0},
        })
    );
    let mut answer = AnswerStream::new(path);
    let mut out = Vec::new();
    answer.push(Bytes::from_static(chat.as_bytes()), &mut out).unwrap();
    answer.finish(&mut out).unwrap();
    let written = frames(&out.concat());
    assert_eq!(
        written.last().map(|(name, payload)| (&**name, &payload["usage"])),
        Some(("metadata", &whole["usage"]))
    );
}
