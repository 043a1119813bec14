//! Explicit cached contents, and implicit caching.

use harness::Emulator;
use harness::client::Answer;
use http::Method;
use serde_json::{Value, json};

use super::{MIDDLE, NEW, OLD, ask, client, path, question};
use crate::{OTHER_KEY, start, with};

const CACHES: &str = "/v1beta/cachedContents";

fn long() -> String {
    "tide ".repeat(5000)
}

fn content() -> Value {
    json!({"model": format!("models/{NEW}"), "contents": [{"role": "user", "parts": [{"text": long()}]}]})
}

async fn create(emulator: &Emulator) -> String {
    let answer = client(emulator).post(CACHES, &content()).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["name"].as_str().unwrap().to_owned()
}

async fn patch(emulator: &Emulator, name: &str, body: Value) -> Answer {
    let headers = [("content-type", "application/json")];
    client(emulator)
        .call(Method::PATCH, &format!("/v1beta/{name}"), &headers, body.to_string())
        .await
        .unwrap()
}

#[tokio::test]
async fn bad_cached_contents_are_refused() {
    let emulator = start().await;
    for (change, status) in [
        (json!({"model": null}), 400),
        (json!({"model": NEW}), 400),
        (json!({"model": "models/none"}), 404),
        (json!({"model": format!("models/{OLD}")}), 404),
        (json!({"contents": []}), 400),
        (json!({"contents": [{"role": "user", "parts": [{"text": "short"}]}]}), 400),
        (json!({"ttl": "300"}), 400),
        (json!({"ttl": "-5s"}), 400),
        (json!({"ttl": "300s", "expireTime": "2099-01-01T00:00:00Z"}), 400),
        (json!({"expireTime": "2001-01-01T00:00:00Z"}), 400),
        (json!({"expireTime": "tomorrow"}), 400),
        (json!({"displayName": "x".repeat(129)}), 400),
        (json!({"generationConfig": {}}), 400),
    ] {
        let answer = client(&emulator).post(CACHES, &with(content(), change.clone())).await.unwrap();
        assert_eq!(answer.status, status, "{change}: {}", answer.text());
    }
    let list = client(&emulator).get(CACHES).await.unwrap();
    assert_eq!(list.json(), json!({}));
}

#[tokio::test]
async fn one_is_used_changed_and_deleted() {
    let emulator = start().await;
    let name = create(&emulator).await;
    let request = with(question(), json!({"cachedContent": name}));
    let usage = ask(&emulator, NEW, &request).await.json()["usageMetadata"].clone();
    assert_eq!(usage["cachedContentTokenCount"], 5004);
    assert_eq!(usage["promptTokenCount"], 5004 + 8);
    assert_eq!(emulator.journal().last().unwrap().cached_tokens, 5004);
    let counted =
        client(&emulator).post(&path(NEW, "countTokens"), &json!({"generateContentRequest": request})).await;
    assert_eq!(counted.unwrap().json()["cachedContentTokenCount"], 5004);
    let before = client(&emulator).get(&format!("/v1/{name}")).await.unwrap().json();
    assert!(before.get("contents").is_none(), "what it holds is never shown");
    let after = patch(&emulator, &name, json!({"ttl": "86400s"})).await.json();
    assert!(after["expireTime"].as_str() > before["expireTime"].as_str(), "{after}");
    for change in [json!({"displayName": "new"}), json!({"contents": content()["contents"]}), json!({})] {
        assert_eq!(patch(&emulator, &name, change).await.status, 400);
    }
    assert_eq!(client(&emulator).delete(&format!("/v1beta/{name}")).await.unwrap().json(), json!({}));
    let gone = ask(&emulator, NEW, &request).await;
    assert_eq!((gone.status, gone.json()["error"]["status"].as_str()), (403, Some("PERMISSION_DENIED")));
}

#[tokio::test]
async fn a_request_may_not_say_again_what_the_cache_holds() {
    let emulator = start().await;
    let name = create(&emulator).await;
    for (model, change, why) in [
        (
            NEW,
            json!({"systemInstruction": {"parts": [{"text": "x"}]}}),
            "can not be used with GenerateContent",
        ),
        (NEW, json!({"tools": [{"googleSearch": {}}]}), "can not be used with GenerateContent"),
        (NEW, json!({"toolConfig": {}}), "can not be used with GenerateContent"),
        (MIDDLE, json!({}), "has to be the same"),
    ] {
        let request = with(with(question(), json!({"cachedContent": name})), change);
        let answer = ask(&emulator, model, &request).await;
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains(why), "{}", answer.text());
    }
}

#[tokio::test]
async fn it_belongs_to_its_key_and_dies_in_time() {
    let emulator = start().await;
    let name = create(&emulator).await;
    let path = format!("/v1beta/{name}");
    let other = harness::client::Client::new(emulator.origin()).header("x-goog-api-key", OTHER_KEY);
    for answer in [other.get(&path).await, other.delete(&path).await] {
        assert_eq!(answer.unwrap().status, 403);
    }
    assert_eq!(other.get(CACHES).await.unwrap().json(), json!({}));
    assert_eq!(patch(&emulator, &name, json!({"ttl": "0.000001s"})).await.status, 200);
    assert_eq!(client(&emulator).get(&path).await.unwrap().status, 403, "expired");
    let name = create(&emulator).await;
    emulator.reset();
    assert_eq!(client(&emulator).get(&format!("/v1beta/{name}")).await.unwrap().status, 403, "forgotten");
}

#[tokio::test]
async fn a_long_prefix_is_cached_unasked_by_model() {
    let emulator = start().await;
    let request = |words: usize| json!({"contents": [{"role": "user", "parts": [{"text": format!("{}and more", "tide ".repeat(words))}]}]});
    for (model, words, cached) in [(MIDDLE, 2100, 2048), (NEW, 4200, 4096), (NEW, 3000, 0), (OLD, 5000, 0)] {
        emulator.reset();
        let mut seen = Vec::new();
        for _ in 0..2 {
            let usage = ask(&emulator, model, &request(words)).await.json()["usageMetadata"].clone();
            seen.push(usage["cachedContentTokenCount"].as_u64().unwrap_or(0));
        }
        assert_eq!(seen, [0, cached], "{model} {words}");
    }
}
