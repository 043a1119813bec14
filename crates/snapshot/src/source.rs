//! Where a snapshot's parts come from: the store, or a signed remote one.

use std::sync::Arc;

use domain::ports::PortFuture;
use domain::{KeyId, NodeId, WorkspaceId};
use tokio::sync::watch;

use crate::compiled::KeyDigest;
use crate::entries::{
    AccountEntry, CapabilityEntry, KeyEntry, MinimumVersion, NodeEntry, WorkspaceEntry, WrappedKey,
};

/// Why the source gave nothing. The keeper continues with what it has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the configuration could not be read: {0}")]
pub struct SourceError(pub String);

/// A key that was added, changed or removed.
#[derive(Debug, Clone)]
pub enum KeyChange {
    Set(KeyDigest, Arc<KeyEntry>),
    Gone(KeyId),
}

/// A node that was added, changed or removed, in a workspace that is otherwise as it was.
#[derive(Debug, Clone)]
pub enum NodeChange {
    Set(Arc<NodeEntry>),
    Gone(WorkspaceId, NodeId),
}

impl NodeChange {
    pub fn workspace(&self) -> WorkspaceId {
        match self {
            Self::Set(entry) => entry.workspace,
            Self::Gone(workspace, _) => *workspace,
        }
    }
}

/// The changes since a given version, all as of one moment.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// The version of the configuration with this change.
    pub version: u64,
    /// If set, everything that exists is listed below, and what isn't listed is gone.
    pub whole: bool,
    pub keys: Vec<KeyChange>,
    /// `None` if the workspace is gone.
    pub workspaces: Vec<(WorkspaceId, Option<Arc<WorkspaceEntry>>)>,
    /// Nodes change far more often than the rest of a workspace, which can have thousands of them.
    pub nodes: Vec<NodeChange>,
    /// The whole list, if an account changed.
    pub accounts: Option<Vec<Arc<AccountEntry>>>,
    /// The whole list of what the operator states of providers, if it may have changed.
    pub capabilities: Option<Vec<CapabilityEntry>>,
    /// Sealing keys and minimum versions of what is listed: the vault learns them
    /// before the version is published.
    pub wrapped_keys: Vec<WrappedKey>,
    pub minimum_versions: Vec<MinimumVersion>,
    /// Set on a data plane.
    pub plane: Option<Arc<DataPlaneFacts>>,
}

impl Change {
    /// The nodes that were added or changed one by one.
    pub fn changed_nodes(&self) -> impl Iterator<Item = &Arc<NodeEntry>> {
        self.nodes.iter().filter_map(|change| match change {
            NodeChange::Set(entry) => Some(entry),
            NodeChange::Gone(..) => None,
        })
    }
}

/// What a data plane knows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataPlaneFacts {
    /// The address of its control plane.
    pub control: String,
    /// The workspaces of which nothing is served, and why.
    pub closed: Vec<(WorkspaceId, Closed)>,
}

/// Why a data plane serves nothing of a workspace, though it has its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// Its control plane has not confirmed the configuration within its life.
    Expired,
    /// Its control plane has revoked it.
    Revoked,
}

/// A versioned configuration that can be followed.
pub trait Source: Send + Sync {
    /// Everything, as of one moment; `whole` is set.
    fn load(&self) -> PortFuture<'_, Result<Change, SourceError>>;

    /// What changed after `version`; the answer may be `whole` if the feed no longer reaches back that far.
    fn changes_since(&self, version: u64) -> PortFuture<'_, Result<Change, SourceError>>;

    /// Signals that there may be something newer. Polling is authoritative; this only makes it prompt.
    fn subscribe(&self) -> watch::Receiver<u64>;
}
