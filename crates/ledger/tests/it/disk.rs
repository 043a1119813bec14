//! A full or failing disk: new work is refused, open work ends, and everything recovers without intervention.

use domain::FaultClass;
use ledger::Tab;
use ledger::simulation::{SMALL_SEGMENT_BYTES, now};
use world::DiskFault;

use crate::support::*;

/// Opens tabs until one is refused; their attempts are made where that is allowed.
fn fill(books: &ledger::simulation::SimulatedBooks, first: u64) -> (Vec<Tab>, Box<domain::Fault>) {
    let mut tabs = Vec::new();
    for number in first.. {
        match journal(books).open_tab(opening(number)) {
            Ok(mut tab) => {
                let _refused = attempt(books, &mut tab, byok());
                tabs.push(tab);
            }
            Err(fault) => return (tabs, fault),
        }
    }
    unreachable!("the disk has an end")
}

#[test]
fn a_full_disk_refuses_new_tabs_and_lets_open_ones_end() {
    let books = started(1);
    books.disk.set_capacity(Some(4 * SMALL_SEGMENT_BYTES));
    let (tabs, fault) = fill(&books, 1);
    assert!(tabs.len() > 10, "{}", tabs.len());
    assert_eq!((fault.class, fault.code), (FaultClass::Unavailable, "storage_full"));
    assert_eq!(fault.retry_after_ms, Some(1_000));
    assert!(fault.fix.is_some());

    let count = tabs.len();
    for tab in tabs {
        tab.close(completed(usage(10, 1)));
    }
    books.turn().unwrap();
    assert!(!journal(&books).is_failing());
    books.drain().unwrap();
    assert_eq!(books.sink.len(), count);
    assert_eq!(journal(&books).reserved_bytes(), 0);
    // Drained segments are free space again, without any from outside.
    exchange(&books, 10_000);
}

#[test]
fn space_that_returns_is_found() {
    let books = started(2);
    books.disk.set_capacity(Some(2 * SMALL_SEGMENT_BYTES));
    let (tabs, _) = fill(&books, 1);
    books.disk.set_capacity(None);
    books.clock.advance_us(1_000_000);
    assert!(journal(&books).open_tab(opening(9_000)).is_ok());
    drop(tabs);
    books.turn().unwrap();
}

#[test]
fn a_disk_that_refuses_writes_refuses_attempts_and_keeps_what_was_appended() {
    let books = started(3);
    let early = tried(&books, 1, byok());
    books.disk.fail_writes(Some(DiskFault::NoSpace));

    let mut late = open(&books, 2);
    let mut future = Box::pin(late.start_attempt(intent(byok())));
    assert!(now(future.as_mut()).is_none());
    assert!(books.turn().is_err());
    let refused = now(future.as_mut()).expect("told at once").unwrap_err();
    assert_eq!(refused.code, "storage_full");
    drop(future);
    assert!(journal(&books).is_failing());
    assert_eq!(journal(&books).open_tab(opening(3)).unwrap_err().code, "storage_full");
    early.close(completed(usage(100, 20)));
    drop(late);
    assert!(books.turn().is_err());

    books.disk.fail_writes(None);
    books.turn().unwrap();
    assert!(!journal(&books).is_failing());
    books.drain().unwrap();
    assert_eq!(books.sink.len(), 2);
    let late = books.sink.record(trace(2)).unwrap();
    assert_eq!(late.attempts[0].fault, Some(FaultClass::Unavailable), "it never left");
    assert_eq!(late.usage.prompt_total(), 0);
    exchange(&books, 4);
}

#[test]
fn a_short_write_is_written_again_whole() {
    let books = started(4);
    books.disk.fail_at(1, DiskFault::Short(100));
    let mut tab = open(&books, 1);
    assert!(!attempt(&books, &mut tab, byok()));
    tab.close(completed(usage(1, 1)));
    books.turn().unwrap();
    assert_eq!(books.drain().unwrap().records, 1);
}

#[test]
fn a_disk_that_refuses_to_sync_refuses_new_tabs_until_it_syncs() {
    let books = started(5);
    exchange(&books, 1);
    books.disk.fail_syncs(true);
    assert!(books.sync().is_err());
    assert_eq!(journal(&books).open_tab(opening(2)).unwrap_err().code, "storage_full");
    books.disk.fail_syncs(false);
    books.sync().unwrap();
    exchange(&books, 3);
}

#[test]
fn a_closed_journal_opens_no_more_tabs() {
    let books = started(4);
    let journal = journal(&books);
    journal.close().unwrap();
    let fault = journal.open_tab(opening(1)).unwrap_err();
    assert_eq!((fault.class, fault.code), (FaultClass::Unavailable, "shutting_down"));
    assert_eq!((&*fault.message, fault.retry_after_ms), ("The gateway is shutting down.", Some(1_000)));
}
