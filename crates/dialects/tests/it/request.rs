//! Requests: which pass, which are refused and with what message, and what upstreams are sent.

use bytes::Bytes;
use chat::decode_request;
use conversation::request::{Request, upstream_body};
use proptest::prelude::*;

const MESSAGES: &str = r#""messages":[{"role":"user","content":"Hello"}]"#;

fn decode(text: &str) -> Request {
    decode_request(&Bytes::copy_from_slice(text.as_bytes())).unwrap_or_else(|fault| panic!("{text}: {fault}"))
}

fn refused(text: impl AsRef<[u8]>, code: &str, param: Option<&str>) {
    let text = text.as_ref();
    let excerpt = String::from_utf8_lossy(text.get(..text.len().min(200)).unwrap_or_default());
    match decode_request(&Bytes::copy_from_slice(text)) {
        Ok(request) => panic!("{excerpt} passed as {request:?}"),
        Err(fault) => {
            assert_eq!((fault.code, fault.param.as_deref()), (code, param), "{excerpt}: {fault}");
            assert!(fault.fix.is_some(), "{excerpt}: {fault}");
            assert_eq!(dialects::status(&fault, domain::Dialect::Chat), 400);
        }
    }
}

fn sent(text: &str, model: &str) -> String {
    let body = Bytes::copy_from_slice(text.as_bytes());
    let request = decode(text);
    String::from_utf8(upstream_body(&body, &request, model, true).concat()).expect("UTF-8")
}

#[test]
fn what_the_rooms_need_is_read() {
    let text = r#" {"unknown":{"model":"x"},"model":"gpt-4o","messages":[
            {"role":"system","content":"Be kind."},
            {"role":"user","content":[{"type":"text","text":"h\u00e9"},{"type":"image_url","image_url":{"url":"u"}}]},
            {"role":"assistant","content":null,"tool_calls":[]},
            {"role":"new_role"}],
            "stream":true,"stream_options":{"include_usage":true},"n":2,"max_tokens":7,"user":"u1",
            "modalities":["text","audio"],"audio":{"voice":"alloy","format":"pcm16"}} "#;
    let request = decode(text);
    assert!(request.speaks && !decode(&format!(r#"{{"model":"m",{MESSAGES},"audio":null}}"#)).speaks);
    assert_eq!(request.model, "gpt-4o");
    assert!(request.stream && request.include_usage);
    assert_eq!((request.choices, request.max_output_tokens), (2, Some(7)));
    assert_eq!(request.end_user(text.as_bytes()).as_deref(), Some("u1"));
    assert_eq!(request.prompt_bytes, 8 + 3 + 2);
}

#[test]
fn the_newer_name_of_a_field_wins_and_null_is_absence() {
    let text = format!(
        r#"{{"model":"m",{MESSAGES},"max_tokens":1,"max_completion_tokens":2,"user":"a","safety_identifier":"bé",
            "stream":null,"n":null}}"#
    );
    let request = decode(&text);
    assert_eq!((request.max_output_tokens, request.choices, request.stream), (Some(2), 1, false));
    assert_eq!(request.end_user(text.as_bytes()).as_deref(), Some("bé"));
}

#[test]
fn what_is_wrong_is_told_with_its_field() {
    refused("", "empty_body", None);
    refused(" \n", "empty_body", None);
    refused("[]", "invalid_type", None);
    refused("{", "invalid_json", None);
    refused("{\"model\":\"m\"}}", "invalid_json", None);
    refused(b"{\"model\":\"\xff\"}", "invalid_utf8", None);
    refused(format!(r#"{{"model":"\ud800",{MESSAGES}}}"#), "invalid_json", None);
    refused(format!("{{\"model\":\"m\0\",{MESSAGES}}}"), "invalid_json", None);
    let deep = ["[".repeat(200), "]".repeat(200)].concat();
    refused(format!(r#"{{"x":{deep},"model":"m",{MESSAGES}}}"#), "json_too_deep", None);
    let keys = vec!["\"a\":0"; 100_001].join(",");
    refused(format!(r#"{{"x":{{{keys}}},"model":"m",{MESSAGES}}}"#), "json_too_many_keys", None);
    refused("{}", "missing_required_parameter", Some("model"));
    refused(r#"{"model":"m"}"#, "missing_required_parameter", Some("messages"));
    refused(format!("{{{MESSAGES}}}"), "missing_required_parameter", Some("model"));
    for (field, param) in [
        (r#""model":5"#, "model"),
        (r#""model":null"#, "model"),
        (r#""stream":"yes""#, "stream"),
        (r#""stream":1"#, "stream"),
        (r#""stream_options":true"#, "stream_options"),
        (r#""stream_options":{"include_usage":1}"#, "stream_options.include_usage"),
        (r#""n":"2""#, "n"),
        (r#""max_tokens":"5""#, "max_tokens"),
        (r#""user":{}"#, "user"),
    ] {
        let model = if param == "model" { "" } else { r#""model":"m","# };
        refused(format!("{{{model}{field},{MESSAGES}}}"), "invalid_type", Some(param));
    }
    for (field, param) in [
        (r#""n":129"#, "n"),
        (r#""n":1.5"#, "n"),
        (r#""max_completion_tokens":1e2"#, "max_completion_tokens"),
        (r#""model":"""#, "model"),
        (r#""model":"a\u0000b""#, "model"),
    ] {
        let model = if param == "model" { "" } else { r#""model":"m","# };
        refused(format!("{{{model}{field},{MESSAGES}}}"), "invalid_value", Some(param));
    }
    for (field, param) in [(r#""n":0"#, "n"), (r#""max_tokens":-1"#, "max_tokens")] {
        refused(format!(r#"{{"model":"m",{field},{MESSAGES}}}"#), "integer_below_min_value", Some(param));
    }
    refused(format!(r#"{{"model":"{}",{MESSAGES}}}"#, "x".repeat(257)), "invalid_value", Some("model"));
}

#[test]
fn messages_are_checked_by_place() {
    let (missing, typed) = ("missing_required_parameter", "invalid_type");
    for (messages, code, param) in [
        ("5", typed, "messages"),
        ("[]", "empty_array", "messages"),
        ("[5]", typed, "messages[0]"),
        (r#"[{"role":"user"},{"content":"x"}]"#, missing, "messages[1].role"),
        (r#"[{"role":5}]"#, typed, "messages[0].role"),
        (r#"[{"role":"user","content":5}]"#, typed, "messages[0].content"),
        (r#"[{"role":"user","content":{}}]"#, typed, "messages[0].content"),
        (r#"[{"role":"user","content":["x"]}]"#, typed, "messages[0].content[0]"),
        (r#"[{"role":"user","content":[{"text":"x"}]}]"#, missing, "messages[0].content[0].type"),
        (r#"[{"role":"user","content":[{"type":"text","text":5}]}]"#, typed, "messages[0].content[0].text"),
        (r#"[{"role":"user","role":"user"}]"#, "duplicate_field", "messages[0].role"),
        (r#"[{"role":"user","content":"a","content":"b"}]"#, "duplicate_field", "messages[0].content"),
    ] {
        refused(format!(r#"{{"model":"m","messages":{messages}}}"#), code, Some(param));
    }
}

#[test]
fn a_second_field_that_we_read_is_refused_and_others_pass() {
    refused(format!(r#"{{"model":"a","model":"b",{MESSAGES}}}"#), "duplicate_field", Some("model"));
    refused(format!(r#"{{"model":"a","mod\u0065l":"b",{MESSAGES}}}"#), "duplicate_field", Some("model"));
    refused(format!(r#"{{"model":"a",{MESSAGES},{MESSAGES}}}"#), "duplicate_field", Some("messages"));
    let twice = r#""stream_options":{"include_usage":true,"include_usage":false}"#;
    let twice = format!(r#"{{"model":"a",{MESSAGES},{twice}}}"#);
    refused(twice, "duplicate_field", Some("stream_options.include_usage"));
    decode(&format!(r#"{{"model":"a",{MESSAGES},"x":1,"x":2,"temperature":0,"temperature":1}}"#));
}

#[test]
fn an_upstream_gets_the_same_bytes_but_for_the_edits() {
    let plain = format!(r#"{{"a" : 9007199254740993, "model" :"x/y" ,{MESSAGES},"z":[ ]}}"#);
    assert_eq!(sent(&plain, "x/y"), plain);
    assert_eq!(sent(&plain, "q\"z"), plain.replace("\"x/y\"", r#""q\"z""#));
    let stream = |options: &str| format!(r#"{{"model":"m",{MESSAGES},"stream":true{options}}}"#);
    let asking = stream("").replacen('{', r#"{"stream_options":{"include_usage":true},"#, 1);
    assert_eq!(sent(&stream(""), "m"), asking);
    for (options, edited) in [
        (r#","stream_options":{"include_usage":true}"#, r#","stream_options":{"include_usage":true}"#),
        (r#","stream_options":{"include_usage":false}"#, r#","stream_options":{"include_usage":true}"#),
        (r#","stream_options":{"include_usage": null }"#, r#","stream_options":{"include_usage": true }"#),
        (r#","stream_options":null"#, r#","stream_options":{"include_usage":true}"#),
        (r#","stream_options":{}"#, r#","stream_options":{"include_usage":true}"#),
        (r#","stream_options":{ "x":1}"#, r#","stream_options":{"include_usage":true, "x":1}"#),
    ] {
        assert_eq!(sent(&stream(options), "m"), stream(edited), "{options}");
        let request = decode(&stream(options));
        let body = Bytes::from(stream(options));
        assert_eq!(upstream_body(&body, &request, "m", false).concat(), body, "not asked");
    }
}

#[test]
fn a_large_body_is_sliced() {
    let text = format!(r#"{{"model":"m",{MESSAGES},"stream":true}}"#).replace("Hello", &"x".repeat(100_000));
    let body = Bytes::from(text.clone());
    let request = decode(&text);
    let segments = upstream_body(&body, &request, "other", true);
    assert!(segments.len() > 2);
    let inside = body.as_ptr_range();
    let largest = segments.iter().max_by_key(|segment| segment.len()).expect("segments");
    assert!(inside.contains(&largest.as_ptr()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// The edited body is still JSON, and equals the client's except for the model and the usage request.
    #[test]
    fn edits_keep_everything_else(model in "[a-z\"\\\\/é]{1,9}", other in "[a-z\"\\\\/é]{1,9}", content: String, stream: bool,
                                  options in prop_oneof![Just(None), Just(Some("{}")), Just(Some("null")), Just(Some("{\"x\":1}"))]) {
        let mut body = serde_json::json!({"model": model, "stream": stream, "k": 1.5,
                                          "messages": [{"role": "user", "content": content}]});
        if let Some(options) = options {
            body["stream_options"] = serde_json::from_str(options).expect("valid");
        }
        let bytes = Bytes::from(body.to_string());
        let request = decode_request(&bytes).expect("valid");
        prop_assert_eq!(&request.model, &model);
        prop_assert_eq!(request.prompt_bytes, content.len() as u64);
        let sent = upstream_body(&bytes, &request, &other, true).concat();
        let mut sent: serde_json::Value = serde_json::from_slice(&sent).expect("still JSON");
        prop_assert_eq!(&sent["model"], &other);
        if stream {
            prop_assert_eq!(&sent["stream_options"]["include_usage"], true);
            sent["stream_options"] = body["stream_options"].clone();
            if options.is_none() {
                sent.as_object_mut().expect("an object").remove("stream_options");
                body.as_object_mut().expect("an object").remove("stream_options");
            }
        }
        sent["model"] = model.into();
        prop_assert_eq!(sent, body);
    }
}
