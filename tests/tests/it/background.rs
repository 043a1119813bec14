//! Background responses: their usage is booked once, whoever saw the end, and also if no client did.

use harness::client::{Answer, Client};
use serde_json::{Value, json};

use crate::ask::{MINI, posted, problem, refused, trace_of_stream, with};
use crate::gateway::{Gateway, OWN, id_of};
use crate::stored::{agree, ours};
use crate::wait::{found, until};

const PATH: &str = "/v1/responses";

fn ask() -> Value {
    json!({"model": MINI, "input": "hello there", "background": true})
}

/// Starts a background response.
async fn start_response(client: &Client) -> String {
    let answer = posted(client, PATH, &ask()).await.json();
    assert_eq!(answer["status"], "queued");
    id_of(&answer)
}

async fn retrieve(client: &Client, id: &str) -> Answer {
    client.get(&format!("{PATH}/{id}")).await.unwrap().must_be(200)
}

/// How often the provider was polled for responses.
fn polls(gateway: &Gateway) -> usize {
    let journal = gateway.emulator.journal().into_iter();
    journal.filter(|entry| entry.method == "GET" && entry.path.starts_with("/v1/responses/")).count()
}

/// The records of the gateway's own polls, once there are this many.
async fn record(gateway: &Gateway, number: usize) -> Vec<Value> {
    let booked = async || Some(ours(gateway).await).filter(|rows| rows.len() >= number);
    let rows = found("the gateway books them", booked).await;
    assert_eq!(rows.len(), number, "{rows:?}");
    rows
}

/// Jobs that wait or run.
async fn open_jobs(gateway: &Gateway) -> u64 {
    let jobs = gateway.get("/v2/jobs").await;
    ["waiting", "ready", "running"].iter().map(|state| jobs[state].as_u64().unwrap()).sum()
}

async fn jobs_end(gateway: &Gateway, before: u64) {
    until("the looks end", async || open_jobs(gateway).await == before).await;
}

#[tokio::test]
async fn what_nobody_looks_at_is_booked() {
    let gateway = Gateway::with_own().await;
    let before = open_jobs(&gateway).await;
    let client = gateway.client();
    let id = start_response(&client).await;
    assert_eq!(open_jobs(&gateway).await, before + 1);
    let row = gateway.settled(record(&gateway, 1).await[0]["id"].as_str().unwrap()).await;
    assert_eq!(row["operation"], "stored", "{row}");
    assert_eq!(row["resolved_model"], MINI, "{row}");
    assert_eq!(row["provider"], "openai", "{row}");
    assert_eq!(row["outcome"], "completed", "{row}");
    assert_eq!(row["plan"]["resolution"], "background", "{row}");
    assert_eq!(row["unpriced"], false, "{row}");
    assert!(row["provider_cost_nanos"].as_i64().unwrap() > 0, "{row}");
    agree(&gateway, 1).await;
    jobs_end(&gateway, before).await;
    // A later poll by the client has no usage any more.
    let seen = gateway.record(&retrieve(&client, &id).await).await;
    assert_eq!((&seen["input_tokens"], &seen["output_tokens"]), (&json!(0), &json!(0)), "{seen}");
    agree(&gateway, 2).await;
    record(&gateway, 1).await;
    assert_eq!(gateway.emulator.violations(), []);
}

/// What it may cost is held of the budgets until it is booked, and then they count it, whoever books it.
#[tokio::test]
async fn a_background_response_is_held_of_a_budget_until_it_is_booked() {
    let gateway = Gateway::with_own().await;
    let before = open_jobs(&gateway).await;
    let budget = gateway.budget(1_000).await;
    // A thousand tokens of output cost 600 micros.
    let request = with(ask(), json!({"max_output_tokens": 1_000}));
    let client = gateway.client();
    posted(&client, PATH, &request).await;
    let (spent, held) = gateway.standing(&budget).await;
    assert!(spent == 0 && held >= 600, "{spent} {held}");
    refused(&client.post(PATH, &request).await.unwrap(), 429, "quota_exceeded");
    jobs_end(&gateway, before).await;
    let row = record(&gateway, 1).await[0]["id"].as_str().unwrap().to_owned();
    let cost = gateway.settled(&row).await["provider_cost_nanos"].as_i64().unwrap();
    assert!(cost > 1_000, "{cost}");
    gateway.until_spent(&budget, cost / 1_000, 600).await;
    let snapshot = gateway.get("/v2/billing/snapshot").await;
    assert_eq!(snapshot["unmetered_event_count"], 0, "another record has it: {snapshot}");
    // So does a stream whose client leaves.
    let mut stream = client.stream(PATH, &with(request, json!({"stream": true}))).await.unwrap();
    stream.event().await.unwrap().unwrap();
    let trace = trace_of_stream(&stream);
    drop(stream);
    gateway.settled(&trace).await;
    let (_, held) = gateway.standing(&budget).await;
    assert!(held >= 600, "{held}");
    jobs_end(&gateway, before).await;
    gateway.until_spent(&budget, 2 * cost / 1_000, 600).await;
}

/// The gateway's own poll books the same price as a client's.
#[cfg(feature = "broker")]
#[tokio::test]
async fn whoever_looks_first_books_and_nobody_else_does() {
    let gateway = Gateway::with_own().await;
    let before = open_jobs(&gateway).await;
    let client = gateway.client();
    let seen = start_response(&client).await;
    assert_eq!(retrieve(&client, &seen).await.json()["status"], "in_progress");
    let end = retrieve(&client, &seen).await;
    assert_eq!(end.json()["status"], "completed");
    let theirs = gateway.record(&end).await;
    assert!(theirs["output_tokens"].as_u64().unwrap() > 0, "{theirs}");
    // For another response the gateway sees the end first, while several clients poll it.
    let raced = start_response(&client).await;
    assert_eq!(retrieve(&client, &raced).await.json()["status"], "in_progress");
    let so_far = polls(&gateway);
    until("the gateway looks", async || polls(&gateway) > so_far).await;
    let tasks = (0..6).map(|_| {
        let (client, raced) = (gateway.client(), raced.clone());
        tokio::spawn(async move { retrieve(&client, &raced).await })
    });
    for answer in tasks.collect::<Vec<_>>() {
        assert_eq!(answer.await.unwrap().json()["status"], "completed");
    }
    jobs_end(&gateway, before).await;
    agree(&gateway, 11).await;
    let rows = gateway.requests(100).await.into_iter();
    let holders: Vec<Value> = rows.filter(|row| row["output_tokens"].as_u64() > Some(0)).collect();
    assert_eq!(holders.len(), 2, "{holders:?}");
    let raced = holders.iter().find(|row| row["id"] != theirs["id"]).unwrap();
    let other = gateway.settled(raced["id"].as_str().unwrap()).await;
    assert_eq!(other["provider_cost_nanos"], theirs["provider_cost_nanos"], "{other}");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_gateway_that_was_stopped_or_killed_looks_when_it_is_back() {
    let mut gateway = Gateway::with_own().await;
    let before = open_jobs(&gateway).await;
    start_response(&gateway.client()).await;
    gateway.stop().await;
    gateway.start_again().await;
    start_response(&gateway.client()).await;
    gateway.crash().await;
    let so_far = polls(&gateway);
    until("the gateway looks", async || polls(&gateway) > so_far).await;
    gateway.crash().await;
    record(&gateway, 2).await;
    jobs_end(&gateway, before).await;
    record(&gateway, 2).await;
    agree(&gateway, 2).await;
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn what_its_client_deletes_or_cancels_is_looked_at_no_more_and_a_stream_that_is_left_is_booked() {
    let gateway = Gateway::with_own().await;
    let before = open_jobs(&gateway).await;
    let client = gateway.client();
    let (deleted, cancelled) = (start_response(&client).await, start_response(&client).await);
    client.delete(&format!("{PATH}/{deleted}")).await.unwrap().must_be(200);
    let answer = client.post(&format!("{PATH}/{cancelled}/cancel"), &json!({})).await.unwrap();
    assert_eq!(answer.json()["status"], "cancelled", "{}", answer.text());
    jobs_end(&gateway, before).await;
    // The cancelled response was polled once, to find out that it reports no usage.
    assert_eq!(polls(&gateway), 1);
    record(&gateway, 0).await;
    agree(&gateway, 4).await;
    assert_eq!(gateway.get("/v2/jobs").await["dead"], 0);
    // A stream that is left in the background is booked.
    let mut stream = gateway.client().stream(PATH, &with(ask(), json!({"stream": true}))).await.unwrap();
    stream.event().await.unwrap().unwrap();
    drop(stream);
    jobs_end(&gateway, before).await;
    agree(&gateway, 5).await;
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn what_its_provider_forgot_or_its_credential_may_not_see_is_given_up() {
    let gateway = Gateway::start().await;
    let credential = gateway.credential("openai", OWN).await;
    let before = open_jobs(&gateway).await;
    start_response(&gateway.client()).await;
    gateway.emulator.reset();
    jobs_end(&gateway, before).await;
    // A provider's servers may learn of a response at different times: a missing one is polled twice.
    assert_eq!(polls(&gateway), 2);
    start_response(&gateway.client()).await;
    let credential = format!("/v2/provider-credentials/{credential}");
    problem(&gateway.admin().delete(&credential).await.unwrap(), 409, "usage_not_recorded");
    // One that may have leaked goes at once.
    gateway.patch(&credential, json!({"status": "revoked"})).await;
    gateway.remove(&credential).await;
    jobs_end(&gateway, before).await;
    assert_eq!(polls(&gateway), 2, "nobody is asked by a credential that is no more");
    let jobs = gateway.get("/v2/jobs").await;
    assert_eq!(jobs["dead"], 1, "{jobs}");
    assert_eq!(jobs["dead_jobs"][0]["kind"], "responses.poll", "{jobs}");
    record(&gateway, 0).await;
}
