//! Batches of Anthropic's Messages API: their requests go to one credential, and each is booked once, at the
//! batch price.

use std::collections::HashSet;
use std::time::Instant;

use harness::client::{Answer, Client};
use http::Method;
use serde_json::{Value, json};

use crate::WITHIN;
use crate::batches::{MANY, booked_over_kills, slowly, spent, until_booked};
use crate::command::workspace;
use crate::gateway::{Gateway, OWN, OWN_SECOND, id_of};
use crate::sdk::drive_at;
use crate::wait::{a_moment, until};

const PATH: &str = "/v1/messages/batches";
const HAIKU: &str = "anthropic/claude-haiku-4-5";
const SONNET: &str = "anthropic/claude-sonnet-4-6";

fn ask(id: &str, model: &str, words: &str) -> Value {
    json!({"custom_id": id, "params": params(model, words)})
}

fn params(model: &str, words: &str) -> Value {
    json!({"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": words}]})
}

fn scripted(id: &str, model: &str, script: &str) -> Value {
    let mut ask = ask(id, model, "x");
    ask["params"]["metadata"] = json!({"user_id": format!("emu:{script}")});
    ask
}

async fn post(client: &Client, requests: &[Value]) -> Answer {
    client.post(PATH, &json!({"requests": requests})).await.unwrap()
}

async fn create_batch(client: &Client, requests: &[Value]) -> String {
    let answer = post(client, requests).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["id"].as_str().unwrap().to_owned()
}

async fn until_ended(client: &Client, id: &str) -> Value {
    let deadline = Instant::now() + WITHIN;
    loop {
        let batch = client.get(&format!("{PATH}/{id}")).await.unwrap().json();
        if batch["processing_status"] == "ended" {
            return batch;
        }
        assert!(Instant::now() < deadline, "{batch}");
        a_moment().await;
    }
}

async fn results(client: &Client, batch: &Value) -> Vec<Value> {
    let answer = client.get(batch["results_url"].as_str().unwrap()).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn delete(client: &Client, id: &str) -> Answer {
    client.call(Method::DELETE, &format!("{PATH}/{id}"), &[], String::new()).await.unwrap()
}

/// An error in these clients' wire format, which has no field for the place: the message names it.
fn refused(answer: &Answer, status: u16, kind: &str, named: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let body = answer.json();
    assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!(kind)), "{body}");
    assert!(body["error"]["message"].as_str().unwrap().contains(named), "{body}");
}

async fn claude(gateway: &Gateway, path: &str, secret: &str) -> String {
    let body =
        json!({"provider": "anthropic", "secret": secret, "base_url": gateway.emulator.anthropic_url()});
    id_of(&gateway.make(path, body).await)
}

async fn own(gateway: &Gateway, secret: &str) -> String {
    claude(gateway, "/v2/provider-credentials", secret).await
}

async fn gateway() -> Gateway {
    let gateway = Gateway::start().await;
    own(&gateway, OWN).await;
    gateway
}

#[tokio::test]
async fn the_official_sdk_has_message_batches_done_at_the_provider_and_through_the_gateway() {
    let python = workspace().join(".venv/bin/python");
    let script = workspace().join("tests/sdk/message_batches.py");
    let gateway = gateway().await;
    let url = gateway.emulator.anthropic_url();
    let direct = drive_at(python.clone(), script.clone(), &url, OWN, "claude-haiku-4-5").await;
    let driven = drive_at(python, script, &gateway.origin, &gateway.founded.api_key, HAIKU).await;
    assert_eq!((direct.held, driven.held), (7, 7));
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn each_request_of_a_message_batch_is_booked_once_at_the_price_of_batches() {
    let gateway = gateway().await;
    let client = gateway.client();
    let mut plain = Vec::new();
    for model in [HAIKU, SONNET] {
        let answer = client.post("/v1/messages", &params(model, "ask 0")).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let row = gateway.settled(answer.header("x-request-id").unwrap()).await;
        plain.push((model, row["provider_cost_nanos"].as_i64().unwrap()));
    }
    let requests = [
        ask("a", HAIKU, "ask 0"),
        ask("b", "claude-sonnet-4-6", "ask 0"),
        scripted("bad", HAIKU, "status=529"),
        scripted("late", "anthropic:anthropic/claude-sonnet-4-6", "stall=done"),
    ];
    let id = create_batch(&client, &requests).await;
    assert!(id.starts_with("msgbatch_tg_"), "{id}");
    let batch = until_ended(&client, &id).await;
    let counts = json!({"processing": 0, "succeeded": 2, "errored": 1, "canceled": 0, "expired": 1});
    assert_eq!(batch["request_counts"], counts, "{batch}");
    assert_eq!(batch["results_url"], format!("{PATH}/{id}/results"));
    let sent = gateway.calls(OWN).pop().unwrap();
    let sent: Value = serde_json::from_slice(&sent.body).unwrap();
    let models: Vec<&Value> =
        sent["requests"].as_array().unwrap().iter().map(|one| &one["params"]["model"]).collect();
    assert_eq!(models, ["claude-haiku-4-5", "claude-sonnet-4-6", "claude-haiku-4-5", "claude-sonnet-4-6"]);
    let mut paid = Vec::new();
    for row in until_booked(&gateway.admin(), 4).await {
        let row = gateway.settled(row["id"].as_str().unwrap()).await;
        let cost = row["provider_cost_nanos"].as_i64().unwrap();
        let used = row["input_tokens"].as_u64().unwrap() + row["output_tokens"].as_u64().unwrap();
        assert_eq!((&row["provider"], &row["dialect"]), (&json!("anthropic"), &json!("anthropic")), "{row}");
        assert_eq!(row["made_for"]["purpose"], "batch_item", "{row}");
        match row["status"].as_u64() {
            Some(200) => paid.push((row["resolved_model"].as_str().unwrap().to_owned(), cost * 2)),
            Some(status) => assert_eq!((cost, used, [500, 529].contains(&status)), (0, 0, true), "{row}"),
            None => panic!("{row}"),
        }
    }
    paid.sort();
    let plain: Vec<(String, i64)> = plain.into_iter().map(|(model, cost)| (model.to_owned(), cost)).collect();
    assert_eq!(paid, plain, "the same requests, at half of their price");
    let shown = gateway.get(&format!("/v2/batches/{id}")).await;
    let whole: i64 = plain.iter().map(|(_, cost)| cost).sum();
    assert_eq!(
        (&shown["cost_nanos"], &shown["provider_cost_nanos"]),
        (&json!(0), &json!(whole / 2)),
        "{shown}"
    );
    let counts = json!({"total": 4, "waiting": 0, "succeeded": 2, "failed": 1, "cancelled": 0, "expired": 1});
    assert_eq!((&shown["execution"], &shown["requests"]), (&json!("provider"), &counts), "{shown}");
    // Reading the results is up to the client, and books nothing.
    for _ in 0..3 {
        assert_eq!(results(&client, &batch).await.len(), 4);
    }
    until_booked(&gateway.admin(), 4).await;
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_message_batch_is_its_projects_alone_and_goes_to_one_own_credential() {
    let gateway = Gateway::start().await;
    let client = gateway.client();
    let first = own(&gateway, OWN).await;
    let second = own(&gateway, OWN_SECOND).await;
    let answer = post(&client, &[ask("a", HAIKU, "x"), ask("b", "grok-4", "x")]).await;
    refused(&answer, 404, "not_found_error", "requests[1].params.model");
    gateway.route(json!({"scope": {"model": HAIKU}, "credential_ids": [first]})).await;
    gateway.route(json!({"scope": {"model": SONNET}, "credential_ids": [second]})).await;
    let id = create_batch(&client, &[ask("a", SONNET, "x")]).await;
    let batch = until_ended(&client, &id).await;
    let project = gateway.make("/v2/projects", json!({"name": "other"})).await;
    let (key, _) = gateway.key(json!({"name": "other", "project_id": project["id"]})).await;
    let other = gateway.with_key(&key);
    let path = format!("{PATH}/{id}");
    for answer in [
        other.get(&path).await.unwrap(),
        other.get(&format!("{path}/results")).await.unwrap(),
        other.post(&format!("{path}/cancel"), &json!({})).await.unwrap(),
        delete(&other, &id).await,
        // The provider's own id is unknown here.
        client.get(&format!("{PATH}/msgbatch_000000000001emulated")).await.unwrap(),
    ] {
        refused(&answer, 404, "not_found_error", "There is no batch");
    }
    // The other batch API does not list these.
    assert_eq!(client.get(&format!("/v1/batches/{id}")).await.unwrap().status, 404);
    assert_eq!(client.get("/v1/batches").await.unwrap().json()["data"], json!([]));
    let none = json!({"data": [], "has_more": false, "first_id": null, "last_id": null});
    assert_eq!(other.get(PATH).await.unwrap().json(), none);
    let list = client.get(PATH).await.unwrap().json();
    assert_eq!((&list["data"][0], &list["first_id"]), (&batch, &json!(id)));
    until_booked(&gateway.admin(), 1).await;
    let keys: HashSet<_> = gateway
        .emulator
        .journal()
        .into_iter()
        .filter(|entry| entry.path.contains("/batches"))
        .map(|entry| entry.key)
        .collect();
    assert_eq!(keys, HashSet::from([Some(OWN_SECOND.to_owned())]), "looks of our own too");
    assert_eq!(gateway.emulator.violations(), []);
}

/// The client's API version decides which fields a request may have, and an invalid request fails alone.
#[tokio::test]
async fn each_request_of_a_message_batch_is_read_by_the_version_that_its_client_sent() {
    let gateway = gateway().await;
    let client = gateway.client();
    let mut sampled = ask("sampled", HAIKU, "x");
    sampled["params"]["temperature"] = json!(0.5);
    let body = json!({"requests": [sampled, ask("plain", HAIKU, "x")]}).to_string();
    for (version, kind) in [("2023-06-01", "succeeded"), ("2026-10-21", "errored")] {
        let headers = [("content-type", "application/json"), ("anthropic-version", version)];
        let answer = client.call(Method::POST, PATH, &headers, body.clone()).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let sent = gateway.calls(OWN).pop().unwrap();
        assert_eq!(sent.header("anthropic-version"), Some(version));
        let bare = body.replace(HAIKU, "claude-haiku-4-5");
        assert_eq!(String::from_utf8_lossy(&sent.body), bare, "the rest is as it came");
        let batch = until_ended(&client, answer.json()["id"].as_str().unwrap()).await;
        let results = results(&client, &batch).await;
        let of =
            |id: &str| results.iter().find(|one| one["custom_id"] == id).unwrap()["result"]["type"].clone();
        assert_eq!((of("sampled"), of("plain")), (json!(kind), json!("succeeded")), "{version}");
    }
    until_booked(&gateway.admin(), 4).await;
}

#[tokio::test]
async fn a_message_batch_with_a_model_that_the_project_may_not_use_goes_nowhere() {
    let gateway = gateway().await;
    let project = &gateway.founded.project_id;
    let policy =
        gateway.make("/v2/policies", json!({"project_id": project, "allowed_models": [HAIKU]})).await;
    let requests = [ask("a", HAIKU, "x"), ask("b", HAIKU, "x"), ask("c", SONNET, "x")];
    let answer = post(&gateway.client(), &requests).await;
    refused(&answer, 403, "permission_error", "requests[2].params.model: The policy");
    assert!(answer.text().contains(&id_of(&policy)), "{}", answer.text());
    assert_eq!(answer.json()["request_id"], answer.header("request-id").unwrap());
    assert!(gateway.calls(OWN).is_empty());
    create_batch(&gateway.client(), &requests[..2]).await;
}

/// Completed work is booked, and a batch is deleted only after that.
#[tokio::test]
async fn a_message_batch_that_is_canceled_and_deleted_is_booked_first() {
    let gateway = gateway().await;
    let client = gateway.client();
    let requests: Vec<Value> = (0..40).map(|at| ask(&format!("a{at}"), HAIKU, "x")).collect();
    let id = create_batch(&client, &requests).await;
    let answer = delete(&client, &id).await;
    refused(&answer, 409, "conflict_error", "not in the books yet");
    assert_eq!(gateway.recorded_code(&answer).await, "batch_not_booked");
    // Nor is the credential, with which its results are read.
    let credentials = gateway.get("/v2/provider-credentials").await;
    let credential = format!("/v2/provider-credentials/{}", id_of(&credentials["data"][0]));
    let kept = gateway.admin().delete(&credential).await.unwrap();
    let told = kept.json();
    assert_eq!((kept.status, &told["code"]), (409, &json!("usage_not_recorded")), "{told}");
    assert!(told["detail"].as_str().unwrap().contains("The usage of 1 made with the credential"), "{told}");
    let canceling = client.post(&format!("{PATH}/{id}/cancel"), &json!({})).await.unwrap().json();
    assert_eq!((&canceling["id"], &canceling["processing_status"]), (&json!(id), &json!("canceling")));
    let batch = until_ended(&client, &id).await;
    let done = batch["request_counts"]["succeeded"].as_u64().unwrap();
    assert_eq!((done, &batch["request_counts"]["canceled"]), (20, &json!(20)), "{batch}");
    let deadline = Instant::now() + 4 * WITHIN;
    let gone = loop {
        let answer = delete(&client, &id).await;
        if answer.status != 409 {
            break answer;
        }
        assert!(Instant::now() < deadline, "{}", answer.text());
        a_moment().await;
    };
    assert_eq!(gone.json(), json!({"id": id, "type": "message_batch_deleted"}));
    let rows = until_booked(&gateway.admin(), 40).await;
    assert_eq!(rows.iter().filter(|row| row["status"] == 200).count(), 20);
    assert_eq!(client.get(&format!("{PATH}/{id}")).await.unwrap().status, 404);
    assert_eq!(client.get(PATH).await.unwrap().json()["data"], json!([]));
    assert_eq!(gateway.emulator.violations(), []);
}

/// What its requests may cost is held of the budgets from its creation until it is booked, of a cancelled batch, too.
#[tokio::test]
async fn a_message_batch_is_held_of_a_budget_until_it_is_booked() {
    let gateway = gateway().await;
    let client = gateway.client();
    // 192 tokens of output cost 480 micros in a batch, and the bytes of the requests some 200.
    let budget = json!({"workspace": true, "period": "month", "limit_micros": 1_000});
    let budget = format!("/v2/budgets/{}", id_of(&gateway.make("/v2/budgets", budget).await));
    let standing = async || {
        let read = gateway.get(&budget).await;
        (read["spent_micros"].as_i64().unwrap(), read["reserved_micros"].as_i64().unwrap())
    };
    let requests: Vec<Value> = (0..3).map(|at| ask(&format!("a{at}"), HAIKU, "x")).collect();
    let id = create_batch(&client, &requests).await;
    let (spent_before, held) = standing().await;
    assert!(spent_before == 0 && held >= 480, "{held}");
    let refused = post(&client, &requests).await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert_eq!(gateway.recorded_code(&refused).await, "quota_exceeded");
    until_ended(&client, &id).await;
    until_booked(&gateway.admin(), 3).await;
    let cost = spent(&gateway.admin(), "provider_cost_nanos").await;
    assert!(cost > 10_000, "{cost}");
    let released = async || {
        until("it is spent, and nothing is held", async || {
            let (spent, held) = standing().await;
            spent >= cost / 1_000 && held < 480
        })
        .await;
    };
    released().await;
    let id = create_batch(&client, &requests).await;
    assert!(standing().await.1 >= 480);
    client.post(&format!("{PATH}/{id}/cancel"), &json!({})).await.unwrap();
    until_ended(&client, &id).await;
    released().await;
    let listed = gateway.get("/v2/provider-credentials").await;
    let credential = format!("/v2/provider-credentials/{}", listed["data"][0]["id"].as_str().unwrap());
    // A second model of a batch costs as its credential states, too: by its list price, this one would fit.
    let stated = json!({SONNET: {"input": 3_000_000, "output": 100_000_000}});
    gateway.patch(&credential, json!({"pricing": stated})).await;
    gateway.patch(&budget, json!({"limit_micros": 2_000})).await;
    let refused = post(&client, &[ask("a", HAIKU, "x"), ask("b", SONNET, "x")]).await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    // Nobody will learn what one costs whose credential is gone.
    create_batch(&client, &requests).await;
    assert!(standing().await.1 >= 480);
    gateway.patch(&credential, json!({"status": "revoked"})).await;
    gateway.remove(&credential).await;
    released().await;
}

#[tokio::test]
async fn a_kill_in_the_middle_of_the_booking_books_each_message_once() {
    let mut gateway = gateway().await;
    let client = gateway.client();
    let requests: Vec<Value> =
        (0..MANY).map(|at| ask(&format!("a{at}"), HAIKU, &format!("ask {at}"))).collect();
    let id = create_batch(&client, &requests).await;
    slowly(&gateway, 50);
    until_ended(&client, &id).await;
    let record = booked_over_kills(&mut gateway).await;
    let sum = spent(&gateway.admin(), "provider_cost_nanos").await;
    let shown = gateway.get(&format!("/v2/batches/{id}")).await;
    assert_eq!(shown["provider_cost_nanos"], sum, "the cost of the batch knows each once, too");
    let batch = until_ended(&gateway.client(), &id).await;
    let lines = results(&gateway.client(), &batch).await;
    let used = |line: &Value, name: &str| line["result"]["message"]["usage"][name].as_u64().unwrap();
    let total: u64 = lines.iter().map(|line| used(line, "input_tokens") + used(line, "output_tokens")).sum();
    assert_eq!(record, total, "the sums know each once, too");
}
