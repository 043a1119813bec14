//! Responses: every shape that upstreams send is read, and other dialects' responses are written for clients.

use conversation::answer::{AnswerOptions, Progress, ReadAnswer, StreamFault, WriteAnswer};
use domain::prompt::Json;
use domain::{Event, Fault, FaultClass, Finish, PartKind, Reason, TraceId, Usage, UsageSource};
use framing::sse::{Data, EventSplitter, read_event};

use crate::{Reader, Writer};

const TRACE: &str = "trc_0190c0ffee007000800000000000abcd";

pub(super) fn own_wish() -> AnswerOptions {
    AnswerOptions { is_same_dialect: true, ..wish() }
}

fn wish() -> AnswerOptions {
    AnswerOptions {
        usage: true,
        model: "my/model".to_owned(),
        trace: TRACE.parse().ok(),
        ..AnswerOptions::default()
    }
}

pub(super) fn read_stream(bytes: &[u8]) -> Result<Vec<Event>, StreamFault> {
    let mut reader = Reader::default();
    let mut events = Vec::new();
    let mut splitter = EventSplitter::new();
    let mut rest = bytes;
    while let Some((event, after)) = splitter.find_end(rest).and_then(|end| rest.split_at_checked(end)) {
        let parsed = read_event(event);
        if let Data::One(range) = parsed.data {
            reader.event(parsed.name, &event[range], &mut events)?;
        }
        rest = after;
    }
    reader.end(&mut events)?;
    Ok(events)
}

/// An SSE stream of these data lines, without event names.
fn stream(data: &[&str]) -> Vec<u8> {
    data.iter().flat_map(|data| format!("data: {data}\n\n").into_bytes()).collect()
}

const START: &str = r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"cache_creation_input_tokens":5,"cache_read_input_tokens":3,"cache_creation":{"ephemeral_5m_input_tokens":1,"ephemeral_1h_input_tokens":4},"output_tokens":1}}}"#;
const END: &str = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":7}}"#;
const STOP: &str = r#"{"type":"message_stop"}"#;

fn begin(part: u32, kind: PartKind) -> Event {
    Event::Begin { choice: 0, part, kind }
}

fn delta(part: u32, text: &str) -> Event {
    Event::Delta { choice: 0, part, text: text.to_owned() }
}

const fn end(part: u32) -> Event {
    Event::End { choice: 0, part }
}

fn thought() -> PartKind {
    PartKind::Thought { is_summary: false, id: None }
}

fn call(id: &str, name: &str) -> PartKind {
    PartKind::Call { id: id.to_owned(), name: name.to_owned(), is_custom: false }
}

fn start() -> Event {
    Event::Start { id: Some("msg_1".to_owned()), model: Some("claude-x".to_owned()), created_unix_s: None }
}

/// Checks the events between the start and the finish.
#[track_caller]
fn check_content(data: &[&str], expected: &[Event]) {
    let all = [&[START], data, &[END, STOP]].concat();
    let events = read_stream(&stream(&all)).expect("a whole stream");
    assert_eq!(events[0], start());
    assert!(matches!(events[1], Event::Usage(_)));
    let finish = events.iter().position(|event| matches!(event, Event::Finish { .. })).expect("a finish");
    assert_eq!(&events[2..finish], expected);
    assert!(matches!(events[finish + 1..], [Event::Usage(_), Event::Done]), "{events:?}");
}

#[test]
fn texts_thoughts_and_calls() {
    check_content(
        &[
            r#"{"type":"ping"}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
            r#"{"type":"ping"}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"old"}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"new"}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":"","citations":null}}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"é"}}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"citations_delta","citation":{"type":"x"}}}"#,
            r#"{"type":"content_block_stop","index":1}"#,
            r#"{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"toolu_1","name":"f","input":{},"caller":{"type":"direct"}}}"#,
            r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}"#,
            r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"n\":9007199254740993}"}}"#,
            r#"{"type":"content_block_stop","index":2}"#,
        ],
        &[
            begin(0, thought()),
            delta(0, "hm"),
            Event::Signature { choice: 0, part: 0, value: "old".to_owned() },
            Event::Signature { choice: 0, part: 0, value: "new".to_owned() },
            end(0),
            begin(1, PartKind::Text),
            delta(1, "é"),
            Event::Citation { choice: 0, part: 1, json: Json(r#"{"type":"x"}"#.to_owned()) },
            end(1),
            begin(2, call("toolu_1", "f")),
            delta(2, r#"{"n":9007199254740993}"#),
            end(2),
        ],
    );
}

#[test]
fn a_call_without_deltas_has_an_empty_input_or_the_one_it_began_with() {
    for (input, expected) in [("{}", "{}"), (r#"{"a": 1}"#, r#"{"a": 1}"#)] {
        let began = format!(
            r#"{{"type":"content_block_start","index":0,"content_block":{{"type":"tool_use","id":"t","name":"f","input":{input}}}}}"#
        );
        check_content(
            &[&began, r#"{"type":"content_block_stop","index":0}"#],
            &[begin(0, call("t", "f")), delta(0, expected), end(0)],
        );
    }
}

#[test]
fn thoughts_that_only_the_provider_reads() {
    check_content(
        &[
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"redacted_thinking","data":"x=="}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"signature_delta","signature":"s"}}"#,
            r#"{"type":"content_block_stop","index":1}"#,
        ],
        &[
            begin(0, PartKind::Redacted),
            Event::Signature { choice: 0, part: 0, value: "x==".to_owned() },
            end(0),
            begin(1, thought()),
            Event::Signature { choice: 0, part: 1, value: "s".to_owned() },
            end(1),
        ],
    );
}

#[test]
fn blocks_of_the_providers_own_tools_are_told_whole() {
    let foreign =
        |kind: &str, json: &str| PartKind::Foreign { kind: kind.to_owned(), json: Json(json.to_owned()) };
    check_content(
        &[
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"server_tool_use","id":"s","name":"web_search","input":{}}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"query\""}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":":\"x\"}"}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"later_kind","x":[1.0]}}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"later_delta","x":1}}"#,
            r#"{"type":"content_block_stop","index":1}"#,
        ],
        &[
            begin(
                0,
                foreign(
                    "server_tool_use",
                    r#"{"type":"server_tool_use","id":"s","name":"web_search","input":{"query":"x"}}"#,
                ),
            ),
            end(0),
            begin(1, foreign("later_kind", r#"{"type":"later_kind","x":[1.0]}"#)),
            end(1),
        ],
    );
}

#[test]
fn what_is_out_of_order_or_unknown_fails_nothing() {
    check_content(
        &[
            r#"{"type":"later_event","index":"x"}"#,
            "[DONE]",
            r#"{"type":"content_block_delta","index":5,"delta":{"type":"text_delta","text":"a"}}"#,
            r#"{"type":"content_block_delta","index":6,"delta":{"type":"input_json_delta","partial_json":"b"}}"#,
            r#"{"type":"content_block_start","index":7,"content_block":{"type":"tool_use","id":"t","name":"f"}}"#,
            r#"{"type":"content_block_start","index":8,"content_block":{"type":"tool_use","id":"u","name":"g"}}"#,
            r#"{"type":"content_block_delta","index":7,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
            r#"{"type":"content_block_delta","index":8,"delta":{"type":"input_json_delta","partial_json":"{ }"}}"#,
            r#"{"type":"content_block_stop","index":9}"#,
        ],
        &[
            begin(0, PartKind::Text),
            delta(0, "a"),
            end(0),
            begin(1, call("t", "f")),
            begin(2, call("u", "g")),
            delta(1, "{}"),
            delta(2, "{ }"),
            end(1),
            end(2),
        ],
    );
}

#[test]
fn what_is_no_block_is_passed_over() {
    let body = br#"{"content":[1,"x",null,{},{"type":"text","text":"a"}],"stop_reason":"end_turn"}"#;
    let mut events = Vec::new();
    Reader::default().read_buffered(body, &mut events).unwrap();
    let whole = String::from_utf8(Writer::new(own_wish()).write_buffered(events)).unwrap();
    assert!(whole.contains(r#""content":[{},{"type":"text","text":"a"}]"#), "{whole}");
    let started = r#"{"type":"content_block_start","index":0,"content_block":7}"#;
    assert_eq!(read_stream(&stream(&[START, started, END, STOP])), read_stream(&stream(&[START, END, STOP])));
}

#[test]
fn usage_is_cumulative_and_keeps_its_split() {
    let events = read_stream(&stream(&[START, END, STOP])).unwrap();
    let usage = |output| {
        Event::Usage(Usage {
            input: 9,
            cached_read: 3,
            cache_write: 1,
            cache_write_long: 4,
            output,
            reasoning: 0,
            source: UsageSource::Provider,
            ..Usage::default()
        })
    };
    assert_eq!(events[1], usage(1));
    assert_eq!(events[3..], [usage(7), Event::Done]);
}

#[test]
fn every_stop_reason_has_its_own() {
    let finish_of = |delta: &str| {
        let text = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#;
        let end = format!(r#"{{"type":"message_delta","delta":{delta},"usage":{{"output_tokens":7}}}}"#);
        let events = read_stream(&stream(&[START, text, &end, STOP])).unwrap();
        events
            .into_iter()
            .find_map(|event| match event {
                Event::Finish { finish, .. } => Some(finish),
                _ => None,
            })
            .unwrap()
    };
    for (word, reason) in [
        ("end_turn", Reason::Stop),
        ("max_tokens", Reason::Length),
        ("tool_use", Reason::Calls),
        ("pause_turn", Reason::Pause),
        ("compaction", Reason::Pause),
        ("model_context_window_exceeded", Reason::ContextLength),
        ("later_word", Reason::Stop),
    ] {
        let finish = finish_of(&format!(r#"{{"stop_reason":"{word}"}}"#));
        assert_eq!((finish.reason, finish.raw.as_deref()), (reason, Some(word)));
    }
    let finish = finish_of(r#"{"stop_reason":"stop_sequence","stop_sequence":"END"}"#);
    assert_eq!((finish.reason, finish.sequence.as_deref()), (Reason::StopSequence, Some("END")));
    let finish = finish_of(
        r#"{"stop_reason":"refusal","stop_details":{"type":"refusal","category":"bio","explanation":null}}"#,
    );
    assert_eq!((finish.reason, finish.explanation.as_deref()), (Reason::Refusal, Some("bio")));
}

#[test]
fn an_answer_ends_with_its_reason_and_not_without() {
    assert!(read_stream(&stream(&[START, END])).is_ok(), "the last event is missing");
    assert_eq!(read_stream(&stream(&[START])), Err(StreamFault::Broken("ended_early")));
    assert_eq!(read_stream(b""), Err(StreamFault::Broken("empty")));
    let events = read_stream(&stream(&[START, STOP])).unwrap();
    let finish = Finish { reason: Reason::Error, raw: None, sequence: None, explanation: None };
    assert!(events.contains(&Event::Finish { choice: 0, finish }), "nothing was said, and not why");
}

#[test]
fn an_error_is_the_upstreams_own() {
    let error =
        r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_9"}"#;
    let check = |fault: StreamFault| {
        let StreamFault::Upstream(report, class) = fault else { panic!("{fault:?}") };
        assert_eq!(class, FaultClass::Overloaded);
        assert_eq!(report.kind.as_deref(), Some("overloaded_error"));
        assert_eq!(report.message.as_deref(), Some("Overloaded"));
        assert_eq!(report.request_id.as_deref(), Some("req_9"));
    };
    check(read_stream(&stream(&[error])).unwrap_err());
    check(read_stream(&stream(&[START, error])).unwrap_err());
    check(Reader::default().read_buffered(error.as_bytes(), &mut Vec::new()).unwrap_err());
    for (body, word) in [("[]", "not_a_message"), ("{}", "not_a_message"), ("{\"id\":", "cut_json")] {
        let fault = Reader::default().read_buffered(body.as_bytes(), &mut Vec::new()).unwrap_err();
        assert_eq!(fault, StreamFault::Broken(word), "{body}");
    }
}

/// The stream that a client gets for these events, written event by event.
fn write_events(wish: AnswerOptions, events: Vec<Event>) -> Vec<String> {
    let mut writer = Writer::new(wish);
    let mut bytes = Vec::new();
    events.into_iter().for_each(|event| writer.event(event, &mut bytes));
    let text = String::from_utf8(bytes).unwrap();
    text.split_terminator("\n\n").map(str::to_owned).collect()
}

fn finish(reason: Reason) -> Event {
    Event::Finish { choice: 0, finish: Finish::of(reason) }
}

#[test]
fn an_answer_that_is_kept_has_the_id_that_it_is_kept_under() {
    let kept = AnswerOptions { is_named_by_trace: true, ..wish() };
    for (wish, id) in [(kept, format!("msg_{TRACE}")), (wish(), "msg_1".to_owned())] {
        let events = vec![start(), finish(Reason::Stop), Event::Done];
        let whole = String::from_utf8(Writer::new(wish.clone()).write_buffered(events.clone())).unwrap();
        let id = format!(r#""id":"{id}""#);
        assert!(whole.contains(&id), "{whole}");
        assert!(write_events(wish, events)[0].contains(&id));
    }
}

#[test]
fn calls_side_by_side_are_written_one_after_the_other() {
    let events = vec![
        Event::Start { id: Some("chatcmpl-1".to_owned()), model: None, created_unix_s: Some(5) },
        begin(0, call("a", "f")),
        begin(1, call("", "g")),
        delta(0, "{\"x\":"),
        delta(1, "{}"),
        end(1),
        delta(0, "1}"),
        end(0),
        finish(Reason::Stop),
        Event::Usage(Usage { input: 5, cached_read: 2, output: 3, reasoning: 4, ..Usage::default() }),
        Event::Done,
    ];
    assert_eq!(
        write_events(wish(), events),
        [
            r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_chatcmpl-1","type":"message","role":"assistant","model":"my/model","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}}"#,
            "event: ping\ndata: {\"type\": \"ping\"}",
            r#"event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a","name":"f","input":{}}}"#,
            r#"event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"x\":"}}"#,
            r#"event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"1}"}}"#,
            "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}",
            &format!(
                r#"event: content_block_start
data: {{"type":"content_block_start","index":1,"content_block":{{"type":"tool_use","id":"toolu_{TRACE}_1","name":"g","input":{{}}}}}}"#
            ),
            r#"event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
            "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":1}",
            r#"event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"input_tokens":5,"cache_creation_input_tokens":0,"cache_read_input_tokens":2,"output_tokens":7,"output_tokens_details":{"thinking_tokens":4}}}"#,
            "event: message_stop\ndata: {\"type\":\"message_stop\"}",
        ]
    );
}

#[test]
fn what_other_providers_alone_read_is_left_out_and_numbers_stay_dense() {
    let events = vec![
        start(),
        begin(0, PartKind::Text),
        end(0),
        begin(1, PartKind::Redacted),
        Event::Signature { choice: 0, part: 1, value: "seal".to_owned() },
        end(1),
        begin(2, PartKind::Foreign { kind: "web_search_call".to_owned(), json: Json("{}".to_owned()) }),
        end(2),
        begin(3, thought()),
        delta(3, "hm"),
        Event::Signature { choice: 0, part: 3, value: "seal".to_owned() },
        end(3),
        begin(4, PartKind::Text),
        delta(4, "a"),
        Event::Citation { choice: 0, part: 4, json: Json("{}".to_owned()) },
        Event::Logprobs { choice: 0, tokens: Json("[]".to_owned()) },
        end(4),
        finish(Reason::Stop),
        Event::Done,
    ];
    let stream = write_events(wish(), events.clone());
    let all = stream.join("\n");
    assert!(!all.contains("seal") && !all.contains("citation") && !all.contains("\"index\":2"), "{all}");
    assert!(
        all.contains(r#""index":0,"content_block":{"type":"thinking","thinking":"","signature":""}"#),
        "{all}"
    );
    assert!(all.contains(r#""index":1,"content_block":{"type":"text","text":""}"#), "{all}");
    assert!(all.contains(r#""usage":{"input_tokens":0,"#), "the count is always there: {all}");
    let whole = String::from_utf8(Writer::new(wish()).write_buffered(events)).unwrap();
    assert_eq!(
        whole,
        r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[{"type":"thinking","thinking":"hm","signature":""},{"type":"text","text":"a"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}"#
    );
}

#[test]
fn an_empty_answer_has_no_blocks() {
    let events = vec![
        Event::Start { id: None, model: None, created_unix_s: None },
        begin(0, PartKind::Text),
        delta(0, ""),
        end(0),
        finish(Reason::Stop),
        Event::Done,
    ];
    assert_eq!(write_events(wish(), events.clone()).len(), 4);
    let whole = String::from_utf8(Writer::new(wish()).write_buffered(events)).unwrap();
    assert!(whole.starts_with(&format!(r#"{{"id":"msg_{TRACE}","type":"message""#)), "{whole}");
    assert!(whole.contains(r#""content":[],"stop_reason":"end_turn""#), "{whole}");
}

#[test]
fn how_an_answer_ended_fits_what_it_holds() {
    let ended = |kind: Option<PartKind>, reason: Reason| {
        let mut events = vec![start()];
        if let Some(kind) = kind {
            events.extend([begin(0, kind), delta(0, "{}"), end(0)]);
        }
        let finish = Finish {
            sequence: (reason == Reason::StopSequence).then(|| "END".to_owned()),
            explanation: Some("No.".to_owned()),
            ..Finish::of(reason)
        };
        events.extend([Event::Finish { choice: 0, finish }, Event::Done]);
        let written = write_events(wish(), events);
        written[written.len() - 2].split("\"delta\":").nth(1).unwrap_or("").to_owned()
    };
    let text = || Some(PartKind::Text);
    for (kind, reason, expected) in [
        (text(), Reason::Stop, r#"{"stop_reason":"end_turn","stop_sequence":null}"#),
        (Some(call("a", "f")), Reason::Stop, r#"{"stop_reason":"tool_use","stop_sequence":null}"#),
        (None, Reason::Calls, r#"{"stop_reason":"end_turn","stop_sequence":null}"#),
        (text(), Reason::StopSequence, r#"{"stop_reason":"stop_sequence","stop_sequence":"END"}"#),
        (text(), Reason::Length, r#"{"stop_reason":"max_tokens","stop_sequence":null}"#),
        (
            text(),
            Reason::ContextLength,
            r#"{"stop_reason":"model_context_window_exceeded","stop_sequence":null}"#,
        ),
        (text(), Reason::Pause, r#"{"stop_reason":"pause_turn","stop_sequence":null}"#),
        (
            text(),
            Reason::ContentFilter,
            r#"{"stop_reason":"refusal","stop_sequence":null,"stop_details":{"type":"refusal","category":null,"explanation":"No."}}"#,
        ),
        (
            Some(PartKind::Refusal),
            Reason::Stop,
            r#"{"stop_reason":"refusal","stop_sequence":null,"stop_details":{"type":"refusal","category":null,"explanation":"No."}}"#,
        ),
    ] {
        let found = ended(kind, reason);
        assert!(found.starts_with(expected), "{reason:?}: {found}");
    }
}

#[test]
fn an_answer_that_failed_without_a_word_is_an_error_event() {
    let events = write_events(wish(), vec![start(), finish(Reason::Error), Event::Done]);
    let last = events.last().unwrap();
    assert!(
        last.starts_with("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\""),
        "{last}"
    );
}

#[test]
fn an_error_may_come_before_anything() {
    let trace: TraceId = TRACE.parse().unwrap();
    let fault = Fault::new(FaultClass::Overloaded, "overloaded", "Busy.");
    let mut bytes = Vec::new();
    Writer::new(wish()).error(&fault, trace, &mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    assert!(
        text.starts_with("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\""),
        "{text}"
    );
    assert!(text.ends_with("\n\n"));
}

#[test]
fn a_stream_that_others_began_is_ended_in_its_own_numbers() {
    let mut progress = Progress::default();
    for event in [start(), begin(0, thought()), end(0), begin(1, PartKind::Text), delta(1, "a")] {
        progress.note(&event);
    }
    let mut writer = Writer::new(own_wish());
    writer.resume(&progress);
    let mut bytes = Vec::new();
    for event in [end(1), finish(Reason::Length), Event::Usage(Usage::default()), Event::Done] {
        writer.event(event, &mut bytes);
    }
    let text = String::from_utf8(bytes).unwrap();
    assert!(
        text.starts_with("event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":1}\n\nevent: message_delta\n"),
        "{text}"
    );
    assert!(text.contains(r#""stop_reason":"max_tokens""#), "{text}");
}

#[test]
fn arguments_that_are_no_object_are_told_as_they_are_in_a_whole_answer() {
    let whole = |kind: PartKind, arguments: &str| {
        let events =
            vec![start(), begin(0, kind), delta(0, arguments), end(0), finish(Reason::Calls), Event::Done];
        String::from_utf8(Writer::new(wish()).write_buffered(events)).unwrap()
    };
    assert!(
        whole(call("a", "f"), "{\"n\": 1, \"n\": 9007199254740993}")
            .contains(r#""input":{"n": 1, "n": 9007199254740993}"#)
    );
    assert!(whole(call("a", "f"), "").contains(r#""input":{}"#));
    assert!(whole(call("a", "f"), "{\"x").contains(r#""input":{"_raw":"{\"x"}"#));
    let custom = PartKind::Call { id: "a".to_owned(), name: "f".to_owned(), is_custom: true };
    assert!(whole(custom, "ls \"x\"").contains(r#""input":{"input":"ls \"x\""}"#));
}

#[test]
fn json_over_several_lines_stays_on_the_line_of_its_event() {
    let json = Json("{\"type\":\"web_search_tool_result\",\n\"content\":[]}".to_owned());
    let kind = PartKind::Foreign { kind: "web_search_tool_result".to_owned(), json };
    let events = write_events(own_wish(), vec![start(), begin(0, kind), end(0)]);
    assert!(
        events[2].ends_with(r#""content_block":{"type":"web_search_tool_result", "content":[]}}"#),
        "{}",
        events[2]
    );
    assert_eq!(super::super::PING, format!("{}\n\n", events[1]).as_bytes());
}
