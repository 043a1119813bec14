//! Damaged journals: what can be read is booked once, and what is missing is known.

use std::path::{Path, PathBuf};

use domain::Outcome;
use ledger::frame::{HEADER_BYTES, SegmentHeader, parse_records};
use ledger::simulation::SimulatedBooks;
use ledger::{JournalDamage, RecoveryReport, damage_dir, damage_notes};
use proptest::prelude::*;
use world::{Disk, Random, SeededRandom};

use crate::support::*;

/// So many that several segments are needed for them.
const EXCHANGES: u64 = 60;

fn segments(books: &SimulatedBooks) -> Vec<PathBuf> {
    let mut files = books.disk.files();
    files.retain(|path| path.starts_with(books.dir()));
    files
}

/// A process that made exchanges, of which the first were drained, and was killed once the rest was synced.
fn killed(seed: u64, drained: u64) -> SimulatedBooks {
    let mut books = started(seed);
    for number in 1..=EXCHANGES {
        exchange(&books, number);
        if number == drained {
            books.drain().unwrap();
        }
    }
    books.sync().unwrap();
    crash(&mut books, ());
    books
}

fn notes(books: &SimulatedBooks) -> Vec<JournalDamage> {
    damage_notes(&books.disk, books.dir()).unwrap()
}

/// How many exchanges are booked as they ended.
fn completed(books: &SimulatedBooks) -> u64 {
    books.sink.records().iter().filter(|record| record.outcome == Outcome::Completed).count() as u64
}

/// Starts, and checks that nothing is lost silently, and that the next start finds nothing more.
fn start_damaged(books: &mut SimulatedBooks) -> RecoveryReport {
    let report = books.start().unwrap();
    assert_eq!(completed(books) + report.records_missing, EXCHANGES, "{report:?}");
    let found = notes(books);
    assert_eq!(found.len() as u64, report.damaged);
    for damage in &found {
        assert_eq!(damage.entries_missing, report.entries_missing);
        assert_eq!(damage.records_missing, report.records_missing);
    }
    let booked = books.sink.len();
    exchange(books, EXCHANGES + 1);
    crash(books, ());
    let again = books.start().unwrap();
    assert_eq!((again.damaged, again.applied), (0, 1), "{again:?}");
    assert_eq!((notes(books), books.sink.len()), (found, booked + 1), "it is noted until it is removed");
    report
}

/// Where the frames of a segment begin.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let header = SegmentHeader::decode(bytes).unwrap();
    let ends = parse_records(&bytes[HEADER_BYTES..], header.seed()).map(|raw| HEADER_BYTES + raw.end);
    std::iter::once(HEADER_BYTES).chain(ends).collect()
}

type Harm = fn(&mut Vec<u8>);

#[test]
fn each_kind_of_damage_is_counted_and_kept_aside() {
    let middle: Harm = |bytes| {
        let at = frames(bytes)[3] + 20;
        bytes[at..at + 8].iter_mut().for_each(|byte| *byte ^= 0x55);
    };
    let length: Harm = |bytes| {
        let at = frames(bytes)[3];
        bytes[at + 1] ^= 0x10;
    };
    let last: Harm = |bytes| {
        let starts = frames(bytes);
        bytes[starts[starts.len() - 2]..].fill(0);
    };
    let noise: Harm = |bytes| {
        let random = SeededRandom::new(3);
        bytes.iter_mut().for_each(|byte| *byte = u8::try_from(random.below(256)).unwrap());
    };
    // JournalDamage, whether something of the segment is found, whether there is a file to keep.
    let kinds: [(&str, Harm, bool, bool); 6] = [
        ("eight bytes in the middle", middle, true, true),
        ("the length of a frame", length, true, true),
        ("the last frame", last, true, true),
        ("the header", |bytes| bytes[10] ^= 1, true, true),
        ("noise", noise, false, true),
        ("zeros", |bytes| bytes.fill(0), false, false),
    ];
    for (name, harm, is_found, is_kept) in kinds {
        for which in [0, 1, 2] {
            let mut books = killed(1, 0);
            let path = segments(&books)[which].clone();
            let mut bytes = books.disk.contents(&path).unwrap();
            harm(&mut bytes);
            books.disk.put(&path, bytes.clone());
            let report = start_damaged(&mut books);
            assert_eq!(report.damaged, 1, "{name} in {which}");
            assert_eq!(report.entries_missing == 0, name == "the header", "{name} in {which}: {report:?}");
            assert_eq!(notes(&books)[0].gone.is_empty(), is_found, "{name}");
            let aside =
                books.disk.files().into_iter().filter(|path| path.starts_with(damage_dir(books.dir())));
            let aside = aside.filter_map(|path| books.disk.contents(&path)).any(|kept| kept == bytes);
            assert_eq!(aside, is_kept, "{name} in {which}");
        }
    }
}

#[test]
fn a_journal_that_is_emptied_or_removed_is_missed() {
    let harms: [fn(&SimulatedBooks, &Path); 2] =
        [|books, path| books.disk.put(path, Vec::new()), |books, path| books.disk.remove(path).unwrap()];
    for harm in harms {
        for drained in [0, 20] {
            let mut books = killed(2, drained);
            harm(&books, &segments(&books)[0]);
            let report = start_damaged(&mut books);
            assert!(report.damaged == 1 && report.entries_missing > 0, "{report:?}");

            let mut books = killed(2, drained);
            segments(&books).iter().for_each(|path| harm(&books, path));
            let report = start_damaged(&mut books);
            assert_eq!((report.damaged, report.records_missing), (1, EXCHANGES - drained));
        }
    }
}

#[test]
fn a_journal_without_its_mark_is_read_as_far_as_it_goes() {
    let mut books = killed(3, 0);
    books.disk.remove(Path::new("/data/journal-marks/core-0")).unwrap();
    let path = segments(&books)[0].clone();
    let mut bytes = books.disk.contents(&path).unwrap();
    let at = frames(&bytes)[4] + 20;
    bytes[at] ^= 1;
    books.disk.put(&path, bytes);
    let report = books.start().unwrap();
    assert_eq!((report.damaged, report.entries), (0, 2 * EXCHANGES - 1), "it may be a copy");
    assert_eq!(books.sink.len() as u64, EXCHANGES);
    assert_eq!(notes(&books), []);
}

#[test]
fn a_mark_that_an_older_version_left_behind_says_nothing() {
    let mut books = killed(6, 0);
    let path = Path::new("/data/journal-marks/core-0");
    let mark = books.disk.contents(path).unwrap();
    // What such a version does.
    books.disk.remove(path).unwrap();
    books.start().unwrap();
    books.stop().unwrap();
    books.revive();
    books.disk.put(path, mark);
    assert_eq!(start_damaged(&mut books).damaged, 0);
}

#[test]
fn an_unreadable_mark_is_damage_once() {
    let mut books = killed(4, 0);
    let path = Path::new("/data/journal-marks/core-0");
    let mut bytes = books.disk.contents(path).unwrap();
    bytes.iter_mut().for_each(|byte| *byte ^= 0x3c);
    books.disk.put(path, bytes);
    assert_eq!(start_damaged(&mut books).damaged, 1);
}

#[test]
fn damage_under_a_running_process_is_skipped_noted_and_told_at_the_next_start() {
    for graceful in [true, false] {
        let mut books = started(5);
        exchanges(&books, 1..=EXCHANGES);
        let path = segments(&books)[1].clone();
        let bytes = books.disk.contents(&path).unwrap();
        // A settled record, since each exchange writes its state first.
        let at = frames(&bytes)[5] + 20;
        books.disk.open(&path).unwrap().write_at(&[bytes[at] ^ 1], at as u64).unwrap();
        let lost = u64::from(bytes[frames(&bytes)[5] + 8] == 3);
        let step = books.drain().unwrap();
        assert_eq!(step.records, EXCHANGES - lost, "what is behind it is booked");
        assert!(step.damaged_bytes > 0);
        assert_eq!((notes(&books).len(), notes(&books)[0].entries_missing), (1, 1));
        if graceful {
            books.stop().unwrap();
        } else {
            books.sync().unwrap();
            books.kill();
        }
        books.revive();
        let report = books.start().unwrap();
        assert_eq!(report.records_missing, lost, "{report:?}");
        assert_eq!(completed(&books) + lost, EXCHANGES);
        let aside = damage_dir(books.dir());
        let is_kept =
            |file: &PathBuf| file.starts_with(&aside) && file.extension().is_some_and(|it| it == "seg");
        assert!(books.disk.files().iter().any(is_kept));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Whatever bytes change: nothing is booked that did not happen, and what is not booked is known.
    #[test]
    fn no_changed_byte_loses_an_entry_silently(
        seed in any::<u64>(), drained in 0..EXCHANGES, flips in proptest::collection::vec((any::<u64>(), 0_u32..8), 1..20),
    ) {
        let mut books = killed(seed, drained);
        let files = segments(&books);
        for (place, bit) in flips {
            let path = &files[place as usize % files.len()];
            let mut bytes = books.disk.contents(path).unwrap();
            let at = (place >> 8) as usize % bytes.len();
            bytes[at] ^= 1 << bit;
            books.disk.put(path, bytes);
        }
        let report = books.start().unwrap();
        prop_assert_eq!(completed(&books) + report.records_missing, EXCHANGES);
        prop_assert_eq!(notes(&books).len() as u64, report.damaged);
        prop_assert!(report.damaged > 0 || books.sink.len() as u64 == EXCHANGES);
        for record in books.sink.records() {
            let expected = if record.outcome == Outcome::Completed { 20 } else { record.usage.output };
            prop_assert_eq!(record.usage.output, expected);
        }
        // A tab whose record was drained before its settled entry was damaged is offered again, and booked once.
        prop_assert!(books.sink.len() as u64 - completed(&books) <= report.interrupted);
    }
}
