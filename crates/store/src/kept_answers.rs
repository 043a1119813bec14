//! Answers that are given again under their idempotency key, and the claims of those that are under way.

use domain::ports::PurgeScope;
use domain::{ProjectId, Sealed, TraceId, WorkspaceId};

use crate::{ReplicaId, StoreFuture};

/// The keyed hash of project, path and key.
pub type AnswerDigest = [u8; 32];

/// A request that wants to be the one that is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerClaim {
    pub digest: AnswerDigest,
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub request: TraceId,
    /// The keyed hash of its body.
    pub body_digest: [u8; 32],
    pub holder: ReplicaId,
    pub now_unix_ms: u64,
    /// The claim is free for others then, unless it is extended.
    pub until_unix_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claiming {
    Yours,
    OtherBody,
    InFlight,
    /// By this request.
    Answered {
        request: TraceId,
        sealed: Sealed,
        until_unix_ms: u64,
    },
}

pub trait KeptAnswers: Send + Sync {
    /// One transaction, before anything is sent. The same claim may be made again where its answer was lost.
    fn claim(&self, claim: AnswerClaim) -> StoreFuture<'_, Claiming>;
    /// `false` where the claim is no longer this request's.
    fn keep(
        &self,
        digest: AnswerDigest,
        request: TraceId,
        answer: Sealed,
        until_unix_ms: u64,
    ) -> StoreFuture<'_, bool>;
    /// Nothing happens where the claim is no longer this request's, or is answered.
    fn release(&self, digest: AnswerDigest, request: TraceId) -> StoreFuture<'_, ()>;
    /// Speaks for claims for longer.
    fn extend(&self, claims: Vec<(AnswerDigest, TraceId)>, until_unix_ms: u64) -> StoreFuture<'_, ()>;
    /// Frees what a process that is no more had claimed; how many.
    fn abandon(&self, holder: ReplicaId) -> StoreFuture<'_, u64>;
    /// Removes what is over, so many rows at most; how many there were.
    fn expire(&self, now_unix_ms: u64, rows_max: u32) -> StoreFuture<'_, u64>;
    /// Removes answers; the claims of requests under way go too, so that theirs are not kept.
    fn purge(&self, scope: PurgeScope) -> StoreFuture<'_, u64>;
    fn remaining(&self, scope: PurgeScope) -> StoreFuture<'_, u64>;
}
