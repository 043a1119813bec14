//! Fuzz input that gets past the first byte: valid texts, mutated at random places.

use std::fmt::Debug;
use std::fs;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};

use bolero::{BorrowedInput, ByteSliceGenerator, DefaultEngine, TestTarget, TypeGenerator};

/// What `bolero::check!` makes, which knows its test.
pub type Target = TestTarget<ByteSliceGenerator, DefaultEngine, BorrowedInput>;

/// Mutations of a text: position, kind, and bytes.
pub type Bends = Vec<(u16, u8, [u8; 3])>;

/// Random iterations of each target in the test suite; a fuzzing engine sets its own.
pub const ITERATIONS: usize = 4000;
/// Of a target with a corpus in files.
const CHANGED: usize = 1000;

/// Runs a target: first each input of its corpus as it is, then inputs with random changes. `takes` returns whether the
/// parser took the input; how often it did is printed, since what is always refused tests little.
pub fn fuzz(corpus: &str, target: Target, takes: impl Fn(&[u8]) -> bool) {
    let kept = kept(corpus);
    for (name, bytes) in &kept {
        assert_eq!(takes(bytes), !name.starts_with("refused"), "{corpus}/{name}");
    }
    let (inputs, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
    // Whatever a panic leaves behind, it ends the test.
    let run = AssertUnwindSafe(|which: usize, bends: &Bends| {
        let Some((_, seed)) = kept.get(which % kept.len()) else { return };
        let is_taken = takes(&bent_bytes(seed.clone(), bends));
        inputs.fetch_add(1, Ordering::Relaxed);
        taken.fetch_add(usize::from(is_taken), Ordering::Relaxed);
    });
    target
        .with_iterations(CHANGED)
        .with_type::<(u8, Bends)>()
        .for_each(|(which, bends)| (*run)(usize::from(*which), bends));
    let (inputs, taken) = (inputs.into_inner(), taken.into_inner());
    println!("{corpus}: {} kept inputs; of {inputs} changed ones {taken} were taken", kept.len());
}

/// Runs a target whose corpus stands in its source: first each seed as it is, then with random changes, and with more that is
/// drawn.
pub fn seeded<More: Debug + Default + TypeGenerator + 'static>(
    seeds: &[&str],
    target: Target,
    test: impl Fn(&[u8], &More),
) {
    seeds.iter().for_each(|seed| test(seed.as_bytes(), &More::default()));
    let test = AssertUnwindSafe(test);
    target
        .with_iterations(ITERATIONS)
        .with_type::<(u8, Bends, More)>()
        .for_each(|(which, bends, more)| (*test)(&bent(seeds, *which, bends), more));
}

/// The files of a corpus, by their names.
fn kept(corpus: &str) -> Vec<(String, Vec<u8>)> {
    let folder = format!("{}/corpus/{corpus}", env!("CARGO_MANIFEST_DIR"));
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut kept: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("listed").path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            (name.unwrap_or_default(), fs::read(&path).expect("readable"))
        })
        .collect();
    kept.sort();
    assert!(!kept.is_empty(), "{folder} is empty");
    kept
}

pub fn bent(seeds: &[&str], which: u8, bends: &Bends) -> Vec<u8> {
    let seed = seeds.get(usize::from(which) % seeds.len()).copied().unwrap_or_default();
    bent_bytes(seed.as_bytes().to_vec(), bends)
}

/// The same for binary input.
pub fn bent_bytes(mut bytes: Vec<u8>, bends: &Bends) -> Vec<u8> {
    // Mostly few: of inputs that were changed in many places nearly all are refused at once.
    for (offset, kind, with) in bends.iter().take(bends.len() % 7) {
        if bytes.is_empty() {
            break;
        }
        let at = usize::from(*offset) % bytes.len();
        let end = (at + usize::from(with[0])).min(bytes.len());
        match kind % 6 {
            0 => bytes[at] = with[0],
            1 => bytes.truncate(at),
            2 => drop(bytes.splice(at..at, *with)),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let copy = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, copy));
            }
            _ => bytes[at] = b"{}[]\",:\\\r\n0"[usize::from(with[0]) % 11],
        }
    }
    bytes
}
