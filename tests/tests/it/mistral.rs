//! Mistral through the gateway: requests of other vendors' clients are translated into its wire format, and
//! its reasoning is returned where those clients expect it.

use harness::{Behaviour, Flavour};
use serde_json::{Value, json};

use crate::ask::{has, question, refused, refused_with, said, streaming, trace_of, with};
use crate::gateway::{CREDENTIALS, Gateway, OWN, POOL, id_of};

const LARGE: &str = "mistralai/mistral-large-2512";
const THINKING: &str = "mistralai/magistral-medium-latest";
const EMBED: &str = "mistralai/mistral-embed";

fn account(gateway: &Gateway, secret: &str) -> Value {
    let base_url = gateway.emulator.base_url_of(Flavour::Mistral);
    json!({"provider": "mistral", "secret": secret, "base_url": base_url})
}

/// A gateway with the workspace's own credential.
async fn own() -> Gateway {
    let gateway = Gateway::start().await;
    gateway.make(CREDENTIALS, account(&gateway, OWN)).await;
    gateway
}

#[tokio::test]
async fn a_request_of_openais_client_is_said_in_its_words() {
    let gateway = own().await;
    let more = json!({"seed": 7, "user": "me", "max_completion_tokens": 64, "safe_prompt": true, "prompt_mode": "reasoning"});
    for request in [question(LARGE), streaming(LARGE)] {
        let answer = gateway.chat_ok(&with(request, more.clone())).await;
        assert_eq!(said(&answer), "You said: hello there");
        assert_eq!(answer.header("agent-resolved-provider"), Some("mistral"));
        assert_eq!(answer.header("agent-dropped-params"), Some("user"));
        let sent = gateway.last(OWN).json();
        has(&sent, json!({"model": "mistral-large-2512", "random_seed": 7, "max_tokens": 64}));
        has(&sent, json!({"safe_prompt": true, "prompt_mode": "reasoning"}));
        let record = gateway.settled(&trace_of(&answer)).await;
        assert_eq!(record["input_tokens"], gateway.last(OWN).prompt_tokens, "{record}");
        assert_eq!((&record["estimated"], &record["unpriced"]), (&json!(false), &json!(false)), "{record}");
    }
    let unsayable = with(question(LARGE), json!({"modalities": ["text", "audio"]}));
    refused(&gateway.chat(&unsayable).await, 400, "unsupported_parameter");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn ids_thoughts_and_vectors_are_said_in_its_words() {
    let gateway = own().await;
    let tools =
        json!([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]);
    let ask = with(question(LARGE), json!({"tools": tools, "tool_choice": "required"}));
    let answer = gateway.chat_ok(&ask).await.json();
    let message = answer["choices"][0]["message"].clone();
    let id = message["tool_calls"][0]["id"].as_str().expect("a call").to_owned();
    assert_eq!(id.len(), 9, "{answer}");
    // The same conversation, with tool call ids from another vendor's model.
    for id in [id.as_str(), "call_PTLP8xhu3uwZk4l3nlnrrJha", "toolu_01A09q90qw90lq917835lq9"] {
        let mut turn = message.clone();
        turn["tool_calls"][0]["id"] = json!(id);
        let result = json!({"role": "tool", "tool_call_id": id, "content": "sunny"});
        let messages = json!([ask["messages"][0], turn, result]);
        gateway.chat_ok(&with(question(LARGE), json!({"tools": tools, "messages": messages}))).await;
        let sent = gateway.last(OWN).json();
        let call_id = &sent["messages"][1]["tool_calls"][0]["id"];
        assert_eq!(call_id, &sent["messages"][2]["tool_call_id"]);
        assert_eq!(call_id == id, id.len() == 9, "{sent}");
    }
    let answer = gateway.chat_ok(&question(THINKING)).await;
    assert_eq!(said(&answer), "You said: hello there");
    let message = answer.json()["choices"][0]["message"].clone();
    assert!(message["reasoning_content"].as_str().is_some_and(|thought| !thought.is_empty()), "{message}");
    assert_eq!(said(&gateway.chat_ok(&streaming(THINKING)).await), "You said: hello there");
    let user = json!([{"role": "user", "content": "hello there"}]);
    let messages = json!({"model": THINKING, "max_tokens": 50, "messages": user});
    let answer = gateway.post("/v1/messages", &messages).await;
    let blocks = answer.json()["content"].clone();
    let text = blocks.as_array().unwrap().iter().find(|block| block["type"] == "text").cloned();
    assert_eq!(text.unwrap()["text"], "You said: hello there", "{blocks}");
    // Reasoning that a client sends back is dropped: the vendor has another place for it.
    let turn = json!({"role": "assistant", "content": "a", "reasoning_content": "hm"});
    let again = json!([user[0], turn, user[0]]);
    let answer = gateway.chat_ok(&with(question(LARGE), json!({"messages": again}))).await;
    assert_eq!(answer.header("agent-dropped-params"), Some("reasoning_content"));
    let request = json!({"model": EMBED, "input": ["a", "b"], "dimensions": 8, "user": "me"});
    let answer = gateway.post("/v1/embeddings", &request).await.must_be(200);
    assert_eq!(answer.json()["data"][1]["embedding"].as_array().unwrap().len(), 8);
    let sent = gateway.last(OWN).json();
    assert_eq!(sent, json!({"model": "mistral-embed", "input": ["a", "b"], "output_dimension": 8}));
    let answer = gateway.post("/v1/completions", &json!({"model": LARGE, "prompt": "Once"})).await;
    refused(&answer, 400, "unsupported_operation");
}

#[tokio::test]
async fn its_errors_are_told_as_what_they_are() {
    let gateway = own().await;
    let answer = gateway.chat(&question("mistral:mistral-nothing")).await;
    refused_with(&answer, 404, "model_not_found", "Invalid model: mistral-nothing");
    for (upstream, status, code) in [(429, 429, "rate_limit_exceeded"), (401, 502, "upstream_auth_failed")] {
        let gateway = own().await;
        gateway.emulator.script(OWN, [Behaviour::status(upstream).always()]);
        refused(&gateway.chat(&question(LARGE)).await, status, code);
    }
}

#[tokio::test]
async fn a_pooled_account_serves_and_is_verified() {
    let gateway = Gateway::start().await;
    let made = gateway.make("/v2/accounts", account(&gateway, POOL)).await;
    let path = format!("/v2/accounts/{}", id_of(&made));
    has(&gateway.verified(&path).await, json!({"status": "active"}));
    let long = json!({"messages": [{"role": "user", "content": "word ".repeat(3_000)}]});
    let answer = gateway.chat_ok(&with(question(LARGE), long)).await;
    assert_eq!(answer.header("agent-execution-profile"), Some("managed_provider"));
    // Prompts of one conversation find their cache through a key that belongs to the workspace.
    let sent = gateway.last(POOL).json();
    assert!(sent["prompt_cache_key"].is_string(), "{sent}");
}
