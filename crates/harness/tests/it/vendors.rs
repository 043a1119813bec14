//! Vendors with different variants of the same API: xAI, Fireworks and Mistral.

use harness::client::{Answer, Client};
use harness::{Behaviour, Config, Emulator, Flavour, KeyState};
use serde_json::{Value, json};

use crate::{KEY, WITHIN, client, config, start, with};

const XAI: &str = "/xai/v1/chat/completions";
const FIREWORKS: &str = "/fireworks/inference/v1/chat/completions";
const LLAMA: &str = "accounts/fireworks/models/llama-v3p3-70b-instruct";

fn grok() -> Value {
    json!({"model": "grok-4", "messages": [{"role": "user", "content": "hello there"}]})
}

fn llama() -> Value {
    json!({"model": LLAMA, "messages": [{"role": "user", "content": "hello there"}]})
}

/// A question long enough for the smaller cache minimum, and far too short for the usual one.
fn longer(request: Value) -> Value {
    with(request, json!({"messages": [{"role": "user", "content": " word".repeat(300)}]}))
}

async fn stream(client: &Client, path: &str, request: Value) -> Vec<Value> {
    let request = with(request, json!({"stream": true}));
    let (events, end) = client.stream(path, &request).await.unwrap().events().await;
    assert!(end.is_ok());
    events
        .iter()
        .filter(|event| *event != "[DONE]")
        .map(|event| serde_json::from_str(event).unwrap())
        .collect()
}

fn cached_tokens(answer: &Answer) -> u64 {
    answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
}

#[tokio::test]
async fn a_host_can_be_a_vendors_own() {
    for (flavour, path, model) in
        [(Flavour::Xai, "/v1/models", "grok-4"), (Flavour::Fireworks, "/inference/v1/models", LLAMA)]
    {
        let emulator = Emulator::start(config().flavour(flavour)).await.unwrap();
        assert_eq!(format!("{}/models", emulator.base_url()), format!("{}{path}", emulator.origin()));
        let list = client(&emulator).get(path).await.unwrap().json();
        let ids: Vec<&str> =
            list["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
        assert!(ids.contains(&model) && !ids.contains(&"gpt-4o"), "{ids:?}");
    }
    let emulator = start().await;
    assert_eq!(emulator.base_url_of(Flavour::Xai), format!("{}/xai/v1", emulator.origin()));
    let list = client(&emulator).get("/xai/v1/models").await.unwrap();
    assert!(list.text().contains("grok-4") && list.header("openai-version").is_none());
    assert_eq!(Config::default().flavour, Flavour::OpenAi);
}

#[tokio::test]
async fn xai_counts_reasoning_beside_the_completion() {
    let emulator = start().await;
    let request = with(grok(), json!({"user": "emu:reasoning=2809"}));
    let usage = &client(&emulator).post(XAI, &request).await.unwrap().json()["usage"];
    let number = |path: &str| usage.pointer(path).and_then(Value::as_u64).unwrap();
    assert_eq!(number("/completion_tokens_details/reasoning_tokens"), 2809);
    assert_eq!(number("/completion_tokens"), 4);
    assert_eq!(number("/total_tokens"), number("/prompt_tokens") + 4 + 2809);
    assert!(number("/cost_in_usd_ticks") > 0);
    assert_eq!(emulator.totals().all.completion_tokens, 4 + 2809);
    let answer = json!({"model": "grok-4", "input": "hello there"});
    let whole = client(&emulator).post("/xai/v1/responses", &answer).await.unwrap().json();
    let usage = &whole["usage"];
    assert!(usage["output_tokens"].as_u64() > usage["output_tokens_details"]["reasoning_tokens"].as_u64());
    assert!(whole["output"][0]["encrypted_content"].is_string(), "the seal comes unasked");
}

#[tokio::test]
async fn xai_sends_calls_whole() {
    let emulator = start().await;
    let request = with(grok(), json!({"user": "emu:tools=parallel"}));
    let chunks = stream(&client(&emulator), XAI, request).await;
    let calls: Vec<&Value> =
        chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0/delta/tool_calls/0")).collect();
    assert_eq!(calls.len(), 2, "one chunk each");
    assert!(
        calls
            .iter()
            .all(|call| call["id"].is_string() && call["function"]["arguments"] == "{\"city\":\"value\"}")
    );
}

#[tokio::test]
async fn xai_refuses_in_its_own_shape() {
    let emulator = start().await;
    let check = async |client: Client, change: Value, status: u16, words: &str, message: &str| {
        let answer = client.post(XAI, &with(grok(), change.clone())).await.unwrap();
        let body = answer.json();
        assert_eq!(answer.status, status, "{change}: {body}");
        assert_eq!(body["code"], words, "{change}");
        assert!(body["error"].as_str().unwrap().contains(message), "{change}: {body}");
    };
    let bad = "Client specified an invalid argument";
    for name in ["stop", "presence_penalty", "frequency_penalty"] {
        let value = if name == "stop" { json!("x") } else { json!(0.5) };
        check(client(&emulator), json!({name: value}), 400, bad, name).await;
    }
    let chat = json!({"model": "grok-3", "reasoning_effort": "low"});
    check(client(&emulator), chat, 400, bad, "reasoning_effort").await;
    let known = json!({"model": "gpt-4o-mini"});
    check(client(&emulator), known, 404, "Some requested entity was not found", "gpt-4o-mini").await;
    check(client(&emulator), json!({"top_k": 5}), 400, bad, "top_k").await;
    let stranger = Client::new(emulator.origin()).within(WITHIN).bearer("xai-wrong-key-0000000000");
    check(stranger, json!({}), 400, bad, "Incorrect API key").await;
    emulator.script(KEY, [Behaviour::rate_limited(3)]);
    let limited = client(&emulator).post(XAI, &grok()).await.unwrap();
    assert_eq!((limited.status, limited.header("retry-after")), (429, Some("3")));
    assert_eq!(limited.json()["code"], "Some resource has been exhausted");
    let sampled = with(grok(), json!({"temperature": 0.5, "max_tokens": 50, "logprobs": true}));
    assert_eq!(client(&emulator).post(XAI, &sampled).await.unwrap().status, 200);
    let plain = with(grok(), json!({"model": "grok-3", "stop": "x"}));
    assert_eq!(client(&emulator).post(XAI, &plain).await.unwrap().status, 200);
}

#[tokio::test]
async fn xai_finds_a_named_conversation_again() {
    let emulator = start().await;
    let ask = async |conversation: Option<&str>| {
        let client = match conversation {
            Some(id) => client(&emulator).header("x-grok-conv-id", id),
            None => client(&emulator),
        };
        cached_tokens(&client.post(XAI, &longer(grok())).await.unwrap())
    };
    assert_eq!((ask(None).await, ask(None).await), (0, 0), "too short for the cache of a stranger");
    assert_eq!((ask(Some("a")).await, ask(Some("a")).await), (0, 256));
    assert_eq!(ask(Some("b")).await, 0, "another conversation, another server");
}

#[tokio::test]
async fn fireworks_reports_without_being_asked() {
    let emulator = start().await;
    let chunks =
        stream(&client(&emulator), FIREWORKS, with(llama(), json!({"perf_metrics_in_response": true}))).await;
    let last = chunks.last().unwrap();
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert_eq!(last["usage"]["completion_tokens"], 4);
    assert!(last["perf_metrics"]["prompt-tokens"].is_string());
    assert!(chunks[..chunks.len() - 1].iter().all(|chunk| chunk.get("usage").is_none()));
    let whole = client(&emulator).post(FIREWORKS, &llama()).await.unwrap();
    let usage = &whole.json()["usage"];
    let header = |name: &str| whole.header(name).and_then(|value| value.parse::<u64>().ok());
    assert_eq!(header("fireworks-prompt-tokens"), usage["prompt_tokens"].as_u64());
    assert_eq!(header("fireworks-cached-prompt-tokens"), Some(0));
    assert_eq!(usage.get("completion_tokens_details"), None, "reasoning is not told apart");
    let thinker = with(llama(), json!({"model": "accounts/fireworks/models/gpt-oss-120b", "stop": "x"}));
    let thought = client(&emulator).post(FIREWORKS, &thinker).await.unwrap().json();
    assert!(thought["choices"][0]["message"]["reasoning_content"].is_string());
    let chunks = stream(&client(&emulator), FIREWORKS, thinker).await;
    assert!(chunks.iter().any(|chunk| chunk.pointer("/choices/0/delta/reasoning_content").is_some()));
}

#[tokio::test]
async fn fireworks_keeps_caches_apart() {
    let emulator = start().await;
    let question = json!([{"role": "user", "content": " word".repeat(1200)}]);
    let ask = async |client: Client, change: Value| {
        let request = with(with(llama(), json!({"messages": question})), change);
        cached_tokens(&client.post(FIREWORKS, &request).await.unwrap())
    };
    let key = |key: &str| json!({"prompt_cache_isolation_key": key});
    assert_eq!(ask(client(&emulator), json!({})).await, 0);
    assert_eq!(ask(client(&emulator), json!({})).await, 1152);
    assert_eq!(ask(client(&emulator), key("a")).await, 0);
    assert_eq!(ask(client(&emulator), key("a")).await, 1152);
    assert_eq!(ask(client(&emulator), key("b")).await, 0);
    let header = client(&emulator).header("x-prompt-cache-isolation-key", "a");
    assert_eq!(ask(header, json!({})).await, 1152, "the header means the same as the field");
    assert_eq!(ask(client(&emulator), json!({"prompt_cache_max_len": 0})).await, 0);
}

#[tokio::test]
async fn fireworks_refuses_and_truncates() {
    let emulator = start().await;
    let ask = async |change: Value| client(&emulator).post(FIREWORKS, &with(llama(), change)).await.unwrap();
    let unknown = ask(json!({"surprise": 1})).await;
    assert_eq!(unknown.status, 400);
    assert_eq!(unknown.json()["error"]["message"], "Extra inputs are not permitted, field: 'surprise'");
    assert_eq!(unknown.json()["error"]["object"], "error");
    assert_eq!(ask(json!({"model": "gpt-4o-mini"})).await.status, 404);
    assert_eq!(ask(json!({"top_k": 40, "min_p": 0.1, "repetition_penalty": 1.1})).await.status, 200);
    let long = json!({"max_tokens": 200_000});
    assert_eq!(ask(long.clone()).await.status, 200, "cut short in silence");
    let strict = with(long, json!({"context_length_exceeded_behavior": "error"}));
    assert_eq!(ask(strict).await.json()["error"]["code"], "context_length_exceeded");
    let continued = json!({"model": LLAMA, "prompt": "the tide", "top_k": 5});
    let path = "/fireworks/inference/v1/completions";
    assert_eq!(client(&emulator).post(path, &continued).await.unwrap().status, 200);
    emulator.set_key(KEY, KeyState::Suspended);
    let suspended = ask(json!({})).await;
    assert_eq!(suspended.status, 412);
    assert!(suspended.json()["error"]["message"].as_str().unwrap().contains("is suspended"));
}

#[tokio::test]
async fn mistral_refuses_what_it_does_not_know() {
    let emulator = start().await;
    let good =
        json!({"model": "mistral-large-2512", "messages": [{"role": "user", "content": "hello there"}]});
    let path = "/mistral/v1/chat/completions";
    assert_eq!(client(&emulator).post(path, &good).await.unwrap().status, 200);
    for (wrong, location) in [
        (json!({"max_completion_tokens": 5}), json!(["body", "max_completion_tokens"])),
        (json!({"seed": 7}), json!(["body", "seed"])),
        (json!({"user": "me"}), json!(["body", "user"])),
        (
            json!({"stream": true, "stream_options": {"include_usage": true}}),
            json!(["body", "stream_options"]),
        ),
        (
            json!({"messages": [{"role": "user", "name": "Ann", "content": "x"}]}),
            json!(["body", "messages", "0", "user", "name"]),
        ),
        (
            json!({"messages": [{"role": "developer", "content": "x"}]}),
            json!(["body", "messages", "0", "role"]),
        ),
    ] {
        let answer = client(&emulator).post(path, &with(good.clone(), wrong)).await.unwrap();
        assert_eq!(answer.status, 422, "{location}: {}", answer.text());
        assert_eq!(answer.json()["message"]["detail"][0]["loc"], location, "{}", answer.text());
    }
}
