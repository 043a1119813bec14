//! Cases specific to SQLite: files, schema, speed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use domain::{Outcome, Usage};
use ledger::{
    Closing, DrainBatch, Drainer, Intent, Journal, JournalPosition, JournalSettings, JournalShared, Opening,
    recover,
};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};
use store::datadir::{self, DataDir, Making};
use store::fixtures::CommitFault;
use store::{Page, Store, StoreError};
use world::World;

use crate::cases::records::put_behind;
use crate::samples::{Fresh, foundation, project, record, settled, workspace_id};

pub async fn fresh() -> Fresh {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    let founding = foundation().founding;
    let store = match std::env::var("NEXTEST_RUN_ID") {
        Ok(run) => {
            fs::copy(template(&run).await, &path).unwrap();
            Store::open(&path).await.unwrap()
        }
        Err(_) => Store::create(&path, foundation()).await.unwrap(),
    };
    Fresh { store, founding, dir, url: None }
}

/// The database that all tests of a run begin with a copy of, which takes a fraction of the time of the migrations. Tests that begin together
/// all make one, and the last to move its own there wins.
async fn template(run: &str) -> PathBuf {
    let template = std::env::temp_dir().join(format!("tidegate-store-{run}.db"));
    if !template.exists() {
        let made = tempfile::tempdir().unwrap();
        let path = made.path().join("t.db");
        Store::create(&path, foundation()).await.unwrap().close().await;
        fs::rename(&path, &template).unwrap();
    }
    template
}

async fn raw(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

pub async fn run_on(fresh: &Fresh, statement: &'static str) {
    let mut connection = raw(&fresh.dir.path().join("t.db")).await;
    sqlx::query(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_private_and_opens_again_as_it_was() {
    let made = fresh().await;
    let path = made.dir.path().join("t.db");
    for file in fs::read_dir(made.dir.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", file.path());
    }
    let version = made.store.feed().version().await.unwrap();
    made.store.close().await;
    assert!(matches!(Store::create(&path, foundation()).await, Err(StoreError::AlreadyMade { .. })));
    let again = Store::open(&path).await.unwrap();
    assert_eq!(again.feed().version().await.unwrap(), version);
    again.workspaces().get((), made.founding.workspace.id).await.unwrap();
}

/// It keeps the page size of the version that created it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_database_keeps_its_pages_and_takes_records() {
    let mut made = fresh().await;
    let path = made.dir.path().join("t.db");
    made.store.close().await;
    let mut connection = raw(&path).await;
    for statement in ["PRAGMA journal_mode = DELETE", "PRAGMA page_size = 4096", "VACUUM"] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    made.store = Store::open(&path).await.unwrap();
    put_behind(&made, 0, 1, (0..100).map(|number| made.record(number)).collect()).await;
    assert_eq!(made.store.records().record_count().await.unwrap(), 100);
    let row = sqlx::query("PRAGMA page_size").fetch_one(&mut connection).await.unwrap();
    assert_eq!(row.get::<i64, _>(0), 4_096);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_whole_not_there_or_too_new_is_refused_with_what_to_do() {
    let made = fresh().await;
    let path = made.dir.path().join("t.db");
    made.store.close().await;
    let missing = Store::open(&made.dir.path().join("none.db")).await.unwrap_err().to_string();
    assert!(missing.contains("tidegate init"), "{missing}");
    let mut connection = raw(&path).await;
    sqlx::query("DELETE FROM meta WHERE name = 'store.complete'").execute(&mut connection).await.unwrap();
    let half = Store::open(&path).await.unwrap_err();
    assert!(matches!(half, StoreError::HalfMade { .. }), "{half}");
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (900, 'later', 1, x'00', 0)";
    sqlx::query(newer).execute(&mut connection).await.unwrap();
    let newer = Store::open(&path).await.unwrap_err();
    assert!(newer.to_string().contains("newer Tidegate (schema 900"), "{newer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foundation_that_fails_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut bad = foundation();
    bad.founding.keys[1].id = bad.founding.keys[0].id;
    assert!(Store::create(&dir.path().join("t.db"), bad).await.is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    Store::create(&dir.path().join("t.db"), foundation()).await.unwrap();
}

/// However slowly records arrive, lists read few rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_batches_become_few_rows() {
    let made = fresh().await;
    for number in 0..1_000 {
        put_behind(&made, 0, number + 1, vec![made.record(number)]).await;
    }
    let mut connection = raw(&made.dir.path().join("t.db")).await;
    let rows = sqlx::query("SELECT records FROM record_batches ORDER BY records DESC");
    let rows = rows.fetch_all(&mut connection).await.unwrap();
    let sizes: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(sizes.iter().sum::<i64>(), 1_000);
    assert!(sizes[0] >= 512 && sizes.len() <= 1 + 3 * 7, "{sizes:?}");
    assert_eq!(made.store.records().record_count().await.unwrap(), 1_000);
}

/// A process that dies before, in or after a commit, and its successor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_repeats_and_loses_nothing() {
    let mut made = fresh().await;
    let (workspace, project) = (made.founding.workspace.id, made.founding.project.id);
    let batch = |offset, numbers: std::ops::Range<u64>| DrainBatch {
        core: 0,
        upto: JournalPosition { epoch: 7, segment: 1, offset },
        records: settled(numbers.map(|number| record(workspace, project, number))),
    };
    for fault in [CommitFault::Refused, CommitFault::AnswerLost] {
        let before = made.store.records().record_count().await.unwrap();
        made.store.commit_faults().script([fault]);
        made.store.record_sink().apply(batch(before + 10, before..before + 10)).await.unwrap_err();
        made.store.close().await;
        made.store = Store::open(&made.dir.path().join("t.db")).await.unwrap();
        // The recovery reads from the position on; an older one reads everything.
        made.store.record_sink().apply(batch(before + 20, 0..before + 20)).await.unwrap();
        made.store.record_sink().apply(batch(before + 30, before + 20..before + 30)).await.unwrap();
        assert_eq!(made.store.records().record_count().await.unwrap(), before + 30);
    }
}

fn opening(number: u64) -> Opening {
    let like = record(workspace_id(1), project(workspace_id(1), 1).id, number);
    Opening {
        trace: like.trace,
        workspace: like.workspace,
        project: like.project,
        key: like.key,
        environment: like.environment.into(),
        operation: like.operation,
        dialect: like.dialect,
        stream: like.stream,
        requested_model: like.requested_model,
        tag: None,
        qos_class: None,
        started_unix_ms: like.started_unix_ms,
        started_us: 0,
    }
}

async fn attempted(journal: &Rc<Journal>, number: u64) -> ledger::Tab {
    let mut tab = journal.open_tab(opening(number)).unwrap();
    let principal = record(workspace_id(1), project(workspace_id(1), 1).id, number).principal.unwrap();
    let intent = Intent {
        principal,
        provider: "openai".into(),
        upstream_model: "gpt-4o".into(),
        region: None,
        rates: None,
        markup_bps: 0,
        estimate_prompt_bytes: 4,
        ceiling: None,
        expected_input: None,
        patience: std::time::Duration::ZERO,
    };
    tab.start_attempt(intent).await.unwrap();
    tab
}

async fn exchange(journal: &Rc<Journal>, number: u64) {
    let closing = Closing {
        outcome: Outcome::Completed,
        status: 200,
        fault: None,
        usage: Usage::default(),
        bytes_out: 1,
        fallback_used: false,
    };
    attempted(journal, number).await.close(closing);
}

fn copy(from: &std::path::Path, to: &Path) {
    fs::create_dir_all(to.join("core-0")).unwrap();
    for file in fs::read_dir(from.join("core-0")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join("core-0").join(file.file_name())).unwrap();
    }
}

/// A thread is held up just when the only connection that writes would be given back on it.
#[test]
fn what_is_apart_goes_on_while_another_thread_is_held_up() {
    let (home, held) = (tasks::runtime("home").unwrap(), tasks::runtime("held").unwrap());
    let made = home.block_on(fresh());
    let apart = home.block_on(async { made.store.apart() });
    let (end, wait) = std::sync::mpsc::channel::<()>();
    let (begun, has_begun) = std::sync::mpsc::channel();
    let store = made.store.clone();
    let holding = held.spawn(async move {
        store.meta().put(vec![("theirs".to_owned(), vec![1])]).await.unwrap();
        begun.send(()).unwrap();
        wait.recv().unwrap_err();
    });
    has_begun.recv().unwrap();
    let read = home.block_on(async {
        let going_on = async {
            apart.meta().put(vec![("ours".to_owned(), vec![2])]).await.unwrap();
            apart.meta().get("theirs".to_owned()).await.unwrap()
        };
        tokio::time::timeout(Duration::from_secs(5), going_on).await
    });
    assert_eq!(read, Ok(Some(vec![1])));
    drop(end);
    held.block_on(holding).unwrap();
    home.block_on(async {
        apart.close().await;
        made.store.close().await;
    });
}

/// The production journal on this store: what a crash leaves is recovered once, also if the freed segments
/// reappear and the next process recovers them again.
#[test]
fn what_a_crash_leaves_in_the_journal_comes_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut made = fresh().await;
        let path = |name: &str| made.dir.path().join(name);
        let bytes = 64 * 1024;
        let settings =
            JournalSettings { segment_bytes: bytes, first_segment_bytes: bytes, ..Default::default() };
        let shared = JournalShared::start(&World::system(), settings).unwrap();
        let journal =
            Journal::open(&path("journal"), 0, World::system(), settings, Arc::clone(&shared)).unwrap();
        let drainer = Drainer::new(Arc::clone(&shared), made.store.record_sink());
        let open = [attempted(&journal, 1).await, attempted(&journal, 2).await];
        for number in 10..300 {
            exchange(&journal, number).await;
        }
        journal.flush_now().unwrap();
        made.store.commit_faults().script([CommitFault::AnswerLost]);
        drainer.drain_once().await.unwrap_err();
        for number in 300..400 {
            exchange(&journal, number).await;
        }
        journal.flush_now().unwrap();
        drainer.drain_once().await.unwrap();
        assert_eq!(made.store.records().record_count().await.unwrap(), 390);
        for number in 400..500 {
            exchange(&journal, number).await;
        }
        journal.flush_now().unwrap();
        for left in ["left", "back"] {
            copy(&path("journal"), &path(left));
        }
        drop(open);
        for left in ["left", "back"] {
            made.store.close().await;
            made.store = Store::open(&path("t.db")).await.unwrap();
            made.store.commit_faults().script([CommitFault::AnswerLost]);
            let sink = made.store.record_sink();
            recover(&path(left), &World::system(), &*sink).await.ok();
            recover(&path(left), &World::system(), &*sink).await.unwrap();
            assert_eq!(made.store.records().record_count().await.unwrap(), 492, "{left}");
        }
        let all = made.store.records().every_record(workspace_id(1), Page::first(1_000)).await.unwrap().rows;
        let interrupted = all.iter().filter(|record| record.outcome == Outcome::Interrupted).count();
        assert_eq!((all.len(), interrupted), (492, 2));
        shared.stop();
    });
}

#[test]
fn a_data_directory_is_whole_or_refused() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("data");
    assert_eq!(datadir::inspect(&dir).unwrap(), DataDir::Empty);
    let making = Making::begin(&dir).unwrap();
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    let error = datadir::inspect(&dir).unwrap_err();
    assert!(error.to_string().contains("remove the directory"), "{error}");
    assert!(matches!(Making::begin(&dir), Err(StoreError::HalfMade { .. })), "of two makers one is refused");
    fs::write(making.database(), b"x").unwrap();
    assert!(matches!(datadir::inspect(&dir), Err(StoreError::HalfMade { .. })));
    making.finish().unwrap();
    assert_eq!(datadir::inspect(&dir).unwrap(), DataDir::Ready);
    assert!(matches!(Making::begin(&dir), Err(StoreError::AlreadyMade { .. })));
    let foreign = root.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.tex"), b"x").unwrap();
    assert!(matches!(datadir::inspect(&foreign), Err(StoreError::Foreign { .. })));
}
