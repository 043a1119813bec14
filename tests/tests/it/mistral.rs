//! Mistral through the gateway: requests of other vendors' clients are translated into its wire format, and
//! its reasoning is returned where those clients expect it.

use harness::{Behaviour, Entry, Flavour};
use serde_json::{Value, json};

use crate::ask::{question, refused, said, streaming, trace_of, with};
use crate::gateway::{Gateway, OWN, POOL};

const LARGE: &str = "mistralai/mistral-large-2512";
const THINKING: &str = "mistralai/magistral-medium-latest";
const EMBED: &str = "mistralai/mistral-embed";

fn account(gateway: &Gateway, secret: &str) -> Value {
    let base_url = gateway.emulator.base_url_of(Flavour::Mistral);
    json!({"provider": "mistral", "secret": secret, "base_url": base_url})
}

async fn own(gateway: &Gateway) {
    gateway.make("/v2/provider-credentials", account(gateway, OWN)).await;
}

fn last(gateway: &Gateway) -> Entry {
    gateway.calls(OWN).pop().expect("a call")
}

#[tokio::test]
async fn a_request_of_openais_client_is_said_in_its_words() {
    let gateway = Gateway::start().await;
    own(&gateway).await;
    let more = json!({"seed": 7, "user": "me", "max_completion_tokens": 64, "safe_prompt": true, "prompt_mode": "reasoning"});
    for request in [question(LARGE), streaming(LARGE)] {
        let request = with(request, more.clone());
        let answer = gateway.chat_ok(&request).await;
        assert_eq!(said(&answer), "You said: hello there");
        assert_eq!(answer.header("agent-resolved-provider"), Some("mistral"));
        assert_eq!(answer.header("agent-dropped-params"), Some("user"));
        let sent = last(&gateway).json();
        assert_eq!((&sent["model"], &sent["random_seed"]), (&json!("mistral-large-2512"), &json!(7)));
        assert_eq!((&sent["max_tokens"], &sent["safe_prompt"]), (&json!(64), &json!(true)));
        assert_eq!(sent["prompt_mode"], "reasoning");
        let record = gateway.settled(&trace_of(&answer)).await;
        assert_eq!(record["input_tokens"], last(&gateway).prompt_tokens, "{record}");
        assert_eq!((&record["estimated"], &record["unpriced"]), (&json!(false), &json!(false)), "{record}");
    }
    let unsayable = with(question(LARGE), json!({"modalities": ["text", "audio"]}));
    refused(&gateway.chat(&unsayable).await, 400, "unsupported_parameter");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn ids_of_other_vendors_calls_are_taken() {
    let gateway = Gateway::start().await;
    own(&gateway).await;
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
        let sent = last(&gateway).json();
        let call_id = &sent["messages"][1]["tool_calls"][0]["id"];
        assert_eq!(call_id, &sent["messages"][2]["tool_call_id"]);
        assert_eq!(call_id == id, id.len() == 9, "{sent}");
    }
}

#[tokio::test]
async fn every_client_sees_text_and_thought_apart() {
    let gateway = Gateway::start().await;
    own(&gateway).await;
    let answer = gateway.chat_ok(&question(THINKING)).await;
    assert_eq!(said(&answer), "You said: hello there");
    let message = answer.json()["choices"][0]["message"].clone();
    assert!(message["reasoning_content"].as_str().is_some_and(|thought| !thought.is_empty()), "{message}");
    assert_eq!(said(&gateway.chat_ok(&streaming(THINKING)).await), "You said: hello there");
    let user = json!([{"role": "user", "content": "hello there"}]);
    let messages = json!({"model": THINKING, "max_tokens": 50, "messages": user});
    let answer = gateway.client().post("/v1/messages", &messages).await.unwrap();
    let blocks = answer.json()["content"].clone();
    let text = blocks.as_array().unwrap().iter().find(|block| block["type"] == "text").cloned();
    assert_eq!(text.unwrap()["text"], "You said: hello there", "{blocks}");
    // Reasoning that a client sends back is dropped: the vendor has another place for it.
    let turn = json!({"role": "assistant", "content": "a", "reasoning_content": "hm"});
    let again = json!([user[0], turn, user[0]]);
    let answer = gateway.chat_ok(&with(question(LARGE), json!({"messages": again}))).await;
    assert_eq!(answer.header("agent-dropped-params"), Some("reasoning_content"));
}

#[tokio::test]
async fn texts_become_vectors() {
    let gateway = Gateway::start().await;
    own(&gateway).await;
    let request = json!({"model": EMBED, "input": ["a", "b"], "dimensions": 8, "user": "me"});
    let answer = gateway.client().post("/v1/embeddings", &request).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["data"][1]["embedding"].as_array().unwrap().len(), 8);
    let sent = last(&gateway).json();
    assert_eq!(sent, json!({"model": "mistral-embed", "input": ["a", "b"], "output_dimension": 8}));
    let completion = json!({"model": LARGE, "prompt": "Once"});
    let answer = gateway.client().post("/v1/completions", &completion).await.unwrap();
    refused(&answer, 400, "unsupported_operation");
}

#[tokio::test]
async fn its_errors_are_told_as_what_they_are() {
    let gateway = Gateway::start().await;
    own(&gateway).await;
    let error = refused(&gateway.chat(&question("mistral:mistral-nothing")).await, 404, "model_not_found");
    assert!(error["message"].as_str().unwrap().contains("Invalid model: mistral-nothing"), "{error}");
    for (upstream_status, status, code) in
        [(429, 429, "rate_limit_exceeded"), (401, 502, "upstream_auth_failed")]
    {
        let gateway = Gateway::start().await;
        own(&gateway).await;
        gateway.emulator.script(OWN, [Behaviour::status(upstream_status).always()]);
        refused(&gateway.chat(&question(LARGE)).await, status, code);
    }
}

#[tokio::test]
async fn a_pooled_account_serves_and_is_verified() {
    let gateway = Gateway::start().await;
    let made = gateway.make("/v2/accounts", account(&gateway, POOL)).await;
    let verify = format!("/v2/accounts/{}/verify", made["id"].as_str().unwrap());
    let verified = gateway.admin().post(&verify, &json!({})).await.unwrap().json();
    assert_eq!(verified["status"], "active", "{verified}");
    let long = json!({"messages": [{"role": "user", "content": "word ".repeat(3_000)}]});
    let answer = gateway.chat_ok(&with(question(LARGE), long)).await;
    assert_eq!(answer.header("agent-execution-profile"), Some("managed_provider"));
    // Prompts of one conversation find their cache through a key that belongs to the workspace.
    let sent = gateway.calls(POOL).pop().unwrap().json();
    assert!(sent["prompt_cache_key"].is_string(), "{sent}");
}
