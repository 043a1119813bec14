//! Tariffs, the billing snapshot and invoices over real traffic, and detection of a tampered row.

use serde_json::{Value, json};

use crate::ask::{MINI, has, problem, question};
use crate::gateway::{Gateway, LOCAL_MODEL, OWN, POOL, config, row};
use crate::wait::found;

/// Prices high enough that every item shows: per million requests, tokens and acts.
fn tariff() -> Value {
    json!({
        "monthly_base_micros": 5_000_000,
        "profiles": {
            "byok": {"per_million_requests_micros": 2_000_000_000_u64, "included_requests": 1},
            "managed_provider": {"per_million_tokens_micros": 3_000_000},
        },
    })
}

/// Three requests on the workspace's own credential, two on the operator's account, one on a node.
async fn traffic(gateway: &Gateway) {
    let account = gateway.account("openai", POOL).await;
    gateway.node("rack", &[LOCAL_MODEL]).await;
    for _ in 0..2 {
        gateway.chat_ok(&question(MINI)).await;
    }
    gateway.remove(&format!("/v2/accounts/{account}")).await;
    gateway.credential("openai", OWN).await;
    for _ in 0..3 {
        gateway.chat_ok(&question(MINI)).await;
    }
    gateway.chat_ok(&question(LOCAL_MODEL)).await;
    gateway.wait_for_usage(6).await;
}

fn lines<'a>(invoice: &'a Value, kind: &str) -> Vec<&'a Value> {
    invoice["lines"].as_array().unwrap().iter().filter(|line| line["kind"] == kind).collect()
}

async fn draft(gateway: &Gateway) -> Value {
    let listed = gateway.get("/v2/billing/invoices").await;
    let first = &listed["data"][0];
    assert_eq!(first["status"], "draft", "{listed}");
    gateway.get(&format!("/v2/billing/invoices/{}", first["id"].as_str().unwrap())).await
}

#[tokio::test]
async fn nothing_is_charged_until_a_tariff_says_so_and_then_to_the_nano() {
    let gateway = Gateway::start().await;
    traffic(&gateway).await;
    let before = gateway.get("/v2/billing/snapshot").await;
    assert_eq!(row(&before["mtd"]["by_mode"], "mode", "byok")["cost_micros"], 0);
    assert_eq!(before["owed_micros"], before["mtd"]["cost_micros"]);
    let current = gateway.get("/v2/tariff").await;
    assert_eq!((&current["in_force"]["monthly_base_micros"], &current["versions"]), (&json!(0), &json!([])));

    let (admin, json_body) = (gateway.admin(), [("content-type", "application/json")]);
    admin.call(http::Method::PUT, "/v2/tariff", &json_body, tariff().to_string()).await.unwrap().must_be(200);
    let snapshot = gateway.get("/v2/billing/snapshot").await;
    let invoice = draft(&gateway).await;
    let of = |mode: &str, field: &str| row(&snapshot["mtd"]["by_mode"], "mode", mode)[field].clone();

    // Three requests on the own credential, one of them included, at 2,000 dollars per million.
    assert_eq!(of("byok", "cost_micros"), 4_000);
    let fee = lines(&invoice, "request_fee")[0];
    has(fee, json!({"quantity": 3, "included": 1, "amount_micros": 4_000}));
    let own = lines(&invoice, "byok_tokens")[0];
    has(own, json!({"amount_micros": 0, "model": MINI, "requests": 3}));
    assert!(own["provider_cost_micros"].as_i64().unwrap() > 0, "the provider's bill is told: {own}");
    assert_eq!(lines(&invoice, "byoc_tokens")[0]["amount_micros"], 0);
    assert_eq!(of("byoc", "cost_micros"), 0);

    let tokens = of("mi", "input_tokens").as_i64().unwrap() + of("mi", "output_tokens").as_i64().unwrap();
    let expected = tokens * 3_000;
    assert_eq!(lines(&invoice, "token_fee")[0]["amount_nanos"], expected, "3 dollars the million tokens");
    let record = row(&before["mtd"]["by_mode"], "mode", "mi")["cost_micros"].clone();
    assert_eq!(lines(&invoice, "managed_tokens")[0]["amount_micros"], record, "tokens as they were booked");

    for mode in ["mi", "byok", "byoc"] {
        assert_eq!(row(&invoice["by_mode"], "mode", mode)["cost_micros"], of(mode, "cost_micros"), "{mode}");
    }
    has(&invoice, json!({"total_micros": snapshot["owed_micros"], "monthly_base_micros": 5_000_000}));
    let amounts =
        invoice["lines"].as_array().unwrap().iter().map(|line| line["amount_nanos"].as_i64().unwrap());
    assert_eq!(invoice["total_nanos"], amounts.sum::<i64>());

    credited(&gateway, &invoice).await;
    exports(&gateway, &invoice).await;
    refusals(&gateway, &invoice).await;
}

/// A prepaid dollar is one line of the draft and its exports, however often the draft is generated.
async fn credited(gateway: &Gateway, before: &Value) {
    gateway.make("/v2/billing/account/credits", json!({"amount_micros": 1_000_000, "note": "in"})).await;
    for _ in 0..2 {
        let drawn = draft(gateway).await;
        let paid = lines(&drawn, "credit");
        assert_eq!((paid.len(), &paid[0]["amount_micros"]), (1, &json!(-1_000_000)), "{drawn}");
        assert_eq!(drawn["credit_micros"], -1_000_000);
        let owed = before["total_nanos"].as_i64().unwrap();
        assert_eq!(drawn["total_nanos"].as_i64().unwrap(), owed - 1_000_000_000, "{drawn}");
        assert_eq!(drawn["by_mode"], before["by_mode"], "what was used is the same");
    }
    let id = before["id"].as_str().unwrap();
    let csv = gateway.admin().get(&format!("/v2/billing/invoices/{id}.csv")).await.unwrap().text();
    assert!(csv.lines().any(|line| line.starts_with("credit,Credit,") && line.contains("-1000000")), "{csv}");
    let output = gateway.cli().run(&["billing", "invoice", id]).ok();
    assert!(output.contains("Credit") && output.contains("1.000000"), "{output}");
    gateway.make("/v2/billing/account/credits", json!({"amount_micros": -1_000_000, "note": "back"})).await;
    assert_eq!(draft(gateway).await["total_nanos"], before["total_nanos"]);
}

async fn exports(gateway: &Gateway, invoice: &Value) {
    let id = invoice["id"].as_str().unwrap();
    let csv = gateway.admin().get(&format!("/v2/billing/invoices/{id}.csv")).await.unwrap();
    assert_eq!((csv.status, csv.header("content-type")), (200, Some("text/csv; charset=utf-8")));
    let text = csv.text();
    assert_eq!(text.lines().count(), 1 + invoice["lines"].as_array().unwrap().len());
    assert!(text.starts_with("kind,description,profile,model,"), "{text}");
    let printed = gateway.cli().run(&["billing", "invoice", id, "--csv"]).ok();
    assert_eq!(printed.replace("\r\n", "\n").lines().count(), text.lines().count());
    let output = gateway.cli().run(&["billing", "invoice", id]).ok();
    assert!(output.contains("Platform fee, requests, byok") && output.contains("$0.004000"), "{output}");
    assert!(gateway.cli().run(&["billing", "invoices"]).ok().contains(id));
    let file = gateway.directory().join("tariff.toml");
    std::fs::write(&file, "name = \"team\"\nmonthly_base_micros = 7\n").unwrap();
    let set = gateway.cli().run(&["tariff", "set", &file.display().to_string(), "--json"]).json();
    has(&set, json!({"name": "team", "monthly_base_micros": 7}));
    let workspace = gateway.founded.workspace_id.as_str();
    gateway.cli().run(&["tariff", "assign", workspace, "team"]).ok();
    let output = gateway.cli().run(&["tariff", "show"]).ok();
    assert!(output.contains("default") && output.contains("team") && output.contains(workspace), "{output}");
    assert_eq!(draft(gateway).await["tariff"]["name"], "team", "in force at once, for the running month");
}

async fn refusals(gateway: &Gateway, invoice: &Value) {
    let theirs = gateway.workspace("theirs").await;
    let stranger = gateway.with_key(&theirs.admin_key);
    let id = invoice["id"].as_str().unwrap();
    for path in [format!("/v2/billing/invoices/{id}"), format!("/v2/billing/invoices/{id}.csv")] {
        problem(&stranger.get(&path).await.unwrap(), 404, "not_found");
    }
    problem(&stranger.get("/v2/tariff").await.unwrap(), 403, "insufficient_scope");
    let json = [("content-type", "application/json")];
    let too_much = 10_000_000_000_001_u64;
    let tokens = json!({"per_million_tokens_micros": too_much});
    for (param, wrong) in [
        ("effective_from", json!({"effective_from": "2026-12-02"})),
        ("monthly_base_micros", json!({"monthly_base_micros": i64::MAX})),
        ("acts.per_million_acts_micros", json!({"acts": {"per_million_acts_micros": too_much}})),
        ("profiles.byoc.per_million_tokens_micros", json!({"profiles": {"byoc": tokens}})),
    ] {
        let call = gateway.admin().call(http::Method::PUT, "/v2/tariff", &json, wrong.to_string()).await;
        assert_eq!(problem(&call.unwrap(), 400, "invalid_value")["param"], param);
    }
    // A deduction makes nobody prepaid.
    let deduction = json!({"workspace_id": theirs.workspace_id, "amount_micros": -5});
    let answer = gateway.admin().post("/v2/billing/account/credits", &deduction).await.unwrap();
    assert_eq!(problem(&answer, 400, "invalid_value")["param"], "amount_micros");
    assert_eq!(stranger.get("/v2/billing/account").await.unwrap().json()["mode"], "postpaid");
    let assign = format!("/v2/tariff/assignments/{}", theirs.workspace_id);
    let body = json!({"tariff": "none such"}).to_string();
    let answer = gateway.admin().call(http::Method::PUT, &assign, &json, body).await.unwrap();
    problem(&answer, 409, "no_such_tariff");
    // A draft is not evidence.
    let data = gateway.data().display().to_string();
    gateway.cli().run(&["ledger", "verify", "--invoice", id, "--data-dir", &data]).failed(3);
}

/// Changes rows behind the gateway's back.
fn alter(gateway: &Gateway, statement: &str) {
    let execute = format!("done = db.execute(\"{statement}\")");
    crate::vault::edit(
        gateway,
        &format!("db.execute('PRAGMA busy_timeout = 20000')\n{execute}\nassert done.rowcount > 0"),
    );
}

/// The test can't wait for a month, so it backdates the workspace.
#[tokio::test]
async fn a_month_that_is_over_is_finalised_once_and_an_altered_row_is_found() {
    let mut gateway = Gateway::with(config(), &[("TIDEGATE_INVOICE_GRACE_HOURS", "0")]).await;
    assert_eq!(gateway.get("/v2/billing/invoices").await["data"].as_array().unwrap().len(), 1);
    gateway.stop().await;
    alter(&gateway, "UPDATE workspaces SET created_unix_ms = created_unix_ms - 62 * 86400000");
    gateway.start_again().await;
    let listed = found("the months that are over", async || {
        let rows = gateway.get("/v2/billing/invoices").await["data"].as_array().unwrap().clone();
        (rows.len() >= 3 && rows[1..].iter().all(|row| row["status"] == "final")).then_some(rows)
    })
    .await;
    assert_eq!(listed[0]["status"], "draft", "the running month");
    let paged = gateway.get("/v2/billing/invoices?limit=1").await;
    assert_eq!((&paged["data"][0]["id"], &paged["has_more"]), (&listed[0]["id"], &json!(true)));
    let cursor = paged["next_cursor"].as_str().unwrap();
    let second = gateway.get(&format!("/v2/billing/invoices?limit=1&cursor={cursor}")).await;
    assert_eq!(second["data"][0]["id"], listed[1]["id"]);

    let id = listed[1]["id"].as_str().unwrap();
    let data = gateway.data().display().to_string();
    let verify = ["ledger", "verify", "--invoice", id, "--data-dir", &data];
    let sound = gateway.cli().run(&verify).ok();
    assert!(sound.contains("it follows from the books"), "{sound}");
    alter(&gateway, "UPDATE invoices SET body = json_set(body, '$.total', 123456789)");
    let found = gateway.cli().run(&verify).failed(11);
    assert!(found.contains("total") && found.contains("123456789"), "{found}");
    let output = gateway.cli().run(&[&verify[..], &["--json"]].concat()).failed(11);
    assert!(output.contains("\"ok\":false"), "{output}");
}
