//! A provider's own batches on an account that workspaces share: at the price of batches with the account's markup, each
//! its project's alone, and only where nothing of it has to be held or kept apart.

use harness::Behaviour;
use harness::client::Client;
use serde_json::{Value, json};

use crate::ask::{MINI, problem, with};
use crate::batches::{MANY, asks, booked_over_kills, ended, line, made, tried, until_booked};
use crate::gateway::{Gateway, POOL, id_of, sums};
use crate::isolation::second_workspace;
use crate::own_batches::{HAIKU, PATH, SONNET, ask, params, post, results, until_ended, wanted};
use crate::wait::until;

const FLASH: &str = "google/gemini-2.5-flash";
const MARKUP_BPS: i64 = 1_000;

/// Makes a batch that its provider works through.
async fn create(client: &Client, requests: &[Value]) -> String {
    let answer = post(client, requests).await.must_be(200);
    assert_eq!(answer.header("agent-batch-execution"), None, "{}", answer.text());
    id_of(&answer.json())
}

/// Makes a batch that the gateway works through.
async fn left(client: &Client, requests: &[Value], why: &str) {
    let answer = post(client, requests).await.must_be(200);
    assert_eq!(answer.header("agent-batch-execution"), Some("gateway"), "{why}: {}", answer.text());
}

async fn share(gateway: &Gateway, provider: &str, base_url: &str) {
    let account = json!({
        "provider": provider, "secret": POOL, "base_url": base_url,
        "markup_bps": MARKUP_BPS, "config": {"shared_batches": true},
    });
    gateway.make("/v2/accounts", account).await;
}

async fn shared() -> Gateway {
    let gateway = Gateway::start().await;
    share(&gateway, "anthropic", &gateway.emulator.anthropic_url()).await;
    gateway
}

/// A prompt that is long enough to be cached.
fn long() -> String {
    "the tide comes in ".repeat(200)
}

/// Two requests are booked, the cheaper one, which cost as much as `short` alone, at half of that, with the markup.
async fn booked_at_half(gateway: &Gateway, short: &Value) {
    let mut costs = Vec::new();
    for row in until_booked(&gateway.admin(), 2).await {
        let row = gateway.settled(row["id"].as_str().unwrap()).await;
        let about = (&row["profile"], &row["made_for"]["purpose"], &row["service_tier"]);
        assert_eq!(about, (&json!("managed_provider"), &json!("batch_item"), &json!("batch")), "{row}");
        costs.push(row["cost_nanos"].as_i64().unwrap());
    }
    let (least, alone) = (costs.into_iter().min().unwrap(), short["cost_nanos"].as_i64().unwrap());
    assert!(least > 0 && (least * 2 - alone).abs() <= 1, "{least} of {alone}");
}

#[tokio::test]
async fn a_batch_on_a_shared_account_is_booked_once_at_the_price_of_batches_and_its_markup() {
    let (gateway, client) = shared().await.and_client();
    let alone = client.post("/v1/messages", &params(HAIKU, "ask 0")).await.unwrap().must_be(200);
    let alone = gateway.record(&alone).await;
    let late = with(params(HAIKU, "x"), json!({"metadata": {"user_id": "emu:status=529"}}));
    let requests = [ask("a", HAIKU, "ask 0"), json!({"custom_id": "bad", "params": late})];
    let plan = gateway.plan(json!({"path": PATH, "request": {"requests": requests}})).await;
    assert_eq!((&plan["error"], &plan["batch"]["execution"]), (&Value::Null, &json!("provider")), "{plan}");
    assert_eq!(plan["batch"]["models"][0]["price_percent"], 50, "{plan}");
    let id = create(&client, &requests).await;
    assert!(id.starts_with("msgbatch_tg_"), "{id}");
    let lines = results(&client, &until_ended(&client, &id).await).await;
    assert_eq!((&lines["a"]["type"], &lines["bad"]["type"]), (&json!("succeeded"), &json!("errored")));
    let rows = until_booked(&gateway.admin(), 2).await;
    let mut costs = Vec::new();
    for row in &rows {
        let row = gateway.settled(row["id"].as_str().unwrap()).await;
        assert_eq!(row["profile"], "managed_provider", "{row}");
        assert_eq!(row["made_for"]["purpose"], "batch_item", "{row}");
        costs.push(row["cost_nanos"].as_i64().unwrap());
    }
    costs.sort_unstable();
    assert_eq!(costs, [0, alone["cost_nanos"].as_i64().unwrap() / 2], "half of the price, with the markup");
    let shown = gateway.get(&format!("/v2/batches/{id}")).await;
    assert_eq!(shown["cost_nanos"], costs[1], "{shown}");
    assert_eq!(shown["execution"], "provider", "{shown}");
    assert_eq!(shown["credential_id"], "managed", "the id of an account is the operator's: {shown}");
    until_booked(&gateway.admin(), 2).await;
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn two_workspaces_on_one_account_have_nothing_of_each_others_batches() {
    let gateway = shared().await;
    let both = [gateway.client(), gateway.with_key(&second_workspace(&gateway).await.api_key)];
    let mut batches = Vec::new();
    for (client, words) in both.iter().zip(["first", "second"]) {
        let batch = until_ended(client, &create(client, &[ask("a", HAIKU, words)]).await).await;
        let lines = results(client, &batch).await;
        let text = &lines["a"]["message"]["content"][0]["text"];
        assert!(text.as_str().unwrap().contains(words), "{lines:?}");
        batches.push(batch);
    }
    for (client, own, other) in [(&both[0], 0, 1), (&both[1], 1, 0)] {
        assert_eq!(client.get(PATH).await.unwrap().json()["data"], json!([batches[own]]));
        let path = format!("{PATH}/{}", batches[other]["id"].as_str().unwrap());
        for answer in wanted(client, &path).await {
            answer.must_be(404);
        }
        // The provider's own id is unknown here.
        client.get(&format!("{PATH}/msgbatch_000000000001emulated")).await.unwrap().must_be(404);
    }
    let calls = gateway.emulator.journal().into_iter().filter(|entry| entry.path.contains("/batches"));
    assert!(calls.map(|entry| entry.key).all(|key| key.as_deref() == Some(POOL)));
    assert_eq!(gateway.emulator.violations(), []);
}

/// What would have to be held, or kept apart from others, goes through the gateway item by item.
#[tokio::test]
async fn a_batch_that_must_not_be_sent_whole_to_a_shared_account_is_left_to_the_gateway() {
    let (gateway, client) = shared().await.and_client();
    let marked = json!({"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]});
    let marked = [json!({"custom_id": "a", "params": with(params(HAIKU, "x"), marked)})];
    left(&client, &marked, "its prefix would be in the shared cache").await;
    let several = [ask("a", HAIKU, "x"), ask("b", SONNET, "x")];
    left(&client, &several, "it is of several models").await;
    let plain = [ask("a", HAIKU, "x")];
    create(&client, &plain).await;
    let project = &gateway.founded.project_id;
    let budget = json!({"period": "month", "limit_micros": 1_000_000, "project_id": project});
    let budget = id_of(&gateway.make("/v2/budgets", budget).await);
    left(&client, &plain, "a budget must hold what it may cost").await;
    gateway.admin().delete(&format!("/v2/budgets/{budget}")).await.unwrap();
    create(&client, &plain).await;
    gateway.policy(json!({"allowed_models": [HAIKU]})).await;
    left(&client, &plain, "a policy reads each request").await;
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_file_of_requests_on_a_shared_account_is_one_batch_of_its_provider() {
    let gateway = Gateway::start().await;
    share(&gateway, "openai", &gateway.emulator.base_url()).await;
    // Another workspace might find a prompt in the cache of the account.
    gateway.make("/v2/workspaces", json!({"name": "another"})).await;
    let client = gateway.client();
    let body = json!({"model": MINI, "messages": [{"role": "user", "content": "ask 0"}]});
    let alone = gateway.record(&gateway.chat_ok(&body).await).await;
    let answer = tried(&client, &format!("{}{}", line("a", MINI, "ask 0"), line("b", MINI, &long()))).await;
    assert_eq!((answer.status, answer.header("agent-batch-execution")), (200, None), "{}", answer.text());
    let batch = ended(&client, &id_of(&answer.json())).await;
    assert_eq!(batch["request_counts"], json!({"total": 2, "completed": 2, "failed": 0}), "{batch}");
    booked_at_half(&gateway, &alone).await;
    let sent = gateway.calls(POOL);
    let of = |end: &str| sent.iter().filter(|call| call.path.ends_with(end)).collect::<Vec<_>>();
    let file = String::from_utf8_lossy(&of("/files")[0].body).into_owned();
    assert_eq!((of("/files").len(), of("/batches").len()), (1, 1));
    assert_eq!((file.matches("[cache ").count(), file.contains(MINI)), (1, false), "{file}");
    // An account whose files nobody has read works through no batch of them, and limits count each request.
    let other = line("a", MINI, "x").replace("/v1/chat/completions", "/v1/responses");
    for (requests, why) in [
        (line("a", MINI, "x") + &line("b", "openai/gpt-4o", "x"), "it is of several models"),
        (other, "nobody knows what it may name"),
    ] {
        let answer = tried(&client, &requests).await;
        assert_eq!(answer.header("agent-batch-execution"), Some("gateway"), "{why}: {}", answer.text());
    }
    gateway.budget(1_000_000).await;
    let answer = tried(&client, &line("a", MINI, "x")).await;
    assert_eq!(answer.header("agent-batch-execution"), Some("gateway"), "{}", answer.text());
    let again = json!({"input_file_id": batch["input_file_id"], "endpoint": batch["endpoint"], "completion_window": "24h"});
    let refused = client.post("/v1/batches", &again).await.unwrap();
    assert_eq!(refused.json()["error"]["code"], "batch_needs_own_credential", "{}", refused.text());
    assert_eq!(gateway.emulator.violations(), []);
}

/// A project whose requests aren't booked yet stays, and what it used stays when it is gone.
#[tokio::test]
async fn a_kill_in_the_middle_books_each_request_of_a_shared_account_once() {
    let mut gateway = Gateway::start().await;
    share(&gateway, "openai", &gateway.emulator.base_url()).await;
    let project = gateway.make("/v2/projects", json!({"name": "nightly"})).await;
    let (key, key_id) = gateway.key(json!({"name": "nightly", "project_id": project["id"]})).await;
    let client = gateway.with_key(&key);
    let id = made(&client, &asks(MANY)).await;
    gateway.emulator.script(POOL, [Behaviour { interval: 50, times: Some(0), ..Behaviour::ok() }]);
    let batch = ended(&client, &id).await;
    let results = format!("/v1/files/{}", batch["output_file_id"].as_str().unwrap());
    let early = client.delete(&results).await.unwrap().must_be(409);
    assert_eq!(early.json()["error"]["code"], "batch_not_booked", "{}", early.text());
    gateway.remove(&format!("/v2/api-keys/{key_id}")).await;
    let project = format!("/v2/projects/{}", id_of(&project));
    problem(&gateway.admin().delete(&project).await.unwrap(), 409, "usage_not_recorded");
    let tokens = booked_over_kills(&mut gateway).await;
    let spent = sums(&gateway.get("/v2/usage").await)["cost_micros"].clone();
    let admin = gateway.admin();
    until("its project goes", async || admin.delete(&project).await.unwrap().status == 204).await;
    let after = sums(&gateway.get("/v2/usage").await);
    let used = after["input_tokens"].as_u64().unwrap() + after["output_tokens"].as_u64().unwrap();
    assert_eq!((used, &after["cost_micros"]), (tokens, &spent), "{after}");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_content_batch_on_a_shared_account_is_one_of_its_provider() {
    let gateway = Gateway::start().await;
    share(&gateway, "gemini", &gateway.emulator.origin()).await;
    gateway.make("/v2/workspaces", json!({"name": "another"})).await;
    let client = gateway.client();
    let content = |words: &str| json!({"contents": [{"role": "user", "parts": [{"text": words}]}]});
    let path = |act: &str| format!("/v1beta/models/{FLASH}:{act}");
    let alone = client.post(&path("generateContent"), &content("ask 0")).await.unwrap().must_be(200);
    let alone = gateway.record(&alone).await;
    let of = |requests: Value| json!({"batch": {"displayName": "tides", "inputConfig": {"requests": {"requests": requests}}}});
    let two = of(json!([{"request": content("ask 0")}, {"request": content(&long())}]));
    let answer = client.post(&path("batchGenerateContent"), &two).await.unwrap();
    assert_eq!((answer.status, answer.header("agent-batch-execution")), (200, None), "{}", answer.text());
    booked_at_half(&gateway, &alone).await;
    let sent: Vec<_> =
        gateway.calls(POOL).into_iter().filter(|call| call.path.ends_with(":batchGenerateContent")).collect();
    assert_eq!(sent.len(), 1);
    let body = String::from_utf8_lossy(&sent[0].body).into_owned();
    assert_eq!(body.matches("[cache ").count(), 1, "{body}");
    // A hosted tool has a price that no catalogue has for batches.
    let mut named = content("x");
    named["tools"] = json!([{"googleSearch": {}}]);
    let answer = client.post(&path("batchGenerateContent"), &of(json!([{"request": named}]))).await.unwrap();
    assert_eq!(answer.header("agent-batch-execution"), Some("gateway"), "{}", answer.text());
    assert_eq!(gateway.emulator.violations(), []);
}
