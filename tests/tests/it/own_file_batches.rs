//! Batches of files that the gateway works through itself: over managed accounts, nodes and the providers of other dialects.
//! It keeps the files, and each of their requests is booked once.

use harness::client::{Answer, Client};
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, once, refused};
use crate::batches::{keys_of_batches, of, results, upload};
use crate::gateway::{self, Gateway, LOCAL_MODEL, OWN, POOL, driver};
use crate::own_batches::{HAIKU, answer_all, answer_some, ask, booked, pooled, post};
use crate::sdk::drive_at;
use crate::wait::until as until_so;

const PATH: &str = "/v1/batches";
const FILES: &str = "/v1/files";
/// More than one lane has.
const MANY: usize = 60;

fn line(id: &str, model: &str, words: &str) -> String {
    let message = json!({"role": "user", "content": words});
    let body = json!({"model": model, "max_tokens": 64, "messages": [message]});
    format!("{}\n", json!({"custom_id": id, "method": "POST", "url": CHAT, "body": body}))
}

fn is_ours(answer: &Answer) -> bool {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("agent-batch-execution") == Some("gateway")
}

fn id_of(answer: &Answer) -> String {
    gateway::id_of(&answer.json())
}

async fn until(client: &Client, id: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    once(client, &format!("{PATH}/{id}"), is_so).await
}

#[tokio::test]
async fn the_official_sdk_has_batches_of_files_of_any_model_through_the_gateway() {
    let gateway = pooled().await;
    gateway.credential("openai", OWN).await;
    gateway.node("cellar", &[LOCAL_MODEL]).await;
    let (python, script) = driver("own_file_batches.py");
    let models = format!("{HAIKU},openai/gpt-4o-mini,{LOCAL_MODEL}");
    assert_eq!(drive_at(python, script, &gateway.origin, &gateway.founded.api_key, &models).await.held, 4);
    let journal = gateway.emulator.journal();
    let made = journal.iter().filter(|entry| entry.method == "POST" && entry.path.ends_with("/batches"));
    assert_eq!(made.count(), 1, "a provider has the file of one model, and the gateway all others");
    assert_eq!(gateway.emulator.violations(), []);
}

/// All that a client sees of a batch of three requests, of which the provider refuses one, but ids and times.
async fn seen_of_a_batch(gateway: &Gateway) -> Value {
    let client = gateway.client();
    let wrong = line("wrong", MINI, "x").replace("\"max_tokens\":64", "\"max_tokens\":-1");
    let content = [line("one", MINI, "one two"), wrong, line("three", MINI, "three")].concat();
    let file = upload(&client, &content, "").await.json();
    let made = client.post(PATH, &of(file["id"].as_str().unwrap())).await.unwrap().must_be(200);
    let batch = until(&client, &id_of(&made), |batch| batch["status"] == "completed").await;
    let mut lines = results(&client, &batch, "output_file_id").await;
    lines.extend(results(&client, &batch, "error_file_id").await);
    lines.sort_by_key(|line| line["custom_id"].to_string());
    let lines = lines.iter().map(|line| {
        let body = &line["response"]["body"];
        let choice = &body["choices"][0];
        let (response, error) = (&line["response"], &body["error"]["type"]);
        let said = [&choice["message"]["content"], &choice["finish_reason"], &body["usage"]["total_tokens"]];
        json!([line["custom_id"], line["error"], response["status_code"], body["object"], said, error])
    });
    let fields = ["object", "endpoint", "completion_window", "status", "request_counts", "errors"];
    let batch: Vec<&Value> = fields.iter().map(|name| &batch[*name]).collect();
    json!({
        // Not `bytes`: a file at a provider names the models as that provider does, so that it is shorter.
        "file": [file["object"], file["filename"], file["purpose"]],
        "made": made.json()["object"],
        "batch": batch,
        "lines": lines.collect::<Vec<_>>(),
    })
}

#[tokio::test]
async fn a_batch_looks_the_same_whoever_serves_it() {
    let (own, pooled, node) = tokio::join!(Gateway::start(), Gateway::start(), Gateway::start());
    own.credential("openai", OWN).await;
    pooled.account("openai", POOL).await;
    node.node("cellar", &[MINI]).await;
    let expected = seen_of_a_batch(&own).await;
    assert_eq!(expected["batch"][4], json!({"total": 3, "completed": 2, "failed": 1}), "{expected}");
    assert_eq!(expected["lines"][0][4][0], "You said: one two", "{expected}");
    for (profile, gateway) in [("managed", pooled), ("byoc", node)] {
        assert_eq!(seen_of_a_batch(&gateway).await, expected, "{profile}");
        assert_eq!(gateway.emulator.violations(), []);
    }
}

/// A file goes to the provider whose models it names as that does, and every other one is kept here.
#[tokio::test]
async fn a_file_is_kept_where_its_models_are() {
    let (gateway, client) = pooled().await.and_client();
    let own = "gpt-4o-mini";
    assert!(is_ours(&upload(&client, &line("a", own, "x"), "").await), "nobody keeps files for the project");
    gateway.credential("openai", OWN).await;
    for (models, ours) in [
        (&[own, own][..], false),
        (&["openai/gpt-4o-mini", own], false),
        (&["nobody-knows-it"], false),
        (&[own, "gpt-4o"], true),
        (&[own, HAIKU], true),
        (&[own, "nobody-knows-it"], true),
    ] {
        let content: String = models.iter().map(|model| line(model, model, "x")).collect();
        assert_eq!(is_ours(&upload(&client, &content, "").await), ours, "{models:?}");
    }
    // A provider gets the names that it has itself, in each line, and nothing else of the file is changed.
    let named = |model: &str| -> String {
        (0..40).map(|at| line(&format!("a{at}"), model, &"openai/gpt-4o-mini ".repeat(2_500))).collect()
    };
    let file = upload(&client, &named("openai/gpt-4o-mini"), "").await;
    assert!(!is_ours(&file), "it is longer than what is read of it before its place is chosen");
    let there = client.get(&format!("{FILES}/{}/content", id_of(&file))).await.unwrap();
    assert!(there.text() == named(own), "the provider got another file");
    let batch = client.post(PATH, &of(&id_of(&file))).await.unwrap();
    assert!(!is_ours(&batch));
    let batch = until(&client, &id_of(&batch), |batch| batch["status"] == "completed").await;
    assert_eq!(results(&client, &batch, "output_file_id").await.len(), 40);
    // What is longer than the part of a form that is read before it is sent on.
    let long: String = (0..40).map(|at| line(&format!("a{at}"), HAIKU, &"x".repeat(50_000))).collect();
    let file = upload(&client, &long, "").await;
    assert!(is_ours(&file));
    assert_eq!(file.json()["bytes"], long.len());
    let content = client.get(&format!("{FILES}/{}/content", id_of(&file))).await.unwrap();
    assert!(content.text() == long, "of {} bytes there are {}", long.len(), content.text().len());
    let broken = upload(&client, "", "").await;
    assert!(!is_ours(&broken), "a file without requests is for its provider to judge");
    gateway.policy(json!({"retention": "zero"})).await;
    refused(&upload(&client, &line("a", HAIKU, "x"), "").await, 403, "policy_forbids");
    refused(&client.post(PATH, &of(&id_of(&file))).await.unwrap(), 403, "policy_forbids");
}

/// A provider would look at no policy: what has rules for each request is worked through here, also on own credentials.
#[tokio::test]
async fn each_request_of_a_batch_is_held_to_the_rules_of_a_policy() {
    let gateway = Gateway::with_own().await;
    gateway.at("/v2/provider-credentials", "anthropic", POOL, &gateway.emulator.anthropic_url()).await;
    let client = gateway.client();
    let own = "gpt-4o-mini";
    let there = upload(&client, &line("a", own, "x"), "").await;
    assert!(!is_ours(&there));
    gateway.policy(json!({"allowed_models": [MINI, HAIKU], "limits": {"max_output_tokens": 60}})).await;
    let of_theirs = client.post(PATH, &of(&id_of(&there))).await.unwrap();
    assert_eq!(of_theirs.header("agent-policy-rule"), Some("max_output_tokens"));
    assert_eq!(refused(&of_theirs, 403, "policy_forbids")["param"], "input_file_id");
    let short = |id: &str, model: &str| line(id, model, "x").replace("64", "20");
    let content = [line("long", own, "x"), short("fine", own), short("other", "gpt-4o")].concat();
    let file = upload(&client, &content, "").await;
    assert!(is_ours(&file));
    let batch = client.post(PATH, &of(&id_of(&file))).await.unwrap();
    let batch = until(&client, &id_of(&batch), |batch| batch["status"] == "completed").await;
    let answered = results(&client, &batch, "output_file_id").await;
    assert_eq!(answered.iter().map(|line| &line["custom_id"]).collect::<Vec<_>>(), ["fine"]);
    let failed = results(&client, &batch, "error_file_id").await;
    assert_eq!(failed.iter().map(|line| &line["custom_id"]).collect::<Vec<_>>(), ["long", "other"]);
    let code = |line: &Value| line["response"]["body"]["error"]["code"].clone();
    assert!(failed.iter().all(|line| code(line) == "policy_forbids"), "{failed:?}");
    assert!(is_ours(&post(&client, &[ask("long", HAIKU, "x")]).await));
    assert!(keys_of_batches(&gateway).is_empty(), "a provider had a batch");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_batch_of_a_file_is_cancelled_killed_and_purged_like_any_other() {
    let mut gateway = pooled().await;
    answer_some(&gateway);
    let client = gateway.client();
    let content: String = (0..MANY).map(|at| line(&format!("a{at}"), HAIKU, &format!("ask {at}"))).collect();
    let file = id_of(&upload(&client, &content, "").await);
    let made = client.post(PATH, &of(&file)).await.unwrap();
    assert!(is_ours(&made));
    let id = id_of(&made);
    until(&client, &id, |batch| batch["request_counts"]["completed"].as_u64() > Some(0)).await;
    gateway.process().kill9().unwrap();
    answer_some(&gateway);
    gateway.start_again().await;
    let client = gateway.client();
    let cancelled = client.post(&format!("{PATH}/{id}/cancel"), &json!({})).await.unwrap();
    assert_eq!((cancelled.status, &cancelled.json()["status"]), (200, &json!("cancelling")));
    until(&client, &id, |batch| batch["request_counts"]["failed"].as_u64() > Some(0)).await;
    answer_all(&gateway);
    let batch = until(&client, &id, |batch| batch["status"] == "cancelled").await;
    let count = |name: &str| usize::try_from(batch["request_counts"][name].as_u64().unwrap()).unwrap();
    let (completed, failed) = (count("completed"), count("failed"));
    assert!(completed > 0 && failed > 0 && completed + failed == MANY, "{batch}");
    let answered = results(&client, &batch, "output_file_id").await;
    assert_eq!(answered.len(), completed);
    let not_begun = results(&client, &batch, "error_file_id").await;
    assert_eq!(not_begun.len(), failed);
    assert!(not_begun.iter().all(|line| line["error"]["code"] == "batch_cancelled"), "{not_begun:?}");
    let rows = booked(&gateway, completed).await;
    assert!(rows.iter().all(|row| row["status"] == 200), "each that was answered, once");
    let other = gateway.other_project().await;
    refused(&other.post(PATH, &of(&file)).await.unwrap(), 400, "file_not_found");
    let output = format!("{FILES}/{}", batch["output_file_id"].as_str().unwrap());
    let input = format!("{FILES}/{file}");
    for path in [&input, &output] {
        refused(&other.get(&format!("{path}/content")).await.unwrap(), 404, "file_not_found");
        client.get(path).await.unwrap().must_be(200);
    }
    let whole = json!({"project_id": gateway.founded.project_id});
    let purge = gateway.admin().post("/v2/purge-jobs", &whole).await.unwrap();
    assert!(purge.status < 300, "{}", purge.text());
    until_so("the file is gone", async || client.get(&input).await.unwrap().status == 404).await;
    refused(&client.get(&format!("{output}/content")).await.unwrap(), 404, "file_not_found");
}
