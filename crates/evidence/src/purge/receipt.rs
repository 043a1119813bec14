//! The receipt of a purge: a document that anybody can verify, which names every processor and claims no more than the
//! weakest of them allows.

use domain::purge::{Guarantee, Place};
use domain::{ReceiptId, TraceId};
use proof::Digest;
use proof::document::{self, Fractional};
use serde_json::{Map, Value, json};

use super::tables::STATED;
use super::{ProcessorReport, ProcessorStatus, PurgeJobRow, Shredding};
use crate::audit::Auditor;

pub const OBJECT: &str = "purge_receipt";

/// What a receipt says beside its job and its processors.
pub struct Signing {
    pub id: ReceiptId,
    pub sequence: u64,
    /// Of the workspace's receipt before this one; zeros for the first.
    pub previous: Digest,
    pub completed_unix_ms: u64,
    /// Content of this request and of later ones is not part of it.
    pub before: TraceId,
    pub swept_again_unix_ms: u64,
    pub is_sqlite: bool,
}

/// The weakest guarantee of all processors that had something, or may have it.
pub fn overall(processors: &[ProcessorReport]) -> Guarantee {
    let weakest = processors.iter().filter(|one| one.before > 0 || one.status == ProcessorStatus::Failed);
    weakest.map(|one| one.guarantee).min().unwrap_or(Guarantee::VerifiedPhysicalPurge)
}

/// The signed document, and the hash by which the next one names it.
///
/// # Errors
/// If there is a number that isn't whole.
pub fn sign(
    job: &PurgeJobRow,
    processors: &[ProcessorReport],
    signing: &Signing,
    auditor: &Auditor,
) -> Result<(Map<String, Value>, Digest), Fractional> {
    let shredding = job.progress.shredding.as_ref();
    let is_complete = processors.iter().all(|one| one.status != ProcessorStatus::Failed)
        && !shredding.is_some_and(Shredding::is_failed);
    let keys = shredding.map(|one| one.line(job.progress.is_scrubbed, signing.is_sqlite));
    let places = Place::ALL.map(|place| json!({"place": place, "holds": place.holds()}));
    let stated = STATED.iter().map(|(place, statement)| json!({"place": place, "statement": statement}));
    let fields = [
        ("object", json!(OBJECT)),
        ("id", json!(signing.id.to_string())),
        ("purge_job_id", json!(job.id.to_string())),
        ("workspace_id", json!(job.workspace.to_string())),
        ("requested_by", json!(job.requested_by)),
        ("requested_at_unix_ms", json!(job.created_unix_ms)),
        ("completed_at_unix_ms", json!(signing.completed_unix_ms)),
        ("scope", json!(job.target)),
        ("content_before_request", json!(signing.before.to_string())),
        ("swept_again_at_unix_ms", json!(signing.swept_again_unix_ms)),
        ("configuration_version", json!(job.progress.generation)),
        ("complete", json!(is_complete)),
        ("guarantee", json!(overall(processors))),
        ("processors", processors.iter().map(line).collect()),
        ("key_shredding", json!(keys)),
        ("places", json!(places)),
        ("stated", stated.collect()),
        ("sequence", json!(signing.sequence)),
        ("previous_hash", json!(signing.previous.to_string())),
    ];
    let document = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let signed = auditor.sign(document)?;
    let hash = Digest::of(&[&document::canonical(&signed)?]);
    Ok((signed, hash))
}

fn line(report: &ProcessorReport) -> Value {
    json!({
        "place": report.place,
        "processor": report.processor,
        "kind": report.kind,
        "status": report.status,
        "before": report.before,
        "after": report.after,
        "guarantee": report.guarantee,
        "evidence": report.evidence,
        "retention_days": report.retention_days,
        "error": report.error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(guarantee: Guarantee, before: u64, status: ProcessorStatus) -> ProcessorReport {
        ProcessorReport {
            place: Place::KeptTurns,
            processor: "tidegate".into(),
            kind: String::new(),
            status,
            before,
            after: Some(0),
            guarantee,
            evidence: String::new(),
            retention_days: None,
            error: None,
        }
    }

    #[test]
    fn words_of_a_receipt_are_those_of_the_api() {
        for guarantee in Guarantee::ALL {
            assert_eq!(json!(guarantee), guarantee.as_str());
        }
        for place in Place::ALL {
            assert_eq!(json!(place), place.as_str());
        }
    }

    #[test]
    fn the_weakest_that_had_something_counts() {
        use Guarantee::{BestEffortExpiry, VerifiedNamespaceInvalidation, VerifiedPhysicalPurge};
        use ProcessorStatus::{Cleared, Expires, Failed};
        for (expected, reports) in [
            (VerifiedPhysicalPurge, vec![]),
            (
                VerifiedPhysicalPurge,
                vec![report(BestEffortExpiry, 0, Expires), report(VerifiedPhysicalPurge, 2, Cleared)],
            ),
            (BestEffortExpiry, vec![report(BestEffortExpiry, 0, Failed)]),
            (
                VerifiedNamespaceInvalidation,
                vec![
                    report(VerifiedPhysicalPurge, 2, Cleared),
                    report(VerifiedNamespaceInvalidation, 1, Cleared),
                ],
            ),
        ] {
            assert_eq!(overall(&reports), expected, "{reports:?}");
        }
    }
}
