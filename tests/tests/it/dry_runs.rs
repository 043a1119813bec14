//! Dry runs of routes and releases against stored requests, and what differs between versions.

use harness::client::{Answer, Client};
use serde_json::{Value, json};

use crate::ask::{MINI, has, problem, question, trace_of, with};
use crate::gateway::{Gateway, OWN, POOL, id_of};

const BIG: &str = "openai/gpt-4o";
const OF_ROUTES: &str = "/v2/routes/dry-run";
const ALIASES: &str = "/v2/model-aliases";
/// An account's price is this many times the provider's.
const MARKUP: i64 = 2;

/// A gateway with an own credential and an account at `OpenAI`, and its stored requests: six of `MINI`, then four of `BIG`.
async fn gateway() -> (Gateway, Vec<Value>) {
    let gateway = Gateway::with_own().await;
    let base_url = gateway.emulator.base_url();
    let account = json!({"provider": "openai", "secret": POOL, "base_url": base_url, "markup_bps": (MARKUP - 1) * 10_000});
    gateway.make("/v2/accounts", account).await;
    let mut records = Vec::new();
    for number in 0..10 {
        let model = if number < 6 { MINI } else { BIG };
        let text = "word ".repeat(number + 1);
        let body = with(question(model), json!({"messages": [{"role": "user", "content": text}]}));
        records.push(gateway.settled(&trace_of(&gateway.chat_ok(&body).await)).await);
    }
    (gateway, records)
}

async fn tried(client: &Client, path: &str, body: Value) -> Answer {
    client.post(path, &body).await.unwrap()
}

async fn dry_run(gateway: &Gateway, path: &str, body: Value) -> Value {
    let calls = gateway.emulator.journal().len();
    let answer = tried(&gateway.admin(), path, body).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    assert_eq!(gateway.emulator.journal().len(), calls, "nothing is sent");
    answer.json()
}

fn counts(of: &Value) -> [u64; 3] {
    ["changed", "unchanged", "unknown"].map(|name| of[name].as_u64().unwrap())
}

/// What the provider bills for these requests, by their records.
fn billed<'a>(records: impl IntoIterator<Item = &'a Value>) -> i64 {
    records.into_iter().map(|record| record["provider_cost_nanos"].as_i64().unwrap()).sum()
}

#[tokio::test]
async fn a_new_route_moves_its_requests_at_the_prices_of_where_they_go() {
    let (gateway, records) = gateway().await;
    let route = json!({"scope": {"model": MINI}, "profiles": ["managed_provider"]});
    let found = dry_run(&gateway, OF_ROUTES, json!({"route": route})).await;
    assert_eq!(counts(&found), [6, 4, 0], "{found}");
    assert_eq!(found["requests"]["compared"], 10, "{found}");
    let (minis, bigs) = records.split_at(6);
    let (before, after) = (billed(&records), billed(minis) * MARKUP + billed(bigs));
    assert!(before > 0 && after > before);
    has(&found["cost"], json!({"before_nanos": before, "after_nanos": after, "requests": 10}));
    let moves = found["moves"].as_array().unwrap();
    assert_eq!(moves.len(), 1, "{found}");
    let moved = &moves[0];
    assert_eq!(moved["requests"], 6, "{moved}");
    for (side, profile) in [("from", "byok"), ("to", "managed_provider")] {
        has(&moved[side], json!({"profile": profile, "provider": "openai"}));
        has(&moved[side], json!({"model": MINI, "upstream_model": "gpt-4o-mini"}));
    }
    assert_eq!(moved["after_nanos"], json!(billed(minis) * MARKUP), "{moved}");
    let examples: Vec<_> = moved["examples"].as_array().unwrap().iter().collect();
    let newest: Vec<_> = minis.iter().rev().take(5).map(|record| &record["id"]).collect();
    assert_eq!(examples, newest, "the newest first");
    // The medians of the own credential are known, and nothing was measured of the account.
    assert_eq!(found["latency"]["requests"], 4, "{found}");
    // It would be what it says.
    gateway.route(route).await;
    let answer = gateway.chat_ok(&question(MINI)).await;
    assert_eq!(answer.header("agent-execution-profile"), Some("managed_provider"));
}

#[tokio::test]
async fn a_change_or_removal_tells_what_is_refused_and_what_is_not_known() {
    let (gateway, _) = gateway().await;
    let route = gateway.route(json!({"scope": {"model": MINI}, "profiles": ["byok"]})).await;
    // No node serves it.
    let to_node = json!({"route_id": route, "route": {"profiles": ["byoc"]}});
    let found = dry_run(&gateway, OF_ROUTES, to_node).await;
    assert_eq!(counts(&found), [6, 4, 0], "{found}");
    has(&found, json!({"refusals": {"new": 6, "gone": 0}, "/cost/requests": 4}));
    let error = &found["moves"][0]["to"]["error"];
    assert_eq!(error["code"], "model_not_served", "{found}");
    assert!(error["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{error}");
    gateway.patch(&format!("/v2/routes/{route}"), json!({"profiles": ["byoc"]})).await;
    let removed = dry_run(&gateway, OF_ROUTES, json!({"route_id": route, "remove": true})).await;
    has(&removed, json!({"refusals": {"new": 0, "gone": 6}, "/moves/0/to/profile": "byok"}));
    // A prompt's tokens, the time and whether there were tools are kept; metadata is not.
    let managed = |when: Value| json!({"route": {"when": when, "profiles": ["managed_provider"]}});
    let sized = dry_run(&gateway, OF_ROUTES, managed(json!({"prompt_tokens_max": 1_000_000}))).await;
    assert_eq!(counts(&sized), [4, 6, 0], "the route of the model is stronger: {sized}");
    let tools = dry_run(&gateway, OF_ROUTES, managed(json!({"has_tools": true}))).await;
    assert_eq!(counts(&tools), [0, 10, 0], "none had any: {tools}");
    let without = dry_run(&gateway, OF_ROUTES, managed(json!({"has_tools": false}))).await;
    assert_eq!(counts(&without), [4, 6, 0], "{without}");
    let both = json!({"has_tools": true, "metadata": {"team": "search"}});
    assert_eq!(counts(&dry_run(&gateway, OF_ROUTES, managed(both)).await), [0, 10, 0]);
    let unknown = dry_run(&gateway, OF_ROUTES, managed(json!({"metadata": {"team": "search"}}))).await;
    assert_eq!(counts(&unknown), [0, 6, 4], "{unknown}");
    let why = &unknown["not_replayed"][0];
    has(why, json!({"reason": "conditions", "requests": 4}));
    assert_eq!(why["examples"].as_array().unwrap().len(), 4, "{why}");
}

/// In every dialect, the record keeps whether the model was offered tools.
#[tokio::test]
async fn a_route_for_requests_with_tools_moves_those_that_had_some() {
    let gateway = Gateway::with_own().await;
    let text = json!([{"role": "user", "content": "hello"}]);
    let schema = json!({"type": "object", "properties": {}});
    let gemini = format!("/v1beta/models/{MINI}:generateContent");
    let converse = format!("/model/{}/converse", MINI.replace('/', "%2F"));
    let tools = |tool: Value| json!({"tools": [tool]});
    let of_chat = tools(json!({"type": "function", "function": {"name": "f", "parameters": schema}}));
    let of_responses = tools(json!({"type": "function", "name": "f", "parameters": schema}));
    let of_converse = tools(json!({"toolSpec": {"name": "f", "inputSchema": {"json": schema}}}));
    let of_gemini = tools(json!({"functionDeclarations": [{"name": "f"}]}));
    let parts = json!({"messages": [{"role": "user", "content": [{"text": "hello"}]}]});
    let mut with_tools = Vec::new();
    for (path, body, tools) in [
        ("/v1/chat/completions", json!({"model": MINI, "messages": text}), of_chat),
        ("/v1/responses", json!({"model": MINI, "input": "hello"}), of_responses),
        (
            "/v1/messages",
            json!({"model": MINI, "max_tokens": 9, "messages": text}),
            tools(json!({"name": "f", "input_schema": schema})),
        ),
        (&*gemini, json!({"contents": [{"parts": [{"text": "hello"}]}]}), of_gemini),
        (&*converse, parts, json!({"toolConfig": of_converse})),
    ] {
        for (body, has_tools) in [(body.clone(), false), (with(body, tools), true)] {
            let answer = gateway.client().post(path, &body).await.unwrap();
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            let trace = trace_of(&answer);
            gateway.settled(&trace).await;
            if has_tools {
                with_tools.push(trace);
            }
        }
    }
    gateway.account("openai", POOL).await;
    let route = json!({"when": {"has_tools": true}, "profiles": ["managed_provider"]});
    let found = dry_run(&gateway, OF_ROUTES, json!({"route": route})).await;
    assert_eq!(counts(&found), [5, 5, 0], "{found}");
    with_tools.reverse();
    assert_eq!(found["moves"][0]["examples"], json!(with_tools), "{found}");
}

async fn the_filter_says_which_requests_and_a_sample_is_taken_evenly(gateway: &Gateway, records: &[Value]) {
    let body = json!({"route": {"profiles": ["managed_provider"]}});
    for (query, compared, matched) in [
        ("?sample=3", 3, 10),
        ("?sample=10000", 10, 10),
        (&format!("?model={BIG}"), 4, 4),
        ("?tag=nothing", 0, 0),
        (&format!("?since={}", records[7]["started_at"].as_str().unwrap()), 3, 3),
    ] {
        let found = dry_run(gateway, &format!("{OF_ROUTES}{query}"), body.clone()).await;
        let counted = ["compared", "matched", "has_more"].map(|name| found["requests"][name].clone());
        assert_eq!(counted, [json!(compared), json!(matched), json!(false)], "{query}: {found}");
        assert_eq!(found["changed"], compared, "{query}: {found}");
    }
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_wrong_dry_run_is_refused_as_its_save_would_be_and_another_tenant_sees_nothing() {
    let (gateway, records) = gateway().await;
    the_filter_says_which_requests_and_a_sample_is_taken_evenly(&gateway, &records).await;
    let route = gateway.route(json!({"scope": {"model": MINI}, "profiles": ["byok"]})).await;
    let admin = gateway.admin();
    for (body, status, code, param) in [
        (json!({}), 400, "missing_field", "route"),
        (json!({"remove": true}), 400, "missing_field", "route_id"),
        (json!({"route_id": route, "remove": true, "route": {}}), 400, "invalid_value", "route"),
        (json!({"route": {"strategy": "luck"}}), 400, "invalid_value", "route.strategy"),
        (json!({"route": {"scope": {"model": "*"}}}), 400, "invalid_value", "route.scope.model"),
    ] {
        let error = problem(&tried(&admin, OF_ROUTES, body.clone()).await, status, code);
        assert_eq!(error["param"], param, "{body}: {error}");
    }
    for (body, status, code) in [
        (json!({"route": {"scope": {"model": MINI}}}), 409, "route_scope_taken"),
        (json!({"route_id": "rte_nothing", "remove": true}), 404, "not_found"),
        (json!({"route": {"credential_ids": ["pcr_nothing"]}}), 404, "not_found"),
        (json!({"route": {"x": "\u{0}".repeat(1000)}}), 400, "unknown_field"),
        (json!({"route": [1, 2]}), 400, "invalid_type"),
    ] {
        let answer = tried(&admin, OF_ROUTES, body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        if status != 400 {
            problem(&answer, status, code);
        }
    }
    for query in ["?sample=0", "?sample=10001", "?sample=x", "?nothing=1", "?filter=status:"] {
        let answer = tried(&admin, &format!("{OF_ROUTES}{query}"), json!({"route": {}})).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
    }
    let others = gateway.make("/v2/workspaces", json!({"name": "the others"})).await;
    let stranger = gateway.with_key(others["admin_key"].as_str().unwrap());
    let body = json!({"route": {"profiles": ["managed_provider"]}});
    has(&tried(&stranger, OF_ROUTES, body).await.json(), json!({"/requests/matched": 0, "changed": 0}));
    problem(&tried(&stranger, OF_ROUTES, json!({"route_id": route, "remove": true})).await, 404, "not_found");
    a_release_is_tried_for_all_or_for_a_part_of_the_callers(&gateway).await;
}

async fn a_release_is_tried_for_all_or_for_a_part_of_the_callers(gateway: &Gateway) {
    let made = gateway.make(ALIASES, json!({"name": "auto", "targets": [{"model": MINI}]})).await;
    let at = format!("{ALIASES}/auto/dry-run");
    for _ in 0..20 {
        gateway.chat_ok(&question("auto")).await;
    }
    gateway.listed(30).await;
    let big = json!([{"model": BIG}]);
    let all = dry_run(gateway, &at, json!({"targets": big})).await;
    assert_eq!(counts(&all), [20, 0, 0], "only those that name the alias: {all}");
    has(&all["moves"][0], json!({"/from/model": MINI, "/to/model": BIG}));
    for (percent, changed) in [(0, 0), (100, 20)] {
        let part = dry_run(gateway, &at, json!({"targets": big, "percent": percent})).await;
        assert_eq!(part["changed"], changed, "{percent} %: {part}");
    }
    let half = json!([{"model": MINI, "weight": 1}, {"model": BIG, "weight": 1}]);
    let [changed, unchanged, _] = counts(&dry_run(gateway, &at, json!({"targets": half})).await);
    assert!(changed > 0 && unchanged > 0 && changed + unchanged == 20, "{changed} and {unchanged}");
    let installed = gateway.make(&format!("{ALIASES}/auto/releases"), json!({"targets": big})).await;
    let named = dry_run(gateway, &at, json!({"release_id": installed["id"]})).await;
    assert_eq!(named["changed"], 20, "{named}");
    for (body, status, param) in [
        (json!({}), 400, "targets"),
        (json!({"targets": big, "percent": 101}), 400, "percent"),
        (json!({"targets": big, "release_id": installed["id"]}), 400, "targets"),
        (json!({"targets": [{"model": "auto"}]}), 400, "targets[0].model"),
    ] {
        let answer = tried(&gateway.admin(), &at, body.clone()).await;
        assert_eq!((answer.status, &answer.json()["param"]), (status, &json!(param)), "{body}");
    }
    // The alias is as it was.
    assert_eq!(gateway.get(&format!("{ALIASES}/auto")).await["release_id"], made["release_id"]);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn any_two_versions_and_any_two_releases_are_compared() {
    let gateway = Gateway::start().await;
    let route = gateway.route(json!({"profiles": ["byok"]})).await;
    let at = format!("/v2/routes/{route}");
    for change in [json!({"strategy": "cheapest"}), json!({"profiles": ["byok", "byoc"]})] {
        gateway.patch(&at, change).await;
    }
    let changed = |found: &Value| -> Vec<String> {
        let changes = found["changes"].as_array().unwrap();
        changes.iter().map(|change| change["field"].as_str().unwrap().to_owned()).collect()
    };
    for (query, from, to, expected) in [
        ("", 2, 3, vec!["profiles"]),
        ("?to=2", 1, 2, vec!["strategy"]),
        ("?from=1", 1, 3, vec!["profiles", "strategy"]),
        ("?from=3&to=1", 3, 1, vec!["profiles", "strategy"]),
        ("?from=2&to=2", 2, 2, vec![]),
        ("?to=1", 1, 1, vec![]),
    ] {
        let found = gateway.get(&format!("{at}/diff{query}")).await;
        assert_eq!((&found["from"], &found["to"]), (&json!(from), &json!(to)), "{query}: {found}");
        assert_eq!(changed(&found), expected, "{query}: {found}");
    }
    let wrong = |query: &str| format!("{at}/diff{query}");
    problem(&gateway.admin().get(&wrong("?from=9")).await.unwrap(), 404, "route_version_not_found");
    problem(&gateway.admin().get(&wrong("?from=x")).await.unwrap(), 400, "invalid_value");
    releases_are_compared(&gateway).await;
}

async fn releases_are_compared(gateway: &Gateway) {
    gateway.credential("openai", OWN).await;
    let first = json!([{"model": MINI, "weight": 90}, {"model": BIG, "weight": 10}]);
    let made = gateway.make(ALIASES, json!({"name": "auto", "targets": first})).await;
    let second = json!({
        "targets": [{"model": MINI, "weight": 50}, {"model": "openai/gpt-5-mini"}],
        "parameters": {"temperature": {"max": 1.0}}, "activate": true,
    });
    let second = gateway.make(&format!("{ALIASES}/auto/releases"), second).await;
    let found = gateway.get(&format!("{ALIASES}/auto/diff")).await;
    has(&found, json!({"from": made["release_id"], "to": second["id"]}));
    let expected = json!([
        {"model": MINI, "change": "reweighted", "before": 90, "after": 50},
        {"model": "openai/gpt-5-mini", "change": "added", "before": null, "after": 1},
        {"model": BIG, "change": "removed", "before": 10, "after": null},
    ]);
    has(&found, json!({"targets": expected, "/changes/0/field": "parameters"}));
    manifests_are_compared(gateway, &found["changes"]).await;
    let unknown = gateway.admin().get(&format!("{ALIASES}/auto/diff?from=alr_nothing")).await.unwrap();
    problem(&unknown, 404, "not_found");
}

/// A release keeps the revision of the capability manifest that it was made under.
async fn manifests_are_compared(gateway: &Gateway, changes: &Value) {
    let now = async || gateway.get("/v2/capabilities").await["revision"].clone();
    let before = now().await;
    assert_eq!(changes.as_array().map(Vec::len), Some(1), "both were made under one manifest: {changes}");
    let fact = json!({"facts": {"batch_api_supported": {"value": false}}});
    gateway.patch("/v2/capabilities/openai", fact).await;
    let after = now().await;
    assert_ne!(before, after);
    let release = json!({"targets": [{"model": BIG}], "activate": true});
    let made = gateway.make(&format!("{ALIASES}/auto/releases"), release).await;
    assert_eq!(made["capability_manifest_revision"], after, "{made}");
    let found = gateway.get(&format!("{ALIASES}/auto/diff")).await;
    let expected = json!({"field": "capability_manifest_revision", "before": before, "after": after});
    assert!(found["changes"].as_array().unwrap().contains(&expected), "{found}");
    let shown = gateway.cli().run(&["alias", "show", "auto"]).ok();
    assert!([before, after].iter().all(|one| shown.contains(one.as_str().unwrap())), "{shown}");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn the_command_line_tries_routes_and_releases() {
    let (gateway, _) = gateway().await;
    let ran = |args: &[&str]| gateway.cli().run(args).ok();
    let text = ran(&["route", "try", "--model", MINI, "--profile", "managed_provider"]);
    assert!(text.contains("changed   6, unchanged 4, unknown 0"), "{text}");
    assert!(text.contains(&format!("byok openai {MINI}")), "{text}");
    let big = ran(&["route", "try", "--profile", "managed_provider", "--filter", "model:openai/gpt-4o"]);
    assert!(big.contains("compared  4 of 4 requests"), "{big}");
    let route = gateway.route(json!({"scope": {"model": MINI}, "profiles": ["byoc"]})).await;
    let json = ran(&["route", "try", "--id", &route, "--remove", "--last", "5", "--json"]);
    let found: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(found["requests"]["compared"], 5, "{found}");
    gateway.make(ALIASES, json!({"name": "auto", "targets": [{"model": MINI}]})).await;
    let text = ran(&["alias", "try", "auto", "--target", BIG]);
    assert!(text.contains("compared  0 of 0 requests"), "{text}");
    gateway.patch(&format!("/v2/routes/{route}"), json!({"strategy": "cheapest"})).await;
    let text = ran(&["route", "diff", &route]);
    assert!(text.contains("version 1 -> 2") && text.contains("strategy: \"none\" -> \"cheapest\""), "{text}");
    ran(&["alias", "release", "auto", "--target", BIG, "--parameter", "temperature=0..1:0.7", "--activate"]);
    let text = ran(&["alias", "diff", "auto"]);
    assert!(text.contains(&format!("added {BIG}")) && text.contains("parameters"), "{text}");
    assert_eq!(id_of(&gateway.get(&format!("/v2/routes/{route}")).await), route);
}
