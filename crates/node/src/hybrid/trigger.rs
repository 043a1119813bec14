//! Why a hybrid request leaves: the reasons, and which failures of the runtime are one.

use domain::{Fault, FaultClass};
use serde::{Deserialize, Serialize};

domain::words! {
    /// Why a request that may be served here was answered by a backend.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum LeftBecause {
        /// This node does not have the model, or not for this operation.
        ModelMissing = "model_missing",
        /// It would wait here, or has waited, longer than `queue_wait_ms`.
        QueueWait = "queue_wait",
        /// It is longer than the context of the model here.
        ContextTooLong = "context_too_long",
        /// The runtime failed before the first byte of the answer.
        NodeFailed = "node_failed",
        /// By the measured rate, the answer would not be complete within the deadline of the request.
        Deadline = "deadline",
    }
}

/// Whether a request leaves after this refusal or failure of the runtime. What is the client's fault stays here.
pub(crate) fn because_of(fault: &Fault) -> Option<LeftBecause> {
    match (fault.class, fault.code) {
        (_, "model_not_found") => Some(LeftBecause::ModelMissing),
        (_, "queue_full") => Some(LeftBecause::QueueWait),
        (FaultClass::ContextLength, _) => Some(LeftBecause::ContextTooLong),
        (
            FaultClass::Upstream
            | FaultClass::StreamBroken
            | FaultClass::Timeout
            | FaultClass::Overloaded
            | FaultClass::Unavailable
            | FaultClass::Internal,
            _,
        ) => Some(LeftBecause::NodeFailed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_clients_fault_stays_here() {
        for (class, code, expected) in [
            (FaultClass::NotFound, "model_not_found", Some(LeftBecause::ModelMissing)),
            (FaultClass::Limited, "queue_full", Some(LeftBecause::QueueWait)),
            (FaultClass::ContextLength, "context_length_exceeded", Some(LeftBecause::ContextTooLong)),
            (FaultClass::Upstream, "engine_lost", Some(LeftBecause::NodeFailed)),
            (FaultClass::Internal, "internal_error", Some(LeftBecause::NodeFailed)),
            (FaultClass::BadRequest, "template_refused", None),
            (FaultClass::Unsupported, "unsupported_parameter", None),
            (FaultClass::NotFound, "adapter_not_found", None),
            (FaultClass::Conflict, "adapter_not_loaded", None),
        ] {
            assert_eq!(because_of(&Fault::new(class, code, "x")), expected, "{code}");
        }
        for because in LeftBecause::ALL {
            assert_eq!(serde_json::to_value(because).unwrap(), because.as_str());
        }
    }
}
