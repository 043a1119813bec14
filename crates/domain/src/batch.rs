//! Batches that the gateway works through itself, item by item, and the store that keeps them until their results are read.

use bytes::Bytes;

use crate::ids::{KeyId, TraceId};
use crate::money::Nanos;
use crate::ports::PortFuture;
use crate::stored_object::{ObjectListQuery, ObjectOwner, StoredKind, StoredObjectId, StoredObjectKind};

crate::words! {
    /// How one request of a batch ended.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum ItemOutcome {
        Succeeded = "succeeded",
        /// It was answered with an error, by whomever.
        Errored = "errored",
        /// Its batch was cancelled before it began.
        Cancelled = "cancelled",
        /// The time of its batch was over before it began.
        Expired = "expired",
    }
}

impl ItemOutcome {
    /// Whether there is an answer or an error of it.
    pub const fn has_result(self) -> bool {
        matches!(self, Self::Succeeded | Self::Errored)
    }
}

/// One of the files that have the results of a batch, in dialects whose batches are made of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultsFile {
    Answers,
    /// Also of requests that never began.
    Errors,
}

impl ResultsFile {
    pub const ALL: [Self; 2] = [Self::Answers, Self::Errors];

    /// Whether a request that ended so has its line there.
    pub fn has(self, outcome: ItemOutcome) -> bool {
        (outcome == ItemOutcome::Succeeded) == (self == Self::Answers)
    }

    /// The id of a batch's file: that of the batch but for one byte, so that no table has to say whose it is.
    pub fn of(self, batch: StoredObjectId) -> StoredObjectId {
        self.other(batch, StoredKind::File)
    }

    /// The batch whose file this would be.
    pub fn batch(self, file: StoredObjectId) -> StoredObjectId {
        self.other(file, StoredKind::Batch)
    }

    fn other(self, id: StoredObjectId, kind: StoredKind) -> StoredObjectId {
        let mut digest = id.digest;
        if let Some(last) = digest.last_mut() {
            *last ^= match self {
                Self::Answers => 1,
                Self::Errors => 2,
            };
        }
        StoredObjectId { kind: StoredObjectKind::of(id.kind.dialect(), kind), digest }
    }
}

/// How many requests of a batch are in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchCounts {
    pub processing: u64,
    pub succeeded: u64,
    pub errored: u64,
    pub cancelled: u64,
    pub expired: u64,
}

impl BatchCounts {
    pub const fn total(&self) -> u64 {
        self.processing + self.succeeded + self.errored + self.cancelled + self.expired
    }

    /// Adds requests that ended so.
    pub const fn add(&mut self, outcome: ItemOutcome, items: u64) {
        match outcome {
            ItemOutcome::Succeeded => self.succeeded += items,
            ItemOutcome::Errored => self.errored += items,
            ItemOutcome::Cancelled => self.cancelled += items,
            ItemOutcome::Expired => self.expired += items,
        }
    }
}

/// What was booked for the requests of a batch so far, whoever works through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchCost {
    pub cost: Nanos,
    pub provider_cost: Nanos,
}

/// A batch that the gateway works through, or a file of requests that it keeps for one, as it is now. Never its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnBatch {
    pub id: StoredObjectId,
    pub owner: ObjectOwner,
    /// The request that made it.
    pub request: TraceId,
    /// The key that made it, and pays for its requests.
    pub key: Option<KeyId>,
    /// Headers of the request that made it, which its own requests have too.
    pub headers: Vec<(String, String)>,
    /// What its dialect adds, in the dialect's own form.
    pub details: String,
    pub counts: BatchCounts,
    pub created_unix_ms: u64,
    /// Requests that have not started by then never start.
    pub expires_unix_ms: u64,
    /// When its client cancelled it.
    pub cancelled_unix_ms: Option<u64>,
    /// When its last request ended.
    pub ended_unix_ms: Option<u64>,
}

/// A batch to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBatch {
    pub kind: StoredObjectKind,
    pub owner: ObjectOwner,
    pub request: TraceId,
    pub key: Option<KeyId>,
    pub headers: Vec<(String, String)>,
    pub details: String,
    /// Its requests as its client wrote them; of a file, its pieces. Without any it has ended as soon as it is kept.
    pub items: Vec<Bytes>,
    pub created_unix_ms: u64,
    pub expires_unix_ms: u64,
}

/// The result of looking up a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundBatch {
    Known(Box<OwnBatch>),
    /// The gateway works through no such batch; a provider may.
    Unknown,
    StoreUnavailable,
}

/// Why a batch is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchNotKept {
    /// The project has this many requests in batches that have not ended.
    TooManyWaiting(u64),
    StoreUnavailable,
}

/// A request of a batch that has ended, in the order of its batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedItem {
    pub position: u64,
    pub outcome: ItemOutcome,
    /// The line of its result, or where none was made, the request. `None` where that was purged.
    pub content: Option<Bytes>,
}

/// Keeps batches that the gateway works through.
pub trait BatchStore: Send + Sync {
    /// Keeps a batch, whose requests are worked through from now on.
    fn keep(&self, batch: NewBatch) -> PortFuture<'static, Result<OwnBatch, BatchNotKept>>;
    fn find(&self, owner: ObjectOwner, id: StoredObjectId) -> PortFuture<'static, FoundBatch>;
    /// A page of a project's batches of one kind; `None` if the store does not answer.
    fn list(&self, page: ObjectListQuery) -> PortFuture<'static, Option<Vec<OwnBatch>>>;
    /// What has not begun does not begin any more.
    fn cancel(&self, owner: ObjectOwner, id: StoredObjectId) -> PortFuture<'static, FoundBatch>;
    /// Deletes a batch that has ended; `false` if the store does not answer.
    fn forget(&self, owner: ObjectOwner, id: StoredObjectId) -> PortFuture<'static, bool>;
    /// Some of the requests that have ended, after a position; `None` if the store does not answer.
    fn ended_items(
        &self,
        owner: ObjectOwner,
        id: StoredObjectId,
        after: Option<u64>,
    ) -> PortFuture<'static, Option<Vec<EndedItem>>>;
    /// Some pieces of a file of requests, after a position; `None` if the store does not answer. Those that were purged are
    /// missing.
    fn pieces(
        &self,
        owner: ObjectOwner,
        file: StoredObjectId,
        after: Option<u64>,
    ) -> PortFuture<'static, Option<Vec<(u64, Bytes)>>>;
    /// Deletes the lines of a results file; `false` if the store does not answer.
    fn forget_results(&self, batch: StoredObjectId, results: ResultsFile) -> PortFuture<'static, bool>;
}

/// For processes that keep none.
#[derive(Debug, Default)]
pub struct NoBatches;

impl BatchStore for NoBatches {
    fn keep(&self, _batch: NewBatch) -> PortFuture<'static, Result<OwnBatch, BatchNotKept>> {
        Box::pin(async { Err(BatchNotKept::StoreUnavailable) })
    }

    fn find(&self, _owner: ObjectOwner, _id: StoredObjectId) -> PortFuture<'static, FoundBatch> {
        Box::pin(async { FoundBatch::Unknown })
    }

    fn list(&self, _page: ObjectListQuery) -> PortFuture<'static, Option<Vec<OwnBatch>>> {
        Box::pin(async { Some(Vec::new()) })
    }

    fn cancel(&self, _owner: ObjectOwner, _id: StoredObjectId) -> PortFuture<'static, FoundBatch> {
        Box::pin(async { FoundBatch::Unknown })
    }

    fn forget(&self, _owner: ObjectOwner, _id: StoredObjectId) -> PortFuture<'static, bool> {
        Box::pin(async { false })
    }

    fn ended_items(
        &self,
        _owner: ObjectOwner,
        _id: StoredObjectId,
        _after: Option<u64>,
    ) -> PortFuture<'static, Option<Vec<EndedItem>>> {
        Box::pin(async { None })
    }

    fn pieces(
        &self,
        _owner: ObjectOwner,
        _file: StoredObjectId,
        _after: Option<u64>,
    ) -> PortFuture<'static, Option<Vec<(u64, Bytes)>>> {
        Box::pin(async { None })
    }

    fn forget_results(&self, _batch: StoredObjectId, _results: ResultsFile) -> PortFuture<'static, bool> {
        Box::pin(async { false })
    }
}
