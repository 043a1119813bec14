//! Batches that the gateway works through itself: over managed accounts, nodes and the providers of other dialects. Each of
//! their requests goes through the pipeline like one that its client sends, and is booked once.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use harness::Behaviour;
use harness::client::{Answer, Client};
use harness::setting::number;
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::once;
use crate::batches::{keys_of_batches, spent, until_rows};
use crate::gateway::{Gateway, LOCAL_MODEL, OWN, OWN_SECOND, POOL, Shared, config, driver, id_of};
use crate::isolation::second_workspace;
use crate::sdk::drive_at;
use crate::wait::{a_moment, found, until as until_so};

pub const PATH: &str = "/v1/messages/batches";
pub const HAIKU: &str = "anthropic/claude-haiku-4-5";
pub const SONNET: &str = "anthropic/claude-sonnet-4-6";
/// More than one lane has, and than are in flight at once.
const MANY: usize = 120;

pub fn params(model: &str, words: &str) -> Value {
    json!({"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": words}]})
}

pub fn ask(id: &str, model: &str, words: &str) -> Value {
    json!({"custom_id": id, "params": params(model, words)})
}

pub fn asks(number: usize) -> Vec<Value> {
    (0..number).map(|at| ask(&format!("a{at}"), HAIKU, &format!("ask {at}"))).collect()
}

pub async fn post(client: &Client, requests: &[Value]) -> Answer {
    client.post(PATH, &json!({"requests": requests})).await.unwrap()
}

pub async fn create(client: &Client, requests: &[Value]) -> String {
    let answer = post(client, requests).await.must_be(200);
    assert_eq!(answer.header("agent-batch-execution"), Some("gateway"));
    id_of(&answer.json())
}

pub async fn until(client: &Client, id: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    once(client, &format!("{PATH}/{id}"), is_so).await
}

/// All that a client may want of the batch at a path.
pub async fn wanted(client: &Client, path: &str) -> [Answer; 4] {
    [
        client.get(path).await.unwrap(),
        client.get(&format!("{path}/results")).await.unwrap(),
        client.post(&format!("{path}/cancel"), &json!({})).await.unwrap(),
        client.delete(path).await.unwrap(),
    ]
}

pub async fn until_ended(client: &Client, id: &str) -> Value {
    until(client, id, |batch| batch["processing_status"] == "ended").await
}

/// The results by their ids, in the order of the ids.
pub async fn results(client: &Client, batch: &Value) -> BTreeMap<String, Value> {
    let lines = client.get(batch["results_url"].as_str().unwrap()).await.unwrap().must_be(200).text();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let named = |line: &Value| (line["custom_id"].as_str().unwrap().to_owned(), line["result"].clone());
    let results: BTreeMap<_, _> = lines.iter().map(named).collect();
    assert_eq!(results.len(), lines.len(), "each once");
    results
}

pub async fn pooled() -> Gateway {
    pooled_on(&[]).await
}

/// A gateway with the account that serves the batches, in an environment.
pub async fn pooled_on(environment: &[(&str, &str)]) -> Gateway {
    let gateway = Gateway::with(config(), environment).await;
    gateway.at("/v2/accounts", "anthropic", POOL, &gateway.emulator.anthropic_url()).await;
    gateway
}

/// The records of the requests of batches, once there are so many.
pub async fn booked(gateway: &Gateway, number: usize) -> Vec<Value> {
    until_rows(number, async || {
        let mut rows = gateway.requests(200).await;
        rows.retain(|row| row["operation"] == "chat");
        rows
    })
    .await
}

/// Items that are answered while the others are held: several, and with those that are in flight fewer than all.
const FIRST: u32 = 10;

/// The emulator answers the first items, and holds every other one.
pub fn answer_some(gateway: &Gateway) {
    answer_first(gateway, FIRST);
}

fn answer_first(gateway: &Gateway, number: u32) {
    gateway.emulator.clear_scripts();
    gateway.emulator.script(POOL, [Behaviour::ok().times(number), Behaviour::held().always()]);
}

/// The emulator answers what it holds, and everything else.
pub fn answer_all(gateway: &Gateway) {
    gateway.emulator.clear_scripts();
    gateway.emulator.release();
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn the_official_sdks_have_batches_of_any_model_through_the_gateway() {
    let gateway = pooled().await;
    gateway.credential("openai", OWN).await;
    gateway.node("cellar", &[LOCAL_MODEL]).await;
    let drive = async |script: &str, models: String| {
        let (python, script) = driver(script);
        drive_at(python, script, &gateway.origin, &gateway.founded.api_key, &models).await.held
    };
    let models = format!("{HAIKU},openai/gpt-4o-mini,{LOCAL_MODEL}");
    assert_eq!(drive("own_message_batches.py", models).await, 4);
    // Google's batches have their results inside, and name their requests by metadata.
    assert_eq!(drive("own_content_batches.py", format!("{HAIKU},{LOCAL_MODEL}")).await, 4);
    assert_eq!(gateway.emulator.violations(), []);
    // One that is cancelled says of each request that never began that it was.
    answer_some(&gateway);
    let client = gateway.client();
    let ask = |at: usize| json!({"contents": [{"role": "user", "parts": [{"text": format!("ask {at}")}]}]});
    let asks: Vec<Value> = (0..MANY).map(|at| json!({"request": ask(at)})).collect();
    let batch = json!({"batch": {"displayName": "tides", "inputConfig": {"requests": {"requests": asks}}}});
    let path = format!("/v1beta/models/{HAIKU}:batchGenerateContent");
    let made = client.post(&path, &batch).await.unwrap().must_be(200);
    assert_eq!(made.header("agent-batch-execution"), Some("gateway"), "{}", made.text());
    let at = format!("/v1beta/{}", made.json()["name"].as_str().unwrap());
    let count = |batch: &Value, name: &str| -> usize {
        batch["metadata"]["batchStats"][name].as_str().unwrap().parse().unwrap()
    };
    once(&client, &at, |batch| count(batch, "successfulRequestCount") > 0).await;
    let cancelled = client.post(&format!("{at}:cancel"), &json!({})).await.unwrap();
    assert_eq!((cancelled.status, cancelled.json()), (200, json!({})));
    once(&client, &at, |batch| count(batch, "failedRequestCount") > 0).await;
    answer_all(&gateway);
    let ended = once(&client, &at, |batch| batch["done"] == true).await;
    assert_eq!(ended["metadata"]["state"], "BATCH_STATE_CANCELLED", "{ended}");
    let told = [&ended["response"], &ended["metadata"]["output"]];
    let [results, again] = told.map(|told| told["inlinedResponses"]["inlinedResponses"].as_array().unwrap());
    assert_eq!(results, again);
    let succeeded = results.iter().filter(|result| result.get("response").is_some()).count();
    let stopped = results.iter().filter(|result| result["error"]["code"] == 1).count();
    assert_eq!((results.len(), succeeded + stopped), (MANY, MANY));
    assert_eq!(count(&ended, "successfulRequestCount"), succeeded);
    assert_eq!(count(&ended, "failedRequestCount"), stopped);
}

/// What no single credential takes as a whole, whatever the reason, and what nobody serves.
#[tokio::test]
async fn a_batch_that_no_provider_takes_is_left_to_the_gateway() {
    let (gateway, client) = Gateway::start().await.and_client();
    let url = gateway.emulator.anthropic_url();
    let first = gateway.at("/v2/provider-credentials", "anthropic", OWN, &url).await;
    let second = gateway.at("/v2/provider-credentials", "anthropic", OWN_SECOND, &url).await;
    gateway.credential("openai", OWN).await;
    gateway.route(json!({"scope": {"model": HAIKU}, "credential_ids": [first]})).await;
    gateway.route(json!({"scope": {"model": SONNET}, "credential_ids": [second]})).await;
    for (model, code) in
        [("openai/gpt-4o-mini", "batches_not_taken"), (SONNET, "batch_of_several_credentials")]
    {
        let requests = [ask("a", HAIKU, "x"), ask("b", model, "x")];
        let plan = gateway.plan(json!({"path": PATH, "request": {"requests": requests}})).await;
        assert_eq!(plan["error"], Value::Null, "{plan}");
        let batch = &plan["batch"];
        assert_eq!(batch["execution"], "gateway", "{plan}");
        assert_eq!(batch["reason"], code, "the plan says why no provider takes it: {plan}");
        let batch = until_ended(&client, &create(&client, &requests).await).await;
        assert_eq!(batch["request_counts"]["succeeded"], 2, "{batch}");
    }
    post(&client, &[ask("a", "grok-4", "x"), ask("b", HAIKU, "x")]).await.must_be(404);
    assert!(keys_of_batches(&gateway).is_empty());
    gateway.policy(json!({"retention": "zero"})).await;
    let requests = [ask("a", HAIKU, "x"), ask("b", SONNET, "x")];
    post(&client, &requests).await.must_be(403);
    let plan = gateway.plan(json!({"path": PATH, "request": {"requests": requests}})).await;
    assert_eq!((&plan["error"]["status"], &plan["batch"]), (&json!(403), &Value::Null), "{plan}");
    assert_eq!(gateway.emulator.violations(), []);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn each_request_is_booked_as_if_it_had_been_sent_alone() {
    let (gateway, client) = pooled().await.and_client();
    let alone = client.post("/v1/messages", &params(HAIKU, "ask 0")).await.unwrap();
    let alone = gateway.record(&alone).await;
    let id = create(&client, &[ask("a", HAIKU, "ask 0"), ask("b", "nobody/unknown", "x")]).await;
    let batch = until_ended(&client, &id).await;
    let results = results(&client, &batch).await;
    assert_eq!((&results["a"]["type"], &results["b"]["type"]), (&json!("succeeded"), &json!("errored")));
    assert_eq!(results["b"]["error"]["error"]["type"], "not_found_error", "{results:?}");
    let rows = booked(&gateway, 3).await;
    // Each core writes its own records, in no order among them.
    let made = found("the record of the batch", async || {
        gateway.requests(200).await.into_iter().find(|row| row["operation"] == "batch")
    })
    .await;
    for row in rows.iter().filter(|row| row["id"] != alone["id"]) {
        let row = gateway.settled(row["id"].as_str().unwrap()).await;
        assert_eq!(row["key_id"], alone["key_id"], "{row}");
        assert_eq!(row["qos_class"], "batch", "{row}");
        assert_eq!(row["made_for"]["purpose"], "batch_item", "{row}");
        assert_eq!(row["made_for"]["request_id"], made["id"], "{row}");
        if row["status"] == 200 {
            for same in ["provider", "resolved_model", "cost_nanos", "input_tokens", "output_tokens"] {
                assert_eq!(row[same], alone[same], "{same} of {row}");
            }
        }
    }
    let shown = gateway.get(&format!("/v2/batches/{id}")).await;
    for same in ["cost_nanos", "provider_cost_nanos", "cost_micros"] {
        assert_eq!(shown[same], alone[same], "{same} of the one that was answered: {shown}");
    }
    assert_eq!(gateway.emulator.violations(), []);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn what_has_not_begun_is_cancelled_and_what_has_is_finished() {
    let (gateway, client) = pooled().await.and_client();
    answer_some(&gateway);
    let id = create(&client, &asks(MANY)).await;
    client.delete(&format!("{PATH}/{id}")).await.unwrap().must_be(409);
    client.get(&format!("{PATH}/{id}/results")).await.unwrap().must_be(404);
    until(&client, &id, |batch| batch["request_counts"]["succeeded"].as_u64() > Some(0)).await;
    let cancelled = client.post(&format!("{PATH}/{id}/cancel"), &json!({})).await.unwrap().json();
    assert_eq!((&cancelled["id"], &cancelled["processing_status"]), (&json!(id), &json!("canceling")));
    until(&client, &id, |batch| batch["request_counts"]["canceled"].as_u64() > Some(0)).await;
    answer_all(&gateway);
    let batch = until_ended(&client, &id).await;
    let count = |name: &str| usize::try_from(batch["request_counts"][name].as_u64().unwrap()).unwrap();
    let (succeeded, canceled) = (count("succeeded"), count("canceled"));
    assert!(succeeded > 0 && canceled > 0 && succeeded + canceled == MANY, "{batch}");
    let results = results(&client, &batch).await;
    let of = |kind: &str| results.values().filter(|result| result["type"] == kind).count();
    assert_eq!((results.len(), of("succeeded"), of("canceled")), (MANY, succeeded, canceled));
    booked(&gateway, succeeded).await;
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_kill_in_the_middle_books_each_request_once_and_loses_none() {
    let mut gateway = pooled().await;
    answer_some(&gateway);
    let id = create(&gateway.client(), &asks(MANY)).await;
    let (mut kills, mut before) = (0, 0);
    while kills < 3 {
        let batch = until(&gateway.client(), &id, |batch| {
            batch["request_counts"]["succeeded"].as_u64().unwrap() > before
        })
        .await;
        before = batch["request_counts"]["succeeded"].as_u64().unwrap();
        assert!(batch["processing_status"] != "ended", "{batch}");
        gateway.process().kill9().unwrap();
        answer_some(&gateway);
        gateway.start_again().await;
        kills += 1;
    }
    answer_all(&gateway);
    let batch = until_ended(&gateway.client(), &id).await;
    assert_eq!(batch["request_counts"]["succeeded"], MANY, "{batch}");
    let results = results(&gateway.client(), &batch).await;
    for at in 0..MANY {
        let message = &results[&format!("a{at}")]["message"];
        assert_eq!(message["content"][0]["text"], format!("You said: ask {at}"), "{message}");
    }
    let rows = booked(&gateway, MANY).await;
    let ids: HashSet<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), MANY);
    let sum = spent(&gateway.admin(), "cost_nanos").await;
    let shown = gateway.get(&format!("/v2/batches/{id}")).await;
    assert_eq!(shown["cost_nanos"], sum, "each is in the cost of the batch once");
    assert_eq!(gateway.get("/v2/usage").await["data"][0]["requests"], MANY, "and in the sums");
    let used = |of: &Value| {
        let tokens = |name: &str| of[name].as_u64().unwrap();
        tokens("input_tokens") + tokens("output_tokens")
    };
    let answered: u64 = results.values().map(|result| used(&result["message"]["usage"])).sum();
    assert_eq!(rows.iter().map(used).sum::<u64>(), answered, "what was answered is in the books");
}

/// Two gateways share a batch. One is killed in the middle, and comes back when the other has done the rest.
#[cfg(feature = "flows")]
#[tokio::test]
async fn a_batch_on_two_gateways_of_which_one_is_killed_books_each_request_once() {
    let items = usize::try_from(number("TIDEGATE_BATCH_ITEMS").unwrap_or(400)).unwrap();
    let within = 4 * WITHIN + Duration::from_millis(20) * u32::try_from(items).unwrap();
    let shared = Shared::of("b").await;
    let mut gateway = pooled_on(&shared.environment()).await;
    let (mut other, origin) = gateway.replica().await;
    let there = Client::new(&origin).bearer(&gateway.founded.api_key).within(WITHIN);
    let began = Instant::now();
    answer_first(&gateway, u32::try_from(items / 3).unwrap());
    let id = create(&gateway.client(), &asks(items)).await;
    let succeeded = async || {
        let answer = there.get(&format!("{PATH}/{id}")).await.unwrap();
        // The database is busy for longer than a request waits for it.
        if answer.status == 503 {
            return (0, false);
        }
        assert_eq!(answer.status, 200, "{:?} {}", began.elapsed(), answer.text());
        let batch = answer.json();
        (batch["request_counts"]["succeeded"].as_u64().unwrap(), batch["processing_status"] == "ended")
    };
    let until_done = async |number: usize| {
        while succeeded().await.0 < number as u64 {
            assert!(began.elapsed() < within, "{:?} of {items}", succeeded().await);
            a_moment().await;
        }
    };
    until_done(items / 3).await;
    gateway.process().kill9().unwrap();
    answer_all(&gateway);
    until_done(items).await;
    let rate = items as f64 / began.elapsed().as_secs_f64();
    println!("{items} requests in {:?}, {rate:.0}/s", began.elapsed());
    until_so("it has ended", async || succeeded().await.1).await;
    gateway.start_again().await;
    let lines = there.get(&format!("{PATH}/{id}/results")).await.unwrap().text();
    let answered: HashSet<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["custom_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((lines.lines().count(), answered.len()), (items, items), "each has one result");
    // Each is in the books once, also when both have written all they have.
    let booked = async || gateway.get("/v2/usage").await["data"][0]["requests"].as_u64().unwrap_or(0);
    until_so("all are booked", async || booked().await >= items as u64).await;
    gateway.stop().await;
    other.stop(WITHIN).await.unwrap();
    gateway.start_again().await;
    assert_eq!(gateway.get("/v2/usage").await["data"][0]["requests"], items);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_revoked_key_fails_what_is_left_with_that_reason() {
    let gateway = pooled().await;
    answer_some(&gateway);
    let (key, key_id) = gateway.key(json!({"name": "nightly"})).await;
    let id = create(&gateway.with_key(&key), &asks(MANY)).await;
    let client = gateway.client();
    until(&client, &id, |batch| batch["request_counts"]["succeeded"].as_u64() > Some(0)).await;
    gateway.admin().delete(&format!("/v2/api-keys/{key_id}")).await.unwrap();
    answer_all(&gateway);
    let batch = until_ended(&client, &id).await;
    let results = results(&client, &batch).await;
    let errors: Vec<&Value> = results.values().filter(|result| result["type"] == "errored").collect();
    assert!(!errors.is_empty() && errors.len() < MANY, "{batch}");
    for error in errors {
        assert_eq!(error["error"]["error"]["type"], "authentication_error", "{error}");
    }
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_spent_budget_fails_what_is_left_and_holds_its_ceiling() {
    let (gateway, client) = pooled().await.and_client();
    let one = client.post("/v1/messages", &params(HAIKU, "ask 0")).await.unwrap();
    let one = gateway.record(&one).await;
    let limit = one["cost_nanos"].as_u64().unwrap() * 40;
    let project = &gateway.founded.project_id;
    let budget =
        json!({"name": "nights", "period": "month", "limit_micros": limit / 1_000, "project_id": project});
    gateway.make("/v2/budgets", budget).await;
    let batch = until_ended(&client, &create(&client, &asks(MANY)).await).await;
    let (succeeded, errored) = (&batch["request_counts"]["succeeded"], &batch["request_counts"]["errored"]);
    assert!(succeeded.as_u64() > Some(0) && errored.as_u64() > Some(0), "{batch}");
    let results = results(&client, &batch).await;
    let refused = results.values().find(|result| result["type"] == "errored").unwrap();
    let message = refused["error"]["error"]["message"].as_str().unwrap();
    assert!(message.contains("The budget \"nights\""), "{refused}");
    let sums = gateway.get("/v2/usage").await["data"][0].clone();
    assert!(sums["cost_micros"].as_u64() <= Some(limit / 1_000), "{sums}");
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_batch_is_its_projects_alone_and_is_purged_with_it() {
    let (gateway, client) = pooled().await.and_client();
    let id = create(&client, &asks(3)).await;
    let batch = until_ended(&client, &id).await;
    let others = second_workspace(&gateway).await;
    let path = format!("{PATH}/{id}");
    for other in [gateway.other_project().await, gateway.with_key(&others.api_key)] {
        for answer in wanted(&other, &path).await {
            answer.must_be(404);
        }
        assert_eq!(other.get(PATH).await.unwrap().json()["data"], json!([]));
    }
    assert_eq!(client.get(PATH).await.unwrap().json()["data"], json!([batch]));
    booked(&gateway, 3).await;
    let whole = json!({"project_id": gateway.founded.project_id});
    let purge = gateway.admin().post("/v2/purge-jobs", &whole).await.unwrap();
    assert!(purge.status < 300, "{}", purge.text());
    until_so("the batch is gone", async || client.get(&path).await.unwrap().status == 404).await;
    assert_eq!(client.get(PATH).await.unwrap().json()["data"], json!([]));
}

/// Whoever asks where a request's content is, is told of the batch that holds it, until that is deleted.
#[cfg(feature = "flows")]
#[tokio::test]
async fn a_batch_is_in_the_data_path_of_its_requests() {
    let (gateway, client) = pooled().await.and_client();
    let id = create(&client, &asks(1)).await;
    until_ended(&client, &id).await;
    let request = id_of(&booked(&gateway, 1).await.remove(0));
    let held = async || {
        let shown = gateway.get(&format!("/v2/requests/{request}")).await;
        let path = shown["data_path"].as_array().unwrap();
        path.iter().find(|party| party["purpose"] == "batches").cloned()
    };
    let party = held().await.expect("no batch in the data path");
    let told = json!([party["role"], party["saw"], party["key"], party["retention"]["basis"]]);
    assert_eq!(told, json!(["storage", "content", "workspace_key", "ours"]), "{party}");
    let deleted = client.delete(&format!("{PATH}/{id}")).await.unwrap();
    assert_eq!((deleted.status, held().await), (200, None), "{}", deleted.text());
}
