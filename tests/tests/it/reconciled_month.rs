//! A generated month in the store of a real gateway, reconciled by the command line with the provider's files of it: what is
//! wrong is found, however many records there are.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use domain::Principal;
use harness::postgres::Server;
use harness::setting::number;
use ledger::{DrainBatch, JournalPosition, SettledRecords};
use serde_json::{Value, json};
use store::{Address, ReplicaId, Store};

use crate::gateway::{Gateway, OWN, config, row};

#[path = "../../../crates/reconciliation/tests/shared/month.rs"]
mod generated;

use generated::{DAY_S, DAYS, Files, Found, Month, Owner};

/// `make prove-reconciliation` takes a million.
const RECORDS: u64 = 6_000;
/// Records that are put into the store at once.
const BATCH: usize = 2_000;
/// What a comparison may take of a gateway's memory: one page of records at a time, and sums.
const MEMORY_MIB_MAX: u64 = 200;

/// The thirty days that ended yesterday.
fn month_of(gateway: &Gateway, credential: &str) -> Month {
    let today = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / DAY_S * DAY_S;
    Month {
        records: number("TIDEGATE_RECONCILED_RECORDS").unwrap_or(RECORDS),
        seed: number("TIDEGATE_SEED").unwrap_or(22),
        start_unix_s: today - (DAYS + 1) * DAY_S,
        owner: Owner {
            workspace: gateway.founded.workspace_id.parse().unwrap(),
            project: gateway.founded.project_id.parse().unwrap(),
            principal: Principal::Credential(credential.parse().unwrap()),
        },
        is_flawed: true,
    }
}

/// Puts our side into the store as the drainer does.
async fn fill(store: &Store, month: &Month) -> Duration {
    let sink = store.record_sink();
    let (mut ours, mut offset, began) = (month.exchanges().filter_map(|(ours, _)| ours), 0, Instant::now());
    loop {
        let batch: Vec<_> = ours.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            return began.elapsed();
        }
        offset += 1;
        let upto = JournalPosition { epoch: 1, segment: 1, offset };
        let records = SettledRecords::of(&batch).unwrap();
        sink.apply(DrainBatch { core: 99, upto, records }).await.unwrap();
    }
}

/// A field of the kernel's account of a process, in MiB.
fn memory_mib(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1_024
}

fn found(month: &Month, difference: &Value) -> Found {
    let from = reconcilers::moment::read(difference["from"].as_str().unwrap(), "from").unwrap() / 1_000;
    Found {
        kind: difference["kind"].as_str().unwrap().to_owned(),
        day: from.saturating_sub(month.start_unix_s) / DAY_S,
        measure: difference["measure"].as_str().unwrap().to_owned(),
        is_batch: difference["service_tier"] == "batch",
        quantity: difference["quantity"].as_u64().unwrap(),
        micros: difference["cost_micros"].as_u64().unwrap(),
    }
}

/// Runs the command on files, and returns its report.
fn reconciled(gateway: &Gateway, files: &[(&str, &String)]) -> Value {
    let write = |(name, text): &(&str, &String)| {
        let path = gateway.directory().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let paths: Vec<_> = files.iter().map(write).collect();
    let mut arguments = vec!["reconcile", "--provider", "openai", "--json"];
    arguments.extend(paths.iter().map(String::as_str));
    let done = gateway.cli().run(&arguments);
    assert_eq!(done.code, 11, "{done:?}");
    serde_json::from_str(done.stdout.lines().next().unwrap()).unwrap()
}

fn check(month: &Month, files: &Files, report: &Value, tells_batches_apart: bool) {
    let differences = report["differences"].as_array().unwrap();
    assert_eq!(report["differences_left_out"], 0, "{report:#}");
    let found: Vec<_> = differences.iter().map(|one| found(month, one)).collect();
    files.check(&found, tells_batches_apart);
}

async fn journey(mut gateway: Gateway, database: &str, store: Store, credential: &str) {
    let month = month_of(&gateway, credential);
    let files = month.files();
    let filling = fill(&store, &month).await;
    store.close().await;
    gateway.stop().await;
    gateway.start_again().await;
    let before = memory_mib(gateway.pid(), "VmRSS");
    let started = Instant::now();
    let report = reconciled(&gateway, &[("usage.json", &files.usage), ("costs.json", &files.costs)]);
    let took = started.elapsed();
    let of_usage = reconciled(&gateway, &[("usage.json", &files.usage)]);
    let peak = memory_mib(gateway.pid(), "VmHWM");
    println!(
        "{database}: {} records, put in within {:.0} s, compared in {:.1} s; the gateway had {before} MiB before and {peak} MiB at most",
        month.records,
        filling.as_secs_f64(),
        took.as_secs_f64(),
    );
    check(&month, &files, &report, false);
    check(&month, &files, &of_usage, true);
    let credit = row(&report["kinds"], "kind", "credit");
    assert_eq!((&credit["lines"], &credit["cost_micros"]), (&json!(1), &json!(500_000)), "{credit}");
    assert!(peak <= before + MEMORY_MIB_MAX, "{before} MiB, then {peak} MiB");
}

#[tokio::test]
async fn a_stored_month_with_defects_has_each_found_on_sqlite() {
    let gateway = Gateway::start().await;
    let credential = gateway.credential("openai", OWN).await;
    let store = Store::open(&gateway.data().join("tidegate.db")).await.unwrap();
    journey(gateway, "SQLite", store, &credential).await;
}

#[tokio::test]
async fn a_stored_month_with_defects_has_each_found_on_postgresql() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::own(directory.path()).await.unwrap();
    let url = server.database("reconciled").await.unwrap();
    let key_file = directory.path().join("master.key").display().to_string();
    let environment = [("TIDEGATE_DATABASE_URL", url.as_str()), ("TIDEGATE_MASTER_KEY_FILE", &key_file)];
    let gateway = Gateway::with(config(), &environment).await;
    let credential = gateway.credential("openai", OWN).await;
    let address: Address = url.parse().unwrap();
    let store = Store::connect(&address, ReplicaId::from_bytes([7; 16])).await.unwrap();
    journey(gateway, "PostgreSQL", store, &credential).await;
}
