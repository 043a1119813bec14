//! Builds requests, and reads answers.

use std::time::Instant;

use harness::client::{Answer, Client, Streaming};
use harness::{Behaviour, ToolMode, sse};
use serde_json::{Value, json};

use crate::WITHIN;
use crate::wait::{a_moment, found};

pub const CHAT: &str = "/v1/chat/completions";
/// Priced in the catalogue, served by `openai`.
pub const MINI: &str = "openai/gpt-4o-mini";
/// Served by `together_ai` and `nebius`.
pub const LLAMA: &str = "meta-llama/Llama-3.3-70B-Instruct";

pub fn question(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "hello there"}]})
}

/// A question whose answer the emulator shapes by this script.
pub fn scripted(model: &str, script: &str) -> Value {
    with(question(model), json!({"user": format!("emu:{script}")}))
}

pub fn streaming(model: &str) -> Value {
    with(question(model), json!({"stream": true}))
}

pub fn streaming_usage(model: &str) -> Value {
    with(question(model), json!({"stream": true, "stream_options": {"include_usage": true}}))
}

/// The request with further fields; null removes one.
pub fn with(mut request: Value, more: Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        if value.is_null() {
            request.as_object_mut().unwrap().remove(name);
        } else {
            request[name] = value.clone();
        }
    }
    request
}

/// The text of all chunks.
pub fn text_of(events: &[String]) -> String {
    events
        .iter()
        .filter_map(|event| serde_json::from_str::<Value>(event).ok())
        .filter_map(|chunk| {
            chunk.pointer("/choices/0/delta/content").and_then(Value::as_str).map(str::to_owned)
        })
        .collect()
}

/// The text of a buffered answer or of a complete stream.
pub fn said(answer: &Answer) -> String {
    match answer.json().pointer("/choices/0/message/content").and_then(Value::as_str) {
        Some(text) => text.to_owned(),
        None => text_of(&sse::events(&answer.body)),
    }
}

/// The request id of an answer; it is the same in both headers.
pub fn trace_of(answer: &Answer) -> String {
    let trace = answer.header("agent-trace-id").unwrap_or_else(|| panic!("no request id: {answer:?}"));
    let ids: Vec<_> = answer.headers.get_all("x-request-id").iter().collect();
    assert_eq!(ids, [trace]);
    assert!(trace.starts_with("trc_"), "{trace}");
    trace.to_owned()
}

pub fn trace_of_stream(stream: &Streaming) -> String {
    stream.header("agent-trace-id").expect("no request id").to_owned()
}

/// Checks an error in OpenAI's shape: status, code, a message that ends with the request id, nothing else.
pub fn refused(answer: &Answer, status: u16, code: &str) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"), "{}", answer.text());
    let body = answer.json();
    let error = &body["error"];
    assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
    let fields: Vec<&str> = error.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["message", "type", "param", "code"], "{body}");
    assert_eq!(error["code"], code, "{body}");
    assert!(error["type"].is_string(), "{body}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(&trace_of(answer)), "the message lacks the request id: {message}");
    error.clone()
}

/// Checks a problem document of `/v2`: status, code, and content type.
pub fn problem(answer: &Answer, status: u16, code: &str) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.text());
    let body = answer.json();
    assert_eq!(body["code"], code, "{body}");
    assert_eq!(body["status"], status, "{body}");
    assert_eq!(body["request_id"].as_str(), answer.header("x-request-id"), "{body}");
    for field in ["type", "title", "detail", "fix"] {
        assert!(body[field].is_string(), "{field} is missing: {body}");
    }
    assert!(body["retryable"].is_boolean(), "{body}");
    body
}

/// Replaces every id, time and text of an answer's choices: what remains is its shape.
pub fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), shape(value))).collect(),
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::String(_) => json!("text"),
        Value::Number(_) => json!("number"),
        Value::Bool(_) | Value::Null => value.clone(),
    }
}

/// The records of a node's journal, once there are this many.
pub async fn records(client: &Client, wanted: usize) -> Vec<Value> {
    let deadline = Instant::now() + WITHIN;
    loop {
        let page = client.get("/v1/usage").await.unwrap().json();
        let records = page["data"].as_array().unwrap().clone();
        if records.len() >= wanted {
            return records;
        }
        assert!(Instant::now() < deadline, "{page}");
        a_moment().await;
    }
}

/// What an object is once it has this status.
pub async fn until_status(admin: &Client, path: &str, status: &str) -> Value {
    let deadline = Instant::now() + WITHIN * 3;
    loop {
        let answer = admin.get(path).await.unwrap();
        if answer.status == 200 && answer.json()["status"] == status {
            return answer.json();
        }
        assert!(Instant::now() < deadline, "{path} is not {status}: {}", answer.text());
        a_moment().await;
    }
}

/// Expects these fields of an object; a name that begins with a slash is a pointer.
#[track_caller]
pub fn has(value: &Value, fields: Value) {
    for (name, expected) in fields.as_object().unwrap() {
        let found = if name.starts_with('/') { value.pointer(name) } else { value.get(name) };
        assert_eq!(found.unwrap_or(&Value::Null), expected, "{name}: {value}");
    }
}

/// As `refused`, with a message that says this.
#[track_caller]
pub fn refused_with(answer: &Answer, status: u16, code: &str, words: &str) -> Value {
    let error = refused(answer, status, code);
    assert!(error["message"].as_str().unwrap().contains(words), "{words}: {error}");
    error
}

/// The events of a stream that has ended, each as JSON.
pub fn events_of(answer: &Answer) -> Vec<Value> {
    sse::events(&answer.body).iter().map(|event| serde_json::from_str(event).unwrap()).collect()
}

/// A buffered request of a client of each wire format: its path, its body, and the pointer to the answer's text.
pub fn in_each_grammar(model: &str) -> [(String, Value, &'static str); 4] {
    let chat = question(model);
    let messages = json!({"model": model, "max_tokens": 400, "messages": chat["messages"]});
    let responses = json!({"model": model, "input": "hello there", "store": false});
    let contents = json!({"contents": [{"role": "user", "parts": [{"text": "hello there"}]}]});
    let gemini = format!("/v1beta/models/{model}:generateContent");
    [
        (CHAT.to_owned(), chat, "/choices/0/message/content"),
        ("/v1/responses".to_owned(), responses, "/output/0/content/0/text"),
        ("/v1/messages".to_owned(), messages, "/content/0/text"),
        (gemini, contents, "/candidates/0/content/parts/0/text"),
    ]
}

/// Posts, and expects a 200.
pub async fn posted(client: &Client, path: &str, body: &Value) -> Answer {
    client.post(path, body).await.unwrap().must_be(200)
}

/// Polls a path until its object satisfies a condition, and returns the object.
pub async fn once(client: &Client, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + WITHIN * 4;
    loop {
        let seen = client.get(path).await.unwrap().must_be(200).json();
        if is_so(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "{path} is not so yet: {seen}");
        a_moment().await;
    }
}

/// A model's call of a tool, and the model's answer to its result.
pub fn one_call(tool: impl Into<String>, arguments: impl Into<String>) -> [Behaviour; 2] {
    [Behaviour::ok().tools(ToolMode::Single).call(tool, arguments), Behaviour::ok().tools(ToolMode::None)]
}

/// The words of a command, or of a list of them.
pub fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// The answer to a post, once it has this status.
pub async fn until_posted(client: &Client, path: &str, body: &Value, status: u16) -> Answer {
    found(path, async || {
        Some(client.post(path, body).await.unwrap()).filter(|answer| answer.status == status)
    })
    .await
}

/// Waits until a request is in the books that this client sees.
pub async fn until_booked(client: &Client, trace: &str) {
    let path = format!("/v2/requests/{trace}");
    found(trace, async || Some(client.get(&path).await.unwrap()).filter(|answer| answer.status == 200)).await;
}

/// A client of a node, by the base URL that it has printed.
pub fn client_of(base_url: &str) -> Client {
    Client::new(base_url.trim_end_matches("/v1")).within(WITHIN)
}

/// Checks the status and the error code of an answer, in OpenAI's shape.
#[track_caller]
pub fn fails(answer: &Answer, status: u16, code: &str) {
    let found = answer.json();
    assert_eq!((answer.status, found["error"]["code"].as_str()), (status, Some(code)), "{}", answer.text());
}

/// Checks that a text has all of these parts.
#[track_caller]
pub fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}
