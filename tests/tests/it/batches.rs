//! Batches: executed by their provider, with each of their requests booked once, at the batch price.

use std::collections::HashSet;
use std::time::Instant;

use harness::Behaviour;
use harness::client::{Answer, Client};
use http::Method;
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{CHAT, MINI, once, question, refused, scripted};
use crate::forms::FORM;
use crate::gateway::{Gateway, OWN, POOL, id_of, sums};
use crate::wait::a_moment;

const PATH: &str = "/v1/batches";
pub const MANY: usize = 1_500;

/// A line of a file of requests.
pub fn line(id: &str, model: &str, words: &str) -> String {
    let body = json!({"model": model, "messages": [{"role": "user", "content": words}]});
    format!("{}\n", json!({"custom_id": id, "method": "POST", "url": CHAT, "body": body}))
}

pub fn asks(number: usize) -> String {
    (0..number).map(|at| line(&format!("a{at}"), "gpt-4o-mini", &format!("ask {at}"))).collect()
}

/// Uploads a file of requests, after further parts of the form.
pub async fn upload(client: &Client, content: &str, more: &str) -> Answer {
    let body = format!(
        "--xyz\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n{more}--xyz\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"asks.jsonl\"\r\n\r\n{content}\r\n--xyz--\r\n"
    );
    client.call(Method::POST, "/v1/files", &[FORM], body).await.unwrap()
}

pub fn of(file: &str) -> Value {
    json!({"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"})
}

/// Uploads the requests, and asks for a batch of them.
pub async fn tried(client: &Client, content: &str) -> Answer {
    let file = id_of(&upload(client, content, "").await.must_be(200).json());
    client.post(PATH, &of(&file)).await.unwrap()
}

pub async fn made(client: &Client, content: &str) -> String {
    let file = id_of(&upload(client, content, "").await.must_be(200).json());
    let batch = client.post(PATH, &of(&file)).await.unwrap().must_be(200).json();
    assert_eq!(batch["input_file_id"], file);
    id_of(&batch)
}

/// Polls until the batch has ended.
pub async fn ended(client: &Client, id: &str) -> Value {
    let ends = ["completed", "failed", "cancelled"];
    once(client, &format!("{PATH}/{id}"), |batch| ends.contains(&batch["status"].as_str().unwrap())).await
}

/// The lines of one of a batch's files.
pub async fn results(client: &Client, batch: &Value, file: &str) -> Vec<Value> {
    let path = format!("/v1/files/{}/content", batch[file].as_str().unwrap());
    let lines = client.get(&path).await.unwrap().must_be(200).text();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn tokens(lines: &[Value]) -> u64 {
    lines.iter().map(|line| line["response"]["body"]["usage"]["total_tokens"].as_u64().unwrap()).sum()
}

/// Every row of a list.
async fn rows(admin: &Client, path: &str) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let list = admin.get(&format!("{path}?limit=200{cursor}")).await.unwrap().must_be(200).json();
        rows.extend(list["data"].as_array().unwrap().iter().cloned());
        match list["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return rows,
        }
    }
}

/// The records of batch requests, read from a gateway.
pub async fn items(admin: &Client) -> Vec<Value> {
    let mut rows = rows(admin, "/v2/requests").await;
    rows.retain(|row| row["operation"] == "chat" && row["key_id"].is_null());
    rows
}

/// What the requests of batches cost by their records, which have it to the nano-USD.
pub async fn spent(admin: &Client, field: &str) -> i64 {
    let mut rows = rows(admin, "/v2/records").await;
    rows.retain(|row| row["made_for"]["purpose"] == "batch_item");
    rows.iter().map(|row| row[field].as_i64().unwrap()).sum()
}

/// Waits until this many are booked; there must never be more.
pub async fn until_booked(admin: &Client, number: usize) -> Vec<Value> {
    until_rows(number, async || items(admin).await).await
}

/// Waits until there are this many rows; there must never be more.
pub async fn until_rows(number: usize, mut look: impl AsyncFnMut() -> Vec<Value>) -> Vec<Value> {
    let deadline = Instant::now() + 4 * WITHIN;
    loop {
        let rows = look().await;
        assert!(rows.len() <= number, "{} of {number} are booked", rows.len());
        if rows.len() == number {
            return rows;
        }
        assert!(Instant::now() < deadline, "{} of {number} are booked", rows.len());
        a_moment().await;
    }
}

/// By whose keys the provider was asked for or about batches.
pub fn keys_of_batches(gateway: &Gateway) -> HashSet<Option<String>> {
    let calls = gateway.emulator.journal().into_iter().filter(|entry| entry.path.contains("/batches"));
    calls.map(|entry| entry.key).collect()
}

/// From here on the emulator sends files slowly, so that a kill can hit the middle of the download.
pub fn slowly(gateway: &Gateway, interval: u64) {
    gateway.emulator.script(OWN, [Behaviour { interval, times: Some(0), ..Behaviour::ok() }]);
}

/// Kills the process three times while it books `MANY` requests, each time after more of them were booked.
/// Nothing is booked twice and nothing is missing: in the end each is there once. Returns the tokens in the
/// totals.
pub async fn booked_over_kills(gateway: &mut Gateway) -> u64 {
    let (mut kills, mut before) = (0, 0);
    let deadline = Instant::now() + 5 * WITHIN;
    while kills < 3 {
        let rows = items(&gateway.admin()).await.len();
        if rows > before && rows < MANY {
            gateway.crash().await;
            (kills, before) = (kills + 1, rows);
        }
        assert!(Instant::now() < deadline, "{rows} of {MANY}, {kills} kills");
        a_moment().await;
    }
    gateway.emulator.clear_scripts();
    let rows = until_booked(&gateway.admin(), MANY).await;
    let ids: HashSet<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), MANY);
    let sums = sums(&gateway.get("/v2/usage").await);
    sums["input_tokens"].as_u64().unwrap() + sums["output_tokens"].as_u64().unwrap()
}

#[tokio::test]
async fn each_request_is_booked_once_at_the_price_of_batches() {
    let gateway = Gateway::with_own().await;
    let plain = gateway.record(&gateway.chat_ok(&question(MINI)).await).await;
    let failing = scripted("gpt-4o-mini", "status=500");
    let failing = json!({"custom_id": "bad", "method": "POST", "url": CHAT, "body": failing});
    let id = made(&gateway.client(), &format!("{}{failing}\n", asks(3))).await;
    let batch = ended(&gateway.client(), &id).await;
    assert_eq!(batch["request_counts"], json!({"total": 4, "completed": 3, "failed": 1}), "{batch}");
    let rows = until_booked(&gateway.admin(), 4).await;
    // Prices from the receipt of the same request sent on its own.
    let receipt = plain["attempts"][0]["receipt"].as_array().unwrap();
    let rate = |class: &str| {
        let line = receipt.iter().find(|line| line["class"] == class).unwrap();
        line["price_micros_per_million"].as_i64().unwrap()
    };
    let used = |row: &Value| row["input_tokens"].as_u64().unwrap() + row["output_tokens"].as_u64().unwrap();
    let lines = results(&gateway.client(), &batch, "output_file_id").await;
    assert_eq!(rows.iter().map(&used).sum::<u64>(), tokens(&lines));
    for row in &rows {
        let row = gateway.settled(row["id"].as_str().unwrap()).await;
        assert_eq!(row["resolved_model"], MINI);
        assert_eq!(row["provider"], "openai");
        let cost = row["provider_cost_nanos"].as_i64().unwrap();
        match row["status"].as_u64() {
            // Each token costs half of the price of a single request.
            Some(200) => {
                assert_eq!(row["service_tier"], "batch", "{row}");
                let of = |name: &str| row[name].as_i64().unwrap();
                let whole = of("input_tokens") * rate("input") + of("output_tokens") * rate("output");
                assert_eq!(cost * 2 * 1_000, whole, "{row}");
            }
            status => {
                assert_eq!((status, cost, used(&row)), (Some(500), 0, 0), "{row}");
                // The provider gives an error code only to a request that it did not answer at all.
                assert_eq!(row["error_code"], "batch_item_failed", "{row}");
            }
        }
    }
    // Reading the results is up to the client, and books nothing.
    for _ in 0..3 {
        results(&gateway.client(), &batch, "output_file_id").await;
        assert_eq!(ended(&gateway.client(), &id).await["status"], "completed");
    }
    until_booked(&gateway.admin(), 4).await;
    assert_eq!(gateway.emulator.violations(), []);
}

/// Its file is read before it is made: one that a budget can't hold is refused, and another is held from then on until it is booked.
#[tokio::test]
async fn a_batch_of_a_file_is_held_of_a_budget_until_it_is_booked() {
    let gateway = Gateway::with_own().await;
    // Three answers of at most 16,384 tokens each, at half of 0.60 USD for a million, cost 14,745.
    let budget = gateway.budget(14_000).await;
    refused(&tried(&gateway.client(), &asks(3)).await, 429, "quota_exceeded");
    assert!(keys_of_batches(&gateway).is_empty());
    gateway.patch(&budget, json!({"limit_micros": 100_000})).await;
    // The results come as slowly, so that the batch isn't booked as soon as it is held.
    slowly(&gateway, 100);
    made(&gateway.client(), &asks(3)).await;
    let (spent_before, held) = gateway.standing(&budget).await;
    assert!(spent_before == 0 && held >= 14_745, "{held}");
    gateway.emulator.clear_scripts();
    until_booked(&gateway.admin(), 3).await;
    let cost = spent(&gateway.admin(), "provider_cost_nanos").await;
    gateway.until_spent(&budget, cost / 1_000, 14_745).await;
    assert_eq!(gateway.emulator.violations(), []);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_batch_is_its_projects_alone_and_worked_through_on_an_own_credential_alone() {
    let gateway = Gateway::start().await;
    gateway.account("openai", POOL).await;
    let model = "--xyz\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nopenai/gpt-4o-mini\r\n";
    let pooled = upload(&gateway.client(), &asks(1), model).await.must_be(200).json();
    let ours = gateway.client().post(PATH, &of(&id_of(&pooled))).await.unwrap();
    assert_eq!(ours.header("agent-batch-execution"), Some("gateway"), "{}", ours.text());
    gateway.credential("openai", OWN).await;
    let id = made(&gateway.client(), &asks(1)).await;
    let other = gateway.other_project().await;
    let batch = ended(&gateway.client(), &id).await;
    let input = batch["input_file_id"].as_str().unwrap();
    refused(&other.get(&format!("{PATH}/{id}")).await.unwrap(), 404, "batch_not_found");
    refused(&other.post(&format!("{PATH}/{id}/cancel"), &json!({})).await.unwrap(), 404, "batch_not_found");
    let answer = other.post(PATH, &of(input)).await.unwrap();
    refused(&answer, 400, "file_not_found");
    assert_eq!(answer.json()["error"]["param"], "input_file_id");
    let output = batch["output_file_id"].as_str().unwrap();
    refused(&other.get(&format!("/v1/files/{output}/content")).await.unwrap(), 404, "file_not_found");
    assert_eq!(other.get(PATH).await.unwrap().json()["data"], json!([]));
    assert_eq!(gateway.client().get(PATH).await.unwrap().json()["data"][0]["id"], id.as_str());
    until_booked(&gateway.admin(), 1).await;
    assert_eq!(keys_of_batches(&gateway), HashSet::from([Some(OWN.to_owned())]), "looks of our own too");
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_kill_in_the_middle_of_the_booking_books_each_request_once() {
    let (mut gateway, client) = Gateway::with_own().await.and_client();
    let id = made(&client, &asks(MANY)).await;
    slowly(&gateway, 50);
    ended(&client, &id).await;
    let record = booked_over_kills(&mut gateway).await;
    let lines = results(&gateway.client(), &ended(&gateway.client(), &id).await, "output_file_id").await;
    assert_eq!(record, tokens(&lines), "the sums know each once, too");
}
