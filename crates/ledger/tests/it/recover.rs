//! Recovery: what it finds, what it skips, how fast it is.

use std::time::{Duration, Instant};

use domain::{Outcome, UsageSource};
use ledger::frame::{FORMAT_VERSION, SegmentHeader};
use ledger::simulation::SimulatedBooks;
use ledger::{Durability, RecoveryError};

use crate::support::*;

#[test]
fn an_open_stream_is_exact_to_its_last_checkpoint() {
    let mut books = started(1);
    let mut tab = tried(&books, 1, managed());
    tab.timeline_mut().upstream_head_us = 1_500;
    tab.checkpoint(usage(100, 40), 64_000);
    tab.checkpoint(usage(100, 80), 128_000);
    books.turn().unwrap();
    tab.checkpoint(usage(100, 120), 192_000);
    crash(&mut books, tab);
    let report = books.start().unwrap();
    assert_eq!((report.applied, report.interrupted), (0, 1));
    let record = books.sink.record(trace(1)).unwrap();
    assert_eq!((record.outcome, record.status), (Outcome::Interrupted, 200));
    assert_eq!((record.usage, record.bytes_out), (usage(100, 80), 128_000));
    assert_eq!(record.timeline.upstream_head_us, 1_500);
    assert_eq!(record.charge.cost.0, 69_300, "charged by the same arithmetic");
    assert_eq!(record.fault_code.as_deref(), Some("interrupted"));
}

#[test]
fn an_attempt_without_a_checkpoint_is_estimated() {
    let mut books = started(2);
    let tab = tried(&books, 1, byok());
    crash(&mut books, tab);
    books.start().unwrap();
    let record = books.sink.record(trace(1)).unwrap();
    assert_eq!((record.usage.input, record.usage.source), (100, UsageSource::Estimate));
    assert_eq!(record.status, 0, "the client was sent nothing");
}

#[test]
fn what_was_drained_is_not_applied_again() {
    let mut books = started(3);
    exchanges(&books, 1..=5);
    books.drain().unwrap();
    exchanges(&books, 6..=8);
    crash(&mut books, ());
    let report = books.start().unwrap();
    assert_eq!((report.applied, report.skipped, report.interrupted), (3, 5, 0));
    assert_eq!((books.sink.len(), books.sink.ignored_count()), (8, 0));
}

#[test]
fn a_journal_that_was_recovered_has_nothing_left() {
    let mut books = started(4);
    exchange(&books, 1);
    crash(&mut books, ());
    assert_eq!(books.start().unwrap().applied, 1);
    crash(&mut books, ());
    assert_eq!(books.start().unwrap().entries, 0);
    assert_eq!(books.sink.len(), 1);
}

#[test]
fn a_new_directory_beside_an_old_store_is_not_taken_for_the_old_one() {
    let mut books = started(5);
    exchanges(&books, 1..=20);
    books.stop().unwrap();
    let mut fresh = SimulatedBooks::new(99, Durability::Written);
    fresh.sink = std::sync::Arc::clone(&books.sink);
    fresh.start().unwrap();
    exchange(&fresh, 21);
    crash(&mut fresh, ());
    assert_eq!(fresh.start().unwrap().applied, 1, "its positions are lower, but of another epoch");
}

#[test]
fn another_version_is_refused_and_says_what_to_do() {
    let mut books = SimulatedBooks::new(6, Durability::Written);
    let header = SegmentHeader { version: FORMAT_VERSION + 1, core: 0, number: 1, epoch: 5, free: false };
    books.disk.put(&books.dir().join("core-0/00000000.seg"), header.encode().to_vec());
    let refused = books.start().unwrap_err();
    assert!(matches!(refused, RecoveryError::Format { version: 4, .. }));
    assert!(refused.to_string().contains("then upgrade"));
}

#[test]
fn a_failing_store_stops_the_start_and_loses_nothing() {
    let mut books = started(7);
    exchange(&books, 1);
    crash(&mut books, ());
    books.sink.fail_next(1);
    assert!(matches!(books.start(), Err(RecoveryError::Sink(_))));
    assert_eq!(books.start().unwrap().applied, 1);
}

#[test]
fn other_cores_of_an_earlier_run_are_recovered_too() {
    let mut books = started(8);
    exchange(&books, 1);
    crash(&mut books, ());
    let path = books.disk.files()[0].clone();
    let bytes = books.disk.contents(&path).unwrap();
    let mut elsewhere = SimulatedBooks::new(9, Durability::Written);
    elsewhere.disk.put(&elsewhere.dir().join("core-17/00000000.seg"), bytes);
    assert_eq!(elsewhere.start().unwrap().applied, 1);
}

/// The bound on start-up: a million records in two seconds in an optimised build. A debug build is some fifty
/// times slower, and is held to that.
#[test]
fn many_records_are_recovered_in_the_time_of_their_build() {
    const RECORDS: u64 = if cfg!(debug_assertions) { 20_000 } else { 1_000_000 };
    const WITHIN: Duration =
        if cfg!(debug_assertions) { Duration::from_secs(10) } else { Duration::from_secs(2) };
    let mut books = started(10);
    exchanges(&books, 1..=RECORDS);
    crash(&mut books, ());
    let start = Instant::now();
    let report = books.start().unwrap();
    let took = start.elapsed();
    assert_eq!((report.applied, report.entries), (RECORDS, 2 * RECORDS));
    assert!(took < WITHIN, "{RECORDS} records in {took:?}");
}
