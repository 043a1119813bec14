//! Streams: cut at any place, stopped by the gateway, and written in place of another kind of answer.

use bytes::Bytes;
use conversation::answer::AnswerOptions;
use conversation::answer::StreamFault;
use conversation::constraints::AnswerConstraints;
use dialects::{AnswerPath, AnswerStream, BufferedAnswer, buffered_answer};
use domain::{Fault, FaultClass, Grammar, Operation, Prompt, TraceId, Usage, UsageSource};
use proptest::prelude::*;
use serde_json::{Value, json};

const CALL: [&str; 4] = ["namespace", "name", "call_id", "arguments"];
const TRACE: &str = "018bcfe5680077078707070707070707";

fn answer_path() -> AnswerPath {
    AnswerPath::chat(Grammar::Responses, Grammar::Responses).with_labels(
        "asked",
        format!("trc_{TRACE}").parse::<TraceId>().expect("a trace"),
        1_700_000_000,
    )
}

fn golden(name: &str) -> Vec<u8> {
    let path = format!("{}/../../golden/dialects/responses/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let exchange: Value = serde_json::from_slice(&std::fs::read(path).expect("it is there")).expect("JSON");
    let whole: String = match &exchange["upstream"] {
        Value::String(text) => text.clone(),
        chunks => chunks.as_array().expect("chunks").iter().filter_map(Value::as_str).collect(),
    };
    whole.into_bytes()
}

/// The data of each event, whose `event:` line repeats its type.
fn events(bytes: &[u8]) -> Vec<Value> {
    let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let read = |event: &str| {
        let (name, data) = event.split_once('\n').expect("two lines");
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON");
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        data
    };
    text.split("\n\n").filter(|event| !event.is_empty()).map(read).collect()
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["type"].as_str()).collect()
}

fn run(chunks: impl IntoIterator<Item = Bytes>) -> (Vec<u8>, Result<(), StreamFault>, AnswerStream) {
    let mut stream = AnswerStream::new(answer_path());
    let mut out = Vec::new();
    let pushed = chunks.into_iter().try_for_each(|chunk| stream.push(chunk, &mut out));
    let ended = pushed.and_then(|()| stream.finish(&mut out));
    (out.concat(), ended, stream)
}

/// The rules that the accumulators of the official SDKs require of a stream.
fn keeps_the_rules(events: &[Value]) {
    assert_eq!(types(events)[..2], ["response.created", "response.in_progress"]);
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], json!(number));
        if let Some(id) = event["response"]["id"].as_str() {
            assert_eq!(id, events[0]["response"]["id"]);
        }
    }
    let of = |wanted: &str| events.iter().filter(move |event| event["type"] == wanted).collect::<Vec<_>>();
    let (added, done) = (of("response.output_item.added"), of("response.output_item.done"));
    for (index, event) in added.iter().enumerate() {
        assert_eq!(event["output_index"], json!(index), "dense, in the order of adding");
        let same = done.iter().find(|done| done["output_index"] == json!(index)).expect("each is done");
        for name in ["type", "id"] {
            assert_eq!(event["item"][name], same["item"][name]);
        }
    }
    let last = events.last().expect("one");
    let output = last["response"]["output"].as_array().expect("an array");
    assert_eq!(output.len(), done.len());
    for done in done {
        let at = usize::try_from(done["output_index"].as_u64().unwrap()).unwrap();
        assert_eq!(Some(&done["item"]), output.get(at));
    }
}

#[test]
fn a_whole_answer_in_the_place_of_a_stream_is_told_as_one() {
    let (out, ended, stream) = run([Bytes::from(golden("answer-normal"))]);
    assert_eq!(ended, Ok(()));
    assert!(stream.facts().done);
    let events = events(&out);
    keeps_the_rules(&events);
    let expected = "output_item.added reasoning_summary_part.added reasoning_summary_text.delta \
        reasoning_summary_text.delta reasoning_summary_text.delta reasoning_summary_text.done \
        reasoning_summary_part.done output_item.done output_item.added content_part.added \
        output_text.delta output_text.done content_part.done output_item.done output_item.added \
        function_call_arguments.delta function_call_arguments.done output_item.done completed";
    let bare = |name: &&str| name.strip_prefix("response.").expect("its prefix").to_owned();
    let told: Vec<_> = types(&events)[2..].iter().map(bare).collect();
    assert_eq!(told.join(" "), expected);
    let response = &events.last().unwrap()["response"];
    // A Responses upstream's own id is kept, so that a later request can refer to it.
    assert_eq!(response["id"], "resp_1");
    assert_eq!(response["output"][0]["encrypted_content"], "gAAA");
    assert_eq!(response["output"][1]["id"], format!("msg_{TRACE}01"));
    let usage = json!({"input_tokens": 20, "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 4},
        "output_tokens": 6, "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 26});
    assert_eq!(response["usage"], usage);
}

#[test]
fn a_stream_in_the_place_of_a_whole_answer_is_told_as_one() {
    for (name, status, text) in [
        ("stream-text", "completed", "Hellö 😀"),
        ("stream-reasoning", "completed", "Done"),
        ("stream-incomplete", "incomplete", "One two"),
        ("stream-web-search", "completed", "Done"),
    ] {
        let answer = buffered_answer(&answer_path(), Bytes::from(golden(name))).expect(name);
        let response: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(response["status"], status, "{name}");
        assert!(answer.facts.usage.is_some(), "{name}");
        let output = response["output"].as_array().unwrap();
        let told = output.iter().filter_map(|item| item["content"][0]["text"].as_str());
        assert_eq!(told.collect::<Vec<_>>(), [text], "{name}");
        if name == "stream-web-search" {
            assert_eq!(output[0]["type"], "web_search_call");
            assert_eq!(output[1]["content"][0]["annotations"][0]["url"], "https://a.example");
        }
    }
    let failed = buffered_answer(&answer_path(), Bytes::from(golden("stream-failed")));
    assert!(matches!(failed, Err(StreamFault::Upstream(_, FaultClass::RateLimit))), "{failed:?}");
}

/// The upstream's events up to and including the second delta.
fn begin() -> (AnswerStream, Vec<u8>) {
    let text = String::from_utf8(golden("stream-text")).unwrap();
    let six: String = text.split_inclusive("\n\n").take(6).collect();
    let (mut stream, mut out) = (AnswerStream::new(answer_path()), Vec::new());
    stream.push(Bytes::from(six), &mut out).unwrap();
    (stream, out.concat())
}

#[test]
fn what_others_began_is_ended_by_length() {
    let (mut stream, mut bytes) = begin();
    let used = Usage { input: 3, output: 2, source: UsageSource::Estimate, ..Usage::default() };
    bytes.extend_from_slice(&stream.length_stop(b"", used));
    let events = events(&bytes);
    let last = events.last().unwrap();
    assert_eq!((&last["type"], &last["sequence_number"]), (&json!("response.incomplete"), &json!(6)));
    assert_eq!(last["response"]["id"], "resp_1");
    assert_eq!(last["response"]["incomplete_details"], json!({"reason": "max_output_tokens"}));
    assert_eq!(last["response"]["usage"]["total_tokens"], 5);
}

#[test]
fn an_error_ends_what_began_and_what_did_not() {
    let fault = Fault::new(FaultClass::Overloaded, "overloaded", "The provider is overloaded.");
    let trace = answer_path().options.trace.unwrap();
    let (mut stream, mut bytes) = begin();
    bytes.extend_from_slice(&stream.error_event(&fault, trace));
    let frames = events(&bytes);
    assert_eq!(frames.len(), 7);
    let last = frames.last().unwrap();
    assert_eq!((&last["type"], &last["sequence_number"]), (&json!("response.failed"), &json!(6)));
    assert_eq!((&last["response"]["id"], &last["response"]["status"]), (&json!("resp_1"), &json!("failed")));
    assert_eq!(last["response"]["error"]["code"], "server_is_overloaded");
    assert!(stream.ends_with_its_error());
    for client in [Grammar::Chat, Grammar::Anthropic, Grammar::Gemini] {
        let other = AnswerStream::new(AnswerPath { client, ..answer_path() });
        assert!(!other.ends_with_its_error(), "{client:?} has no end for it");
    }
    let stored = AnswerStream::new(AnswerPath { operation: Operation::Stored, ..answer_path() });
    assert!(!stored.ends_with_its_error(), "the answer itself did not fail");

    let first = events(&AnswerStream::new(answer_path()).error_event(&fault, trace));
    assert_eq!(types(&first), ["response.created", "response.in_progress", "response.failed"]);
    keeps_the_rules(&first);
    assert_eq!(first[2]["response"]["id"], format!("resp_{TRACE}"));
    assert_eq!(first[2]["response"]["model"], "asked");
}

#[test]
fn what_was_counted_of_a_broken_answer_is_not_told_as_its_usage() {
    let mut stream = AnswerStream::new(AnswerPath { upstream: Grammar::Anthropic, ..answer_path() });
    let started = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"usage\":{\"input_tokens\":7,\"output_tokens\":1}}}\n\n";
    let mut out = Vec::new();
    stream.push(Bytes::from(started), &mut out).unwrap();
    assert!(stream.facts().usage.is_some());
    let fault = Fault::new(FaultClass::StreamBroken, "broken", "It broke.");
    let frames = events(&stream.error_event(&fault, answer_path().options.trace.unwrap()));
    let last = frames.last().unwrap();
    assert_eq!((&last["type"], &last["response"]["usage"]), (&json!("response.failed"), &Value::Null));
}

proptest! {
    #[test]
    fn no_cut_changes_what_goes_on(cuts in proptest::collection::vec(0_usize..4000, 0..6), at in 0_usize..4) {
        let bytes = golden(["stream-text", "stream-reasoning", "stream-calls-interleaved", "stream-crlf"][at]);
        let mut offsets: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        offsets.extend([0, bytes.len()]);
        offsets.sort_unstable();
        let chunks = offsets.windows(2).map(|pair| Bytes::copy_from_slice(&bytes[pair[0]..pair[1]]));
        let (whole, _, expected) = run([Bytes::from(bytes.clone())]);
        let (out, ended, stream) = run(chunks);
        prop_assert_eq!(ended, Ok(()));
        prop_assert_eq!(out, whole);
        prop_assert_eq!(stream.facts(), expected.facts());
    }
}

/// Calls of a Chat Completions upstream that start one after another and are filled alternately.
const CHAT: &str = r#"data: {"id":"chatcmpl-1","model":"up","created":5,"choices":[{"index":0,"delta":{"role":"assistant","content":"On it."}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c0","function":{"name":"shell__run","arguments":""}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"c1","function":{"name":"read","arguments":"{\"a\":"}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"n\":1}"}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"function":{"arguments":"2}"}}]}}]}

data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}

data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4}}

data: [DONE]

"#;

#[test]
fn an_answer_of_the_chat_grammar_is_told_in_this_one() {
    let prompt = Prompt { namespaces: vec!["shell".to_owned()], ..Prompt::default() };
    let path = || AnswerPath {
        upstream: Grammar::Chat,
        options: AnswerOptions { constraints: AnswerConstraints::of(&prompt), ..answer_path().options },
        ..answer_path()
    };
    let mut stream = AnswerStream::new(path());
    let mut out = Vec::new();
    CHAT.as_bytes().chunks(7).for_each(|chunk| stream.push(Bytes::copy_from_slice(chunk), &mut out).unwrap());
    stream.finish(&mut out).unwrap();
    let events = events(&out.concat());
    keeps_the_rules(&events);
    let response = &events.last().unwrap()["response"];
    assert_eq!((&response["id"], &response["model"]), (&json!(format!("resp_{TRACE}")), &json!("up")));
    let output = response["output"].as_array().unwrap();
    assert_eq!(output[0]["content"][0]["text"], "On it.");
    let call = |at: usize| json!(CALL.map(|name| &output[at][name]));
    assert_eq!(call(1), json!(["shell", "run", "c0", "{\"n\":1}"]));
    assert_eq!(call(2), json!([null, "read", "c1", "{\"a\":2}"]));
    let BufferedAnswer { body, .. } = buffered_answer(&path(), Bytes::from(CHAT)).unwrap();
    let whole: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&whole["output"], &whole["usage"]), (&response["output"], &response["usage"]));
}
