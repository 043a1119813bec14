//! A provider's own batches on an account that workspaces share: at the price of batches with the account's markup, each
//! its project's alone, and only where nothing of it has to be held or kept apart.

use harness::client::{Answer, Client};
use http::Method;
use serde_json::{Value, json};

use crate::ask::with;
use crate::batches::until_booked;
use crate::gateway::{Gateway, POOL, id_of};
use crate::own_batches::{HAIKU, PATH, results, until_ended};

const SONNET: &str = "anthropic/claude-sonnet-4-6";
const MARKUP_BPS: i64 = 1_000;

fn params(model: &str, words: &str) -> Value {
    json!({"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": words}]})
}

fn ask(id: &str, params: Value) -> Value {
    json!({"custom_id": id, "params": params})
}

async fn post(client: &Client, requests: &[Value]) -> Answer {
    let answer = client.post(PATH, &json!({"requests": requests})).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

/// Makes a batch that its provider works through.
async fn create(client: &Client, requests: &[Value]) -> String {
    let answer = post(client, requests).await;
    assert_eq!(answer.header("agent-batch-execution"), None, "{}", answer.text());
    id_of(&answer.json())
}

/// Makes a batch that the gateway works through.
async fn left(client: &Client, requests: &[Value], why: &str) {
    let answer = post(client, requests).await;
    assert_eq!(answer.header("agent-batch-execution"), Some("gateway"), "{why}: {}", answer.text());
}

async fn shared() -> Gateway {
    let gateway = Gateway::start().await;
    let account = json!({
        "provider": "anthropic", "secret": POOL, "base_url": gateway.emulator.anthropic_url(),
        "markup_bps": MARKUP_BPS, "config": {"shared_batches": true},
    });
    gateway.make("/v2/accounts", account).await;
    gateway
}

#[tokio::test]
async fn a_batch_on_a_shared_account_is_booked_once_at_the_price_of_batches_and_its_markup() {
    let gateway = shared().await;
    let client = gateway.client();
    let alone = client.post("/v1/messages", &params(HAIKU, "ask 0")).await.unwrap();
    assert_eq!(alone.status, 200, "{}", alone.text());
    let alone = gateway.settled(alone.header("x-request-id").unwrap()).await;
    let late = with(params(HAIKU, "x"), json!({"metadata": {"user_id": "emu:status=529"}}));
    let requests = [ask("a", params(HAIKU, "ask 0")), ask("bad", late)];
    let plan = gateway.plan(json!({"path": PATH, "request": {"requests": requests}})).await;
    assert_eq!((&plan["error"], &plan["batch"]["execution"]), (&Value::Null, &json!("provider")), "{plan}");
    assert_eq!(plan["batch"]["models"][0]["price_percent"], 50, "{plan}");
    let id = create(&client, &requests).await;
    assert!(id.starts_with("msgbatch_tg_"), "{id}");
    let batch = until_ended(&client, &id).await;
    let lines = results(&client, &batch).await;
    assert_eq!((&lines["a"]["type"], &lines["bad"]["type"]), (&json!("succeeded"), &json!("errored")));
    let rows = until_booked(&gateway.admin(), 2).await;
    let mut costs = Vec::new();
    for row in &rows {
        let row = gateway.settled(row["id"].as_str().unwrap()).await;
        assert_eq!(
            (&row["profile"], &row["made_for"]["purpose"]),
            (&json!("managed_provider"), &json!("batch_item")),
            "{row}"
        );
        costs.push(row["cost_nanos"].as_i64().unwrap());
    }
    costs.sort_unstable();
    assert_eq!(costs, [0, alone["cost_nanos"].as_i64().unwrap() / 2], "half of the price, with the markup");
    let shown = gateway.get(&format!("/v2/batches/{id}")).await;
    assert_eq!(shown["cost_nanos"], costs[1], "{shown}");
    assert_eq!(
        (&shown["execution"], &shown["credential_id"]),
        (&json!("provider"), &json!("managed")),
        "the id of an account is the operator's: {shown}"
    );
    until_booked(&gateway.admin(), 2).await;
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn two_workspaces_on_one_account_have_nothing_of_each_others_batches() {
    let gateway = shared().await;
    let workspace = gateway.make("/v2/workspaces", json!({"name": "another"})).await;
    let both = [gateway.client(), gateway.with_key(workspace["api_key"].as_str().unwrap())];
    let mut batches = Vec::new();
    for (client, words) in both.iter().zip(["first", "second"]) {
        let id = create(client, &[ask("a", params(HAIKU, words))]).await;
        let batch = until_ended(client, &id).await;
        let lines = results(client, &batch).await;
        let text = &lines["a"]["message"]["content"][0]["text"];
        assert!(text.as_str().unwrap().contains(words), "{lines:?}");
        batches.push(batch);
    }
    for (client, own, other) in [(&both[0], 0, 1), (&both[1], 1, 0)] {
        assert_eq!(client.get(PATH).await.unwrap().json()["data"], json!([batches[own]]));
        let path = format!("{PATH}/{}", batches[other]["id"].as_str().unwrap());
        for answer in [
            client.get(&path).await.unwrap(),
            client.get(&format!("{path}/results")).await.unwrap(),
            client.post(&format!("{path}/cancel"), &json!({})).await.unwrap(),
            client.call(Method::DELETE, &path, &[], String::new()).await.unwrap(),
            // The provider's own id is unknown here.
            client.get(&format!("{PATH}/msgbatch_000000000001emulated")).await.unwrap(),
        ] {
            assert_eq!(answer.status, 404, "{}", answer.text());
        }
    }
    let calls = gateway.emulator.journal().into_iter().filter(|entry| entry.path.contains("/batches"));
    assert!(calls.map(|entry| entry.key).all(|key| key.as_deref() == Some(POOL)));
    assert_eq!(gateway.emulator.violations(), []);
}

/// What would have to be held, or kept apart from others, goes through the gateway item by item.
#[tokio::test]
async fn a_batch_that_must_not_be_sent_whole_to_a_shared_account_is_left_to_the_gateway() {
    let gateway = shared().await;
    let client = gateway.client();
    let marked = json!({"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]});
    left(&client, &[ask("a", with(params(HAIKU, "x"), marked))], "its prefix would be in the shared cache")
        .await;
    let several = [ask("a", params(HAIKU, "x")), ask("b", params(SONNET, "x"))];
    left(&client, &several, "it is of several models").await;
    let plain = [ask("a", params(HAIKU, "x"))];
    create(&client, &plain).await;
    let project = &gateway.founded.project_id;
    let budget =
        json!({"name": "nights", "period": "month", "limit_micros": 1_000_000, "project_id": project});
    let budget = id_of(&gateway.make("/v2/budgets", budget).await);
    left(&client, &plain, "a budget must hold what it may cost").await;
    gateway.admin().delete(&format!("/v2/budgets/{budget}")).await.unwrap();
    create(&client, &plain).await;
    gateway.make("/v2/policies", json!({"project_id": project, "allowed_models": [HAIKU]})).await;
    left(&client, &plain, "a policy reads each request").await;
    assert_eq!(gateway.emulator.violations(), []);
}
