//! Fuzzes the journal's frames and entries, which a crash may have torn.

use bolero::check;
use ledger::entry::Entry;
use ledger::frame::{SegmentHeader, parse_records, salvage_records};

use crate::material::ITERATIONS;

/// A frame with a correct checksum around any body.
fn framed(seed: u32, kind: u8, body: &[u8]) -> Vec<u8> {
    let payload: Vec<u8> = std::iter::once(kind).chain([7; 16]).chain(body.iter().copied()).collect();
    let length = u32::try_from(payload.len()).expect("short").to_le_bytes();
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(&length);
    hasher.update(&payload);
    [&length[..], &hasher.finalize().to_le_bytes(), &payload].concat()
}

#[test]
fn fuzz_journal_bytes() {
    check!().with_iterations(ITERATIONS).with_type::<(u32, Vec<u8>)>().for_each(|(seed, bytes)| {
        let _ = SegmentHeader::decode(bytes);
        let mut frames = parse_records(bytes, *seed);
        for entry in frames.by_ref() {
            assert!(entry.end <= bytes.len());
        }
        assert!(frames.position() <= bytes.len());
        let whole = parse_records(bytes, *seed).count();
        let mut last = 0;
        let mut salvaged = salvage_records(bytes, *seed);
        let found = salvaged.by_ref().inspect(|entry| {
            assert!(entry.end > last && entry.end <= bytes.len());
            last = entry.end;
        });
        assert!(found.count() >= whole);
        assert_eq!(salvaged.position(), last);
    });
}

#[test]
fn fuzz_journal_breaks() {
    check!().with_iterations(ITERATIONS).with_type::<(u32, Vec<u8>, Vec<u8>)>().for_each(
        |(seed, body, noise)| {
            let frame = framed(*seed, 3, body);
            let bytes = [&frame[..], noise, &frame].concat();
            let mut salvaged = salvage_records(&bytes, *seed);
            assert_eq!(salvaged.by_ref().count(), 2, "what is behind the break is found");
            assert_eq!(salvaged.gaps(), u64::from(!noise.is_empty()));
        },
    );
}

#[test]
fn fuzz_journal_entries() {
    check!().with_iterations(ITERATIONS).with_type::<(u32, u8, Vec<u8>, u8)>().for_each(
        |(seed, kind, body, torn)| {
            let mut bytes = framed(*seed, kind % 5, body);
            let whole = bytes.len();
            bytes.extend_from_slice(&framed(*seed, kind % 5, body));
            bytes.truncate(bytes.len() - usize::from(*torn).min(whole));
            let found: Vec<_> = parse_records(&bytes, *seed).collect();
            assert_eq!(found.len(), if *torn == 0 { 2 } else { 1 }, "a torn frame ends the records");
            for raw in &found {
                assert_eq!(raw.body, body);
                let _ = Entry::decode(raw);
            }
        },
    );
}
