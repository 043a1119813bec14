//! Compares what a provider's export says was used with what the meter records say: pure, in integers, and the same whatever the
//! order of either.

mod compare;
mod condensed;
mod limits;
mod matching;
mod names;
mod ours;
mod outcome;
mod series;
mod theirs;

use std::io::BufRead;

pub use condensed::Condensed;
pub use matching::Matching;
pub use names::Names;
pub use outcome::{Difference, Kind, KindSum, Outcome, Side};
pub use providers::exports::{ExportError, Line, Measure, ReadExport, write_plain};
pub use theirs::Theirs;

/// Reads an export of this provider, in the named format or in the one that recognises it.
///
/// # Errors
/// Where the file can't be read, and why.
pub fn read_export(
    provider: &str,
    format: Option<&str>,
    input: &mut dyn BufRead,
    sink: &mut dyn FnMut(Line),
) -> Result<ReadExport, ExportError> {
    let own = std::iter::once(&providers::exports::PLAIN);
    let exports: Vec<_> = providers::exports(provider).iter().copied().chain(own).collect();
    providers::exports::read(&exports, format, input, sink)
}

/// A format by its name, with where its shape was read.
pub struct Format {
    pub name: &'static str,
    pub source: &'static str,
}

/// The formats that exports of this provider may have.
pub fn formats(provider: &str) -> Vec<Format> {
    let own = std::iter::once(&providers::exports::PLAIN);
    providers::exports(provider)
        .iter()
        .copied()
        .chain(own)
        .map(|export| Format { name: export.name, source: export.source })
        .collect()
}

/// How unlike two numbers are, in millionths of the larger; nothing is unlike nothing by nothing.
pub(crate) fn millionths(part: i128, whole: i128) -> u64 {
    if part == 0 {
        return 0;
    }
    let whole = whole.max(1);
    let share = part.saturating_mul(1_000_000) / whole;
    // What is there at all is never shown as nothing.
    u64::try_from(share.clamp(1, 1_000_000)).unwrap_or(1_000_000)
}
