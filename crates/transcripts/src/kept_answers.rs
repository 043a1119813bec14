//! Answers stored under idempotency keys for replay, and the claims of requests still in progress.

use database::act::{Act, Written};
use database::address::ReplicaId;
use database::error::StoreFuture;
use domain::ports::PurgeScope;
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

pub trait IdempotentAnswers: Send + Sync {
    /// One transaction, before anything is sent upstream. The same claim may be repeated if its reply was
    /// lost.
    fn claim(&self, claim: AnswerClaim) -> StoreFuture<'_, Claiming>;
    /// Stores the answer; `false` if the claim no longer belongs to this request.
    fn keep(
        &self,
        digest: AnswerDigest,
        request: TraceId,
        answer: Sealed,
        until_unix_ms: u64,
    ) -> StoreFuture<'_, bool>;
    /// Gives up a claim. No effect if it no longer belongs to this request, or is answered.
    fn release(&self, digest: AnswerDigest, request: TraceId) -> StoreFuture<'_, ()>;
    /// Deletes an answer; no effect on a claim.
    fn forget(&self, digest: AnswerDigest) -> StoreFuture<'_, ()>;
    /// Extends the expiry of claims.
    fn extend(&self, claims: Vec<(AnswerDigest, TraceId)>, until_unix_ms: u64) -> StoreFuture<'_, ()>;
    /// Releases the claims of a process that is gone, and returns how many.
    fn abandon(&self, holder: ReplicaId) -> StoreFuture<'_, u64>;
    /// Deletes at most `rows_max` expired rows, and returns how many it deleted.
    fn expire(&self, now_unix_ms: u64, rows_max: u32) -> StoreFuture<'_, u64>;
    /// Deletes answers, and the claims of requests in progress, so that their answers are not stored.
    fn purge(&self, scope: PurgeScope) -> StoreFuture<'_, u64>;
    fn remaining(&self, scope: PurgeScope) -> StoreFuture<'_, u64>;
    /// Deletes a project's answers in the response cache, and raises the generation that is part of their names, so
    /// that no replica finds one that it still holds. Returns how many there were.
    fn purge_cached(
        &self,
        act: Act,
        workspace: WorkspaceId,
        project: ProjectId,
    ) -> StoreFuture<'_, Written<u64>>;
}
