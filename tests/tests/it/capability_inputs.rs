//! What of a prompt a model takes, and what is agreed of retention, by the capability manifest.

use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, question, refused, with};
use crate::capabilities::{OPENAI, REFUSED, denied, own, state};
use crate::gateway::{CREDENTIALS, Gateway, OWN};

const REASONER: &str = "openai/gpt-5-mini";

/// A prompt whose words name every kind of file, with another part.
fn holding(part: Value) -> Value {
    let text = json!({"type": "text", "text": "an image, audio, video, file or document, with effort"});
    let mut parts = vec![text];
    parts.extend(Some(part).filter(|part| !part.is_null()));
    with(question(MINI), json!({"messages": [{"role": "user", "content": parts}]}))
}

#[tokio::test]
async fn what_a_model_does_not_take_is_refused_before_anything_is_sent_in_any_dialect() {
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
    // Pictures are judged in every dialect.
    let source = json!({"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="});
    let content = json!([{"type": "image", "source": source}, {"type": "text", "text": "what is it?"}]);
    let body = json!({"model": MINI, "max_tokens": 9, "messages": [{"role": "user", "content": content}]});
    let ask = async || gateway.post("/v1/messages", &body).await;
    assert_eq!(ask().await.status, 200);
    state(&gateway, "vision", json!(false)).await;
    let answer = ask().await.must_be(400);
    assert!(answer.text().contains("vision"), "{}", answer.text());
    assert_eq!(gateway.recorded_code(&answer).await, REFUSED);
}

/// What is known of a model comes before what is stated of its provider, and what is stated of the model before both.
#[tokio::test]
async fn an_effort_that_the_model_lacks_is_refused_by_the_most_exact_fact() {
    let gateway = own().await;
    let ask = async |effort: &str| {
        let body = with(question(REASONER), json!({"reasoning_effort": effort}));
        gateway.post(CHAT, &body).await
    };
    ask("high").await.must_be(200);
    state(&gateway, "efforts", json!(["low"])).await;
    assert_eq!(ask("high").await.status, 200, "the model's own fact is more exact");
    gateway.patch(OPENAI, json!({"models": {"gpt-5-mini": {"efforts": {"value": ["low", "medium"]}}}})).await;
    denied(&ask("high").await, "efforts", "reasoning_effort");
    ask("low").await.must_be(200);
}

#[tokio::test]
async fn an_agreement_that_the_provider_does_not_offer_is_not_believed() {
    let gateway = Gateway::start().await;
    let credential = json!({"provider": "openai", "secret": OWN, "base_url": gateway.emulator.base_url(),
        "retention": "zero"});
    gateway.make(CREDENTIALS, credential).await;
    gateway.make("/v2/policies", json!({"workspace": true, "retention": "zero"})).await;
    let body = with(question(MINI), json!({"store": false}));
    gateway.chat_ok(&body).await;
    state(&gateway, "zero_retention_available", json!(false)).await;
    refused(&gateway.chat(&body).await, 403, "policy_forbids");
    state(&gateway, "zero_retention_available", Value::Null).await;
    gateway.chat_ok(&body).await;
}
