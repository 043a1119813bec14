//! Environments: the same request with two keys is served under two credentials.

use serde_json::json;

use crate::ask::{MINI, question, refused};
use crate::gateway::{Gateway, OWN, OWN_SECOND, row};

async fn credential(gateway: &Gateway, environment: &str, secret: &str) -> String {
    let more = json!({"display_name": environment, "scope": {"environment": environment}});
    gateway.credential_with("openai", secret, more).await
}

#[tokio::test]
async fn two_keys_the_same_body_two_credentials() {
    let gateway = Gateway::start().await;
    let production = credential(&gateway, "production", OWN).await;
    let staging = credential(&gateway, "staging", OWN_SECOND).await;
    let (live, _) = gateway.key(json!({"name": "live"})).await;
    let (test, _) = gateway.key(json!({"name": "test", "environment": "staging"})).await;
    assert!(live.starts_with("tg_live_") && test.starts_with("tg_test_"));
    let body = question(MINI);
    for (key, credential, secret) in [(&live, &production, OWN), (&test, &staging, OWN_SECOND)] {
        let before = gateway.calls(secret).len();
        let answer = gateway.with_key(key).post(crate::ask::CHAT, &body).await.unwrap().must_be(200);
        assert_eq!(answer.header("agent-byok-credential-id"), Some(credential.as_str()));
        assert_eq!(gateway.calls(secret).len(), before + 1);
    }
    gateway.wait_for_usage(2).await;
    let usage = gateway.get("/v2/usage?group_by=environment").await;
    for environment in ["production", "staging"] {
        assert_eq!(row(&usage["data"], "environment", environment)["requests"], 1, "{usage}");
    }
    assert_eq!(usage["data"].as_array().unwrap().len(), 2, "{usage}");
    // An environment without a credential can't use another's.
    let (bare, _) = gateway.key(json!({"name": "bare", "environment": "development"})).await;
    refused(&gateway.with_key(&bare).post(crate::ask::CHAT, &body).await.unwrap(), 404, "model_not_served");
}
