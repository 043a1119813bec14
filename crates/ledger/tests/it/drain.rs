//! The drainer: every record once, whatever the store does, and segments are reused.

use std::time::Duration;

use domain::Outcome;
use ledger::frame::{HEADER_BYTES, SegmentHeader, parse_records};
use ledger::simulation::{SMALL_SEGMENT_BYTES, SimulatedBooks};

use crate::support::*;

fn live_segments(books: &SimulatedBooks) -> usize {
    let headers = books.disk.files().into_iter().filter_map(|path| books.disk.contents(&path));
    headers.filter_map(|bytes| SegmentHeader::decode(&bytes)).filter(|header| !header.free).count()
}

#[test]
fn a_settled_record_is_in_the_sink_after_one_pass() {
    let books = started(1);
    exchange(&books, 1);
    let step = books.drain().unwrap();
    assert_eq!((step.records, step.damaged_bytes), (1, 0));
    assert_eq!(books.drain().unwrap().records, 0, "and only once");
    assert_eq!(books.sink.ignored_count(), 0);
}

#[test]
fn a_failing_store_is_asked_again_and_gets_everything() {
    let books = started(2);
    exchanges(&books, 1..=3);
    books.sink.fail_next(2);
    assert!(books.drain().is_err());
    exchange(&books, 4);
    assert!(books.drain().is_err());
    assert_eq!(books.drain().unwrap().records, 4);
    assert_eq!((books.sink.len(), books.sink.ignored_count()), (4, 0));
}

#[test]
fn draining_between_the_writes_of_a_tab_sees_it_whole() {
    let books = started(3);
    let mut tab = open(&books, 1);
    assert_eq!(books.drain().unwrap().records, 0);
    assert!(attempt(&books, &mut tab, byok()));
    assert_eq!(books.drain().unwrap().records, 0);
    tab.checkpoint(usage(10, 1), 100);
    books.turn().unwrap();
    assert_eq!(books.drain().unwrap().records, 0);
    tab.close(completed(usage(10, 2)));
    assert_eq!(books.drain().unwrap().records, 0, "appended is not written");
    books.turn().unwrap();
    assert_eq!(books.drain().unwrap().records, 1);
    assert_eq!(books.sink.record(trace(1)).unwrap().outcome, Outcome::Completed);
}

#[test]
fn segments_are_used_again_and_their_old_bytes_never_pass() {
    let books = started(4);
    let mut recycled = 0;
    for number in 1..=2_000 {
        exchange(&books, number);
        if number % 10 == 0 {
            recycled += books.drain().unwrap().segments_recycled;
        }
    }
    assert!(recycled > 100, "{recycled}");
    assert!(books.disk.files().len() <= 6, "{} files", books.disk.files().len());
    assert_eq!((books.sink.len(), books.sink.ignored_count()), (2_000, 0));
    // After the current end there are complete frames of an earlier use; with this use's seed they don't
    // count.
    let current = journal(&books).current_segment();
    let (header, bytes) = books
        .disk
        .files()
        .into_iter()
        .filter_map(|path| books.disk.contents(&path))
        .filter_map(|bytes| Some((SegmentHeader::decode(&bytes)?, bytes)))
        .find(|(header, _)| header.number == current)
        .unwrap();
    let body = &bytes[HEADER_BYTES..];
    let mut frames = parse_records(body, header.seed());
    frames.by_ref().for_each(drop);
    assert!(frames.position() < body.len());
    for start in frames.position()..body.len() {
        assert!(parse_records(&body[start..], header.seed()).next().is_none());
    }
}

#[test]
fn an_open_tab_keeps_its_segment_until_a_checkpoint_moves_it_on() {
    let books = started(5);
    let mut tab = tried(&books, 1, byok());
    let first = journal(&books).current_segment();
    let mut number = 2;
    while journal(&books).current_segment() < first + 3 {
        exchange(&books, number);
        number += 1;
    }
    assert_eq!(books.drain().unwrap().segments_recycled, 0, "the oldest is needed, so all later ones stay");
    tab.checkpoint(usage(100, 10), 1_000);
    books.turn().unwrap();
    assert_eq!(books.drain().unwrap().segments_recycled, 3);
    drop(tab);
    books.turn().unwrap();
    books.drain().unwrap();
    assert_eq!(books.sink.record(trace(1)).unwrap().usage, usage(100, 10));
}

#[test]
fn a_graceful_end_leaves_nothing_to_recover() {
    let mut books = started(6);
    exchanges(&books, 1..=50);
    books.stop().unwrap();
    assert_eq!((books.sink.len(), live_segments(&books)), (50, 0));
    assert_eq!(books.start().unwrap(), ledger::RecoveryReport::default());
    assert!(books.disk.used_bytes() <= 5 * SMALL_SEGMENT_BYTES);
}

#[test]
fn a_tab_that_outlives_the_graceful_end_is_interrupted_at_the_next_start() {
    let mut books = started(7);
    let tab = tried(&books, 1, byok());
    books.stop().unwrap();
    crash(&mut books, tab);
    assert_eq!(books.start().unwrap().interrupted, 1);
    assert_eq!(books.sink.record(trace(1)).unwrap().outcome, Outcome::Interrupted);
}

#[test]
fn it_is_known_how_long_the_store_has_taken_nothing() {
    let books = started(1);
    exchange(&books, 1);
    assert_eq!(books.failing_for(), Duration::ZERO);
    books.sink.fail_next(2);
    books.drain().unwrap_err();
    books.clock.advance_us(45_000_000);
    books.drain().unwrap_err();
    books.clock.advance_us(30_000_000);
    assert_eq!(books.failing_for(), Duration::from_secs(75), "from the first pass that failed");
    books.drain().unwrap();
    assert_eq!(books.failing_for(), Duration::ZERO);
}
