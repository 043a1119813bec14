//! CPU cost of draining a settled record into the store: the whole process's microseconds per record.
//!
//! `cargo run --release -p store --example drain_cost [RECORDS]`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement fails as loudly as a test")]

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::record::PlanRecord;
use domain::{
    CredentialId, Dialect, KeyId, MeterRecord, Operation, Outcome, Price, Principal, ProjectId, Rates,
    TraceId, Usage, UsageSource, WorkspaceId,
};
use ledger::simulation::MemorySink;
use ledger::{
    Closing, DrainBatch, Drainer, Intent, Journal, JournalPosition, JournalSettings, JournalShared, Opening,
    RecordSink, SettledRecords,
};
use snapshot::WrappedKey;
use store::{Act, Foundation, Founding, ProjectRow, Store, WorkspaceRow};
use tokio::task::LocalSet;
use world::World;

const NOW: u64 = 1_760_000_000_000;
const PER_MS: u64 = 30;

fn bytes(number: u64) -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes.split_at_mut(2).1.copy_from_slice(&number.to_be_bytes());
    bytes
}

fn opening(number: u64) -> Opening {
    Opening {
        trace: TraceId::new(NOW + number / PER_MS, bytes(number)),
        workspace: WorkspaceId::new(NOW, bytes(1)),
        project: ProjectId::new(NOW, bytes(1)),
        key: Some(KeyId::new(NOW, bytes(1))),
        environment: "production".into(),
        operation: Operation::Chat,
        dialect: Dialect::Chat,
        stream: true,
        requested_model: "some-publisher/some-model".into(),
        tag: None,
        qos_class: None,
        started_unix_ms: NOW + number / PER_MS,
        started_us: 0,
    }
}

fn intent() -> Intent {
    Intent {
        principal: Principal::Credential(CredentialId::new(NOW, bytes(1))),
        provider: "somebody".into(),
        upstream_model: "some-model".into(),
        region: None,
        rates: Some(Rates { input: Price(150_000), output: Price(600_000), ..Rates::default() }),
        markup_bps: 0,
        estimate_prompt_bytes: 400,
        ceiling: None,
        expected_input: None,
        patience: std::time::Duration::ZERO,
    }
}

fn closing() -> Closing<'static> {
    let usage = Usage { input: 300, output: 20, source: UsageSource::Provider, ..Usage::default() };
    Closing {
        outcome: Outcome::Completed,
        status: 200,
        fault: None,
        usage,
        bytes_out: 1_000,
        fallback_used: false,
    }
}

fn plan() -> PlanRecord {
    let candidates = vec![Principal::Credential(CredentialId::new(NOW, bytes(1)))];
    PlanRecord { resolution: "catalogue".into(), candidates, snapshot_version: 7, ..PlanRecord::default() }
}

/// CPU time of every live thread, in nanoseconds.
fn cpu_ns() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let spent = tasks.filter_map(|task| {
        let schedstat = std::fs::read_to_string(task.unwrap().path().join("schedstat")).ok()?;
        schedstat.split(' ').next()?.parse::<u64>().ok()
    });
    spent.sum()
}

fn tell(what: &str, records: u64, started: (u64, Instant)) {
    let (cpu, wall) = (cpu_ns() - started.0, started.1.elapsed());
    let each = |time: Duration| time.as_secs_f64() * 1e6 / records as f64;
    println!("{what}: {:.2} us CPU, {:.2} us wall a record", each(Duration::from_nanos(cpu)), each(wall));
}

fn start() -> (u64, Instant) {
    (cpu_ns(), Instant::now())
}

async fn fresh(dir: &std::path::Path) -> Store {
    let workspace = WorkspaceId::new(NOW, bytes(1));
    let key = |workspace| WrappedKey { workspace, key_id: "wk".into(), wrapped: vec![1] };
    let founding = Founding {
        workspace: WorkspaceRow {
            id: workspace,
            name: "w".into(),
            caching: domain::CachePolicy::default(),
            created_unix_ms: NOW,
            version: 0,
        },
        wrapped_key: key(workspace),
        project: ProjectRow {
            origins: String::new(),
            caching: domain::CachePolicy::default(),
            id: ProjectId::new(NOW, bytes(1)),
            workspace,
            name: "p".into(),
            environment: "production".into(),
            metadata: serde_json::Value::Null,
            created_unix_ms: NOW,
            version: 0,
        },
        keys: Vec::new(),
    };
    let operator_key = key(WorkspaceId::from_uuid(uuid::Uuid::nil()));
    let act = Act::system(&World::system());
    Store::create(&dir.join("t.db"), Foundation { meta: Vec::new(), operator_key, founding, act })
        .await
        .unwrap()
}

/// Writes `records` exchanges through a journal in `dir` and drains them into `sink`; only the drain is
/// measured.
async fn measure_drain(dir: &std::path::Path, records: u64, sink: Arc<dyn RecordSink>, what: &str) {
    let (world, settings) = (World::system(), JournalSettings::default());
    let shared = JournalShared::start(&world, settings).unwrap();
    let journal: Rc<Journal> =
        Journal::open(&dir.join("journal"), 0, world, settings, Arc::clone(&shared)).unwrap();
    let drainer = Drainer::new(Arc::clone(&shared), sink);
    for number in 0..records {
        let mut tab = journal.open_tab(opening(number)).unwrap();
        tab.record_plan("some-publisher/some-model".into(), plan());
        tab.start_attempt(intent()).await.unwrap();
        tab.close(closing());
        if number % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    journal.close().unwrap();
    let started = start();
    assert_eq!(drainer.drain_all().await.unwrap().records, records);
    tell(what, records, started);
    shared.stop();
}

async fn sunk(records: &[MeterRecord], per_batch: usize) {
    let dir = tempfile::tempdir().unwrap();
    let store = fresh(dir.path()).await;
    let sink = store.record_sink();
    let batches = records.chunks(per_batch).zip(1..).map(|(records, offset)| DrainBatch {
        core: u32::try_from(offset % 2).unwrap(),
        upto: JournalPosition { epoch: 9, segment: 1, offset },
        records: SettledRecords::of(records).unwrap(),
    });
    let batches: Vec<_> = batches.collect();
    let started = start();
    for batch in batches {
        sink.apply(batch).await.unwrap();
    }
    tell(&format!("sink, batches of {per_batch}"), records.len() as u64, started);
    assert_eq!(store.records().record_count().await.unwrap(), records.len() as u64);
    store.close().await;
}

fn main() {
    let records = std::env::args().nth(1).map_or(50_000, |text| text.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let dir = tempfile::tempdir().unwrap();
        let memory = Arc::new(MemorySink::default());
        measure_drain(dir.path(), records, Arc::<MemorySink>::clone(&memory), "journal read into memory")
            .await;
        let dir = tempfile::tempdir().unwrap();
        let store = fresh(dir.path()).await;
        measure_drain(dir.path(), records, store.record_sink(), "journal into the store").await;
        let size = std::fs::metadata(dir.path().join("t.db")).unwrap().len();
        println!("the database has {} bytes a record", size / records);
        store.close().await;
        let records = memory.records();
        sunk(&records, 1_000).await;
        sunk(&records, 100).await;
    });
}
