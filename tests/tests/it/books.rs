//! A thousand calls of every kind in three modes: every figure that `/v2` shows equals the emulator's own
//! count.

use std::process::Command;

use harness::client::Client;
use harness::emulator::Tally;
use harness::pace::Pace;
use serde_json::{Value, json};

use crate::ask::{CHAT, LLAMA, MINI, question, with};
use crate::command::{Cli, workspace};
use crate::gateway::{Gateway, LOCAL_MODEL, NODE, OWN, POOL, row, sums};
use crate::wait::a_day_with_room;

const CALLS: usize = 1_000;
const AT_ONCE: usize = 16;

/// How one call ends, as the books must show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Completed,
    Failed,
    Cancelled,
}

struct Plan {
    body: Value,
    end: End,
}

/// A prompt that is long enough for the provider's prompt cache, identical for all calls of a mode.
fn long_prompt(model: &str) -> Value {
    let text = " word".repeat(1_500);
    with(
        question(model),
        json!({"messages": [{"role": "system", "content": text}, {"role": "user", "content": "go on"}]}),
    )
}

/// The plan for call number `number`. A stream that is cancelled or breaks off reports usage on every chunk
/// up to the point where it stops, so that both sides know the true count.
fn plan(number: usize) -> Plan {
    let model = [MINI, LLAMA, LOCAL_MODEL][number % 3];
    let scripted = |script: &str| with(question(model), json!({"user": format!("emu:{script}")}));
    let stream = json!({"stream": true});
    let (body, end) = match number / 3 % 20 {
        0..=4 => (question(model), End::Completed),
        5..=7 => (with(question(model), stream), End::Completed),
        8 => (
            with(question(model), json!({"stream": true, "stream_options": {"include_usage": true}})),
            End::Completed,
        ),
        9 | 10 => (long_prompt(model), End::Completed),
        11 => (with(long_prompt(model), stream), End::Completed),
        12 => (scripted("tokens=300"), End::Completed),
        13 => (with(scripted("usage=every,chunks=30"), stream), End::Completed),
        14 => (with(question(model), json!({"n": 3})), End::Completed),
        15 => (scripted("status=400"), End::Failed),
        16 => (with(scripted("status=422"), stream), End::Failed),
        17 => (
            with(scripted("stall=done"), json!({"stream": true, "stream_options": {"include_usage": true}})),
            End::Cancelled,
        ),
        18 => (with(scripted("chunks=20,usage=every,stall=mid"), stream), End::Cancelled),
        _ => (with(scripted("text=unicode,tokens=40,split=3"), stream), End::Completed),
    };
    Plan { body, end }
}

async fn call(client: Client, number: usize) {
    let Plan { body, end } = plan(number);
    match end {
        End::Completed | End::Failed => {
            let answer = client.post(CHAT, &body).await.unwrap();
            assert_eq!(answer.status < 400, end == End::Completed, "{number} {body}: {}", answer.text());
        }
        End::Cancelled => {
            let mut stream = client.stream(CHAT, &body).await.unwrap();
            // As far as the script streams: half of twenty words, or everything but the end marker.
            let wanted = if body["user"] == "emu:stall=done" { "\"choices\":[]" } else { "" };
            for seen in 1.. {
                let event = stream.event().await.unwrap().unwrap();
                if if wanted.is_empty() { seen == 11 } else { event.contains(wanted) } {
                    break;
                }
            }
            stream.hang_up();
        }
    }
}

async fn thousand_calls(gateway: &Gateway) {
    let mut running = tokio::task::JoinSet::new();
    for number in 0..CALLS {
        if running.len() >= AT_ONCE {
            running.join_next().await.unwrap().unwrap();
        }
        running.spawn(call(gateway.client(), number));
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
}

/// What each mode must cost, in nano-USD: gpt-4o-mini at 150/75/600, Llama at Together at 880/880.
fn nanos(mode: &str, tally: &Tally) -> u64 {
    let fresh = tally.prompt_tokens - tally.cached_tokens;
    match mode {
        "byok" => fresh * 150 + tally.cached_tokens * 75 + tally.completion_tokens * 600,
        "mi" => (tally.prompt_tokens + tally.completion_tokens) * 880,
        _ => 0,
    }
}

fn agrees(usage: &Value, tally: &Tally) {
    assert_eq!(usage["requests"], tally.calls, "{usage}");
    assert_eq!(usage["input_tokens"], tally.prompt_tokens, "{usage}");
    assert_eq!(usage["output_tokens"], tally.completion_tokens, "{usage}");
    assert_eq!(usage["cached_tokens"], tally.cached_tokens, "{usage}");
}

fn costs(usage: &Value, mode: &str, tally: &Tally) {
    let provider = usage["provider_cost_micros"].as_u64().unwrap() * 1_000;
    assert!(provider.abs_diff(nanos(mode, tally)) <= 500, "{mode}: {usage}");
    let owed = if mode == "mi" { nanos(mode, tally) } else { 0 };
    assert!((usage["cost_micros"].as_u64().unwrap() * 1_000).abs_diff(owed) <= 500, "{mode}: {usage}");
}

#[tokio::test]
async fn a_thousand_mixed_calls_agree_to_the_token() {
    // Daily and monthly totals are compared with the grand total, so all calls must fall into one day.
    a_day_with_room().await;
    let mut gateway = Gateway::start().await;
    gateway.credential("openai", OWN).await;
    gateway.account("together_ai", POOL).await;
    gateway.node("rack", &[LOCAL_MODEL]).await;
    thousand_calls(&gateway).await;
    gateway.wait_for_usage(CALLS as u64).await;
    let totals = gateway.emulator.totals();
    assert_eq!(totals.all.calls, CALLS as u64, "one upstream call for each: {:?}", totals.all);
    assert!(totals.all.cached_tokens > 100_000, "{:?}", totals.all);

    let whole = sums(&gateway.get("/v2/usage?window=24h").await);
    agrees(&whole, &totals.all);
    let ends = |end| (0..CALLS).filter(|number| plan(*number).end == end).count();
    assert_eq!(whole["failed_requests"], ends(End::Failed) + ends(End::Cancelled), "{whole}");
    assert_eq!((&whole["estimated_requests"], &whole["attempts"]), (&json!(0), &json!(CALLS)), "{whole}");
    assert_eq!(whole["realized_reused_tokens"], totals.all.cached_tokens, "{whole}");
    by_group(&gateway, &totals.by_key).await;
    by_outcome(&gateway, ends(End::Cancelled), ends(End::Failed)).await;
    one_by_one(&gateway, &whole).await;
    recomputed(&mut gateway).await;
}

async fn by_group(gateway: &Gateway, by_key: &std::collections::BTreeMap<String, Tally>) {
    let by_mode = gateway.get("/v2/usage?window=month&group_by=mode").await;
    let by_model = gateway.get("/v2/usage?group_by=model,provider,day").await;
    let snapshot = gateway.get("/v2/billing/snapshot").await;
    let analytics = gateway.get("/v2/analytics?group_by=profile").await;
    let modes = [
        ("byok", OWN, MINI, "byok"),
        ("mi", POOL, LLAMA, "managed_provider"),
        ("byoc", NODE, LOCAL_MODEL, "byoc"),
    ];
    for (mode, key, model, profile) in modes {
        let tally = &by_key[key];
        for usage in [
            row(&by_mode["data"], "mode", mode),
            row(&snapshot["mtd"]["by_mode"], "mode", mode),
            row(&by_model["data"], "model", model),
            row(&analytics["data"], "profile", profile),
        ] {
            agrees(usage, tally);
            costs(usage, mode, tally);
        }
        let latency = &row(&analytics["data"], "profile", profile)["latency_us"];
        assert!(
            latency["p50"].as_f64() <= latency["p99"].as_f64() && latency["p99"].is_number(),
            "{latency}"
        );
    }
    assert_eq!(
        (&snapshot["unmetered_event_count"], &snapshot["unpriced_event_count"]),
        (&json!(0), &json!(0)),
        "{snapshot}"
    );
}

async fn by_outcome(gateway: &Gateway, cancelled: usize, failed: usize) {
    let usage = gateway.get("/v2/usage?group_by=outcome").await;
    assert_eq!(row(&usage["data"], "outcome", "client_cancelled")["requests"], cancelled, "{usage}");
    assert_eq!(row(&usage["data"], "outcome", "failed")["requests"], failed, "{usage}");
    assert_eq!(
        row(&usage["data"], "outcome", "completed")["requests"],
        CALLS - cancelled - failed,
        "{usage}"
    );
}

/// Paging through the list shows each request once, and the rows add up to the totals.
async fn one_by_one(gateway: &Gateway, whole: &Value) {
    let rows = gateway.requests(170).await;
    let ids: std::collections::BTreeSet<_> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!((rows.len(), ids.len()), (CALLS, CALLS));
    for name in ["input_tokens", "output_tokens", "cached_tokens"] {
        let sum: u64 = rows.iter().map(|row| row[name].as_u64().unwrap()).sum();
        assert_eq!(whole[name], sum, "{name}");
    }
    let csv = gateway.admin().get("/v2/requests?limit=300&format=csv").await.unwrap();
    assert_eq!((csv.text().lines().count(), csv.header("x-next-cursor").is_some()), (301, true), "{csv:?}");
    assert!(csv.text().starts_with("id,object,started_at,"), "{}", csv.text());
    let lines = gateway.admin().get("/v2/requests?limit=1000&format=jsonl").await.unwrap();
    assert_eq!((lines.text().lines().count(), lines.header("x-next-cursor")), (CALLS, None));
    let failed = gateway.get("/v2/requests?limit=1000&outcome=failed").await;
    assert!(
        failed["data"].as_array().unwrap().iter().all(|row| row["status"].as_u64() >= Some(400)),
        "{failed}"
    );
}

/// The books are recomputed offline from the records alone; a changed record is detected.
async fn recomputed(gateway: &mut Gateway) {
    gateway.stop().await;
    let data = gateway.data().display().to_string();
    let report = Cli::new().run(&["ledger", "verify", "--data-dir", &data, "--json"]).json();
    assert_eq!(
        (&report["ok"], &report["records"], &report["attempts"]),
        (&json!(true), &json!(CALLS), &json!(CALLS)),
        "{report}"
    );
    let edit = workspace().join("tests/tools/tamper_record.py");
    let database = gateway.data().join("tidegate.db");
    let python = Command::new(workspace().join(".venv/bin/python")).arg(edit).arg(database).output().unwrap();
    assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
    let output = Cli::new().run(&["ledger", "verify", "--data-dir", &data]).failed(11);
    assert!(output.contains("MISMATCH") && output.contains("trc_"), "{output}");
}

#[tokio::test]
async fn the_books_are_settled_within_a_second_and_after_a_restart() {
    let mut gateway = Gateway::start().await;
    gateway.credential("openai", OWN).await;
    let answer = gateway.chat_ok(&question(MINI)).await;
    let trace = crate::ask::trace_of(&answer);
    let pace = Pace::start(&[gateway.serving(), gateway.control()]);
    let before = gateway.settled(&trace).await;
    let took = pace.elapsed();
    assert!(took < std::time::Duration::from_secs(1), "visible after {took:?}");
    let last = crate::ask::trace_of(&gateway.chat_ok(&question(MINI)).await);
    gateway.crash().await;
    assert_eq!(gateway.settled(&trace).await, before);
    // The process was killed as the answer ended: the request is in the books, possibly as interrupted.
    let last = gateway.settled(&last).await;
    assert!(matches!(last["outcome"].as_str(), Some("completed" | "interrupted")), "{last}");
    assert_eq!(gateway.wait_for_usage(2).await["requests"], 2);
    let timeline = before["timeline"].as_object().unwrap();
    let steps: Vec<u64> = timeline.values().filter_map(Value::as_u64).collect();
    assert_eq!(steps.len(), 7, "{before}");
    assert!(steps.is_sorted(), "{before}");
    let receipt = before["attempts"][0]["receipt"].as_array().unwrap();
    let nanos: u64 = receipt.iter().map(|line| line["nanos"].as_u64().unwrap()).sum();
    assert_eq!(before["provider_cost_nanos"], nanos, "{before}");
}
