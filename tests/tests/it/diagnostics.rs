//! Reports on workloads: a score and findings with money, from own records and from uploaded traces; signed, and verified offline.

use std::path::Path;

use harness::client::Client;
use harness::postgres::Server;
use serde_json::{Value, json};

use crate::ask::{MINI, has, problem, question, with};
use crate::command::Cli;
use crate::gateway::{Gateway, OWN, config, id_of, row};

const CLAUDE: &str = "anthropic/claude-sonnet-4-6";
const PATH: &str = "/v2/diagnostics";

/// A gateway whose own credential is left alone by the cache's help, so that what comes back is missed.
async fn with_claude(environment: &[(&str, &str)]) -> Gateway {
    let gateway = Gateway::with(config(), environment).await;
    let body = json!({"provider": "anthropic", "display_name": "claude", "secret": OWN, "base_url": gateway.emulator.anthropic_url()});
    gateway.make("/v2/provider-credentials", body).await;
    gateway
}

/// Asks questions with the same instructions, of which no provider's cache is told; returns the records.
async fn repeated(gateway: &Gateway, client: &Client, count: usize) -> Vec<Value> {
    let system = "You know everything of the sea. ".repeat(300);
    let mut records = Vec::new();
    for number in 0..count {
        let body = json!({"model": CLAUDE, "max_tokens": 64, "system": system, "messages": [{"role": "user", "content": format!("Question {number}")}]});
        let answer = client.post("/v1/messages", &body).await.unwrap().must_be(200);
        records.push(gateway.settled(answer.header("agent-trace-id").unwrap()).await);
    }
    records
}

async fn made(client: &Client, body: Value) -> Value {
    client.post(PATH, &body).await.unwrap().must_be(201).json()
}

fn finding<'a>(report: &'a Value, kind: &str) -> &'a Value {
    row(&report["findings"], "kind", kind)
}

/// The money of a missed cache, computed by hand from the price book: each request's missed tokens at the difference between the prices of
/// input and of cached input, in nano-USD rounded once per price, and the sum in micro-USD.
async fn missed_by_hand(gateway: &Gateway, records: &[Value]) -> i64 {
    let book = gateway.get("/v2/price-books").await;
    let offer = row(&row(&book["data"], "model", CLAUDE)["offers"], "provider", "anthropic");
    let price = |class: &str| offer["price"][class].as_i64().unwrap_or_else(|| panic!("{offer}"));
    let (input, cached) = (price("input_micros_per_million"), price("cached_input_micros_per_million"));
    let nanos = |tokens: i64, price: i64| (tokens * price + 500) / 1_000;
    let missed = records.iter().map(|record| record["reuse"]["missed_opportunity_tokens"].as_i64().unwrap());
    let sum: i64 = missed.map(|tokens| nanos(tokens, input) - nanos(tokens, cached)).sum();
    (sum + 500) / 1_000
}

/// What repeated prompts cost without a cache is found, to the micro-USD, and the report links to the rows and the mend.
async fn a_missed_cache_is_found(gateway: &Gateway) -> Value {
    let records = repeated(gateway, &gateway.client(), 6).await;
    assert_eq!(records[0]["reuse"]["candidate_reuse_tokens"], 0, "{}", records[0]);
    let report = made(&gateway.admin(), json!({"window": "24h"})).await;
    let found = finding(&report, "missed_cache");
    assert_eq!(found["money_micros"], missed_by_hand(gateway, &records).await, "{report}");
    assert!(found["money_micros"].as_i64().unwrap() > 0);
    let missed = |one: &Value| one["reuse"]["missed_opportunity_tokens"].as_u64().unwrap();
    assert_eq!(missed(&report), records.iter().map(missed).sum::<u64>());
    let page = format!("/projects/{}", gateway.founded.project_id);
    has(found, json!({"requests": 5, "subject": CLAUDE, "/mend/page": page}));
    let filter = found["filter"].as_str().unwrap();
    let path = format!("/v2/requests?filter={}", filter.replace(' ', "%20").replace('>', "%3E"));
    assert_eq!(gateway.get(&path).await["data"].as_array().unwrap().len(), 6, "{filter}");
    for id in found["request_ids"].as_array().unwrap() {
        assert!(records.iter().any(|record| record["id"] == *id), "{id}");
    }
    // 4 of 6 returns of the prefix, in minutes: the ratio of tokens, the locality and the redundancy are full.
    let parts = report["score"]["parts"].as_array().unwrap();
    let points: Vec<_> = parts.iter().map(|part| part["points"].as_u64().unwrap()).collect();
    assert_eq!(points, [30, 16, 15, 0, 8, 10], "{report}");
    has(&report, json!({"/score/points": 79, "/score/band": "strong"}));
    report
}

#[tokio::test]
async fn repeated_prompts_cost_what_the_price_book_says() {
    let gateway = with_claude(&[]).await;
    let report = a_missed_cache_is_found(&gateway).await;
    // The mend is the one that is named: with it, the next requests are read from the cache.
    let command = finding(&report, "missed_cache")["mend"]["command"].as_str().unwrap();
    let words: Vec<_> = command.split(' ').skip(1).collect();
    gateway.cli().run(&words).ok();
    let records = repeated(&gateway, &gateway.client(), 3).await;
    assert!(records[2]["cached_tokens"].as_u64().unwrap() > 1_024, "{}", records[2]);
    // The same records make the same score and digest, as often as they are looked at.
    let window = json!({"start": "2020-01-01T00:00:00Z", "end": report["created_at"], "model": CLAUDE});
    let (one, other) = (made(&gateway.admin(), window.clone()).await, made(&gateway.admin(), window).await);
    has(&one, json!({"evidence_digest": other["evidence_digest"], "score": other["score"]}));
    assert_ne!(one["id"], other["id"]);
    let listed = gateway.get(PATH).await;
    let ids: Vec<_> = listed["data"].as_array().unwrap().iter().map(|row| row["id"].clone()).collect();
    assert_eq!(ids, [other["id"].clone(), one["id"].clone(), report["id"].clone()]);
    assert_eq!(listed["data"][2]["spent_micros"], finding(&report, "missed_cache")["money_micros"]);
    assert_eq!(gateway.get(&format!("{PATH}/{}", id_of(&report))).await, report, "it stays as it was signed");
}

#[tokio::test]
async fn repeated_prompts_cost_the_same_on_postgresql() {
    let server = Server::shared().await.unwrap();
    let url = server.database(&format!("diagnostics_{}", std::process::id())).await.unwrap();
    let keys = tempfile::tempdir().unwrap();
    let key_file = keys.path().join("master.key").display().to_string();
    let environment = [("TIDEGATE_DATABASE_URL", &*url), ("TIDEGATE_MASTER_KEY_FILE", &*key_file)];
    let gateway = with_claude(&environment).await;
    a_missed_cache_is_found(&gateway).await;
    assert_eq!(gateway.get(PATH).await["data"].as_array().unwrap().len(), 1);
}

/// A workload of an agent: one prefix, once a minute.
fn traces(count: u64) -> Value {
    let one = |number: u64| {
        json!({
            "trace_id": format!("t{number}"), "privacy_mode": "metadata", "prefix_family_id": "agent",
            "schedule": {"arrival_offset_ms": number * 60_000, "session_id": "s1", "branch_id": "main", "concurrency_group": "g"},
            "observed": {
                "resolved_target": CLAUDE, "ttft_ms": 600, "latency_ms": 1_000, "input_tokens": 10_000,
                "candidate_reuse_tokens": if number > 0 { 9_000 } else { 0 }, "realized_reused_tokens": 0,
                "output_tokens": 100, "attempt_count": 1,
            },
        })
    };
    (0..count).map(one).collect()
}

#[tokio::test]
async fn uploaded_traces_are_scored_and_content_is_refused() {
    let gateway = Gateway::start().await;
    let admin = gateway.admin();
    let report = made(&admin, json!({"traces": traces(10)})).await;
    has(&report, json!({"source": "traces", "/score/points": 100}));
    // Nine times 9,000 tokens at 3.00 − 0.30 USD a million.
    has(finding(&report, "missed_cache"), json!({"money_micros": 218_700, "filter": null}));
    let mut turned = traces(10);
    turned.as_array_mut().unwrap().reverse();
    let again = made(&admin, json!({"traces": turned})).await;
    has(&again, json!({"evidence_digest": report["evidence_digest"], "score": report["score"]}));
    for (path, value, field) in [
        ("/0/messages", json!([{"role": "user", "content": "my secret"}]), "traces[0].messages"),
        ("/1/observed/Prompt", json!("my secret"), "traces[1].observed.Prompt"),
        ("/2/schedule/x", json!({"y": [{"text": "my secret"}]}), "traces[2].schedule.x.y[0].text"),
    ] {
        let mut wrong = traces(3);
        let (parent, name) = path.rsplit_once('/').unwrap();
        wrong.pointer_mut(parent).unwrap()[name] = value;
        let answer = admin.post(PATH, &json!({"traces": wrong})).await.unwrap();
        assert_eq!(problem(&answer, 400, "content_not_accepted")["param"], field);
        assert!(!answer.text().contains("my secret"));
    }
    let answer = admin.post(PATH, &json!({"input": "hello"})).await.unwrap();
    assert_eq!(problem(&answer, 400, "content_not_accepted")["param"], "input");
    let both = admin.post(PATH, &json!({"traces": traces(1), "window": "7d"})).await.unwrap();
    assert_eq!(problem(&both, 400, "invalid_value")["param"], "window");
    let prose = json!({"traces": [{"trace_id": "write me a poem", "schedule": {"arrival_offset_ms": 0}, "observed": {"latency_ms": 1, "input_tokens": 1}}]});
    let poem = admin.post(PATH, &prose).await.unwrap();
    assert_eq!(problem(&poem, 400, "invalid_value")["param"], "traces[0].trace_id");
    let reader = gateway.key(json!({"name": "r", "scopes": ["read"]})).await.0;
    let refused = gateway.with_key(&reader).post(PATH, &json!({"window": "24h"})).await.unwrap();
    problem(&refused, 403, "insufficient_scope");
}

#[cfg(feature = "control")]
#[tokio::test]
async fn tenants_never_meet_in_reports() {
    let gateway = with_claude(&[]).await;
    repeated(&gateway, &gateway.client(), 4).await;
    let report = made(&gateway.admin(), json!({"window": "24h"})).await;
    let other = gateway.make("/v2/workspaces", json!({"name": "other"})).await;
    let stranger = gateway.with_key(other["admin_key"].as_str().unwrap());
    has(&made(&stranger, json!({"window": "24h"})).await, json!({"/sample/traces": 0, "/score/points": 0}));
    let of_project = json!({"window": "24h", "project_id": gateway.founded.project_id});
    assert_eq!(made(&stranger, of_project).await["sample"]["traces"], 0);
    assert_eq!(stranger.get(PATH).await.unwrap().json()["data"].as_array().unwrap().len(), 2);
    let path = format!("{PATH}/{}", id_of(&report));
    problem(&stranger.get(&path).await.unwrap(), 404, "not_found");
    assert_eq!(gateway.admin().get(&path).await.unwrap().status, 200);
}

fn saved(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}

#[cfg(feature = "control")]
#[tokio::test]
async fn a_report_is_verified_without_a_gateway_and_fails_by_one_byte() {
    let mut gateway = with_claude(&[]).await;
    repeated(&gateway, &gateway.client(), 3).await;
    let folder = tempfile::tempdir().unwrap();
    let cli = gateway.cli();
    let file = saved(folder.path(), "traces.json", &traces(5).to_string());
    let uploaded = cli.run(&["diagnostics", "run", "--traces", &file, "--json"]).ok();
    let own = cli.run(&["diagnostics", "run", "--window", "24h"]).ok();
    assert!(own.contains("of 100") && own.contains('█') && own.contains("missed cache"), "{own}");
    let listed = cli.run(&["diagnostics", "list", "--json"]).lines();
    assert_eq!(listed.len(), 2, "{listed:?}");
    let newest = cli.run(&["diagnostics", "show", "--json"]).ok();
    let key = cli.run(&["audit", "key", "--json"]).json()["public_key"].as_str().unwrap().to_owned();
    gateway.stop().await;
    let offline = Cli::new();
    for (name, text) in [("uploaded.json", &uploaded), ("own.json", &newest)] {
        let report = saved(folder.path(), name, text);
        let holds = offline.run(&["diagnostics", "verify", &report, "--key", &key, "--json"]).json();
        has(&holds, json!({"ok": true, "trusted": "given"}));
    }
    let report = saved(folder.path(), "uploaded.json", &uploaded);
    let holds = offline.run(&["diagnostics", "verify", &report, "--traces", &file]).ok();
    assert!(holds.contains("have the report's digest"), "{holds}");
    let fewer = saved(folder.path(), "fewer.json", &traces(4).to_string());
    offline.run(&["diagnostics", "verify", &report, "--traces", &fewer]).failed(11);
    offline.run(&["diagnostics", "verify", &report, "--key", &"0".repeat(64)]).failed(11);
    let points = format!("\"points\":{}", uploaded.parse::<Value>().unwrap()["score"]["points"]);
    let changed = uploaded.replacen(&points, "\"points\":99", 1);
    assert_ne!(changed, uploaded);
    let changed = saved(folder.path(), "changed.json", &changed);
    let failed = offline.run(&["diagnostics", "verify", &changed]).failed(11);
    assert!(failed.contains("changed after it was signed"), "{failed}");
    let one_byte = uploaded.replacen("prompt tokens", "prompt tokenz", 1);
    offline.run(&["diagnostics", "verify", &saved(folder.path(), "one-byte.json", &one_byte)]).failed(11);
}

/// A budget that will not last.
#[cfg(feature = "control")]
#[tokio::test]
async fn budgets_at_risk_are_found() {
    let gateway = Gateway::with_own().await;
    let answer = gateway.chat_ok(&with(question(MINI), json!({"max_tokens": 40}))).await;
    let record = gateway.settled(answer.header("agent-trace-id").unwrap()).await;
    let spent = record["provider_cost_nanos"].as_i64().unwrap();
    assert!(spent > 0, "{record}");
    gateway.wait_for_usage(1).await;
    // Twice what is spent already is soon used up, with most of the month to come or an hour's rate at its end.
    let body = json!({"name": "tiny", "workspace": true, "limit_micros": 1, "period": "month", "on_reached": "allow"});
    let budget = gateway.make("/v2/budgets", body).await;
    let report = made(&gateway.admin(), json!({"window": "24h"})).await;
    let found = finding(&report, "budget_at_risk");
    has(found, json!({"subject": budget["id"], "/mend/page": "/budgets", "money_meaning": "at_risk"}));
    let of_model = made(&gateway.admin(), json!({"window": "24h", "model": MINI})).await;
    let found = of_model["findings"].as_array().unwrap();
    assert!(found.iter().all(|finding| finding["kind"] != "budget_at_risk"));
}

/// What the audit keeps of a report: who made it.
#[cfg(feature = "control")]
#[tokio::test]
async fn a_report_is_an_act() {
    let gateway = Gateway::start().await;
    let dry = format!("{PATH}?dry_run=true");
    gateway.admin().post(&dry, &json!({"window": "24h"})).await.unwrap().must_be(201);
    assert_eq!(gateway.get(PATH).await["data"].as_array().unwrap().len(), 0);
    let report = made(&gateway.admin(), json!({})).await;
    let entries = gateway.get("/v2/audit").await;
    has(&entries["data"][0], json!({"action": "diagnostics.create", "target": report["id"]}));
}
