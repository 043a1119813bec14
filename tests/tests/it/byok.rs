//! The workspace's own credentials: strict by default, with fallback only where a route allows it, and then
//! marked.

use std::time::Duration;

use harness::client::Answer;
use harness::{Behaviour, Emulator};
use serde_json::{Value, json};

use crate::ask::{MINI, has, question, refused, said, streaming, trace_of, with};
use crate::audit::{audited, entries};
use crate::gateway::{Gateway, OWN, OWN_SECOND, POOL, config, row};
use crate::wait::an_hour_with_room;

/// One way in which a provider fails, and what the client receives.
struct Failure {
    behaviour: Behaviour,
    status: u16,
    code: &'static str,
    /// Attempts with the same credential.
    tries: usize,
    class: &'static str,
}

fn failures() -> Vec<Failure> {
    let failure = |failing: Behaviour, status, code, tries, class| Failure {
        behaviour: failing.always(),
        status,
        code,
        tries,
        class,
    };
    vec![
        failure(Behaviour::status(401), 502, "upstream_auth_failed", 1, "auth"),
        failure(Behaviour::status(403), 403, "upstream_permission_denied", 1, "auth"),
        failure(Behaviour::rate_limited(40), 429, "rate_limit_exceeded", 1, "rate_limit"),
        failure(Behaviour::out_of_quota(), 402, "insufficient_quota", 1, "quota"),
        failure(Behaviour::status(500), 502, "upstream_error", 3, "upstream"),
        failure(Behaviour::status(503), 503, "server_is_overloaded", 3, "overloaded"),
        failure(Behaviour::ok().latency(Duration::from_secs(20)), 504, "upstream_timeout", 3, "timeout"),
    ]
}

/// An own credential that fails, a pool that would not, and a route with short timeouts.
async fn failing(failure: &Failure, more: Value) -> (Gateway, String) {
    let gateway = Gateway::start().await;
    let credential = gateway.credential("openai", OWN).await;
    gateway.account("openai", POOL).await;
    gateway.route(with(json!({"scope": {}, "first_byte_timeout_ms": 100}), more)).await;
    gateway.emulator.script(OWN, [failure.behaviour.clone()]);
    (gateway, credential)
}

fn request_ids(emulator: &Emulator) -> Vec<String> {
    emulator.journal().into_iter().map(|entry| entry.request_id).collect()
}

/// An answer's headers and body in one text.
fn headers_and_body(answer: &Answer) -> String {
    format!("{:?} {}", answer.headers, answer.text())
}

#[tokio::test]
async fn a_failed_credential_is_told_and_nobody_else_is_asked() {
    for failure in failures() {
        let (gateway, credential) = failing(&failure, json!({})).await;
        let answer = gateway.chat(&question(MINI)).await;
        let error = refused(&answer, failure.status, failure.code);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("openai"), "the provider is not named: {message}");
        let all = headers_and_body(&answer);
        assert!(all.contains(&credential), "the credential is not named: {all}");
        assert_eq!(answer.header("agent-execution-profile"), Some("byok"));
        assert_eq!(answer.header("agent-fallback-used"), Some("false"));
        assert_eq!(gateway.calls(OWN).len(), failure.tries, "{}", failure.code);
        assert_eq!(gateway.calls(POOL).len(), 0, "{}: the pool was asked", failure.code);
        if failure.class != "timeout" {
            let is_told = request_ids(&gateway.emulator).iter().any(|id| all.contains(id));
            assert!(is_told, "{}: the provider's request id is not told: {all}", failure.code);
        }
        let hopeless = ["auth", "quota"].contains(&failure.class) && failure.status != 403;
        if failure.tries > 1 || hopeless {
            assert_eq!(answer.header("x-should-retry"), Some("false"), "{}", failure.code);
        }
        if failure.class == "rate_limit" {
            let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((30..=40).contains(&wait), "retry-after {wait}");
        }
        booked_as_byok(&gateway, &answer, &failure).await;
    }
}

async fn booked_as_byok(gateway: &Gateway, answer: &Answer, failure: &Failure) {
    let request = gateway.settled(&trace_of(answer)).await;
    has(&request, json!({"status": failure.status, "error_code": failure.code}));
    has(&request, json!({"outcome": "failed", "mode": "byok"}));
    let attempts = request["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), failure.tries, "{request}");
    let ids = request_ids(&gateway.emulator);
    for (attempt, id) in attempts.iter().zip(ids) {
        assert!(attempt["fault"].is_string(), "{attempt}");
        if failure.class != "timeout" {
            assert_eq!(attempt["upstream_request_id"], id, "{attempt}");
        }
    }
    billed(gateway, 0, 1).await;
}

/// An exchange is booked once, by its mode.
async fn billed(gateway: &Gateway, managed: u64, own: u64) {
    let snapshot = gateway.get("/v2/billing/snapshot").await;
    let requests = |mode: &str| row(&snapshot["mtd"]["by_mode"], "mode", mode)["requests"].as_u64();
    assert_eq!((requests("mi"), requests("byok")), (Some(managed), Some(own)), "{snapshot}");
}

#[tokio::test]
async fn a_chosen_fallback_is_marked_and_billed_as_managed() {
    for failure in failures() {
        let fallback = json!({"byok_fallback": "managed", "fallback_on": [failure.class]});
        let (gateway, credential) = failing(&failure, fallback).await;
        // The audit has one entry per hour.
        an_hour_with_room().await;
        for body in [question(MINI), streaming(MINI)] {
            let answer = gateway.chat_ok(&body).await;
            assert_eq!(said(&answer), "You said: hello there", "{}", failure.code);
            let how = ["agent-execution-profile", "agent-fallback-used"].map(|name| answer.header(name));
            assert_eq!(how, [Some("managed_provider"), Some("true")], "{}", failure.code);
            assert_eq!(answer.header("agent-byok-credential-id"), None);
            has(&gateway.settled(&trace_of(&answer)).await, json!({"mode": "mi", "fallback_used": true}));
        }
        let entry = audited(&gateway, "request.fall_back").await;
        let detail = entry["detail"].as_str().unwrap();
        assert!(detail.contains(MINI) && detail.contains(&format!("after {credential} failed")), "{entry}");
        assert_eq!(entries(&gateway, "request.fall_back").await.len(), 1, "the first of the hour");
        billed(&gateway, 2, 0).await;
    }
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_fallback_follows_only_the_failures_it_names() {
    let failure = &failures()[0];
    let others = json!({"byok_fallback": "managed", "fallback_on": ["rate_limit", "timeout"]});
    let (gateway, _) = failing(failure, others).await;
    refused(&gateway.chat(&question(MINI)).await, failure.status, failure.code);
    assert_eq!(gateway.calls(POOL).len(), 0);
    // An invalid request fails everywhere: it does not fall back.
    let gateway = Gateway::with_own().await;
    gateway.account("openai", POOL).await;
    gateway.route(json!({"scope": {}, "byok_fallback": "managed"})).await;
    gateway.chat(&with(question(MINI), json!({"temperature": 9}))).await.must_be(400);
    assert_eq!((gateway.calls(OWN).len(), gateway.calls(POOL).len()), (1, 0));
}

#[tokio::test]
async fn the_next_own_credential_serves() {
    let limited = Behaviour::rate_limited(30);
    for behaviour in [Behaviour::status(401), Behaviour::out_of_quota(), limited, Behaviour::status(403)] {
        let gateway = Gateway::with_own().await;
        let second = gateway.credential("openai", OWN_SECOND).await;
        gateway.account("openai", POOL).await;
        gateway.emulator.script(OWN, [behaviour.always()]);
        for (body, first) in [(question(MINI), true), (streaming(MINI), false)] {
            let answer = gateway.chat_ok(&body).await;
            assert_eq!(answer.header("agent-byok-credential-id"), Some(second.as_str()));
            assert_eq!(answer.header("agent-fallback-used"), Some("false"));
            if first {
                assert_eq!(answer.header("agent-attempts"), Some("2"));
                let request = gateway.settled(&trace_of(&answer)).await;
                let attempts = request["attempts"].as_array().unwrap();
                assert_eq!(attempts.len(), 2, "{request}");
                assert!(attempts[0]["fault"].is_string() && attempts[1]["fault"].is_null(), "{request}");
            }
        }
        assert_eq!(gateway.calls(POOL).len(), 0);
    }
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_credential_that_is_switched_off_is_absent() {
    let gateway = Gateway::start().await;
    let credential = gateway.credential("openai", OWN).await;
    gateway.account("openai", POOL).await;
    let path = format!("/v2/provider-credentials/{credential}");
    assert_eq!(gateway.chat_ok(&question(MINI)).await.header("agent-execution-profile"), Some("byok"));
    for status in ["disabled", "revoked"] {
        gateway.patch(&path, json!({"status": status})).await;
        let answer = gateway.chat_ok(&question(MINI)).await;
        assert_eq!(answer.header("agent-execution-profile"), Some("managed_provider"));
        // An absent credential is not a failure: nothing fell back.
        assert_eq!(answer.header("agent-fallback-used"), Some("false"));
        let plan = gateway.plan(json!({"model": MINI})).await;
        assert_eq!(row(&plan["rejected"], "principal", &credential)["reason"], status, "{plan}");
        if status == "disabled" {
            gateway.patch(&path, json!({"status": "active"})).await;
            let served = gateway.chat_ok(&question(MINI)).await;
            assert_eq!(served.header("agent-execution-profile"), Some("byok"));
        }
    }
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_provider_that_is_away_is_told_as_such() {
    let gateway = Gateway::with_own().await;
    gateway.emulator.refuse().await;
    refused(&gateway.chat(&question(MINI)).await, 502, "upstream_unreachable");
    gateway.emulator.accept_again().await.unwrap();
    gateway.chat_ok(&question(MINI)).await;
}

/// The remaining rate limits of an own account are passed on in the headers of the client's own SDK, with
/// answers and with the refusal when nothing is left. Those of a pooled account are hidden.
#[cfg(feature = "broker")]
#[tokio::test]
async fn the_limits_of_an_own_account_are_told_and_those_of_a_pooled_one_are_not() {
    const CLAUDE: &str = "anthropic/claude-haiku-4-5";
    const LEFT: &str = "anthropic-ratelimit-input-tokens-remaining";
    for (path, key, own) in [("/v2/provider-credentials", OWN, true), ("/v2/accounts", POOL, false)] {
        let gateway = Gateway::with(config(), &[]).await;
        let claude = json!({"provider": "anthropic", "display_name": "claude", "secret": key});
        gateway.make(path, with(claude, json!({"base_url": gateway.emulator.anthropic_url()}))).await;
        let messages = with(question(CLAUDE), json!({"max_tokens": 50}));
        let streamed = with(messages.clone(), json!({"stream": true}));
        for body in [&messages, &streamed] {
            let answer = gateway.client().post("/v1/messages", body).await.unwrap().must_be(200);
            assert_eq!(answer.header(LEFT).is_some(), own, "{:?}", answer.headers);
        }
        // A client whose SDK does not know these headers gets none.
        let chat = gateway.chat_ok(&question(CLAUDE)).await;
        assert_eq!(chat.header(LEFT), None, "{:?}", chat.headers);
        gateway.emulator.script(key, [Behaviour::rate_limited(40).always()]);
        let refused = gateway.client().post("/v1/messages", &messages).await.unwrap().must_be(429);
        assert_eq!(refused.header(LEFT).is_some(), own, "{:?}", refused.headers);
    }
}

/// An exhausted quota is a status of its own, with the time at which the provider is tried again, and a
/// successful verification clears it.
#[cfg(feature = "broker")]
#[tokio::test]
async fn a_quota_that_is_used_up_is_a_state_until_it_heals() {
    let gateway = Gateway::start().await;
    let id = gateway.credential("openai", OWN).await;
    let path = format!("/v2/provider-credentials/{id}");
    gateway.emulator.set_key(OWN, harness::KeyState::Exhausted);
    refused(&gateway.chat(&question(MINI)).await, 402, "insufficient_quota");
    let view = gateway.get(&path).await;
    assert_eq!(view["status"], "over_quota", "{view}");
    // Nothing is sent now, and the client is told of which credential that is.
    let parked = gateway.chat(&question(MINI)).await;
    refused(&parked, 402, "insufficient_quota");
    let how = ["agent-attempts", "agent-execution-profile", "agent-byok-credential-id"];
    assert_eq!(how.map(|name| parked.header(name)), [Some("0"), Some("byok"), Some(id.as_str())]);
    assert!(view["over_quota_until"].is_string(), "{view}");
    // A status that was read may be sent back unchanged.
    let same = json!({"display_name": "mine", "status": "over_quota"});
    assert_eq!(gateway.patch(&path, same).await["status"], "over_quota");
    gateway.emulator.set_key(OWN, harness::KeyState::Ok);
    let verify = async || gateway.admin().post(&format!("{path}/verify"), &json!({})).await.unwrap().json();
    has(&verify().await, json!({"status": "active", "over_quota_until": null}));
    gateway.chat_ok(&question(MINI)).await;
    // So is a secret that the provider refuses, until it is verified again.
    gateway.emulator.set_key(OWN, harness::KeyState::Revoked);
    assert_eq!(gateway.chat(&question(MINI)).await.status, 502);
    assert_eq!(gateway.get(&path).await["status"], "invalid");
    gateway.emulator.set_key(OWN, harness::KeyState::Ok);
    assert_eq!(verify().await["status"], "active");
}

/// A provider's reported rate limits are shown, and if no request remains the next credential is used at
/// once.
#[cfg(feature = "broker")]
#[tokio::test]
async fn what_a_provider_tells_of_its_limits_is_learned() {
    let gateway = Gateway::start().await;
    let first = gateway.credential("openai", OWN).await;
    let second = gateway.credential("openai", OWN_SECOND).await;
    gateway.chat_ok(&question(MINI)).await;
    let learned = |view: &Value| view["learned_limits"][0].clone();
    let limits = learned(&gateway.get(&format!("/v2/provider-credentials/{first}")).await);
    has(&limits, json!({"model": "gpt-4o-mini", "/requests/limit": 10_000}));
    assert!(limits["requests"]["remaining"].as_u64().unwrap() < 10_000, "{limits}");
    assert_eq!(limits["tokens"]["limit"], 2_000_000, "{limits}");
    assert!(limits["told_at"].is_string() && limits["requests"]["resets_at"].is_string(), "{limits}");
    assert!(learned(&gateway.get(&format!("/v2/provider-credentials/{second}")).await).is_null());
    for body in [question(MINI), streaming(MINI)] {
        let gateway = Gateway::with_own().await;
        let second = gateway.credential("openai", OWN_SECOND).await;
        // Two per minute, and none left: one is available again in half a minute.
        let used_up = Behaviour::ok()
            .header("x-ratelimit-limit-requests", "2")
            .header("x-ratelimit-remaining-requests", "0")
            .header("x-ratelimit-reset-requests", "60s");
        gateway.emulator.script(OWN, [used_up]);
        gateway.chat_ok(&body).await;
        assert_eq!(gateway.chat_ok(&body).await.header("agent-byok-credential-id"), Some(second.as_str()));
        assert_eq!((gateway.calls(OWN).len(), gateway.calls(OWN_SECOND).len()), (1, 1));
    }
}

/// Google ends an answer so, with nothing in it: an agent would take it for complete.
#[tokio::test]
async fn an_answer_with_a_call_that_nobody_can_read_is_requested_again() {
    const FLASH: &str = "google/gemini-2.5-flash";
    let gateway = Gateway::start().await;
    let own = json!({"provider": "gemini", "secret": OWN, "base_url": gateway.emulator.origin()});
    gateway.make("/v2/provider-credentials", own).await;
    let unreadable = || Behaviour::ok().finish("MALFORMED_FUNCTION_CALL");
    gateway.emulator.script(OWN, [unreadable()]);
    let answer = gateway.chat(&question(FLASH)).await;
    assert_eq!((answer.status, answer.header("agent-attempts")), (200, Some("2")), "{}", answer.text());
    assert_eq!(said(&answer), "You said: hello there");
    let request = gateway.settled(&trace_of(&answer)).await;
    let attempts = request["attempts"].as_array().unwrap();
    assert!(attempts[0]["fault"].is_string() && attempts[1]["fault"].is_null(), "{request}");
    // What the first used is known.
    assert!(attempts[0]["input_tokens"].as_u64() > Some(0), "{request}");
    assert_eq!(attempts[0]["input_tokens"], attempts[1]["input_tokens"], "{request}");
    gateway.emulator.script(OWN, [unreadable().always()]);
    gateway.chat(&question(FLASH)).await.must_be(502);
}
