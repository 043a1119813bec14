//! Subscriptions: off by default, before BYOK, capped by window, renewed under load, and booked as their own profile.

use std::time::{Duration, Instant};

use harness::client::Answer;
use harness::{Behaviour, KeyState};
use serde_json::{Value, json};

use crate::ask::{
    CHAT, MINI, has, problem, question, refused, streaming, trace_of, until_status, with, words,
};
use crate::gateway::{Gateway, OWN, OWN_SECOND, POOL, config, id_of, row};
use crate::wait::{until, until_within};

const PATH: &str = "/v2/subscription-credentials";
const HAIKU: &str = "anthropic/claude-haiku-4-5";
const ON: [(&str, &str); 1] = [("TIDEGATE_SUBSCRIPTIONS", "1")];
const WAITED: Duration = Duration::from_secs(60);

fn codex(gateway: &Gateway, token: &str, more: Value) -> Value {
    with(json!({"provider": "codex", "token": token, "base_url": gateway.emulator.base_url()}), more)
}

/// Who serves now.
async fn serves(gateway: &Gateway, profile: &str, id: Option<&str>) {
    served_by(&gateway.chat_ok(&question(MINI)).await, profile, id);
}

fn served_by(answer: &Answer, profile: &str, id: Option<&str>) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("agent-execution-profile"), Some(profile), "{:?}", answer.headers);
    assert_eq!(answer.header("agent-subscription-id"), id.filter(|id| id.starts_with("sub_")));
    assert_eq!(answer.header("agent-byok-credential-id"), id.filter(|id| id.starts_with("pcr_")));
}

async fn reasons(gateway: &Gateway) -> Vec<String> {
    let plan = gateway.plan(json!({"model": MINI})).await;
    let rejected = plan["rejected"].as_array().unwrap();
    rejected.iter().map(|row| format!("{} {}", row["profile"], row["reason"])).collect()
}

/// The operator's consent comes first, and its withdrawal makes what there is absent.
#[tokio::test]
async fn subscriptions_are_off_unless_the_operator_switches_them_on() {
    let gateway = Gateway::start().await;
    let body = codex(&gateway, OWN, json!({}));
    problem(&gateway.admin().post(PATH, &body).await.unwrap(), 403, "subscriptions_off");
    assert_eq!(gateway.get(PATH).await["data"], json!([]));

    let mut gateway = Gateway::with(config(), &ON).await;
    let id = id_of(&gateway.make(PATH, codex(&gateway, OWN, json!({}))).await);
    gateway.account("openai", POOL).await;
    serves(&gateway, "subscription", Some(&id)).await;
    gateway.set("TIDEGATE_SUBSCRIPTIONS", "0");
    gateway.stop().await;
    gateway.start_again().await;
    serves(&gateway, "managed_provider", None).await;
    assert_eq!(gateway.get(&format!("{PATH}/{id}")).await["status"], "off");
    assert!(reasons(&gateway).await.contains(&r#""subscription" "subscriptions_off""#.to_owned()));
}

/// Each in turn: the headers say who served, and what is disabled or deleted is skipped as absent.
#[tokio::test]
async fn a_subscription_comes_before_byok_and_byok_before_managed() {
    let gateway = Gateway::with(config(), &ON).await;
    gateway.account("openai", POOL).await;
    let credential = gateway.credential("openai", OWN).await;
    let made = gateway.make(PATH, codex(&gateway, OWN_SECOND, json!({"plan": "pro"}))).await;
    let id = id_of(&made);
    let path = format!("{PATH}/{id}");
    has(&made, json!({"provider": "openai", "product": "codex", "plan": "pro"}));
    assert_eq!(made["cached_price_discount_pct"], 50, "{made}");
    assert!(made["token_fingerprint"].as_str().unwrap().starts_with("tfp_"), "{made}");

    for body in [question(MINI), streaming(MINI)] {
        let answer = gateway.chat_ok(&body).await;
        served_by(&answer, "subscription", Some(&id));
        assert_eq!(answer.header("agent-subscription-discount-pct"), Some("50"));
    }
    // A route that lists profiles without it does not move it; one that lists it decides its place.
    let route = gateway.route(json!({"scope": {}, "profiles": ["managed_provider"]})).await;
    serves(&gateway, "subscription", Some(&id)).await;
    gateway.patch(&format!("/v2/routes/{route}"), json!({"profiles": ["byok", "subscription"]})).await;
    serves(&gateway, "byok", Some(&credential)).await;
    gateway.remove(&format!("/v2/routes/{route}")).await;

    gateway.patch(&path, json!({"status": "disabled"})).await;
    serves(&gateway, "byok", Some(&credential)).await;
    gateway.patch(&path, json!({"status": "active"})).await;
    serves(&gateway, "subscription", Some(&id)).await;
    gateway.remove(&path).await;
    serves(&gateway, "byok", Some(&credential)).await;
    gateway.remove(&format!("/v2/provider-credentials/{credential}")).await;
    serves(&gateway, "managed_provider", None).await;
}

/// Its own row in usage, `byok` in the billing snapshot's three modes, nothing owed, and a memo at the discounted list.
#[tokio::test]
async fn a_subscription_is_booked_as_its_own_profile_at_the_list_less_its_discount() {
    let gateway = Gateway::with(config(), &ON).await;
    let id = id_of(&gateway.make(PATH, codex(&gateway, OWN, json!({}))).await);
    let answer = gateway.chat_ok(&question(MINI)).await;
    let used = answer.json()["usage"].clone();
    let request = gateway.settled(&trace_of(&answer)).await;
    has(&request, json!({"profile": "subscription", "mode": "byok"}));
    let [prompt, said] = ["prompt_tokens", "completion_tokens"].map(|count| used[count].as_u64().unwrap());
    // Half of gpt-4o-mini's 150 and 600 nano-USD a token.
    let list_nanos = prompt * 150 + said * 600;
    assert_eq!(request["provider_cost_nanos"].as_u64(), Some(list_nanos / 2), "{request}");
    assert_eq!(request["cost_nanos"].as_u64(), Some(0), "{request}");
    let usage = gateway.get("/v2/usage?group_by=profile").await;
    assert_eq!(row(&usage["data"], "profile", "subscription")["requests"], 1, "{usage}");
    let usage = gateway.get("/v2/usage?group_by=credential").await;
    assert_eq!(row(&usage["data"], "credential", &id)["requests"], 1, "{usage}");
    let snapshot = gateway.get("/v2/billing/snapshot").await;
    assert_eq!(row(&snapshot["mtd"]["by_mode"], "mode", "byok")["requests"], 1, "{snapshot}");
    let profiles = &snapshot["mtd"]["by_profile"];
    assert_eq!(row(profiles, "profile", "subscription")["requests"], 1, "{snapshot}");
    assert_eq!(row(profiles, "profile", "byok")["requests"], 0, "{snapshot}");
    assert_eq!(snapshot["owed_micros"], 0, "{snapshot}");
}

/// A used-up window is absence, with the reset as the reason; a failure is an error, and nobody else is asked.
#[cfg(feature = "broker")]
#[tokio::test]
async fn a_window_that_is_used_up_is_absence_and_a_failure_is_an_error() {
    let mut gateway = Gateway::with(config(), &ON).await;
    gateway.account("openai", POOL).await;
    let caps = json!({"windows": [{"hours": 5, "requests": 2}, {"hours": 168, "tokens": 1_000_000}]});
    let id = id_of(&gateway.make(PATH, codex(&gateway, OWN, caps)).await);
    let path = format!("{PATH}/{id}");
    for _ in 0..2 {
        let answer = gateway.chat_ok(&question(MINI)).await;
        served_by(&answer, "subscription", Some(&id));
        gateway.settled(&trace_of(&answer)).await;
    }
    serves(&gateway, "managed_provider", None).await;
    let plan = gateway.plan(json!({"model": MINI})).await;
    let reason = row(&plan["rejected"], "principal", &id);
    assert_eq!(reason["reason"], "window_used_up", "{plan}");
    assert!(reason["detail"].as_str().unwrap().contains(" s left of the window"), "{plan}");
    let shown = gateway.get(&path).await;
    assert_eq!(shown["window_use"][0]["requests"], 2, "{shown}");
    assert!(shown["window_use"][1]["tokens"].as_u64().unwrap() > 0, "{shown}");
    assert!(shown["window_use"][0]["resets_at"].is_string(), "{shown}");

    // The books still know after a restart.
    gateway.stop().await;
    gateway.start_again().await;
    let are_read = async || gateway.get(&path).await["window_use"][0]["requests"] == 2;
    until_within(WAITED, "the books to be read", are_read).await;
    serves(&gateway, "managed_provider", None).await;

    gateway.patch(&path, json!({"windows": []})).await;
    gateway.emulator.script(OWN, [Behaviour::status(401).always()]);
    let pooled = gateway.calls(POOL).len();
    let answer = gateway.chat(&question(MINI)).await;
    refused(&answer, 502, "upstream_auth_failed");
    assert_eq!(answer.header("agent-execution-profile"), Some("subscription"));
    assert_eq!(answer.header("agent-subscription-id"), Some(&*id));
    assert_eq!(gateway.calls(POOL).len(), pooled, "the pool was asked");
}

/// Under load each access token is renewed before it expires, once, and no request fails.
#[cfg(feature = "broker")]
#[tokio::test]
async fn an_access_token_is_renewed_under_load_without_a_failed_request() {
    let gateway = Gateway::with(config(), &ON).await;
    gateway.emulator.tokens_live(Duration::from_secs(20));
    let tokens = gateway.emulator.subscription(OWN);
    let oauth: serde_json::Map<_, _> = words("access_token refresh_token token_url client_id expires_at")
        .into_iter()
        .map(|name| (name.to_owned(), tokens[name].clone()))
        .collect();
    let body = json!({"provider": "codex", "oauth": oauth, "base_url": gateway.emulator.base_url()});
    let made = gateway.make(PATH, body).await;
    let path = format!("{PATH}/{}", id_of(&made));
    let first = made["token_fingerprint"].clone();
    let (deadline, mut version) = (Instant::now() + WAITED, 1);
    while version < 2 {
        let clients = [(); 8].map(|()| {
            let (client, body) = (gateway.client(), question(MINI));
            tokio::spawn(async move { client.post(CHAT, &body).await.unwrap() })
        });
        for client in clients {
            served_by(&client.await.unwrap(), "subscription", Some(&id_of(&made)));
        }
        let shown = gateway.get(&path).await;
        version = shown["token_version"].as_u64().unwrap();
        assert_eq!(version > 1, shown["token_fingerprint"] != first, "{shown}");
        assert!(Instant::now() < deadline, "the token was not renewed: {shown}");
    }
    // The two of the first sign-in, and two with each renewal.
    assert_eq!(gateway.emulator.tokens_issued(), 2 + 2 * (version - 1));
    assert_eq!(gateway.emulator.violations(), []);

    // The vendor ends it: the row says so, and requests find it absent.
    gateway.emulator.set_key(OWN, KeyState::Revoked);
    let shown = until_status(&gateway.admin(), &path, "invalid").await;
    assert!(shown["last_error"].as_str().unwrap().contains("The vendor says no"), "{shown}");
    // The cores learn of it with the next snapshot, within a second.
    until("it is absent", async || gateway.chat(&question(MINI)).await.status != 502).await;
    refused(&gateway.chat(&question(MINI)).await, 404, "model_not_served");
}

/// Two workspaces: a subscription serves one project of one of them, and what is sealed is never told.
#[cfg(feature = "broker")]
#[tokio::test]
async fn a_subscription_serves_its_project_and_nobody_else() {
    let gateway = Gateway::with(config(), &ON).await;
    let project = id_of(&gateway.make("/v2/projects", json!({"name": "other"})).await);
    let (key, _) = gateway.key(json!({"name": "of the other", "project_id": project})).await;
    let id = id_of(&gateway.make(PATH, codex(&gateway, OWN, json!({"project_id": project}))).await);
    refused(&gateway.chat(&question(MINI)).await, 404, "model_not_served");
    let other = gateway.with_key(&key);
    served_by(&other.post(CHAT, &question(MINI)).await.unwrap(), "subscription", Some(&id));

    let stranger = gateway.workspace("the others").await;
    let answer = gateway.with_key(&stranger.api_key).post(CHAT, &question(MINI)).await.unwrap();
    refused(&answer, 404, "model_not_served");
    let their_admin = gateway.with_key(&stranger.admin_key);
    let one = format!("{PATH}/{id}");
    problem(&their_admin.get(&one).await.unwrap(), 404, "not_found");
    problem(&their_admin.delete(&one).await.unwrap(), 404, "not_found");
    assert_eq!(their_admin.get(PATH).await.unwrap().json()["data"], json!([]));

    // It is no provider credential, under any of its names, and no answer holds the token.
    let as_credential = one.replace("subscription", "provider").replace("sub_", "pcr_");
    problem(&gateway.admin().get(&as_credential).await.unwrap(), 404, "not_found");
    assert_eq!(gateway.get("/v2/provider-credentials").await["data"], json!([]));
    for path in [PATH, &one, "/v2/audit", "/v2/requests"] {
        assert!(!gateway.get(path).await.to_string().contains(OWN), "{path} tells the token");
    }

    // The policy of a project forbids the profile, whoever comes first.
    let forbids = json!({"project_id": project, "profiles": ["byok"]});
    let policy = id_of(&gateway.make("/v2/policies", forbids).await);
    let answer = other.post(CHAT, &question(MINI)).await.unwrap();
    refused(&answer, 403, "policy_forbids");
    gateway.patch(&format!("/v2/policies/{policy}"), json!({"profiles": ["subscription"]})).await;
    served_by(&other.post(CHAT, &question(MINI)).await.unwrap(), "subscription", Some(&id));

    // Rotated, the next request uses the next token.
    let answer = gateway.admin().post(&format!("{one}/rotate"), &json!({"token": OWN_SECOND})).await.unwrap();
    assert_eq!((answer.status, &answer.json()["token_version"]), (200, &json!(2)), "{}", answer.text());
    served_by(&other.post(CHAT, &question(MINI)).await.unwrap(), "subscription", Some(&id));
    assert_eq!(gateway.calls(OWN_SECOND).len(), 1);
}

/// A token of a Claude plan is a bearer token, whatever it looks like, and what is no conversation is not for a plan.
#[cfg(feature = "broker")]
#[tokio::test]
async fn a_token_is_sent_as_a_bearer_token() {
    let gateway = Gateway::with(config(), &ON).await;
    let url = gateway.emulator.anthropic_url();
    let body =
        json!({"provider": "claude_code", "token": OWN, "base_url": url, "cached_price_discount_pct": 0});
    let id = id_of(&gateway.make(PATH, body).await);
    let answer = gateway.chat_ok(&question(HAIKU)).await;
    served_by(&answer, "subscription", Some(&id));
    assert_eq!(answer.header("agent-subscription-discount-pct"), Some("0"));
    let sent = gateway.emulator.journal().pop().unwrap();
    let sends = |name: &str| sent.headers.iter().any(|(sent, _)| sent == name);
    assert!(sends("authorization") && !sends("x-api-key"), "{:?}", sent.headers);
    let boundless = json!({"provider": "codex", "token": OWN, "windows": [{"hours": 5}]});
    for (wrong, code, field) in [
        (json!({"provider": "nobody", "token": OWN}), "invalid_value", "provider"),
        (json!({"provider": "codex"}), "missing_field", "token"),
        (json!({"provider": "codex", "token": OWN, "oauth": {}}), "invalid_value", "oauth"),
        (json!({"provider": "codex", "oauth": {}}), "missing_field", "oauth.expires_at"),
        (boundless, "invalid_value", "windows[0].requests"),
    ] {
        let problem = problem(&gateway.admin().post(PATH, &wrong).await.unwrap(), 400, code);
        assert_eq!(problem["param"], field, "{problem}");
    }
    gateway.make(PATH, codex(&gateway, OWN_SECOND, json!({}))).await;
    let vectors = json!({"model": "openai/text-embedding-3-small", "input": "a"});
    refused(&gateway.client().post("/v1/embeddings", &vectors).await.unwrap(), 404, "model_not_served");
}
