//! Who made what providers keep beside answers, by our names for it.

use domain::{KeptId, KeptObject, KeptOwner, KeptPage, TraceId};

use crate::{NewJob, StoreFuture};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptObjectRow {
    pub id: KeptId,
    pub owner: KeptOwner,
    pub object: KeptObject,
}

pub trait KeptObjects: Send + Sync {
    /// What is known already stays as it is, but for what lists show of it. The job is asked for where it was not known.
    ///
    /// # Errors
    /// Its project is gone.
    fn keep(&self, row: KeptObjectRow, job: Option<NewJob>) -> StoreFuture<'_, ()>;
    /// At the time `0` what is hidden is found, too.
    fn find(&self, owner: KeptOwner, id: KeptId, now_unix_ms: u64) -> StoreFuture<'_, Option<KeptObject>>;
    /// Those that can be shown, in the order in which they were made.
    fn list(&self, page: KeptPage, now_unix_ms: u64) -> StoreFuture<'_, Vec<KeptObjectRow>>;
    /// Whether this request, and no other, has the right to book what it used; asked again, it has it still.
    fn book(&self, owner: KeptOwner, id: KeptId, by: TraceId) -> StoreFuture<'_, bool>;
    /// Gives that right back.
    fn unbook(&self, owner: KeptOwner, id: KeptId, by: TraceId) -> StoreFuture<'_, ()>;
    /// Nobody finds it any more. Of a film that is not in the books yet the row stays, for who books it.
    fn forget(&self, owner: KeptOwner, id: KeptId) -> StoreFuture<'_, ()>;
    /// Removes what is over, but for such films, so many rows at most; how many there were.
    fn expire(&self, now_unix_ms: u64, rows_max: u32) -> StoreFuture<'_, u64>;
}
