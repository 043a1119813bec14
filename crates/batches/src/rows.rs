//! What is stored of a batch, and what is done with it.

use bytes::Bytes;
use database::error::StoreFuture;
use domain::ports::PurgeScope;
use domain::{
    ContentKind, ItemOutcome, ObjectListQuery, ObjectOwner, OwnBatch, ProjectId, Sealed, StoredObjectId,
    TraceId,
};
use store::NewJob;
use vault::{ContentRef, Vault, VaultError};

domain::words! {
    /// Which content of an item it is.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum ItemPart {
        Request = "request",
        Result = "result",
    }
}

/// Sealed content of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemContent {
    pub digest: [u8; 32],
    pub project: ProjectId,
    /// The request that wrote it.
    pub request: TraceId,
    pub sealed: Sealed,
}

impl ItemContent {
    /// Seals a part of an item, which `request` wrote.
    pub fn seal(
        vault: &Vault,
        batch: &OwnBatch,
        (position, part): (u64, ItemPart),
        request: TraceId,
        content: &[u8],
    ) -> Result<Self, VaultError> {
        let digest = vault.requests.of_batch_item(batch.id, position, part.as_str());
        let sealed = vault.sealer.seal_content(&content_ref(batch.owner, digest, request), content)?;
        Ok(Self { digest, project: batch.owner.project, request, sealed })
    }

    /// `None` if it does not open any more.
    pub fn open(&self, vault: &Vault, owner: ObjectOwner) -> Option<Bytes> {
        let content_ref = content_ref(owner, self.digest, self.request);
        let opened = vault.opener.open_content(&content_ref, &self.sealed).ok()?;
        Some(Bytes::copy_from_slice(opened.expose()))
    }
}

const fn content_ref(owner: ObjectOwner, digest: [u8; 32], request: TraceId) -> ContentRef {
    let ObjectOwner { workspace, project } = owner;
    ContentRef { kept: ContentKind::Batch, workspace, project, digest, request }
}

/// An item of a new batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewItem {
    pub position: u64,
    pub lane: u32,
    pub content: ItemContent,
}

/// An item that was taken to be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenItem {
    pub position: u64,
    pub tries: u32,
    pub started_unix_ms: u64,
    /// Somebody began this try before, and nobody knows how it ended.
    pub is_resumed: bool,
    /// `None` where it was purged.
    pub content: Option<ItemContent>,
}

/// How an item ended, with its result; `None` where nobody knows what it asked for any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedItem {
    pub position: u64,
    pub outcome: ItemOutcome,
    pub result: Option<ItemContent>,
}

/// An item that has ended, as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedItemRow {
    pub position: u64,
    pub outcome: ItemOutcome,
    /// Its result, or where it has none, its request; `None` where that was purged.
    pub content: Option<ItemContent>,
}

/// The batches of an installation.
pub trait Batches: Send + Sync {
    /// Begins to receive a batch; `Some` with the number of requests that wait in its project, if they are
    /// more than `items_max` with its own. Of a file, the pieces of all files count.
    fn begin(&self, batch: OwnBatch, until_unix_ms: u64, items_max: u64) -> StoreFuture<'_, Option<u64>>;
    fn add_items(&self, owner: ObjectOwner, id: StoredObjectId, items: Vec<NewItem>) -> StoreFuture<'_, ()>;
    /// It is complete: from now on it is found, and its jobs run. Without jobs it has ended.
    fn open(&self, id: StoredObjectId, jobs: Vec<NewJob>, now_unix_ms: u64) -> StoreFuture<'_, ()>;
    fn find(
        &self,
        owner: ObjectOwner,
        id: StoredObjectId,
        now_unix_ms: u64,
    ) -> StoreFuture<'_, Option<OwnBatch>>;
    fn list(&self, page: ObjectListQuery, now_unix_ms: u64) -> StoreFuture<'_, Vec<OwnBatch>>;
    fn cancel(&self, owner: ObjectOwner, id: StoredObjectId, now_unix_ms: u64) -> StoreFuture<'_, ()>;
    /// Deletes a batch that has ended.
    fn forget(&self, owner: ObjectOwner, id: StoredObjectId) -> StoreFuture<'_, ()>;
    /// `within` a number of rows, and of bytes that all but the last have together.
    fn ended_items(
        &self,
        id: StoredObjectId,
        after: Option<u64>,
        within: (u32, u64),
    ) -> StoreFuture<'_, Vec<EndedItemRow>>;
    /// The requests of a batch that are there after a position: of a file, its pieces.
    fn requests(
        &self,
        id: StoredObjectId,
        after: Option<u64>,
        rows_max: u32,
    ) -> StoreFuture<'_, Vec<(u64, ItemContent)>>;
    /// Deletes the results of the items that ended so.
    fn forget_results(&self, id: StoredObjectId, outcomes: Vec<ItemOutcome>) -> StoreFuture<'_, ()>;
    /// Takes the first items of a lane that are not among those `in_flight` and may be tried now.
    fn take(
        &self,
        id: StoredObjectId,
        lane: u32,
        in_flight: Vec<u64>,
        now_unix_ms: u64,
        rows_max: u32,
    ) -> StoreFuture<'_, Vec<OpenItem>>;
    /// Ends those items of a lane that have not begun; returns how many it ended, at most `rows_max`.
    fn end_waiting(
        &self,
        id: StoredObjectId,
        lane: u32,
        outcome: ItemOutcome,
        rows_max: u32,
    ) -> StoreFuture<'_, u64>;
    fn finish(&self, owner: ObjectOwner, id: StoredObjectId, items: Vec<FinishedItem>)
    -> StoreFuture<'_, ()>;
    /// The try of an item ended, and another one may begin then.
    fn retry(&self, id: StoredObjectId, position: u64, tries: u32, retry_unix_ms: u64)
    -> StoreFuture<'_, ()>;
    /// When the next item of a lane may be tried; `None` where all have ended.
    fn next_try(&self, id: StoredObjectId, lane: u32) -> StoreFuture<'_, Option<u64>>;
    /// Ends a batch whose items have all ended.
    fn conclude(&self, id: StoredObjectId, now_unix_ms: u64) -> StoreFuture<'_, bool>;
    /// Deletes some batches whose time is over, and those that were never received whole.
    fn expire(&self, now_unix_ms: u64, received_before_unix_ms: u64, rows_max: u32) -> StoreFuture<'_, u64>;
    /// Returns how many things were removed: batches with what they hold, and contents of others.
    fn purge(&self, scope: PurgeScope) -> StoreFuture<'_, u64>;
    fn remaining(&self, scope: PurgeScope) -> StoreFuture<'_, u64>;
}
