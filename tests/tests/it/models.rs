//! `/v1/models`: exactly the models that the key may use.

use serde_json::{Value, json};

use crate::ask::{MINI, has, refused};
use crate::gateway::{Gateway, NODE, OWN, POOL, id_of};

fn ids(list: &Value) -> Vec<String> {
    assert_eq!(list["object"], "list");
    let id = |row: &Value| {
        assert_eq!(row["object"], "model", "{row}");
        assert!(row["created"].is_u64() && row["owned_by"].is_string(), "{row}");
        id_of(row)
    };
    list["data"].as_array().unwrap().iter().map(id).collect()
}

async fn listed(gateway: &Gateway) -> Vec<String> {
    ids(&gateway.client().get("/v1/models").await.unwrap().must_be(200).json())
}

#[tokio::test]
async fn the_list_follows_the_configuration() {
    let gateway = Gateway::start().await;
    assert_eq!(listed(&gateway).await, Vec::<String>::new());
    let credential = gateway.credential("openai", OWN).await;
    let models = listed(&gateway).await;
    assert!(models.contains(&MINI.to_owned()), "{models:?}");
    assert!(models.iter().all(|id| id.starts_with("openai/")), "{models:?}");
    assert!(!models.iter().any(|id| id.contains("embedding")), "a chat list: {models:?}");
    // A node that was added without a list is queried for its models.
    let body = json!({"name": "rack", "base_url": gateway.emulator.base_url(), "secret": NODE});
    let node = gateway.make("/v2/byoc/nodes", body).await;
    assert!(node["models"].as_array().unwrap().contains(&json!("tide-1")), "{node}");
    assert!(listed(&gateway).await.contains(&"tide-1".to_owned()));
    gateway.remove(&format!("/v2/provider-credentials/{credential}")).await;
    gateway.account("openai", POOL).await;
    assert!(listed(&gateway).await.contains(&MINI.to_owned()));
}

#[tokio::test]
async fn one_model_is_shown_by_its_name() {
    let gateway = Gateway::with_own().await;
    for path in ["/v1/models/openai/gpt-4o-mini", "/v1/models/openai%2Fgpt-4o-mini"] {
        has(&gateway.client().get(path).await.unwrap().json(), json!({"id": MINI, "name": "GPT-4o mini"}));
    }
    // A name that is served is found, in each dialect's list.
    let others = ["gpt-4o-mini", "gpt-4o-mini-2024-07-18", "openai:gpt-4o-mini", "text-embedding-3-small"];
    for name in others {
        let shown = async |path: &str| gateway.client().get(&format!("{path}/{name}")).await.unwrap().json();
        has(&shown("/v1/models").await, json!({"id": name}));
        has(&shown("/v1beta/models").await, json!({"name": format!("models/{name}")}));
    }
    refused(&gateway.client().get("/v1/models/none").await.unwrap(), 404, "model_not_found");
    // A cloud's prices are told apart by their source, with what states one's own.
    let prices = gateway.cli().run(&["models", "vertex_ai"]).ok();
    for part in ["unverified", "third hand", "--price MODEL=IN/OUT"] {
        assert!(prices.contains(part), "{prices}");
    }
    assert_eq!(gateway.emulator.journal().len(), 0);
}
