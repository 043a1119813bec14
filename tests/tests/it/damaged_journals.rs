//! A journal that is damaged while no gateway runs: what can be read is booked once, and that something is missing is in the log, in the
//! readiness, in the metrics, in `doctor` and in `ledger verify`, until the operator has seen to it.

use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use ledger::frame::{HEADER_BYTES, SegmentHeader, parse_records};
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{MINI, has, question};
use crate::gateway::Gateway;
use crate::wait::until;

const REQUESTS: usize = 40;
/// Those of the serving threads: what the gateway sends by itself is in another one.
const CORES: [&str; 2] = ["core-0", "core-1"];

/// The segments in use, with where their frames end.
fn live_segments(data: &Path) -> Vec<(PathBuf, Vec<usize>)> {
    let files = CORES.iter().flat_map(|core| std::fs::read_dir(data.join("journal").join(core)).unwrap());
    let mut found = Vec::new();
    for path in files.map(|file| file.unwrap().path()) {
        let bytes = std::fs::read(&path).unwrap();
        let Some(header) = SegmentHeader::decode(&bytes).filter(|header| !header.free) else { continue };
        let frames = parse_records(&bytes[HEADER_BYTES..], header.seed());
        found.push((path, frames.map(|frame| HEADER_BYTES + frame.end).collect()));
    }
    found
}

/// How many settled records the marks beside the journal count: in each core's file, the newer of two slots.
fn marked(data: &Path) -> u64 {
    const SETTLED: usize = 56;
    let files = CORES.iter().map(|core| std::fs::read(data.join("journal-marks").join(core)).unwrap());
    files
        .map(|bytes| {
            let count = |slot: usize| u64::from_le_bytes(*bytes[slot + SETTLED..].first_chunk().unwrap());
            count(0).max(count(512))
        })
        .sum()
}

/// A gateway that answered requests and was killed before it could book them all.
async fn killed() -> Gateway {
    let mut gateway = Gateway::with_own().await;
    let question = question(MINI);
    join_all((0..REQUESTS).map(|_| gateway.chat_ok(&question))).await;
    // What was written is marked within milliseconds.
    until("all is marked", async || marked(&gateway.data()) >= REQUESTS as u64).await;
    gateway.process().kill9().unwrap();
    gateway
}

fn change_eight_bytes(path: &Path, frames: &[usize]) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = frames[2] + 24;
    bytes[at..at + 8].iter_mut().for_each(|byte| *byte ^= 0xff);
    std::fs::write(path, bytes).unwrap();
}

fn empty(path: &Path, _: &[usize]) {
    std::fs::write(path, b"").unwrap();
}

fn overwrite(path: &Path, _: &[usize]) {
    std::fs::write(path, vec![0; std::fs::read(path).unwrap().len()]).unwrap();
}

fn remove(path: &Path, _: &[usize]) {
    std::fs::remove_file(path).unwrap();
}

/// What `ledger verify` finds, and what it counts as missing.
fn verified(gateway: &Gateway) -> (i32, Value, String) {
    let data = gateway.data().display().to_string();
    let done = gateway.cli().run(&["ledger", "verify", "--data-dir", &data, "--json"]);
    let report = serde_json::from_str(done.stdout.lines().next().unwrap()).unwrap();
    (done.code, report, done.stdout + &done.stderr)
}

async fn completed(gateway: &Gateway) -> u64 {
    let rows = gateway.requests(100).await;
    rows.iter().filter(|row| row["outcome"] == "completed").count() as u64
}

async fn ready(gateway: &Gateway) -> String {
    let answer = gateway.client().get("/health/ready").await.unwrap();
    assert_eq!(answer.status, 200, "what is missing is missing either way: {}", answer.text());
    answer.text()
}

#[tokio::test]
async fn damage_is_noticed_everywhere_until_it_is_seen_to() {
    for harm in [change_eight_bytes, empty, overwrite, remove] {
        let mut gateway = killed().await;
        let data = gateway.data();
        let used = live_segments(&data).into_iter().filter(|(_, frames)| frames.len() > 3);
        let used: Vec<_> = used.collect();
        assert!(!used.is_empty());
        for (path, frames) in &used {
            harm(path, frames);
        }
        gateway.start_again().await;

        let aside = data.join("journal-damage");
        gateway.process().wait_text("the journal of core", WITHIN).await.unwrap();
        let (code, report, advice) = verified(&gateway);
        assert_eq!(code, 11, "{report}");
        has(&report, json!({"ok": false, "mismatch_count": 0}));
        let damage = report["journal_damage"].as_array().unwrap();
        assert_eq!(damage.len(), used.len(), "{report}");
        let missing: u64 = damage.iter().map(|one| one["records_missing"].as_u64().unwrap()).sum();
        assert!(damage.iter().all(|one| one["entries_missing"].as_u64().unwrap() > 0), "{report}");
        assert!(advice.contains(&aside.display().to_string()), "{advice}");
        assert!(advice.contains("tidegate reconcile"), "{advice}");
        assert_eq!(completed(&gateway).await + missing, REQUESTS as u64, "{report}");

        let degraded =
            format!("degraded: the journal was damaged and {missing} records are known to be missing");
        assert!(ready(&gateway).await.starts_with(&degraded));
        let concern = gateway.get("/v2/attention").await["data"][0].clone();
        has(&concern, json!({"kind": "gateway_degraded", "severity": "error"}));
        assert!(concern["message"].as_str().unwrap().contains("the journal was damaged"), "{concern}");
        let page = gateway.admin().get("/metrics").await.unwrap().text();
        assert!(page.contains(&format!("\ntidegate_journal_damage {}\n", used.len())), "{page}");
        assert!(page.contains(&format!("\ntidegate_journal_records_missing {missing}\n")), "{page}");
        let doctor = ["doctor", "--data-dir", &data.display().to_string()];
        let found = gateway.cli().run(&doctor).failed(11);
        assert!(found.contains("✗ journal: the journal of core"), "{found}");
        assert!(found.contains(&format!("then remove {}", aside.display())), "{found}");
        gateway.chat_ok(&question(MINI)).await;

        gateway.crash().await;
        let again = ready(&gateway).await;
        assert!(again.starts_with(&degraded), "a restart forgets nothing, and counts nothing twice");
        std::fs::remove_dir_all(&aside).unwrap();
        assert_eq!(ready(&gateway).await, "ready\n");
        assert_eq!(verified(&gateway).0, 0);
        assert_ne!(gateway.get("/v2/attention").await["data"][0]["kind"], "gateway_degraded");
    }
}

#[tokio::test]
async fn a_kill_and_a_stop_are_no_damage() {
    let mut gateway = killed().await;
    gateway.start_again().await;
    gateway.wait_for_usage(REQUESTS as u64).await;
    gateway.stop().await;
    gateway.start_again().await;
    assert_eq!(ready(&gateway).await, "ready\n");
    assert_eq!((verified(&gateway).0, gateway.data().join("journal-damage").exists()), (0, false));
}
