//! What a model name means and which rule decides: the plan states it, and the emulator's journal confirms
//! it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use harness::client::Answer;
use serde_json::{Value, json};

use crate::ask::{CHAT, LLAMA, MINI, has, question, refused, trace_of};
use crate::gateway::{CUSTOM, Gateway, NODE, OWN, OWN_SECOND, POOL, config};

const TAG: &str = "nightly";

/// One level at which a route can be set, from the weakest to the strongest.
struct Level {
    secret: String,
    credential: String,
    scope: Value,
}

fn hints(tag: &str) -> String {
    URL_SAFE_NO_PAD.encode(json!({"tag": tag}).to_string())
}

async fn tagged(gateway: &Gateway, key: &str) -> Answer {
    let client = gateway.with_key(key).header("agent-hints", hints(TAG));
    client.post(CHAT, &question(MINI)).await.unwrap().must_be(200)
}

/// The plan names the credential, the answer names it, and the emulator saw its secret.
async fn served_by(gateway: &Gateway, key: (&str, &str), level: &Level, route: &str) {
    let plan = gateway.plan(json!({"model": MINI, "key_id": key.1, "tag": TAG})).await;
    has(&plan, json!({"/chosen/principal": level.credential, "/route/id": route}));
    let before = gateway.emulator.journal().len();
    let answer = tagged(gateway, key.0).await;
    let served = answer.header("agent-byok-credential-id");
    assert_eq!(served, Some(level.credential.as_str()), "scope {}", level.scope);
    let journal = gateway.emulator.journal();
    assert_eq!(journal.len(), before + 1);
    assert_eq!(journal[before].key.as_deref(), Some(level.secret.as_str()), "scope {}", level.scope);
    has(&gateway.settled(&trace_of(&answer)).await, json!({"tag": TAG, "/plan/route_id": route}));
}

#[tokio::test]
async fn the_strongest_scope_decides() {
    let secrets: Vec<String> =
        (0..8).map(|level| format!("sk-level{level}-5d0c7a9e3b1f8642907cd1e4f6a8b35{level}")).collect();
    let gateway = Gateway::with(config().keys(secrets.clone()), &[]).await;
    let (key, key_id) = gateway.key(json!({"name": "routed", "scopes": ["inference"]})).await;
    let scopes = [
        json!({}),
        json!({"environment": "production"}),
        json!({"provider": "openai"}),
        json!({"modality": "chat"}),
        json!({"model": "openai/"}),
        json!({"model": "openai/gpt-4o-mini"}),
        json!({"project_id": gateway.founded.project_id}),
        json!({"key_id": key_id}),
    ];
    let mut levels = Vec::new();
    for (scope, secret) in scopes.into_iter().zip(secrets) {
        let credential = gateway.credential("openai", &secret).await;
        levels.push(Level { secret, credential, scope });
    }
    // The tag is the strongest level; it shares the first credential, which no other level selects by then.
    let mut routes = Vec::new();
    for level in &levels {
        let route = gateway.route(json!({"scope": level.scope, "credential_ids": [level.credential]})).await;
        served_by(&gateway, (&key, &key_id), level, &route).await;
        routes.push(route);
    }
    let route = gateway.route(json!({"scope": {"tag": TAG}, "credential_ids": [levels[0].credential]})).await;
    served_by(&gateway, (&key, &key_id), &levels[0], &route).await;
    gateway.remove(&format!("/v2/routes/{route}")).await;
    // Removed from the strongest down, each route leaves the next one in force at once.
    for (level, route) in levels.iter().zip(&routes).rev() {
        served_by(&gateway, (&key, &key_id), level, route).await;
        gateway.remove(&format!("/v2/routes/{route}")).await;
    }
    assert!(gateway.plan(json!({"model": MINI})).await["route"].is_null());
}

#[tokio::test]
async fn a_keys_environment_chooses() {
    let gateway = Gateway::start().await;
    let live = gateway.credential("openai", OWN).await;
    let tests = gateway.credential("openai", OWN_SECOND).await;
    gateway.route(json!({"scope": {"environment": "production"}, "credential_ids": [live]})).await;
    let staging = json!({"scope": {"environment": "staging"}, "credential_ids": [tests]});
    gateway.route(staging.clone()).await;
    // The same place is fixed once.
    gateway.admin().post("/v2/routes", &staging).await.unwrap().must_be(409);
    let (staging, _) = gateway.key(json!({"name": "staging", "environment": "staging"})).await;
    assert!(staging.starts_with("tg_test_"), "a key of another environment than production");
    let production = &gateway.founded.api_key;
    for (key, credential, environment) in [(production, &live, "production"), (&staging, &tests, "staging")] {
        let answer = gateway.with_key(key).post(CHAT, &question(MINI)).await.unwrap();
        assert_eq!(answer.header("agent-byok-credential-id"), Some(credential.as_str()), "{}", answer.text());
        assert_eq!(gateway.settled(&trace_of(&answer)).await["environment"], environment);
    }
    let usage = gateway.get("/v2/usage?group_by=environment").await;
    assert_eq!(usage["data"].as_array().unwrap().len(), 2, "{usage}");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn names_that_lead_nowhere_say_what_would_help() {
    let overlay = "[[model]]\nname = \"acme/gpt-4o-mini\"\n\n[[model.offer]]\nprovider = \"together_ai\"\nupstream_model = \"acme-large\"\n";
    let gateway = Gateway::priced(config(), overlay).await;
    let cases = [
        (MINI, 404, "model_not_served"),
        ("gpt-4o-mni", 404, "model_not_served"),
        ("gpt-4o-mini", 400, "model_ambiguous"),
        ("openai/text-embedding-3-small", 400, "model_modality"),
    ];
    let (mut messages, mut traces) = (Vec::new(), Vec::new());
    for (model, status, code) in cases {
        let answer = gateway.chat(&question(model)).await;
        let error = refused(&answer, status, code);
        assert_eq!(error["param"], "model", "{error}");
        messages.push(error["message"].as_str().unwrap().to_owned());
        traces.push(trace_of(&answer));
    }
    for command in ["tidegate credential add openai", "tidegate nodes add", "tidegate account add openai"] {
        assert!(messages[0].contains(command), "{command} is not offered: {}", messages[0]);
    }
    assert!(messages[1].contains(MINI), "{}", messages[1]);
    assert!(messages[2].contains(MINI) && messages[2].contains("acme/gpt-4o-mini"), "{}", messages[2]);
    assert_eq!(gateway.emulator.journal().len(), 0);
    // Refused requests are listed, but not counted: no attempt was made.
    for trace in traces {
        assert_eq!(gateway.settled(&trace).await["attempts"], json!([]));
    }
    let list = gateway.requests(50).await;
    assert_eq!(list.len(), 4, "{list:?}");
    assert_eq!(gateway.get("/v2/billing/snapshot").await["mtd"]["requests"], 0);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn names_find_their_seller() {
    const TURBO: &str = "meta-llama/Llama-3.3-70B-Instruct-Turbo";
    let gateway = Gateway::start().await;
    gateway.credential("together", OWN).await;
    gateway.credential("nebius", OWN_SECOND).await;
    gateway.credential("openai", OWN).await;
    gateway.credential("acme", CUSTOM).await;
    gateway.node("rack", &["tide-1"]).await;
    let cases = [
        // requested name, provider, the provider's own name, resolved name, key seen
        (LLAMA, "together_ai", TURBO, LLAMA, OWN),
        ("nebius:meta-llama/Llama-3.3-70B-Instruct", "nebius", LLAMA, LLAMA, OWN_SECOND),
        ("together:meta-llama/Llama-3.3-70B-Instruct", "together_ai", TURBO, LLAMA, OWN),
        ("gpt-4o", "openai", "gpt-4o", "openai/gpt-4o", OWN),
        ("openai/gpt-unknown", "openai", "gpt-unknown", "openai/gpt-unknown", OWN),
        ("acme/acme-large", "acme", "acme-large", "acme/acme-large", CUSTOM),
        ("acme:acme-large", "acme", "acme-large", "acme/acme-large", CUSTOM),
        ("tide-1", "byoc", "tide-1", "tide-1", NODE),
    ];
    for (model, seller, upstream, resolved, key) in cases {
        let plan = gateway.plan(json!({"model": model})).await;
        has(&plan, json!({"/chosen/upstream_model": upstream, "resolved_model": resolved}));
        let answer = gateway.chat_ok(&question(model)).await;
        assert_eq!(answer.header("agent-resolved-provider"), Some(seller), "{model}");
        assert_eq!(answer.header("agent-resolved-model"), Some(resolved), "{model}");
        let call = gateway.emulator.journal().pop().unwrap();
        assert_eq!((call.model.as_deref(), call.key.as_deref()), (Some(upstream), Some(key)), "{model}");
    }
    let sums = gateway.wait_for_usage(8).await;
    // The two that the price book does not list; a node has no token price by nature.
    assert_eq!(sums["unpriced_requests"], 3, "{sums}");
    assert_eq!(gateway.get("/v2/billing/snapshot").await["unpriced_event_count"], 3);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn own_prices_of_a_credential_count() {
    let gateway = Gateway::start().await;
    let (base_url, prices) = (gateway.emulator.base_url(), json!({"input": 1_000_000, "output": 2_000_000}));
    let prices = json!({"acme-large": prices});
    let body = json!({"provider": "acme", "secret": CUSTOM, "base_url": base_url, "pricing": prices});
    let credential = gateway.make("/v2/provider-credentials", body).await;
    assert_eq!(credential["pricing"]["acme-large"]["output"], 2_000_000, "{credential}");
    let request = gateway.settled(&trace_of(&gateway.chat_ok(&question("acme/acme-large")).await)).await;
    let tally = gateway.emulator.totals().by_key[CUSTOM];
    let cost = tally.prompt_tokens * 1_000 + tally.completion_tokens * 2_000;
    has(&request, json!({"provider_cost_nanos": cost, "cost_nanos": 0, "unpriced": false}));
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_plan_sends_nothing() {
    let gateway = Gateway::start().await;
    let credential = gateway.credential("openai", OWN).await;
    let account = gateway.account("openai", POOL).await;
    let plan = gateway.plan(json!({"model": MINI, "environment": "production"})).await;
    assert_eq!(plan["chosen"]["principal"], credential, "{plan}");
    assert_eq!(plan["attempts"].as_array().unwrap().len(), 1, "strict: the pool isn't an attempt: {plan}");
    let rejected = plan["rejected"].as_array().unwrap();
    let is_strict = |row: &Value| row["principal"] == account && row["reason"] == "byok_strict";
    assert!(rejected.iter().any(is_strict), "{plan}");
    let route = gateway.route(json!({"scope": {}, "byok_fallback": "managed"})).await;
    let plan = gateway.plan(json!({"model": MINI})).await;
    assert_eq!(plan["attempts"].as_array().unwrap().len(), 2, "{plan}");
    has(&plan, json!({"/attempts/0/fallback": false, "/attempts/1/fallback": true, "/route/id": route}));
    assert_eq!(gateway.emulator.journal().len(), 0);
    assert_eq!(gateway.requests(10).await.len(), 0);
}

#[tokio::test]
async fn a_route_drops_a_providers_own_tools_where_it_says_so() {
    const HAIKU: &str = "anthropic/claude-haiku-4-5";
    let gateway = Gateway::start().await;
    let base_url = gateway.emulator.anthropic_url();
    let credential = json!({"provider": "anthropic", "secret": OWN, "base_url": base_url});
    gateway.make("/v2/provider-credentials", credential).await;
    let tools = json!([{"type": "file_search", "vector_store_ids": ["vs_1"]}]);
    let body = json!({"model": HAIKU, "input": "hello there", "tools": tools});
    let send = async || gateway.client().post("/v1/responses", &body).await.unwrap();
    let told = send().await;
    assert_eq!((told.status, told.json()["error"]["param"].clone()), (400, json!("tools[0]")));
    gateway.route(json!({"scope": {"model": HAIKU}, "hosted_tools": "drop"})).await;
    assert!(send().await.must_be(200).header("agent-dropped-params").unwrap().contains("tools[0]"));
}
