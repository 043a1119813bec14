//! The journal as in production: with its own flusher, sync and preparing threads, on real files.

use std::rc::Rc;
use std::sync::Arc;

use domain::limits::JOURNAL_SEGMENT_BYTES;
use ledger::simulation::MemorySink;
use ledger::{Drainer, Durability, Journal, JournalSettings, JournalShared, recover};
use tokio::task::LocalSet;
use world::World;

use crate::support::*;

struct Running {
    journal: Rc<Journal>,
    shared: Arc<JournalShared>,
    drainer: Arc<Drainer>,
    sink: Arc<MemorySink>,
}

fn run(dir: &std::path::Path, settings: JournalSettings) -> Running {
    let world = World::system();
    let shared = JournalShared::start(&world, settings).unwrap();
    let journal = Journal::open(dir, 0, world, settings, Arc::clone(&shared)).unwrap();
    let sink = Arc::new(MemorySink::default());
    let drainer = Drainer::new(Arc::clone(&shared), Arc::<MemorySink>::clone(&sink));
    Running { journal, shared, drainer, sink }
}

fn on_one_core<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, future)
}

async fn trip(journal: Rc<Journal>, number: u64) {
    let mut tab = journal.open_tab(opening(number)).unwrap();
    tab.start_attempt(intent(byok())).await.unwrap();
    tokio::task::yield_now().await;
    tab.close(completed(usage(100, 20)));
}

#[test]
fn many_exchanges_at_once_are_drained_while_they_are_written() {
    const EXCHANGES: u64 = 4_000;
    let dir = tempfile::tempdir().unwrap();
    let (segment_bytes, first_segment_bytes) = (256 * 1024, 64 * 1024);
    let settings = JournalSettings { segment_bytes, first_segment_bytes, ..JournalSettings::default() };
    on_one_core(async {
        let running = run(&dir.path().join("journal"), settings);
        let drainer = Arc::clone(&running.drainer);
        let follower = tokio::task::spawn_local(async move { drainer.run().await });
        for wave in 0..EXCHANGES / 100 {
            let start = |n: u64| tokio::task::spawn_local(trip(Rc::clone(&running.journal), wave * 100 + n));
            for trip in (0..100).map(start).collect::<Vec<_>>() {
                trip.await.unwrap();
            }
            running.drainer.drain_once().await.unwrap();
        }
        running.journal.close().unwrap();
        running.drainer.stop();
        follower.await.unwrap();
        running.drainer.drain_all().await.unwrap();
        assert_eq!((running.sink.len() as u64, running.sink.ignored_count()), (EXCHANGES, 0));
        assert_eq!(running.journal.reserved_bytes(), 0);
        running.shared.stop();
        let report = recover(&dir.path().join("journal"), &World::system(), &*running.sink).await.unwrap();
        assert_eq!(report.segments, 0, "a graceful end leaves nothing");
    });
}

#[test]
fn synced_attempts_are_answered_by_the_sync_thread() {
    let dir = tempfile::tempdir().unwrap();
    let settings = JournalSettings { durability: Durability::Synced, ..JournalSettings::default() };
    on_one_core(async {
        let running = run(&dir.path().join("journal"), settings);
        for number in 0..20 {
            trip(Rc::clone(&running.journal), number).await;
        }
        running.journal.close().unwrap();
        running.drainer.drain_all().await.unwrap();
        assert_eq!(running.sink.len(), 20);
    });
}

#[test]
fn the_first_segment_does_not_delay_the_start() {
    let dir = tempfile::tempdir().unwrap();
    on_one_core(async {
        let running = run(&dir.path().join("journal"), JournalSettings::default());
        let written: u64 = std::fs::read_dir(dir.path().join("journal/core-0"))
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(written < JOURNAL_SEGMENT_BYTES, "nothing is prepared before there is work");
        drop(running);
    });
}
