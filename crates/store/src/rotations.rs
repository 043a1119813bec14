//! Key rotation: of the master key, which wraps every workspace key, and of a workspace key, which seals the
//! workspace's secrets. Each step is one transaction, and the remaining work is derived from the database, so
//! that a killed process resumes after the last step.

use database::act::{Act, Written};
use database::error::StoreFuture;
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

pub trait Rotations: Send + Sync {
    /// Names the master key that is to replace the current one.
    fn begin_master(&self, next: String, act: Act) -> StoreFuture<'_, Written<()>>;
    /// Keys whose wrapping does not have this prefix, in order, from a cursor.
    fn list_wrapped_otherwise(
        &self,
        prefix: Vec<u8>,
        after: Option<KeyCursor>,
        rows_max: u32,
    ) -> StoreFuture<'_, Vec<WrappedKey>>;
    /// How many there are.
    fn count_wrapped_otherwise(&self, prefix: Vec<u8>) -> StoreFuture<'_, u64>;
    /// Updates those that are unchanged since they were read; returns how many.
    fn rewrap(&self, keys: Vec<Rewrapping>) -> StoreFuture<'_, u64>;
    /// Makes the next master key current, with the records sealed under it, once every key but the `broken`
    /// ones is wrapped with it. `None` if that is not so yet.
    fn switch_master(
        &self,
        next: String,
        records: Vec<(String, Vec<u8>)>,
        broken: Vec<KeyCursor>,
        act: Act,
    ) -> StoreFuture<'_, Option<Written<()>>>;
    /// Retires the previous master key, once only `broken` keys are wrapped with it.
    fn retire_master(&self, broken: Vec<KeyCursor>, act: Act) -> StoreFuture<'_, Option<Written<()>>>;

    /// Adds a newer key to a workspace, and the fact that everything is to be resealed with it.
    fn begin_workspace(&self, key: WrappedKey, act: Act) -> StoreFuture<'_, Written<()>>;
    /// Every row that another key than this one seals, except stored content.
    fn list_sealed_otherwise(
        &self,
        workspace: WorkspaceId,
        key_id: String,
    ) -> StoreFuture<'_, Vec<SealedRow>>;
    /// Stored content that another key than this one seals, in order, from a cursor.
    fn list_content_sealed_otherwise(
        &self,
        kept: ContentKind,
        workspace: WorkspaceId,
        key_id: String,
        after: Option<[u8; 32]>,
        rows_max: u32,
    ) -> StoreFuture<'_, Vec<SealedRow>>;
    /// Updates those that are unchanged since they were read; returns how many.
    fn reseal(&self, workspace: WorkspaceId, rows: Vec<Resealing>) -> StoreFuture<'_, Written<u64>>;
    /// Deletes every key of a workspace but its newest, which must be this one, once nothing is sealed with
    /// another.
    fn end_workspace(
        &self,
        workspace: WorkspaceId,
        key_id: String,
        act: Act,
    ) -> StoreFuture<'_, Option<Written<()>>>;
}
