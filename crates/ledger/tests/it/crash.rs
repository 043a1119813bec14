//! Property test: with any interleaving of tabs, and a crash or power loss at any operation and any byte,
//! every intent is in the books once.

use std::collections::{BTreeMap, BTreeSet};

use domain::{FaultClass, MeterRecord, Outcome};
use ledger::simulation::{SimulatedBooks, now};
use ledger::verify::recompute;
use ledger::{AttemptEnd, Durability, Tab, damage_notes};
use proptest::prelude::*;
use world::{DiskFault, Random, SeededRandom};

use crate::support::*;

/// One step of a process; numbers choose among the open tabs.
#[derive(Debug, Clone, Copy)]
enum Step {
    Open,
    Attempt(usize),
    Fail(usize),
    Checkpoint(usize),
    Close(usize),
    Drop(usize),
    Turn,
    Drain,
    Prepare,
    SinkFails,
    /// Written, not synced.
    Flush,
    /// An attempt whose turn ends before the sync.
    AttemptUnsynced(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    let which = || 0_usize..8;
    prop_oneof![
        4 => Just(Step::Open),
        5 => which().prop_map(Step::Attempt),
        1 => which().prop_map(Step::Fail),
        2 => which().prop_map(Step::Checkpoint),
        4 => which().prop_map(Step::Close),
        1 => which().prop_map(Step::Drop),
        3 => Just(Step::Turn),
        2 => Just(Step::Drain),
        1 => Just(Step::Prepare),
        1 => Just(Step::SinkFails),
        2 => Just(Step::Flush),
        3 => which().prop_map(Step::AttemptUnsynced),
    ]
}

/// What the process knows for certain, and what is true.
struct Life {
    durability: Durability,
    books: SimulatedBooks,
    tabs: Vec<(u64, Tab)>,
    next: u64,
    /// Intents that were acknowledged: an upstream may have been called.
    acknowledged: BTreeSet<u64>,
    closed: BTreeMap<u64, Outcome>,
    /// Closed, and a turn's write has followed.
    settled: BTreeSet<u64>,
}

impl Life {
    fn new(seed: u64, durability: Durability) -> Self {
        let mut books = SimulatedBooks::new(seed, durability);
        books.start().expect("a fresh disk");
        let (acknowledged, closed, settled) = Default::default();
        Self { durability, books, tabs: Vec::new(), next: 1, acknowledged, closed, settled }
    }

    fn pick(&mut self, which: usize) -> Option<usize> {
        (!self.tabs.is_empty()).then(|| which % self.tabs.len())
    }

    fn step(&mut self, step: Step) {
        self.books.clock.advance_us(100);
        match step {
            Step::Open => {
                let Some(journal) = self.books.journal() else { return };
                if let Ok(tab) = journal.open_tab(opening(self.next)) {
                    self.tabs.push((self.next, tab));
                }
                self.next += 1;
            }
            Step::Attempt(which) => {
                let Some(at) = self.pick(which) else { return };
                let (number, tab) = &mut self.tabs[at];
                if attempt(&self.books, tab, if *number % 2 == 0 { byok() } else { managed() }) {
                    self.acknowledged.insert(*number);
                }
            }
            Step::Fail(which) => {
                let Some(at) = self.pick(which) else { return };
                let end = AttemptEnd { fault: Some(FaultClass::Upstream), ..AttemptEnd::default() };
                self.tabs[at].1.end_attempt(1, end);
            }
            Step::Checkpoint(which) => {
                let Some(at) = self.pick(which) else { return };
                self.tabs[at].1.checkpoint(usage(50, 5), 4_000);
            }
            Step::Close(which) => {
                let Some(at) = self.pick(which) else { return };
                let (number, tab) = self.tabs.remove(at);
                tab.close(completed(usage(100, 20)));
                self.closed.insert(number, Outcome::Completed);
            }
            Step::Drop(which) => {
                let Some(at) = self.pick(which) else { return };
                let (number, tab) = self.tabs.remove(at);
                drop(tab);
                self.closed.insert(number, Outcome::ClientCancelled);
            }
            Step::Turn => {
                if self.books.turn().is_ok() {
                    self.settled.extend(self.closed.keys());
                }
            }
            Step::Drain => drop(self.books.drain()),
            Step::Prepare => {
                drop(self.books.prepare());
                if self.durability == Durability::Written {
                    drop(self.books.sync());
                }
            }
            Step::Flush => self.flush(),
            Step::AttemptUnsynced(which) => {
                let Some(at) = self.pick(which) else { return };
                let Some(journal) = self.books.journal() else { return };
                let (number, tab) = &mut self.tabs[at];
                let mut future = Box::pin(tab.start_attempt(intent(byok())));
                let first = now(future.as_mut());
                let _failed = journal.flush_now();
                if first.is_none() && matches!(now(future.as_mut()), Some(Ok(_))) {
                    self.acknowledged.insert(*number);
                }
            }
            Step::SinkFails => self.books.sink.fail_next(1),
        }
    }

    fn flush(&mut self) {
        let Some(journal) = self.books.journal() else { return };
        let was_written = journal.flush_now().is_ok();
        if was_written && self.durability == Durability::Written {
            self.settled.extend(self.closed.keys());
        }
    }

    /// All clients disconnect.
    fn leave_all(&mut self) {
        self.books.sink.fail_next(0);
        self.closed.extend(self.tabs.drain(..).map(|(number, _)| (number, Outcome::ClientCancelled)));
    }

    /// Whatever a kill, a full disk or a power loss leaves, nothing that was marked is missing.
    fn start_in_the_end(&mut self) {
        self.books.sink.fail_next(0);
        let report = loop {
            match self.books.start() {
                Ok(report) => break report,
                Err(_) => self.books.revive(),
            }
        };
        assert_eq!((report.entries_missing, report.records_missing), (0, 0));
    }

    /// A kill and a full disk are no damage.
    fn is_undamaged(&self) -> bool {
        damage_notes(&self.books.disk, self.books.dir()).is_ok_and(|notes| notes.is_empty())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for number in self.acknowledged.iter().chain(&self.settled) {
            prop_assert!(self.books.sink.record(trace(*number)).is_some(), "{} is lost", number);
        }
        let records: Vec<MeterRecord> = self.books.sink.records();
        for record in &records {
            let number = (1..self.next).find(|number| trace(*number) == record.trace);
            prop_assert!(number.is_some(), "nobody opened {}", record.trace);
            let number = number.unwrap_or_default();
            let closed = self.closed.get(&number);
            if self.settled.contains(&number) {
                prop_assert_eq!(Some(&record.outcome), closed);
            } else {
                prop_assert!(record.outcome == Outcome::Interrupted || Some(&record.outcome) == closed);
            }
        }
        prop_assert_eq!(recompute(&records).mismatch_count, 0);
        Ok(())
    }

    /// Afterwards another process handles the rest and shuts down gracefully, and the next has nothing to
    /// recover.
    fn check_that_it_goes_on(&mut self) -> Result<(), TestCaseError> {
        let before = self.books.sink.len();
        let first = self.next;
        exchanges(&self.books, first..first + 40);
        self.next += 40;
        prop_assert!(self.books.stop().is_ok());
        prop_assert_eq!(self.books.sink.len(), before + 40);
        let report = self.books.start().map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(report.segments, 0);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn killed_anywhere_every_intent_is_in_the_books_once(
        seed in any::<u64>(), steps in proptest::collection::vec(any_step(), 1..120),
        nth in 1_u64..120, torn in 0_u64..900, again in proptest::option::of((1_u64..25, 0_u64..80)),
    ) {
        let mut life = Life::new(seed, Durability::Written);
        life.books.disk.fail_at(nth, DiskFault::Die(torn));
        for step in steps {
            life.step(step);
            if life.books.disk.is_dead() {
                break;
            }
        }
        crash(&mut life.books, std::mem::take(&mut life.tabs));
        if let Some((nth, torn)) = again {
            life.books.disk.fail_at(nth, DiskFault::Die(torn));
        }
        life.start_in_the_end();
        if life.books.disk.fault_is_pending() {
            life.books.revive();
            life.start_in_the_end();
        }
        life.check()?;
        prop_assert_eq!(life.books.sink.ignored_count(), 0, "something was applied twice");
        prop_assert!(life.is_undamaged());
        life.check_that_it_goes_on()?;
    }

    #[test]
    fn without_power_every_synced_intent_is_in_the_books_once(
        seed in any::<u64>(), steps in proptest::collection::vec(any_step(), 1..120), survival in 0_u64..=4,
        again in proptest::option::of(1_u64..25),
    ) {
        let mut life = Life::new(seed, Durability::Synced);
        steps.into_iter().for_each(|step| life.step(step));
        let random = SeededRandom::new(seed);
        life.books.kill();
        life.tabs.clear();
        life.books.lose_power(|_| random.below(4) < survival);
        if let Some(nth) = again {
            life.books.disk.fail_at(nth, DiskFault::Die(0));
            if life.books.start().is_err() {
                life.books.lose_power(|_| random.below(4) < survival);
            } else {
                life.books.revive();
            }
        }
        life.start_in_the_end();
        life.check()?;
        life.check_that_it_goes_on()?;
    }
}

/// Every disk operation of a run with every step in it fails in turn, in every way, until a whole run passes without a failure.
#[test]
fn each_disk_operation_may_fail() {
    use DiskFault::{Die, Error, NoSpace, Short};
    use Step::{Attempt, Checkpoint, Close, Drain, Drop, Fail, Open, Prepare, SinkFails, Turn};
    let steps = [
        [Open, Attempt(0), Open, Attempt(1), Fail(1), Prepare, Attempt(1), Checkpoint(0), Turn].as_slice(),
        &[Close(0), Turn, Drain, Open, Open, Attempt(1), Attempt(2), Drop(1), Turn, SinkFails, Drain, Drain],
        &[Close(0), Turn, Drain],
    ]
    .concat();
    for fault in [Error, NoSpace, Short(0), Short(100), Die(70)] {
        for nth in 1.. {
            let mut life = Life::new(nth, Durability::Synced);
            life.books.disk.fail_at(nth, fault);
            // Several rounds, so that segments are filled, recycled and reused.
            steps.iter().cycle().take(steps.len() * 5).for_each(|step| life.step(*step));
            if !life.books.disk.is_dead() {
                life.leave_all();
                let stopped = life.books.stop();
                let is_sound = stopped.is_ok() || !life.books.disk.fault_is_pending();
                assert!(is_sound, "{fault:?} at {nth}: {stopped:?}");
            }
            let was_clean = life.books.disk.fault_is_pending();
            crash(&mut life.books, std::mem::take(&mut life.tabs));
            life.start_in_the_end();
            life.check().unwrap_or_else(|error| panic!("{fault:?} at {nth}: {error}"));
            assert_eq!(life.books.sink.ignored_count(), 0, "{fault:?} at {nth}");
            assert!(life.is_undamaged(), "{fault:?} at {nth}");
            if was_clean {
                break;
            }
        }
    }
}

/// A write torn at every byte: complete entries count, the torn one is ignored.
#[test]
fn a_segment_may_be_cut_at_every_byte() {
    let mut books = started(1);
    exchanges(&books, 1..=3);
    let open_tab = tried(&books, 4, byok());
    crash(&mut books, open_tab);
    let path = books.disk.files()[0].clone();
    let bytes = books.disk.contents(&path).unwrap();
    // The last entry may end in zeros.
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 64;

    for (filler, keeps_length) in [(0, true), (0xA5, true), (0, false)] {
        let mut most = 0;
        for cut in 0..=end {
            let length = if keeps_length { bytes.len() } else { cut };
            let mut torn = bytes.clone();
            torn[cut..].fill(filler);
            torn.truncate(length);
            let mut books = SimulatedBooks::new(7, Durability::Written);
            books.disk.put(&path, torn);
            let report = books.start().expect("torn isn't an error");
            let found = books.sink.len() as u64;
            assert_eq!(report.applied + report.interrupted, found);
            assert!((most..=most + 1).contains(&found), "{found} records at {cut}, {most} before");
            most = found;
        }
        assert_eq!(most, 4);
    }
}

/// Whatever is on the disk, recovery ends without a panic.
#[test]
fn noise_is_no_journal() {
    let random = SeededRandom::new(11);
    for round in 0..300_u64 {
        let mut books = started(round);
        exchanges(&books, 1..=5);
        crash(&mut books, ());
        let path = books.disk.files()[0].clone();
        let mut bytes = books.disk.contents(&path).unwrap();
        for _ in 0..=random.below(20) {
            let at = random.below(3_000) as usize;
            bytes[at] ^= 1 << random.below(8);
        }
        books.disk.put(&path, bytes);
        books.start().unwrap();
        assert!(books.sink.len() <= 5);
    }
}

/// A tab's newer state is written but not synced when the drainer looks for segments to free: the older one,
/// which is synced and was acknowledged, stays until the newer is synced too.
#[test]
fn a_state_in_the_page_cache_frees_no_segment() {
    use Step::{Attempt, AttemptUnsynced, Close, Drain, Drop, Fail, Flush, Open};
    let steps = [
        [Open, Attempt(0), AttemptUnsynced(0), Attempt(0), Attempt(0), Attempt(0), Close(0), Open].as_slice(),
        &[Attempt(0), Drop(0), Open, Open, Attempt(5), Open, Attempt(0), Open, Attempt(5), Close(2)],
        &[Close(2), Open, AttemptUnsynced(1), Close(0), Attempt(0), Attempt(0), AttemptUnsynced(0)],
        &[AttemptUnsynced(0), Flush, Attempt(5), Fail(0), Attempt(6), AttemptUnsynced(1), Drain],
    ];
    let mut life = Life::new(550_241_058_283_063_619, Durability::Synced);
    steps.concat().into_iter().for_each(|step| life.step(step));
    life.books.kill();
    life.tabs.clear();
    life.books.lose_power(|_| false);
    life.start_in_the_end();
    life.check().unwrap();
}
