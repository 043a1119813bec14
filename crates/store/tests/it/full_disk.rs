//! A disk that fills up at every point of a write, and has space again: nothing is half-written, and work
//! resumes.

use std::time::Duration;

use domain::MeterRecord;
use ledger::{DrainBatch, JournalPosition};
use store::StoreError;
use store::fixtures::leave_room;

use crate::samples::{act, project, settled};
use crate::{Fresh, sqlite};

/// One more page each time, until the write fits: so it is refused at each point where it needs one.
const PAGES_MAX: u32 = 400;

fn batch(fresh: &Fresh, records: std::ops::Range<u64>) -> DrainBatch {
    DrainBatch {
        core: 0,
        upto: JournalPosition { epoch: 1, segment: 1, offset: records.end },
        records: settled(
            records.map(|number| MeterRecord { requested_model: unlike(number), ..fresh.record(number) }),
        ),
    }
}

/// A string that neighbours share nothing with, so that delta-encoded records still need pages.
fn unlike(number: u64) -> String {
    let mixed = |turn: u32| (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(turn * 5);
    (0..12).map(|turn| format!("{:x}", mixed(turn))).collect()
}

/// Creates and revokes a key: what must never wait for a restart.
async fn revokes_a_key(fresh: &Fresh, number: u64) {
    let (keys, workspace) = (fresh.store.api_keys(), fresh.founding.workspace.id);
    let made = keys.create((fresh.key(number), None), act()).await.unwrap();
    assert!(keys.delete(workspace, made.row.id, None, act()).await.unwrap().row.revoked_unix_ms.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_are_refused_at_each_page_and_taken_once_there_is_room() {
    let fresh = sqlite::fresh().await;
    let mut refused = 0;
    for pages in 0..PAGES_MAX {
        let kept = fresh.store.records().record_count().await.unwrap();
        leave_room(&fresh.store, Some(pages)).await.unwrap();
        let result = fresh.store.record_sink().apply(batch(&fresh, kept..kept + 300)).await;
        leave_room(&fresh.store, None).await.unwrap();
        if let Err(error) = &result {
            refused += 1;
            assert!(error.to_string().contains("the disk under the database takes no write"), "{error}");
            assert!(error.to_string().contains("full"), "the log says why: {error}");
            assert_eq!(fresh.store.records().record_count().await.unwrap(), kept, "at {pages} pages");
            fresh.store.record_sink().apply(batch(&fresh, kept..kept + 300)).await.unwrap();
        }
        assert_eq!(fresh.store.records().record_count().await.unwrap(), kept + 300, "at {pages} pages");
        revokes_a_key(&fresh, 5_000 + u64::from(pages)).await;
        if result.is_ok() {
            assert!(refused >= 3, "a batch needs several pages: {refused}");
            return;
        }
    }
    panic!("a batch does not fit into {PAGES_MAX} pages");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_refused_at_each_page_and_made_once_there_is_room() {
    let fresh = sqlite::fresh().await;
    let workspace = fresh.founding.workspace.id;
    let metadata = || serde_json::json!({"text": "x".repeat(60_000)});
    let wide = |number| store::ProjectRow { metadata: metadata(), ..project(workspace, number) };
    for pages in 0..PAGES_MAX {
        let number = 100 + u64::from(pages);
        let version = fresh.store.feed().version().await.unwrap();
        leave_room(&fresh.store, Some(pages)).await.unwrap();
        let result = fresh.store.projects().create(wide(number), act()).await;
        leave_room(&fresh.store, None).await.unwrap();
        if result.is_ok() {
            assert!(pages >= 3, "the project needs several pages, not {pages}");
            return;
        }
        assert!(matches!(result, Err(StoreError::DiskRefuses(_))), "{result:?}");
        let message = result.unwrap_err().to_string();
        // Whoever logs it says why.
        assert!(message.contains("takes no write") && message.contains("full"), "{message}");
        assert_eq!(fresh.store.feed().version().await.unwrap(), version, "nothing is kept by half");
        fresh.store.projects().create(wide(number), act()).await.unwrap();
        revokes_a_key(&fresh, 5_000 + u64::from(pages)).await;
    }
    panic!("a project does not fit into {PAGES_MAX} pages");
}

/// A list's snapshot is a transaction, too: one that was abandoned must not reach the next reader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_was_left_inside_its_transaction_is_replaced() {
    let fresh = sqlite::fresh().await;
    let workspace = fresh.founding.workspace.id;
    for number in 0..40 {
        let reading = fresh.store.records().requests(workspace, Default::default(), store::Page::first(10));
        // Polled once and dropped, as when the caller hangs up.
        let _ = tokio::time::timeout(Duration::ZERO, reading).await;
        let taken = fresh.store.record_sink().apply(batch(&fresh, number * 10..number * 10 + 10)).await;
        taken.unwrap();
    }
    let page = store::Page::first(1_000);
    let listed = fresh.store.records().requests(workspace, Default::default(), page).await.unwrap();
    assert_eq!(listed.rows.len(), 400);
}
