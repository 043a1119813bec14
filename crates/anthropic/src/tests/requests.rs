//! What the pipeline reads of a request, and what an Anthropic upstream gets of it.

use bytes::Bytes;
use conversation::request::{StoredAct, upstream_body};
use domain::Operation;

use crate::decode_request;

#[track_caller]
fn refusal(body: &str) -> (String, String) {
    let fault = decode_request(Operation::Chat, &Bytes::copy_from_slice(body.as_bytes())).expect_err(body);
    (fault.code.to_owned(), fault.param.as_deref().unwrap_or_default().to_owned())
}

#[test]
fn what_the_rooms_need() {
    let body = Bytes::from_static(
        br#"{"model":"a/b","max_tokens":5,"stream":true,"system":[{"type":"text","text":"1234"}],
        "messages":[{"role":"user","content":"12345"},{"role":"assistant","content":[{"type":"tool_use","id":"t",
        "name":"f","input":{"a":1}},{"type":"image","source":{"type":"base64","data":"xxxxxxxxxxxx"}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"12"}]}]}],
        "tools":[{}],"metadata":{"user_id":"{\"device\":1}","x":1},"top_k":3,"later":{"model":1}}"#,
    );
    let request = decode_request(Operation::Chat, &body).unwrap();
    assert_eq!((request.model.as_str(), request.stream, request.include_usage), ("a/b", true, true));
    assert_eq!((request.max_output_tokens, request.choices), (Some(5), 1));
    assert_eq!(request.prompt_bytes, 4 + 5 + 7 + 2 + 4);
    assert_eq!(request.end_user(&body).as_deref(), Some("{\"device\":1}"));
    let sent = upstream_body(&body, &request, "claude-x", true).concat();
    assert_eq!(sent, String::from_utf8_lossy(&body).replace("\"a/b\"", "\"claude-x\"").into_bytes());
}

#[test]
fn what_is_wrong_is_named() {
    for (body, code, param) in [
        ("", "empty_body", ""),
        ("[]", "invalid_type", ""),
        ("{", "invalid_json", ""),
        (
            r#"{"messages":[{"role":"user","content":""}],"max_tokens":1}"#,
            "missing_required_parameter",
            "model",
        ),
        (r#"{"model":"m","max_tokens":1}"#, "missing_required_parameter", "messages"),
        (
            r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#,
            "missing_required_parameter",
            "max_tokens",
        ),
        (
            r#"{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":null}"#,
            "missing_required_parameter",
            "max_tokens",
        ),
        (r#"{"model":"m","max_tokens":"1"}"#, "invalid_type", "max_tokens"),
        (r#"{"model":"m","max_tokens":-1}"#, "integer_below_min_value", "max_tokens"),
        (r#"{"model":"m","model":"m"}"#, "duplicate_field", "model"),
        (r#"{"system":"","system":""}"#, "duplicate_field", "system"),
        (r#"{"metadata":{"user_id":"a","user_id":"b"}}"#, "duplicate_field", "metadata.user_id"),
        (r#"{"metadata":{"user_id":1}}"#, "invalid_type", "metadata.user_id"),
        (r#"{"metadata":1}"#, "invalid_type", "metadata"),
        (r#"{"stream":"yes"}"#, "invalid_type", "stream"),
        (r#"{"messages":{}}"#, "invalid_type", "messages"),
        (r#"{"messages":[]}"#, "invalid_value", "messages"),
        (r#"{"messages":[1]}"#, "invalid_type", "messages[0]"),
        (r#"{"messages":[{"content":""}]}"#, "missing_required_parameter", "messages[0].role"),
        (r#"{"messages":[{"role":1}]}"#, "invalid_type", "messages[0].role"),
        (r#"{"messages":[{"role":"user","role":"user"}]}"#, "duplicate_field", "messages[0].role"),
        (r#"{"messages":[{"role":"user","content":1}]}"#, "invalid_type", "messages[0].content"),
        (r#"{"messages":[{"role":"user","content":[1]}]}"#, "invalid_type", "messages[0].content[0]"),
        (
            r#"{"messages":[{"role":"user","content":[{}]}]}"#,
            "missing_required_parameter",
            "messages[0].content[0].type",
        ),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"a","type":"b"}]}]}"#,
            "duplicate_field",
            "messages[0].content[0].type",
        ),
        (r#"{"system":7}"#, "invalid_type", "system"),
    ] {
        assert_eq!(refusal(body), (code.to_owned(), param.to_owned()), "{body}");
    }
}

/// Checks what is sent upstream of a history that contains unsigned thinking blocks.
#[track_caller]
fn check_cut(messages: &str, expected: &str) {
    let whole = |messages: &str| format!(r#"{{"model":"m", "messages":{messages},"max_tokens":1}}"#);
    let body = Bytes::from(whole(messages));
    let request = decode_request(Operation::Chat, &body).unwrap();
    let sent = upstream_body(&body, &request, "m", true).concat();
    assert_eq!(String::from_utf8_lossy(&sent), whole(expected));
}

#[test]
fn a_thought_without_a_seal_stays_behind() {
    let thought = r#"{"type":"thinking","thinking":"hm","signature":""}"#;
    let sealed = r#"{"signature":"s","type":"thinking","thinking":"hm"}"#;
    let text = r#"{"type":"text","text":"a"}"#;
    let assistant = |blocks: &[&str]| format!(r#"{{"role":"assistant","content":[{}]}}"#, blocks.join(" , "));
    let user = r#"{"role":"user","content":"q"}"#;
    let all = |messages: &[&str]| format!("[{}]", messages.join(", "));
    for (blocks, kept) in [
        (&[thought, text][..], &[text][..]),
        (&[text, thought], &[text]),
        (&[thought, thought, text, thought, thought, text, thought], &[text, text]),
        (&[sealed, text], &[sealed, text]),
        (&[sealed, thought, sealed], &[sealed, sealed]),
    ] {
        check_cut(&all(&[user, &assistant(blocks), user]), &all(&[user, &assistant(kept), user]));
    }
    // A turn that would be left empty is removed.
    check_cut(&all(&[user, &assistant(&[thought]), user]), &all(&[user, user]));
    check_cut(&all(&[&assistant(&[thought]), user, &assistant(&[thought, thought])]), &all(&[user]));
    // If no turn would be left, nothing is cut: the upstream refuses the request.
    check_cut(&all(&[&assistant(&[thought])]), &all(&[&assistant(&[thought])]));
}

#[test]
fn what_is_only_counted_has_no_length() {
    let body = Bytes::from_static(br#"{"model":"m","messages":[{"role":"user","content":"12345"}]}"#);
    assert!(decode_request(Operation::Chat, &body).is_err());
    let request = decode_request(Operation::Count, &body).unwrap();
    assert_eq!((request.prompt_bytes, request.max_output_tokens), (5, None));
}

#[test]
fn a_thread_is_kept_by_its_provider_and_continued_there() {
    let read = |thread: &str| {
        let body = format!(
            r#"{{"model":"m","max_tokens":1,"messages":[{{"role":"user","content":"q"}}],"thread":{thread}}}"#
        );
        let request = decode_request(Operation::Chat, &Bytes::from(body)).unwrap();
        (request.stores_answer, request.stored.map(|stored| (stored.id, stored.act)))
    };
    assert_eq!(read("null"), (false, None));
    assert_eq!(read(r#"{"type":"create"}"#), (true, None));
    let continued = Some(("msg_1".to_owned(), StoredAct::Continue));
    assert_eq!(read(r#"{"previous_message_id":"msg_1","type":"continue"}"#), (true, continued));
    let twice = br#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"q"}],"thread":{"previous_message_id":"a","previous_message_id":"b"}}"#;
    let fault = decode_request(Operation::Chat, &Bytes::from_static(twice)).unwrap_err();
    assert_eq!(fault.param.as_deref(), Some("thread.previous_message_id"));
}
