//! How well a request was served, beside what it asked for.

use domain::{Qos, ResponseId};
use http::header::{HeaderMap, HeaderName};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::answer::{PROFILE, word};

const ATTEMPTS: HeaderName = HeaderName::from_static("agent-attempts");
const FALLBACK: HeaderName = HeaderName::from_static("agent-fallback-used");
const TARGET_MET: HeaderName = HeaderName::from_static("agent-qos-target-met");
const DEADLINE: &str = "deadline_exceeded";

/// The `qos_outcome` of an answer or an error.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Outcome {
    admission: &'static str,
    /// `None` where nothing was sent.
    completion: Option<&'static str>,
    /// `None` without a target.
    target_met: Option<bool>,
    /// When the answer began for the client, which gets it whole.
    ttft_ms: Option<u64>,
    /// `None` while it runs.
    latency_ms: Option<u64>,
    /// `None` without a deadline.
    deadline_met: Option<bool>,
    degraded: bool,
    fallback_used: bool,
    /// The code of the error, if it is one.
    reason_code: Option<String>,
}

impl Outcome {
    /// Of a request of which nothing is known yet.
    pub(super) const fn queued() -> Self {
        Self {
            admission: "queued",
            completion: None,
            target_met: None,
            ttft_ms: None,
            latency_ms: None,
            deadline_met: None,
            degraded: false,
            fallback_used: false,
            reason_code: None,
        }
    }

    /// Of a request that its client cancelled.
    pub(super) fn cancelled(qos: Qos, latency_ms: u64) -> Self {
        Self {
            admission: "admitted",
            completion: Some("cancelled"),
            target_met: qos.target_ttft_ms.map(|_| false),
            latency_ms: Some(latency_ms),
            deadline_met: qos.deadline_ms.map(|_| false),
            ..Self::queued()
        }
    }

    /// Of a request whose process ended.
    pub(super) fn interrupted(code: &str) -> Self {
        let (completion, reason_code) = (Some("failed"), Some(code.to_owned()));
        Self { admission: "admitted", completion, reason_code, ..Self::queued() }
    }

    pub(super) fn answered(qos: Qos, headers: &HeaderMap, (ttft_ms, latency_ms): (u64, u64)) -> Self {
        let fallback_used = word(headers, &FALLBACK) == Some("true");
        Self {
            admission: "admitted",
            completion: Some("completed"),
            target_met: word(headers, &TARGET_MET).map(|met| met == "true"),
            ttft_ms: Some(ttft_ms),
            latency_ms: Some(latency_ms),
            deadline_met: qos.deadline_ms.map(|_| true),
            degraded: fallback_used,
            fallback_used,
            reason_code: None,
        }
    }

    /// Of an answer that failed after it had begun, with its time to the first content and its time in all.
    pub(super) fn broken(
        qos: Qos,
        headers: &HeaderMap,
        code: &str,
        (ttft_ms, latency_ms): (Option<u64>, u64),
    ) -> Self {
        // In a stream the code is the grammar's.
        let is_late =
            code == DEADLINE || qos.deadline_ms.is_some_and(|deadline_ms| latency_ms >= deadline_ms);
        let code = if is_late { DEADLINE } else { code };
        let completion = Some(if is_late { "expired_during_execution" } else { "failed" });
        let target_met = word(headers, &TARGET_MET).map(|met| met == "true");
        let failed = Self::failed(qos, headers, code, latency_ms);
        Self { admission: "admitted", completion, target_met, ttft_ms, ..failed }
    }

    pub(super) fn failed(qos: Qos, headers: &HeaderMap, code: &str, latency_ms: u64) -> Self {
        let is_late = code == DEADLINE;
        // Without the header it was refused before it was planned.
        let is_sent = word(headers, &ATTEMPTS).is_some_and(|attempts| attempts != "0");
        let (admission, completion) = match (is_sent, is_late) {
            (false, true) => ("expired_before_start", None),
            (false, false) => ("rejected", None),
            (true, true) => ("admitted", Some("expired_during_execution")),
            (true, false) => ("admitted", Some("failed")),
        };
        let fallback_used = word(headers, &FALLBACK) == Some("true");
        Self {
            admission,
            completion,
            target_met: qos.target_ttft_ms.map(|_| false),
            ttft_ms: None,
            latency_ms: Some(latency_ms),
            deadline_met: qos.deadline_ms.map(|_| false),
            degraded: fallback_used,
            fallback_used,
            reason_code: Some(code.to_owned()),
        }
    }
}

/// Adds to an answer what it was served by and how well.
pub(super) fn describe(
    answer: &mut Map<String, Value>,
    id: ResponseId,
    headers: &HeaderMap,
    outcome: &Outcome,
    is_stored: bool,
) {
    answer.insert("id".to_owned(), json!(id.to_string()));
    answer.insert("execution_profile".to_owned(), json!(word(headers, &PROFILE)));
    answer.insert("qos_outcome".to_owned(), json!(outcome));
    // What is stored says so, since what is not is not shown again either.
    answer.insert("stored".to_owned(), json!(is_stored));
}

/// The text of a header.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_how_far_the_request_came() {
        let qos = Qos { deadline_ms: Some(5), ..Qos::default() };
        for (attempts, code, expected) in [
            (Some("0"), DEADLINE, ("expired_before_start", None)),
            (Some("1"), DEADLINE, ("admitted", Some("expired_during_execution"))),
            (Some("2"), "upstream_timeout", ("admitted", Some("failed"))),
            (Some("0"), "model_not_served", ("rejected", None)),
            (None, "rate_limit_exceeded", ("rejected", None)),
        ] {
            let headers = attempts.map(|count| (ATTEMPTS, count.parse().unwrap())).into_iter().collect();
            let outcome = Outcome::failed(qos, &headers, code, 7);
            assert_eq!((outcome.admission, outcome.completion), expected, "{attempts:?} {code}");
            assert_eq!((outcome.deadline_met, outcome.target_met), (Some(false), None));
        }
    }
}
