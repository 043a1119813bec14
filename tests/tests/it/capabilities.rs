//! The capability manifest is the one source: each revision is kept, an operator states other facts, and what requests do
//! follows them.

use harness::client::{Answer, Client};
use harness::postgres::Server;
use http::Method;
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{CHAT, MINI, has, problem, question, refused, refused_with, trace_of, with};
use crate::batches;
use crate::gateway::{CREDENTIALS, Gateway, OWN, POOL, config, id_of};
use crate::wait::until;

pub const OPENAI: &str = "/v2/capabilities/openai";
const RESPONSES: &str = "/v1/responses";
pub const REFUSED: &str = "capability_not_supported";

/// States one fact of OpenAI; `null` takes it back.
pub async fn state(gateway: &Gateway, fact: &str, value: Value) -> Value {
    let stated = if value.is_null() { Value::Null } else { json!({"value": value}) };
    gateway.patch(OPENAI, json!({"facts": {fact: stated}})).await
}

pub async fn own() -> Gateway {
    let gateway = Gateway::start().await;
    gateway.credential("openai", OWN).await;
    gateway
}

/// The response has this code, and names the fact that it is refused for.
pub fn denied(answer: &Answer, fact: &str, param: impl Into<Value>) {
    let param: Value = param.into();
    has(&refused_with(answer, 400, REFUSED, fact), json!({"param": param}));
}

fn revision(manifest: &Value) -> String {
    manifest["manifest_revision"].as_str().unwrap_or_else(|| panic!("{manifest}")).to_owned()
}

#[tokio::test]
async fn what_is_stated_is_served_kept_by_its_revision_and_taken_back() {
    let mut gateway = own().await;
    let built_in = gateway.get(OPENAI).await;
    let whole = gateway.get("/v2/capabilities").await;
    assert!(revision(&built_in).starts_with("cap_2026_"), "{built_in}");
    assert_eq!(built_in["facts"]["batch_api_supported"]["value"], true);
    assert!(built_in.get("stated").is_none());
    let statement =
        json!({"value": false, "source": "https://vendor.example/notice", "checked": "2026-11-01"});
    let stated = gateway.patch(OPENAI, json!({"facts": {"batch_api_supported": statement}})).await;
    assert_ne!(revision(&stated), revision(&built_in));
    assert_eq!(stated["facts"]["batch_api_supported"], statement);
    assert_eq!(stated["stated"], json!({"facts": {"batch_api_supported": statement}, "models": {}}));
    assert_eq!(gateway.get(OPENAI).await, stated);
    assert_ne!(gateway.get("/v2/capabilities").await["revision"], whole["revision"]);
    gateway.crash().await;
    assert_eq!(gateway.get(OPENAI).await, stated, "it outlives the process");
    // Every revision is there by its id: of the provider, and of the whole.
    assert_eq!(gateway.get(&format!("{OPENAI}?revision={}", revision(&built_in))).await, built_in);
    let kept = format!("/v2/capabilities?revision={}", whole["revision"].as_str().unwrap());
    assert_eq!(gateway.get(&kept).await, whole);
    let plan = gateway.plan(json!({"model": MINI})).await;
    assert_eq!(plan["capability_manifest_revision"], gateway.get("/v2/capabilities").await["revision"]);
    let rows = gateway.get(&format!("{OPENAI}/revisions")).await["data"].clone();
    has(&rows, json!({"/0/current": true, "/1/current": false, "/1/served_by": "system"}));
    assert!(rows[0]["served_by"].as_str().unwrap().starts_with("key_"), "{rows}");
    assert_eq!(rows[0]["changes"], json!([{"field": "batch_api_supported", "before": true, "after": false}]));
    let cli = gateway.cli();
    let shown = cli.run(&["capability", "revisions", "openai"]).ok();
    assert!(shown.contains("batch_api_supported: true -> false"), "{shown}");
    let shown = cli.run(&["capability", "rollback", "openai", &revision(&built_in), "--json"]).json();
    assert_eq!(shown, built_in, "the same content is the same revision");
    assert_eq!(gateway.get("/v2/capabilities").await, whole);
    let audit = gateway.get("/v2/audit?chain=installation").await.to_string();
    assert!(audit.contains("capabilities.state") && audit.contains("capabilities.restore"), "{audit}");
}

#[tokio::test]
async fn a_wrong_statement_is_refused_and_only_an_operator_makes_one() {
    let gateway = own().await;
    let admin = gateway.admin();
    let json = [("content-type", "application/json")];
    let put = async |body: Value| admin.call(Method::PUT, OPENAI, &json, body.to_string()).await.unwrap();
    for (body, param) in [
        (json!({"facts": {"batch_api": {"value": true}}}), "facts.batch_api"),
        (json!({"facts": {"vision": {"value": 3}}}), "facts.vision"),
        (json!({"facts": {"batch_api_discount_pct": {"value": 101}}}), "facts.batch_api_discount_pct"),
        (json!({"models": {"gpt/4": {"vision": {"value": true}}}}), "models.gpt/4"),
        (json!({"fact": {}}), "fact"),
    ] {
        assert_eq!(problem(&put(body).await, 400, "invalid_value")["param"], param);
    }
    let stated = put(json!({"facts": {"vision": {"value": false}}})).await;
    let version = stated.header("etag").unwrap().to_owned();
    assert_eq!(put(json!({"facts": {"vision": {"value": true}}})).await.status, 200);
    let headers = [("content-type", "application/json"), ("if-match", version.as_str())];
    admin.call(Method::PUT, OPENAI, &headers, "{}").await.unwrap().must_be(412);
    let gone = put(json!({})).await;
    assert!(gone.json().get("stated").is_none(), "{}", gone.text());
    problem(&admin.get("/v2/capabilities/acme").await.unwrap(), 404, "not_found");
    let unknown = admin.get(&format!("{OPENAI}?revision=cap_2026_01_01_x")).await.unwrap();
    problem(&unknown, 404, "capability_revision_not_found");
    let revision = json!({"revision": "cap_2026_01_01_x"});
    let unknown = admin.post(&format!("{OPENAI}/rollback"), &revision).await.unwrap();
    problem(&unknown, 404, "capability_revision_not_found");
    let other = gateway.make("/v2/workspaces", json!({"name": "other"})).await;
    let other = gateway.with_key(other["admin_key"].as_str().or(other["api_key"].as_str()).unwrap());
    other.call(Method::PATCH, OPENAI, &json, "{}").await.unwrap().must_be(403);
}

#[tokio::test]
async fn a_statement_is_in_force_on_every_gateway_of_a_database() {
    let server = Server::shared().await.unwrap();
    let url = server.database(&format!("c_{}", std::process::id())).await.unwrap();
    let keys = tempfile::tempdir().unwrap();
    let key_file = keys.path().join("master.key").display().to_string();
    let environment = [("TIDEGATE_DATABASE_URL", url.as_str()), ("TIDEGATE_MASTER_KEY_FILE", &key_file)];
    let gateway = Gateway::with(config(), &environment).await;
    gateway.credential("openai", OWN).await;
    let (mut other, origin) = gateway.replica().await;
    let there = Client::new(&origin).bearer(&gateway.founded.api_key).within(WITHIN);
    let made = there.post(RESPONSES, &json!({"model": MINI, "input": "hello there"})).await.unwrap().json();
    let at = format!("{RESPONSES}/{}", id_of(&made));
    assert_eq!(there.get(&at).await.unwrap().status, 200);
    let fact = "response_retrieval_supported";
    state(&gateway, fact, json!(false)).await;
    until("the other gateway refuses it", async || there.get(&at).await.unwrap().status == 400).await;
    state(&gateway, fact, Value::Null).await;
    until("the other gateway takes it", async || there.get(&at).await.unwrap().status == 200).await;
    other.stop(WITHIN).await.unwrap();
}

#[tokio::test]
async fn a_batch_is_refused_or_costs_what_the_manifest_says() {
    let gateway = own().await;
    let client = gateway.client();
    let costs = async |number: usize| {
        let rows = batches::until_booked(&gateway.admin(), number).await;
        let rows = gateway.whole(rows).await.into_iter();
        rows.map(|row| row["provider_cost_nanos"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    batches::made(&client, &batches::asks(1)).await;
    let dear = costs(1).await[0];
    state(&gateway, "batch_api_discount_pct", json!(75)).await;
    batches::made(&client, &batches::asks(1)).await;
    let costs = costs(2).await;
    assert!(costs.contains(&dear) && costs.contains(&(dear / 2)), "a quarter instead of a half: {costs:?}");
    state(&gateway, "batch_api_supported", json!(false)).await;
    let calls = gateway.emulator.journal().len();
    denied(&batches::tried(&client, &batches::asks(1)).await, "batch_api_supported", Value::Null);
    let uploads = gateway.emulator.journal().split_off(calls);
    assert!(uploads.iter().all(|entry| entry.path == "/v1/files"), "no batch was made: {uploads:?}");
}

/// A batch that names its models: the fact of one model decides.
#[tokio::test]
async fn a_batch_of_one_model_is_refused_by_what_is_stated_of_it() {
    let gateway = Gateway::start().await;
    let body = json!({"provider": "anthropic", "secret": OWN, "base_url": gateway.emulator.anthropic_url()});
    gateway.make(CREDENTIALS, body).await;
    let batch = |model: &str| {
        let params = with(question(model), json!({"max_tokens": 9}));
        json!({"requests": [{"custom_id": "a", "params": params}]})
    };
    let stated = json!({"models": {"claude-haiku*": {"batch_api_supported": {"value": false}}}});
    gateway.patch("/v2/capabilities/anthropic", stated).await;
    let post = async |model: &str| gateway.post("/v1/messages/batches", &batch(model)).await;
    let refused = post("anthropic/claude-haiku-4-5").await.must_be(400);
    assert!(refused.text().contains("batch_api_supported"), "{}", refused.text());
    assert_eq!(gateway.recorded_code(&refused).await, REFUSED);
    let taken = post("anthropic/claude-sonnet-4-6").await.must_be(200);
    // The record says by which revision, where that decided something.
    let whole = gateway.get("/v2/capabilities").await["revision"].clone();
    for (answer, revision) in [(&refused, whole), (&taken, Value::Null)] {
        let record = gateway.settled(&trace_of(answer)).await;
        assert_eq!(record["plan"]["capability_manifest_revision"], revision, "{record}");
    }
}

#[tokio::test]
async fn responses_are_stored_continued_and_made_in_the_background_where_the_manifest_allows() {
    let gateway = own().await;
    let client = gateway.client();
    let plain = json!({"model": MINI, "input": "hello there"});
    let first = id_of(&client.post(RESPONSES, &plain).await.unwrap().json());
    let background = with(plain.clone(), json!({"background": true}));
    let continued = with(plain.clone(), json!({"previous_response_id": first}));
    let stored = format!("{RESPONSES}/{first}");
    let post = async |body: &Value| client.post(RESPONSES, body).await.unwrap();
    // Nobody but its maker can continue a response, which is said of it first.
    let only_its_maker = "previous_response_unavailable";
    for (fact, code, param, is_get, body) in [
        ("conversation_state_supported", only_its_maker, json!("previous_response_id"), false, &continued),
        ("response_retrieval_supported", REFUSED, Value::Null, true, &plain),
    ] {
        let send = async || if is_get { client.get(&stored).await.unwrap() } else { post(body).await };
        assert_eq!(send().await.status, 200, "{fact}");
        state(&gateway, fact, json!(false)).await;
        let error = refused_with(&send().await, 400, code, fact);
        assert_eq!(error["param"], param, "{error}");
        assert_eq!(post(&plain).await.status, 200, "{fact}");
        state(&gateway, fact, Value::Null).await;
        assert_eq!(send().await.status, 200, "{fact}");
    }
    // What its provider makes in the background has the provider's id; without one that can, the gateway makes it.
    let is_made_here = async || {
        let answer = post(&background).await.must_be(200);
        answer.json()["id"] == trace_of(&answer).replace("trc_", "resp_")
    };
    assert!(!is_made_here().await);
    state(&gateway, "background_mode_supported", json!(false)).await;
    assert!(is_made_here().await);
    let plan = gateway.plan(json!({"path": RESPONSES, "request": background})).await;
    has(&plan, json!({"error": null, "/chosen/provider": "openai"}));
}

/// A prompt that is long enough for the cache, twice.
async fn reuse(gateway: &Gateway) -> Value {
    let long = "You know everything of the sea. ".repeat(300);
    twice(gateway, json!([{"role": "system", "content": long}, {"role": "user", "content": "hi"}])).await
}

/// The record of the second of two requests with these messages.
async fn twice(gateway: &Gateway, messages: Value) -> Value {
    let body = json!({"model": MINI, "messages": messages});
    gateway.chat_ok(&body).await;
    gateway.settled(&trace_of(&gateway.chat_ok(&body).await)).await
}

#[tokio::test]
async fn the_waterfall_and_the_help_for_the_cache_follow_the_manifest() {
    let gateway = Gateway::start().await;
    gateway.account("openai", POOL).await;
    let count = |record: &Value, name: &str| {
        record["reuse"][name].as_u64().unwrap_or_else(|| panic!("{name}: {record}"))
    };
    let has_key = || gateway.last(POOL).json().get("prompt_cache_key").is_some();
    let record = reuse(&gateway).await;
    let input = count(&record, "input_tokens");
    assert!(count(&record, "eligible_reuse_tokens") > 1_024 && input < 1_000_000, "{record}");
    assert!(count(&record, "candidate_reuse_tokens") > 1_024, "{record}");
    assert_eq!(record["reuse"]["evidence"], "provider_reported");
    assert!(has_key(), "requests with the same beginning go where it is cached");
    // Nothing is said to be cached in steps of 1,000 tokens less than it reaches.
    state(&gateway, "prompt_cache_step_tokens", json!(1_000)).await;
    let stepped = count(&reuse(&gateway).await, "eligible_reuse_tokens");
    assert!(stepped == input / 1_000 * 1_000 || stepped > input / 1_000 * 1_000 - 1, "{stepped} of {input}");
    state(&gateway, "prompt_cache_step_tokens", Value::Null).await;
    state(&gateway, "prompt_cache_supported", json!(false)).await;
    reuse(&gateway).await;
    assert!(!has_key(), "nothing helps a cache that is not there");
}

#[tokio::test]
async fn a_shorter_cached_prefix_is_eligible_where_the_manifest_says_so() {
    let gateway = Gateway::start().await;
    // Nothing of it is cached in the emulator, so that only the estimate tells.
    gateway.account("openai", POOL).await;
    let about = async |name: &str| {
        let long = format!("You know everything of {name}. ").repeat(100);
        twice(&gateway, json!([{"role": "user", "content": long}])).await["reuse"].clone()
    };
    let reuse = about("the sea").await;
    assert!(reuse["input_tokens"].as_u64().unwrap() < 1_024, "{reuse}");
    has(&reuse, json!({"eligible_reuse_tokens": 0, "candidate_reuse_tokens": 0}));
    state(&gateway, "prompt_cache_min_tokens", json!(128)).await;
    let reuse = about("the moon").await;
    assert!(reuse["eligible_reuse_tokens"].as_u64().unwrap() > 128, "{reuse}");
    assert!(reuse["candidate_reuse_tokens"].as_u64().unwrap() > 128, "{reuse}");
    assert_eq!(reuse["evidence"], "provider_reported");
    state(&gateway, "cached_token_reporting", json!(false)).await;
    let reuse = about("the wind").await;
    has(&reuse, json!({"realized_reused_tokens": 0, "evidence": "unknown"}));
}

/// What a translation asks, tiers and searches, the most that a policy counts, and what a purge claims.
#[tokio::test]
async fn what_is_written_refused_bounded_and_claimed_is_what_the_manifest_says() {
    let gateway = own().await;
    let body = with(question(MINI), json!({"max_tokens": 9, "temperature": 0.5}));
    gateway.post("/v1/messages", &body).await.must_be(200);
    assert_eq!(gateway.last(OWN).json()["temperature"], 0.5);
    // What is known of a model comes before what is stated of its provider.
    gateway.patch(OPENAI, json!({"models": {"gpt-4o-mini": {"refuses_sampling": {"value": true}}}})).await;
    let answer = gateway.post("/v1/messages", &body).await;
    assert!(gateway.last(OWN).json().get("temperature").is_none(), "{}", answer.text());
    let client = gateway.client();
    let flex = with(question(MINI), json!({"service_tier": "flex"}));
    assert_eq!(client.post(CHAT, &flex).await.unwrap().status, 200);
    state(&gateway, "service_tiers", json!(["auto", "default"])).await;
    denied(&client.post(CHAT, &flex).await.unwrap(), "service_tiers", "service_tier");
    for tier in ["auto", "default"] {
        let usual = with(question(MINI), json!({"service_tier": tier}));
        assert_eq!(client.post(CHAT, &usual).await.unwrap().status, 200, "{tier}");
    }
    let searching = json!({"model": MINI, "input": "hello there", "tools": [{"type": "web_search"}]});
    client.post(RESPONSES, &searching).await.unwrap().must_be(200);
    state(&gateway, "live_search_supported", json!(false)).await;
    denied(&client.post(RESPONSES, &searching).await.unwrap(), "live_search_supported", "tools");
    // A policy of cost counts no more of a prompt than the model takes.
    let policy = json!({"project_id": gateway.founded.project_id, "limits": {"max_cost_micros": 100}});
    gateway.make("/v2/policies", policy).await;
    let long = "the sea ".repeat(2_000);
    let body = json!({"model": MINI, "max_tokens": 1, "messages": [{"role": "user", "content": long}]});
    refused(&gateway.chat(&body).await, 403, "policy_forbids");
    state(&gateway, "context_window_max_tokens", json!(100)).await;
    gateway.chat(&body).await.must_be(200);
    let path = format!("/v2/projects/{}/purge-cache", gateway.founded.project_id);
    let purge = async || gateway.admin().post(&path, &json!({})).await.unwrap().json()["providers"].clone();
    let usual = json!({"provider": "openai", "purge": "expiry", "guarantee": "best_effort_expiry"});
    assert_eq!(purge().await, json!([with(usual, json!({"kept_seconds_max": 86_400}))]));
    state(&gateway, "purge", json!("rotate_isolation_key")).await;
    state(&gateway, "prompt_cache_extended_ttl_seconds", json!(60)).await;
    let found = purge().await;
    has(&found[0], json!({"purge": "rotate_isolation_key", "kept_seconds_max": 60}));
    state(&gateway, "prompt_cache_supported", json!(false)).await;
    assert_eq!(purge().await, json!([]));
}
