//! Nodes that join by themselves: the join token that admits each, the credential that it reports with, its
//! heartbeats, and the usage records that it reports.

use database::handle::Database;
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

#[derive(Clone, Copy)]
pub struct Joins<'a>(pub &'a Database);
