//! What of a prompt a model takes, and what is agreed of retention, by the capability manifest.

use harness::client::Answer;
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, question, refused, with};
use crate::gateway::{Gateway, OWN};

const OPENAI: &str = "/v2/capabilities/openai";
const REFUSED: &str = "capability_not_supported";
const REASONER: &str = "openai/gpt-5-mini";

/// States one fact of OpenAI; `null` takes it back.
async fn state(gateway: &Gateway, fact: &str, value: Value) {
    let stated = if value.is_null() { Value::Null } else { json!({"value": value}) };
    gateway.patch(OPENAI, json!({"facts": {fact: stated}})).await;
}

fn denied(answer: &Answer, fact: &str, param: &str) {
    let error = refused(answer, 400, REFUSED);
    assert!(error["message"].as_str().unwrap().contains(fact), "{error}");
    assert_eq!(error["param"], param, "{error}");
}

async fn own() -> Gateway {
    let gateway = Gateway::start().await;
    gateway.credential("openai", OWN).await;
    gateway
}

/// A prompt whose words name every kind of file, with another part.
fn holding(part: Value) -> Value {
    let text = json!({"type": "text", "text": "an image, audio, video, file or document, with effort"});
    let mut parts = vec![text];
    parts.extend(Some(part).filter(|part| !part.is_null()));
    with(question(MINI), json!({"messages": [{"role": "user", "content": parts}]}))
}

#[tokio::test]
async fn what_a_model_does_not_take_is_refused_before_anything_is_sent() {
    let gateway = own().await;
    let picture = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}});
    let file = json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0xLjQ="}});
    let sound = json!({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}});
    for (fact, part) in [("vision", picture), ("documents", file), ("audio_input", sound)] {
        state(&gateway, fact, json!(true)).await;
        gateway.chat_ok(&holding(part.clone())).await;
        state(&gateway, fact, json!(false)).await;
        let calls = gateway.calls(OWN).len();
        denied(&gateway.chat(&holding(part)).await, fact, "messages[0].content[1]");
        assert_eq!(gateway.calls(OWN).len(), calls, "{fact}: nothing is sent");
        // Words are no files.
        gateway.chat_ok(&holding(Value::Null)).await;
        state(&gateway, fact, Value::Null).await;
    }
}

/// Pictures are judged in every dialect.
#[tokio::test]
async fn a_picture_in_another_dialect_is_refused_too() {
    let gateway = own().await;
    let source = json!({"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="});
    let content = json!([{"type": "image", "source": source}, {"type": "text", "text": "what is it?"}]);
    let body = json!({"model": MINI, "max_tokens": 9, "messages": [{"role": "user", "content": content}]});
    let ask = async || gateway.client().post("/v1/messages", &body).await.unwrap();
    assert_eq!(ask().await.status, 200);
    state(&gateway, "vision", json!(false)).await;
    let answer = ask().await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("vision"), "{}", answer.text());
    assert_eq!(gateway.recorded_code(&answer).await, REFUSED);
}

/// What is known of a model comes before what is stated of its provider, and what is stated of the model before both.
#[tokio::test]
async fn an_effort_that_the_model_lacks_is_refused_by_the_most_exact_fact() {
    let gateway = own().await;
    let ask = async |effort: &str| {
        let body = with(question(REASONER), json!({"reasoning_effort": effort}));
        gateway.client().post(CHAT, &body).await.unwrap()
    };
    let first = ask("high").await;
    assert_eq!(first.status, 200, "{}", first.text());
    state(&gateway, "efforts", json!(["low"])).await;
    assert_eq!(ask("high").await.status, 200, "the model's own fact is more exact");
    let stated = json!({"models": {"gpt-5-mini": {"efforts": {"value": ["low", "medium"]}}}});
    gateway.patch(OPENAI, stated).await;
    denied(&ask("high").await, "efforts", "reasoning_effort");
    let taken = ask("low").await;
    assert_eq!(taken.status, 200, "{}", taken.text());
}

#[tokio::test]
async fn an_agreement_that_the_provider_does_not_offer_is_not_believed() {
    let gateway = Gateway::start().await;
    let credential = json!({"provider": "openai", "secret": OWN, "base_url": gateway.emulator.base_url(),
        "retention": "zero"});
    gateway.make("/v2/provider-credentials", credential).await;
    gateway.make("/v2/policies", json!({"workspace": true, "retention": "zero"})).await;
    let body = with(question(MINI), json!({"store": false}));
    gateway.chat_ok(&body).await;
    state(&gateway, "zero_retention_available", json!(false)).await;
    refused(&gateway.chat(&body).await, 403, "policy_forbids");
    state(&gateway, "zero_retention_available", Value::Null).await;
    gateway.chat_ok(&body).await;
}
