//! Policies: what a project's requests may reach, whatever a route says, enforced before anything is sent.

use harness::client::Answer;
use serde_json::{Value, json};

use crate::ask::{MINI, problem, question, refused, streaming, with};
use crate::audit::{audited, entries};
use crate::gateway::{Gateway, LOCAL_MODEL, OWN, OWN_SECOND, POOL, id_of};

const POLICIES: &str = "/v2/policies";
const CREDENTIALS: &str = "/v2/provider-credentials";

async fn policy(gateway: &Gateway, rules: Value) -> Value {
    let project = json!({"project_id": gateway.founded.project_id});
    gateway.make(POLICIES, with(project, rules)).await
}

fn credential(gateway: &Gateway, key: &str, more: Value) -> Value {
    with(json!({"provider": "openai", "secret": key, "base_url": gateway.emulator.base_url()}), more)
}

/// Checks that this rule refused the request, with nothing sent.
fn forbidden(gateway: &Gateway, answer: &Answer, made: &Value, rule: &str) {
    let error = refused(answer, 403, "policy_forbids");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains(made["id"].as_str().unwrap()) && message.contains(&format!("({rule})")),
        "{error}"
    );
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert_eq!(gateway.emulator.journal().len(), 0, "something left");
}

#[tokio::test]
async fn who_did_not_agree_to_keep_nothing_is_not_asked() {
    let gateway = Gateway::start().await;
    let made = policy(&gateway, json!({"retention": "zero", "compliance": ["hipaa"]})).await;
    let unknown = gateway.make(CREDENTIALS, credential(&gateway, OWN, json!({}))).await;
    for request in [question(MINI), streaming(MINI)] {
        forbidden(&gateway, &gateway.chat(&request).await, &made, "retention");
    }
    let path = format!("{CREDENTIALS}/{}", id_of(&unknown));
    gateway.patch(&path, json!({"retention": {"days": 30}})).await;
    forbidden(&gateway, &gateway.chat(&question(MINI)).await, &made, "retention");
    gateway.patch(&path, json!({"retention": "zero"})).await;
    forbidden(&gateway, &gateway.chat(&question(MINI)).await, &made, "compliance");
    gateway.patch(&path, json!({"compliance": ["soc2", "hipaa"]})).await;
    gateway.chat_ok(&question(MINI)).await;
    // Seven days are acceptable from now on, and a compliance tag that is no longer stated counts as absent.
    let changed = json!({"retention": {"days": 7}, "compliance": []});
    gateway.patch(&format!("{POLICIES}/{}", id_of(&made)), changed).await;
    gateway.patch(&path, json!({"retention": {"days": 7}})).await;
    gateway.chat_ok(&question(MINI)).await;
    gateway.patch(&path, json!({"retention": null})).await;
    refused(&gateway.chat(&question(MINI)).await, 403, "policy_forbids");
    gateway.remove(&format!("{POLICIES}/{}", id_of(&made))).await;
    gateway.chat_ok(&question(MINI)).await;
}

#[tokio::test]
async fn each_rule_holds_over_every_route() {
    for (rules, rule) in [
        (json!({"allowed_providers": ["anthropic", "byoc"]}), "allowed_providers"),
        (json!({"allowed_models": ["anthropic/", "openai/gpt-5*"]}), "allowed_models"),
        (json!({"allowed_regions": ["eu-west-1"]}), "allowed_regions"),
        (json!({"profiles": ["byoc"]}), "profiles"),
    ] {
        let gateway = Gateway::start().await;
        let made = policy(&gateway, rules).await;
        gateway.make(CREDENTIALS, credential(&gateway, OWN, json!({}))).await;
        gateway.make("/v2/accounts", credential(&gateway, POOL, json!({}))).await;
        gateway
            .route(json!({"scope": {}, "profiles": ["byok", "managed_provider"], "byok_fallback": "managed"}))
            .await;
        forbidden(&gateway, &gateway.chat(&question(MINI)).await, &made, rule);
        let plan = gateway.admin().post("/v2/plan", &json!({"model": MINI})).await.unwrap().json();
        assert!(plan.to_string().contains("policy_forbids"), "{plan}");
    }
}

#[tokio::test]
async fn what_a_policy_allows_is_asked_in_the_place_of_what_it_does_not() {
    let gateway = Gateway::start().await;
    gateway.make(CREDENTIALS, credential(&gateway, OWN, json!({"retention": {"days": 30}}))).await;
    let kept = credential(&gateway, OWN_SECOND, json!({"display_name": "kept nowhere", "retention": "zero"}));
    let kept = gateway.make(CREDENTIALS, kept).await;
    policy(&gateway, json!({"retention": "zero", "allowed_providers": ["openai", "byoc"]})).await;
    let answer = gateway.chat_ok(&question(MINI)).await;
    assert_eq!(answer.header("agent-byok-credential-id"), kept["id"].as_str());
    // The workspace's own machines count as zero retention.
    gateway.node("rack", &[LOCAL_MODEL]).await;
    let answer = gateway.chat_ok(&question(LOCAL_MODEL)).await;
    assert_eq!(answer.header("agent-execution-profile"), Some("byoc"));
}

/// A forbidden target is refused as forbidden whether it is available or not; and the refusal is audited,
/// once per hour.
#[tokio::test]
async fn a_policy_is_told_before_the_state_of_what_it_forbids() {
    let gateway = Gateway::start().await;
    let away = json!({"name": "rack", "base_url": "http://127.0.0.1:9/v1", "models": [LOCAL_MODEL]});
    let node = id_of(&gateway.make("/v2/byoc/nodes", away).await);
    let made = policy(&gateway, json!({"profiles": ["byok"]})).await;
    let probed = gateway.admin().post(&format!("/v2/byoc/nodes/{node}/probe"), &json!({})).await.unwrap();
    assert_eq!(probed.json()["status"], "unreachable", "{}", probed.text());
    for _ in 0..2 {
        let error = refused(&gateway.chat(&question(LOCAL_MODEL)).await, 403, "policy_forbids");
        assert!(error["message"].as_str().unwrap().contains(made["id"].as_str().unwrap()), "{error}");
    }
    let entry = audited(&gateway, "request.refuse").await;
    assert_eq!(entry["target"], gateway.founded.project_id.as_str(), "{entry}");
    let detail = entry["detail"].as_str().unwrap();
    assert!(detail.contains(LOCAL_MODEL) && detail.contains("(profiles)"), "{entry}");
    gateway.listed(2).await;
    assert_eq!(entries(&gateway, "request.refuse").await.len(), 1);
}

#[tokio::test]
async fn a_node_says_its_region_by_a_label() {
    let gateway = Gateway::start().await;
    let made = policy(&gateway, json!({"allowed_regions": ["eu-west-1"]})).await;
    let node = gateway.node("rack", &[LOCAL_MODEL]).await;
    let error = refused(&gateway.chat(&question(LOCAL_MODEL)).await, 403, "policy_forbids");
    assert!(error["message"].as_str().unwrap().contains(made["id"].as_str().unwrap()), "{error}");
    gateway.patch(&format!("/v2/byoc/nodes/{node}"), json!({"labels": ["region=eu-west-1", "gpu"]})).await;
    gateway.chat_ok(&question(LOCAL_MODEL)).await;
}

#[tokio::test]
async fn what_is_no_policy_is_told() {
    let gateway = Gateway::start().await;
    let made = policy(&gateway, json!({"retention": "zero"})).await;
    let project = gateway.founded.project_id.clone();
    for (body, status, code) in [
        (json!({"retention": "zero"}), 400, "missing_field"),
        (json!({"project_id": project, "retention": "soon"}), 400, "invalid_value"),
        (json!({"project_id": project, "profiles": ["friends"]}), 400, "invalid_value"),
        (json!({"project_id": project, "allowed_regions": [""]}), 400, "invalid_value"),
        (json!({"project_id": project, "allowed": []}), 400, "invalid_value"),
        (json!({"project_id": "prj_01900000000070008000000000000000"}), 404, "not_found"),
        (json!({"project_id": project}), 409, "policy_exists"),
    ] {
        let answer = gateway.admin().post(POLICIES, &body).await.unwrap();
        problem(&answer, status, code);
    }
    let other = gateway.make("/v2/projects", json!({"name": "other"})).await;
    let path = format!("{POLICIES}/{}", id_of(&made));
    let moved = json!({"project_id": other["id"]});
    let json = [("content-type", "application/json")];
    let answer = gateway.admin().call(http::Method::PUT, &path, &json, moved.to_string()).await.unwrap();
    problem(&answer, 400, "invalid_value");
}
