//! Streams as upstreams send them, cut at every place: what the client gets, and what accounting gets.

use bytes::Bytes;
use chat::{StreamScanner, answer_text, normalise_completion, read_answer};
use conversation::answer::{AnswerFacts, StreamFacts, StreamFault};
use domain::{FaultClass, Usage, UsageSource};
use proptest::prelude::*;

/// The result of a stream.
#[derive(Debug, PartialEq)]
pub struct ScanOutput {
    pub client: Vec<u8>,
    pub facts: StreamFacts,
    pub end: Result<(), StreamFault>,
}

pub fn run<'a>(chunks: impl IntoIterator<Item = &'a [u8]>, hide_usage: bool) -> ScanOutput {
    let mut scanner = StreamScanner::new(hide_usage);
    let mut out = Vec::new();
    let mut end = Ok(());
    for chunk in chunks {
        end = scanner.push(Bytes::copy_from_slice(chunk), &mut out);
        if end.is_err() {
            break;
        }
    }
    let end = end.and_then(|()| scanner.finish(&mut out));
    ScanOutput { client: out.concat(), facts: scanner.facts().clone(), end }
}

fn whole(text: &str, hide_usage: bool) -> ScanOutput {
    run([text.as_bytes()], hide_usage)
}

const FIRST: &str = r#"data: {"id":"c1","model":"m-1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}"#;
const TEXT: &str = r#"data: {"id":"c1","model":"m-1","choices":[{"index":0,"delta":{"content":"Grüße 😀"},"finish_reason":null}],"usage":null}"#;
const LAST: &str = r#"data: {"id":"c1","model":"m-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}"#;
const USAGE: &str = r#"data: {"id":"c1","model":"m-1","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13,"prompt_tokens_details":{"cached_tokens":3}}}"#;
const DONE: &str = "data: [DONE]";

fn stream(events: &[&str], end: &str) -> String {
    events.iter().flat_map(|event| [*event, end, end]).collect()
}

fn normal(end: &str) -> String {
    stream(&[FIRST, TEXT, LAST, USAGE, DONE], end)
}

fn text_of(output: &ScanOutput) -> &str {
    std::str::from_utf8(&output.client).expect("UTF-8")
}

#[test]
fn a_shown_stream_is_the_same_bytes() {
    for end in ["\n", "\r\n", "\r"] {
        let text = normal(end);
        let output = whole(&text, false);
        assert_eq!(text_of(&output), text);
        assert_eq!(output.end, Ok(()));
        assert_eq!(
            output.facts,
            StreamFacts {
                usage: Some(Usage {
                    input: 6,
                    cached_read: 3,
                    output: 4,
                    source: UsageSource::Provider,
                    ..Usage::default()
                }),
                content_started: true,
                content_bytes: 12,
                events: 4,
                finished: true,
                done: true,
            }
        );
    }
}

#[test]
fn hidden_usage_leaves_no_trace_and_is_counted() {
    let output = whole(&normal("\n"), true);
    assert_eq!(text_of(&output), stream(&[FIRST, TEXT, LAST, DONE], "\n").replace(",\"usage\":null", ""));
    assert_eq!(output.facts.usage.map(|usage| usage.prompt_total()), Some(9));
}

#[test]
fn only_the_usage_member_of_a_full_chunk_is_hidden() {
    for (sent, expected) in [
        (
            r#"{"usage":{"prompt_tokens":1},"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}"#,
            r#"{"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}"#,
        ),
        (
            r#"{"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}] , "usage" : {"prompt_tokens":1} }"#,
            r#"{"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}] }"#,
        ),
        (
            r#"{"id":"a","usage":{"prompt_tokens":1},"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}"#,
            r#"{"id":"a","choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}"#,
        ),
    ] {
        let output = whole(&format!("data: {sent}\n\n"), true);
        assert_eq!(text_of(&output), format!("data: {expected}\n\ndata: [DONE]\n\n"));
        assert_eq!(output.facts.usage.map(|usage| usage.input), Some(1));
    }
    let filters = r#"data: {"choices":[],"prompt_filter_results":[],"usage":null}"#;
    let output = whole(&stream(&[filters, TEXT, LAST, DONE], "\n"), true);
    assert!(text_of(&output).starts_with("data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n"));
}

#[test]
fn the_terminal_state_is_needed_and_supplied() {
    assert_eq!(text_of(&whole(&stream(&[TEXT, LAST], "\n"), false)), stream(&[TEXT, LAST, DONE], "\n"));
    let doubled = whole(
        &format!("{}{}: late\n\n{TEXT}\n\n", stream(&[TEXT, LAST, DONE], "\n"), stream(&[DONE, USAGE], "\n")),
        false,
    );
    assert_eq!(text_of(&doubled), stream(&[TEXT, LAST, DONE], "\n"));
    assert_eq!(doubled.facts.usage.map(|usage| usage.prompt_total()), Some(9), "late usage is usage");
    assert_eq!(doubled.facts.content_bytes, 12);
    let early = whole(&stream(&[FIRST, TEXT], "\n"), false);
    assert_eq!(early.end, Err(StreamFault::Broken("ended_early")));
    assert_eq!(text_of(&early), stream(&[FIRST, TEXT], "\n"));
    for spaced in ["data:[DONE]\n\n", "data:   [DONE]  \n\n", "data: [DONE]\n", "data: [DONE]"] {
        let output = whole(&format!("{}{spaced}", stream(&[TEXT, LAST], "\n")), false);
        assert_eq!(output.end, Ok(()), "{spaced:?}");
        assert!(
            text_of(&output).trim_end().ends_with("[DONE]") && text_of(&output).ends_with("\n\n"),
            "{:?}",
            text_of(&output)
        );
    }
    let unfinished = whole(&stream(&[TEXT, DONE], "\n"), false);
    assert_eq!(unfinished.end, Ok(()), "[DONE] alone ends it too");
}

#[test]
fn a_last_event_without_its_blank_line_counts() {
    for tail in ["", "\n", "\r\n", "\r"] {
        let output = whole(&format!("{}{LAST}{tail}", stream(&[TEXT], "\n")), false);
        assert_eq!(output.end, Ok(()), "{tail:?}");
        assert!(text_of(&output).ends_with("\n\ndata: [DONE]\n\n"), "{:?}", text_of(&output));
    }
    let cut = whole(&format!("{}{}", stream(&[TEXT, LAST], "\n"), &USAGE[..40]), false);
    assert_eq!(cut.end, Ok(()), "cut after the answer's end");
    assert_eq!(text_of(&cut), stream(&[TEXT, LAST, DONE], "\n"));
    let cut = whole(&format!("{}{}", stream(&[TEXT], "\n"), &LAST[..40]), false);
    assert_eq!(cut.end, Err(StreamFault::Broken("ended_early")));
}

#[test]
fn odd_framing_passes_and_reads_the_same() {
    let text = format!(
        "\u{feff}\n: comment\n\nid: 7\nretry: 100\n\nevent: x\n{TEXT}\n\ndata:\n\ndata\n\n{}\n\n{}\n\ndata: {{\"choices\":\ndata: [{{\"delta\":{{\"content\":\"a\"}},\ndata:\"finish_reason\":\"stop\"}}]}}\n\n{DONE}\n\n",
        TEXT.replacen("data: ", "data:", 1),
        "data: {}",
    );
    let output = whole(&text, false);
    assert_eq!(output.end, Ok(()));
    assert_eq!(text_of(&output), text.trim_start_matches('\u{feff}').trim_start());
    assert_eq!((output.facts.content_bytes, output.facts.events), (25, 4));
}

#[test]
fn several_data_lines_are_edited_as_one() {
    let text = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\ndata: \"finish_reason\":\"stop\"}],\ndata: \"usage\":null}\n\n";
    let output = whole(text, true);
    assert_eq!(
        text_of(&output),
        "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}, \"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"
    );
}

#[test]
fn what_is_no_stream_is_told_by_a_word() {
    for (text, word) in [
        ("", "empty"),
        ("\n\n", "empty"),
        (": ping\n\n", "empty"),
        ("data: [DONE]\n\n", "empty"),
        ("<!doctype html><html></html>", "html"),
        ("\n <html>", "html"),
        ("upstream connect error", "not_a_stream"),
        ("dat", "not_a_stream"),
        ("data: {\"choices\":[]}{\"choices\":[]}\n\n", "bad_json"),
        ("data: not json\n\n", "bad_json"),
        ("data: [1]\n\n", "not_an_object"),
        ("data: {\"choices\":[{\"delta\":{\"content\":\"a\n\n", "cut_json"),
        ("{\"object\":\"list\"}", "not_a_completion"),
        ("{\"choices\":[", "cut_json"),
    ] {
        assert_eq!(whole(text, false).end, Err(StreamFault::Broken(word)), "{text:?}");
        assert_eq!(
            run(text.as_bytes().chunks(1), false).end,
            Err(StreamFault::Broken(word)),
            "{text:?} byte by byte"
        );
    }
    let broken = run([&b"data: {\"choices\":[{\"delta\":{\"content\":\"\xff\"}}]}\n\n"[..]], false);
    assert_eq!(broken.end, Err(StreamFault::Broken("bad_utf8")));
}

#[test]
fn an_error_event_is_the_upstreams_and_what_came_before_goes_out() {
    for (event, class) in [
        (r#"data: {"error":{"message":"m","type":"server_error"}}"#, FaultClass::Upstream),
        (r#"data: {"error":{"message":"m","code":"rate_limit_exceeded"}}"#, FaultClass::RateLimit),
        (r#"data: {"error":{"message":"m","code":429}}"#, FaultClass::RateLimit),
        (r#"data: {"error":{"message":"m","type":"overloaded_error"}}"#, FaultClass::Overloaded),
        (r#"data: {"error":{"message":"m","code":"context_length_exceeded"}}"#, FaultClass::ContextLength),
        (r#"data: {"error":"m"}"#, FaultClass::Upstream),
        (r#"data: {"object":"error","message":"m","code":503}"#, FaultClass::Overloaded),
        ("event: error\ndata: {\"message\":\"m\"}", FaultClass::Upstream),
    ] {
        let output = whole(&stream(&[TEXT, event, LAST], "\n"), false);
        assert_eq!(text_of(&output), stream(&[TEXT], "\n"), "{event}");
        match output.end {
            Err(StreamFault::Upstream(report, found)) => {
                assert_eq!(found, class, "{event}");
                assert_eq!(report.message.as_deref(), Some("m"), "{event}");
            }
            other => panic!("{event}: {other:?}"),
        }
    }
    let null = stream(&[&TEXT.replacen('{', r#"{"error":null,"#, 1), LAST, DONE], "\n");
    assert_eq!(whole(&null, false).end, Ok(()));
}

#[test]
fn content_is_more_than_a_role() {
    let started = |delta: &str| {
        whole(&format!("data: {{\"choices\":[{{\"delta\":{delta}}}]}}\n\n"), false).facts.content_started
    };
    for nothing in [
        r#"{"role":"assistant","content":""}"#,
        "{}",
        "null",
        r#"{"content":null,"refusal":null,"tool_calls":[]}"#,
    ] {
        assert!(!started(nothing), "{nothing}");
    }
    for something in [
        r#"{"content":"x"}"#,
        r#"{"refusal":"x"}"#,
        r#"{"reasoning_content":"x"}"#,
        r#"{"tool_calls":[{"index":0}]}"#,
        r#"{"audio":{"data":"x"}}"#,
        r#"{"new_thing":1}"#,
    ] {
        assert!(started(something), "{something}");
    }
}

#[test]
fn every_choice_must_finish() {
    let chunk = |index: u32, reason: &str| {
        format!(
            "data: {{\"choices\":[{{\"index\":{index},\"delta\":{{\"content\":\"x\"}},\"finish_reason\":{reason}}}]}}"
        )
    };
    let both = [chunk(0, "null"), chunk(1, "\"length\""), chunk(0, "\"stop\"")];
    let both: Vec<_> = both.iter().map(String::as_str).collect();
    assert_eq!(whole(&stream(&both, "\n"), false).end, Ok(()));
    assert_eq!(whole(&stream(&both[..2], "\n"), false).end, Err(StreamFault::Broken("ended_early")));
    let empty_word = chunk(0, "\"\"");
    assert_eq!(whole(&stream(&[&empty_word], "\n"), false).end, Err(StreamFault::Broken("ended_early")));
}

#[test]
fn a_tool_call_gets_the_index_that_its_server_left_out() {
    let chunk =
        |call: &str| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"tool_calls\":[{call}]}}}}]}}");
    let sent = [
        chunk(r#"{"id":"a","function":{"name":"f","arguments":""}}"#),
        chunk(r#"{"function":{"arguments":"{}"}}"#),
        chunk(r#"{"id":"b","function":{"name":"g","arguments":"5 MB"}}"#),
        chunk(r#"{"id":"b","function":{"arguments":"x"}},{"id":"c","function":{"arguments":""}}"#),
        chunk(r#"{"index":9,"function":{"arguments":"y"}}"#),
    ];
    let sent: Vec<_> = sent.iter().map(String::as_str).collect();
    let output = whole(&stream(&sent, "\n"), false);
    let indices: Vec<_> = text_of(&output)
        .match_indices("\"index\":")
        .map(|(at, word)| text_of(&output)[at + word.len()..].chars().next().expect("a digit"))
        .collect();
    assert_eq!(indices.iter().collect::<String>(), "000001012".to_owned() + "09");
    assert_eq!(output.facts.content_bytes, 1 + 2 + 1 + 4 + 1 + 1);
}

#[test]
fn one_json_answer_becomes_a_stream() {
    let body = r#"{
        "id": "c9", "object": "chat.completion", "created": 5, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi\nyou",
            "tool_calls": [{"id": "t", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 9007199254740993}"}}]},
            "logprobs": null, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}}"#
        .replace("\\nyou", "\\u000ayou");
    for hide in [false, true] {
        let output = run(body.as_bytes().chunks(7), hide);
        assert_eq!(output.end, Ok(()));
        let events: Vec<_> = text_of(&output).split_terminator("\n\n").collect();
        assert_eq!(events.len(), if hide { 3 } else { 4 });
        assert_eq!(events.last(), Some(&"data: [DONE]"));
        let chunk: serde_json::Value =
            serde_json::from_str(events[0].strip_prefix("data: ").expect("data")).expect("JSON");
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!((&chunk["id"], &chunk["created"]), (&"c9".into(), &5.into()));
        assert_eq!(chunk["choices"][0]["delta"]["content"], "Hi\nyou");
        assert_eq!(chunk["choices"][0]["delta"]["tool_calls"][0]["index"], 0);
        assert_eq!(chunk["choices"][0]["finish_reason"], serde_json::Value::Null);
        let last: serde_json::Value =
            serde_json::from_str(events[1].strip_prefix("data: ").expect("data")).expect("JSON");
        assert_eq!(last["choices"][0]["finish_reason"], "tool_calls");
        assert_eq!(chunk.get("usage").is_some(), !hide);
        assert_eq!(output.facts.usage.map(|usage| usage.output), Some(2));
        assert!(output.facts.content_started && output.facts.done && output.facts.finished);
    }
    let error = whole(r#"{"error":{"message":"m","code":"insufficient_quota"}}"#, false);
    assert!(matches!(error.end, Err(StreamFault::Upstream(_, FaultClass::UpstreamQuota))), "{error:?}");
    assert!(error.client.is_empty());
}

#[test]
fn a_long_line_passes_and_one_past_the_limit_is_refused() {
    let long = |bytes: usize| {
        format!(
            "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}},\"finish_reason\":\"stop\"}}]}}\n\n",
            "x".repeat(bytes)
        )
    };
    let text = long(8 * 1024 * 1024);
    let output = run(text.as_bytes().chunks(16 * 1024), true);
    assert_eq!(output.end, Ok(()));
    assert_eq!(output.client.len(), text.len() + 14);
    let text = long(17 * 1024 * 1024);
    assert_eq!(run(text.as_bytes().chunks(16 * 1024), true).end, Err(StreamFault::Broken("oversized")));
}

#[test]
fn buffered_answers_are_read() {
    let read = |text: &str| read_answer(&Bytes::copy_from_slice(text.as_bytes()));
    let body = r#"{"choices":[{"message":{"content":"Gr\u00fc\u00dfe"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;
    let usage = Usage { input: 3, output: 2, source: UsageSource::Provider, ..Usage::default() };
    assert_eq!(read(body), Ok(AnswerFacts { usage: Some(usage), content_bytes: 0 }));
    assert_eq!(answer_text(&Bytes::from_static(body.as_bytes())).as_deref(), Some("Grüße"));
    let silent = body.replace(r#"{"prompt_tokens":3,"completion_tokens":2}"#, "null");
    assert_eq!(read(&silent), Ok(AnswerFacts { usage: None, content_bytes: 7 }));
    let zeros = body.replace(":3,", ":0,").replace(":2}", ":0}");
    assert_eq!(read(&zeros), Ok(AnswerFacts { usage: None, content_bytes: 7 }));
    for (text, word) in [
        ("", "empty"),
        (" ", "empty"),
        ("<html>", "html"),
        ("data: {}\n\n", "stream_for_answer"),
        ("{}", "not_a_completion"),
        ("[]", "not_an_object"),
        (r#"{"choices":[]"#, "cut_json"),
        ("oops", "bad_json"),
    ] {
        assert_eq!(read(text), Err(StreamFault::Broken(word)), "{text}");
    }
    assert!(matches!(
        read(r#"{"error":{"code":"model_not_found"}}"#),
        Err(StreamFault::Upstream(_, FaultClass::UpstreamNotFound))
    ));
    let parts = r#"{"choices":[{"message":{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}},{"message":{"content":"no"}}]}"#;
    assert_eq!(answer_text(&Bytes::from_static(parts.as_bytes())).as_deref(), Some("ab"));
    assert_eq!(answer_text(&Bytes::from_static(b"{}")), None);
    assert_eq!(answer_text(&Bytes::from_static(b"oops")), None);
}

#[test]
fn a_stream_for_an_answer_is_put_together() {
    let chunk = |delta: &str| {
        format!(
            r#"data: {{"id":"c1","object":"chat.completion.chunk","model":"m-1","choices":[{{"index":0,"delta":{delta},"finish_reason":null}}],"usage":null}}"#
        )
    };
    let call = |index: u8, rest: &str| chunk(&format!(r#"{{"tool_calls":[{{"index":{index},{rest}}}]}}"#));
    let calls = [
        call(0, r#""id":"a","type":"function","function":{"name":"f","arguments":""}"#),
        call(1, r#""id":"b","type":"function","function":{"name":"g","arguments":"{"}"#),
        call(0, r#""function":{"arguments":"{\"x\":"}"#),
        call(1, r#""function":{"arguments":"}"}"#),
        call(0, r#""function":{"arguments":"1}"}"#),
    ];
    let other = r#"data: {"id":"c1","choices":[{"index":1,"delta":{"content":"two"},"logprobs":{"content":[{"token":"two"}]},"finish_reason":"length"}]}"#;
    let mut events = vec![FIRST, TEXT, other];
    events.extend(calls.iter().map(String::as_str));
    events.extend([LAST, USAGE, DONE]);
    for end in ["\n", "\r\n"] {
        let text = stream(&events, end);
        let (body, facts) = normalise_completion(Bytes::from(text.clone()), false).expect("a stream");
        assert_eq!(read_answer(&body), Ok(facts), "the books read the same of both");
        assert_eq!(whole(&text, false).facts.usage, facts.usage);
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let call = |id: &str, name: &str, arguments: &str| serde_json::json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
        let first = serde_json::json!({"index": 0, "finish_reason": "stop", "logprobs": null, "message": {
            "role": "assistant", "content": "Grüße 😀", "refusal": null,
            "tool_calls": [call("a", "f", "{\"x\":1}"), call("b", "g", "{}")]}});
        let second = serde_json::json!({"index": 1, "finish_reason": "length", "logprobs": {"content": [{"token": "two"}]},
            "message": {"role": "assistant", "content": "two", "refusal": null}});
        assert_eq!(
            body,
            serde_json::json!({"id": "c1", "object": "chat.completion", "model": "m-1", "choices": [first, second],
            "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13, "prompt_tokens_details": {"cached_tokens": 3}}})
        );
    }
}

#[test]
fn a_stream_for_an_answer_that_fails_is_no_answer() {
    let read = |text: String| normalise_completion(Bytes::from(text), false).expect_err("no answer");
    assert_eq!(read(stream(&[TEXT], "\n")), StreamFault::Broken("ended_early"));
    assert_eq!(read(stream(&[TEXT, "data: {cut"], "\n")), StreamFault::Broken("bad_json"));
    let failed = read(stream(&[TEXT, r#"data: {"error":{"code":"rate_limit_exceeded"}}"#], "\n"));
    assert!(matches!(failed, StreamFault::Upstream(_, FaultClass::RateLimit)));
    let many: String = (0..2_000)
        .map(|index| {
            format!("data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{{\"index\":{index}}}]}}}}]}}\n\n")
        })
        .collect();
    assert_eq!(read(many + LAST + "\n\n"), StreamFault::Broken("oversized"));
    let plain = Bytes::from_static(br#"{"choices":[{"message":{"content":"a"}}]}"#);
    assert_eq!(normalise_completion(plain.clone(), false).map(|(body, _)| body), Ok(plain));
}

/// Streams that together reach every branch of the scanner.
fn corpus() -> Vec<String> {
    let mut all: Vec<String> = ["\n", "\r\n", "\r"].iter().map(|end| normal(end)).collect();
    all.push(format!("\u{feff}: c\r\n\r\n{TEXT}\r\r{LAST}\n\r\n{USAGE}\r\n\n{DONE}\n\n{DONE}\n\n: late\n\n"));
    all.push(format!("{TEXT}\n\n: ping\n\nevent: x\nid: 1\n{LAST}\n"));
    all.push(format!("{TEXT}\r\n\r\n{LAST}"));
    all.push(format!("{TEXT}\n\ndata: {{\"error\":{{\"code\":\"rate_limit_exceeded\"}}}}\n\n{LAST}\n\n"));
    all.push(format!("{TEXT}\n\ndata: {{\"choices\":[{{\ndata: \"delta\":{{\"content\":\"é\"}},\r\ndata:\"finish_reason\":\"stop\"}}],\ndata:\"usage\":null}}\n\n"));
    all.push(format!("{TEXT}\n\ndata: {{cut"));
    all.push("data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"id\":\"a\",\"function\":{\"arguments\":\"😀\"}}]},\"finish_reason\":\"stop\"}],\"usage\":null}\n\ndata: [DONE]x\n\n".into());
    all.push("{\"choices\":[{\"message\":{\"content\":\"é\"},\"finish_reason\":\"stop\"}],\r\n\"usage\":{\"prompt_tokens\":1}}".into());
    all.push("<html>".into());
    all
}

#[test]
fn every_split_in_two_tells_the_same() {
    for text in corpus() {
        for hide in [false, true] {
            let expected = whole(&text, hide);
            for at in 0..=text.len() {
                let (one, two) = text.as_bytes().split_at(at);
                assert_eq!(run([one, two], hide), expected, "{text:?} split at {at}, hidden: {hide}");
            }
            assert_eq!(run(text.as_bytes().chunks(1), hide), expected, "{text:?} byte by byte");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_split_in_many_tells_the_same(which in any::<prop::sample::Index>(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12), hide: bool) {
        let corpus = corpus();
        let text = which.get(&corpus).as_bytes();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let chunks = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]);
        prop_assert_eq!(run(chunks, hide), run([text], hide));
    }

    /// Any text of any script, split anywhere, yields the same bytes and never a replacement character of
    /// ours.
    #[test]
    fn text_passes_byte_exact(texts in prop::collection::vec("[a-zé—漢😀\"\\\\\n]{0,9}", 1..6), cut in 1_usize..9) {
        let mut text = String::new();
        for content in &texts {
            let chunk = serde_json::json!({"choices": [{"index": 0, "delta": {"content": content}}]});
            text.push_str(&format!("data: {chunk}\n\n"));
        }
        text.push_str(&stream(&[LAST, DONE], "\n"));
        let output = run(text.as_bytes().chunks(cut), false);
        prop_assert_eq!(&output.client, text.as_bytes());
        prop_assert_eq!(output.facts.content_bytes, texts.iter().map(|content| content.len() as u64).sum::<u64>());
        prop_assert!(!text_of(&output).contains(char::REPLACEMENT_CHARACTER));
    }

    /// Whatever arrives, the scanner neither panics nor invents bytes: with nothing hidden, its output is a
    /// subsequence of the input, except for `[DONE]`, line ends and indices.
    #[test]
    fn anything_may_come(bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"data: {}[]\"\\\n\r:,".to_vec())], 0..200), cut in 1_usize..40, hide: bool) {
        let split = run(bytes.chunks(cut), hide);
        prop_assert_eq!(split, run([&bytes[..]], hide));
    }
}
