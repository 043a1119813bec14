//! Model operations other than chat: embeddings, token counts and moderation, and which providers can't serve
//! them.

use harness::client::Answer;
use harness::{Behaviour, Model, UsageMode};
use serde_json::{Value, json};

use crate::ask::{has, refused, refused_with, trace_of, with};
use crate::gateway::{CREDENTIALS, CUSTOM, Gateway, OWN, OWN_SECOND, POOL, config};

const EMBEDDINGS: &str = "/v1/embeddings";
const GEMINI: &str = "google/gemini-embedding-001";
const OPENAI: &str = "openai/text-embedding-3-small";

/// Every provider, each with its own key.
async fn gateway() -> Gateway {
    let served =
        config().model(Model::embedding("gemini-embedding-001")).model(Model::chat("gemini-2.5-flash"));
    let gateway = Gateway::with(served, &[]).await;
    gateway.credential("openai", OWN).await;
    gateway.credential("limited", CUSTOM).await;
    for (provider, secret, base_url) in [
        ("gemini", OWN_SECOND, gateway.emulator.origin()),
        ("anthropic", POOL, gateway.emulator.anthropic_url()),
    ] {
        let body = json!({"provider": provider, "secret": secret, "base_url": base_url});
        gateway.make(CREDENTIALS, with(body, json!({"display_name": provider}))).await;
    }
    gateway
}

fn gemini_path(model: &str, verb: &str) -> String {
    format!("/v1beta/models/{model}:{verb}")
}

async fn post(gateway: &Gateway, path: &str, body: &Value) -> Answer {
    gateway.post(path, body).await.must_be(200)
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn official_clients_embed_and_count_across_providers() {
    let gateway = gateway().await;
    assert_eq!(gateway.drive("embeddings.py").await, 5);
    let paths = |key| {
        let mut paths: Vec<String> = gateway.calls(key).into_iter().map(|call| call.path).collect();
        paths.sort();
        paths.dedup();
        paths
    };
    // Providers with a counting endpoint were called; a server without one was not.
    assert_eq!(paths(OWN), ["/v1/embeddings", "/v1/responses/input_tokens"]);
    let of_gemini = ["gemini-2.5-flash:countTokens", "gemini-embedding-001:batchEmbedContents"];
    assert_eq!(paths(OWN_SECOND), of_gemini.map(|path| format!("/v1beta/models/{path}")));
    assert!(paths(POOL).iter().all(|path| path.ends_with("/v1/messages/count_tokens")), "{:?}", paths(POOL));
    assert_eq!(gateway.calls(POOL).len(), 3);
    assert_eq!(gateway.calls(CUSTOM).len(), 0);
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn vectors_are_asked_in_each_grammar_and_billed_once() {
    let gateway = gateway().await;
    let of_texts = json!({"model": GEMINI, "input": ["tide", "moon"], "dimensions": 4, "user": "u"});
    let answer = post(&gateway, EMBEDDINGS, &of_texts).await;
    assert_eq!(answer.header("agent-dropped-params"), Some("user"));
    assert_eq!(answer.json()["model"], GEMINI);
    let one = |text| {
        let content = json!({"parts": [{"text": text}]});
        json!({"model": "models/gemini-embedding-001", "content": content, "outputDimensionality": 4})
    };
    let sent = gateway.last(OWN_SECOND);
    assert_eq!(sent.path, "/v1beta/models/gemini-embedding-001:batchEmbedContents");
    assert_eq!(sent.json(), json!({"requests": [one("tide"), one("moon")]}));
    let row = gateway.settled(&trace_of(&answer)).await;
    assert_eq!(row["input_tokens"], answer.json()["usage"]["prompt_tokens"], "{row}");
    has(&row, json!({"estimated": false, "unpriced": false}));

    let content = json!({"content": {"parts": [{"text": "tide"}]}});
    let of_content = with(content, json!({"taskType": "RETRIEVAL_QUERY", "output_dimensionality": 4}));
    let answer = post(&gateway, &gemini_path(OPENAI, "embedContent"), &of_content).await;
    assert_eq!(answer.header("agent-dropped-params"), Some("taskType"));
    assert_eq!(answer.json()["embedding"]["values"].as_array().unwrap().len(), 4);
    let sent = gateway.last(OWN);
    assert_eq!(sent.path, EMBEDDINGS);
    let expected = json!({"model": "text-embedding-3-small", "input": ["tide"], "dimensions": 4});
    assert_eq!(sent.json(), with(expected, json!({"encoding_format": "float"})));

    let own = post(&gateway, &gemini_path(GEMINI, "embedContent"), &of_content).await;
    let sent = gateway.last(OWN_SECOND);
    assert_eq!(sent.path, "/v1beta/models/gemini-embedding-001:embedContent");
    assert_eq!(sent.json(), of_content, "its own grammar goes on as it is");
    assert_eq!(own.json()["embedding"], answer.json()["embedding"]);
    assert_eq!(gateway.emulator.violations(), []);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn what_a_provider_has_no_way_to_do_is_said_and_what_it_does_not_count_is_estimated() {
    let gateway = gateway().await;
    for model in ["google/gemini-2.5-flash", "anthropic/claude-haiku-4-5"] {
        let text = json!({"model": model, "prompt": "Once upon a tide"});
        let answer = gateway.post("/v1/completions", &text).await;
        let error = refused_with(&answer, 400, "unsupported_operation", "no way to go on with a text");
        assert!(error["message"].as_str().unwrap().contains("/v1/chat/completions"), "{error}");
        assert_eq!(error["param"], "model");
    }
    let text = json!({"model": "google/gemini-2.5-flash", "input": "tide"});
    refused(&gateway.post("/v1/moderations", &text).await, 400, "model_modality");
    let text = json!({"content": {"parts": [{"text": "tide"}]}});
    let path = gemini_path("anthropic/claude-haiku-4-5", "embedContent");
    let answer = gateway.post(&path, &text).await.must_be(400);
    has(&answer.json(), json!({"/error/status": "INVALID_ARGUMENT"}));
    assert!(answer.text().contains("for embedding models"), "{}", answer.text());
    assert_eq!(gateway.calls(OWN_SECOND).len() + gateway.calls(POOL).len(), 0);
    let many = vec!["tide"; 101];
    let answer = gateway.post(EMBEDDINGS, &json!({"model": GEMINI, "input": many})).await;
    assert_eq!(refused(&answer, 400, "unsupported_value")["param"], "input");
    let whole = |model: &str| {
        json!({"generateContentRequest": {
            "model": format!("models/{model}"),
            "contents": [{"role": "user", "parts": [{"text": "How high is the tide?"}]}],
            "system_instruction": {"parts": [{"text": "Be brief."}]},
            "generationConfig": {"maxOutputTokens": 9, "stopSequences": ["x"], "temperature": 0.5},
        }})
    };
    for (model, key, path) in [
        ("google/gemini-2.5-flash", OWN_SECOND, "/v1beta/models/gemini-2.5-flash:countTokens"),
        ("openai/gpt-4o-mini", OWN, "/v1/responses/input_tokens"),
        ("anthropic/claude-haiku-4-5", POOL, "/v1/messages/count_tokens"),
    ] {
        let answer = post(&gateway, &gemini_path(model, "countTokens"), &whole(model)).await;
        assert!(answer.json()["totalTokens"].as_u64().unwrap() > 0, "{model}: {}", answer.text());
        assert_eq!(answer.header("x-tidegate-estimate"), None, "{model}");
        let upstream_path = gateway.last(key).path;
        assert!(upstream_path.ends_with(path), "{model}: {upstream_path}");
    }
    let limited = "limited/acme-large";
    let guessed = post(&gateway, &gemini_path(limited, "countTokens"), &whole(limited)).await;
    assert_eq!(guessed.header("x-tidegate-estimate"), Some("1"));
    // What an upstream does not count is estimated.
    gateway.emulator.script(OWN_SECOND, [Behaviour::ok().usage(UsageMode::Missing).always()]);
    let text = json!({"content": {"parts": [{"text": "How high is the tide?"}]}});
    let own = post(&gateway, &gemini_path(GEMINI, "embedContent"), &text).await;
    assert_eq!(own.json().get("usageMetadata"), None);
    let of_text = json!({"model": GEMINI, "input": "How high is the tide?"});
    let translated = post(&gateway, EMBEDDINGS, &of_text).await;
    assert_eq!(translated.json()["usage"], json!({"prompt_tokens": 6, "total_tokens": 6}));
    for answer in [own, translated] {
        let row = gateway.settled(&trace_of(&answer)).await;
        has(&row, json!({"input_tokens": 6, "estimated": true}));
    }
    assert_eq!(gateway.emulator.violations(), []);
}
