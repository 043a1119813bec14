//! Gemini batches: their requests are for one model, results come with the status, and each request is booked
//! once, at the batch price.

use std::collections::HashSet;

use harness::client::{Answer, Client};
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{once, posted};
use crate::batches::{MANY, booked_over_kills, keys_of_batches, slowly, until_booked};
use crate::gateway::{Gateway, OWN, POOL, driver};
use crate::sdk::drive_at;
use crate::wait::found_within;

const PATH: &str = "/v1beta/batches";
const FLASH: &str = "google/gemini-2.5-flash";
const BARE: &str = "gemini-2.5-flash";

fn ask(key: &str, words: &str) -> Value {
    json!({"request": {"contents": [{"role": "user", "parts": [{"text": words}]}]}, "metadata": {"key": key}})
}

fn scripted(key: &str, script: &str) -> Value {
    let mut ask = ask(key, "x");
    ask["request"]["labels"] = json!({"emulate": script});
    ask
}

fn of(requests: &[Value]) -> Value {
    json!({"batch": {"displayName": "tides", "inputConfig": {"requests": {"requests": requests}}}})
}

async fn post(client: &Client, model: &str, body: &Value) -> Answer {
    client.post(&format!("/v1beta/models/{model}:batchGenerateContent"), body).await.unwrap()
}

/// Creates a batch; returns its path.
async fn create(client: &Client, requests: &[Value]) -> String {
    let batch = post(client, FLASH, &of(requests)).await.must_be(200).json();
    assert_eq!(batch["metadata"]["state"], "BATCH_STATE_PENDING");
    assert_eq!(&batch["metadata"]["name"], &batch["name"]);
    let name = batch["name"].as_str().unwrap();
    assert!(name.starts_with("batches/genbatch_tg_"), "{name}");
    format!("/v1beta/{name}")
}

async fn ended(client: &Client, path: &str) -> Value {
    once(client, path, |batch| batch["done"] == true).await
}

fn results(batch: &Value) -> &[Value] {
    let list = &batch["response"]["inlinedResponses"]["inlinedResponses"];
    assert_eq!(&batch["metadata"]["output"]["inlinedResponses"]["inlinedResponses"], list, "told twice");
    list.as_array().unwrap()
}

fn used(results: &[Value]) -> u64 {
    let total = |result: &Value| result["response"]["usageMetadata"]["totalTokenCount"].as_u64().unwrap_or(0);
    results.iter().map(total).sum()
}

/// An error in the wire format of these clients.
fn refused(answer: &Answer, code: u16, status: &str, words: &str) {
    let error = answer.json()["error"].clone();
    assert_eq!((answer.status, &error["status"]), (code, &json!(status)), "{error}");
    assert_eq!(error["code"], code, "{error}");
    assert!(error["message"].as_str().unwrap().contains(words), "{error}");
}

async fn gemini(gateway: &Gateway, path: &str, secret: &str) {
    gateway.at(path, "gemini", secret, &gateway.emulator.origin()).await;
}

async fn gateway() -> Gateway {
    let gateway = Gateway::start().await;
    gemini(&gateway, "/v2/provider-credentials", OWN).await;
    gateway
}

#[tokio::test]
async fn the_official_sdk_has_content_batches_and_cached_prompts_at_the_provider_and_through_the_gateway() {
    let gateway = gateway().await;
    for cases in ["content_batches.py", "cached_contents.py"] {
        let (python, script) = driver(cases);
        let direct = drive_at(python.clone(), script.clone(), &gateway.emulator.origin(), OWN, BARE).await;
        let driven = drive_at(python, script, &gateway.origin, &gateway.founded.api_key, FLASH).await;
        assert_eq!((direct.held, driven.held), (6, 6), "{cases}");
        assert_eq!(gateway.emulator.violations(), []);
    }
}

#[tokio::test]
async fn each_request_of_a_content_batch_is_booked_once_at_the_price_of_batches() {
    let (gateway, client) = gateway().await.and_client();
    let plain = ask("", "ask 0")["request"].clone();
    let answer = posted(&client, &format!("/v1beta/models/{FLASH}:generateContent"), &plain).await;
    let plain = gateway.record(&answer).await;
    let mut named = ask("same", "ask 0");
    named["request"]["model"] = json!(format!("models/{FLASH}"));
    let mut keyless = ask("", "ask 0");
    keyless.as_object_mut().unwrap().remove("metadata");
    // Keys need not be unique, and are optional.
    let requests = [named, ask("same", "ask 0"), keyless.clone(), keyless, scripted("bad", "status=503")];
    let path = create(&client, &requests).await;
    let sent =
        gateway.calls(OWN).into_iter().find(|call| call.path.ends_with(":batchGenerateContent")).unwrap();
    assert_eq!(sent.path, format!("/v1beta/models/{BARE}:batchGenerateContent"));
    let bare = of(&requests).to_string().replace(FLASH, BARE);
    assert_eq!(String::from_utf8_lossy(&sent.body), bare, "the rest is as it came");
    let batch = ended(&client, &path).await;
    let stats = json!({"requestCount": "5", "successfulRequestCount": "4", "failedRequestCount": "1"});
    assert_eq!(batch["metadata"]["batchStats"], stats, "{batch}");
    assert_eq!(format!("/v1beta/{}", batch["name"].as_str().unwrap()), path);
    let rows = until_booked(&gateway.admin(), 5).await;
    let mut statuses = Vec::new();
    for row in &rows {
        let row = gateway.settled(row["id"].as_str().unwrap()).await;
        let cost = row["provider_cost_nanos"].as_i64().unwrap();
        let used = row["input_tokens"].as_u64().unwrap() + row["output_tokens"].as_u64().unwrap();
        assert_eq!((&row["provider"], &row["dialect"]), (&json!("gemini"), &json!("gemini")), "{row}");
        assert_eq!(row["resolved_model"], FLASH, "{row}");
        statuses.push(row["status"].as_u64().unwrap());
        if row["status"] == 200 {
            assert_eq!(cost * 2, plain["provider_cost_nanos"].as_i64().unwrap(), "half of its price: {row}");
            assert!(used > 0);
        } else {
            assert_eq!((cost, used, &row["error_code"]), (0, 0, &json!("UNAVAILABLE")), "{row}");
        }
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 503]);
    // Reading the results is up to the client, and books nothing.
    for _ in 0..3 {
        assert_eq!(results(&ended(&client, &path).await).len(), 5);
    }
    until_booked(&gateway.admin(), 5).await;
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_content_batch_that_no_own_credential_takes_is_left_to_the_gateway() {
    let (gateway, client) = Gateway::start().await.and_client();
    gemini(&gateway, "/v2/accounts", POOL).await;
    gateway.credential("openai", OWN).await;
    for model in [FLASH, "openai/gpt-4o-mini"] {
        let answer = post(&client, model, &of(&[ask("a", "x")])).await.must_be(200);
        assert_eq!(answer.header("agent-batch-execution"), Some("gateway"), "{model}");
        let path = format!("/v1beta/{}", answer.json()["name"].as_str().unwrap());
        let batch = ended(&client, &path).await;
        assert!(results(&batch)[0]["response"]["candidates"].is_array(), "{batch}");
        assert_eq!(client.delete(&path).await.unwrap().status, 200);
    }
    let sent = gateway.emulator.journal().into_iter().map(|entry| entry.path);
    assert!(sent.filter(|path| path.contains("atch")).collect::<Vec<_>>().is_empty(), "no batch");
    let file = json!({"batch": {"displayName": "a", "inputConfig": {"fileName": "files/abc"}}});
    refused(&post(&client, FLASH, &file).await, 400, "INVALID_ARGUMENT", "Send the requests inline");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_content_batch_is_its_projects_alone_and_worked_through_on_an_own_credential() {
    let (gateway, client) = Gateway::start().await.and_client();
    gemini(&gateway, "/v2/accounts", POOL).await;
    gemini(&gateway, "/v2/provider-credentials", OWN).await;
    let path = create(&client, &[ask("a", "x")]).await;
    let other = gateway.other_project().await;
    let batch = ended(&client, &path).await;
    for answer in [
        other.get(&path).await.unwrap(),
        other.post(&format!("{path}:cancel"), &json!({})).await.unwrap(),
        other.delete(&path).await.unwrap(),
        // The provider's own id is unknown here.
        client.get(&format!("{PATH}/emulator0000000000000001")).await.unwrap(),
    ] {
        refused(&answer, 404, "NOT_FOUND", "There is no batch");
    }
    // The other batch APIs don't list these.
    let id = path.rsplit('/').next().unwrap();
    client.get(&format!("/v1/batches/{id}")).await.unwrap().must_be(404);
    assert_eq!(client.get("/v1/batches").await.unwrap().json()["data"], json!([]));
    assert_eq!(other.get(PATH).await.unwrap().json(), json!({"operations": []}));
    until_booked(&gateway.admin(), 1).await;
    let list = client.get(PATH).await.unwrap().json();
    // Lists omit the requests and results.
    let mut listed = batch;
    listed["response"] = Value::Null;
    listed["metadata"]["output"] = Value::Null;
    assert_eq!(list, json!({"operations": [listed]}));
    assert_eq!(keys_of_batches(&gateway), HashSet::from([Some(OWN.to_owned())]), "looks of our own too");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_content_batch_that_is_cancelled_and_deleted_is_booked_first() {
    let (gateway, client) = gateway().await.and_client();
    let requests: Vec<Value> = (0..40).map(|at| ask(&format!("a{at}"), "x")).collect();
    let path = create(&client, &requests).await;
    refused(&client.delete(&path).await.unwrap(), 409, "ABORTED", "not in the books yet");
    let answer = client.post(&format!("{path}:cancel"), &json!({})).await.unwrap();
    assert_eq!((answer.status, answer.json()), (200, json!({})));
    let batch = ended(&client, &path).await;
    assert_eq!(batch["metadata"]["state"], "BATCH_STATE_CANCELLED", "{batch}");
    assert_eq!(results(&batch).len(), 20);
    let gone = found_within(WITHIN * 4, "the batch in the books", async || {
        Some(client.delete(&path).await.unwrap()).filter(|answer| answer.status != 409)
    })
    .await;
    assert_eq!((gone.status, gone.json()), (200, json!({})));
    let rows = until_booked(&gateway.admin(), 20).await;
    assert!(rows.iter().all(|row| row["status"] == 200));
    assert_eq!(client.get(&path).await.unwrap().status, 404);
    assert_eq!(client.get(PATH).await.unwrap().json(), json!({"operations": []}));
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_kill_in_the_middle_of_the_booking_books_each_content_once() {
    let (mut gateway, client) = gateway().await.and_client();
    let requests: Vec<Value> = (0..MANY).map(|at| ask(&format!("a{at}"), &format!("ask {at}"))).collect();
    let path = create(&client, &requests).await;
    slowly(&gateway, 50);
    ended(&client, &path).await;
    let record = booked_over_kills(&mut gateway).await;
    let batch = ended(&gateway.client(), &path).await;
    assert_eq!(results(&batch).len(), MANY);
    assert_eq!(record, used(results(&batch)), "the sums know each once, too");
}
