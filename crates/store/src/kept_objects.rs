//! Ownership of objects that providers store (files, batches, videos), by Tidegate's ids for them.

use database::error::StoreFuture;
use domain::{BudgetClaim, Drawn, ObjectListQuery, ObjectOwner, StoredObject, StoredObjectId, TraceId};
use records::sql::budget_holds::BudgetHolds;

use crate::jobs::NewJob;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptObjectRow {
    pub id: StoredObjectId,
    pub owner: ObjectOwner,
    pub object: StoredObject,
}

pub trait ProviderObjects: Send + Sync {
    /// An object that is already recorded stays as it is, except for what lists show of it. `job` is enqueued
    /// only for a new object.
    ///
    /// # Errors
    /// If its project is gone.
    fn keep(&self, row: KeptObjectRow, job: Option<NewJob>) -> StoreFuture<'_, ()> {
        self.keep_with_holds(row, job, BudgetHolds::default())
    }
    /// The same, for an object that takes over what was reserved for it of budgets. Nothing of that is spent until it is booked.
    fn keep_with_holds(
        &self,
        row: KeptObjectRow,
        job: Option<NewJob>,
        holds: BudgetHolds,
    ) -> StoreFuture<'_, ()>;
    /// The budgets of which an object holds a part, or that are to count its cost.
    fn holds(&self, id: StoredObjectId) -> StoreFuture<'_, Vec<BudgetClaim>>;
    /// Has an object hold these parts of budgets where it holds a part of nothing of each. Nothing changes once that is released.
    fn hold(&self, id: StoredObjectId, parts: Vec<Drawn>) -> StoreFuture<'_, ()>;
    /// Releases what an object holds of budgets that nobody will book.
    fn release(&self, id: StoredObjectId) -> StoreFuture<'_, ()>;
    /// With a time of `0` it finds hidden objects, too.
    fn find(
        &self,
        owner: ObjectOwner,
        id: StoredObjectId,
        now_unix_ms: u64,
    ) -> StoreFuture<'_, Option<StoredObject>>;
    /// Objects that can be shown, in the order of their creation.
    fn list(&self, page: ObjectListQuery, now_unix_ms: u64) -> StoreFuture<'_, Vec<KeptObjectRow>>;
    /// Claims the right to bill the object's usage; `true` if this request has it, also when it claims again. What it held of
    /// budgets is released.
    fn book(&self, owner: ObjectOwner, id: StoredObjectId, by: TraceId) -> StoreFuture<'_, bool>;
    /// Gives that right back.
    fn unbook(&self, owner: ObjectOwner, id: StoredObjectId, by: TraceId) -> StoreFuture<'_, ()>;
    /// Hides the object for good. The row of a video that is not billed yet stays until it is billed.
    fn forget(&self, owner: ObjectOwner, id: StoredObjectId) -> StoreFuture<'_, ()>;
    /// Deletes at most `rows_max` expired rows, except unbilled videos, and returns how many it deleted.
    fn expire(&self, now_unix_ms: u64, rows_max: u32) -> StoreFuture<'_, u64>;
}
