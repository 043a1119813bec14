//! Batches in a customer's own storage: an unmodified boto3 creates jobs through the gateway, and each of
//! their requests is booked once, at the batch price.

use std::collections::HashSet;

use harness::bedrock::{BATCH_ROLE, REGION, REQUESTS_MIN, access_keys};
use harness::client::{Answer, Client};
use serde_json::{Value, json};

use crate::ask::{once, problem, with};
use crate::batches::{MANY, booked_over_kills, items, slowly, spent, until_booked};
use crate::gateway::{Gateway, OWN, OWN_SECOND, POOL, driver, id_of};
use crate::sdk::drive_at;
use crate::wait::until;

const JOB: &str = "/model-invocation-job";
const FOLDER: &str = "s3://own-bucket/batches";
const HAIKU: &str = "anthropic/claude-haiku-4-5";
const PROFILE: &str = "us.anthropic.claude-haiku-4-5-20251001-v1:0";

fn credential(gateway: &Gateway, key: &str, config: Value) -> Value {
    let own = json!({"batch_storage": FOLDER, "storage_url": gateway.emulator.storage_url()});
    json!({
        "provider": "bedrock", "auth": "iam_static", "secret": access_keys(key), "region": REGION,
        "base_url": gateway.emulator.bedrock_url(), "config": with(own, config),
        "pricing": {HAIKU: {"input": 1_000_000, "output": 5_000_000}},
    })
}

async fn gateway() -> Gateway {
    let gateway = Gateway::start().await;
    gateway.make("/v2/provider-credentials", credential(&gateway, OWN, json!({}))).await;
    gateway
}

fn ask(words: &str) -> Value {
    let messages = json!([{"role": "user", "content": words}]);
    json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 64, "messages": messages})
}

/// Puts a file of requests into the customer's bucket.
fn put(gateway: &Gateway, name: &str, records: impl IntoIterator<Item = (String, Value)>) -> String {
    let uri = format!("{FOLDER}/in/{name}.jsonl");
    let lines =
        records.into_iter().map(|(id, input)| format!("{}\n", json!({"recordId": id, "modelInput": input})));
    gateway.emulator.store(OWN, &uri, lines.collect::<String>());
    uri
}

fn many(number: usize) -> impl Iterator<Item = (String, Value)> {
    (0..number).map(|at| (format!("a{at}"), ask(&format!("ask {at}"))))
}

fn job(name: &str, uri: &str) -> Value {
    json!({
        "jobName": name, "roleArn": BATCH_ROLE, "modelId": HAIKU,
        "inputDataConfig": {"s3InputDataConfig": {"s3Uri": uri}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": format!("{FOLDER}/out/")}},
    })
}

async fn made(client: &Client, body: &Value) -> String {
    client.post(JOB, body).await.unwrap().must_be(200).json()["jobArn"].as_str().unwrap().to_owned()
}

fn job_path(name: &str) -> String {
    format!("{JOB}/{}", name.replace(':', "%3A").replace('/', "%2F"))
}

async fn ended(client: &Client, name: &str) -> Value {
    let ends = ["Completed", "Failed", "Stopped"];
    once(client, &job_path(name), |job| ends.contains(&job["status"].as_str().unwrap())).await
}

/// An error in the form that this wire format's clients read.
fn refused(answer: &Answer, status: u16, kind: &str, words: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let error_type = answer.header("x-amzn-errortype").unwrap();
    assert!(error_type.starts_with(kind), "{error_type}");
    let body = answer.json();
    let message = body["message"].as_str().or(body["Message"].as_str()).unwrap().to_owned();
    assert!(message.contains(words), "{message}");
}

/// How many requests the emulator received on this path, control plane or storage.
fn request_count(gateway: &Gateway, path: &str) -> usize {
    gateway.emulator.journal().into_iter().filter(|entry| entry.path.contains(path)).count()
}

async fn drive(gateway: &Gateway, origin: &str, client: Value, model: &str) -> usize {
    let (python, script) = driver("jobs.py");
    let arguments = json!({
        "client": client, "storage": access_keys(OWN), "model": model, "folder": FOLDER, "role": BATCH_ROLE,
    });
    drive_at(python, script, origin, &gateway.emulator.storage_url(), &arguments.to_string()).await.held
}

#[tokio::test]
async fn boto3_has_jobs_done_at_the_provider_and_through_the_gateway() {
    let provider = Gateway::start().await;
    assert_eq!(drive(&provider, &provider.emulator.bedrock_url(), access_keys(OWN), PROFILE).await, 6);
    assert_eq!(provider.emulator.violations(), []);
    let gateway = gateway().await;
    let keys = gateway.make("/v2/api-keys", json!({"name": "boto3", "aws": true})).await;
    assert_eq!(drive(&gateway, &gateway.origin, keys["aws"].clone(), HAIKU).await, 6);
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn each_request_of_a_job_is_booked_once_at_the_price_of_batches() {
    let (gateway, client) = gateway().await.and_client();
    let body = json!({"messages": [{"role": "user", "content": [{"text": "ask 0"}]}]});
    let path = format!("/model/{}/converse", HAIKU.replace('/', "%2F"));
    let plain = client.post(&path, &body).await.unwrap().must_be(200);
    let plain = gateway.settled(plain.header("agent-trace-id").unwrap()).await;
    assert_eq!(plain["unpriced"], false, "{plain}");
    let refused_one = with(ask("x"), json!({"metadata": {"user_id": "emu:status=529"}}));
    let odd = [("bad".to_owned(), refused_one), ("a0".to_owned(), ask("again"))];
    let uri = put(&gateway, "all", many(REQUESTS_MIN).chain(odd));
    // The requests use 64 tokens of output each, at half of 5 USD for a million: at least 16,000.
    let budget = gateway.budget(15_000).await;
    let over = client.post(JOB, &job("over", &uri)).await.unwrap();
    assert_eq!(gateway.recorded_code(&over).await, "quota_exceeded", "{}", over.text());
    gateway.patch(&budget, json!({"limit_micros": 100_000})).await;
    // The results come slowly, so that the job isn't booked as soon as it is held.
    slowly(&gateway, 100);
    let name = made(&client, &job("all", &uri)).await;
    assert!(name.starts_with("arn:aws:bedrock:tidegate:000000000000:model-invocation-job/"), "{name}");
    let sent = gateway.calls(OWN).pop().unwrap();
    assert_eq!(sent.path, "/bedrock/model-invocation-job");
    let sent: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!(sent, with(job("all", &uri), json!({"modelId": PROFILE})), "the rest is as it came");
    assert!(gateway.standing(&budget).await.1 >= 16_000);
    gateway.emulator.clear_scripts();
    assert_eq!(ended(&client, &name).await["jobArn"], name.as_str());
    let rows = until_booked(&gateway.admin(), REQUESTS_MIN + 2).await;
    let ids: HashSet<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), REQUESTS_MIN + 2);
    for row in &rows {
        let row = gateway.settled(row["id"].as_str().unwrap()).await;
        let cost = row["provider_cost_nanos"].as_i64().unwrap();
        let used = |name: &str| row[name].as_i64().unwrap();
        assert_eq!((&row["provider"], &row["dialect"]), (&json!("aws_bedrock"), &json!("converse")), "{row}");
        match row["status"].as_u64() {
            Some(200) => {
                assert_eq!(row["resolved_model"], HAIKU, "{row}");
                assert_eq!(row["unpriced"], false, "{row}");
                // Micro-USD per token equals USD per million tokens.
                let whole = used("input_tokens") * 1_000 + used("output_tokens") * 5_000;
                assert_eq!(cost * 2, whole, "half of the price: {row}");
            }
            status => assert_eq!((status, cost), (Some(529), 0), "{row}"),
        }
    }
    // Polling is up to the client, and books nothing.
    ended(&client, &name).await;
    until_booked(&gateway.admin(), REQUESTS_MIN + 2).await;
    let cost = spent(&gateway.admin(), "provider_cost_nanos").await;
    gateway.until_spent(&budget, cost / 1_000, 16_000).await;
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn what_no_answer_says_that_it_used_is_marked_and_never_guessed() {
    let (gateway, client) = gateway().await.and_client();
    let llama = (0..REQUESTS_MIN).map(|at| (format!("a{at}"), json!({"prompt": "x", "max_gen_len": 9})));
    let uri = put(&gateway, "llama", llama);
    let body = with(job("llama", &uri), json!({"modelId": "bedrock:us.meta.llama3-3-70b-instruct-v1:0"}));
    assert_eq!(ended(&client, &made(&client, &body).await).await["status"], "Completed");
    for row in until_booked(&gateway.admin(), REQUESTS_MIN).await {
        let figures = (&row["status"], &row["input_tokens"], &row["cost_micros"], &row["estimated"]);
        assert_eq!(figures, (&json!(200), &json!(0), &json!(0), &json!(false)), "{row}");
    }
    let row = items(&gateway.admin()).await.pop().unwrap();
    let whole = gateway.get(&format!("/v2/requests/{}", row["id"].as_str().unwrap())).await;
    assert_eq!(whole["plan"]["resolution"], "batch_unmetered", "{whole}");
}

#[tokio::test]
async fn a_job_outside_of_what_its_customer_allows_goes_nowhere() {
    let (gateway, client) = Gateway::start().await.and_client();
    let uri = put(&gateway, "all", many(1));
    let invalid = "ValidationException";
    let keys = credential(&gateway, POOL, json!({}));
    gateway.make("/v2/accounts", with(keys, json!({"display_name": "pool"}))).await;
    refused(&client.post(JOB, &job("a", &uri)).await.unwrap(), 400, invalid, "on a credential of your own");
    let bare = json!({"batch_storage": null, "storage_url": null});
    let id = id_of(&gateway.make("/v2/provider-credentials", credential(&gateway, OWN, bare)).await);
    let answer = client.post(JOB, &job("a", &uri)).await.unwrap();
    refused(&answer, 400, invalid, "No credential that serves this model states where batches can be stored");
    assert_eq!(gateway.recorded_code(&answer).await, "batch_storage_not_set");
    let config = json!({"batch_storage": FOLDER, "batch_role": BATCH_ROLE});
    gateway.patch(&format!("/v2/provider-credentials/{id}"), json!({"config": config})).await;
    let at = |from: &str, to: &str| {
        let text = job("a", &uri).to_string().replacen(from, to, 1);
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let denied = "AccessDeniedException";
    let outside = "batch_outside_storage";
    let input = "inputDataConfig.s3InputDataConfig.s3Uri";
    for (body, status, kind, words, code) in [
        (at("own-bucket/batches/in", "own-bucket/other"), 403, denied, input, outside),
        (at("own-bucket/batches/out", "own-bucket/batches2"), 403, denied, "outputDataConfig", outside),
        (at("batches/out", "batches/../out"), 403, denied, "outputDataConfig", outside),
        (at("all.jsonl", ""), 400, invalid, "whose name ends with .jsonl", "batch_of_folder"),
        (at("role/batches", "role/admin"), 403, denied, "roleArn", "batch_role_not_allowed"),
        (at(HAIKU, "nobody/at-all"), 404, "ResourceNotFoundException", "at-all", "model_not_found"),
        (at("s3Uri", "uri"), 400, invalid, input, ""),
    ] {
        let answer = client.post(JOB, &body).await.unwrap();
        refused(&answer, status, kind, words);
        // A request that can't be parsed has no record.
        if !code.is_empty() {
            assert_eq!(gateway.recorded_code(&answer).await, code, "{words}");
        }
    }
    assert_eq!((request_count(&gateway, JOB), request_count(&gateway, "/s3/")), (0, 0));
    // A Bedrock API key gives no access to storage.
    let key = json!({"auth": "api_key", "secret": OWN_SECOND});
    gateway.remove(&format!("/v2/provider-credentials/{id}")).await;
    gateway.make("/v2/provider-credentials", with(credential(&gateway, OWN, json!({})), key)).await;
    refused(&client.post(JOB, &job("a", &uri)).await.unwrap(), 400, invalid, "where batches can be stored");
    let wrong = credential(&gateway, OWN, json!({"batch_storage": "https://own-bucket/x"}));
    let answer = gateway.admin().post("/v2/provider-credentials", &wrong).await.unwrap();
    assert_eq!(problem(&answer, 400, "invalid_value")["param"], "config.batch_storage");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_job_is_its_projects_alone() {
    let (gateway, client) = gateway().await.and_client();
    let uri = put(&gateway, "few", many(1));
    let name = made(&client, &job("few", &uri)).await;
    let other = gateway.other_project().await;
    let stop = format!("{}/stop", job_path(&name));
    let at_provider = "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/000000000001";
    for answer in [
        other.get(&job_path(&name)).await.unwrap(),
        other.get(&format!("{JOB}/{}", name.rsplit('/').next().unwrap())).await.unwrap(),
        other.post(&stop, &json!({})).await.unwrap(),
        // The provider's own id is unknown here.
        client.get(&job_path(at_provider)).await.unwrap(),
        client.get(&format!("{JOB}/aaaaaaaaaaaa")).await.unwrap(),
    ] {
        refused(&answer, 404, "ResourceNotFoundException", "There is no batch");
    }
    let list = "/model-invocation-jobs";
    assert_eq!(other.get(list).await.unwrap().json(), json!({"invocationJobSummaries": []}));
    let rows = client.get(list).await.unwrap().json();
    assert_eq!(rows["invocationJobSummaries"][0]["jobArn"], name.as_str(), "{rows}");
    // The other batch APIs don't list these jobs.
    assert_eq!(client.get("/v1/batches").await.unwrap().json()["data"], json!([]));
    let wrong = client.get(&format!("{list}?nameContains=few")).await.unwrap();
    refused(&wrong, 400, "ValidationException", "nameContains");
    client.delete(&job_path(&name)).await.unwrap().must_be(405);
}

/// Results that are not readable yet are booked as soon as access is granted.
#[tokio::test]
async fn what_the_storage_refuses_is_told_and_booked_once_it_is_allowed() {
    let (mut gateway, client) = gateway().await.and_client();
    let uri = put(&gateway, "all", many(REQUESTS_MIN));
    gateway.emulator.deny_storage(OWN, true);
    assert_eq!(ended(&client, &made(&client, &job("all", &uri)).await).await["status"], "Completed");
    until("somebody reads the results", async || request_count(&gateway, "/s3/own-bucket/batches/out/") > 0)
        .await;
    let why = "Allow s3:GetObject below config.batch_storage";
    until("somebody says why", async || gateway.process().stderr().contains(why)).await;
    assert_eq!(items(&gateway.admin()).await.len(), 0);
    gateway.emulator.deny_storage(OWN, false);
    until_booked(&gateway.admin(), REQUESTS_MIN).await;
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_kill_in_the_middle_of_the_booking_books_each_request_of_a_job_once() {
    let (mut gateway, client) = gateway().await.and_client();
    let uri = put(&gateway, "many", many(MANY));
    let name = made(&client, &job("many", &uri)).await;
    slowly(&gateway, 50);
    ended(&client, &name).await;
    let in_sums = booked_over_kills(&mut gateway).await;
    let rows = until_booked(&gateway.admin(), MANY).await;
    let used = |row: &Value| row["input_tokens"].as_u64().unwrap() + row["output_tokens"].as_u64().unwrap();
    assert_eq!(in_sums, rows.iter().map(used).sum::<u64>());
}
