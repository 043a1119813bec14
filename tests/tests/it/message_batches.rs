//! Batches of Anthropic's Messages API: their requests go to one credential, and each is booked once, at the
//! batch price.

use std::collections::HashSet;

use harness::client::{Answer, Client};
use http::Method;
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::problem;
use crate::batches::{MANY, booked_over_kills, keys_of_batches, slowly, spent, until_booked};
use crate::gateway::{Gateway, OWN, OWN_SECOND, driver, id_of};
use crate::own_batches::{HAIKU, PATH, SONNET, ask, asks, params, post, results, until_ended, wanted};
use crate::sdk::drive_at;
use crate::wait::found_within;

fn scripted(id: &str, model: &str, script: &str) -> Value {
    let mut ask = ask(id, model, "x");
    ask["params"]["metadata"] = json!({"user_id": format!("emu:{script}")});
    ask
}

async fn create_batch(client: &Client, requests: &[Value]) -> String {
    id_of(&post(client, requests).await.must_be(200).json())
}

/// An error in these clients' wire format, which has no field for the place: the message names it.
fn refused(answer: &Answer, status: u16, kind: &str, named: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let body = answer.json();
    assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!(kind)), "{body}");
    assert!(body["error"]["message"].as_str().unwrap().contains(named), "{body}");
}

async fn own(gateway: &Gateway, secret: &str) -> String {
    gateway.at("/v2/provider-credentials", "anthropic", secret, &gateway.emulator.anthropic_url()).await
}

async fn delete(client: &Client, id: &str) -> Answer {
    client.delete(&format!("{PATH}/{id}")).await.unwrap()
}

async fn gateway() -> Gateway {
    let gateway = Gateway::start().await;
    own(&gateway, OWN).await;
    gateway
}

#[tokio::test]
async fn the_official_sdk_has_message_batches_done_at_the_provider_and_through_the_gateway() {
    let (python, script) = driver("message_batches.py");
    let gateway = gateway().await;
    let url = gateway.emulator.anthropic_url();
    let direct = drive_at(python.clone(), script.clone(), &url, OWN, "claude-haiku-4-5").await;
    let driven = drive_at(python, script, &gateway.origin, &gateway.founded.api_key, HAIKU).await;
    assert_eq!((direct.held, driven.held), (7, 7));
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn each_request_of_a_message_batch_is_booked_once_at_the_price_of_batches() {
    let (gateway, client) = gateway().await.and_client();
    let mut plain = Vec::new();
    for model in [HAIKU, SONNET] {
        let answer = client.post("/v1/messages", &params(model, "ask 0")).await.unwrap().must_be(200);
        let row = gateway.record(&answer).await;
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
    assert_eq!(shown["cost_nanos"], 0, "{shown}");
    assert_eq!(shown["provider_cost_nanos"], json!(whole / 2), "{shown}");
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
    let (gateway, client) = Gateway::start().await.and_client();
    let first = own(&gateway, OWN).await;
    let second = own(&gateway, OWN_SECOND).await;
    let answer = post(&client, &[ask("a", HAIKU, "x"), ask("b", "grok-4", "x")]).await;
    refused(&answer, 404, "not_found_error", "requests[1].params.model");
    gateway.route(json!({"scope": {"model": HAIKU}, "credential_ids": [first]})).await;
    gateway.route(json!({"scope": {"model": SONNET}, "credential_ids": [second]})).await;
    let id = create_batch(&client, &[ask("a", SONNET, "x")]).await;
    let batch = until_ended(&client, &id).await;
    let other = gateway.other_project().await;
    let path = format!("{PATH}/{id}");
    // The provider's own id is unknown here.
    let theirs = client.get(&format!("{PATH}/msgbatch_000000000001emulated")).await.unwrap();
    for answer in wanted(&other, &path).await.into_iter().chain([theirs]) {
        refused(&answer, 404, "not_found_error", "There is no batch");
    }
    // The other batch API does not list these.
    client.get(&format!("/v1/batches/{id}")).await.unwrap().must_be(404);
    assert_eq!(client.get("/v1/batches").await.unwrap().json()["data"], json!([]));
    let none = json!({"data": [], "has_more": false, "first_id": null, "last_id": null});
    assert_eq!(other.get(PATH).await.unwrap().json(), none);
    let list = client.get(PATH).await.unwrap().json();
    assert_eq!((&list["data"][0], &list["first_id"]), (&batch, &json!(id)));
    until_booked(&gateway.admin(), 1).await;
    let second = HashSet::from([Some(OWN_SECOND.to_owned())]);
    assert_eq!(keys_of_batches(&gateway), second, "looks of our own too");
    assert_eq!(gateway.emulator.violations(), []);
}

/// The client's API version decides which fields a request may have, and an invalid request fails alone.
#[tokio::test]
async fn each_request_of_a_message_batch_is_read_by_the_version_that_its_client_sent() {
    let (gateway, client) = gateway().await.and_client();
    let mut sampled = ask("sampled", HAIKU, "x");
    sampled["params"]["temperature"] = json!(0.5);
    let body = json!({"requests": [sampled, ask("plain", HAIKU, "x")]}).to_string();
    for (version, kind) in [("2023-06-01", "succeeded"), ("2026-10-21", "errored")] {
        let headers = [("content-type", "application/json"), ("anthropic-version", version)];
        let answer = client.call(Method::POST, PATH, &headers, body.clone()).await.unwrap().must_be(200);
        let sent = gateway.calls(OWN).pop().unwrap();
        assert_eq!(sent.header("anthropic-version"), Some(version));
        let bare = body.replace(HAIKU, "claude-haiku-4-5");
        assert_eq!(String::from_utf8_lossy(&sent.body), bare, "the rest is as it came");
        let batch = until_ended(&client, answer.json()["id"].as_str().unwrap()).await;
        let results = results(&client, &batch).await;
        let of = |id: &str| results[id]["type"].clone();
        assert_eq!((of("sampled"), of("plain")), (json!(kind), json!("succeeded")), "{version}");
    }
    until_booked(&gateway.admin(), 4).await;
}

#[tokio::test]
async fn a_message_batch_with_a_model_that_the_project_may_not_use_goes_nowhere() {
    let gateway = gateway().await;
    let policy = gateway.policy(json!({"allowed_models": [HAIKU]})).await;
    let requests = [ask("a", HAIKU, "x"), ask("b", HAIKU, "x"), ask("c", SONNET, "x")];
    let answer = post(&gateway.client(), &requests).await;
    refused(&answer, 403, "permission_error", "requests[2].params.model: The policy");
    assert!(answer.text().contains(policy.rsplit('/').next().unwrap()), "{}", answer.text());
    assert_eq!(answer.json()["request_id"], answer.header("request-id").unwrap());
    assert!(gateway.calls(OWN).is_empty());
    create_batch(&gateway.client(), &requests[..2]).await;
}

#[tokio::test]
async fn a_message_batch_that_is_canceled_and_deleted_is_booked_first() {
    let (gateway, client) = gateway().await.and_client();
    let requests: Vec<Value> = (0..40).map(|at| ask(&format!("a{at}"), HAIKU, "x")).collect();
    let id = create_batch(&client, &requests).await;
    let answer = delete(&client, &id).await;
    refused(&answer, 409, "conflict_error", "not in the books yet");
    assert_eq!(gateway.recorded_code(&answer).await, "batch_not_booked");
    // Nor is the credential, with which its results are read.
    let credentials = gateway.get("/v2/provider-credentials").await;
    let credential = format!("/v2/provider-credentials/{}", id_of(&credentials["data"][0]));
    let kept = gateway.admin().delete(&credential).await.unwrap();
    let told = problem(&kept, 409, "usage_not_recorded");
    assert!(told["detail"].as_str().unwrap().contains("The usage of 1 made with the credential"), "{told}");
    let canceling = client.post(&format!("{PATH}/{id}/cancel"), &json!({})).await.unwrap().json();
    assert_eq!((&canceling["id"], &canceling["processing_status"]), (&json!(id), &json!("canceling")));
    let batch = until_ended(&client, &id).await;
    let done = batch["request_counts"]["succeeded"].as_u64().unwrap();
    assert_eq!((done, &batch["request_counts"]["canceled"]), (20, &json!(20)), "{batch}");
    let gone = found_within(WITHIN * 4, "the batch in the books", async || {
        Some(delete(&client, &id).await).filter(|answer| answer.status != 409)
    })
    .await;
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
    let (gateway, client) = gateway().await.and_client();
    // 192 tokens of output cost 480 micros in a batch, and the bytes of the requests some 200.
    let budget = gateway.budget(1_000).await;
    let requests: Vec<Value> = (0..3).map(|at| ask(&format!("a{at}"), HAIKU, "x")).collect();
    let id = create_batch(&client, &requests).await;
    let (spent_before, held) = gateway.standing(&budget).await;
    assert!(spent_before == 0 && held >= 480, "{held}");
    assert_eq!(gateway.recorded_code(&post(&client, &requests).await.must_be(429)).await, "quota_exceeded");
    until_ended(&client, &id).await;
    until_booked(&gateway.admin(), 3).await;
    let cost = spent(&gateway.admin(), "provider_cost_nanos").await;
    assert!(cost > 10_000, "{cost}");
    let released = async || gateway.until_spent(&budget, cost / 1_000, 480).await;
    released().await;
    let id = create_batch(&client, &requests).await;
    assert!(gateway.standing(&budget).await.1 >= 480);
    client.post(&format!("{PATH}/{id}/cancel"), &json!({})).await.unwrap();
    until_ended(&client, &id).await;
    released().await;
    let listed = gateway.get("/v2/provider-credentials").await;
    let credential = format!("/v2/provider-credentials/{}", listed["data"][0]["id"].as_str().unwrap());
    // A second model of a batch costs as its credential states, too: by its list price, this one would fit.
    let stated = json!({SONNET: {"input": 3_000_000, "output": 100_000_000}});
    gateway.patch(&credential, json!({"pricing": stated})).await;
    gateway.patch(&budget, json!({"limit_micros": 2_000})).await;
    post(&client, &[ask("a", HAIKU, "x"), ask("b", SONNET, "x")]).await.must_be(429);
    // Nobody will learn what one costs whose credential is gone.
    create_batch(&client, &requests).await;
    assert!(gateway.standing(&budget).await.1 >= 480);
    gateway.patch(&credential, json!({"status": "revoked"})).await;
    gateway.remove(&credential).await;
    released().await;
}

#[tokio::test]
async fn a_kill_in_the_middle_of_the_booking_books_each_message_once() {
    let (mut gateway, client) = gateway().await.and_client();
    let id = create_batch(&client, &asks(MANY)).await;
    slowly(&gateway, 50);
    until_ended(&client, &id).await;
    let record = booked_over_kills(&mut gateway).await;
    let sum = spent(&gateway.admin(), "provider_cost_nanos").await;
    let shown = gateway.get(&format!("/v2/batches/{id}")).await;
    assert_eq!(shown["provider_cost_nanos"], sum, "the cost of the batch knows each once, too");
    let lines = results(&gateway.client(), &until_ended(&gateway.client(), &id).await).await;
    let used = |result: &Value, name: &str| result["message"]["usage"][name].as_u64().unwrap();
    let used = |result: &Value| used(result, "input_tokens") + used(result, "output_tokens");
    assert_eq!(record, lines.values().map(used).sum::<u64>(), "the sums know each once, too");
}
