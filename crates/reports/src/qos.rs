//! How well a request was served, beside what its hints stated: the `qos_outcome` of `/v2/responses`, from the record, for
//! every dialect.

use domain::{Dialect, FaultClass, MeterRecord, Outcome, QosClass};
use schemars::JsonSchema;
use serde::Serialize;

const US_PER_MS: u64 = 1_000;

/// What was stated, and what became of it.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "RecordedQosOutcome")]
pub struct QosOutcomeView {
    class: Option<&'static str>,
    target_ttft_ms: Option<u64>,
    deadline_ms: Option<u64>,
    /// `admitted`; `rejected`, if nothing was sent; `expired_before_start`, if the deadline passed before anything was.
    admission: &'static str,
    /// `completed`, `failed`, `cancelled`, `expired_during_execution`; `null` if nothing was sent.
    completion: Option<&'static str>,
    /// `null` without a target, or if unknown because the gateway ended.
    target_met: Option<bool>,
    ttft_ms: Option<u64>,
    latency_ms: u64,
    /// `null` without a deadline, or if unknown because the gateway ended.
    deadline_met: Option<bool>,
    /// Whether a fallback served.
    degraded: bool,
    fallback_used: bool,
    /// The code of the error, if it is one.
    reason_code: Option<String>,
}

/// `None` where the request stated no class, target or deadline, and was not sent to `/v2/responses`.
pub fn outcome(record: &MeterRecord) -> Option<QosOutcomeView> {
    let (class, qos) = (record.extras.qos_class, record.extras.qos);
    if class.is_none() && qos.is_none() && record.dialect != Dialect::Native {
        return None;
    }
    let stated = qos.unwrap_or_default();
    let is_answered = matches!(record.outcome, Outcome::Completed | Outcome::Cut) && record.status < 400;
    // What a process did not live to see is neither met nor missed.
    let is_known = record.outcome != Outcome::Interrupted;
    let missed = is_known.then_some(false);
    let (admission, completion) = how_far(record, is_answered);
    let began_us = Some(record.timeline.first_byte_us).filter(|us| *us > 0);
    Some(QosOutcomeView {
        class: class.map(QosClass::as_str),
        target_ttft_ms: stated.target_ttft_ms,
        deadline_ms: stated.deadline_ms,
        admission,
        completion,
        target_met: stated.target_ttft_ms.and(stated.target_met.or(missed)),
        ttft_ms: began_us.map(|us| us / US_PER_MS),
        latency_ms: record.timeline.settled_us / US_PER_MS,
        deadline_met: stated.deadline_ms.and(if is_answered { Some(true) } else { missed }),
        degraded: record.fallback_used,
        fallback_used: record.fallback_used,
        reason_code: if is_answered { None } else { reason(record) },
    })
}

/// The same words as those of `/v2/responses`.
fn how_far(record: &MeterRecord, is_answered: bool) -> (&'static str, Option<&'static str>) {
    let is_late = record.outcome == Outcome::Deadline || record.fault == Some(FaultClass::Deadline);
    match record.outcome {
        _ if is_answered => ("admitted", Some("completed")),
        Outcome::ClientCancelled => ("admitted", Some("cancelled")),
        Outcome::Interrupted => ("admitted", Some("failed")),
        _ if record.attempts.is_empty() && is_late => ("expired_before_start", None),
        _ if record.attempts.is_empty() => ("rejected", None),
        _ if is_late => ("admitted", Some("expired_during_execution")),
        _ => ("admitted", Some("failed")),
    }
}

fn reason(record: &MeterRecord) -> Option<String> {
    match record.outcome {
        Outcome::ClientCancelled => None,
        Outcome::Interrupted => Some(record.outcome.as_str().to_owned()),
        _ => record.fault_code.clone(),
    }
}
