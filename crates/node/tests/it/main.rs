//! The node's service: the grammar it answers in, its streams, and what it says of itself.

#![expect(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use domain::runtime::{GenerateRequest, Generating, Generation, Runtime, RuntimeModel};
use domain::{Event, Fault, FaultClass, PartKind, Usage};
use http::{Request, Response};
use http_body_util::BodyExt;
use node::{Echo, NodeBody, NodeSettings, Service};
use serde_json::Value;
use world::World;

fn service(runtime: impl Runtime + 'static) -> Arc<Service> {
    let settings = NodeSettings { world: World::system(), keys: Vec::new(), runtime_name: "test" };
    Service::new(Arc::new(runtime), settings)
}

fn call(service: &Service, method: &str, path: &str, body: &str) -> (Response<()>, Bytes, bool) {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let request = request.body(Bytes::from(body.to_owned())).unwrap();
    let mut answer = Box::pin(async {
        let (head, body) = service.call(request, service.mint()).await.into_parts();
        let (bytes, clean) = read(body).await;
        (Response::from_parts(head, ()), bytes, clean)
    });
    let mut cx = Context::from_waker(std::task::Waker::noop());
    loop {
        if let Poll::Ready(answer) = answer.as_mut().poll(&mut cx) {
            return answer;
        }
    }
}

/// The bytes, and whether the end was a clean one.
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
    assert!(text.contains("no model") && text.ends_with("high tide"));
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
    for asked in [true, false] {
        let body = format!(
            r#"{{"model":"echo","stream":true,"stream_options":{{"include_usage":{asked}}},"messages":[{{"role":"user","content":"{long}"}}]}}"#
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
        let said: String =
            chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
        assert!(said.ends_with(&long));
        let finish = &chunks[chunks.len() - if asked { 2 } else { 1 }];
        assert_eq!(finish["choices"][0]["finish_reason"], "stop");
        assert_eq!(chunks.last().unwrap()["usage"].is_object(), asked);
        assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"]));
    }
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
    let cases = [
        ("POST", "/v1/chat/completions", "{", 400, ""),
        (
            "POST",
            "/v1/chat/completions",
            r#"{"model":"gpt","messages":[{"role":"user","content":"x"}]}"#,
            404,
            "model_not_found",
        ),
        ("GET", "/v1/chat/completions", "", 405, "method_not_allowed"),
        ("POST", "/v1/models", "", 405, "method_not_allowed"),
        ("GET", "/v1/models/gpt", "", 404, "model_not_found"),
        ("GET", "/v1/adapters", "", 404, "unknown_path"),
    ];
    for (method, path, body, status, code) in cases {
        let (head, bytes, _) = call(&service, method, path, body);
        let error = &json(&bytes)["error"];
        assert_eq!(head.status(), status, "{method} {path} {error}");
        assert!(code.is_empty() || error["code"] == code, "{method} {path} {error}");
        assert_eq!(head.headers().contains_key("allow"), status == 405);
    }
}

/// A runtime whose generations fail half-way, with or without a word.
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

    fn generate(&self, _request: GenerateRequest) -> Result<Generating, Fault> {
        Ok(Box::pin(Failure { step: 0, silent: self.silent }))
    }

    fn count(&self, _request: &GenerateRequest) -> Result<u64, Fault> {
        Ok(7)
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

    fn used(self: Pin<&Self>) -> Usage {
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
