//! Streams as upstreams send them, cut at every place: what the client gets, and what accounting gets.

use bytes::Bytes;
use chat::{StreamScanner, answer_text, normalise_completion, read_answer};
use conversation::answer::{AnswerFacts, StreamFacts, StreamFault};
use domain::{FaultClass, Usage, UsageSource};
use proptest::prelude::*;
use serde_json::{Value, json};

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
    let mut chunks = chunks.into_iter().map(Bytes::copy_from_slice);
    let end = chunks.try_for_each(|chunk| scanner.push(chunk, &mut out));
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
        let source = UsageSource::Provider;
        let usage = Some(Usage { input: 6, cached_read: 3, output: 4, source, ..Usage::default() });
        let (content_started, finished, done) = (true, true, true);
        let facts = StreamFacts { usage, content_started, content_bytes: 12, events: 4, finished, done };
        assert_eq!(output.facts, facts);
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
    const CHOICES: &str = r#""choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]"#;
    for (sent, expected) in [
        (format!(r#"{{"usage":{{"prompt_tokens":1}},{CHOICES}}}"#), format!("{{{CHOICES}}}")),
        (format!(r#"{{{CHOICES} , "usage" : {{"prompt_tokens":1}} }}"#), format!("{{{CHOICES} }}")),
        (
            format!(r#"{{"id":"a","usage":{{"prompt_tokens":1}},{CHOICES}}}"#),
            format!(r#"{{"id":"a",{CHOICES}}}"#),
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
    let late = format!("{}: late\n\n{TEXT}\n\n", stream(&[TEXT, LAST, DONE, DONE, USAGE], "\n"));
    let doubled = whole(&late, false);
    assert_eq!(text_of(&doubled), stream(&[TEXT, LAST, DONE], "\n"));
    assert_eq!(doubled.facts.usage.map(|usage| usage.prompt_total()), Some(9), "late usage is usage");
    assert_eq!(doubled.facts.content_bytes, 12);
    let early = whole(&stream(&[FIRST, TEXT], "\n"), false);
    assert_eq!(early.end, Err(StreamFault::Broken("ended_early")));
    assert_eq!(text_of(&early), stream(&[FIRST, TEXT], "\n"));
    for spaced in ["data:[DONE]\n\n", "data:   [DONE]  \n\n", "data: [DONE]\n", "data: [DONE]"] {
        let output = whole(&format!("{}{spaced}", stream(&[TEXT, LAST], "\n")), false);
        let text = text_of(&output);
        assert_eq!(output.end, Ok(()), "{spaced:?}");
        assert!(text.trim_end().ends_with("[DONE]") && text.ends_with("\n\n"), "{text:?}");
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
    let edited = r#"data: {"choices":[{"delta":{"content":"a"}, "finish_reason":"stop"}]}"#;
    assert_eq!(text_of(&output), stream(&[edited, DONE], "\n"));
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
        for output in [whole(text, false), run(text.as_bytes().chunks(1), false)] {
            assert_eq!(output.end, Err(StreamFault::Broken(word)), "{text:?}");
        }
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
        let Err(StreamFault::Upstream(report, found)) = output.end else { panic!("{event}: {output:?}") };
        assert_eq!((found, report.message.as_deref()), (class, Some("m")), "{event}");
    }
    let null = stream(&[&TEXT.replacen('{', r#"{"error":null,"#, 1), LAST, DONE], "\n");
    assert_eq!(whole(&null, false).end, Ok(()));
}

#[test]
fn content_is_more_than_a_role() {
    for (delta, is_content) in [
        (r#"{"role":"assistant","content":""}"#, false),
        ("{}", false),
        ("null", false),
        (r#"{"content":null,"refusal":null,"tool_calls":[]}"#, false),
        (r#"{"content":"x"}"#, true),
        (r#"{"refusal":"x"}"#, true),
        (r#"{"reasoning_content":"x"}"#, true),
        (r#"{"tool_calls":[{"index":0}]}"#, true),
        (r#"{"audio":{"data":"x"}}"#, true),
        (r#"{"new_thing":1}"#, true),
    ] {
        let output = whole(&format!("data: {{\"choices\":[{{\"delta\":{delta}}}]}}\n\n"), false);
        assert_eq!(output.facts.content_started, is_content, "{delta}");
    }
}

#[test]
fn every_choice_must_finish() {
    let chunk = |index: u32, reason: &str| {
        let delta = r#""delta":{"content":"x"}"#;
        format!(r#"data: {{"choices":[{{"index":{index},{delta},"finish_reason":{reason}}}]}}"#)
    };
    let both = [chunk(0, "null"), chunk(1, "\"length\""), chunk(0, "\"stop\"")];
    let both: Vec<_> = both.iter().map(String::as_str).collect();
    assert_eq!(whole(&stream(&both, "\n"), false).end, Ok(()));
    assert_eq!(whole(&stream(&both[..2], "\n"), false).end, Err(StreamFault::Broken("ended_early")));
    let empty_word = stream(&[&chunk(0, "\"\"")], "\n");
    assert_eq!(whole(&empty_word, false).end, Err(StreamFault::Broken("ended_early")));
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
    let indices: String = text_of(&output).split("\"index\":").skip(1).map(|rest| &rest[..1]).collect();
    assert_eq!(indices, "00000101209");
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
        let read =
            |event: &str| serde_json::from_str(event.strip_prefix("data: ").expect("data")).expect("JSON");
        let (chunk, last): (Value, Value) = (read(events[0]), read(events[1]));
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!((&chunk["id"], &chunk["created"]), (&"c9".into(), &5.into()));
        assert_eq!(chunk["choices"][0]["delta"]["content"], "Hi\nyou");
        assert_eq!(chunk["choices"][0]["delta"]["tool_calls"][0]["index"], 0);
        assert_eq!(chunk["choices"][0]["finish_reason"], Value::Null);
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
        let chunk = r#"data: {"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}"#;
        stream(&[&chunk.replace('x', &"x".repeat(bytes))], "\n")
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
    let missing = read(r#"{"error":{"code":"model_not_found"}}"#);
    assert!(matches!(missing, Err(StreamFault::Upstream(_, FaultClass::UpstreamNotFound))), "{missing:?}");
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
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
        let first = json!({"index": 0, "finish_reason": "stop", "logprobs": null, "message": {
            "role": "assistant", "content": "Grüße 😀", "refusal": null,
            "tool_calls": [call("a", "f", "{\"x\":1}"), call("b", "g", "{}")]}});
        let second = json!({"index": 1, "finish_reason": "length", "logprobs": {"content": [{"token": "two"}]},
            "message": {"role": "assistant", "content": "two", "refusal": null}});
        let usage = json!({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13,
            "prompt_tokens_details": {"cached_tokens": 3}});
        let expected = json!({"id": "c1", "object": "chat.completion", "model": "m-1",
            "choices": [first, second], "usage": usage});
        assert_eq!(body, expected);
    }
}

#[test]
fn a_stream_for_an_answer_that_fails_is_no_answer() {
    let read = |text: String| normalise_completion(Bytes::from(text), false).expect_err("no answer");
    assert_eq!(read(stream(&[TEXT], "\n")), StreamFault::Broken("ended_early"));
    assert_eq!(read(stream(&[TEXT, "data: {cut"], "\n")), StreamFault::Broken("bad_json"));
    let failed = read(stream(&[TEXT, r#"data: {"error":{"code":"rate_limit_exceeded"}}"#], "\n"));
    assert!(matches!(failed, StreamFault::Upstream(_, FaultClass::RateLimit)));
    let call = |index| format!(r#"data: {{"choices":[{{"delta":{{"tool_calls":[{{"index":{index}}}]}}}}]}}"#);
    let many: Vec<String> = (0..2_000).map(call).chain([LAST.to_owned()]).collect();
    assert_eq!(read(many.join("\n\n") + "\n\n"), StreamFault::Broken("oversized"));
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
            let chunk = json!({"choices": [{"index": 0, "delta": {"content": content}}]});
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
