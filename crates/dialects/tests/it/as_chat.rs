//! The tests of `dialects::as_chat`.

use bytes::Bytes;
use dialects::{answer_as_chat, request_as_chat};
use domain::Grammar;
use serde_json::Value;

fn check(grammar: Grammar, request: &str, answer: &str) {
    let request = request_as_chat(grammar, &Bytes::copy_from_slice(request.as_bytes()), "m").unwrap();
    let request: Value = serde_json::from_slice(&request).unwrap();
    let messages = &request["messages"];
    assert_eq!((&messages[0]["role"], &messages[1]["role"]), (&"system".into(), &"user".into()), "{request}");
    assert!(messages[1]["content"].to_string().contains("How are you?"), "{request}");
    let answer: Value = serde_json::from_slice(&answer_as_chat(grammar, answer.as_bytes()).unwrap()).unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], "Fine.", "{answer}");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop", "{answer}");
}

#[test]
fn each_dialect_is_read_as_chat() {
    check(
        Grammar::Chat,
        r#"{"model":"m","messages":[{"role":"system","content":"Be kind."},{"role":"user","content":"How are you?"}]}"#,
        "data: {\"id\":\"1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Fi\"},\"finish_reason\":null}]}\n\n\
         data: {\"id\":\"1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"ne.\"},\"finish_reason\":\"stop\"}]}\n\n\
         data: [DONE]\n\n",
    );
    check(
        Grammar::Anthropic,
        r#"{"model":"m","max_tokens":5,"system":"Be kind.","messages":[{"role":"user","content":"How are you?"}]}"#,
        r#"{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"Fine."}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}"#,
    );
    check(
        Grammar::Gemini,
        r#"{"systemInstruction":{"parts":[{"text":"Be kind."}]},"contents":[{"role":"user","parts":[{"text":"How are you?"}]}]}"#,
        r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"Fine."}]},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":1,"totalTokenCount":2}}"#,
    );
    check(
        Grammar::Responses,
        r#"{"model":"m","instructions":"Be kind.","input":"How are you?"}"#,
        r#"{"id":"resp_1","object":"response","created_at":1,"status":"completed","model":"m","output":[{"id":"msg_1","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"Fine.","annotations":[]}]}],"usage":{"input_tokens":1,"output_tokens":1,"total_tokens":2}}"#,
    );
}

#[test]
fn what_is_no_answer_has_no_form() {
    for body in [&b""[..], b"<html>", b"{}", b"data: {\"error\":{\"message\":\"no\"}}\n\n"] {
        assert_eq!(answer_as_chat(Grammar::Chat, body), None, "{}", String::from_utf8_lossy(body));
    }
    assert_eq!(request_as_chat(Grammar::Anthropic, &Bytes::from_static(b"[]"), "m"), None);
}
