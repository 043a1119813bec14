//! The operator's pool: failover between accounts and providers, and what is never selected.

use harness::{Behaviour, Model};
use serde_json::{Value, json};

use crate::ask::{LLAMA, MINI, has, question, refused, streaming, trace_of, with};
use crate::audit::{audited, entries};
use crate::gateway::{Gateway, OWN, POOL, POOL_SECOND, config, row};
use crate::wait::an_hour_with_room;

#[tokio::test]
async fn the_next_account_serves() {
    let (refuses, fails) = (Behaviour::status(401), Behaviour::status(500));
    for behaviour in [refuses, Behaviour::rate_limited(30), fails, Behaviour::reset()] {
        let gateway = Gateway::start().await;
        for (secret, weight) in [(POOL, 10_000), (POOL_SECOND, 0)] {
            gateway.account_with("openai", secret, json!({"weight": weight})).await;
        }
        gateway.emulator.script(POOL, [behaviour.clone().always()]);
        for body in [question(MINI), streaming(MINI)] {
            let answer = gateway.chat_ok(&body).await;
            assert_eq!(answer.header("agent-execution-profile"), Some("managed_provider"));
            assert_eq!(answer.header("agent-resolved-model"), Some(MINI));
            gateway.settled(&trace_of(&answer)).await;
        }
        assert_eq!(gateway.calls(POOL_SECOND).len(), 2, "{behaviour:?}");
        assert!(!gateway.calls(POOL).is_empty(), "the heavy account was not asked first");
        let usage = gateway.get("/v2/usage?group_by=mode").await;
        assert_eq!(row(&usage["data"], "mode", "mi")["requests"], 2, "{usage}");
    }
}

#[tokio::test]
async fn the_next_seller_of_a_model_serves() {
    let gateway = Gateway::start().await;
    gateway.account("nebius", POOL).await;
    gateway.account("together", POOL_SECOND).await;
    gateway.route(json!({"scope": {"model": LLAMA}, "providers": ["nebius", "together_ai"]})).await;
    assert_eq!(gateway.chat_ok(&question(LLAMA)).await.header("agent-resolved-provider"), Some("nebius"));
    gateway.emulator.script(POOL, [Behaviour::out_of_quota().always()]);
    let answer = gateway.chat_ok(&question(LLAMA)).await;
    assert_eq!(answer.header("agent-resolved-provider"), Some("together_ai"));
    assert_eq!(answer.header("agent-resolved-model"), Some(LLAMA));
    let call = gateway.calls(POOL_SECOND).pop().unwrap();
    let seen = call.model.as_deref();
    assert_eq!(seen, Some("meta-llama/Llama-3.3-70B-Instruct-Turbo"), "each seller has its own name for it");
}

/// The emergency provider's name for the model.
const MINI_THERE: &str = "openai/gpt-4o-mini";

/// A gateway whose pool has one ordinary account and one that is reserved for emergencies.
async fn pool_with_a_rescue(operator: bool, route: bool) -> Gateway {
    let word = [("TIDEGATE_EMERGENCY", "1")];
    let config = config().model(Model::chat(MINI_THERE));
    let gateway = Gateway::with(config, if operator { &word } else { &[] }).await;
    gateway.account("openai", POOL).await;
    gateway.account("openrouter", POOL_SECOND).await;
    let emergency = if route { json!("allowed") } else { Value::Null };
    gateway.route(with(json!({"scope": {"model": MINI}}), json!({"emergency": emergency}))).await;
    gateway
}

#[tokio::test]
async fn only_a_failure_that_operator_and_route_allow_for_reaches_the_emergency_provider() {
    for row in 0..8_u8 {
        let [failed, operator, route] = [row & 1, row & 2, row & 4].map(|bit| bit != 0);
        let gateway = pool_with_a_rescue(operator, route).await;
        if failed {
            gateway.emulator.script(POOL, [Behaviour::status(500).always()]);
        }
        let rescued = failed && operator && route;
        let allowed = gateway.get("/v2/audit?chain=installation&action=emergency").await;
        let acts = allowed["data"].as_array().unwrap().iter().map(|entry| &entry["action"]);
        let expected = if operator { vec!["emergency.allow"] } else { vec![] };
        assert_eq!(acts.collect::<Vec<_>>(), expected, "{row}");
        // The audit has one entry per hour.
        an_hour_with_room().await;
        for body in [question(MINI), streaming(MINI)] {
            let answer = gateway.chat(&body).await;
            assert_eq!(answer.status == 200, !failed || rescued, "{row}: {}", answer.text());
            let mode = if rescued { "openrouter_fallback" } else { "live" };
            assert_eq!(answer.header("agent-execution-mode"), Some(mode), "{row}");
            let provider = if rescued { "openrouter" } else { "openai" };
            assert_eq!(answer.header("agent-resolved-provider"), Some(provider), "{row}");
            let expected = if rescued { "true" } else { "false" };
            assert_eq!(answer.header("agent-fallback-used"), Some(expected), "{row}");
            has(&gateway.settled(&trace_of(&answer)).await, json!({"mode": "mi", "provider": provider}));
        }
        if rescued {
            let entry = audited(&gateway, "request.emergency").await;
            assert!(entry["detail"].as_str().unwrap().contains("served by openrouter"), "{entry}");
            assert_eq!(entries(&gateway, "request.emergency").await.len(), 1, "the first of the hour");
        } else {
            assert_eq!(entries(&gateway, "request.emergency").await, [] as [Value; 0]);
        }
        let calls = gateway.calls(POOL_SECOND);
        assert_eq!(calls.len(), if rescued { 2 } else { 0 }, "{row}");
        assert!(calls.iter().all(|call| call.model.as_deref() == Some(MINI_THERE)));
    }
}

#[cfg(feature = "control")]
#[tokio::test]
async fn a_limit_a_bill_and_a_bad_request_are_no_emergency() {
    for (behaviour, status) in [
        (Behaviour::rate_limited(30), 429),
        (Behaviour::out_of_quota(), 402),
        (Behaviour::status(404), 404),
        (Behaviour::status(400), 400),
    ] {
        let gateway = pool_with_a_rescue(true, true).await;
        gateway.emulator.script(POOL, [behaviour.always()]);
        let answer = gateway.chat(&question(MINI)).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(gateway.calls(POOL_SECOND).len(), 0);
    }
}

#[cfg(feature = "control")]
#[tokio::test]
async fn the_emergency_provider_serves_nobody_who_has_a_credential_of_their_own() {
    let gateway = pool_with_a_rescue(true, true).await;
    gateway.credential("openai", OWN).await;
    gateway.route(json!({"scope": {}, "byok_fallback": "managed", "emergency": "allowed"})).await;
    for key in [OWN, POOL] {
        gateway.emulator.script(key, [Behaviour::status(500).always()]);
    }
    for model in [MINI, "openai/gpt-4o"] {
        let answer = gateway.chat(&question(model)).await;
        assert!(answer.status >= 500, "{model}: {}", answer.text());
    }
    assert_eq!(gateway.calls(POOL_SECOND).len(), 0);
}

#[cfg(feature = "control")]
#[tokio::test]
async fn the_emergency_provider_is_no_ordinary_one() {
    let gateway = Gateway::start().await;
    let account = gateway.account("openrouter", POOL).await;
    let error = refused(&gateway.chat(&question(MINI)).await, 404, "model_not_served");
    assert!(error["message"].as_str().unwrap().contains("tidegate credential add openai"), "{error}");
    let plan = gateway.plan(json!({"model": MINI})).await;
    assert_eq!(plan["attempts"], json!([]), "{plan}");
    assert!(plan["rejected"].to_string().contains(&account), "{plan}");
    // The emergency provider can't be a credential at all: no BYOK request ever leaves through it.
    let body = json!({"provider": "openrouter", "secret": OWN, "base_url": gateway.emulator.base_url()});
    gateway.admin().post("/v2/provider-credentials", &body).await.unwrap().must_be(400);
    assert_eq!(gateway.emulator.journal().len(), 0);
}

#[cfg(feature = "control")]
#[tokio::test]
async fn an_unpriced_model_is_refused_until_the_operator_allows_it() {
    let gateway = Gateway::start().await;
    let account = gateway.account("openai", POOL).await;
    refused(&gateway.chat(&question("openai/gpt-unknown")).await, 404, "model_not_served");
    assert_eq!(gateway.emulator.journal().len(), 0);
    gateway.patch(&format!("/v2/accounts/{account}"), json!({"allow_unpriced": true})).await;
    let request = gateway.settled(&trace_of(&gateway.chat_ok(&question("openai/gpt-unknown")).await)).await;
    assert_eq!((&request["unpriced"], &request["mode"]), (&json!(true), &json!("mi")), "{request}");
    assert_eq!(gateway.get("/v2/billing/snapshot").await["unpriced_event_count"], 1);
}
