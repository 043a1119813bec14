//! Reasoning that is sent back: encrypted, unaltered, and with the items that it led to.

use harness::Emulator;
use serde_json::{Value, json};

use super::{code, post, think, user};
use crate::{start, with};

/// A turn of a reasoning model: its items, and the request that answers them.
async fn thought(emulator: &Emulator) -> Vec<Value> {
    let (status, body) = post(emulator, &think()).await;
    assert_eq!(status, 200, "{body}");
    body["output"].as_array().unwrap().clone()
}

async fn again(emulator: &Emulator, items: &[Value]) -> (u16, Value) {
    let input: Vec<Value> = [&[user("hello")], items, &[user("go on")]].concat();
    post(emulator, &with(think(), json!({"input": input}))).await
}

#[tokio::test]
async fn sealed_reasoning_comes_back_whole_or_not_at_all() {
    let emulator = start().await;
    let foreign = thought(&start().await).await;
    let turn = thought(&emulator).await;
    assert_eq!((turn[0]["type"].as_str(), turn[1]["type"].as_str()), (Some("reasoning"), Some("message")));
    assert_eq!(again(&emulator, &turn).await.0, 200);
    let sealed = turn[0]["encrypted_content"].as_str().unwrap();
    let altered = format!("{}{}", &sealed[..sealed.len() - 8], "AAAAAAA=");
    for bad in [altered.as_str(), "", "gAAAA", foreign[0]["encrypted_content"].as_str().unwrap()] {
        let item = with(turn[0].clone(), json!({"encrypted_content": bad}));
        let (status, body) = again(&emulator, &[item, turn[1].clone()]).await;
        assert_eq!((status, code(&body)), (400, Some("invalid_encrypted_content")), "{bad}: {body}");
        assert!(body["error"]["message"].as_str().unwrap().contains("could not be verified"), "{body}");
    }
    let other = thought(&emulator).await;
    let swapped = with(turn[0].clone(), json!({"encrypted_content": other[0]["encrypted_content"]}));
    assert_eq!(again(&emulator, &[swapped, turn[1].clone()]).await.0, 400);
}

#[tokio::test]
async fn reasoning_and_what_it_led_to_stay_together() {
    let emulator = start().await;
    let turn = thought(&emulator).await;
    let check = async |items: &[Value], status: u16, message: &str| {
        let (got, body) = again(&emulator, items).await;
        assert_eq!(got, status, "{body}");
        assert!(body["error"]["message"].as_str().unwrap_or_default().contains(message), "{body}");
    };
    check(&turn[..1], 400, "of type 'reasoning' was provided without its required following item.").await;
    check(&turn[1..], 400, "of type 'message' was provided without its required 'reasoning' item: 'rs_")
        .await;
    let bare = with(turn[0].clone(), json!({"encrypted_content": null}));
    check(&[bare, turn[1].clone()], 404, "Items are not persisted when `store` is set to false").await;
    // Without ids, only their order ties the items together.
    let nameless = turn.iter().map(|item| with(item.clone(), json!({"id": null}))).collect::<Vec<_>>();
    check(&nameless, 200, "").await;
    let reference = json!({"type": "item_reference", "id": turn[1]["id"]});
    check(&[reference], 404, "not found").await;
    // A stored item may be sent back by its id alone.
    let (_, kept) = post(&emulator, &with(think(), json!({"store": true, "include": null}))).await;
    let named: Vec<Value> = kept["output"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| json!({"type": "item_reference", "id": item["id"]}))
        .collect();
    check(&named, 200, "").await;
}
