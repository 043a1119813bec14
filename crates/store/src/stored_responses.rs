//! Ownership of responses that providers store, found by a keyed hash of the provider's id.

use database::error::StoreFuture;
use domain::ports::StoredResponse;
use domain::{BudgetClaim, ProjectId, TraceId, WorkspaceId};
use records::sql::budget_holds::BudgetHolds;

use crate::jobs::NewJob;

/// `response.is_booked` is true if its own request bills its usage, or another one did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResponseRow {
    /// The keyed hash of workspace, project and id.
    pub digest: [u8; 32],
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    /// What its provider calls it.
    pub provider_id: String,
    pub response: StoredResponse,
    pub until_unix_ms: u64,
    /// Enqueued in the same transaction, if the response was not known.
    pub job: Option<NewJob>,
    /// What it takes over of budgets, if it was not known.
    pub holds: BudgetHolds,
}

pub trait StoredResponses: Send + Sync {
    /// Stores all of them or none. A row that is known already stays as it is.
    ///
    /// # Errors
    /// If a project is gone.
    fn keep(&self, rows: Vec<StoredResponseRow>) -> StoreFuture<'_, ()>;
    fn find(&self, digest: [u8; 32], now_unix_ms: u64) -> StoreFuture<'_, Option<StoredResponse>>;
    /// The budgets of which a response holds a part, or that are to count its cost.
    fn holds(&self, digest: [u8; 32]) -> StoreFuture<'_, Vec<BudgetClaim>>;
    /// Moves what a replica reserved to a response that was kept with parts of nothing. If it is booked by now, nobody holds it.
    fn hold(&self, digest: [u8; 32], holds: BudgetHolds) -> StoreFuture<'_, ()>;
    /// Claims the right to bill the response's usage; `true` if this request has it, also when it claims
    /// again.
    fn claim(&self, digest: [u8; 32], by: TraceId) -> StoreFuture<'_, bool>;
    /// The same, and what it held of budgets is released: whoever books it draws on its own.
    fn book(&self, digest: [u8; 32], by: TraceId) -> StoreFuture<'_, bool>;
    /// Releases what a response holds of budgets that uses no more, or whose use nobody will know.
    fn release(&self, digest: [u8; 32]) -> StoreFuture<'_, ()>;
    /// Gives that right back.
    fn unbook(&self, digest: [u8; 32], by: TraceId) -> StoreFuture<'_, ()>;
    fn forget(&self, digest: [u8; 32]) -> StoreFuture<'_, ()>;
    /// Deletes at most `rows_max` expired rows, and returns how many it deleted.
    fn expire(&self, now_unix_ms: u64, rows_max: u32) -> StoreFuture<'_, u64>;
}
