//! Strategies and conditions of routes: which seat serves, as the answer's headers and the emulator's journal tell, and what the
//! plan says of it.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use harness::client::Answer;
use harness::{Behaviour, Emulator};
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{CHAT, MINI, has, problem, question, streaming, with};
use crate::gateway::{Gateway, OWN, OWN_SECOND, POOL, config, id_of};
use crate::wait::a_moment;

/// Requests of a test that none but exploring ones may leave; one in fifty explores.
const REQUESTS: usize = 60;

async fn tagged(gateway: &Gateway, tag: &str, body: &Value) -> Answer {
    let hints = URL_SAFE_NO_PAD.encode(json!({"tag": tag}).to_string());
    gateway.client().header("agent-hints", hints).post(CHAT, body).await.unwrap().must_be(200)
}

fn served_by(answer: &Answer) -> String {
    answer.header("agent-byok-credential-id").unwrap_or("nobody").to_owned()
}

/// A credential with prices of its own, in micro-USD per million tokens.
async fn priced(gateway: &Gateway, secret: &str, prices: Value) -> String {
    let id = gateway.credential("openai", secret).await;
    let prices = json!({"pricing": {(MINI): prices}});
    gateway.patch(&format!("/v2/provider-credentials/{id}"), prices).await;
    id
}

async fn order_of(gateway: &Gateway) -> String {
    let plan = gateway.plan(json!({"model": MINI})).await;
    plan["route"]["order"].as_str().unwrap_or_else(|| panic!("no order: {plan}")).to_owned()
}

#[tokio::test]
async fn the_fastest_serves_once_it_is_measured() {
    let gateway = Gateway::start().await;
    let quick = Emulator::start(config()).await.unwrap();
    let slow_id = gateway.credential("openai", OWN).await;
    let body = json!({"provider": "openai", "display_name": "quick", "secret": OWN_SECOND, "base_url": quick.base_url()});
    let quick_id = id_of(&gateway.make("/v2/provider-credentials", body).await);
    gateway.emulator.script(OWN, [Behaviour::ok().latency(Duration::from_millis(150)).always()]);
    gateway.route(json!({"strategy": "fastest"})).await;
    for (tag, id) in [("quick", &quick_id), ("slow", &slow_id)] {
        gateway.route(json!({"scope": {"tag": tag}, "credential_ids": [id]})).await;
    }
    assert!(order_of(&gateway).await.contains("not measured"), "nothing was sent yet");
    for body in [question(MINI), streaming(MINI)] {
        assert_eq!(served_by(&tagged(&gateway, "slow", &body).await), slow_id);
        assert_eq!(served_by(&tagged(&gateway, "quick", &body).await), quick_id);
        let mut counts = [0, 0];
        for _ in 0..REQUESTS {
            counts[usize::from(served_by(&gateway.chat_ok(&body).await) == quick_id)] += 1;
        }
        assert!(counts[1] >= REQUESTS - 10, "{counts:?}");
    }
    let order = order_of(&gateway).await;
    let (quick_at, slow_at) = (order.find(&quick_id).unwrap(), order.find(&slow_id).unwrap());
    assert!(order.contains("explores") || quick_at < slow_at, "{order}");
    assert!(order.matches(" ms at ").count() == 2, "{order}");
}

#[tokio::test]
async fn balanced_credentials_share_the_requests() {
    let gateway = Gateway::start().await;
    let first = gateway.credential("openai", OWN).await;
    let second = gateway.credential("openai", OWN_SECOND).await;
    for _ in 0..3 {
        let served = served_by(&gateway.chat_ok(&question(MINI)).await);
        assert_eq!(served, first, "without a route the oldest serves");
    }
    gateway.route(json!({"strategy": "balanced"})).await;
    let mut counts = [0, 0];
    for _ in 0..REQUESTS {
        counts[usize::from(served_by(&gateway.chat_ok(&question(MINI)).await) == second)] += 1;
    }
    // Fair draws leave this range once in ten million times.
    assert!(counts.iter().all(|count| *count >= REQUESTS / 6), "{counts:?}");
    // One that is busy is given nothing while the other is idle.
    gateway.emulator.script(OWN, [Behaviour::ok().latency(WITHIN * 2).always()]);
    let mut held = Vec::new();
    while gateway.calls(OWN).len() == counts[0] + 3 {
        assert!(held.len() < REQUESTS, "nothing goes to the first any more");
        let (client, body) = (gateway.client(), question(MINI));
        held.push(tokio::spawn(async move { client.post(CHAT, &body).await }));
        a_moment().await;
    }
    for _ in 0..10 {
        assert_eq!(served_by(&gateway.chat_ok(&question(MINI)).await), second);
    }
    let order = order_of(&gateway).await;
    assert!(order.contains(&format!("1 in flight at {first}")), "{order}");
    held.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn the_cheapest_is_so_for_this_request() {
    let gateway = Gateway::start().await;
    let talker = priced(&gateway, OWN, json!({"input": 4_000_000, "output": 1_000_000})).await;
    let reader = priced(&gateway, OWN_SECOND, json!({"input": 1_000_000, "output": 9_000_000})).await;
    gateway.route(json!({"strategy": "cheapest"})).await;
    let long = json!([{"role": "user", "content": "word ".repeat(2_000)}]);
    let (long, short) = (json!({"messages": long, "max_tokens": 20}), json!({"max_tokens": 4_000}));
    for (more, expected) in [(long, &reader), (short, &talker)] {
        assert_eq!(served_by(&gateway.chat_ok(&with(question(MINI), more)).await), *expected);
    }
    let order = order_of(&gateway).await;
    assert!(order.contains("cheapest") && order.contains('$') && order.contains(&talker), "{order}");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_prompt_that_a_seat_has_cached_is_cheaper_there() {
    let gateway = Gateway::start().await;
    let cached = json!({"input": 2_000_000, "cached_input": 100_000, "output": 1_000_000});
    let caching = priced(&gateway, OWN, cached).await;
    let plain = priced(&gateway, OWN_SECOND, json!({"input": 1_000_000, "output": 1_000_000})).await;
    gateway.route(json!({"strategy": "cheapest"})).await;
    let only = json!({"scope": {"tag": "caching"}, "strategy": "cheapest", "credential_ids": [caching]});
    gateway.route(only).await;
    let system = json!({"role": "system", "content": "You are careful. ".repeat(1_500)});
    let messages = json!([system, {"role": "user", "content": "hello"}]);
    let body = with(question(MINI), json!({"messages": messages, "max_tokens": 10}));
    assert_eq!(served_by(&gateway.chat_ok(&body).await), plain);
    assert_eq!(served_by(&tagged(&gateway, "caching", &body).await), caching);
    assert_eq!(served_by(&gateway.chat_ok(&body).await), caching, "its provider has the prompt now");
    let other = json!([{"role": "user", "content": "Something else. ".repeat(1_500)}]);
    let other = with(question(MINI), json!({"messages": other, "max_tokens": 10}));
    assert_eq!(served_by(&gateway.chat_ok(&other).await), plain);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_strategy_never_leaves_own_credentials_unless_the_route_does() {
    let gateway = Gateway::start().await;
    let own = priced(&gateway, OWN, json!({"input": 900_000_000, "output": 900_000_000})).await;
    gateway.account("openai", POOL).await;
    let both = json!(["byok", "managed_provider"]);
    let route = gateway.route(json!({"strategy": "cheapest", "profiles": both})).await;
    assert_eq!(served_by(&gateway.chat_ok(&question(MINI)).await), own, "byok_fallback is never");
    gateway.emulator.script(OWN, [Behaviour::status(500).always()]);
    for strategy in ["cheapest", "fastest", "balanced", "committed_first"] {
        gateway.patch(&format!("/v2/routes/{route}"), json!({"strategy": strategy})).await;
        assert_ne!(gateway.chat(&question(MINI)).await.status, 200, "{strategy}");
    }
    let route = format!("/v2/routes/{route}");
    gateway.patch(&route, json!({"strategy": "byok_strict", "profiles": []})).await;
    assert_ne!(gateway.chat(&question(MINI)).await.status, 200);
    assert!(gateway.calls(POOL).is_empty(), "the pool was called");
    gateway.emulator.clear_scripts();
    let leaves = json!({"strategy": "cheapest", "profiles": both, "byok_fallback": "managed"});
    gateway.patch(&route, leaves).await;
    let answer = gateway.chat_ok(&question(MINI)).await;
    assert_eq!(answer.header("agent-execution-profile"), Some("managed_provider"));
    assert_eq!(gateway.calls(POOL).len(), 1);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn conditions_choose_in_every_dialect() {
    let gateway = Gateway::start().await;
    let usual = gateway.credential("openai", OWN).await;
    let special = gateway.credential("openai", OWN_SECOND).await;
    gateway.route(json!({"credential_ids": [usual]})).await;
    let tool = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]);
    let long = json!([{"role": "user", "content": "word ".repeat(1_000)}]);
    for (when, more) in [
        (json!({"prompt_tokens_min": 1_000}), json!({"messages": long})),
        (json!({"has_tools": true}), json!({"tools": tool})),
        (json!({"metadata": {"team": "search"}}), json!({"metadata": {"team": "search", "other": "x"}})),
        (json!({"end_user": "vip"}), json!({"user": "vip"})),
        (json!({"time": {}}), json!({})),
    ] {
        let route = gateway.route(json!({"when": when, "credential_ids": [special]})).await;
        assert_eq!(served_by(&gateway.chat_ok(&with(question(MINI), more)).await), special, "{when}");
        if when.get("time").is_none() {
            assert_eq!(served_by(&gateway.chat_ok(&question(MINI)).await), usual, "{when}");
        }
        gateway.remove(&format!("/v2/routes/{route}")).await;
    }
    gateway.route(json!({"when": {"has_tools": true}, "credential_ids": [special]})).await;
    let tool = json!([{"name": "f", "input_schema": {"type": "object", "properties": {}}}]);
    let messages = json!([{"role": "user", "content": "hello"}]);
    let plain = json!({"model": MINI, "max_tokens": 50, "messages": messages});
    for (body, expected) in [(with(plain.clone(), json!({"tools": tool})), &special), (plain, &usual)] {
        let answer = gateway.client().post("/v1/messages", &body).await.unwrap().must_be(200);
        assert_eq!(served_by(&answer), *expected);
    }
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn what_contradicts_itself_is_refused() {
    let gateway = Gateway::start().await;
    for (rule, field) in [
        (json!({"strategy": "dearest"}), "strategy"),
        (json!({"strategy": "local_first", "profiles": ["byok"]}), "profiles"),
        (json!({"strategy": "byok_strict", "byok_fallback": "managed"}), "byok_fallback"),
        (json!({"strategy": "byok_strict", "overflow": "managed"}), "overflow"),
        (json!({"when": {"prompt_tokens_min": 9, "prompt_tokens_max": 8}}), "when.prompt_tokens_min"),
        (json!({"when": {"time": {"from": "noon"}}}), "when.time.from"),
    ] {
        let error = problem(&gateway.admin().post("/v2/routes", &rule).await.unwrap(), 400, "invalid_value");
        assert!(error.to_string().contains(&format!("\"{field}\"")), "{error}");
    }
    let first = gateway.route(json!({"when": {"prompt_tokens_max": 100}})).await;
    let overlapping = json!({"when": {"prompt_tokens_min": 100}});
    let answer = gateway.admin().post("/v2/routes", &overlapping).await.unwrap();
    let error = problem(&answer, 409, "route_conditions_overlap");
    assert!(error.to_string().contains(&first), "{error}");
    gateway.route(json!({"when": {"prompt_tokens_min": 101}})).await;
    gateway.route(json!({"when": {"has_tools": true}})).await;
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_route_goes_back_to_what_it_was() {
    let gateway = Gateway::start().await;
    let first = gateway.credential("openai", OWN).await;
    let second = gateway.credential("openai", OWN_SECOND).await;
    let route = gateway.route(json!({"credential_ids": [first]})).await;
    let changed = json!({"credential_ids": [second], "strategy": "balanced"});
    gateway.patch(&format!("/v2/routes/{route}"), changed).await;
    assert_eq!(served_by(&gateway.chat_ok(&question(MINI)).await), second);
    let versions = gateway.get(&format!("/v2/routes/{route}/versions")).await;
    let newest = &versions["data"][0];
    assert_eq!(newest["changes"].as_array().unwrap().len(), 2, "{versions}");
    has(newest, json!({"version": 2, "/changes/0/field": "credential_ids", "/changes/1/field": "strategy"}));
    has(newest, json!({"/changes/1/before": "none", "/changes/1/after": "balanced"}));
    assert!(versions["data"][1]["saved_by"].as_str().unwrap().starts_with("key_"), "{versions}");
    let path = format!("/v2/routes/{route}/rollback");
    let unknown = gateway.admin().post(&path, &json!({"version": 9})).await.unwrap();
    problem(&unknown, 404, "route_version_not_found");
    let back = gateway.admin().post(&path, &json!({"version": 1})).await.unwrap();
    assert_eq!((back.status, &back.json()["credential_ids"]), (200, &json!([first])), "{}", back.text());
    assert_eq!(served_by(&gateway.chat_ok(&question(MINI)).await), first);
    let cli = gateway.cli();
    cli.run(&["route", "rollback", &route, "2", "--json"]).json();
    assert_eq!(served_by(&gateway.chat_ok(&question(MINI)).await), second);
    let listed = cli.run(&["route", "versions", &route]).ok();
    assert!(listed.starts_with("4 ") && listed.contains("strategy: \"none\" -> \"balanced\""), "{listed}");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn the_command_line_sets_them_and_a_document_keeps_them() {
    let gateway = Gateway::start().await;
    let cli = gateway.cli();
    let added = "route add --model openai/* --strategy committed-first --prompt-tokens-min 1000 \
         --has-tools true --metadata team=search --end-user vip --weekdays sat,sun --from 22:00 --to 06:00 \
         --utc-offset -05:00 --json";
    let made = cli.run(&added.split(' ').collect::<Vec<_>>()).json();
    let when = json!({
        "prompt_tokens_min": 1000, "has_tools": true, "metadata": {"team": "search"}, "end_user": "vip",
        "time": {"weekdays": ["sat", "sun"], "from": "22:00", "to": "06:00", "utc_offset": "-05:00"},
    });
    has(&made, json!({"when": when, "strategy": "committed_first"}));
    cli.run(&["route", "add", "--model", "openai/*", "--strategy", "balanced", "--json"]).json();
    let exported = cli.run(&["export"]).ok();
    let file = gateway.directory().join("routes.toml");
    std::fs::write(&file, &exported).unwrap();
    let applied = cli.run(&["apply", "-f", &file.display().to_string(), "--dry-run", "--json"]).lines();
    let routes: Vec<_> = applied.iter().filter(|line| line["kind"] == "route").collect();
    assert_eq!(routes.len(), 2, "{applied:?}");
    assert!(routes.iter().all(|line| line["action"] == "keep"), "{routes:?}\n{exported}");
    assert!(exported.contains("committed_first"), "{exported}");
    assert!(exported.contains("prompt_tokens_min = 1000"), "{exported}");
}
