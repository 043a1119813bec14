//! Prompts that Gemini caches by name: each is its project's alone, is used where it was created, and is billed for
//! its tokens and its storage.

use harness::client::{Answer, Client};
use http::Method;
use serde_json::{Value, json};

use crate::ask::{posted, with};
use crate::gateway::{Gateway, OWN, POOL, nanos, row};
use crate::isolation::second_workspace;
use crate::wait::until;

const PATH: &str = "/v1beta/cachedContents";
const FLASH: &str = "google/gemini-2.5-flash";
const BARE: &str = "gemini-2.5-flash";

fn turn(text: &str) -> Value {
    json!({"role": "user", "parts": [{"text": text}]})
}

fn prompt() -> Value {
    let turn = turn(&"tide ".repeat(5000));
    json!({"model": format!("models/{FLASH}"), "ttl": "3600s", "displayName": "tides", "contents": [turn]})
}

fn ask(name: &str) -> Value {
    json!({"cachedContent": name, "contents": [turn("When?")]})
}

async fn generate(client: &Client, body: &Value) -> Answer {
    client.post(&format!("/v1beta/models/{FLASH}:generateContent"), body).await.unwrap()
}

async fn create(client: &Client, body: &Value) -> (String, Answer) {
    let answer = posted(client, PATH, body).await;
    let name = answer.json()["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("cachedContents/cache_tg_"), "{name}");
    (name, answer)
}

async fn patch(client: &Client, name: &str, body: Value) -> Answer {
    let headers = [("content-type", "application/json")];
    client.call(Method::PATCH, &format!("/v1beta/{name}"), &headers, body.to_string()).await.unwrap()
}

async fn get(client: &Client, name: &str) -> Answer {
    client.get(&format!("/v1beta/{name}")).await.unwrap()
}

async fn delete(client: &Client, name: &str) -> Answer {
    client.delete(&format!("/v1beta/{name}")).await.unwrap()
}

fn refused(answer: &Answer, status: u16, words: &str) {
    let error = answer.json()["error"].clone();
    assert_eq!((answer.status, &error["code"]), (status, &json!(status)), "{error}");
    assert!(error["message"].as_str().unwrap().contains(words), "{error}");
}

async fn gemini(gateway: &Gateway, path: &str, secret: &str) -> String {
    gateway.at(path, "gemini", secret, &gateway.emulator.origin()).await
}

async fn gateway() -> Gateway {
    let gateway = Gateway::start().await;
    gemini(&gateway, "/v2/provider-credentials", OWN).await;
    gateway
}

/// The provider itself, with a key that it knows.
fn provider(gateway: &Gateway, key: &str) -> Client {
    Client::new(gateway.emulator.origin()).header("x-goog-api-key", key)
}

/// The provider's own name of the only cache that a key has.
async fn name_there(gateway: &Gateway, key: &str) -> String {
    let list = provider(gateway, key).get(PATH).await.unwrap().json();
    list["cachedContents"][0]["name"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_cache_is_sent_as_it_came_used_by_the_providers_name_and_refused_where_nothing_may_stay() {
    let (gateway, client) = gateway().await.and_client();
    let (name, answer) = create(&client, &prompt()).await;
    let sent = gateway.calls(OWN).into_iter().find(|call| call.path == PATH).unwrap();
    assert_eq!(String::from_utf8_lossy(&sent.body), prompt().to_string().replace(FLASH, BARE));
    let there = name_there(&gateway, OWN).await;
    assert!(!answer.text().contains(&there), "{}", answer.text());
    let tokens = &answer.json()["usageMetadata"]["totalTokenCount"];
    let snake = with(ask(&name), json!({"cachedContent": null, "cached_content": name}));
    for body in [ask(&name), snake] {
        let answer = generate(&client, &body).await.must_be(200);
        assert_eq!(&answer.json()["usageMetadata"]["cachedContentTokenCount"], tokens, "{body}");
        let sent = gateway.calls(OWN).pop().unwrap();
        assert!(String::from_utf8_lossy(&sent.body).contains(&there), "{body}");
    }
    // Some clients escape slashes.
    let headers = [("content-type", "application/json")];
    let raw = ask(&name).to_string().replace("cachedContents/", "cachedContents\\/");
    let path = format!("/v1beta/models/{FLASH}:streamGenerateContent?alt=sse");
    let streamed = client.call(Method::POST, &path, &headers, raw).await.unwrap().must_be(200);
    assert!(streamed.text().contains("cachedContentTokenCount"), "{}", streamed.text());
    let path = format!("/v1beta/models/{FLASH}:countTokens");
    let nested = with(ask(&name), json!({"model": format!("models/{FLASH}")}));
    let counted = posted(&client, &path, &json!({"generateContentRequest": nested})).await;
    assert_eq!(&counted.json()["cachedContentTokenCount"], tokens, "{}", counted.text());
    // It is refused where none is offered or nothing may stay.
    gateway.credential("openai", OWN).await;
    let unserved = with(prompt(), json!({"model": "models/openai/gpt-4o-mini"}));
    let answer = client.post(PATH, &unserved).await.unwrap();
    refused(&answer, 400, "caches prompts by name");
    assert_eq!(gateway.recorded_code(&answer).await, "cached_contents_unsupported");
    gateway.policy(json!({"retention": "zero"})).await;
    let answer = client.post(PATH, &prompt()).await.unwrap();
    refused(&answer, 403, "a cached content would stay at the provider");
    refused(&patch(&client, &name, json!({"ttl": "9s"})).await, 403, "would stay at the provider");
    assert_eq!(delete(&client, &name).await.status, 200, "what is there may still be deleted");
    assert_eq!(gateway.emulator.violations(), []);
}

/// By the catalogue, the model costs 0.30 USD for a million tokens, 0.03 for cached ones, and 1 for a million stored for
/// an hour.
#[tokio::test]
async fn storage_is_booked_when_it_is_ordered() {
    let (gateway, client) = gateway().await.and_client();
    let (name, made) = create(&client, &prompt()).await;
    let tokens = made.json()["usageMetadata"]["totalTokenCount"].as_i64().unwrap();
    let record = gateway.record(&made).await;
    assert_eq!(record["operation"], "cached_content", "{record}");
    assert_eq!(nanos(&record, "input_tokens"), tokens);
    assert_eq!(record["units"]["cache_token_hours"], tokens);
    assert_eq!((nanos(&record, "provider_cost_nanos"), nanos(&record, "cost_nanos")), (tokens * 1_300, 0));
    let lines = record["attempts"][0]["receipt"].as_array().unwrap();
    let line = lines.iter().find(|line| line["class"] == "cache_token_hours").unwrap();
    assert_eq!((&line["units"], &line["nanos"]), (&json!(tokens), &json!(tokens * 1_000)), "{record}");
    // An extension is billed for the time that it adds.
    let made = made.json();
    assert!(made["createTime"].as_str().unwrap() != made["expireTime"].as_str().unwrap(), "{made}");
    let record = gateway.record(&patch(&client, &name, json!({"ttl": "7200s"})).await.must_be(200)).await;
    let hours = record["units"]["cache_token_hours"].as_i64().unwrap();
    // The second hour begins when the extension is made, a moment after the first one.
    assert!(hours >= tokens && hours <= tokens + tokens / 10, "{record}");
    assert_eq!((nanos(&record, "input_tokens"), nanos(&record, "provider_cost_nanos")), (0, hours * 1_000));
    let record = gateway.record(&patch(&client, &name, json!({"ttl": "60s"})).await).await;
    assert_eq!(nanos(&record, "provider_cost_nanos"), 0, "nothing is given back: {record}");
    // What is read from it has the price of cached tokens.
    let answer = generate(&client, &ask(&name)).await;
    let record = gateway.record(&answer).await;
    assert_eq!(nanos(&record, "cached_tokens"), tokens, "{record}");
    let lines = record["attempts"][0]["receipt"].as_array().unwrap();
    let line = lines.iter().find(|line| line["class"] == "cached_read");
    assert_eq!(line.unwrap()["nanos"], tokens * 30, "{record}");
    for answer in [get(&client, &name).await, delete(&client, &name).await] {
        let record = gateway.record(&answer.must_be(200)).await;
        assert_eq!(nanos(&record, "provider_cost_nanos"), 0, "{record}");
    }
    let tiers = gateway.get("/v2/usage?group_by=cache_tier").await["data"].clone();
    let provider = row(&tiers, "cache_tier", "provider");
    assert_eq!((nanos(provider, "requests"), nanos(provider, "cached_tokens")), (1, tokens), "{tiers}");
    let sums = gateway.get("/v2/usage").await;
    assert_eq!(crate::gateway::sums(&sums)["cache_token_hours"], json!(tokens + hours), "{sums}");
}

#[tokio::test]
async fn a_cache_is_its_projects_alone() {
    let (gateway, client) = gateway().await.and_client();
    gemini(&gateway, "/v2/accounts", POOL).await;
    let (name, _) = create(&client, &prompt()).await;
    let there = name_there(&gateway, OWN).await;
    let others = [gateway.other_project().await, gateway.with_key(&second_workspace(&gateway).await.api_key)];
    let before = gateway.calls(OWN).len();
    for other in others {
        for unknown in [&*name, "cachedContents/cache_tg_00000000000000000000000000000000"] {
            refused(&get(&other, unknown).await, 404, "There is no cached content");
            refused(&patch(&other, unknown, json!({"ttl": "9s"})).await, 404, "There is no cached content");
            refused(&delete(&other, unknown).await, 404, "There is no cached content");
            refused(&generate(&other, &ask(unknown)).await, 404, "There is no cached prompt");
        }
        assert_eq!(other.get(PATH).await.unwrap().json(), json!({"cachedContents": []}));
    }
    // The provider's own name is unknown here, too.
    refused(&get(&client, &there).await, 404, "There is no cached content");
    assert_eq!(gateway.calls(OWN).len(), before, "nothing was sent");
    assert!(gateway.calls(POOL).is_empty());
    let list = client.get(PATH).await.unwrap().json();
    assert_eq!((&list["cachedContents"][0]["name"], list["nextPageToken"].as_str()), (&json!(name), None));
    assert_eq!(get(&client, &name).await.json(), list["cachedContents"][0]);
}

#[tokio::test]
async fn a_pooled_account_caches_for_each_tenant_apart() {
    let gateway = Gateway::start().await;
    gemini(&gateway, "/v2/accounts", POOL).await;
    let one = gateway.client();
    let other = gateway.with_key(&second_workspace(&gateway).await.api_key);
    let (name, answer) = create(&one, &prompt()).await;
    let tokens = answer.json()["usageMetadata"]["totalTokenCount"].as_i64().unwrap();
    let record = gateway.record(&answer).await;
    assert_eq!(nanos(&record, "cost_nanos"), tokens * 1_300, "{record}");
    assert_eq!(record["profile"], "managed_provider", "{record}");
    // A long question is sent without the workspace's own line: what goes on from a cache has no instructions.
    let question = with(ask(&name), json!({"contents": [turn(&"high water ".repeat(400))]}));
    let answer = generate(&one, &question).await.must_be(200);
    assert_eq!(answer.json()["usageMetadata"]["cachedContentTokenCount"], json!(tokens));
    let there = name_there(&gateway, POOL).await;
    refused(&generate(&other, &ask(&name)).await, 404, "There is no cached prompt");
    for client in [&one, &other] {
        refused(&generate(client, &ask(&there)).await, 400, "shared by several workspaces");
    }
    let file = "https://generativelanguage.googleapis.com/v1beta/files/a";
    let file = json!([{"role": "user", "parts": [{"fileData": {"fileUri": file}}]}]);
    let answer = other.post(PATH, &with(prompt(), json!({"contents": file}))).await.unwrap();
    refused(&answer, 400, "shared by several");
    let unpriced = with(prompt(), json!({"model": "models/google/gemini-3-flash-preview"}));
    let answer = one.post(PATH, &unpriced).await.unwrap();
    let storage = "The storage of a cached prompt of google/gemini-3-flash-preview has no known price";
    refused(&answer, 400, storage);
    assert_eq!(gateway.recorded_code(&answer).await, "cache_storage_unpriced");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_cache_ends_with_its_time_its_provider_and_its_credential() {
    let gateway = Gateway::start().await;
    let credential = gemini(&gateway, "/v2/provider-credentials", OWN).await;
    let client = gateway.client();
    let (brief, _) = create(&client, &with(prompt(), json!({"ttl": "0.5s"}))).await;
    until("the end of a cache's life", async || get(&client, &brief).await.status == 404).await;
    refused(&generate(&client, &ask(&brief)).await, 404, "There is no cached prompt");
    assert_eq!(client.get(PATH).await.unwrap().json(), json!({"cachedContents": []}));
    // The provider dropped it on its own: nobody's fault but the name's, so that the credential stays in use.
    let (lost, _) = create(&client, &prompt()).await;
    assert_eq!(delete(&provider(&gateway, OWN), &name_there(&gateway, OWN).await).await.status, 200);
    refused(&generate(&client, &ask(&lost)).await, 404, "no longer has the cached prompt");
    refused(&get(&client, &lost).await, 404, "The provider has no cached content");
    let plain = with(ask(""), json!({"cachedContent": null}));
    assert_eq!(generate(&client, &plain).await.status, 200);
    let (kept, _) = create(&client, &prompt()).await;
    gateway.remove(&format!("/v2/provider-credentials/{credential}")).await;
    gemini(&gateway, "/v2/accounts", POOL).await;
    for answer in [get(&client, &kept).await, delete(&client, &kept).await] {
        refused(&answer, 404, "Only the credential or account that stores a cached content can serve it");
    }
    refused(&generate(&client, &ask(&kept)).await, 400, "is kept by a credential or account that is gone");
    assert!(gateway.calls(POOL).is_empty(), "no other seat is asked");
}
