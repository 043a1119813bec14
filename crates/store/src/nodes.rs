//! BYOC nodes: runtimes on the customer's hardware.

use domain::{NodeId, Probed, ServerFacts, WorkspaceId};
use snapshot::NodeState;

use crate::{Act, Joined, Json, Listed, NewSecret, Page, SealedSecret, StoreFuture, Written};

#[derive(Debug, Clone, PartialEq)]
pub struct NodeRow {
    pub id: NodeId,
    pub workspace: WorkspaceId,
    /// Unique in its workspace.
    pub name: String,
    pub base_url: String,
    /// `None` where the node asks for no key.
    pub secret: Option<SealedSecret>,
    /// The version of the last secret it had; the next one takes the next. Ignored on writing.
    pub secret_version_last: u32,
    /// What its owner said it serves; `None` leaves it to what the node lists.
    pub declared_models: Option<Vec<String>>,
    /// What the node listed last. Ignored on writing.
    pub learned_models: Vec<String>,
    pub labels: Vec<String>,
    pub draining: bool,
    /// Whether it answered when it was last asked. Ignored on writing but for a new node.
    pub reachable: bool,
    pub metadata: Json,
    /// Ignored on writing.
    pub last_seen_unix_ms: Option<u64>,
    /// Ignored on writing.
    pub last_error: Option<String>,
    /// What its server takes. On writing only what is stated counts.
    pub server: ServerFacts,
    pub created_unix_ms: u64,
    /// Where it joined by itself: it is there as long as it says so, and answers at its address. Ignored on writing.
    pub joined: Option<Joined>,
    /// Ignored on writing.
    pub version: u64,
}

impl NodeRow {
    #[must_use]
    pub const fn state(&self) -> NodeState {
        match (self.draining, self.reachable) {
            (true, _) => NodeState::Draining,
            (false, true) => NodeState::Ready,
            (false, false) => NodeState::Unreachable,
        }
    }

    /// What it serves.
    #[must_use]
    pub fn models(&self) -> &[String] {
        self.declared_models.as_deref().unwrap_or(&self.learned_models)
    }
}

/// What asking a node found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeObservation {
    pub unix_ms: u64,
    pub reachable: bool,
    /// `None` leaves what was learned before.
    pub models: Option<Vec<String>>,
    pub error: Option<String>,
}

pub trait Nodes: Send + Sync {
    fn create(&self, row: NodeRow, act: Act) -> StoreFuture<'_, Written<NodeRow>>;
    fn get(&self, workspace: WorkspaceId, id: NodeId) -> StoreFuture<'_, NodeRow>;
    fn list(&self, workspace: WorkspaceId, page: Page<NodeId>) -> StoreFuture<'_, Listed<NodeRow, NodeId>>;
    /// Those whose name is this one or begins so.
    fn named(&self, workspace: WorkspaceId, name: String, begins: bool) -> StoreFuture<'_, Vec<NodeId>>;
    /// Every node of every workspace: for the poller.
    fn list_all(&self, page: Page<NodeId>) -> StoreFuture<'_, Listed<NodeRow, NodeId>>;
    /// As `Credentials::replace`. A node without a secret may change its address freely; with `secret` its secret is
    /// replaced or, as `Some(None)`, removed.
    fn replace(
        &self,
        row: NodeRow,
        secret: Option<Option<NewSecret>>,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<NodeRow>>;
    /// Keeps what asking it at `base_url` found, unless it has another address by now, or joined by itself and is silent. The
    /// configuration's version moves only where something but the time is new.
    fn observed(
        &self,
        workspace: WorkspaceId,
        id: NodeId,
        base_url: String,
        found: NodeObservation,
    ) -> StoreFuture<'_, Written<NodeRow>>;
    /// As `Credentials::probed`.
    fn probed(
        &self,
        workspace: WorkspaceId,
        id: NodeId,
        base_url: String,
        probed: Probed,
        act: Act,
    ) -> StoreFuture<'_, Written<NodeRow>>;
    /// Keeps who had a node do something of which nothing is kept here.
    fn acted(
        &self,
        workspace: WorkspaceId,
        id: NodeId,
        action: &'static str,
        detail: String,
        act: Act,
    ) -> StoreFuture<'_, Written<()>>;
    /// What it reported of its own answers goes with it, and so does its credential.
    fn delete(
        &self,
        workspace: WorkspaceId,
        id: NodeId,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<()>>;
}
