//! Answers stored under idempotency keys for replay, and the claims of requests still in progress.

use database::address::ReplicaId;
use database::handle::Database;
use domain::{ProjectId, Sealed, TraceId, WorkspaceId};

/// The keyed hash of project, path and key.
pub type AnswerDigest = [u8; 32];

/// A request's claim to be the one that is executed under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerClaim {
    pub digest: AnswerDigest,
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub request: TraceId,
    /// The keyed hash of the request body.
    pub body_digest: [u8; 32],
    pub holder: ReplicaId,
    pub now_unix_ms: u64,
    /// When the claim expires, unless it is extended.
    pub until_unix_ms: u64,
    /// The answer belongs to the response cache.
    pub is_cached: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claiming {
    Yours,
    OtherBody,
    InFlight,
    /// Answered by this request.
    Answered {
        request: TraceId,
        sealed: Sealed,
        until_unix_ms: u64,
    },
}

#[derive(Clone, Copy)]
pub struct IdempotentAnswers<'a>(pub &'a Database);
