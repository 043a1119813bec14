//! Invalid requests: each kind gets its status, OpenAI's error format, a fix and the request id; none reaches
//! the upstream, none ends the process, and each is counted.

use std::collections::BTreeMap;
use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use harness::client::Answer;
use http::Method;
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, question, refused, with};
use crate::gateway::Gateway;

/// The limits that these tests reach (`domain::limits`).
const BODY_BYTES_MAX: usize = domain::limits::BODY_BYTES_MAX;

/// A request that is refused.
struct Case {
    name: &'static str,
    method: Method,
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    status: u16,
    code: &'static str,
    param: Value,
}

fn body(name: &'static str, body: impl Into<Bytes>, code: &'static str, param: Value) -> Case {
    let headers = vec![("content-type", "application/json".to_owned())];
    Case { name, method: Method::POST, path: CHAT, headers, body: body.into(), status: 400, code, param }
}

fn fields(name: &'static str, more: Value, code: &'static str, param: &str) -> Case {
    body(name, with(question(MINI), more).to_string(), code, json!(param))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deep(levels: usize) -> String {
    format!(
        "{{\"model\":\"{MINI}\",\"messages\":[{{\"role\":\"user\",\"content\":\"x\"}}],\"x\":{}1{}}}",
        "[".repeat(levels),
        "]".repeat(levels)
    )
}

fn wrong_bodies() -> Vec<Case> {
    const MISSING: &str = "missing_required_parameter";
    let invalid = |name, text: &[u8]| body(name, text.to_vec(), "invalid_json", Value::Null);
    let many: Vec<String> = (0..100_001).map(|key| format!("\"k{key}\":1")).collect();
    let twice = format!("{{\"model\":\"a\",\"model\":\"{MINI}\",\"messages\":[]}}");
    let roles = json!([{"role": "user", "content": "x"}, {"role": 3}]);
    let options = json!({"stream": true, "stream_options": []});
    vec![
        body("empty", "", "empty_body", Value::Null),
        invalid("half an object", b"{\"model\":\"x\""),
        invalid("a comma too many", b"{\"model\":\"x\",}"),
        invalid("two documents", b"{}{}"),
        invalid("a control character", b"{\"model\":\"a\x01b\"}"),
        invalid("half a surrogate pair", b"{\"model\":\"\\ud800\",\"messages\":[]}"),
        invalid("a number that is none", b"{\"model\":\"x\",\"seed\":01}"),
        body("no UTF-8", &b"{\"model\":\"\xff\xfe\"}"[..], "invalid_utf8", Value::Null),
        body("an array", "[]", "invalid_type", Value::Null),
        body("a hundred thousand levels", deep(100_000), "json_too_deep", Value::Null),
        body("129 levels", deep(129), "json_too_deep", Value::Null),
        body("a hundred thousand keys", format!("{{{}}}", many.join(",")), "json_too_many_keys", Value::Null),
        body("the model twice", twice, "duplicate_field", json!("model")),
        fields("no model", json!({"model": null}), MISSING, "model"),
        fields("an empty conversation", json!({"messages": []}), "empty_array", "messages"),
        fields("no answers", json!({"n": 0}), "integer_below_min_value", "n"),
        fields("fewer tokens than none", json!({"max_tokens": -1}), "integer_below_min_value", "max_tokens"),
        fields("no messages", json!({"messages": null}), MISSING, "messages"),
        fields("a model that is a number", json!({"model": 4}), "invalid_type", "model"),
        fields("messages that are text", json!({"messages": "hi"}), "invalid_type", "messages"),
        fields(
            "a message without a role",
            json!({"messages": [{"content": "x"}]}),
            MISSING,
            "messages[0].role",
        ),
        fields("a role that is a number", json!({"messages": roles}), "invalid_type", "messages[1].role"),
        fields("a stream that is text", json!({"stream": "yes"}), "invalid_type", "stream"),
        fields("tokens that are text", json!({"max_tokens": "many"}), "invalid_type", "max_tokens"),
        fields("options that are a list", options, "invalid_type", "stream_options"),
    ]
}

fn wrong_heads() -> Vec<Case> {
    let plain = |name, kind: &str| Case {
        headers: vec![("content-type", kind.to_owned())],
        status: 415,
        ..body(name, question(MINI).to_string(), "unsupported_media_type", Value::Null)
    };
    let encoded = |case: Case, encoding: &str, status| {
        let mut headers = case.headers;
        headers.push(("content-encoding", encoding.to_owned()));
        Case { headers, status, ..case }
    };
    let coding = |name, bytes: Vec<u8>, code| body(name, bytes, code, json!("Content-Encoding"));
    let (unsupported, text) = ("unsupported_content_encoding", b"hello".to_vec());
    let nothing = |name, text: &'static str, code| body(name, text, code, Value::Null);
    let over = |name, bytes: Vec<u8>| body(name, bytes, "request_too_large", Value::Null);
    let at = |path, case: Case| Case { path, status: 404, ..case };
    vec![
        plain("a form", "application/x-www-form-urlencoded"),
        plain("plain text", "text/plain"),
        encoded(coding("no gzip at all", text.clone(), "invalid_content_encoding"), "gzip", 400),
        encoded(coding("an unknown encoding", text, unsupported), "compress", 415),
        encoded(coding("encoded twice", gzip(&gzip(b"{}")), unsupported), "gzip, gzip", 415),
        encoded(over("a gzip bomb", gzip(&vec![b' '; 80 * 1024 * 1024])), "gzip", 413),
        Case { status: 413, ..over("one byte over the limit", vec![b' '; BODY_BYTES_MAX + 1]) },
        Case { method: Method::GET, status: 405, ..nothing("the wrong method", "", "method_not_allowed") },
        at("/v1/chat/completion", nothing("a mistyped path", "{}", "unknown_path")),
        at("/v1/uploads", nothing("a path that comes later", "{}", "not_served_yet")),
    ]
}

/// The body of a refused HEAD or GET may be missing, so only shape and headers are checked here.
fn check(case: &Case, answer: &Answer) {
    let error = refused(answer, case.status, case.code);
    assert_eq!(error["param"], case.param, "{}: {error}", case.name);
    let message = error["message"].as_str().unwrap();
    assert!(message.matches(". ").count() >= 1, "{}: no way to mend it: {message}", case.name);
    assert!(message.len() < 600, "{}: {message}", case.name);
    if case.status == 405 {
        assert_eq!(answer.header("allow"), Some("POST"), "{}", case.name);
    }
}

/// The refusal counter of each error code.
async fn refusals(gateway: &Gateway) -> BTreeMap<String, u64> {
    let page = gateway.client().get("/metrics").await.unwrap().text();
    let rows = page.lines().filter_map(|line| line.strip_prefix("tidegate_refusals_total{code=\""));
    rows.map(|row| {
        let (code, count) = row.split_once("\"} ").unwrap();
        (code.to_owned(), count.parse().unwrap())
    })
    .collect()
}

#[tokio::test]
async fn wrong_requests_are_told_counted_and_never_sent() {
    let mut gateway = Gateway::with_own().await;
    let pid = gateway.process().pid();
    let (resident, _) = harness::process::resources(pid).unwrap();
    let cases: Vec<Case> = wrong_bodies().into_iter().chain(wrong_heads()).collect();
    for case in &cases {
        let before = refusals(&gateway).await;
        let headers: Vec<_> = case.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = gateway.client().call(case.method.clone(), case.path, &headers, case.body.clone()).await;
        check(case, &answer.unwrap_or_else(|error| panic!("{}: {error}", case.name)));
        let count = |counts: &BTreeMap<String, u64>| counts.get(case.code).copied().unwrap_or(0);
        assert_eq!(count(&refusals(&gateway).await), count(&before) + 1, "{} is not counted", case.name);
    }
    assert_eq!(gateway.emulator.journal().len(), 0, "something reached upstream");
    assert!(gateway.process().exited().unwrap().is_none());
    let (grown, _) = harness::process::resources(pid).unwrap();
    assert!(grown.saturating_sub(resident) < 192 * 1024 * 1024, "{resident} bytes grew to {grown}");
    gateway.chat_ok(&question(MINI)).await;
}

#[tokio::test]
async fn keys_that_do_not_fit_are_told_apart() {
    let gateway = Gateway::with_own().await;
    let (revoked, id) = gateway.key(json!({"name": "revoked"})).await;
    gateway.remove(&format!("/v2/api-keys/{id}")).await;
    let (expired, _) = gateway.key(json!({"name": "expired", "expires_at": "2020-01-01T00:00:00Z"})).await;
    let (reader, _) = gateway.key(json!({"name": "reader", "scopes": ["read"]})).await;
    let (elsewhere, _) = gateway.key(json!({"name": "elsewhere", "ip_allowlist": ["203.0.113.0/24"]})).await;
    let mut mistyped = gateway.founded.api_key.clone();
    mistyped.replace_range(mistyped.len() - 1.., "!");
    let unknown = Gateway::start().await.founded.api_key.clone();
    let cases = [
        (unknown.as_str(), 401, "invalid_api_key"),
        (mistyped.as_str(), 401, "invalid_api_key"),
        ("sk-proj-somebody-elses", 401, "invalid_api_key"),
        ("' OR '1'='1", 401, "invalid_api_key"),
        (revoked.as_str(), 401, "revoked_api_key"),
        (expired.as_str(), 401, "expired_api_key"),
        (reader.as_str(), 403, "insufficient_scope"),
        (elsewhere.as_str(), 403, "ip_not_allowed"),
    ];
    for (key, status, code) in cases {
        let error = refused(&gateway.with_key(key).post(CHAT, &question(MINI)).await.unwrap(), status, code);
        assert!(!error["message"].as_str().unwrap().contains(key), "the message repeats the key");
        assert!(refusals(&gateway).await.contains_key(code), "{code} is not counted");
    }
    let none = harness::client::Client::new(&gateway.origin);
    refused(&none.post(CHAT, &question(MINI)).await.unwrap(), 401, "missing_api_key");
    // A client can't claim another address with a header.
    let claiming = gateway.with_key(&elsewhere).header("x-forwarded-for", "203.0.113.7");
    refused(&claiming.post(CHAT, &question(MINI)).await.unwrap(), 403, "ip_not_allowed");
    assert_eq!(gateway.emulator.journal().len(), 0);
}

#[tokio::test]
async fn good_but_unusual_requests_pass() {
    let gateway = Gateway::with_own().await;
    let body = question(MINI).to_string();
    let json = ("content-type", "application/json");
    let packed = vec![("content-type", "Application/JSON"), ("content-encoding", "gzip")];
    let cases: Vec<(Vec<(&str, &str)>, Bytes)> = vec![
        (vec![("content-type", "application/json; charset=utf-8")], body.clone().into()),
        (packed, gzip(body.as_bytes()).into()),
        (vec![json], format!("\n {body}\r\n").into()),
        (vec![json, ("expect", "100-continue")], body.clone().into()),
        (vec![json, ("agent-hints", "eyJ4IjoxfQ")], body.clone().into()),
    ];
    for (headers, body) in cases {
        let answer = gateway.client().call(Method::POST, CHAT, &headers, body).await.unwrap();
        assert_eq!(answer.status, 200, "{headers:?}: {}", answer.text());
    }
    // Hints are wishes: those that can't be read are named, and the request is served.
    let plain = gateway.client().header("agent-hints", r#"{"tag":"nightly"}"#);
    let served = plain.post(CHAT, &question(MINI)).await.unwrap().must_be(200);
    assert_eq!(served.header("agent-dropped-params"), Some("Agent-Hints"));
    let own = harness::client::Client::new(&gateway.origin).header("x-api-key", &gateway.founded.api_key);
    own.post(CHAT, &question(MINI)).await.unwrap().must_be(200);
}
