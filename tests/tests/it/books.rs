//! A thousand calls of every kind in three modes: every figure that `/v2` shows equals the emulator's own
//! count.

use std::process::Command;

use harness::pace::Pace;
use serde_json::{Value, json};

use crate::ask::{MINI, has, question};
use crate::command::{Cli, workspace};
use crate::gateway::{Gateway, OWN, row};
use crate::recount::{Scene, planned};

const CALLS: usize = 1_000;

#[tokio::test]
async fn a_thousand_mixed_calls_agree_to_the_token() {
    let mut scene = Scene::start().await;
    scene.wave(planned(CALLS)).await;
    let [ours, theirs] = scene.recounted().await;
    assert_eq!((ours.len(), theirs.len()), (750, 250), "the fourth part is of another workspace");
    exported(&scene.gateway, ours.len()).await;
    recomputed(&mut scene.gateway, ours.iter().chain(&theirs).map(|(record, _)| record)).await;
}

/// A list in other forms has the same rows, and that of what failed has no other; each profile has its latency.
async fn exported(gateway: &Gateway, rows: usize) {
    let csv = gateway.admin().get("/v2/requests?limit=300&format=csv").await.unwrap();
    assert_eq!((csv.text().lines().count(), csv.header("x-next-cursor").is_some()), (301, true), "{csv:?}");
    assert!(csv.text().starts_with("id,object,started_at,"), "{}", csv.text());
    let lines = gateway.admin().get("/v2/requests?limit=1000&format=jsonl").await.unwrap();
    assert_eq!((lines.text().lines().count(), lines.header("x-next-cursor")), (rows, None));
    let failed = gateway.get("/v2/requests?limit=1000&outcome=failed").await;
    let statuses: Vec<_> =
        failed["data"].as_array().unwrap().iter().map(|row| row["status"].as_u64()).collect();
    assert!(!statuses.is_empty() && statuses.iter().all(|status| *status >= Some(400)), "{failed}");
    let analytics = gateway.get("/v2/analytics?group_by=profile").await;
    for profile in ["byok", "managed_provider", "byoc"] {
        let latency = &row(&analytics["data"], "profile", profile)["latency_us"];
        assert!(
            latency["p99"].is_number() && latency["p50"].as_f64() <= latency["p99"].as_f64(),
            "{latency}"
        );
    }
}

/// The books are recomputed offline from the records alone; a changed record is detected.
pub async fn recomputed<'a>(gateway: &mut Gateway, records: impl Iterator<Item = &'a Value>) {
    let attempts: Vec<_> = records.map(|record| record["attempts"].as_array().unwrap().len()).collect();
    gateway.stop().await;
    let data = gateway.data().display().to_string();
    let report = Cli::new().run(&["ledger", "verify", "--data-dir", &data, "--json"]).json();
    let sum: usize = attempts.iter().sum();
    has(&report, json!({"ok": true, "records": attempts.len(), "attempts": sum}));
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
