//! What happens while providers fail, limit or fall silent: breakers by host and region, agreed limits, and
//! how many calls reach a provider.

use std::time::{Duration, Instant};

use harness::client::Answer;
use harness::setting::number;
use harness::{Behaviour, Emulator};
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{CHAT, MINI, has, question, streaming, trace_of, with};
use crate::command::workspace;
use crate::gateway::{CUSTOM, Gateway, OWN, OWN_SECOND, POOL, config, id_of, row};
use crate::wait::{a_pause, until};

/// A credential of the workspace's own at this address.
async fn credential_at(gateway: &Gateway, secret: &str, base_url: String, more: Value) -> String {
    let name = format!("key {}", secret.get(3..7).unwrap_or_default());
    let body = json!({"provider": "openai", "display_name": name, "secret": secret, "base_url": base_url});
    id_of(&gateway.make("/v2/provider-credentials", with(body, more)).await)
}

/// How a paced run of requests ended.
#[derive(Debug, Default)]
struct Run {
    sent: usize,
    served: usize,
    failed: Vec<String>,
}

/// Sends `rate` requests a second for so long, whether earlier ones were answered or not.
async fn send_for(gateway: &Gateway, length: Duration, rate: u64) -> Run {
    let every = Duration::from_secs(1) / u32::try_from(rate).unwrap();
    let (started, mut open, mut run) = (Instant::now(), Vec::new(), Run::default());
    while started.elapsed() < length {
        let client = gateway.client();
        open.push(tokio::spawn(async move { client.post(CHAT, &question(MINI)).await.unwrap() }));
        run.sent += 1;
        let due = every * u32::try_from(run.sent).unwrap();
        a_pause(due.saturating_sub(started.elapsed())).await;
    }
    for one in open {
        let answer = one.await.unwrap();
        match answer.status {
            200 => run.served += 1,
            status => run.failed.push(format!("{status}: {}", answer.text())),
        }
    }
    run
}

/// The issue's own figure. Two credentials in two regions; the first accepts requests and never answers, then
/// limits every one. Small here; `make prove-regions` runs it for 60 s each at 200 requests a second.
#[tokio::test]
async fn two_own_regions_of_which_one_falls_silent_and_then_limits() {
    let seconds = number("TIDEGATE_REGION_SECS").unwrap_or(8);
    let rate = number("TIDEGATE_REGION_RATE").unwrap_or(25);
    let gateway = Gateway::start().await;
    let second = Emulator::start(config()).await.unwrap();
    credential_at(&gateway, OWN, gateway.emulator.base_url(), json!({"region": "eu"})).await;
    credential_at(&gateway, OWN_SECOND, second.base_url(), json!({"region": "us"})).await;
    gateway.account("openai", POOL).await;
    gateway.route(json!({"scope": {}, "first_byte_timeout_ms": 1_000})).await;
    let length = Duration::from_secs(seconds);
    let mut sent = 0;
    let silent = Behaviour::ok().latency(Duration::from_secs(600)).always();
    for (what, behaviour) in [("silent", silent), ("limiting", Behaviour::status(429).always())] {
        gateway.emulator.clear_scripts();
        gateway.emulator.script(OWN, [behaviour]);
        let run = send_for(&gateway, length, rate).await;
        println!("{what}: {} of {} were served", run.served, run.sent);
        assert!(run.served * 1_000 >= run.sent * 999, "{what}: {:?}", run.failed);
        sent += run.sent;
    }
    let served_by_second = second.journal().iter().filter(|entry| entry.method == "POST").count();
    let calls = gateway.calls(OWN).len() + served_by_second;
    let extra = calls.saturating_sub(sent);
    println!("{extra} calls beside {sent}, {} of them at the failing region", gateway.calls(OWN).len());
    assert!(extra > 0 && extra * 10 <= sent, "{extra} calls beside {sent}");
    assert_eq!(gateway.calls(POOL).len(), 0);
}

/// A host at which nothing listens: the breaker that two credentials open there holds for a third that never
/// failed, is shown with both, and closes by itself.
#[tokio::test]
async fn a_host_that_is_down_opens_one_breaker_for_all_credentials_at_it() {
    let gateway = Gateway::start().await;
    let away = Emulator::start(config()).await.unwrap();
    let first = credential_at(&gateway, OWN, away.base_url(), json!({})).await;
    let other = credential_at(&gateway, OWN_SECOND, away.base_url(), json!({})).await;
    // At most half of a pool is kept from being called.
    let well = credential_at(&gateway, CUSTOM, gateway.emulator.base_url(), json!({})).await;
    credential_at(&gateway, POOL, gateway.emulator.base_url(), json!({})).await;
    away.refuse().await;
    let plan = async || gateway.plan(json!({"model": MINI})).await;
    until("the host's breaker opens", async || {
        let answer = gateway.chat_ok(&question(MINI)).await;
        assert_eq!(answer.header("agent-byok-credential-id"), Some(well.as_str()));
        let plan = plan().await;
        let mut rejected = plan["rejected"].as_array().unwrap().iter();
        rejected.any(|row| row["principal"] == *other && row["reason"] == "host_breaker_open")
    })
    .await;
    let rejected = row(&plan().await["rejected"], "principal", &first).clone();
    assert_eq!(rejected["reason"], "host_breaker_open", "{rejected}");
    assert!(rejected["detail"].as_str().unwrap().contains("the host breaker is open for"), "{rejected}");
    for id in [&first, &other] {
        let view = gateway.get(&format!("/v2/provider-credentials/{id}")).await;
        let host = away.base_url().replace("http://", "").replace("/v1", "");
        let open = row(&view["breakers"], "level", "host");
        assert!(open["name"] == host && open["until"].is_string(), "{host}: {view}");
    }
    let healthy = gateway.get(&format!("/v2/provider-credentials/{well}")).await;
    assert_eq!(healthy["breakers"], json!([]), "{healthy}");
    // While it is open, nothing of a request goes to that host: one attempt each.
    assert_eq!(gateway.chat_ok(&question(MINI)).await.header("agent-attempts"), Some("1"));
    away.accept_again().await.unwrap();
    until("a trial finds that the host is back", async || {
        let answer = gateway.chat_ok(&question(MINI)).await;
        answer.header("agent-byok-credential-id") == Some(first.as_str())
    })
    .await;
    let view = gateway.get(&format!("/v2/provider-credentials/{first}")).await;
    assert_eq!(view["breakers"], json!([]), "{view}");
}

/// What the board knows is told to whom it concerns: breakers with since when and why, pauses, limits and speed;
/// the operator's accounts to the operator alone, and nobody another's names.
#[tokio::test]
async fn the_health_of_upstreams_is_told_to_their_owner() {
    const HEALTH: &str = "/v2/health/upstreams";
    let gateway = Gateway::start().await;
    let away = Emulator::start(config()).await.unwrap();
    let first = credential_at(&gateway, OWN, away.base_url(), json!({})).await;
    let other = credential_at(&gateway, OWN_SECOND, away.base_url(), json!({})).await;
    let well = json!({"region": "eu", "limits": {"requests_per_day": 1_000}});
    let well = credential_at(&gateway, CUSTOM, gateway.emulator.base_url(), well).await;
    credential_at(&gateway, POOL, gateway.emulator.base_url(), json!({})).await;
    let account = gateway.account("anthropic", POOL).await;
    away.refuse().await;
    until("the host's breaker is told", async || {
        gateway.chat_ok(&question(MINI)).await;
        !gateway.get(HEALTH).await["breakers"].as_array().unwrap().is_empty()
    })
    .await;
    let health = gateway.get(HEALTH).await;
    assert_eq!((&health["gateways"], health["gateway"].is_string()), (&json!(1), true), "{health}");
    let host = row(&health["breakers"], "level", "host");
    assert_eq!((&host["reason"], &host["openings"].is_u64()), (&json!("unreachable"), &true), "{host}");
    assert!(host["detail"].as_str().unwrap().starts_with("No connection could be opened"), "{host}");
    assert!(host["since"].as_str().unwrap() <= host["until"].as_str().unwrap(), "{host}");
    let mut met = [json!(first), json!(other)];
    met.sort_by_key(Value::to_string);
    assert_eq!(host["upstreams"], json!(met));
    let upstream = |id: &str| row(&health["data"], "id", id).clone();
    assert_eq!(upstream(&first)["status"], "broken", "{health}");
    let served = upstream(&well);
    has(&served, json!({"status": "ok", "region": "eu"}));
    assert!(served["models"][0]["first_byte_p50_ms"].is_u64(), "{served}");
    let rate = &served["pacing"]["requests_per_day"];
    assert!(rate["limit"] == 1_000 && rate["left"].as_u64().unwrap() < 1_000, "{served}");
    assert_eq!(upstream(&account)["profile"], "managed_provider");
    // Another workspace sees none of it, and the operator no name of the other's.
    let made = gateway.make("/v2/workspaces", json!({"name": "the others"})).await;
    let theirs = gateway.with_key(made["admin_key"].as_str().unwrap()).get(HEALTH).await.unwrap().json();
    has(&theirs, json!({"data": [], "breakers": [], "breakers_elsewhere": null}));
    assert_eq!(health["breakers_elsewhere"]["host"], 0, "{health}");
    // The command line says the same.
    let shown = gateway.cli().run(&["health"]).stdout;
    assert!(shown.contains("broken") && shown.contains("No connection could be opened"), "{shown}");
}

/// Before any breaker opens, a credential that fails isn't called ok, nor is one that was never accepted or is refused.
#[tokio::test]
async fn health_tells_what_fails_from_what_is_well() {
    let gateway = Gateway::start().await;
    let base_url = gateway.emulator.base_url();
    let failing = credential_at(&gateway, OWN, base_url.clone(), json!({})).await;
    let refused = credential_at(&gateway, "sk-nobodys", base_url, json!({"verify": true})).await;
    let away = json!({"verify": true});
    let unverified = credential_at(&gateway, CUSTOM, "http://127.0.0.1:9/v1".to_owned(), away).await;
    let health = async || gateway.get("/v2/health/upstreams").await;
    let status = |health: &Value, id: &str| row(&health["data"], "id", id)["status"].clone();
    let before = health().await;
    let all = [&failing, &refused, &unverified].map(|id| status(&before, id));
    assert_eq!(all, [json!("ok"), json!("refused"), json!("unverified")], "{before}");
    gateway.emulator.script(OWN, std::iter::repeat_n(Behaviour::status(500), 4));
    until("what fails is called so", async || {
        gateway.chat(&question(MINI)).await;
        status(&health().await, &failing) == "failing"
    })
    .await;
    let after = health().await;
    let failures = &row(&after["data"], "id", &failing)["failures"];
    assert!(failures["failed"].as_u64() >= Some(2) && failures["failed"] == failures["attempts"], "{after}");
    let shown = gateway.cli().run(&["health"]).stdout;
    assert!(shown.contains("failing (") && shown.contains("unverified"), "{shown}");
}

fn wait_of(answer: &Answer) -> u64 {
    answer.header("retry-after").unwrap_or_else(|| panic!("no time is told: {answer:?}")).parse().unwrap()
}

/// What was agreed with the provider isn't exceeded: the next own credential serves, and when all are used up
/// the client is given the time of the first that has a turn again.
#[cfg(feature = "broker")]
#[tokio::test]
async fn agreed_requests_go_to_the_next_own_credential_and_then_are_refused_with_the_true_time() {
    let gateway = Gateway::start().await;
    let limits = |minute: u64| json!({"limits": {"requests_per_minute": minute}});
    let first = credential_at(&gateway, OWN, gateway.emulator.base_url(), limits(2)).await;
    let second = credential_at(&gateway, OWN_SECOND, gateway.emulator.base_url(), limits(3)).await;
    gateway.account("openai", POOL).await;
    let started = Instant::now();
    for served_by in [&first, &first, &second, &second, &second] {
        let answer = gateway.chat_ok(&question(MINI)).await;
        assert_eq!(answer.header("agent-byok-credential-id"), Some(served_by.as_str()));
        assert_eq!(answer.header("agent-attempts"), Some("1"), "nothing was refused by the provider");
    }
    let refused = gateway.chat(&question(MINI)).await.must_be(429);
    let passed_s = started.elapsed().as_secs();
    // Three a minute: the first turn is back after twenty seconds.
    let wait_s = wait_of(&refused);
    assert!(wait_s <= 20 && wait_s + passed_s + 1 >= 20, "{wait_s} s after {passed_s} s");
    let plan = gateway.plan(json!({"model": MINI})).await;
    assert_eq!(row(&plan["rejected"], "principal", &first)["reason"], "agreed_limit_reached", "{plan}");
    assert_eq!([OWN, OWN_SECOND, POOL].map(|key| gateway.calls(key).len()), [2, 3, 0]);
}

/// Requests wait a moment for one of the agreed places instead of being refused.
#[cfg(feature = "broker")]
#[tokio::test]
async fn no_more_run_at_once_than_was_agreed_and_the_others_wait_for_their_turn() {
    const LATENCY: Duration = Duration::from_millis(120);
    let gateway = Gateway::start().await;
    let limits = json!({"limits": {"concurrent_requests": 2}});
    credential_at(&gateway, OWN, gateway.emulator.base_url(), limits).await;
    gateway.emulator.script(OWN, [Behaviour::ok().latency(LATENCY).always()]);
    let started = Instant::now();
    let question = question(MINI);
    let mut served = 0;
    for answer in futures_util::future::join_all((0..6).map(|_| gateway.chat(&question))).await {
        match answer.status {
            200 => served += 1,
            // On a slow machine a second may pass first.
            429 => assert!(wait_of(&answer) > 0),
            status => panic!("{status}: {}", answer.text()),
        }
    }
    assert!(served >= 4, "{served} were served");
    let rounds = u32::try_from(served).unwrap() / 2;
    assert!(started.elapsed() >= LATENCY * rounds, "more than two ran at once: {:?}", started.elapsed());
}

/// The attempts in a request's record, by number.
async fn attempts(gateway: &Gateway, answer: &Answer) -> Vec<Value> {
    let mut rows = gateway.settled(&trace_of(answer)).await["attempts"].as_array().unwrap().clone();
    rows.sort_by_key(|row| row["number"].as_u64());
    rows
}

/// The slow one of two credentials is the first, then the second; buffered and streamed.
#[cfg(feature = "broker")]
#[tokio::test]
async fn a_silent_attempt_is_hedged_and_the_first_answer_serves() {
    const LATENCY: Duration = Duration::from_secs(15);
    for body in [question(MINI), streaming(MINI)] {
        for (slow, fast, delay) in [(OWN, OWN_SECOND, 0), (OWN_SECOND, OWN, 600)] {
            let gateway = Gateway::start().await;
            let first = gateway.credential("openai", OWN).await;
            let ids = [first, gateway.credential("openai", OWN_SECOND).await];
            gateway.route(json!({"scope": {}, "hedge_after_ms": 200})).await;
            gateway.emulator.script(slow, [Behaviour::ok().latency(LATENCY).always()]);
            gateway.emulator.script(fast, [Behaviour::ok().latency(Duration::from_millis(delay)).always()]);
            let started = Instant::now();
            let answer = gateway.chat_ok(&body).await;
            assert!(started.elapsed() < LATENCY, "{:?}", started.elapsed());
            let winner = usize::from(fast == OWN_SECOND);
            assert_eq!(answer.header("agent-byok-credential-id"), Some(ids[winner].as_str()));
            let rows = attempts(&gateway, &answer).await;
            assert_eq!(rows.len(), 2, "{rows:#?}");
            for (row, id) in rows.iter().zip(&ids) {
                has(row, json!({"hedged": true, "principal": id}));
            }
            let lost = &rows[1 - winner];
            assert!(lost["fault"] == "cancelled" && rows[winner]["fault"].is_null(), "{rows:#?}");
            assert!(lost["input_tokens"].as_u64().unwrap() > 0, "{lost:#}");
            let is_cancelled = async || gateway.calls(slow).iter().any(|entry| entry.cancelled.is_some());
            until("the slower one is cancelled", is_cancelled).await;
        }
    }
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_hedge_stays_with_its_profile_and_what_is_stored_is_not_hedged() {
    let slow = Behaviour::ok().latency(Duration::from_millis(600)).always();
    let gateway = Gateway::with_own().await;
    gateway.account("openai", POOL).await;
    gateway.route(json!({"scope": {}, "hedge_after_ms": 50, "byok_fallback": "managed"})).await;
    gateway.emulator.script(OWN, [slow.clone()]);
    assert_eq!(attempts(&gateway, &gateway.chat_ok(&question(MINI)).await).await[0]["hedged"], false);
    assert_eq!([OWN, POOL].map(|key| gateway.calls(key).len()), [1, 0]);

    gateway.credential("openai", OWN_SECOND).await;
    let stored = json!({"model": MINI, "input": "Hello"});
    gateway.client().post("/v1/responses", &stored).await.unwrap().must_be(200);
    assert_eq!([OWN, OWN_SECOND, POOL].map(|key| gateway.calls(key).len()), [2, 0, 0]);
    let fleeting = with(stored, json!({"store": false}));
    gateway.client().post("/v1/responses", &fleeting).await.unwrap().must_be(200);
    assert_eq!([OWN, OWN_SECOND, POOL].map(|key| gateway.calls(key).len()), [3, 1, 0]);
}

/// An SDK's retries and ours together: whatever the client's SDK does with a 503, at most three calls of a
/// client's one reach the provider.
async fn storm(program: std::path::PathBuf, script: &str) {
    const CALLS: usize = 24;
    let gateway = Gateway::start().await;
    gateway.credential("broken", OWN).await;
    gateway.emulator.script(OWN, [Behaviour::status(503).always()]);
    let mut command = tokio::process::Command::new(program);
    command.arg(workspace().join("tests").join(script));
    command.args([&format!("{}/v1", gateway.origin), &gateway.founded.api_key, &CALLS.to_string()]);
    command.env("NO_PROXY", "*").kill_on_drop(true);
    let output = tokio::time::timeout(WITHIN * 3, command.output()).await.unwrap().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(printed.trim(), format!("failed {CALLS}"));
    let calls = gateway.calls(OWN).len();
    println!("{calls} calls for {CALLS} of the client");
    assert!(calls > 0 && calls <= 3 * CALLS, "{calls} calls for {CALLS}");
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn retries_of_the_python_sdk_and_ours_are_three_calls_at_most() {
    storm(workspace().join(".venv/bin/python"), "sdk/storm.py").await;
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn retries_of_the_node_sdk_and_ours_are_three_calls_at_most() {
    storm("node".into(), "node/storm.mjs").await;
}
