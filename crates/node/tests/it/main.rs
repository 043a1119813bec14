//! The node's service: dialects, streams, and its description of itself.

#![expect(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

mod training;
mod training_limits;
mod vectors;

use std::future::ready;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use domain::adapters::RuntimeFuture;
use domain::runtime::{BoxedGeneration, GenerateRequest, Generation, Runtime, RuntimeModel};
use domain::{Event, Fault, FaultClass, PartKind, Usage};
use http::{Request, Response};
use http_body_util::BodyExt;
use node::{Echo, NodeBody, NodeSettings, Service};
use serde_json::Value;
use world::World;

fn service(runtime: impl Runtime + 'static) -> Arc<Service> {
    kept(runtime, None)
}

fn kept(runtime: impl Runtime + 'static, data_dir: Option<&Path>) -> Arc<Service> {
    let settings = NodeSettings { data_dir: data_dir.map(Path::to_owned), ..settings() };
    Service::new(Arc::new(runtime), settings).unwrap()
}

fn settings() -> NodeSettings {
    NodeSettings {
        world: World::system(),
        keys: Vec::new(),
        runtime_name: "test",
        data_dir: None,
        adapters: None,
        topology: node::Topology::default(),
    }
}

fn post(path: &str) -> http::request::Builder {
    Request::post(path).header("content-type", "application/json")
}

fn call(service: &Service, method: &str, path: &str, body: &str) -> (Response<()>, Bytes, bool) {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let request = request.body(Bytes::from(body.to_owned())).unwrap();
    waited(async {
        let (head, body) = service.call(request, service.mint()).await.into_parts();
        let (bytes, clean) = read(body).await;
        (Response::from_parts(head, ()), bytes, clean)
    })
}

/// What a peer sent stays here, whatever it names: the peer has its own topology.
#[test]
fn a_peers_request_leaves_for_no_backend() {
    let root = tempfile::tempdir().unwrap();
    let config = root.path().join("node.toml");
    let hybrid = "[hybrid]\ndefault_mode = \"hybrid\"\ncloud_endpoints = [\"http://127.0.0.1:9\"]\n";
    std::fs::write(&config, hybrid).unwrap();
    let topology = node::Topology::read(&node::TopologySources {
        is_strict: false,
        allowed: None,
        config: Some(&config),
        gateway: None,
        environment: &|_| None,
        egress: egress::EgressSettings { allow_private: true, ..egress::EgressSettings::default() },
    })
    .unwrap();
    let service = Service::new(Arc::new(Echo), NodeSettings { topology, ..settings() }).unwrap();
    for (model, status, code) in [
        ("elsewhere", 404, "model_not_found"),
        ("hybrid/echo", 403, "local_only"),
        ("cloud/echo", 403, "local_only"),
    ] {
        let body = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hello"}}]}}"#);
        let request = post("/v1/chat/completions").body(Bytes::from(body)).unwrap();
        let answer = waited(service.call_for_peer(request, service.mint()));
        assert_eq!(answer.status().as_u16(), status, "{model}");
        let answer = json(&waited(read(answer.into_body())).0);
        assert_eq!(answer["error"]["code"], code, "{answer}");
    }
}

/// Requests that change a node's state must be JSON: any web page may send a form or plain text.
#[test]
fn every_path_of_json_takes_no_other_kind() {
    let service = kept(Echo, None);
    let ask = |path: &str, kind: Option<&str>| {
        let mut request = Request::post(path);
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let request = request.body(Bytes::from_static(b"{}")).unwrap();
        waited(service.call(request, service.mint())).status().as_u16()
    };
    let paths = "chat/completions completions responses messages embeddings rerank responses/input_tokens
        messages/count_tokens cache/purge adapters adapters/one/load adapters/one/unload adapters/warmup
        train/sft train/jobs/one/pause train/jobs/one/resume fine_tuning/jobs fine_tuning/jobs/one/cancel
        fine_tuning/jobs/one/pause fine_tuning/jobs/one/resume";
    for path in paths.split_whitespace().map(|path| format!("/v1/{path}")) {
        let path = path.as_str();
        for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"] {
            assert_eq!(ask(path, Some(kind)), 415, "{path} {kind}");
        }
        assert_ne!(ask(path, Some("application/json; charset=utf-8")), 415, "{path}");
    }
    for path in ["/v1/cache/purge", "/v1/adapters", "/v1/train/sft", "/v1/fine_tuning/jobs"] {
        assert_eq!(ask(path, None), 415, "{path}");
    }
}

/// Polls to the end without a runtime: nothing here waits for I/O.
fn waited<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut cx = Context::from_waker(std::task::Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
    }
}

/// The bytes, and whether the body ended cleanly.
async fn read(mut body: NodeBody) -> (Bytes, bool) {
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => all.extend(frame.into_data().unwrap()),
            Err(_) => return (all.into(), false),
        }
    }
    (all.into(), true)
}

fn json(bytes: &Bytes) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn echo_answers_whole_and_marks_its_counts() {
    let service = service(Echo);
    let body = r#"{"model":"echo","messages":[{"role":"system","content":"s"},{"role":"user","content":"high tide"}]}"#;
    let (head, bytes, _) = call(&service, "POST", "/v1/chat/completions", body);
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers()["x-tidegate-usage"], "estimated");
    assert!(head.headers()["x-request-id"].to_str().unwrap().starts_with("trc_"));
    let answer = json(&bytes);
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.contains("isn't a model") && text.ends_with("high tide"));
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "echo");
    assert!(answer["usage"]["completion_tokens"].as_u64().unwrap() > 0);
    let (_, again, _) = call(&service, "POST", "/v1/chat/completions", body);
    assert_eq!(json(&again)["choices"], answer["choices"], "the same request, the same answer");
    let local = body.replace("\"echo\"", "\"local/echo\"");
    assert_eq!(call(&service, "POST", "/v1/chat/completions", &local).0.status(), 200);
}

#[test]
fn echo_streams_in_the_order_that_sdks_accept() {
    let long = "word ".repeat(500);
    for include_usage in [true, false] {
        let body = format!(
            r#"{{"model":"echo","stream":true,"stream_options":{{"include_usage":{include_usage}}},"messages":[{{"role":"user","content":"{long}"}}]}}"#
        );
        let (head, bytes, clean) = call(&service(Echo), "POST", "/v1/chat/completions", &body);
        assert!(clean);
        assert!(head.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let events: Vec<&str> = text.split("\n\n").filter(|event| !event.is_empty()).collect();
        assert_eq!(*events.last().unwrap(), "data: [DONE]");
        let chunks: Vec<Value> = events[..events.len() - 1]
            .iter()
            .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
            .collect();
        assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
        let content: String =
            chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
        assert!(content.ends_with(&long));
        let finish = &chunks[chunks.len() - if include_usage { 2 } else { 1 }];
        assert_eq!(finish["choices"][0]["finish_reason"], "stop");
        assert_eq!(chunks.last().unwrap()["usage"].is_object(), include_usage);
        assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"]));
    }
}

#[test]
fn echo_answers_in_every_grammar_of_a_node() {
    let service = service(Echo);
    let message = r#"[{"role":"user","content":"high tide"}]"#;
    let messages = format!(r#"{{"model":"echo","max_tokens":100,"messages":{message}}}"#);
    let (head, bytes, _) = call(&service, "POST", "/v1/messages", &messages);
    assert!(head.headers().contains_key("request-id"), "{bytes:?}");
    let text = json(&bytes)["content"][0]["text"].as_str().unwrap().to_owned();
    assert!(text.ends_with("high tide"), "{text}");
    let responses = format!(r#"{{"model":"echo","store":false,"input":{message}}}"#);
    let (_, bytes, _) = call(&service, "POST", "/v1/responses", &responses);
    assert_eq!(json(&bytes)["output"][0]["content"][0]["text"], text.as_str(), "{bytes:?}");
    let continued = r#"{"model":"echo","prompt":"high tide","max_tokens":100}"#;
    let (_, bytes, _) = call(&service, "POST", "/v1/completions", continued);
    assert_eq!(json(&bytes)["choices"][0]["text"], text.as_str(), "{bytes:?}");
    let (_, bytes, _) = call(&service, "POST", "/v1/messages/count_tokens", &messages);
    assert!(json(&bytes)["input_tokens"].as_u64().unwrap() > 0, "{bytes:?}");
    let wrong = r#"{"model":"gpt","max_tokens":1,"messages":[{"role":"user","content":"x"}]}"#;
    let (head, bytes, _) = call(&service, "POST", "/v1/messages", wrong);
    assert_eq!((head.status().as_u16(), &json(&bytes)["type"]), (404, &Value::from("error")));
}

#[test]
fn nothing_leaves_a_node_that_is_strictly_local() {
    let service = service(Echo);
    let ask = |model: &str, mode: &str| {
        let body = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"x"}}]}}"#);
        let request = post("/v1/chat/completions").header("x-hybrie-execution-mode", mode);
        let request = request.body(Bytes::from(body)).unwrap();
        waited(service.call(request, service.mint()))
    };
    let answer = ask("hybrid/echo", "local");
    assert_eq!(answer.status(), 200);
    for (name, value) in [("selected-mode", "local"), ("selected-backend", "local"), ("adapter-id", "none")] {
        assert_eq!(answer.headers()[format!("x-hybrie-{name}")], value);
    }
    assert_eq!(ask("echo", "cloud").status(), 403);
    assert_eq!(ask("echo", "moon").status(), 400);
    assert_eq!(json(&call(&service, "GET", "/v1/health", "").1)["runtime_local_only_strict"], true);
}

#[test]
fn what_was_served_is_written_down_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let body = r#"{"model":"echo","messages":[{"role":"user","content":"high tide"}]}"#;
    let broken = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}"#;
    {
        let service = kept(Echo, Some(dir.path()));
        call(&service, "POST", "/v1/chat/completions", body);
        // The client disconnects before the end.
        let streamed = body.replace("\"model\"", "\"stream\":true,\"model\"");
        let request = post("/v1/chat/completions").body(Bytes::from(streamed)).unwrap();
        drop(waited(service.call(request, service.mint())));
        call(&service, "POST", "/v1/chat/completions", "{");
        let page = String::from_utf8(call(&service, "GET", "/metrics", "").1.to_vec()).unwrap();
        for end in ["whole", "left", "refused"] {
            assert!(page.contains(&format!("tidegate_node_requests_total{{end=\"{end}\"}} 1")), "{page}");
        }
        assert!(page.contains("tidegate_node_requests_open 0"), "{page}");
    }
    let service = kept(Failing { silent: false }, Some(dir.path()));
    call(&service, "POST", "/v1/chat/completions", broken);
    let records = json(&call(&service, "GET", "/v1/usage", "").1)["data"].clone();
    let ends: Vec<_> = records.as_array().unwrap().iter().map(|one| one["end"].as_str().unwrap()).collect();
    assert_eq!(ends, ["whole", "left", "failed"]);
    assert!(records[0]["input_tokens"].as_u64().unwrap() > 0 && records[0]["is_measured"] == false);
    assert_eq!((&records[2]["output_tokens"], &records[2]["is_measured"]), (&1.into(), &true.into()));
    let later = json(&call(&service, "GET", "/v1/usage?after=2&limit=5", "").1);
    assert_eq!(later["data"].as_array().unwrap().len(), 1);
    assert_eq!(call(&service, "GET", "/v1/usage?after=x", "").0.status(), 400);
}

#[test]
fn a_node_says_what_it_is() {
    let service = service(Echo);
    let models = json(&call(&service, "GET", "/v1/models", "").1);
    assert_eq!((&models["object"], &models["data"][0]["id"]), (&"list".into(), &"echo".into()));
    assert_eq!(json(&call(&service, "GET", "/v1/models/echo", "").1)["id"], "echo");
    assert_eq!(json(&call(&service, "GET", "/v1/health", "").1)["status"], "ok");
    let capabilities = json(&call(&service, "GET", "/v1/capabilities", "").1);
    assert_eq!(capabilities["models"][0]["is_model"], false);
    assert_eq!(capabilities["models"][0]["usage"], "estimated");
}

#[test]
fn what_is_wrong_is_told_in_the_grammar() {
    let service = service(Echo);
    let unknown = r#"{"model":"gpt","messages":[{"role":"user","content":"x"}]}"#;
    let cases = [
        ("POST", "/v1/chat/completions", "{", 400, ""),
        ("POST", "/v1/chat/completions", unknown, 404, "model_not_found"),
        ("GET", "/v1/chat/completions", "", 405, "method_not_allowed"),
        ("POST", "/v1/models", "", 405, "method_not_allowed"),
        ("GET", "/v1/models/gpt", "", 404, "model_not_found"),
        ("GET", "/v1/nothing", "", 404, "unknown_path"),
        ("GET", "/v1/adapters", "", 400, "no_adapters"),
        ("PUT", "/v1/adapters", "", 405, "method_not_allowed"),
        ("GET", "/v1/adapters/law/load", "", 405, "method_not_allowed"),
        ("GET", "/v1/compute/offers", "", 501, "not_of_this_version"),
    ];
    for (method, path, body, status, code) in cases {
        let (head, bytes, _) = call(&service, method, path, body);
        let error = &json(&bytes)["error"];
        assert_eq!(head.status(), status, "{method} {path} {error}");
        assert!(code.is_empty() || error["code"] == code, "{method} {path} {error}");
        assert_eq!(head.headers().contains_key("allow"), status == 405);
    }
}

/// A runtime whose generations fail half-way, with or without an error.
struct Failing {
    silent: bool,
}

struct Failure {
    step: u8,
    silent: bool,
}

impl Runtime for Failing {
    fn models(&self) -> Vec<RuntimeModel> {
        vec![RuntimeModel { id: "m".into(), is_model: true, ..RuntimeModel::default() }]
    }

    fn generate(&self, _request: GenerateRequest) -> Result<BoxedGeneration, Fault> {
        Ok(Box::pin(Failure { step: 0, silent: self.silent }))
    }

    fn count_tokens(&self, _request: GenerateRequest) -> RuntimeFuture<'_, u64> {
        Box::pin(ready(Ok(7)))
    }
}

impl Generation for Failure {
    fn poll_next(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Event, Fault>>> {
        self.step += 1;
        Poll::Ready(match self.step {
            1 => Some(Ok(Event::Begin { choice: 0, part: 0, kind: PartKind::Text })),
            2 => Some(Ok(Event::Delta { choice: 0, part: 0, text: "half".into() })),
            _ if self.silent => None,
            _ => Some(Err(Fault::new(FaultClass::Upstream, "engine_failed", "The engine failed."))),
        })
    }

    fn usage(self: Pin<&Self>) -> Usage {
        Usage { output: 1, ..Usage::default() }
    }
}

#[test]
fn a_generation_that_breaks_never_looks_whole() {
    for silent in [true, false] {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#;
        let (head, _, _) = call(&service(Failing { silent }), "POST", "/v1/chat/completions", body);
        assert_eq!(head.status(), 502);
        let body = body.replace("\"model\"", "\"stream\":true,\"model\"");
        let (head, bytes, clean) = call(&service(Failing { silent }), "POST", "/v1/chat/completions", &body);
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert_eq!(head.status(), 200);
        assert!(!head.headers().contains_key("x-tidegate-usage"), "a real model measures");
        assert!(text.contains("half") && !text.contains("[DONE]") && !clean);
        assert_eq!(text.contains("engine_failed"), !silent);
        assert_eq!(text.contains("generation_broken"), silent);
    }
}

/// Says 16 MiB at a time, five times.
struct Verbose(u8);

impl Runtime for Verbose {
    fn models(&self) -> Vec<RuntimeModel> {
        vec![RuntimeModel { id: "m".into(), is_model: true, ..RuntimeModel::default() }]
    }

    fn generate(&self, _request: GenerateRequest) -> Result<BoxedGeneration, Fault> {
        Ok(Box::pin(Self(self.0)))
    }

    fn count_tokens(&self, _request: GenerateRequest) -> RuntimeFuture<'_, u64> {
        Box::pin(ready(Ok(1)))
    }
}

impl Generation for Verbose {
    fn poll_next(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Event, Fault>>> {
        let left = self.0.checked_sub(1);
        self.0 = left.unwrap_or_default();
        Poll::Ready(Some(Ok(match left {
            Some(_) => Event::Delta { choice: 0, part: 0, text: "a".repeat(16 << 20) },
            None => Event::Done,
        })))
    }

    fn usage(self: Pin<&Self>) -> Usage {
        Usage::default()
    }
}

#[test]
fn an_answer_that_is_too_long_to_be_sent_whole_is_refused() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#;
    let (head, bytes, _) = call(&service(Verbose(5)), "POST", "/v1/chat/completions", body);
    let error = &json(&bytes)["error"];
    assert_eq!((head.status().as_u16(), &error["code"]), (502, &"answer_too_large".into()), "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("The answer is too long for a buffered response."), "{message}");
}
