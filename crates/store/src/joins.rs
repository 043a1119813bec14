//! Nodes that join by themselves: the join token that admits each, the credential that it reports with, its
//! heartbeats, and the usage records that it reports.

use database::act::{Act, Written};
use database::error::StoreFuture;
use database::page::{Listed, Page};
use domain::{JoinTokenId, NodeId, TraceId, WorkspaceId};
use hardware::Counters;

use crate::nodes::NodeRow;
use crate::resource::Json;
use crate::sign_ins::TokenDigest;

/// A one-time token that admits a machine as the node of this name. A used one is not deleted before it is forgotten:
/// `join_token_used`.
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

domain::brief_debug!(JoinToken, name);

/// The state of a node that joined by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Joined {
    pub unix_ms: u64,
    pub revoked_unix_ms: Option<u64>,
    /// The time of its last heartbeat.
    pub beat_unix_ms: Option<u64>,
    /// The deadline of its next heartbeat; past it the node counts as unreachable.
    pub due_unix_ms: Option<u64>,
    /// What it reported about itself in that heartbeat.
    pub report: Option<Json>,
}

impl Joined {
    /// Whether its last heartbeat is still valid.
    pub fn is_alive(&self, unix_ms: u64) -> bool {
        self.revoked_unix_ms.is_none() && self.due_unix_ms.is_some_and(|due_unix_ms| unix_ms < due_unix_ms)
    }
}

/// A node being admitted.
pub struct Joining {
    /// Digest of the join token.
    pub token: TokenDigest,
    /// Digest of the credential that it reports with from now on.
    pub credential: TokenDigest,
    /// A new node, or the node of that name whose credential was revoked, in its new state.
    pub row: NodeRow,
}

/// The node that a credential belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownNode {
    pub workspace: WorkspaceId,
    pub node: NodeId,
    pub is_revoked: bool,
    /// Of the key pair that the node signs with; `None` until it has sent one.
    pub public_key: Option<[u8; 32]>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Heartbeat {
    pub unix_ms: u64,
    /// The deadline of the next heartbeat; past it the node counts as unreachable.
    pub due_unix_ms: u64,
    pub models: Vec<String>,
    /// What it has counted since its start; an older node counts nothing.
    pub counters: Option<Counters>,
    pub report: Json,
    /// The `last_error` of a node that was unreachable, until a poll reaches it at its address.
    pub not_polled: String,
}

/// One request that a node served, from its own journal. It books no money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRecord {
    /// The node's own id of the record: duplicates are stored once.
    pub event: TraceId,
    /// The gateway's request that it was served for.
    pub request: Option<TraceId>,
    pub model: String,
    pub adapter: Option<String>,
    pub operation: String,
    pub ended: String,
    pub started_unix_ms: u64,
    pub took_ms: u64,
    pub input_tokens: u64,
    pub cached_tokens: u64,
    pub output_tokens: u64,
    pub reasoning_tokens: u64,
    pub is_measured: bool,
    /// The backend that answered in the node's place. Such a record books nothing.
    pub left_to: Option<String>,
    /// Why the request left; `None` where it named no other place.
    pub left_because: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRecordRow {
    /// Its sequence number among the node's records, in order of arrival.
    pub place: u64,
    pub kept_unix_ms: u64,
    pub record: NodeRecord,
}

pub trait Joins: Send + Sync {
    /// Stores a token, and deletes those that expired before `forgotten_before_unix_ms`. Refused as
    /// `name_taken` if a node has the name and its credential is not revoked.
    fn invite(&self, token: JoinToken, forgotten_before_unix_ms: u64, act: Act) -> StoreFuture<'_, ()>;
    fn token(&self, digest: TokenDigest) -> StoreFuture<'_, Option<JoinToken>>;
    /// The node with this name, if there is one.
    fn node_by_name(&self, workspace: WorkspaceId, name: String) -> StoreFuture<'_, Option<NodeRow>>;
    /// Exchanges a token for a credential. Refused as `join_token_used` or `join_token_expired`, as
    /// `name_taken` like `invite`, and as not found if there is no such token.
    fn join(&self, joining: Joining, act: Act) -> StoreFuture<'_, Written<NodeRow>>;
    /// Keeps the public key of the node, unless it has sent one before.
    fn keep_key(&self, credential: TokenDigest, public_key: [u8; 32]) -> StoreFuture<'_, ()>;
    /// Has the node's requests go to this address from now on. Not found as for `record_heartbeat`.
    fn move_to(
        &self,
        credential: TokenDigest,
        base_url: String,
        act: Act,
    ) -> StoreFuture<'_, Written<NodeRow>>;
    fn node_of_credential(&self, credential: TokenDigest) -> StoreFuture<'_, Option<KnownNode>>;
    /// Records a heartbeat. A node that was unreachable stays so until a poll reaches it at its address. Not
    /// found if its credential is unknown or revoked.
    fn record_heartbeat(&self, credential: TokenDigest, beat: Heartbeat)
    -> StoreFuture<'_, Written<NodeRow>>;
    /// Marks every node whose heartbeat is overdue as unreachable, with this reason, and returns how many.
    fn mark_overdue(&self, unix_ms: u64, why: String) -> StoreFuture<'_, Written<u64>>;
    /// Revokes a node's credential. Refused as `not_joined` if it has none.
    fn revoke(
        &self,
        workspace: WorkspaceId,
        node: NodeId,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<NodeRow>>;
    /// Stores each record once, duplicates ignored, and returns how many were new. Not found as for `beat`.
    fn report(&self, credential: TokenDigest, records: Vec<NodeRecord>, unix_ms: u64)
    -> StoreFuture<'_, u64>;
    fn records(
        &self,
        workspace: WorkspaceId,
        node: NodeId,
        page: Page<u64>,
    ) -> StoreFuture<'_, Listed<NodeRecordRow, u64>>;
}
