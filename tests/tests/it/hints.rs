//! Hints: what a client wishes of how its request is served, in a header or stored, and what becomes of each field.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use harness::Behaviour;
use harness::client::{Answer, Client};
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, has, question, refused, streaming, trace_of, trace_of_stream, with, words};
use crate::gateway::{Gateway, OWN, POOL, id_of, row};
use crate::wait::until;

const MESSAGES: &str = "/v1/messages";
const STORED: &str = "/v2/agent-hints";

fn encoded(hints: &Value) -> String {
    URL_SAFE_NO_PAD.encode(hints.to_string())
}

pub fn hinting(gateway: &Gateway, hints: &Value) -> Client {
    gateway.client().header("agent-hints", encoded(hints))
}

async fn ask(client: &Client) -> Answer {
    client.post(CHAT, &question(MINI)).await.unwrap()
}

async fn asked(gateway: &Gateway, hints: &Value) -> Answer {
    let answer = ask(&hinting(gateway, hints)).await;
    assert_eq!(answer.status, 200, "{hints}: {}", answer.text());
    answer
}

fn dropped(answer: &Answer) -> &str {
    answer.header("agent-dropped-params").unwrap_or_default()
}

/// The deadline is the client's: the upstream is twice as slow, its connection is closed, and nothing is owed.
#[tokio::test]
async fn a_hinted_deadline_ends_the_upstream_call_and_costs_nothing_under_managed() {
    let gateway = Gateway::start().await;
    gateway.account("openai", POOL).await;
    let deadline = Duration::from_millis(400);
    let hints = json!({"qos": {"deadline_ms": 400}});
    let slow = || Behaviour::ok().latency(deadline * 2);
    gateway.emulator.script(POOL, [slow(), slow()]);
    for body in [question(MINI), streaming(MINI)] {
        let started = Instant::now();
        let answer = hinting(&gateway, &hints).post(CHAT, &body).await.unwrap();
        let error = refused(&answer, 504, "deadline_exceeded");
        assert!(error["message"].as_str().unwrap().contains("deadline"), "{error}");
        assert!(started.elapsed() >= deadline, "{:?}", started.elapsed());
        let record = gateway.settled(&trace_of(&answer)).await;
        assert_eq!((&record["outcome"], &record["cost_micros"]), (&json!("deadline"), &json!(0)), "{record}");
        assert_eq!(record["attempts"].as_array().unwrap().len(), 1, "{record}");
    }
    let holds = async || gateway.calls(POOL).iter().filter(|call| call.cancelled.is_some()).count() == 2;
    until("the emulator sees both connections closed", holds).await;
    // A deadline that is not reached changes nothing.
    asked(&gateway, &json!({"qos": {"deadline_ms": 60_000}})).await;
}

/// What a policy or a route bounds, hints can't widen.
#[tokio::test]
async fn a_deadline_of_a_route_holds_whatever_is_hinted() {
    let gateway = Gateway::with_own().await;
    gateway.route(json!({"scope": {}, "deadline_ms": 300})).await;
    gateway.emulator.script(OWN, [Behaviour::ok().latency(Duration::from_secs(600))]);
    let answer = ask(&hinting(&gateway, &json!({"qos": {"deadline_ms": 600_000}}))).await;
    refused(&answer, 504, "deadline_exceeded");
}

#[tokio::test]
async fn a_target_is_told_to_be_met_or_missed() {
    let gateway = Gateway::with_own().await;
    let met = |answer: &Answer| answer.header("agent-qos-target-met").map(str::to_owned);
    let near = hinting(&gateway, &json!({"qos": {"target_ttft_ms": 60_000}}));
    let far = hinting(&gateway, &json!({"qos": {"target_ttft_ms": 50}}));
    for body in [question(MINI), streaming(MINI)] {
        assert_eq!(met(&near.post(CHAT, &body).await.unwrap()).as_deref(), Some("true"));
        gateway.emulator.script(OWN, [Behaviour::ok().latency(Duration::from_millis(120))]);
        assert_eq!(met(&far.post(CHAT, &body).await.unwrap()).as_deref(), Some("false"));
        gateway.emulator.clear_scripts();
    }
    // The head of a stream is held back for its first event, so that it can tell.
    gateway.route(json!({"scope": {}, "head_wait_ms": 50})).await;
    gateway.emulator.script(OWN, [Behaviour::ok().latency(Duration::from_millis(200))]);
    let stream = near.stream(CHAT, &streaming(MINI)).await.unwrap();
    assert_eq!(stream.header("agent-qos-target-met"), Some("true"));
    gateway.settled(&trace_of_stream(&stream)).await;
    // An error meets no target, and without a target nothing is told.
    gateway.emulator.script(OWN, [Behaviour::status(400)]);
    assert_eq!(met(&ask(&near).await).as_deref(), Some("false"));
    let nowhere = near.post(CHAT, &question("nobody/nothing")).await.unwrap();
    assert_eq!((nowhere.status, met(&nowhere).as_deref()), (404, Some("false")), "{}", nowhere.text());
    assert_eq!(met(&gateway.chat_ok(&question(MINI)).await), None);
}

/// What became of the hints stands in the record, whatever the dialect.
#[cfg(feature = "broker")]
#[tokio::test]
async fn the_record_says_how_well_a_request_was_served() {
    let gateway = Gateway::with_own().await;
    let near = json!({"qos": {"class": "interactive", "target_ttft_ms": 60_000, "deadline_ms": 70_000}});
    let far = json!({"qos": {"target_ttft_ms": 50}});
    let text = json!([{"role": "user", "content": "hello"}]);
    let gemini = format!("/v1beta/models/{MINI}:generateContent");
    let dialects = [
        (CHAT, question(MINI)),
        (CHAT, streaming(MINI)),
        ("/v1/responses", json!({"model": MINI, "input": "hello"})),
        (MESSAGES, json!({"model": MINI, "max_tokens": 9, "messages": text})),
        (&*gemini, json!({"contents": [{"parts": [{"text": "hello"}]}]})),
    ];
    for (path, body) in dialects {
        let answer = hinting(&gateway, &near).post(path, &body).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let mut found = gateway.settled(&trace_of(&answer)).await["qos_outcome"].take();
        let (ttft, latency) = (found["ttft_ms"].take(), found["latency_ms"].take());
        assert!(ttft.is_u64() && latency.as_u64() >= ttft.as_u64(), "{path}: {ttft} {latency}");
        let expected = json!({"class": "interactive", "target_ttft_ms": 60_000, "deadline_ms": 70_000,
            "admission": "admitted", "completion": "completed", "target_met": true, "ttft_ms": null, "latency_ms": null,
            "deadline_met": true, "degraded": false, "fallback_used": false, "reason_code": null});
        assert_eq!(found, expected, "{path}");
        gateway.emulator.script(OWN, [Behaviour::ok().latency(Duration::from_millis(120))]);
        let late = hinting(&gateway, &far).post(path, &body).await.unwrap();
        let found = gateway.settled(&trace_of(&late)).await;
        let found = ["class", "target_met", "deadline_met"].map(|name| found["qos_outcome"][name].clone());
        assert_eq!(found, [Value::Null, json!(false), Value::Null], "{path}");
        gateway.emulator.clear_scripts();
    }
    // An error meets nothing, and a fallback is a lesser service.
    gateway.emulator.script(OWN, [Behaviour::status(400)]);
    let failed = ask(&hinting(&gateway, &near)).await;
    let found = gateway.settled(&trace_of(&failed)).await["qos_outcome"].take();
    has(&found, json!({"completion": "failed", "target_met": false, "deadline_met": false, "ttft_ms": null}));
    assert!(found["reason_code"].is_string(), "{found}");
    gateway.account("openai", POOL).await;
    gateway.route(json!({"scope": {}, "byok_fallback": "managed"})).await;
    gateway.emulator.script(OWN, [Behaviour::status(503), Behaviour::status(503), Behaviour::status(503)]);
    let fallen = asked(&gateway, &json!({"qos": {"class": "batch"}})).await;
    let found = gateway.settled(&trace_of(&fallen)).await["qos_outcome"].take();
    assert_eq!((&found["degraded"], &found["class"]), (&json!(true), &json!("batch")), "{found}");
    // Without hints there is nothing to tell.
    let plain = gateway.settled(&trace_of(&gateway.chat_ok(&question(MINI)).await)).await;
    assert_eq!(plain["qos_outcome"], Value::Null, "{plain}");
}

/// Hints narrow where a request may go, in every dialect, and widen nothing.
#[cfg(feature = "broker")]
#[tokio::test]
async fn hints_only_tighten_where_a_request_may_go() {
    let gateway = Gateway::with_own().await;
    gateway.account("openai", POOL).await;
    let only = |profiles: Value| json!({"routing": {"execution_profiles": profiles}});
    let answer = asked(&gateway, &only(json!(["managed_provider", "byok"]))).await;
    assert_eq!((answer.header("agent-execution-profile"), dropped(&answer)), (Some("byok"), ""));
    let answer = asked(&gateway, &only(json!(["managed_provider"]))).await;
    assert_eq!(answer.header("agent-execution-profile"), Some("managed_provider"));
    let before = (gateway.calls(OWN).len(), gateway.calls(POOL).len());
    for hints in [only(json!(["byoc"])), json!({"routing": {"region_policy": "eu_only"}})] {
        let error = refused(&ask(&hinting(&gateway, &hints)).await, 403, "hints_forbid");
        assert_eq!(error["param"], "routing", "{error}");
        let claude = with(question(MINI), json!({"max_tokens": 5}));
        hinting(&gateway, &hints).post(MESSAGES, &claude).await.unwrap().must_be(403);
    }
    assert_eq!((gateway.calls(OWN).len(), gateway.calls(POOL).len()), before, "nothing was sent");
    // A policy is not loosened.
    let policy = json!({"project_id": gateway.founded.project_id, "profiles": ["byok"]});
    gateway.make("/v2/policies", policy).await;
    refused(&ask(&hinting(&gateway, &only(json!(["managed_provider"])))).await, 403, "policy_forbids");
    // What a plan tells is what would be.
    let headers = json!({"Agent-Hints": encoded(&only(json!(["byoc"])))});
    let plan = gateway.plan(json!({"request": question(MINI), "headers": headers})).await;
    row(&plan["rejected"], "reason", "hints_forbid");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_fallback_that_the_route_allows_can_be_forbidden() {
    let gateway = Gateway::with_own().await;
    gateway.account("openai", POOL).await;
    gateway.route(json!({"scope": {}, "byok_fallback": "managed"})).await;
    let degrade = |word: &str| json!({"qos": {"degrade_policy": word}});
    gateway.emulator.script(OWN, [Behaviour::status(401).always()]);
    let answer = asked(&gateway, &degrade("allow_compatible_fallback")).await;
    let seen = (answer.header("agent-fallback-used"), answer.header("agent-execution-profile"));
    assert_eq!(seen, (Some("true"), Some("managed_provider")));
    let pooled = gateway.calls(POOL).len();
    let refusal = ask(&hinting(&gateway, &degrade("forbid"))).await;
    assert_ne!(refusal.status, 200, "{}", refusal.text());
    assert_eq!(gateway.calls(POOL).len(), pooled);
    let record = gateway.settled(&trace_of(&refusal)).await;
    assert!(record["plan"]["rejected"].to_string().contains("degrade_forbidden"), "{record}");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_reuse_that_is_bypassed_is_neither_read_nor_kept() {
    let gateway = Gateway::with_own().await;
    gateway.cache_answers().await;
    let cache = |answer: &Answer| answer.header("agent-cache").unwrap_or_default().to_owned();
    assert_eq!(cache(&gateway.chat_ok(&question(MINI)).await), "miss");
    for hints in [json!({"reuse": {"preference": "bypass"}}), json!({"reuse": {"scope": "none"}})] {
        assert_eq!(cache(&asked(&gateway, &hints).await), "bypass", "{hints}");
    }
    let preferred = json!({"reuse": {"preference": "prefer"}, "qos": {"target_ttft_ms": 60_000}});
    assert_eq!(cache(&asked(&gateway, &preferred).await), "miss", "its answer names what was dropped");
    let again = asked(&gateway, &preferred).await;
    assert_eq!((cache(&again).as_str(), dropped(&again)), ("hit", "Agent-Hints.reuse.preference"));
    assert_eq!(again.header("agent-qos-target-met"), Some("true"));
}

/// Policies hold for requests that may be answered from the cache, too.
#[cfg(feature = "broker")]
#[tokio::test]
async fn a_check_holds_where_answers_are_kept() {
    let gateway = Gateway::with_own().await;
    gateway.cache_answers().await;
    let checks = json!([{"detect": "email", "action": "block", "direction": "input"}]);
    gateway.make("/v2/policies", json!({"project_id": gateway.founded.project_id, "checks": checks})).await;
    let body =
        with(question(MINI), json!({"messages": [{"role": "user", "content": "write to a.b@example.com"}]}));
    refused(&gateway.chat(&body).await, 403, "policy_forbids");
    assert_eq!(gateway.calls(OWN).len(), 0);
    gateway.chat_ok(&question(MINI)).await;
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn stored_hints_win_and_every_field_without_effect_is_named() {
    let gateway = Gateway::with_own().await;
    gateway.account("openai", POOL).await;
    let hints = json!({
        "name": "nightly evaluation", "tag": "nightly",
        "qos": {"class": "batch", "target_ttft_ms": 60_000, "priority": 7},
        "reuse": {"preference": "allow", "scope": "session", "retention_preference": "short"},
        "routing": {"execution_profiles": ["managed_provider"]}, "state": {"step": 3}, "safety": {},
    });
    let stored = gateway.make(STORED, hints.clone()).await;
    let id = id_of(&stored);
    assert!(id.starts_with("ah_"), "{id}");
    assert_eq!(stored["object"], "agent_hints", "{stored}");
    for (name, value) in hints.as_object().unwrap() {
        assert_eq!(&stored[name], value, "{name}");
    }
    let unheeded = ["reuse.scope", "reuse.retention_preference", "state", "safety"];
    assert_eq!(stored["not_honoured"], json!(unheeded), "{stored}");
    assert_eq!(gateway.get(&format!("{STORED}/{id}")).await, stored);
    let referring = || gateway.client().header("agent-hints-ref", &id);
    let answer = ask(&referring()).await;
    assert_eq!(answer.header("agent-execution-profile"), Some("managed_provider"), "{}", answer.text());
    assert_eq!(answer.header("agent-qos-target-met"), Some("true"));
    assert_eq!(dropped(&answer), unheeded.map(|name| format!("Agent-Hints-Ref.{name}")).join(", "));
    assert_eq!(gateway.settled(&trace_of(&answer)).await["tag"], "nightly");
    // Inline hints give way, and that is said.
    let inline = json!({"tag": "daily", "routing": {"execution_profiles": ["byok"]}});
    let answer = ask(&referring().header("agent-hints", encoded(&inline))).await;
    assert_eq!(answer.header("agent-execution-profile"), Some("managed_provider"), "{}", answer.text());
    assert!(dropped(&answer).starts_with("Agent-Hints, "), "{}", dropped(&answer));
    assert_eq!(gateway.settled(&trace_of(&answer)).await["tag"], "nightly");
    // A change is in force once it is answered, and what is gone is refused.
    gateway.patch(&format!("{STORED}/{id}"), json!({"routing": {"execution_profiles": ["byok"]}})).await;
    assert_eq!(ask(&referring()).await.header("agent-execution-profile"), Some("byok"));
    gateway.remove(&format!("{STORED}/{id}")).await;
    refused(&ask(&referring()).await, 400, "unknown_hints");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn nobody_uses_or_sees_the_hints_of_another_workspace() {
    let gateway = Gateway::with_own().await;
    let mine = id_of(&gateway.make(STORED, json!({"tag": "mine"})).await);
    let others = gateway.workspace("others").await;
    let admin = gateway.with_key(&others.admin_key);
    let credential = json!({"provider": "openai", "secret": POOL, "base_url": gateway.emulator.base_url()});
    assert_eq!(admin.post("/v2/provider-credentials", &credential).await.unwrap().status, 201);
    assert_eq!(admin.get(&format!("{STORED}/{mine}")).await.unwrap().status, 404);
    assert_eq!(admin.get(STORED).await.unwrap().json()["data"], json!([]));
    let stranger = || gateway.with_key(&others.api_key);
    let nowhere = mine.replace(&mine[mine.len() - 8..], "00000000");
    for reference in [mine.as_str(), &nowhere, "ah_", "x", "ses_1", "../../x"] {
        let refusal = ask(&stranger().header("agent-hints-ref", reference)).await;
        let error = refused(&refusal, 400, "unknown_hints");
        assert_eq!(error["param"], "Agent-Hints-Ref", "{error}");
        let lenient = stranger().header("agent-hints-ref", reference).header("agent-lenient", "true");
        let answer = ask(&lenient).await;
        assert_eq!((answer.status, dropped(&answer)), (200, "Agent-Hints-Ref"), "{}", answer.text());
    }
}

/// Whatever a header holds, the request is served and the part without effect is named.
#[cfg(feature = "broker")]
#[tokio::test]
async fn hostile_hints_are_named_and_do_nothing() {
    let gateway = Gateway::with_own().await;
    let deep = format!(r#"{{"qos":{}{}}}"#, "[".repeat(2_000), "]".repeat(2_000));
    let huge = json!({"tag": "x", "state": "y".repeat(8 * 1024)}).to_string();
    for (header, named) in [
        (r#"{"tag":"plain"}"#.to_owned(), "Agent-Hints"),
        ("%%%".to_owned(), "Agent-Hints"),
        (URL_SAFE_NO_PAD.encode("[]"), "Agent-Hints"),
        (URL_SAFE_NO_PAD.encode(deep), "Agent-Hints"),
        (URL_SAFE_NO_PAD.encode(huge), "Agent-Hints"),
        (URL_SAFE_NO_PAD.encode(r#"{"tag":"a","tag":"b"}"#), "Agent-Hints"),
        (URL_SAFE_NO_PAD.encode([0xFF, 0xFE]), "Agent-Hints"),
        (encoded(&json!({"qos": "fast"})), "Agent-Hints.qos"),
        (encoded(&json!({"qos": {"deadline_ms": "1"}})), "Agent-Hints.qos.deadline_ms"),
        (encoded(&json!({"qos": {"deadline_ms": 0}})), "Agent-Hints.qos.deadline_ms"),
        (encoded(&json!({"qos": {"deadline_ms": -1}})), "Agent-Hints.qos.deadline_ms"),
        (encoded(&json!({"qos": {"class": ["batch"]}})), "Agent-Hints.qos.class"),
        (encoded(&json!({"tag": 5})), "Agent-Hints.tag"),
        (encoded(&json!({"routing": {"region_policy": "mars_only"}})), "Agent-Hints.routing.region_policy"),
        (encoded(&json!({"x\r\nset-cookie: a=b, y": 1})), "Agent-Hints.x??set-cookie??a?b??y"),
    ] {
        let answer = ask(&gateway.client().header("agent-hints", &header)).await;
        assert_eq!((answer.status, dropped(&answer)), (200, named), "{header}: {}", answer.text());
        assert_eq!(answer.header("set-cookie"), None);
    }
    for (body, field) in [
        (json!({"qos": {"deadline_ms": 0}}), "qos.deadline_ms"),
        (json!({"qos": {"class": "urgent"}}), "qos.class"),
        (json!({"routing": {"execution_profiles": ["byoc_dynamo"]}}), "routing.execution_profiles"),
        (json!({"tag": "a\nb"}), "tag"),
        (json!({"state": {"text": "y".repeat(8 * 1024)}}), "state"),
    ] {
        let refusal = gateway.admin().post(STORED, &body).await.unwrap();
        assert_eq!((refusal.status, &refusal.json()["param"]), (400, &json!(field)), "{}", refusal.text());
    }
    gateway.admin().post(STORED, &json!({"qos": {"speed": 1}})).await.unwrap().must_be(400);
    // The command line stores hints.
    let cli = gateway.cli();
    let add = "hints add --name night --class background --deadline-ms 5000 --profile byok --json";
    let made = cli.run(&words(add)).json();
    assert_eq!(made["qos"], json!({"class": "background", "deadline_ms": 5_000}), "{made}");
    let id = id_of(&made);
    let set = cli.run(&["hints", "set", &id, "--tag", "t", "--json"]).json();
    has(&set, json!({"tag": "t", "routing": {"execution_profiles": ["byok"]}}));
    cli.run(&["hints", "remove", &id, "--yes"]);
    assert_eq!(gateway.get(STORED).await["data"], json!([]));
}

/// The class that hints state, whichever way they come, is in the record, in sums of usage and in filters of both.
#[cfg(feature = "broker")]
#[tokio::test]
async fn a_class_is_recorded_summed_and_filtered_by() {
    let gateway = Gateway::with_own().await;
    let class = |word: &str| json!({"qos": {"class": word}});
    let stored = id_of(&gateway.make(STORED, class("interactive")).await);
    let batch = asked(&gateway, &class("batch")).await;
    let interactive = ask(&gateway.client().header("agent-hints-ref", &stored)).await;
    let body = json!({"model": MINI, "input": "hello", "qos": {"class": "background"}});
    let background = gateway.client().post("/v2/responses", &body).await.unwrap();
    let plain = ask(&gateway.client()).await;
    let nowhere = hinting(&gateway, &class("batch")).post(CHAT, &question("nobody/nothing")).await.unwrap();
    assert_eq!(nowhere.status, 404, "{}", nowhere.text());
    for (answer, word) in [
        (&batch, json!("batch")),
        (&interactive, json!("interactive")),
        (&background, json!("background")),
        (&plain, Value::Null),
        (&nowhere, json!("batch")),
    ] {
        assert_eq!(gateway.settled(&trace_of(answer)).await["qos_class"], word, "{}", answer.text());
    }
    gateway.listed(5).await;
    let usage = gateway.get("/v2/usage?group_by=qos_class").await;
    let rows = usage["data"].as_array().unwrap().iter();
    let mut rows: Vec<_> = rows.map(|row| (row["qos_class"].as_str(), row["requests"].as_u64())).collect();
    rows.sort_unstable();
    let classes = [None, Some("background"), Some("batch"), Some("interactive")];
    assert_eq!(rows, classes.map(|class| (class, Some(1_u64))));
    for query in ["qos_class=batch", "filter=qos_class:interactive"] {
        assert_eq!(gateway.get(&format!("/v2/usage?{query}")).await["data"][0]["requests"], 1, "{query}");
    }
    assert_eq!(gateway.get("/v2/usage?qos_class=standard").await["data"], json!([]));
    for (query, expected) in [
        ("qos_class=batch", vec![&nowhere, &batch]),
        ("filter=qos_class:background", vec![&background]),
        ("qos_class=standard", vec![]),
    ] {
        let listed = gateway.get(&format!("/v2/requests?{query}")).await;
        let ids: Vec<&str> =
            listed["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
        assert_eq!(ids, expected.into_iter().map(trace_of).collect::<Vec<_>>(), "{query}");
    }
    let wrong = gateway.admin().get("/v2/requests?qos_class=urgent").await.unwrap();
    assert_eq!((wrong.status, &wrong.json()["param"]), (400, &json!("qos_class")), "{}", wrong.text());
}
