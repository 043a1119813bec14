//! The emulations of inference servers: each refuses what the real one refuses, in its own format, and publishes a queue
//! that changes with what it is sent.

use harness::client::{Answer, Client};
use harness::model_server::{MODEL_SERVERS, ModelServer, PublishedLoad, Surface};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

fn started(name: &str) -> (ModelServer, Client) {
    let surface = MODEL_SERVERS.iter().find(|surface| surface.name == name).unwrap();
    started_of(surface)
}

fn started_of(surface: &'static Surface) -> (ModelServer, Client) {
    let server = ModelServer::start(surface, "tide-1").unwrap();
    let client = Client::new(server.origin());
    (server, client)
}

fn chat(more: Value) -> Value {
    let mut body = json!({"model": "tide-1", "messages": [{"role": "user", "content": "hello"}]});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

async fn post(name: &str, body: Value) -> Answer {
    let (_server, client) = started(name);
    client.post(CHAT, &body).await.unwrap()
}

#[tokio::test]
async fn each_refuses_as_the_real_one_does() {
    let unknown = || chat(json!({"surprise": 1}));
    let wrong = || chat(json!({"temperature": "warm"}));
    let other = || chat(json!({"model": "tide-2"}));
    // Of a field that it doesn't know, a field of another type, and a model that it doesn't have.
    for (name, statuses, member) in [
        ("vLLM", [200, 400, 404], "/error/message"),
        ("SGLang", [200, 400, 200], "/message"),
        ("llama.cpp", [200, 400, 200], "/error/message"),
        ("Ollama", [200, 400, 404], "/error/message"),
        ("TGI", [200, 422, 200], "/error"),
        ("Triton", [422, 422, 400], "/detail"),
    ] {
        for (body, status) in [unknown(), wrong(), other()].into_iter().zip(statuses) {
            let answer = post(name, body).await;
            assert_eq!(answer.status, status, "{name}: {}", answer.text());
            let message = answer.json().pointer(member).cloned().unwrap_or(Value::Null);
            assert_eq!(message.is_null(), status == 200, "{name}: {}", answer.text());
        }
        let (_server, client) = started(name);
        assert_eq!(client.get("/v1/tides").await.unwrap().status, 404, "{name}");
        let wrong_method = client.get(CHAT).await.unwrap().status;
        assert_eq!(wrong_method, if name == "llama.cpp" { 404 } else { 405 }, "{name}");
        assert!(client.post(CHAT, &json!({"model": "tide-1"})).await.unwrap().status >= 400, "{name}");
    }
}

#[tokio::test]
async fn each_publishes_a_queue_that_grows_and_goes() {
    for surface in &MODEL_SERVERS {
        let (server, client) = started_of(surface);
        let page = match surface.load {
            PublishedLoad::Nothing => "/api/ps",
            PublishedLoad::Slots => "/slots",
            PublishedLoad::Queue => "/metrics",
        };
        let idle = client.get(page).await.unwrap();
        assert_eq!(idle.status, 200, "{}", surface.name);
        server.hold();
        let count = surface.slots() + 2;
        let (path, body) = surface.native_request("tide-1");
        let waiting: Vec<_> = (0..count)
            .map(|_| {
                let (client, body) = (Client::new(server.origin()), body.clone());
                tokio::spawn(async move { client.post(path, &body).await.unwrap().status })
            })
            .collect();
        while server.load() != (surface.slots(), 2) {
            tokio::task::yield_now().await;
        }
        let full = client.get(page).await.unwrap();
        let differs = full.text() != idle.text();
        assert_eq!(differs, surface.load != PublishedLoad::Nothing, "{}: {}", surface.name, full.text());
        server.release();
        for one in waiting {
            assert_eq!(one.await.unwrap(), 200, "{}", surface.name);
        }
        assert_eq!((server.load(), server.served()), ((0, 0), count as u64), "{}", surface.name);
    }
}

#[tokio::test]
async fn a_bounded_queue_refuses_what_is_too_much() {
    for surface in MODEL_SERVERS.iter().filter(|surface| surface.waiting_max().is_some()) {
        let (server, client) = started_of(surface);
        server.hold();
        let most = surface.slots() + surface.waiting_max().unwrap();
        let waiting: Vec<_> = (0..most)
            .map(|_| {
                let client = Client::new(server.origin());
                tokio::spawn(async move { client.post(CHAT, &chat(json!({}))).await.unwrap().status })
            })
            .collect();
        while server.load().0 + server.load().1 != most {
            tokio::task::yield_now().await;
        }
        let status = client.post(CHAT, &chat(json!({}))).await.unwrap().status;
        assert_eq!(status, if surface.name == "TGI" { 429 } else { 503 }, "{}", surface.name);
        server.release();
        for one in waiting {
            assert_eq!(one.await.unwrap(), 200, "{}", surface.name);
        }
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_usage_where_it_is_wanted() {
    let options = json!({"stream": true, "stream_options": {"include_usage": true}});
    for surface in &MODEL_SERVERS {
        let (_server, client) = started_of(surface);
        let streamed = client.post(CHAT, &chat(options.clone())).await.unwrap();
        let events = harness::sse::events(&streamed.body);
        assert_eq!(events.last().map(String::as_str), Some("[DONE]"), "{}", surface.name);
        let usage: Value = serde_json::from_str(&events[events.len() - 2]).unwrap();
        let whole = client.post(CHAT, &chat(json!({}))).await.unwrap().json();
        assert_eq!(usage["usage"], whole["usage"], "{}", surface.name);
        let without = client.post(CHAT, &chat(json!({"stream": true}))).await.unwrap();
        assert!(!without.text().contains("usage"), "{}", surface.name);
    }
}
