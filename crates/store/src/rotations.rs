//! The change of keys: of the master key, which wraps every workspace's, and of a workspace's, which seals its secrets.
//! Each step is one transaction, and what is left to do is read from what is there: whoever is killed goes on after it.

use domain::{AccountId, CredentialId, Kept, KeyId, NodeId, Sealed, TraceId, WebhookId, WorkspaceId};
use snapshot::WrappedKey;

use crate::{Act, StoreFuture, Written};

/// Facts of this prefix name the workspaces whose key is changed.
pub const REKEYED_PREFIX: &str = "rekeyed.";

/// A thing that a workspace's key sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealedThing {
    Credential(CredentialId),
    Node(NodeId),
    Account(AccountId),
    /// The secret of an API key's access keys.
    AccessKey(KeyId),
    /// A secret of a webhook, of one generation.
    Webhook(WebhookId, u32),
    /// The floor record of the object of this name.
    Floor(String),
    Kept(KeptPlaceRow),
}

/// Where a kept answer or turn lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptPlaceRow {
    pub kept: Kept,
    pub digest: [u8; 32],
    pub project: domain::ProjectId,
    pub request: TraceId,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRow {
    pub thing: SealedThing,
    pub sealed: Sealed,
}

/// One row as it is, and its seal as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resealing {
    pub old: SealedRow,
    pub new: Sealed,
}

/// One wrapped key as it is, and as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrapping {
    pub old: WrappedKey,
    pub new: Vec<u8>,
}

/// A place among all wrapped keys.
pub type KeyPlace = (WorkspaceId, String);

pub trait Rotations: Send + Sync {
    /// Names the key that is to replace the one in force.
    fn begin_master(&self, next: String, act: Act) -> StoreFuture<'_, Written<()>>;
    /// Keys that do not begin so, after a place, in their order.
    fn wrapped_otherwise(
        &self,
        prefix: Vec<u8>,
        after: Option<KeyPlace>,
        rows_max: u32,
    ) -> StoreFuture<'_, Vec<WrappedKey>>;
    /// How many there are.
    fn count_wrapped_otherwise(&self, prefix: Vec<u8>) -> StoreFuture<'_, u64>;
    /// Writes those that are still as they were read; how many.
    fn rewrap(&self, keys: Vec<Rewrapping>) -> StoreFuture<'_, u64>;
    /// Puts the next key in force with the records under it, once no key but `broken` ones is wrapped otherwise.
    fn switch_master(
        &self,
        next: String,
        records: Vec<(String, Vec<u8>)>,
        broken: Vec<KeyPlace>,
        act: Act,
    ) -> StoreFuture<'_, Option<Written<()>>>;
    /// Retires the previous key, once nothing but `broken` ones is under it.
    fn retire_master(&self, broken: Vec<KeyPlace>, act: Act) -> StoreFuture<'_, Option<Written<()>>>;

    /// A further key of a workspace, and the fact that it is to seal everything anew.
    fn begin_workspace(&self, key: WrappedKey, act: Act) -> StoreFuture<'_, Written<()>>;
    /// Everything but kept content that another key than this one seals.
    fn sealed_otherwise(&self, workspace: WorkspaceId, key_id: String) -> StoreFuture<'_, Vec<SealedRow>>;
    /// Kept content that another key than this one seals, after a place, in its order.
    fn kept_otherwise(
        &self,
        kept: Kept,
        workspace: WorkspaceId,
        key_id: String,
        after: Option<[u8; 32]>,
        rows_max: u32,
    ) -> StoreFuture<'_, Vec<SealedRow>>;
    /// Writes those that are still as they were read; how many.
    fn reseal(&self, workspace: WorkspaceId, rows: Vec<Resealing>) -> StoreFuture<'_, Written<u64>>;
    /// Drops every key of a workspace but its newest, which must be this one, once nothing is sealed by another.
    fn end_workspace(
        &self,
        workspace: WorkspaceId,
        key_id: String,
        act: Act,
    ) -> StoreFuture<'_, Option<Written<()>>>;
}
