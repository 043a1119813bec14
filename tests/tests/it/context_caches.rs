//! Beginnings of prompts that the gateway itself has Gemini cache by name: where that pays, for whom, and what it costs.

use std::collections::HashSet;

use harness::client::{Answer, Client};
use harness::{Config, Entry, Model};
use serde_json::{Value, json};

use crate::ask::{CHAT, posted, with};
use crate::gateway::{Gateway, OWN, POOL, config, driver, id_of, nanos};
use crate::isolation::second_workspace;
use crate::sdk::drive_at;
use crate::wait::until;

const CREATED: &str = "/v1beta/cachedContents";
const FLASH: &str = "google/gemini-2.5-flash";

/// Instructions that are long enough for a cache.
fn instructions(about: &str) -> String {
    format!("All of {about} is known. ").repeat(1_500)
}

/// One of many questions behind the same instructions.
fn question(about: &str, number: usize) -> Value {
    json!({"systemInstruction": {"parts": [{"text": instructions(about)}]},
        "contents": [{"role": "user", "parts": [{"text": format!("Question {number}: when is high water?")}]}],
        "generationConfig": {"temperature": 0.5, "maxOutputTokens": 64}})
}

async fn ask(client: &Client, body: &Value) -> Answer {
    posted(client, &format!("/v1beta/models/{FLASH}:generateContent"), body).await
}

/// Asks until the gateway knows that a cache pays: the first question is new, and the second and the third read
/// from no cache.
async fn ask_until_it_pays(client: &Client, about: &str) {
    for number in 0..4 {
        ask(client, &question(about, number)).await;
    }
}

/// Asks until a request goes on from a cache; returns that answer.
async fn ask_until_cached(gateway: &Gateway, key: &str, client: &Client, about: &str) -> Answer {
    let mut last = None;
    until("a request that goes on from a cache", async || {
        last = Some(ask(client, &question(about, 77)).await);
        asked(gateway, key).pop().is_some_and(|call| cache_of(&call).is_some())
    })
    .await;
    last.unwrap()
}

/// A gateway whose provider caches nothing by itself.
async fn gateway() -> Gateway {
    Gateway::with(config().gemini_forgets(), &[]).await
}

async fn gemini(gateway: &Gateway, path: &str, secret: &str) -> String {
    let url = gateway.emulator.origin();
    let body = json!({"provider": "gemini", "secret": secret, "retention": "zero", "base_url": url});
    id_of(&gateway.make(path, body).await)
}

/// The same with an account, and a client.
async fn pooled() -> (Gateway, Client) {
    let gateway = gateway().await;
    gemini(&gateway, "/v2/accounts", POOL).await;
    gateway.and_client()
}

/// With an own credential, whose prompts are cached as well.
async fn own() -> (Gateway, Client) {
    let gateway = gateway().await;
    gemini(&gateway, "/v2/provider-credentials", OWN).await;
    gateway.patch(&gateway.project(), json!({"caching": {"byok": "apply"}})).await;
    gateway.and_client()
}

fn created(gateway: &Gateway, key: &str) -> Vec<Entry> {
    gateway.calls(key).into_iter().filter(|call| call.path == CREATED).collect()
}

fn asked(gateway: &Gateway, key: &str) -> Vec<Entry> {
    gateway.calls(key).into_iter().filter(|call| call.path != CREATED).collect()
}

fn cache_of(call: &Entry) -> Option<String> {
    call.json()["cachedContent"].as_str().map(str::to_owned)
}

/// The gateway's own requests, once this many are in the books.
async fn own_requests(gateway: &Gateway, count: usize) -> Vec<Value> {
    gateway.records(count, |row| row["operation"] == "cached_content").await
}

/// What the provider was asked last.
fn last_asked(gateway: &Gateway, key: &str) -> Entry {
    asked(gateway, key).pop().unwrap()
}

/// By the catalogue, the model costs 0.30 USD for a million tokens, 0.03 for cached ones, and 1 for a million stored for
/// an hour: five minutes of storage and the creation cost as much as 1.42 reads save.
#[tokio::test]
async fn a_beginning_that_recurs_is_cached_where_that_pays() {
    let (gateway, client) = pooled().await;
    for number in 0..3 {
        let record = gateway.record(&ask(&client, &question("the sea", number)).await).await;
        assert_eq!((&record["caching"], &record["cached_tokens"]), (&Value::Null, &json!(0)), "{record}");
    }
    assert!(created(&gateway, POOL).is_empty(), "two reads from it were not seen to be missed yet");
    ask(&client, &question("the sea", 3)).await;
    let answer = ask_until_cached(&gateway, POOL, &client, "the sea").await;
    // What was cached is what was sent before, and what is sent now is the rest.
    let made = created(&gateway, POOL);
    assert_eq!(made.len(), 1);
    let expected = json!({"model": "models/gemini-2.5-flash", "ttl": "300s",
        "systemInstruction": question("the sea", 0)["systemInstruction"]});
    assert_eq!(made[0].json(), expected);
    let sent = last_asked(&gateway, POOL);
    let name = cache_of(&sent).unwrap();
    let rest = with(question("the sea", 77), json!({"systemInstruction": null, "cachedContent": name}));
    assert_eq!(sent.json(), rest);
    // The gateway's own request is in the books once, by itself.
    let own = own_requests(&gateway, 1).await;
    assert_eq!(own.len(), 1, "{own:?}");
    let own = &own[0];
    assert_eq!(own["made_for"]["purpose"], "context_cache", "{own}");
    assert_eq!(own["key_id"], Value::Null, "{own}");
    assert_eq!(own["profile"], "managed_provider", "{own}");
    assert_eq!(own["outcome"], "completed", "{own}");
    let tokens = nanos(own, "input_tokens");
    let hours = (tokens * 300 + 3_599) / 3_600;
    assert_eq!(own["units"]["cache_token_hours"], hours, "{own}");
    assert_eq!(nanos(own, "provider_cost_nanos"), tokens * 300 + hours * 1_000);
    assert_eq!(nanos(own, "cost_nanos"), nanos(own, "provider_cost_nanos"), "a project owes it");
    // What came from it is the provider's count, at the price of cached tokens.
    let record = gateway.record(&answer).await;
    assert_eq!((nanos(&record, "cached_tokens"), &record["made_for"]), (tokens, &Value::Null), "{record}");
    let caching = json!({"state": "applied", "breakpoints": 0, "key": false, "context_cache": true, "refreshes": 0,
        "saved_tokens": tokens, "evidence": "provider_reported"});
    assert_eq!(record["caching"], caching);
    let lines = record["attempts"][0]["receipt"].as_array().unwrap();
    let read = lines.iter().find(|line| line["class"] == "cached_read").unwrap();
    assert_eq!(read["nanos"], tokens * 30, "{record}");
    let reuse = &record["reuse"];
    assert_eq!(reuse["realized_reused_tokens"], tokens);
    assert_eq!(reuse["evidence"], "provider_reported");
    assert_eq!(reuse["cache_tier"], "provider");
    assert_eq!(nanos(reuse, "input_tokens"), nanos(&record, "input_tokens"), "{reuse}");
    assert!(nanos(reuse, "candidate_reuse_tokens") >= tokens, "{reuse}");
    assert_eq!(nanos(reuse, "reuse_credit_nanos"), tokens * 270, "{reuse}");
    // Clients neither see nor list it.
    assert!(!answer.text().contains(&name));
    assert_eq!(client.get(CREATED).await.unwrap().json(), json!({"cachedContents": []}));
    let shown = gateway.cli().run(&["request", record["id"].as_str().unwrap()]).ok();
    assert!(shown.contains("context cache true"), "{shown}");
    let shown = gateway.cli().run(&["request", own["id"].as_str().unwrap()]).ok();
    assert!(shown.contains("made for  context_cache of "), "{shown}");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn every_dialect_goes_on_from_a_cache_of_tools_and_turns() {
    let (gateway, client) = own().await;
    let parameters = json!({"type": "object", "properties": {"port": {"type": "string"}}});
    let tool = json!({"type": "function", "function": {"name": "tide", "parameters": parameters}});
    let asks = |number: usize, stream: bool| {
        let turns = [
            json!({"role": "system", "content": "You know the tides."}),
            json!({"role": "user", "content": instructions("the moon")}),
            json!({"role": "assistant", "content": "Understood."}),
            json!({"role": "user", "content": format!("Question {number}?")}),
        ];
        json!({"model": FLASH, "stream": stream, "messages": turns, "tools": [tool], "tool_choice": "none"})
    };
    let mut plain = String::new();
    for number in 0..4 {
        let answer = posted(&client, CHAT, &asks(number, false)).await;
        plain = answer.json()["choices"][0]["message"]["content"].to_string();
    }
    let mut answer = None;
    until("a request that goes on from a cache", async || {
        answer = Some(client.post(CHAT, &asks(3, false)).await.unwrap());
        asked(&gateway, OWN).pop().is_some_and(|call| cache_of(&call).is_some())
    })
    .await;
    let answer = answer.unwrap();
    let said = answer.json()["choices"][0]["message"]["content"].to_string();
    assert_eq!(said, plain, "it reads the same prompt");
    let cached = answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"].as_i64().unwrap();
    assert!(cached > 4_096, "{}", answer.text());
    // A cache has all that a request beside one may not have, and the turns before the last question.
    let made = created(&gateway, OWN)[0].json();
    assert!(made["tools"].is_array() && made["toolConfig"].is_object(), "{made}");
    assert_eq!(made["contents"].as_array().unwrap().len(), 2);
    let sent = last_asked(&gateway, OWN).json();
    assert_eq!(sent["contents"].as_array().unwrap().len(), 1);
    let fields = ["tools", "toolConfig", "systemInstruction"];
    assert!(fields.iter().all(|name| sent.get(name).is_none()), "{sent}");
    let streamed = posted(&client, CHAT, &asks(8, true)).await;
    assert!(cache_of(&last_asked(&gateway, OWN)).is_some());
    let record = gateway.record(&streamed).await;
    assert_eq!(nanos(&record, "cached_tokens"), cached);
    assert_eq!(record["caching"]["context_cache"], true);
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn the_official_sdk_reads_from_caches_that_it_never_heard_of() {
    let gateway = gateway().await;
    gemini(&gateway, "/v2/accounts", POOL).await;
    let (python, script) = driver("context_caches.py");
    assert_eq!(drive_at(python, script, &gateway.origin, &gateway.founded.api_key, FLASH).await.held, 4);
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_cache_is_one_workspaces_and_one_projects() {
    let gateway = gateway().await;
    gemini(&gateway, "/v2/accounts", POOL).await;
    let tenant = second_workspace(&gateway).await;
    let project = gateway.make("/v2/projects", json!({"name": "other"})).await;
    let (key, _) = gateway.key(json!({"name": "other", "project_id": project["id"]})).await;
    let clients = [gateway.client(), gateway.with_key(&tenant.api_key), gateway.with_key(&key)];
    let mut names: Vec<String> = Vec::new();
    for client in &clients {
        let before = asked(&gateway, POOL).len();
        ask_until_it_pays(client, "the sea").await;
        // What others cached is as good as not there.
        for call in &asked(&gateway, POOL)[before..] {
            assert!(cache_of(call).is_none_or(|name| !names.contains(&name)), "it reads another's cache");
        }
        ask_until_cached(&gateway, POOL, client, "the sea").await;
        names.extend(cache_of(&last_asked(&gateway, POOL)));
    }
    let distinct: HashSet<&String> = names.iter().collect();
    assert_eq!((names.len(), distinct.len()), (3, 3), "{names:?}");
    let made = created(&gateway, POOL);
    let first_line =
        |call: &Entry| call.json()["systemInstruction"]["parts"][0]["text"].as_str().unwrap().to_owned();
    let lines: Vec<_> = made.iter().map(first_line).collect();
    assert!(lines.iter().all(|line| line.starts_with("[cache ")), "the account is shared");
    assert!(lines[0] != lines[1] && lines[0] == lines[2], "the line is the workspace's");
    // Each of them still reads its own.
    for (client, name) in clients.iter().zip(&names) {
        ask(client, &question("the sea", 9)).await;
        assert_eq!(cache_of(&last_asked(&gateway, POOL)).as_ref(), Some(name));
    }
    let own = own_requests(&gateway, 2).await;
    let owners: Vec<&Value> = own.iter().map(|record| &record["project_id"]).collect();
    let ours = json!(gateway.founded.project_id);
    assert_eq!(owners, [&ours, &project["id"]], "the tenant's is not ours");
}

#[tokio::test]
async fn a_cache_that_is_gone_costs_a_call_and_no_answer() {
    let (gateway, client) = own().await;
    let provider = Client::new(gateway.emulator.origin()).header("x-goog-api-key", OWN);
    for (about, path) in [("the sea", "generateContent"), ("the moon", "streamGenerateContent?alt=sse")] {
        ask_until_it_pays(&client, about).await;
        ask_until_cached(&gateway, OWN, &client, about).await;
        let name = cache_of(&last_asked(&gateway, OWN)).unwrap();
        assert_eq!(provider.delete(&format!("/v1beta/{name}")).await.unwrap().status, 200);
        let answer = posted(&client, &format!("/v1beta/models/{FLASH}:{path}"), &question(about, 5)).await;
        let calls = asked(&gateway, OWN);
        let caches: Vec<_> = calls.iter().rev().take(2).map(cache_of).collect();
        assert_eq!(caches, [None, Some(name)], "with it, and then whole");
        let record = gateway.record(&answer).await;
        let attempts = record["attempts"].as_array().unwrap();
        let statuses: Vec<_> = attempts.iter().map(|attempt| attempt["status"].clone()).collect();
        assert_eq!(statuses, [403, 200], "{record}");
        assert_eq!(record["outcome"], "completed", "{record}");
        assert_eq!((&record["cached_tokens"], &record["caching"]), (&json!(0), &Value::Null), "{record}");
        // It is forgotten, and nothing is paid for in its place before it would have ended.
        let made = created(&gateway, OWN).len();
        for number in 0..6 {
            ask(&client, &question(about, number)).await;
            assert_eq!(cache_of(&last_asked(&gateway, OWN)), None);
        }
        assert_eq!(created(&gateway, OWN).len(), made);
    }
}

/// Asks more often than would make a cache pay, and asserts that there is none.
async fn asserts_no_cache(gateway: &Gateway, key: &str, why: &str, send: impl AsyncFn(usize)) {
    let before = (created(gateway, key).len(), asked(gateway, key).len());
    for number in 0..7 {
        send(number).await;
    }
    assert_eq!(created(gateway, key).len(), before.0, "{why}");
    for call in &asked(gateway, key)[before.1..] {
        assert!(!cache_of(call).is_some_and(|name| name.contains("emulator")), "{why}");
    }
}

#[tokio::test]
async fn nothing_is_cached_where_it_may_not_stay_or_nobody_asked_for_it() {
    let served = ["gemini-2.5-flash", "gemini-3-flash-preview"].into_iter().map(Model::chat);
    let gateway = Gateway::with(served.fold(config().gemini_forgets(), Config::model), &[]).await;
    gemini(&gateway, "/v2/accounts", POOL).await;
    let client = gateway.client();
    let project = gateway.project();
    let asking = async |number: usize| drop(ask(&client, &question("the sea", number)).await);
    let no_store = gateway.client().header("cache-control", "max-age=0, no-store");
    let unstored = async |number: usize| drop(ask(&no_store, &question("the sea", number)).await);
    asserts_no_cache(&gateway, POOL, "the client forbids it", unstored).await;
    gateway.patch(&project, json!({"caching": {"managed": "off"}})).await;
    asserts_no_cache(&gateway, POOL, "it is off", asking).await;
    gateway.patch(&project, json!({"caching": {"managed": "suggest"}})).await;
    asserts_no_cache(&gateway, POOL, "it is suggested alone", asking).await;
    let record = gateway.record(&ask(&client, &question("the sea", 8)).await).await;
    let caching = &record["caching"];
    assert_eq!(caching["state"], "suggested", "{record}");
    assert_eq!(caching["context_cache"], true, "{record}");
    assert!(nanos(caching, "saved_tokens") > 4_096 && caching["evidence"] == "router_inferred", "{record}");
    gateway.patch(&project, json!({"caching": {"managed": null}})).await;
    for policy in [
        json!({"retention": "zero"}),
        json!({"checks": [{"detect": "email", "action": "mask", "direction": "input"}]}),
        json!({"checks": [{"detect": "email", "action": "block", "direction": "output"}]}),
    ] {
        let why = policy.to_string();
        let policy = gateway.policy(policy).await;
        asserts_no_cache(&gateway, POOL, &why, asking).await;
        gateway.remove(&policy).await;
    }
    // A model whose storage has no known price, and a prompt that is too short.
    let unpriced = async |number: usize| {
        let path = "/v1beta/models/google/gemini-3-flash-preview:generateContent";
        posted(&client, path, &question("the dunes", number)).await;
    };
    asserts_no_cache(&gateway, POOL, "storage has no price", unpriced).await;
    let short = async |number: usize| {
        let text = instructions("the dunes")[..4_000].to_owned();
        let body = with(question("", number), json!({"systemInstruction": {"parts": [{"text": text}]}}));
        drop(ask(&client, &body).await);
    };
    asserts_no_cache(&gateway, POOL, "it is shorter than what is cached", short).await;
    // All that kept it away is gone.
    ask_until_it_pays(&client, "the sea").await;
    ask_until_cached(&gateway, POOL, &client, "the sea").await;
    // What was cached before is not read either where it might not be made now.
    gateway.policy(json!({"retention": "zero"})).await;
    asserts_no_cache(&gateway, POOL, "zero retention holds for what is there", asking).await;
    let provider = Client::new(gateway.emulator.origin()).header("x-goog-api-key", POOL);
    until("the deletion of what is there", async || {
        provider.get(CREATED).await.unwrap().json()["cachedContents"].is_null()
    })
    .await;
    let own = own_requests(&gateway, 1).await;
    assert_eq!(own.len(), 1, "a deletion costs nothing: {own:?}");
}

#[tokio::test]
async fn what_its_provider_caches_by_itself_is_not_paid_for() {
    let gateway = Gateway::start().await;
    gemini(&gateway, "/v2/accounts", POOL).await;
    let client = gateway.client();
    let asking = async |number: usize| drop(ask(&client, &question("the sea", number)).await);
    asserts_no_cache(&gateway, POOL, "it comes from the provider's own cache", asking).await;
    let record = gateway.record(&ask(&client, &question("the sea", 8)).await).await;
    assert!(nanos(&record, "cached_tokens") > 4_096, "{record}");
}

#[tokio::test]
async fn who_names_a_cache_is_given_no_other() {
    let (gateway, client) = pooled().await;
    let instructed = json!({"parts": [{"text": instructions("the sea")}]});
    let prompt = json!({"model": format!("models/{FLASH}"), "systemInstruction": instructed});
    let name = posted(&client, CREATED, &prompt).await.json()["name"].as_str().unwrap().to_owned();
    for number in 0..6 {
        let long = instructions("the moon");
        let body = json!({"cachedContent": name, "contents": [{"role": "user", "parts": [{"text": long}]},
            {"role": "model", "parts": [{"text": "Yes."}]}, {"role": "user", "parts": [{"text": format!("{number}?")}]}]});
        ask(&client, &body).await;
        assert_eq!(last_asked(&gateway, POOL).json()["contents"], body["contents"]);
    }
    assert_eq!(created(&gateway, POOL).len(), 1, "the client's own");
}

#[tokio::test]
async fn a_creation_that_is_refused_or_too_dear_stops_nobody() {
    let (gateway, client) = pooled().await;
    // A budget that covers the questions, and not the most that the creation may cost beside them.
    let budget = json!({"project_id": gateway.founded.project_id, "limit_micros": 22_500, "period": "month"});
    let id = id_of(&gateway.make("/v2/budgets", budget).await);
    ask_until_it_pays(&client, "the sea").await;
    let refused = &own_requests(&gateway, 1).await[0];
    assert_eq!(refused["made_for"]["purpose"], "context_cache", "{refused}");
    assert_eq!(refused["error_code"], "quota_exceeded", "{refused}");
    assert_eq!(nanos(refused, "cost_nanos"), 0, "{refused}");
    assert!(created(&gateway, POOL).is_empty());
    gateway.remove(&format!("/v2/budgets/{id}")).await;
    let asking = async |number: usize| drop(ask(&client, &question("the sea", number)).await);
    asserts_no_cache(&gateway, POOL, "it is not tried again at once", asking).await;
}

/// The provider has made the cache, and the process dies before it hears of it.
#[tokio::test]
async fn a_creation_that_a_kill_interrupts_is_in_the_books_once() {
    let (mut gateway, client) = pooled().await;
    gateway.emulator.leave_caches_unanswered(true);
    ask_until_it_pays(&client, "the sea").await;
    until("the creation at the provider", async || created(&gateway, POOL).len() == 1).await;
    // No request waits for it.
    ask(&client, &question("the sea", 5)).await;
    assert_eq!(cache_of(&last_asked(&gateway, POOL)), None);
    gateway.crash().await;
    gateway.emulator.leave_caches_unanswered(false);
    let own = own_requests(&gateway, 1).await;
    assert_eq!(own.len(), 1, "{own:?}");
    assert_eq!(own[0]["made_for"]["purpose"], "context_cache", "{}", own[0]);
    assert_eq!(own[0]["outcome"], "interrupted", "{}", own[0]);
    // What the process remembered is gone with it, and is learnt again.
    let client = gateway.client();
    ask_until_it_pays(&client, "the sea").await;
    ask_until_cached(&gateway, POOL, &client, "the sea").await;
    assert_eq!((own_requests(&gateway, 2).await.len(), created(&gateway, POOL).len()), (2, 2));
}
