//! Who made the answers that providers keep, found by the keyed hash of the provider's id.

use domain::ports::StoredResponse;
use domain::{ProjectId, TraceId, WorkspaceId};

use crate::{NewJob, StoreFuture};

/// `response.is_booked` is true where its own request books what it used, or another one did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResponseRow {
    /// The keyed hash of workspace, project and id.
    pub digest: [u8; 32],
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub response: StoredResponse,
    pub until_unix_ms: u64,
    /// Asked for in the same write, where it was not known before.
    pub job: Option<NewJob>,
}

pub trait StoredResponses: Send + Sync {
    /// All of them or none. What is known already stays as it is.
    ///
    /// # Errors
    /// A project is gone.
    fn keep(&self, rows: Vec<StoredResponseRow>) -> StoreFuture<'_, ()>;
    fn find(&self, digest: [u8; 32], now_unix_ms: u64) -> StoreFuture<'_, Option<StoredResponse>>;
    /// Whether this request, and no other, has the right to book what the answer used; asked again, it has it still.
    fn book(&self, digest: [u8; 32], by: TraceId) -> StoreFuture<'_, bool>;
    /// Gives that right back.
    fn unbook(&self, digest: [u8; 32], by: TraceId) -> StoreFuture<'_, ()>;
    fn forget(&self, digest: [u8; 32]) -> StoreFuture<'_, ()>;
    /// Removes what is over, so many rows at most; how many there were.
    fn expire(&self, now_unix_ms: u64, rows_max: u32) -> StoreFuture<'_, u64>;
}
