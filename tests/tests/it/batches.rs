//! Batches: executed by their provider, with each of their requests booked once, at the batch price.

use std::collections::HashSet;
use std::time::Instant;

use harness::Behaviour;
use harness::client::{Answer, Client};
use http::Method;
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::refused;
use crate::command::workspace;
use crate::gateway::{Gateway, OWN, POOL, id_of, sums};
use crate::sdk::{drive, drive_at};
use crate::wait::{a_moment, until};

const PATH: &str = "/v1/batches";
pub const MANY: usize = 1_500;

pub fn asks(number: usize) -> String {
    (0..number)
        .map(|at| {
            let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": format!("ask {at}")}]});
            let ask = json!({"custom_id": format!("a{at}"), "method": "POST", "url": "/v1/chat/completions", "body": body});
            format!("{ask}\n")
        })
        .collect()
}

async fn upload(client: &Client, content: &str, more: &str) -> String {
    let body = format!(
        "--xyz\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n{more}--xyz\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"asks.jsonl\"\r\n\r\n{content}\r\n--xyz--\r\n"
    );
    let form = [("content-type", "multipart/form-data; boundary=xyz")];
    let answer = client.call(Method::POST, "/v1/files", &form, body).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["id"].as_str().unwrap().to_owned()
}

fn of(file: &str) -> Value {
    json!({"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"})
}

/// Uploads the requests, and asks for a batch of them.
pub async fn tried(client: &Client, content: &str) -> Answer {
    let file = upload(client, content, "").await;
    client.post(PATH, &of(&file)).await.unwrap()
}

pub async fn made(client: &Client, content: &str) -> String {
    let file = upload(client, content, "").await;
    let answer = client.post(PATH, &of(&file)).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["input_file_id"], file.as_str());
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// Polls until the batch has ended.
pub async fn ended(client: &Client, id: &str) -> Value {
    let deadline = Instant::now() + WITHIN;
    loop {
        let batch = client.get(&format!("{PATH}/{id}")).await.unwrap().json();
        if ["completed", "failed", "cancelled"].contains(&batch["status"].as_str().unwrap()) {
            return batch;
        }
        assert!(Instant::now() < deadline, "{batch}");
        a_moment().await;
    }
}

/// The lines of one of a batch's files.
async fn results(client: &Client, batch: &Value, file: &str) -> Vec<Value> {
    let id = batch[file].as_str().unwrap();
    let answer = client.get(&format!("/v1/files/{id}/content")).await.unwrap();
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The records of batch requests, read from a gateway.
pub async fn items(admin: &Client) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let answer = admin.get(&format!("/v2/requests?limit=200{cursor}")).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let list = answer.json();
        let page = list["data"].as_array().unwrap().iter().cloned();
        rows.extend(page.filter(|row| row["operation"] == "chat" && row["key_id"].is_null()));
        match list["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return rows,
        }
    }
}

/// What the requests of batches cost by their records, which have it to the nano-USD.
pub async fn spent(admin: &Client, field: &str) -> i64 {
    let (mut sum, mut cursor) = (0, String::new());
    loop {
        let list = admin.get(&format!("/v2/records?limit=200{cursor}")).await.unwrap().json();
        let of_batches =
            list["data"].as_array().unwrap().iter().filter(|row| row["made_for"]["purpose"] == "batch_item");
        sum += of_batches.map(|row| row[field].as_i64().unwrap()).sum::<i64>();
        match list["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return sum,
        }
    }
}

/// Waits until this many are booked; there must never be more.
pub async fn until_booked(admin: &Client, number: usize) -> Vec<Value> {
    let deadline = Instant::now() + 4 * WITHIN;
    loop {
        let rows = items(admin).await;
        assert!(rows.len() <= number, "{} of {number} are booked", rows.len());
        if rows.len() == number {
            return rows;
        }
        assert!(Instant::now() < deadline, "{} of {number} are booked", rows.len());
        a_moment().await;
    }
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

async fn gateway() -> Gateway {
    let gateway = Gateway::start().await;
    gateway.credential("openai", OWN).await;
    gateway
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn the_official_sdk_has_batches_done_at_the_provider_and_through_the_gateway() {
    let python = workspace().join(".venv/bin/python");
    let script = workspace().join("tests/sdk/batches.py");
    let gateway = gateway().await;
    let direct = drive_at(python.clone(), script.clone(), &gateway.emulator.base_url(), OWN, OWN).await;
    let driven = drive(python, script, &gateway).await;
    assert_eq!((direct.held, driven.held), (4, 4));
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn each_request_is_booked_once_at_the_price_of_batches() {
    let gateway = gateway().await;
    let plain = gateway
        .chat_ok(&json!({"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "ask 0"}]}))
        .await;
    let plain = gateway.settled(plain.header("x-request-id").unwrap()).await;
    let failing = json!({"custom_id": "bad", "method": "POST", "url": "/v1/chat/completions",
        "body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x"}], "user": "emu:status=500"}});
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
    let total: u64 =
        lines.iter().map(|line| line["response"]["body"]["usage"]["total_tokens"].as_u64().unwrap()).sum();
    assert_eq!(rows.iter().map(&used).sum::<u64>(), total);
    for row in &rows {
        let row = gateway.settled(row["id"].as_str().unwrap()).await;
        assert_eq!(
            (row["resolved_model"].as_str(), row["provider"].as_str()),
            (Some("openai/gpt-4o-mini"), Some("openai"))
        );
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
    let gateway = gateway().await;
    // Three answers of at most 16,384 tokens each, at half of 0.60 USD for a million, cost 14,745.
    let budget = json!({"workspace": true, "period": "month", "limit_micros": 14_000});
    let budget = format!("/v2/budgets/{}", id_of(&gateway.make("/v2/budgets", budget).await));
    let standing = async || {
        let read = gateway.get(&budget).await;
        (read["spent_micros"].as_i64().unwrap(), read["reserved_micros"].as_i64().unwrap())
    };
    refused(&tried(&gateway.client(), &asks(3)).await, 429, "quota_exceeded");
    assert!(gateway.emulator.journal().iter().all(|entry| !entry.path.contains("/batches")));
    gateway.patch(&budget, json!({"limit_micros": 100_000})).await;
    // The results come as slowly, so that the batch isn't booked as soon as it is held.
    slowly(&gateway, 100);
    made(&gateway.client(), &asks(3)).await;
    let (spent_before, held) = standing().await;
    assert!(spent_before == 0 && held >= 14_745, "{held}");
    gateway.emulator.clear_scripts();
    until_booked(&gateway.admin(), 3).await;
    let cost = spent(&gateway.admin(), "provider_cost_nanos").await;
    until("it is spent, and nothing is held", async || {
        let (spent, held) = standing().await;
        spent >= cost / 1_000 && held < 14_745
    })
    .await;
    assert_eq!(gateway.emulator.violations(), []);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_batch_is_its_projects_alone_and_worked_through_on_an_own_credential_alone() {
    let gateway = Gateway::start().await;
    gateway.account("openai", POOL).await;
    let model = "--xyz\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nopenai/gpt-4o-mini\r\n";
    let pooled = upload(&gateway.client(), &asks(1), model).await;
    let ours = gateway.client().post(PATH, &of(&pooled)).await.unwrap();
    assert_eq!(ours.header("agent-batch-execution"), Some("gateway"), "{}", ours.text());
    gateway.credential("openai", OWN).await;
    let id = made(&gateway.client(), &asks(1)).await;
    let project = gateway.make("/v2/projects", json!({"name": "other"})).await;
    let (key, _) = gateway.key(json!({"name": "other", "project_id": project["id"]})).await;
    let other = gateway.with_key(&key);
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
    let keys: HashSet<_> = gateway
        .emulator
        .journal()
        .into_iter()
        .filter(|entry| entry.path.contains("/batches"))
        .map(|entry| entry.key)
        .collect();
    assert_eq!(keys, HashSet::from([Some(OWN.to_owned())]), "looks of our own too");
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_kill_in_the_middle_of_the_booking_books_each_request_once() {
    let mut gateway = gateway().await;
    let client = gateway.client();
    let id = made(&client, &asks(MANY)).await;
    slowly(&gateway, 50);
    ended(&client, &id).await;
    let record = booked_over_kills(&mut gateway).await;
    let batch = ended(&gateway.client(), &id).await;
    let lines = results(&gateway.client(), &batch, "output_file_id").await;
    let total: u64 =
        lines.iter().map(|line| line["response"]["body"]["usage"]["total_tokens"].as_u64().unwrap()).sum();
    assert_eq!(record, total, "the sums know each once, too");
}
