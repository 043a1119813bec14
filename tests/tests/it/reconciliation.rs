//! Reconciliation: exports made of what the emulators billed are compared with what the gateway recorded.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use harness::bedrock::{REGION, access_keys};
use harness::client::Client;
use harness::{Behaviour, Entry};
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{CHAT, MINI, has, problem, question, streaming, streaming_usage, text_of, with};
use crate::gateway::{Gateway, OWN, POOL, row};
use crate::wait::{a_day_with_room, until};

const EMBEDDING: &str = "openai/text-embedding-3-small";
const DAY_S: u64 = 86_400;

/// Prices of a million tokens in dollars: input, cached input, output.
const PRICES: [(&str, [f64; 3]); 2] =
    [("gpt-4o-mini", [0.15, 0.075, 0.6]), ("text-embedding-3-small", [0.02, 0.02, 0.0])];

/// What the provider billed of one model.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Billed {
    input: u64,
    cached: u64,
    output: u64,
    requests: u64,
}

type Bill = BTreeMap<String, Billed>;

/// What the emulator counted for this secret, as the real provider would bill it.
fn billed(gateway: &Gateway, secret: &str) -> Bill {
    let mut bill = Bill::new();
    for entry in gateway.calls(secret).iter().filter(|entry| entry.billable) {
        let of = bill.entry(entry.model.clone().unwrap()).or_default();
        of.input += entry.prompt_tokens - entry.cached_tokens;
        of.cached += entry.cached_tokens;
        of.output += entry.said_tokens;
        of.requests += 1;
    }
    bill
}

fn today() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / DAY_S * DAY_S
}

fn page(results: Vec<Value>) -> Value {
    let day = today();
    let bucket = json!({"object": "bucket", "start_time": day, "end_time": day + DAY_S, "results": results});
    json!({"object": "page", "data": [bucket], "has_more": false, "next_page": null})
}

/// A page of `/v1/organization/usage/completions`, grouped by model and batch.
fn usage_page(bill: &Bill) -> Value {
    let result = |(model, of): (&String, &Billed)| {
        json!({
            "object": "organization.usage.completions.result", "model": model, "batch": false,
            "input_tokens": of.input + of.cached, "input_cached_tokens": of.cached, "output_tokens": of.output,
            "num_model_requests": of.requests, "project_id": "proj_tide", "user_id": null, "api_key_id": null,
        })
    };
    page(bill.iter().map(result).collect())
}

/// A page of `/v1/organization/costs`, grouped by line item.
fn costs_page(bill: &Bill, factor: f64) -> Value {
    let mut results = Vec::new();
    for (model, of) in bill {
        let (_, [input, cached, output]) = PRICES.into_iter().find(|(name, _)| name == model).unwrap();
        for (what, tokens, price) in [
            ("input", of.input, input),
            ("cached input", of.cached, cached),
            ("output", of.output, output * factor),
        ] {
            let value = format!("{:.10}", tokens as f64 * price / 1_000_000.0).parse::<f64>().unwrap();
            results.push(json!({
                "object": "organization.costs.result", "amount": {"value": value, "currency": "usd"},
                "line_item": format!("{model}, {what}"), "project_id": "proj_tide",
            }));
        }
    }
    page(results)
}

fn write(gateway: &Gateway, name: &str, text: &str) -> String {
    let path: PathBuf = gateway.directory().join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// Runs the command on a bill and returns the report, with the exit code.
fn reconcile(gateway: &Gateway, bill: &Bill, factor: f64) -> (Value, i32) {
    let usage = write(gateway, "usage.json", &usage_page(bill).to_string());
    let costs = write(gateway, "costs.json", &costs_page(bill, factor).to_string());
    let done = gateway.cli().run(&["reconcile", "--provider", "openai", &usage, &costs, "--json"]);
    let report = done.stdout.lines().next().unwrap_or_else(|| panic!("{done:?}"));
    (serde_json::from_str(report).unwrap(), done.code)
}

fn kind<'r>(report: &'r Value, name: &str) -> &'r Value {
    row(&report["kinds"], "kind", name)
}

/// Buffered answers, streams, a retry, embeddings, and clients that leave in the middle.
async fn traffic(gateway: &Gateway) -> u64 {
    gateway.credential("openai", OWN).await;
    for _ in 0..4 {
        gateway.chat_ok(&question(MINI)).await;
    }
    for body in [streaming(MINI), streaming_usage(MINI)] {
        gateway.chat_ok(&body).await;
    }
    gateway.emulator.script(OWN, [Behaviour::status(500)]);
    gateway.chat_ok(&question(MINI)).await;
    let embedding = json!({"model": EMBEDDING, "input": "the tide comes in and goes out"});
    gateway.client().post("/v1/embeddings", &embedding).await.unwrap().must_be(200);
    gateway.emulator.script(OWN, [Behaviour::ok().chunks(2_000).interval(Duration::from_millis(5))]);
    let mut stream = gateway.client().stream(CHAT, &streaming(MINI)).await.unwrap();
    for _ in 0..10 {
        text_of(&[stream.event().await.unwrap().unwrap()]);
    }
    drop(stream);
    let left = |journal: &[Entry]| journal.iter().any(|entry| entry.cancelled.is_some());
    gateway.emulator.wait_for(WITHIN, left).await.unwrap();
    9
}

#[tokio::test]
async fn an_export_of_what_was_billed_leaves_nothing_unexplained_and_each_change_is_found_and_named() {
    // The bill has one bucket, for the day on which it is read, and all calls must fall into it.
    a_day_with_room().await;
    let gateway = Gateway::start().await;
    gateway.wait_for_usage(traffic(&gateway).await).await;
    let bill = billed(&gateway, OWN);
    assert_eq!(bill.len(), 2, "{bill:?}");

    let (report, code) = reconcile(&gateway, &bill, 1.0);
    let seen = (code, &report["unexplained_ppm"], &report["reconciled"]);
    assert_eq!(seen, (0, &json!(0), &json!(true)), "{report:#}");
    assert_eq!(report["differences"], json!([]), "{report:#}");
    let all: u64 = bill.values().map(|of| of.input + of.cached + of.output).sum();
    assert_eq!(report["theirs"]["quantity"], all, "{report:#}");
    assert!(kind(&report, "matched")["quantity"].as_u64().unwrap() > 0, "{report:#}");
    let formats: Vec<_> = report["files"].as_array().unwrap().iter().map(|file| &file["format"]).collect();
    assert_eq!(formats, ["tidegate", "tidegate"], "what was counted is sent, not the files");
    stored(&gateway, &report).await;

    dropped_line(&gateway, &bill);
    other_price(&gateway, &bill);
    bypassed(&gateway).await;
}

/// A report is listed and shown again, and is nobody else's.
async fn stored(gateway: &Gateway, report: &Value) {
    let id = report["id"].as_str().unwrap();
    assert!(id.starts_with("rcn_"), "{id}");
    assert_eq!(gateway.get(&format!("/v2/reconciliations/{id}")).await, *report);
    assert_eq!(gateway.get("/v2/reconciliations").await["data"], json!([report]));
    let shown = gateway.cli().run(&["reconcile", "show", id]).ok();
    assert!(shown.contains("0.0000 % unexplained, within 0.1000 %"), "{shown}");
    assert!(gateway.cli().run(&["reconcile", "list"]).ok().contains(id));
    let other = gateway.workspace("other").await;
    let stranger = gateway.with_key(&other.admin_key);
    problem(&stranger.get(&format!("/v2/reconciliations/{id}")).await.unwrap(), 404, "not_found");
    assert_eq!(stranger.get("/v2/reconciliations").await.unwrap().json()["data"], json!([]));
}

fn only_difference(report: &Value) -> &Value {
    let [found] = &report["differences"].as_array().unwrap()[..] else { panic!("{report:#}") };
    found
}

/// They forgot to bill the embeddings.
fn dropped_line(gateway: &Gateway, bill: &Bill) {
    let mut dropped = bill.clone();
    let of = dropped.remove("text-embedding-3-small").unwrap();
    let (report, code) = reconcile(gateway, &dropped, 1.0);
    assert_eq!((code, &report["reconciled"]), (11, &json!(false)), "{report:#}");
    let found = only_difference(&report);
    has(found, json!({"kind": "extra", "model": EMBEDDING, "measure": "input", "quantity": of.input}));
    // The filter leads to the request.
    let filter = found["requests_filter"].as_str().unwrap();
    let listed = gateway.cli().run(&["requests", "--filter", filter, "--json"]).lines();
    assert_eq!(listed.len(), 1, "{filter}: {listed:?}");
    assert_eq!(listed[0]["id"], found["request_ids"][0], "{found:#}");
}

/// They bill the output at one and a half times the price.
fn other_price(gateway: &Gateway, bill: &Bill) {
    let (report, code) = reconcile(gateway, bill, 1.5);
    assert_eq!(code, 11, "{report:#}");
    let found = only_difference(&report);
    has(found, json!({"kind": "price_differs", "model": MINI, "measure": "output"}));
    has(found, json!({"their_price_micros_per_million": 900_000, "our_price_micros_per_million": 600_000}));
    assert!(found["price_source"].as_str().unwrap().starts_with("http"), "{found:#}");
    let printed = gateway.cli().run(&["reconcile", "show", report["id"].as_str().unwrap()]).ok();
    assert!(printed.contains("$0.900000 and ours $0.600000 a million"), "{printed}");
    assert!(printed.contains("tidegate requests --filter 'provider:openai since:"), "{printed}");
}

/// Somebody uses the same secret without the gateway.
async fn bypassed(gateway: &Gateway) {
    let before = billed(gateway, OWN)["gpt-4o-mini"];
    let direct = Client::new(gateway.emulator.base_url().trim_end_matches("/v1")).bearer(OWN);
    let body = json!({
        "model": "gpt-4o-mini", "user": "emu:chunks=300",
        "messages": [{"role": "user", "content": "behind your back ".repeat(100)}],
    });
    direct.post(CHAT, &body).await.unwrap().must_be(200);
    let after = billed(gateway, OWN);
    let (report, code) = reconcile(gateway, &after, 1.0);
    assert_eq!(code, 11, "{report:#}");
    let after = after["gpt-4o-mini"];
    for (measure, more) in [("input", after.input - before.input), ("output", after.output - before.output)] {
        let differences = &report["differences"];
        let found = row(differences, "measure", measure);
        has(found, json!({"kind": "missing", "model": MINI}));
        let estimated = kind(&report, "estimate")["quantity"].as_u64().unwrap();
        let quantity = found["quantity"].as_u64().unwrap();
        assert!(quantity <= more && quantity + estimated >= more, "{measure} {more}: {report:#}");
    }
}

#[tokio::test]
async fn requests_are_compared_by_their_id_and_the_operator_compares_its_accounts_over_all_workspaces() {
    let gateway = Gateway::start().await;
    let account = gateway.account("openai", POOL).await;
    let other = gateway.workspace("other").await;
    gateway.chat_ok(&question(MINI)).await;
    gateway.with_key(&other.api_key).post(CHAT, &question(MINI)).await.unwrap().must_be(200);
    gateway.listed(1).await;
    let second = gateway.with_key(&other.admin_key);
    let listed = async || second.get("/v2/requests").await.unwrap().json()["data"].clone();
    until("the other's request", async || listed().await.as_array().unwrap().len() == 1).await;
    let entries: Vec<_> = gateway.calls(POOL).into_iter().filter(|entry| entry.billable).collect();
    assert_eq!(entries.len(), 2);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut table = "from,until,model,request_id,measure,quantity,cost_usd\n".to_owned();
    for entry in &entries {
        for (measure, count, price) in
            [("input", entry.prompt_tokens, 0.15), ("output", entry.said_tokens, 0.6)]
        {
            let cost = count as f64 * price / 1_000_000.0;
            table += &format!("{now},{now},gpt-4o-mini,{},{measure},{count},{cost:.9}\n", entry.request_id);
        }
    }
    let lines = write(&gateway, "lines.csv", &table);
    let arguments = ["reconcile", "--provider", "openai", "--accounts", &lines, "--json"];
    let report = gateway.cli().run(&arguments).json();
    has(&report, json!({"requests_by_id": 2, "unexplained_ppm": 0, "bucket_seconds": 3_600}));

    // One request that never came through here.
    let late = format!("{table}{now},{now},gpt-4o-mini,req_unseen,output,1000,0.0006\n");
    let lines = write(&gateway, "more.csv", &late);
    let done = gateway.cli().run(&["reconcile", "--provider", "openai", "--accounts", &lines, "--json"]);
    assert_eq!(done.code, 11, "{done:?}");
    let report: Value = serde_json::from_str(done.stdout.lines().next().unwrap()).unwrap();
    let unseen = json!({"kind": "missing", "upstream_request_id": "req_unseen", "quantity": 1_000});
    has(&report["differences"][0], unseen);

    only_what_one_account_was_used_for(&gateway, &account, &lines).await;

    // A customer neither sees the accounts' use nor may ask for it.
    let body = json!({"provider": "openai", "files": [{"text": table}], "scope": "accounts"});
    problem(&second.post("/v2/reconciliations", &body).await.unwrap(), 403, "insufficient_scope");
    let body = json!({"provider": "openai", "files": [{"text": table}]});
    let own = second.post("/v2/reconciliations", &body).await.unwrap().json();
    assert_eq!((&own["ours"]["lines"], &own["reconciled"]), (&json!(0), &json!(false)), "{own:#}");
}

/// An account is given by its name or id. What is neither is refused, rather than compared with nothing.
async fn only_what_one_account_was_used_for(gateway: &Gateway, account: &str, lines: &str) {
    let account = gateway.get(&format!("/v2/accounts/{account}")).await;
    let arguments = ["reconcile", "--provider", "openai", "--accounts", lines, "--json", "--principal"];
    for named in ["id", "display_name"].map(|field| account[field].as_str().unwrap()) {
        let done = gateway.cli().run(&[&arguments[..], &[named]].concat());
        let report: Value = serde_json::from_str(done.stdout.lines().next().unwrap()).unwrap();
        assert_eq!(report["requests_by_id"], 2, "{named}: {report:#}");
    }
    let text = std::fs::read_to_string(lines).unwrap();
    let body = |named: &str| json!({"provider": "openai", "files": [{"text": text}], "scope": "accounts", "principal_id": named});
    let of_another_kind = &*gateway.founded.project_id;
    for (named, status, code) in [("nope", 404, "not_found"), (of_another_kind, 400, "invalid_value")] {
        let refused = gateway.admin().post("/v2/reconciliations", &body(named)).await.unwrap();
        assert_eq!(problem(&refused, status, code)["param"], "principal_id");
    }
}

#[cfg(feature = "control")]
#[tokio::test]
async fn a_file_that_cannot_be_read_is_refused_with_the_line_and_the_column() {
    let gateway = Gateway::start().await;
    let bad =
        "from,until,measure,quantity\n1767225600,1767225600,input,12\n1767225600,1767225600,input,a lot\n";
    let body = json!({"provider": "openai", "files": [{"name": "bad.csv", "text": bad}]});
    let refused = gateway.admin().post("/v2/reconciliations", &body).await.unwrap();
    problem(&refused, 400, "invalid_export");
    let holds = refused.text().contains("bad.csv: line 3, column \\\"quantity\\\": \\\"a lot\\\"");
    assert!(holds, "{}", refused.text());

    let path = write(&gateway, "bad.csv", bad);
    let done = gateway.cli().run(&["reconcile", "--provider", "openai", &path]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(done.stderr.contains("bad.csv: line 3, column \"quantity\""), "{done:?}");
    let misspelt = gateway.cli().run(&["reconcile", "--provider", "opneai", &path]).failed(2);
    assert!(misspelt.contains("Did you mean openai?"), "{misspelt}");
    for (body, code, param) in [
        (json!({"provider": "openai", "files": []}), "missing_field", "files"),
        (json!({"provider": "openai", "files": [{"text": bad}], "scope": "all"}), "invalid_value", "scope"),
        (json!({"provider": "openai", "files": [{"text": bad}], "from": "once"}), "invalid_value", "from"),
    ] {
        let refused = gateway.admin().post("/v2/reconciliations", &body).await.unwrap();
        assert_eq!(problem(&refused, 400, code)["param"], param, "{body}");
    }
    let formats = gateway.cli().run(&["reconcile", "formats", "bedrock"]).ok();
    assert!(formats.contains("aws-cur2") && formats.contains("tidegate"), "{formats}");
}

const HAIKU: &str = "anthropic/claude-haiku-4-5";
const HAIKU_PROFILE: &str = "us.anthropic.claude-haiku-4-5-20251001-v1:0";

/// What Bedrock's log of model invocations has of a call, with the prompt in it; without output of a call that it refused.
fn invocation(entry: &Entry) -> Value {
    let model = format!("arn:aws:bedrock:us-east-1:111122223333:inference-profile/{HAIKU_PROFILE}");
    let text: Value = serde_json::from_slice(&entry.body).unwrap_or_default();
    let base = json!({
        "schemaType": "ModelInvocationLog", "schemaVersion": "1.0", "timestamp": reconcilers::moment::write(now() * 1_000),
        "accountId": "111122223333", "region": "us-east-1", "requestId": entry.request_id, "operation": "Converse",
        "modelId": model,
        "input": {"inputContentType": "application/json", "inputBodyJson": text,
            "inputTokenCount": entry.prompt_tokens - entry.cached_tokens, "cacheReadInputTokenCount": entry.cached_tokens},
        "output": {"outputContentType": "application/json", "outputTokenCount": entry.said_tokens},
    });
    let refused =
        json!({"errorCode": "ServiceUnavailableException", "input": {"inputTokenCount": 0}, "output": {}});
    if entry.billable { base } else { with(base, refused) }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn log_of(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Requests, a stream and a retry at Bedrock, found one by one in its logs by the id that it answered with; and what is not.
#[cfg(feature = "control")]
#[tokio::test]
async fn invocations_in_bedrocks_logs_are_found_by_their_ids() {
    let began = reconcilers::moment::write(now() * 1_000);
    let gateway = Gateway::start().await;
    let body = json!({
        "provider": "bedrock", "auth": "iam_static", "secret": access_keys(OWN), "region": REGION,
        "base_url": gateway.emulator.bedrock_url(),
    });
    gateway.make("/v2/provider-credentials", body).await;
    for request in [question(HAIKU), streaming(HAIKU), question(HAIKU)] {
        gateway.chat_ok(&request).await;
    }
    gateway.emulator.script(OWN, [Behaviour::status(503)]);
    gateway.chat_ok(&question(HAIKU)).await;
    gateway.listed(4).await;
    let entries: Vec<_> =
        gateway.calls(OWN).into_iter().filter(|entry| entry.path.contains("/converse")).collect();
    assert_eq!((entries.len(), entries.iter().filter(|entry| entry.billable).count()), (5, 4));
    assert!(entries.iter().all(|entry| entry.path.contains("us.anthropic.claude-haiku-4-5")));
    let lines: Vec<_> = entries.iter().map(invocation).collect();
    let reconcile = |name: &str, lines: &[Value]| {
        let file = write(&gateway, name, &log_of(lines));
        // The log's timestamps are those of writing it here; a request that it lacks may be a second older.
        let arguments = ["reconcile", "--provider", "bedrock", &file, "--from", &began, "--json"];
        let done = gateway.cli().run(&arguments);
        let report: Value =
            serde_json::from_str(done.stdout.lines().next().unwrap_or_else(|| panic!("{done:?}"))).unwrap();
        (report, done.code)
    };
    let (report, code) = reconcile("whole.jsonl", &lines);
    assert_eq!((code, &report["unexplained_ppm"]), (0, &json!(0)), "{report:#}");
    has(&report, json!({"requests_by_id": 4, "differences": []}));
    // The prompts stayed where they are.
    let stored = gateway.get(&format!("/v2/reconciliations/{}", report["id"].as_str().unwrap())).await;
    assert!(!stored.to_string().contains("hello there"));

    // One of ours that the log hasn't, one that counts more, and one that never came through here.
    let mut changed = lines[1..].to_vec();
    changed[0]["output"]["outputTokenCount"] = json!(entries[1].said_tokens + 1_000);
    changed.push(with(lines[0].clone(), json!({"requestId": "8d0b8a7e-0000-4000-8000-2f6c1a2b3c4d"})));
    let (report, code) = reconcile("changed.jsonl", &changed);
    assert_eq!((code, &report["requests_by_id"]), (11, &json!(3)), "{report:#}");
    let of = |id: &str| -> Vec<Value> {
        let differences = report["differences"].as_array().unwrap();
        let of_id =
            differences.iter().filter(|one| one["upstream_request_id"].as_str().unwrap_or_default() == id);
        of_id.map(|one| json!([one["kind"], one["measure"], one["quantity"]])).collect()
    };
    assert_eq!(of(&entries[1].request_id), [json!(["missing", "output", 1_000])], "{report:#}");
    for (id, kind) in [("8d0b8a7e-0000-4000-8000-2f6c1a2b3c4d", "missing"), ("", "extra")] {
        let mut found = of(id);
        found.sort_by_key(|one| one[1].to_string());
        let [input, output] = [entries[0].prompt_tokens, entries[0].said_tokens];
        assert_eq!(found, [json!([kind, "input", input]), json!([kind, "output", output])], "{report:#}");
    }
    let extra = report["differences"].as_array().unwrap().iter().find(|one| one["kind"] == "extra").unwrap();
    let ours = gateway.get(&format!("/v2/requests/{}", extra["request_ids"][0].as_str().unwrap())).await;
    assert_eq!(ours["attempts"][0]["upstream_request_id"], entries[0].request_id.as_str(), "{ours:#}");
    assert_eq!(ours["attempts"][0]["upstream_model"], HAIKU_PROFILE, "{ours:#}");
}
