//! What we write ourselves: read back by our own readers and by a plain JSON parser.

use dialects::chat::{
    Completion, DONE, StreamScanner, answer_text, decode_messages, encode_request, read_answer,
};
use dialects::{ModelRow, model_object, models_list};
use domain::runtime::FinishReason;
use domain::{Dialect, Usage, UsageSource};
use serde_json::Value;

fn completion() -> Completion {
    Completion { id: "chatcmpl-1".into(), created_unix_s: 5, model: "echo \"é\"".into() }
}

fn usage() -> Usage {
    Usage {
        input: 4,
        cached_read: 2,
        cache_write: 1,
        output: 3,
        reasoning: 1,
        source: UsageSource::Provider,
        ..Usage::default()
    }
}

#[test]
fn a_whole_answer_has_every_key_that_sdks_look_for() {
    let body = completion().whole("Hi\n\"you\"", FinishReason::Length, &usage());
    let value: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(value["object"], "chat.completion");
    assert_eq!(value["choices"][0]["finish_reason"], "length");
    for key in ["content", "refusal"] {
        assert!(value["choices"][0]["message"].as_object().expect("a message").contains_key(key), "{key}");
    }
    assert_eq!(value["usage"]["total_tokens"], 11);
    assert_eq!(answer_text(&body).as_deref(), Some("Hi\n\"you\""));
    assert_eq!(read_answer(&body).expect("an answer").usage, Some(usage()));
}

#[test]
fn a_stream_reads_back_as_what_was_said() {
    for asked in [false, true] {
        let mut sent = vec![
            completion().first_chunk(asked),
            bytes::Bytes::from_static(dialects::ping(domain::Grammar::Chat)),
        ];
        sent.extend(["Hi ", "é\n\n", "😀"].map(|text| completion().text_chunk(text, asked)));
        sent.push(completion().finish_chunk(FinishReason::Stop, asked));
        if asked {
            sent.push(completion().usage_chunk(&usage()));
        }
        sent.push(bytes::Bytes::from_static(DONE));
        let mut scanner = StreamScanner::new(false);
        let mut out = Vec::new();
        for chunk in &sent {
            scanner.push(chunk.clone(), &mut out).expect("a good stream");
        }
        scanner.finish(&mut out).expect("a good end");
        assert_eq!(out.concat(), sent.concat());
        let facts = scanner.facts();
        assert_eq!((facts.content_bytes, facts.finished, facts.done), (11, true, true));
        assert_eq!(facts.usage, asked.then(usage));
        let first = std::str::from_utf8(&sent[0]).expect("UTF-8");
        assert_eq!(first.contains("\"usage\":null"), asked);
        assert!(first.contains(r#""delta":{"role":"assistant","content":""}"#), "{first}");
    }
}

#[test]
fn a_request_of_ours_can_be_read() {
    let stop = ["a".to_owned()];
    let body = encode_request("m/\"x\"", &[("system", "s"), ("user", "é\n")], Some(7), true, &stop);
    let request = decode_messages(&body).expect("a valid request");
    assert_eq!(
        (request.model.as_str(), request.max_tokens, &request.stop[..]),
        ("m/\"x\"", Some(7), &stop[..])
    );
    assert_eq!(request.messages[1].text, "é\n");
    let least: Value = serde_json::from_slice(&encode_request("m", &[], None, false, &[])).expect("JSON");
    assert_eq!(least, serde_json::json!({"model": "m", "messages": [], "stream": false}));
}

#[test]
fn model_lists_are_the_vendors() {
    let row = ModelRow { id: "a/b".into(), owned_by: "a".into(), created: 3 };
    let object = serde_json::json!({"id": "a/b", "object": "model", "created": 3, "owned_by": "a"});
    let one: Value = serde_json::from_slice(&model_object(Dialect::Chat, &row)).expect("JSON");
    assert_eq!(one, object);
    let list: Value = serde_json::from_slice(&models_list(Dialect::Chat, &[row])).expect("JSON");
    assert_eq!(list, serde_json::json!({"object": "list", "data": [object]}));
}
