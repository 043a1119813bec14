//! Model operations other than chat: embeddings, token counts and moderation, and which providers can't serve
//! them.

use harness::client::Answer;
use harness::{Behaviour, Model, UsageMode};
use serde_json::{Value, json};

use crate::ask::{refused, trace_of};
use crate::command::workspace;
use crate::gateway::{CUSTOM, Gateway, OWN, OWN_SECOND, POOL, config};
use crate::sdk::drive;

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
        let body =
            json!({"provider": provider, "display_name": provider, "secret": secret, "base_url": base_url});
        gateway.make("/v2/provider-credentials", body).await;
    }
    gateway
}

fn gemini_path(model: &str, verb: &str) -> String {
    format!("/v1beta/models/{model}:{verb}")
}

async fn post(gateway: &Gateway, path: &str, body: &Value) -> Answer {
    let answer = gateway.client().post(path, body).await.unwrap();
    assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text());
    answer
}

/// The last path below `/v1` or `/v1beta` that was called with a key, and the body.
fn last(gateway: &Gateway, key: &str) -> (String, Value) {
    let call = gateway.calls(key).pop().unwrap();
    (call.path.clone(), serde_json::from_slice(&call.body).unwrap())
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn official_clients_embed_and_count_across_providers() {
    let interpreter = workspace().join(".venv/bin/python");
    assert!(interpreter.exists(), "run scripts/python-env.sh first");
    let gateway = gateway().await;
    let driven = drive(interpreter, workspace().join("tests/sdk/embeddings.py"), &gateway).await;
    assert_eq!(driven.held, 5);
    let paths = |key| {
        let mut paths: Vec<String> = gateway.calls(key).into_iter().map(|call| call.path).collect();
        paths.sort();
        paths.dedup();
        paths
    };
    // Providers with a counting endpoint were called; a server without one was not.
    assert_eq!(paths(OWN), ["/v1/embeddings", "/v1/responses/input_tokens"]);
    assert_eq!(
        paths(OWN_SECOND),
        [
            "/v1beta/models/gemini-2.5-flash:countTokens",
            "/v1beta/models/gemini-embedding-001:batchEmbedContents"
        ]
    );
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
    let one = |text| json!({"model": "models/gemini-embedding-001", "content": {"parts": [{"text": text}]}, "outputDimensionality": 4});
    let (path, sent) = last(&gateway, OWN_SECOND);
    assert_eq!(path, "/v1beta/models/gemini-embedding-001:batchEmbedContents");
    assert_eq!(sent, json!({"requests": [one("tide"), one("moon")]}));
    let row = gateway.settled(&trace_of(&answer)).await;
    assert_eq!(row["input_tokens"], answer.json()["usage"]["prompt_tokens"], "{row}");
    assert_eq!((row["estimated"].as_bool(), row["unpriced"].as_bool()), (Some(false), Some(false)), "{row}");

    let of_content = json!({"content": {"parts": [{"text": "tide"}]}, "taskType": "RETRIEVAL_QUERY", "output_dimensionality": 4});
    let answer = post(&gateway, &gemini_path(OPENAI, "embedContent"), &of_content).await;
    assert_eq!(answer.header("agent-dropped-params"), Some("taskType"));
    assert_eq!(answer.json()["embedding"]["values"].as_array().unwrap().len(), 4);
    let (path, sent) = last(&gateway, OWN);
    assert_eq!(path, EMBEDDINGS);
    let expected = json!({"model": "text-embedding-3-small", "input": ["tide"], "dimensions": 4, "encoding_format": "float"});
    assert_eq!(sent, expected);

    let own = post(&gateway, &gemini_path(GEMINI, "embedContent"), &of_content).await;
    assert_eq!(last(&gateway, OWN_SECOND).0, "/v1beta/models/gemini-embedding-001:embedContent");
    assert_eq!(last(&gateway, OWN_SECOND).1, of_content, "its own grammar goes on as it is");
    assert_eq!(own.json()["embedding"], answer.json()["embedding"]);
    assert_eq!(gateway.emulator.violations(), []);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn what_an_upstream_does_not_count_is_estimated() {
    let gateway = gateway().await;
    let silent = Behaviour { usage: UsageMode::Missing, ..Behaviour::default() };
    gateway.emulator.script(OWN_SECOND, [silent.always()]);
    let text = json!({"content": {"parts": [{"text": "How high is the tide?"}]}});
    let own = post(&gateway, &gemini_path(GEMINI, "embedContent"), &text).await;
    assert_eq!(own.json().get("usageMetadata"), None);
    let translated =
        post(&gateway, EMBEDDINGS, &json!({"model": GEMINI, "input": "How high is the tide?"})).await;
    assert_eq!(translated.json()["usage"], json!({"prompt_tokens": 6, "total_tokens": 6}));
    for answer in [own, translated] {
        let row = gateway.settled(&trace_of(&answer)).await;
        assert_eq!(
            (row["input_tokens"].as_u64(), row["estimated"].as_bool()),
            (Some(6), Some(true)),
            "{row}"
        );
    }
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_whole_request_is_counted_by_whoever_answers_it() {
    let gateway = gateway().await;
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
        let upstream_path = last(&gateway, key).0;
        assert!(upstream_path.ends_with(path), "{model}: {upstream_path}");
    }
    let guessed =
        post(&gateway, &gemini_path("limited/acme-large", "countTokens"), &whole("limited/acme-large")).await;
    assert_eq!(guessed.header("x-tidegate-estimate"), Some("1"));
    assert_eq!(gateway.emulator.violations(), []);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn what_a_provider_has_no_way_to_do_is_said_in_words() {
    let gateway = gateway().await;
    for model in ["google/gemini-2.5-flash", "anthropic/claude-haiku-4-5"] {
        let text = json!({"model": model, "prompt": "Once upon a tide"});
        let answer = gateway.client().post("/v1/completions", &text).await.unwrap();
        let error = refused(&answer, 400, "unsupported_operation");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("no way to go on with a text"), "{message}");
        assert!(message.contains("/v1/chat/completions"), "{message}");
        assert_eq!(error["param"], "model");
    }
    let text = json!({"model": "google/gemini-2.5-flash", "input": "tide"});
    refused(&gateway.client().post("/v1/moderations", &text).await.unwrap(), 400, "model_modality");
    let text = json!({"content": {"parts": [{"text": "tide"}]}});
    let path = gemini_path("anthropic/claude-haiku-4-5", "embedContent");
    let answer = gateway.client().post(&path, &text).await.unwrap();
    assert_eq!((answer.status, answer.json()["error"]["status"].as_str()), (400, Some("INVALID_ARGUMENT")));
    assert!(answer.text().contains("for embedding models"), "{}", answer.text());
    assert_eq!(gateway.calls(OWN_SECOND).len() + gateway.calls(POOL).len(), 0);
    let many = vec!["tide"; 101];
    let answer = gateway.client().post(EMBEDDINGS, &json!({"model": GEMINI, "input": many})).await.unwrap();
    assert_eq!(refused(&answer, 400, "unsupported_value")["param"], "input");
}
