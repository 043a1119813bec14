//! Cases specific to PostgreSQL: replicas, lost replies, an unreachable server.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use domain::{MeterRecord, TraceId};
use harness::postgres::{Relay, Server};
use ledger::{DrainBatch, JournalPosition};
use store::{Address, Page, ReplicaId, Store, StoreError};

use crate::samples::{Fresh, NOW, act, bytes, conflict, credential, foundation, project};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The address of an empty database for this test alone.
async fn empty() -> (Server, String) {
    let server = Server::shared().await.unwrap();
    let url = server.database(&next_name()).await.unwrap();
    (server, url)
}

fn next_name() -> String {
    format!("t_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn replica(number: u8) -> ReplicaId {
    ReplicaId::from_bytes([number; 16])
}

fn address(url: &str) -> Address {
    url.parse().unwrap()
}

pub async fn fresh() -> Fresh {
    let server = Server::shared().await.unwrap();
    let foundation = foundation();
    let founding = foundation.founding.clone();
    let found = async |url: String| drop(Store::found(&address(&url), replica(1), foundation).await.unwrap());
    let url = server.copy("founded", &next_name(), found).await.unwrap();
    let store = Box::pin(Store::connect(&address(&url), replica(1))).await.unwrap();
    Fresh { store, founding, dir: tempfile::tempdir().unwrap(), url: Some(url) }
}

pub async fn joined(fresh: &Fresh, number: u8) -> Store {
    Store::connect(&address(fresh.url.as_deref().unwrap()), replica(number)).await.unwrap()
}

/// Runs a statement that bypasses the store.
pub async fn run_on(url: &str, statement: &str) {
    run_query(url, statement).await;
}

pub async fn run_query(url: &str, statement: &str) -> String {
    let server = Server::shared().await.unwrap();
    server.run(url.rsplit('/').next().unwrap(), statement).await.unwrap()
}

/// A store whose connections go through a relay.
async fn relayed(fresh: &Fresh, number: u8) -> (Store, Relay) {
    let relay = Relay::start(Server::shared().await.unwrap().address()).await.unwrap();
    let url = relay.url(fresh.url.as_deref().unwrap());
    (Store::connect(&address(&url), replica(number)).await.unwrap(), relay)
}

fn records(fresh: &Fresh, numbers: std::ops::Range<u64>) -> Vec<MeterRecord> {
    numbers.map(|number| fresh.record(number)).collect()
}

fn batch(core: u32, offset: u64, records: impl AsRef<[MeterRecord]>) -> DrainBatch {
    DrainBatch {
        core,
        upto: JournalPosition { epoch: 1, segment: 1, offset },
        records: ledger::SettledRecords::of(records.as_ref()).unwrap(),
    }
}

/// Applies a batch as the drainer does, until it succeeds; returns how often it failed.
async fn until_taken(store: &Store, batch: &DrainBatch) -> u32 {
    let until = Instant::now() + Duration::from_secs(30);
    let mut failed = 0;
    while let Err(error) = store.record_sink().apply(batch.clone()).await {
        assert!(Instant::now() < until, "{error}");
        failed += 1;
    }
    failed
}

/// Records and their sums, read by a store that did not write them.
async fn counted(store: &Store, fresh: &Fresh) -> (u64, u64) {
    let sums = store.records().usage(crate::cases::usage::query(fresh, &[])).await.unwrap();
    (store.records().record_count().await.unwrap(), sums.iter().map(|row| row.sums.requests).sum())
}

async fn hears_of(store: &Store, version: u64, within: Duration) -> bool {
    let mut watch = store.feed().watch();
    let heard = watch.wait_for(|version_seen| *version_seen >= version);
    tokio::time::timeout(within, heard).await.is_ok_and(|outcome| outcome.is_ok())
}

/// Each count of records is written as a COPY and as a single statement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_on_the_way_counts_once() {
    let fresh = fresh().await;
    let (store, relay) = relayed(&fresh, 2).await;
    for (round, size) in [(0, 500), (1, 20), (2, 500), (3, 20)] {
        let batch = batch(0, round + 1, records(&fresh, round * 1_000..round * 1_000 + size));
        relay.lose_answers(2);
        assert_eq!(until_taken(&store, &batch).await, 2, "two answers were lost");
    }
    assert_eq!(relay.answers_lost(), 8);
    assert_eq!(counted(&fresh.store, &fresh).await, (1_040, 1_040));
    // The same for a configuration change: the writer gets `Uncertain`.
    let workspace = fresh.founding.workspace.id;
    relay.lose_answers(1);
    let result = store.projects().create(project(workspace, 7), act()).await;
    assert!(matches!(result, Err(StoreError::Uncertain)), "{result:?}");
    fresh.store.projects().get(workspace, project(workspace, 7).id).await.unwrap();
}

/// Replicas drain in parallel, with lost replies and cut connections, and one starts over with records that
/// it had delivered already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_bring_records_side_by_side_and_each_counts_once() {
    let fresh = fresh().await;
    let replicas = [relayed(&fresh, 2).await, relayed(&fresh, 3).await, relayed(&fresh, 4).await];
    let drained = (0_u64..).zip(&replicas).map(async |(number, (store, relay))| {
        for round in 0..20 {
            let first = number * 10_000 + round * 150;
            let size = if round % 2 == 0 { 150 } else { 30 };
            match round % 5 {
                1 => relay.lose_answers(1),
                3 => relay.cut_once(),
                _ => {}
            }
            let core = u32::try_from(round % 2).unwrap();
            until_taken(store, &batch(core, round + 1, records(&fresh, first..first + size))).await;
        }
    });
    let [one, two, three]: [_; 3] = drained.collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!());
    tokio::join!(one, two, three);
    let all = 3 * (10 * 150 + 10 * 30);
    assert_eq!(counted(&fresh.store, &fresh).await, (all, all));
    let again = joined(&fresh, 3).await;
    assert_eq!(again.record_sink().position(1).await.unwrap().unwrap().offset, 20);
    let position = fresh.store.record_sink().position(1).await.unwrap();
    assert_eq!(position, None, "positions are each replica's own");
    // Of these 700, 460 were delivered before: two large batches and two small ones entirely, and 100 of
    // a third large one.
    until_taken(&again, &batch(1, 20, records(&fresh, 10_000..10_700))).await;
    assert_eq!(counted(&fresh.store, &fresh).await, (all + 240, all + 240));
}

/// A change on one replica wakes the other at once, and if the connection is cut, polling still finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_heard_of_on_the_other_replica() {
    let fresh = fresh().await;
    let (other, relay) = relayed(&fresh, 2).await;
    let keys = fresh.store.api_keys();
    let made = keys.create((fresh.key(77), None), act()).await.unwrap();
    assert!(hears_of(&other, made.version, Duration::from_secs(10)).await, "nobody told");
    relay.cut();
    let made = keys.create((fresh.key(78), None), act()).await.unwrap();
    assert!(!hears_of(&other, made.version, Duration::from_millis(300)).await, "the wire is cut");
    other.source().changes_since(made.version - 1).await.unwrap_err();
    relay.open();
    let change = other.source().changes_since(made.version - 1).await.unwrap();
    assert_eq!((change.version, change.keys.len()), (made.version, 1), "asking needs no listener");
    assert!(hears_of(&other, made.version, Duration::from_secs(10)).await, "what was missed is told");
    let made = keys.create((fresh.key(79), None), act()).await.unwrap();
    assert!(hears_of(&other, made.version, Duration::from_secs(10)).await, "it listens again");
}

/// Versions are assigned one by one, so that no follower of the feed misses one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_on_several_replicas_leave_one_history() {
    let fresh = fresh().await;
    let workspace = fresh.founding.workspace.id;
    let replicas = [joined(&fresh, 2).await, joined(&fresh, 3).await, joined(&fresh, 4).await];
    let before = fresh.store.feed().version().await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for (index, store) in (0_u64..).zip(replicas.clone()) {
        writers.spawn(async move {
            for number in 0..30 {
                let row = credential(workspace, 100 * index + number);
                store.credentials().create(row, act()).await.unwrap();
            }
        });
    }
    let (mut followed, mut seen) = (before, 0);
    while seen < 90 {
        let change = replicas[0].source().changes_since(followed).await.unwrap();
        let feed = fresh.store.feed().changes_after(followed).await.unwrap().unwrap();
        let versions: Vec<_> = feed.iter().map(|row| row.version).filter(|v| *v <= change.version).collect();
        assert_eq!(versions, (followed + 1..=change.version).collect::<Vec<_>>(), "each version once");
        if let Some((_, Some(entry))) = change.workspaces.first() {
            assert_eq!(entry.credentials.len() as u64, change.version - before, "all of one moment");
        }
        seen += versions.len();
        followed = change.version;
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    let one = replicas[0].projects().create(project(workspace, 500), act());
    let two = replicas[1].projects().create(project(workspace, 500), act());
    let (one, two) = tokio::join!(one, two);
    assert_eq!(u8::from(one.is_ok()) + u8::from(two.is_ok()), 1, "a name is taken once: {one:?} {two:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foundation_is_laid_once_whoever_comes_first() {
    let (_, url) = empty().await;
    let address = address(&url);
    let error = Store::connect(&address, replica(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFounded { .. }), "{error}");
    let mut founders = tokio::task::JoinSet::new();
    for number in 0..4 {
        let address = address.clone();
        founders.spawn(async move { Store::found(&address, replica(number), foundation()).await.map(drop) });
    }
    let founded = founders.join_all().await;
    let refused = |result: &Result<(), StoreError>| matches!(result, Err(StoreError::AlreadyFounded { .. }));
    assert_eq!(founded.iter().filter(|result| result.is_ok()).count(), 1, "{founded:?}");
    assert_eq!(founded.iter().filter(|result| refused(result)).count(), 3, "{founded:?}");
    Store::connect(&address, replica(9)).await.unwrap();
    // One unknown migration, whatever its number, is a rolling upgrade; more means an outdated program.
    let newer = |version: i64| {
        format!(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES ({version}, 'later', true, '\\x00', 0)"
        )
    };
    run_on(&url, &newer(899)).await;
    Store::connect(&address, replica(9)).await.unwrap();
    run_on(&url, &newer(900)).await;
    let newer = Store::connect(&address, replica(9)).await.unwrap_err();
    assert!(newer.to_string().contains("newer Tidegate (schema 900"), "{newer}");
}

/// Weekly partitions, which replicas create when they are needed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_lie_in_partitions_by_their_time() {
    let fresh = fresh().await;
    let week = 7 * 86_400_000;
    let of_week = |number: u64| {
        let like = records(&fresh, number..number + 1).remove(0);
        let trace = domain::TraceId::new(like.started_unix_ms + number * week, crate::samples::bytes(number));
        MeterRecord { trace, ..like }
    };
    let others = [joined(&fresh, 2).await, joined(&fresh, 3).await];
    let (one, two): (Vec<_>, Vec<_>) = ((0..10).map(of_week).collect(), (5..15).map(of_week).collect());
    let (one, two) = (batch(0, 1, one), batch(0, 1, two));
    tokio::join!(until_taken(&others[0], &one), until_taken(&others[1], &two));
    assert_eq!(fresh.store.records().record_count().await.unwrap(), 15);
    let partitions = "SELECT COUNT(*) FROM pg_inherits WHERE inhparent = 'meter_records'::regclass";
    assert_eq!(run_query(fresh.url.as_deref().unwrap(), partitions).await, "15");
    let listed =
        fresh.store.records().every_record(fresh.founding.workspace.id, Page::default()).await.unwrap().rows;
    assert!(listed.is_sorted_by_key(|record| record.trace) && listed.len() == 15);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_that_the_database_has_no_form_for_is_the_callers_fault() {
    let fresh = fresh().await;
    let row = store::ProjectRow { name: "a\0b".into(), ..project(fresh.founding.workspace.id, 7) };
    conflict(fresh.store.projects().create(row, act()).await, "text_has_nul");
}

/// Every table's rows, whatever their order, and the next value of each sequence.
async fn whole(url: &str) -> Vec<String> {
    let tables = run_query(
        url,
        "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace
         AND relname <> '_sqlx_migrations'",
    );
    let mut found = Vec::new();
    for table in tables.await.split_whitespace() {
        let rows = format!(
            "SELECT COUNT(*) || ' ' || COALESCE(md5(string_agg(t::TEXT, '|' ORDER BY t::TEXT)), '') FROM {table} AS t"
        );
        found.push(format!("{table} {}", run_query(url, &rows).await.trim()));
    }
    let counters = "SELECT string_agg(sequencename || ' ' || COALESCE(last_value, 0), ', ' ORDER BY sequencename) FROM pg_sequences";
    found.push(run_query(url, counters).await);
    found
}

/// Without `pg_dump`: partitions, triggers, sequences, and all of it from one snapshot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_goes_into_an_empty_database() {
    let fresh = fresh().await;
    let url = fresh.url.clone().unwrap();
    let workspace = fresh.founding.workspace.id;
    fresh.store.projects().create(project(workspace, 7), act()).await.unwrap();
    fresh.store.api_keys().create((fresh.key(7), None), act()).await.unwrap();
    // Of three weeks, each with its own partition.
    let mut batches = vec![records(&fresh, 0..300), records(&fresh, 300..600)];
    for (number, record) in batches.iter_mut().flatten().enumerate() {
        let number = number as u64;
        let later = 604_800_000 * (number % 3);
        record.trace = TraceId::new(NOW + number + later, bytes(number));
        record.started_unix_ms += later;
        record.finished_unix_ms += later;
    }
    for (number, batch_of) in batches.into_iter().enumerate() {
        fresh.store.record_sink().apply(batch(number as u32, 1, batch_of)).await.unwrap();
    }
    // A summed day, whose mark a trigger would remove when hours are inserted.
    run_on(&url, "INSERT INTO rolled_days SELECT workspace, minute / 1440 FROM usage_minutes GROUP BY 1, 2")
        .await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows");
    store::dump(&address(&url), &file).await.unwrap();
    assert!(store::dump(&address(&url), &file).await.is_err(), "nothing is written over");
    let (_, other) = empty().await;
    store::restore(&address(&other), &file).await.unwrap();
    let wanted = whole(&url).await;
    assert!(wanted.iter().filter(|line| line.contains("_week_")).count() >= 3, "{wanted:?}");
    assert!(wanted.iter().any(|line| line.starts_with("rolled_days ") && !line.starts_with("rolled_days 0")));
    assert_eq!(whole(&other).await, wanted);
    let result = store::restore(&address(&other), &file).await;
    assert!(matches!(result, Err(StoreError::NotEmpty { .. })), "{result:?}");
    // It continues as the first database would have.
    let back = Store::connect(&address(&other), replica(9)).await.unwrap();
    back.projects().create(project(workspace, 8), act()).await.unwrap();
    assert_eq!(counted(&back, &fresh).await, counted(&fresh.store, &fresh).await);

    // A truncated dump leaves nothing behind.
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(folder.path().join("torn"), &bytes[..bytes.len() - 40]).unwrap();
    let (_, third) = empty().await;
    assert!(store::restore(&address(&third), &folder.path().join("torn")).await.is_err());
    store::restore(&address(&third), &file).await.unwrap();
    assert_eq!(whole(&third).await, wanted);
}
