//! The operator's pool: failover between accounts and providers, and what is never chosen.

use harness::Behaviour;
use serde_json::json;

use crate::ask::{LLAMA, MINI, question, refused, streaming, trace_of};
use crate::gateway::{Gateway, OWN, POOL, POOL_SECOND, row};

#[tokio::test]
async fn the_next_account_serves() {
    for behaviour in
        [Behaviour::status(401), Behaviour::rate_limited(30), Behaviour::status(500), Behaviour::reset()]
    {
        let gateway = Gateway::start().await;
        let first = json!({"provider": "openai", "secret": POOL, "base_url": gateway.emulator.base_url(), "weight": 10_000});
        gateway.make("/v2/accounts", first).await;
        let second = json!({"provider": "openai", "secret": POOL_SECOND, "base_url": gateway.emulator.base_url(), "weight": 0});
        gateway.make("/v2/accounts", second).await;
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
    assert_eq!(
        call.model.as_deref(),
        Some("meta-llama/Llama-3.3-70B-Instruct-Turbo"),
        "each seller has its own name for it"
    );
}

#[tokio::test]
async fn the_emergency_provider_is_stored_and_never_chosen() {
    let gateway = Gateway::start().await;
    let account = gateway.account("openrouter", POOL).await;
    let error = refused(&gateway.chat(&question(MINI)).await, 404, "model_not_served");
    assert!(error["message"].as_str().unwrap().contains("tidegate credential add openai"), "{error}");
    let plan = gateway.plan(json!({"model": MINI})).await;
    assert_eq!(plan["attempts"], json!([]), "{plan}");
    let reasons = plan["rejected"].to_string();
    assert!(reasons.contains(&account), "{plan}");
    // It can't be a credential at all: nothing of BYOK ever leaves through it.
    let body = json!({"provider": "openrouter", "secret": OWN, "base_url": gateway.emulator.base_url()});
    let answer = gateway.admin().post("/v2/provider-credentials", &body).await.unwrap();
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(gateway.emulator.journal().len(), 0);
}

#[tokio::test]
async fn an_unpriced_model_is_refused_until_the_operator_allows_it() {
    let gateway = Gateway::start().await;
    let body = json!({"provider": "openai", "secret": POOL, "base_url": gateway.emulator.base_url()});
    let account = gateway.make("/v2/accounts", body).await["id"].as_str().unwrap().to_owned();
    refused(&gateway.chat(&question("openai/gpt-unknown")).await, 404, "model_not_served");
    assert_eq!(gateway.emulator.journal().len(), 0);
    gateway.patch(&format!("/v2/accounts/{account}"), json!({"allow_unpriced": true})).await;
    let answer = gateway.chat_ok(&question("openai/gpt-unknown")).await;
    let request = gateway.settled(&trace_of(&answer)).await;
    assert_eq!((&request["unpriced"], &request["mode"]), (&json!(true), &json!("mi")), "{request}");
    assert_eq!(gateway.get("/v2/billing/snapshot").await["unpriced_event_count"], 1);
}
