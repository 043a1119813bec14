//! Exports: a workspace's complete usage in files that match the server's own totals; an interrupted export
//! resumes.

use std::path::Path;

use serde_json::{Value, json};

use crate::ask::{MINI, question, with};
use crate::gateway::{Gateway, OWN, sums};

fn rows(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn total(rows: &[Value], field: &str) -> i64 {
    rows.iter().filter_map(|row| row[field].as_i64()).sum()
}

#[tokio::test]
async fn every_row_is_there_and_adds_up() {
    let gateway = Gateway::with_own().await;
    for _ in 0..6 {
        gateway.chat_ok(&question(MINI)).await;
    }
    gateway.chat(&with(question("=1+1/nobody"), json!({}))).await;
    gateway.wait_for_usage(6).await;
    gateway.listed(7).await;
    let to = gateway.directory().join("leaving");
    let there = to.display().to_string();
    let lines = gateway.cli().run(&["export", "--to", &there, "--format", "jsonl", "--json"]).lines();
    let files: Vec<_> = lines.iter().map(|line| line["file"].as_str().unwrap()).collect();
    assert_eq!(files, ["configuration.json", "requests.jsonl", "ledger.jsonl", "usage.jsonl", "audit.jsonl"]);
    let requests = rows(&to.join("requests.jsonl"));
    assert_eq!(requests.len(), 7);
    assert!(requests.is_sorted_by_key(|row| row["id"].as_str().unwrap().to_owned()), "oldest first");
    let usage = sums(&gateway.get("/v2/usage?window=24h").await);
    let ledger = rows(&to.join("ledger.jsonl"));
    assert_eq!(ledger.len(), 6, "one line for each attempt");
    for (file, rows) in [("requests", &requests), ("ledger", &ledger)] {
        for field in ["input_tokens", "output_tokens", "cached_tokens"] {
            assert_eq!(json!(total(rows, field)), usage[field], "{file} {field}");
        }
        let micros = (total(rows, "provider_cost_nanos") + 500) / 1_000;
        assert_eq!(json!(micros), usage["provider_cost_micros"], "{file}");
    }
    assert_eq!(json!(total(&rows(&to.join("usage.jsonl")), "requests")), usage["requests"]);
    assert!(rows(&to.join("audit.jsonl")).iter().any(|row| row["action"] == "credential.create"));
    let canary = harness::canary::Canary::new().prefix_chars(16).plant("own", OWN);
    let canary = canary.plant("admin", &gateway.founded.admin_key);
    assert_eq!(canary.scan_path(&to).unwrap(), []);

    gateway.cli().run(&["export", "--to", &there, "--only", "requests,ledger"]).ok();
    let csv = std::fs::read_to_string(to.join("requests.csv")).unwrap();
    assert_eq!(csv.lines().count(), 8);
    assert!(csv.lines().any(|line| line.contains(",'=1+1/nobody,")), "no spreadsheet runs it: {csv}");
    let names: Vec<_> = std::fs::read_dir(&to).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains("part") && !name.to_string_lossy().contains("state")), "{names:?}");
    gateway.cli().run(&["export", "--only", "requests"]).failed(2);
}

#[tokio::test]
async fn an_interrupted_one_goes_on() {
    let gateway = Gateway::with_own().await;
    for _ in 0..5 {
        gateway.chat_ok(&question(MINI)).await;
    }
    gateway.wait_for_usage(5).await;
    let to = gateway.directory().join("leaving");
    std::fs::create_dir(&to).unwrap();
    // The state that a killed export leaves: one complete page, and a torn write after it.
    let page = gateway.get("/v2/records?limit=2").await;
    let first: String = page["data"].as_array().unwrap().iter().map(|row| format!("{row}\n")).collect();
    std::fs::write(to.join("requests.jsonl.part"), format!("{first}{{\"torn")).unwrap();
    let (names, cursor) = (["requests.jsonl"], &page["next_cursor"]);
    let state = json!({"names": names, "bytes": [first.len()], "rows": 2, "cursor": cursor});
    std::fs::write(to.join(".records.state"), state.to_string()).unwrap();
    let there = to.display().to_string();
    let done = gateway.cli().run(&["export", "--to", &there, "--only", "requests", "--format", "jsonl"]);
    assert!(done.stderr.contains("Going on after 2"), "{}", done.stderr);
    done.ok();
    let whole: Vec<_> = rows(&to.join("requests.jsonl")).iter().map(|row| row["id"].clone()).collect();
    let all = gateway.get("/v2/records?limit=100").await;
    let wanted: Vec<_> = all["data"].as_array().unwrap().iter().map(|row| row["id"].clone()).collect();
    assert_eq!(whole, wanted);
}

#[cfg(feature = "control")]
#[tokio::test]
async fn records_are_of_ones_own_workspace() {
    let gateway = Gateway::with_own().await;
    gateway.chat_ok(&question(MINI)).await;
    gateway.wait_for_usage(1).await;
    let client = gateway.with_key(&gateway.workspace("other").await.admin_key);
    assert_eq!(client.get("/v2/records").await.unwrap().json()["data"], json!([]));
    assert_eq!(gateway.get("/v2/records").await["data"].as_array().unwrap().len(), 1);
}
