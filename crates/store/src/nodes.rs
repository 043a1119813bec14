//! BYOC nodes: runtimes on the customer's hardware.

use database::act::{Act, Written};
use database::error::StoreFuture;
use database::page::{Listed, Page};
use domain::{NodeId, ProbeResult, ServerFacts, WorkspaceId};
use hardware::HardwareCost;
use snapshot::NodeState;

use crate::credentials::SealedSecret;
use crate::joins::Joined;
use crate::resource::{Json, Resource};

#[derive(Debug, Clone, PartialEq)]
pub struct NodeRow {
    pub id: NodeId,
    pub workspace: WorkspaceId,
    /// Unique in its workspace.
    pub name: String,
    pub base_url: String,
    /// `None` if the node needs no key.
    pub secret: Option<SealedSecret>,
    /// The version of the last secret that it had; a new secret takes the next one. Ignored on writing.
    pub secret_version_last: u32,
    /// The models that its owner declared; `None` uses those that the node lists.
    pub declared_models: Option<Vec<String>>,
    /// The models that the node listed last. Ignored on writing.
    pub learned_models: Vec<String>,
    pub labels: Vec<String>,
    /// Kept from new requests by its owner.
    pub cordoned: bool,
    /// The same, until nothing is in flight at it.
    pub draining: bool,
    /// What its machine costs its owner, if that is stated.
    pub cost: Option<HardwareCost>,
    /// Whether it answered the last poll. Ignored on writing, except for a new node.
    pub reachable: bool,
    pub metadata: Json,
    /// Ignored on writing.
    pub last_seen_unix_ms: Option<u64>,
    /// Ignored on writing.
    pub last_error: Option<String>,
    /// What its server supports. On writing, only stated facts count; probed ones are ignored.
    pub server: ServerFacts,
    pub created_unix_ms: u64,
    /// For a node that joined by itself: it is reachable while its heartbeats arrive and it answers at its
    /// address. Ignored on writing.
    pub joined: Option<Joined>,
    /// Ignored on writing.
    pub version: u64,
}

impl NodeRow {
    pub const fn state(&self) -> NodeState {
        match (self.draining, self.cordoned, self.reachable) {
            (true, ..) => NodeState::Draining,
            (_, true, _) => NodeState::Cordoned,
            (_, _, true) => NodeState::Ready,
            (_, _, false) => NodeState::Unreachable,
        }
    }

    /// The models that it serves.
    pub fn models(&self) -> &[String] {
        self.declared_models.as_deref().unwrap_or(&self.learned_models)
    }
}

/// The result of polling a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeObservation {
    pub unix_ms: u64,
    pub reachable: bool,
    /// `None` leaves what was learned before.
    pub models: Option<Vec<String>>,
    pub error: Option<String>,
}

/// A change is like a credential's. A node without a secret may change its address freely; with a change its secret is
/// replaced or, as `Some(None)`, removed. Deletion takes its credential too; the records that it reported stay.
pub trait Nodes: Resource<NodeRow> {
    /// Nodes with this name or, if `begins`, with this name prefix.
    fn ids_by_name(&self, workspace: WorkspaceId, name: String, begins: bool)
    -> StoreFuture<'_, Vec<NodeId>>;
    /// Every node of every workspace: for the poller.
    fn list_all(&self, page: Page<NodeId>) -> StoreFuture<'_, Listed<NodeRow, NodeId>>;
    /// Stores the result of polling the node at `base_url`, unless its address has changed by now, or it
    /// joined by itself and its heartbeats have stopped. The configuration version moves only if something
    /// other than the time changed.
    fn record_observation(
        &self,
        workspace: WorkspaceId,
        id: NodeId,
        base_url: String,
        found: NodeObservation,
    ) -> StoreFuture<'_, Written<NodeRow>>;
    /// Like `Credentials::probed`.
    fn record_probe(
        &self,
        workspace: WorkspaceId,
        id: NodeId,
        base_url: String,
        probed: ProbeResult,
        act: Act,
    ) -> StoreFuture<'_, Written<NodeRow>>;
    /// Records in the audit who made a node do something that leaves no other trace here.
    fn record_action(
        &self,
        workspace: WorkspaceId,
        id: NodeId,
        action: &'static str,
        detail: String,
        act: Act,
    ) -> StoreFuture<'_, Written<()>>;
}
