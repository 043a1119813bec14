//! Nodes that join by themselves: the token that each comes with, the credential that it reports with, its heartbeats, and
//! what it tells of its own answers.

use domain::{JoinTokenId, NodeId, TraceId, WorkspaceId};

use crate::sign_ins::TokenDigest;
use crate::{Act, Json, Listed, NodeRow, Page, StoreFuture, Written};

/// What a machine shows once, to be let in under a name.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    pub id: JoinTokenId,
    pub digest: TokenDigest,
    pub workspace: WorkspaceId,
    pub name: String,
    pub used_unix_ms: Option<u64>,
    pub created_unix_ms: u64,
    pub expires_unix_ms: u64,
}

impl std::fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinToken").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What is known of a node because it joined by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Joined {
    pub unix_ms: u64,
    pub revoked_unix_ms: Option<u64>,
    /// Its last heartbeat.
    pub beat_unix_ms: Option<u64>,
    /// From then on it is away, unless it says something before.
    pub due_unix_ms: Option<u64>,
    /// What it said of itself with that.
    pub said: Option<Json>,
}

impl Joined {
    /// Whether its last heartbeat still counts.
    #[must_use]
    pub fn is_heard(&self, unix_ms: u64) -> bool {
        self.revoked_unix_ms.is_none() && self.due_unix_ms.is_some_and(|due_unix_ms| unix_ms < due_unix_ms)
    }
}

/// A node that is let in.
pub struct Joining {
    /// Of the token.
    pub token: TokenDigest,
    /// Of the credential that it reports with from now on.
    pub credential: TokenDigest,
    /// A new one, or the one of that name whose credential was revoked, as it is to be.
    pub row: NodeRow,
}

/// Whose credential it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownNode {
    pub workspace: WorkspaceId,
    pub node: NodeId,
    pub is_revoked: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Heartbeat {
    pub unix_ms: u64,
    /// From then on the node is away, unless it says something before.
    pub due_unix_ms: u64,
    pub models: Vec<String>,
    pub said: Json,
    /// What is told of one that was away, until it was asked at its address.
    pub not_asked: String,
}

/// One answer of a node, as its own journal has it. It books no money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRecord {
    /// The node's own id of it: what comes twice is kept once.
    pub event: TraceId,
    /// The request of ours that it was given for.
    pub request: Option<TraceId>,
    pub model: String,
    pub adapter: Option<String>,
    pub operation: String,
    pub ended: String,
    pub begun_unix_ms: u64,
    pub took_ms: u64,
    pub input_tokens: u64,
    pub cached_tokens: u64,
    pub output_tokens: u64,
    pub reasoning_tokens: u64,
    pub is_measured: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRecordRow {
    /// Its place among those of its node, in the order of their coming.
    pub place: u64,
    pub kept_unix_ms: u64,
    pub record: NodeRecord,
}

pub trait Joins: Send + Sync {
    /// Keeps a token, and forgets those that expired before `forgotten_before_unix_ms`. Refused as `name_taken` where a
    /// node has the name and no revoked credential.
    fn invite(&self, token: JoinToken, forgotten_before_unix_ms: u64, act: Act) -> StoreFuture<'_, ()>;
    fn token(&self, digest: TokenDigest) -> StoreFuture<'_, Option<JoinToken>>;
    /// A workspace's own: those that wait, and those that were used or came too late and are known still.
    fn tokens(
        &self,
        workspace: WorkspaceId,
        page: Page<JoinTokenId>,
    ) -> StoreFuture<'_, Listed<JoinToken, JoinTokenId>>;
    fn token_of(&self, workspace: WorkspaceId, id: JoinTokenId) -> StoreFuture<'_, JoinToken>;
    /// Forgets a token. Refused as `join_token_used` where a node is in by it.
    fn withdraw(&self, workspace: WorkspaceId, id: JoinTokenId, act: Act) -> StoreFuture<'_, ()>;
    /// The node of a name, if there is one.
    fn named(&self, workspace: WorkspaceId, name: String) -> StoreFuture<'_, Option<NodeRow>>;
    /// Uses a token up for a credential. Refused as `join_token_used` or `join_token_expired`, as `name_taken` like
    /// `invite`, and as not found where there is no such token.
    fn join(&self, joining: Joining, act: Act) -> StoreFuture<'_, Written<NodeRow>>;
    fn known(&self, credential: TokenDigest) -> StoreFuture<'_, Option<KnownNode>>;
    /// The node is there, and says so. One that was away stays so until it is observed at its address. Not found where its
    /// credential is unknown or revoked.
    fn beat(&self, credential: TokenDigest, beat: Heartbeat) -> StoreFuture<'_, Written<NodeRow>>;
    /// Whoever has said nothing for too long is away from now on, and for this reason; how many those are.
    fn miss(&self, unix_ms: u64, why: String) -> StoreFuture<'_, Written<u64>>;
    /// Ends a node's credential. Refused as `not_joined` where it has none.
    fn revoke(
        &self,
        workspace: WorkspaceId,
        node: NodeId,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<NodeRow>>;
    /// Keeps each record once, whatever comes again; how many were new. Not found as of `beat`.
    fn report(&self, credential: TokenDigest, records: Vec<NodeRecord>, unix_ms: u64)
    -> StoreFuture<'_, u64>;
    fn records(
        &self,
        workspace: WorkspaceId,
        node: NodeId,
        page: Page<u64>,
    ) -> StoreFuture<'_, Listed<NodeRecordRow, u64>>;
}
