//! Key rotation: of the master key, which wraps every workspace key, and of a workspace key, which seals the
//! workspace's secrets. Each step is one transaction, and the remaining work is derived from the database, so
//! that a killed process resumes after the last step.

use database::handle::Database;
use domain::{
    AccountId, ContentKind, CredentialId, KeyId, NodeId, PolicyId, Sealed, TraceId, WebhookId, WorkspaceId,
};
use snapshot::WrappedKey;

/// Facts with this prefix name the workspaces whose key is being rotated.
pub const REKEYED_PREFIX: &str = "rekeyed.";

/// An object sealed with a workspace key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealedThing {
    Credential(CredentialId),
    Node(NodeId),
    Account(AccountId),
    /// The secret of an API key's access keys.
    AccessKey(KeyId),
    /// The secret of a policy's hooks.
    Policy(PolicyId),
    /// A webhook's secret of one generation.
    Webhook(WebhookId, u32),
    /// The anti-rollback record of the object with this name.
    Floor(String),
    Content(ContentRow),
}

/// The location of a stored answer or turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRow {
    pub kept: ContentKind,
    pub digest: [u8; 32],
    pub project: domain::ProjectId,
    pub request: TraceId,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRow {
    pub thing: SealedThing,
    pub sealed: Sealed,
}

/// A row as it was read, and its new seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resealing {
    pub old: SealedRow,
    pub new: Sealed,
}

/// A wrapped key as it was read, and its new wrapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrapping {
    pub old: WrappedKey,
    pub new: Vec<u8>,
}

/// A cursor over all wrapped keys.
pub type KeyCursor = (WorkspaceId, String);

#[derive(Clone, Copy)]
pub struct Rotations<'a>(pub &'a Database);
