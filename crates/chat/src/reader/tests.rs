//! Tests that read responses into events, in every variant that servers produce.

use bytes::Bytes;
use dialects::{AnswerPath, AnswerStream};
use domain::{FaultClass, Reason, TraceId, Usage};
use proptest::prelude::*;

use super::*;

/// The events of a stream with these data lines, one line each; deltas of one part are joined.
fn read(data: &[&str]) -> Result<Vec<String>, StreamFault> {
    let mut reader = Reader::default();
    let mut events = Vec::new();
    for data in data {
        reader.event(b"", data.as_bytes(), &mut events)?;
    }
    reader.end(&mut events)?;
    Ok(lines(&events))
}

fn read_whole(body: &str) -> Result<Vec<String>, StreamFault> {
    let mut events = Vec::new();
    Reader::default().read_buffered(body.as_bytes(), &mut events)?;
    Ok(lines(&events))
}

fn lines(events: &[Event]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut last = None;
    for event in events {
        if let Event::Delta { choice, part, text } = event {
            if last == Some((*choice, *part)) {
                lines.last_mut().unwrap().push_str(text);
            } else {
                lines.push(format!("{choice}.{part} {text}"));
            }
            last = Some((*choice, *part));
            continue;
        }
        last = None;
        lines.push(line(event));
    }
    lines
}

fn line(event: &Event) -> String {
    match event {
        Event::Start { id, model, created_unix_s } => {
            format!("start {} {} {}", or_dash(id), or_dash(model), created_unix_s.unwrap_or(0))
        }
        Event::Begin { choice, part, kind } => format!("{choice}.{part} begin {}", kind_word(kind)),
        Event::End { choice, part } => format!("{choice}.{part} end"),
        Event::Citation { choice, part, json } => format!("{choice}.{part} cites {}", json.as_str()),
        Event::Logprobs { choice, tokens } => format!("{choice} logprobs {}", tokens.as_str()),
        Event::Finish { choice, finish } => {
            format!("{choice} finish {:?} {}", finish.reason, or_dash(&finish.raw))
        }
        Event::Usage(usage) => format!("usage {}+{}", usage.prompt_total(), usage.completion_total()),
        Event::Done => "done".to_owned(),
        other => format!("{other:?}"),
    }
}

fn or_dash(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or("-")
}

fn kind_word(kind: &domain::PartKind) -> String {
    use domain::PartKind::*;
    match kind {
        Call { id, name, is_custom } => format!("{} {id} {name}", if *is_custom { "custom" } else { "call" }),
        Thought { .. } => "thought".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    }
}

fn chunk(delta: &str) -> String {
    format!(r#"{{"choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}"#)
}

fn finish(word: &str) -> String {
    format!(r#"{{"choices":[{{"index":0,"delta":{{}},"finish_reason":{word}}}]}}"#)
}

/// The events of a stream of these deltas, without its start and end.
#[track_caller]
fn check(deltas: &[&str], word: &str, expected: &[&str]) {
    let mut data: Vec<String> = deltas.iter().map(|delta| chunk(delta)).collect();
    data.push(finish(word));
    data.push("[DONE]".to_owned());
    let data: Vec<&str> = data.iter().map(String::as_str).collect();
    let lines = read(&data).unwrap();
    assert_eq!(lines.first().unwrap(), "start - - 0");
    assert_eq!(lines.last().unwrap(), "done");
    assert_eq!(lines[1..lines.len() - 1], *expected, "{deltas:?}");
}

#[test]
fn texts_thoughts_and_refusals_are_parts_in_their_order() {
    check(
        &[
            r#"{"role":"assistant","content":""}"#,
            r#"{"content":null,"reasoning_content":"th","reasoning":"th"}"#,
            r#"{"reasoning":"ink"}"#,
            r#"{"content":"Hell"}"#,
            r#"{"content":"o","annotations":[{"type":"url_citation"}]}"#,
            "null",
        ],
        "\"stop\"",
        &[
            "0.0 begin thought",
            "0.0 think",
            "0.0 end",
            "0.1 begin text",
            "0.1 Hello",
            r#"0.1 cites {"type":"url_citation"}"#,
            "0.1 end",
            "0 finish Stop stop",
        ],
    );
    check(
        &[r#"{"refusal":"I "}"#, r#"{"refusal":"can't."}"#],
        "\"stop\"",
        &["0.0 begin refusal", "0.0 I can't.", "0.0 end", "0 finish Refusal stop"],
    );
    check(
        &[
            r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"a"}]}"#,
        ],
        "\"stop\"",
        &[
            "0.0 begin thought",
            "0.0 hm",
            "0.0 end",
            "0.1 begin text",
            "0.1 a",
            "0.1 end",
            "0 finish Stop stop",
        ],
    );
}

#[test]
fn calls_are_told_apart_however_they_are_numbered() {
    let two = [
        "0.0 begin call a f",
        "0.0 {\"x\":",
        "0.1 begin call b g",
        "0.1 {\"y\":",
        "0.0 1}",
        "0.1 2}",
        "0.0 end",
        "0.1 end",
        "0 finish Calls tool_calls",
    ];
    check(
        &[
            r#"{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":"}}]}"#,
            r#"{"tool_calls":[{"index":1,"id":"b","function":{"name":"g","arguments":"{\"y\":"}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"1}"}},{"index":1,"function":{"arguments":"2}"}}]}"#,
        ],
        "\"tool_calls\"",
        &two,
    );
    let one_after_the_other = [
        "0.0 begin call a f",
        "0.0 {\"x\":1}",
        "0.1 begin call b g",
        "0.1 {}",
        "0.0 end",
        "0.1 end",
        "0 finish Calls stop",
    ];
    let spreads: [&[&str]; 5] = [
        // Complete, without an index.
        &[
            r#"{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}},{"id":"b","function":{"name":"g","arguments":{}}}]}"#,
        ],
        // The id repeated in each delta, without an index.
        &[
            r#"{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{\"x\":"}}]}"#,
            r#"{"tool_calls":[{"id":"a","function":{"arguments":"1}"}}]}"#,
            r#"{"tool_calls":[{"id":"b","function":{"name":"g","arguments":"{}"}}]}"#,
        ],
        // A name in pieces, and an id that comes after it.
        &[
            r#"{"tool_calls":[{"index":0,"function":{"name":"","arguments":null}}]}"#,
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f"}}]}"#,
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}}]}"#,
            r#"{"tool_calls":[{"index":1,"id":"b","function":{"name":"g","arguments":"{}"}}]}"#,
        ],
        // An id that changes from delta to delta.
        &[
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":"}}]}"#,
            r#"{"tool_calls":[{"index":0,"id":"c","function":{"arguments":"1}"}}]}"#,
            r#"{"tool_calls":[{"index":1,"id":"b","function":{"name":"g","arguments":"{}"}}]}"#,
        ],
        // The same index for all of them.
        &[
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}}]}"#,
            r#"{"tool_calls":[{"index":0,"id":"b","function":{"name":"g","arguments":"{}"}}]}"#,
        ],
    ];
    for deltas in spreads {
        check(deltas, "\"stop\"", &one_after_the_other);
    }
}

#[test]
fn a_name_comes_whole_in_pieces_or_again() {
    check(
        &[
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"get_"}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"name":"weather"}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"name":"get_weather","arguments":"{}"}}]}"#,
        ],
        "\"tool_calls\"",
        &["0.0 begin call a get_weather", "0.0 {}", "0.0 end", "0 finish Calls tool_calls"],
    );
}

#[test]
fn calls_without_ids_get_ones_that_differ_by_answer() {
    let body = |id: &str| {
        let body = format!(
            r#"{{"id":"{id}","choices":[{{"message":{{"tool_calls":[{{"function":{{"name":"f","arguments":"{{}}"}}}},{{"function":{{"name":"f","arguments":"{{}}"}}}}]}}}}]}}"#
        );
        let lines = read_whole(&body).unwrap();
        lines.into_iter().filter(|line| line.contains("begin call")).collect::<Vec<_>>()
    };
    let (one, two) = (body("a"), body("b"));
    assert_eq!(one, body("a"));
    assert_eq!(one.len(), 2);
    assert_ne!(one[0][4..], one[1][4..]);
    assert!(one.iter().all(|line| !two.contains(line)), "{one:?} {two:?}");
}

#[test]
fn other_forms_of_calls_are_calls() {
    check(
        &[
            r#"{"function_call":{"name":"f","arguments":""}}"#,
            r#"{"function_call":{"arguments":"{\"n\":12345678901234567890,\"n\":1}"}}"#,
        ],
        "\"function_call\"",
        &[
            &format!("0.0 begin call {} f", generated_id("{\"n\":12345678901234567890,\"n\":1}")),
            "0.0 {\"n\":12345678901234567890,\"n\":1}",
            "0.0 end",
            "0 finish Calls function_call",
        ],
    );
    check(
        &[r#"{"tool_calls":[{"index":0,"id":"a","type":"custom","custom":{"name":"f","input":"plain"}}]}"#],
        "\"tool_calls\"",
        &["0.0 begin custom a f", "0.0 plain", "0.0 end", "0 finish Calls tool_calls"],
    );
    // A call that has neither name nor arguments still counts.
    check(
        &[r#"{"content":"x"}"#, r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f"}}]}"#],
        "null",
        &["0.0 begin text", "0.0 x", "0.0 end", "0.1 begin call a f", "0.1 end", "0 finish Calls -"],
    );
}

/// The id that is generated for the call of the chunk with these arguments.
fn generated_id(arguments: &str) -> String {
    let json = chunk(&format!(
        r#"{{"function_call":{{"arguments":{}}}}}"#,
        serde_json::to_string(arguments).unwrap()
    ));
    let mut choice = ChoiceReading::new(0);
    choice.begin_chunk(json.as_bytes());
    choice.made_id(0, "f")
}

#[test]
fn a_call_that_ended_takes_no_more() {
    let data = [
        chunk(r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}]}"#),
        chunk(r#"{"content":"text"}"#),
        chunk(r#"{"tool_calls":[{"index":0,"function":{"arguments":"}"}}]}"#),
    ];
    let data: Vec<&str> = data.iter().map(String::as_str).collect();
    assert_eq!(read(&data), Err(StreamFault::Broken("call_reopened")));
}

#[test]
fn every_word_for_an_end_has_its_reason() {
    let cases = [
        ("stop", Reason::Stop),
        ("eos", Reason::Stop),
        ("end_turn", Reason::Stop),
        ("stop_sequence", Reason::StopSequence),
        ("length", Reason::Length),
        ("max_tokens", Reason::Length),
        ("content_filter", Reason::ContentFilter),
        ("tool_calls", Reason::Calls),
        ("a_new_word", Reason::Stop),
    ];
    for (word, reason) in cases {
        let data = [chunk(r#"{"content":"x"}"#), finish(&format!("\"{word}\""))];
        let lines = read(&[&data[0], &data[1]]).unwrap();
        assert_eq!(lines[lines.len() - 2], format!("0 finish {reason:?} {word}"));
    }
    assert_eq!(read(&[&finish("\"a_new_word\"")]).unwrap()[1], "0 finish Error a_new_word");
}

#[test]
fn an_end_is_told_by_a_word_or_by_the_end_of_the_stream() {
    let empty_words = r#"{"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":""}]}"#;
    let lines = read(&[empty_words, &finish("null"), " [DONE] ", "[DONE]", "{\"choices\":[]}"]).unwrap();
    assert_eq!(lines[1..], ["0.0 begin text", "0.0 x", "0.0 end", "0 finish Stop -", "done"]);
    assert_eq!(read(&[empty_words]), Err(StreamFault::Broken("ended_early")));
    assert_eq!(read(&[]), Err(StreamFault::Broken("empty")));
    assert_eq!(read(&["[DONE]"]), Err(StreamFault::Broken("empty")));
    assert_eq!(read(&[&finish("\"stop\"")]).unwrap(), ["start - - 0", "0 finish Stop stop", "done"]);
}

#[test]
fn usage_may_come_anywhere_and_the_latest_counts() {
    let usage = |choices: &str, usage: &str| format!(r#"{{"choices":{choices},"usage":{usage}}}"#);
    let text = r#"[{"index":0,"delta":{"content":"x"}}]"#;
    let end = r#"[{"index":0,"delta":{},"finish_reason":"stop"}]"#;
    let counts = |prompt: u64, completion: u64| {
        format!(r#"{{"prompt_tokens":{prompt},"completion_tokens":{completion}}}"#)
    };
    // Usage in every chunk, then after the finish reason.
    let data = [
        usage(text, &counts(5, 1)),
        usage(text, &counts(5, 2)),
        usage(end, "null"),
        usage("[]", &counts(5, 3)),
    ];
    let lines = read(&data.each_ref().map(String::as_str)).unwrap();
    let usages: Vec<&String> = lines.iter().filter(|line| line.starts_with("usage")).collect();
    assert_eq!(usages, ["usage 5+1", "usage 5+2", "usage 5+3"]);
    assert_eq!(lines.last().unwrap(), "done");
    // Zeros are not a usage report where the answer has text.
    let data = [usage("[]", &counts(0, 0)), usage(text, &counts(0, 0)), usage(end, &counts(0, 0))];
    assert!(
        !read(&data.each_ref().map(String::as_str)).unwrap().iter().any(|line| line.starts_with("usage"))
    );
    // Before there is a choice, and with reasoning that is counted in addition to the completion.
    let early = r#"{"prompt_tokens":10120,"completion_tokens":1499,"total_tokens":14428,"completion_tokens_details":{"reasoning_tokens":2809}}"#;
    let data = [usage("[]", early), usage(text, "null"), usage(end, "null")];
    let lines = read(&data.each_ref().map(String::as_str)).unwrap();
    assert_eq!(lines[lines.len() - 2..], ["usage 10120+4308", "done"]);
    // More reasoning than the completion that it is within.
    let absurd = r#"{"prompt_tokens":5,"completion_tokens":5,"completion_tokens_details":{"reasoning_tokens":999999999}}"#;
    let data = [usage("[]", absurd), usage(text, "null"), usage(end, "null")];
    let lines = read(&data.each_ref().map(String::as_str)).unwrap();
    assert_eq!(lines[lines.len() - 2..], ["usage 5+5", "done"]);
}

#[test]
fn the_start_is_named_by_the_first_chunk_with_a_choice() {
    let lines = read(&[
        r#"{"id":"","model":"","created":0,"choices":[],"prompt_filter_results":[{"prompt_index":0}]}"#,
        r#"{"id":"chatcmpl-1","model":"m","created":1700000000.5,"choices":[{"index":0,"delta":{"content":"x"}}]}"#,
        "{}",
        r#"{"id":"chatcmpl-2","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
        r#"{"choices":[{"index":0,"finish_reason":null,"content_filter_offsets":{"start_offset":1}}]}"#,
        "[DONE]",
    ]);
    assert_eq!(
        lines.unwrap(),
        ["start chatcmpl-1 m 1700000000", "0.0 begin text", "0.0 x", "0.0 end", "0 finish Stop stop", "done"]
    );
}

#[test]
fn choices_go_side_by_side() {
    let lines = read(&[
        r#"{"choices":[{"index":2,"delta":{"content":"c"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"a"}},{"index":2,"delta":{},"finish_reason":"length"}]}"#,
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    ]);
    let expected = [
        "start - - 0",
        "2.0 begin text",
        "2.0 c",
        "0.0 begin text",
        "0.0 a",
        "2.0 end",
        "2 finish Length length",
        "0.0 end",
        "0 finish Stop stop",
        "done",
    ];
    assert_eq!(lines.unwrap(), expected);
}

#[test]
fn logprobs_come_in_one_shape() {
    let tokens = r#"[{"token":"é","logprob":-0.5,"bytes":[195,169],"top_logprobs":[]}]"#;
    let cases = [
        format!(r#"{{"content":{tokens},"refusal":null}}"#),
        "-0.5".to_owned(),
        r#"{"tokens":["é"],"token_logprobs":[-0.5],"token_ids":[1]}"#.to_owned(),
    ];
    for logprobs in cases {
        let data =
            format!(r#"{{"choices":[{{"index":0,"logprobs":{logprobs},"delta":{{"content":"é"}}}}]}}"#);
        let lines = read(&[&data, &finish("\"stop\"")]).unwrap();
        let logprobs = format!("0 logprobs {tokens}");
        assert_eq!(lines[1..4], ["0.0 begin text", &logprobs, "0.0 é"]);
    }
}

#[test]
fn whole_answers_are_read_as_they_would_have_been_told() {
    let lines = read_whole(
        r#"{"id":"x","object":"chat.completion","created":7,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"a","refusal":null,
            "reasoning_content":"t","annotations":[],"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":""}}]},"finish_reason":"tool_calls","logprobs":null}],
            "usage":{"prompt_tokens":3,"completion_tokens":4}}"#,
    );
    let expected = [
        "start x m 7",
        "0.0 begin thought",
        "0.0 t",
        "0.0 end",
        "0.1 begin text",
        "0.1 a",
        "0.1 end",
        "0.2 begin call 1 f",
        "0.2 end",
        "0 finish Calls tool_calls",
        "usage 3+4",
        "done",
    ];
    assert_eq!(lines.unwrap(), expected);
    // A `message` in a stream is a complete one.
    let lines = read(&[r#"{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}]}"#]).unwrap();
    assert_eq!(lines[1..], ["0.0 begin text", "0.0 x", "0.0 end", "0 finish Stop stop", "done"]);
}

#[test]
fn errors_are_faults_in_every_shape() {
    let cases = [
        (r#"{"error":{"message":"m","code":"rate_limit_exceeded"}}"#, FaultClass::RateLimit),
        (r#"{"error":"text"}"#, FaultClass::Upstream),
        (r#"[{"error":{"message":"m","code":429}}]"#, FaultClass::RateLimit),
        (r#"{"object":"error","message":"maximum context length"}"#, FaultClass::ContextLength),
        (r#"{"code":"c","error":"text"}"#, FaultClass::Upstream),
    ];
    for (body, class) in cases {
        let fault = read_whole(body).unwrap_err();
        assert!(matches!(&fault, StreamFault::Upstream(_, found) if *found == class), "{body} {fault:?}");
        if body.starts_with('{') {
            assert_eq!(read(&[&chunk(r#"{"content":"x"}"#), body]).unwrap_err(), fault);
        }
    }
    let mut reader = Reader::default();
    let fault = reader.event(b"error", br#"{"message":"m","type":"overloaded_error"}"#, &mut Vec::new());
    assert!(matches!(fault, Err(StreamFault::Upstream(_, FaultClass::Overloaded))));
    assert_eq!(read_whole(r#"{"detail":[{"msg":"m"}]}"#), Err(StreamFault::Broken("not_a_completion")));
    assert_eq!(read(&["nonsense"]), Err(StreamFault::Broken("bad_json")));
}

#[test]
fn too_many_choices_or_calls_are_refused() {
    let choices: Vec<String> = (0..200).map(|index| format!(r#"{{"index":{index},"delta":{{}}}}"#)).collect();
    let data = format!(r#"{{"choices":[{}]}}"#, choices.join(","));
    assert_eq!(read(&[&data]), Err(StreamFault::Broken("oversized")));
    let calls: Vec<String> = (0..2000).map(|index| format!(r#"{{"index":{index}}}"#)).collect();
    let data = chunk(&format!(r#"{{"tool_calls":[{}]}}"#, calls.join(",")));
    assert_eq!(read(&[&data]), Err(StreamFault::Broken("oversized")));
}

fn answer_path() -> AnswerPath {
    AnswerPath::chat(domain::Grammar::Responses, domain::Grammar::Chat).with_labels(
        "m",
        TraceId::new(1, [0; 10]),
        1,
    )
}

fn translate<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Option<Usage>, u64, bool) {
    let mut stream = AnswerStream::new(answer_path());
    let mut out = Vec::new();
    for piece in pieces {
        stream.push(Bytes::copy_from_slice(piece), &mut out).unwrap();
    }
    stream.finish(&mut out).unwrap();
    let facts = stream.facts();
    (out.concat(), facts.usage, facts.content_bytes, facts.done)
}

#[test]
fn a_whole_answer_for_a_stream_and_a_stream_for_a_whole_answer_are_read() {
    let usage = r#""usage":{"prompt_tokens":5,"completion_tokens":6}"#;
    let body =
        format!(r#"{{"choices":[{{"message":{{"content":"héllo"}},"finish_reason":"stop"}}],{usage}}}"#);
    let (_, counted, bytes, is_done) = translate([body.as_bytes()]);
    assert_eq!((counted.map(|usage| (usage.input, usage.output)), bytes, is_done), (Some((5, 6)), 6, true));
    let stream = format!(
        "data: {}\n\ndata: {{\"choices\":[{{\"finish_reason\":\"stop\"}}],{usage}}}",
        chunk(r#"{"content":"héllo"}"#)
    );
    let facts = dialects::buffered_answer(&answer_path(), Bytes::from(stream)).unwrap().facts;
    assert_eq!((facts.usage.map(|usage| usage.input), facts.content_bytes), (Some(5), 6));
}

proptest! {
    #[test]
    fn a_stream_says_the_same_however_it_is_split(cuts in prop::collection::vec(0_usize..600, 0..8)) {
        let stream = concat!(
            "\u{feff}: hello\r\n\r\ndata: {\"choices\":[],\"prompt_filter_results\":[]}\r\n\r\n",
            "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\rdata:\"delta\":{\"content\":\"h\u{e9}llo \u{1f600}\"}}]}\r\r",
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":{\"x\":1}}}]}}]}\n\n",
            "data: {\"choices\":[{\"index\":0,\"delta\":null,\"finish_reason\":\"tool_calls\"}],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":6}}\n\n",
            "data: [DONE]",
        ).as_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let split = translate(cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]));
        let whole = translate([stream]);
        prop_assert_eq!(whole.1.map(|usage| (usage.input, usage.output)), Some((5, 6)));
        prop_assert_eq!((whole.2, whole.3), (19, true));
        prop_assert_eq!(split, whole);
    }
}
