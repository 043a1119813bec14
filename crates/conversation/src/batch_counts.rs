//! How far the requests of a batch are, as its provider's object has it.

use domain::BatchCounts;
use serde::Deserialize;

/// The counts of either format: OpenAI's has a total of what it began, Anthropic's what is left.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Counts {
    total: Option<u64>,
    completed: u64,
    failed: u64,
    processing: u64,
    succeeded: u64,
    errored: u64,
    canceled: u64,
    expired: u64,
}

#[derive(Deserialize)]
struct Counted {
    request_counts: Counts,
    #[serde(default)]
    status: String,
}

/// Reads the counts of a batch object of OpenAI or Anthropic; `None` where it has none.
pub fn request_counts(object: &[u8]) -> Option<BatchCounts> {
    let Counted { request_counts: found, status } = serde_json::from_slice(object).ok()?;
    let Some(total) = found.total else {
        let Counts { processing, succeeded, errored, canceled, expired, .. } = found;
        return Some(BatchCounts { processing, succeeded, errored, cancelled: canceled, expired });
    };
    let (succeeded, errored) = (found.completed, found.failed);
    let rest = total.saturating_sub(succeeded).saturating_sub(errored);
    let none = BatchCounts { succeeded, errored, ..BatchCounts::default() };
    Some(match &*status {
        "cancelled" => BatchCounts { cancelled: rest, ..none },
        "expired" => BatchCounts { expired: rest, ..none },
        _ => BatchCounts { processing: rest, ..none },
    })
}
