//! Batches that the gateway works through itself: kept sealed until they have ended and their results were read, or for a
//! month. The jobs that work through them are given by whoever starts this.

use std::sync::Arc;
use std::time::Duration;

use batches::{Batches as _, EndedItemRow, ItemContent, ItemPart, NewItem, StoredBatches};
use bytes::Bytes;
use domain::limits::{
    BATCH_ITEMS_WAITING_MAX, BATCH_KEEP_TIME_MAX, BATCH_KEPT, RESPONSE_FIND_TIME_MAX, STORE_CLOSING_TIME_MAX,
};
use domain::ports::{Place, PortFuture, PurgeError, PurgeScope, Purgeable};
use domain::{
    BatchCounts, BatchNotKept, BatchStore, EndedItem, FoundBatch, ItemOutcome, NewBatch, ObjectListQuery,
    ObjectOwner, OwnBatch, ResultsFile, StoredKind, StoredObjectId,
};
use store::jobs::NewJob;
use store::{Store, StoreError};
use tasks::{RuntimeTasks, Task};
use tokio::time::timeout;
use vault::Vault;
use world::World;

use crate::expiry::expire_all;
use crate::limits::FILE_PIECES_KEPT_MAX;

/// How many items are written in one transaction.
const ITEMS_WRITTEN_AT_ONCE: usize = 500;
/// A page of results: rows, and bytes of which a page has as many and one row more.
const PAGE: (u32, u64) = (200, 1024 * 1024);
/// Pieces of a file that are read at once.
const PIECES: u32 = 16;
/// A batch is not opened so soon before its client is told that it could not be kept.
const LATE_BEFORE: Duration = Duration::from_secs(20);
/// A batch that was not received whole by then never is: its gateway ended.
const RECEIVED_WITHIN_MS: u64 = 3_600_000;

/// The jobs that work through a batch, at a time; the items are spread over them.
pub type BatchJobs = fn(&OwnBatch, u64) -> Vec<NewJob>;

/// Keeps batches.
pub struct Batches {
    inner: Arc<Inner>,
    expiring: Task,
}

struct Inner {
    batches: StoredBatches,
    vault: Vault,
    world: World,
    /// The runtime that uses the store: serving cores wait for its result and never do its work.
    tasks: RuntimeTasks,
    jobs: BatchJobs,
}

impl Batches {
    /// Starts deleting batches whose time is over. Must be called on the runtime that is to use the store.
    pub fn start(store: &Store, vault: Vault, world: World, jobs: BatchJobs) -> Arc<Self> {
        let tasks = RuntimeTasks::on_this_runtime("batches");
        let batches = batches::stored(store);
        let inner = Arc::new(Inner { batches, vault, world, tasks, jobs });
        let expired = Arc::clone(&inner);
        let expiring = Task::spawn("ends of batches", async move {
            expire_all(|rows_max| {
                let now = expired.now_unix_ms();
                expired.batches.expire(now, now.saturating_sub(RECEIVED_WITHIN_MS), rows_max)
            })
            .await;
        });
        Arc::new(Self { inner, expiring })
    }

    /// Returns when the reads and writes in flight are done, or after `STORE_CLOSING_TIME_MAX`.
    pub async fn stop(&self) {
        self.expiring.stop();
        self.inner.tasks.finish(STORE_CLOSING_TIME_MAX).await;
    }

    fn ask<T, F>(
        &self,
        time_max: Duration,
        work: impl FnOnce(Arc<Inner>) -> F,
    ) -> PortFuture<'static, Option<T>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let task = self.inner.tasks.run(work(Arc::clone(&self.inner)));
        Box::pin(async move {
            match timeout(time_max, task).await {
                Ok(Ok(Ok(value))) => Some(value),
                Ok(Ok(Err(error))) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "a batch could not be stored, read or changed");
                    None
                }
                _ => None,
            }
        })
    }
}

impl Inner {
    fn now_unix_ms(&self) -> u64 {
        self.world.clock.unix_ms()
    }

    async fn keep(&self, new: NewBatch) -> Result<Result<OwnBatch, BatchNotKept>, StoreError> {
        let NewBatch { kind, owner, request, key, headers, details, items, created_unix_ms, expires_unix_ms } =
            new;
        let processing = items.len() as u64;
        let batch = OwnBatch {
            id: self.vault.requests.of_own_batch(owner, kind, request),
            owner,
            request,
            key,
            headers,
            details,
            counts: BatchCounts { processing, ..BatchCounts::default() },
            created_unix_ms,
            expires_unix_ms,
            cancelled_unix_ms: None,
            ended_unix_ms: None,
        };
        let kept_ms = u64::try_from(BATCH_KEPT.as_millis()).unwrap_or(u64::MAX);
        let until_unix_ms = created_unix_ms.saturating_add(kept_ms);
        let batches = &self.batches;
        let items_max = match kind.kind() {
            StoredKind::File => FILE_PIECES_KEPT_MAX,
            _ => BATCH_ITEMS_WAITING_MAX,
        };
        if let Some(waiting) = batches.begin(batch.clone(), until_unix_ms, items_max).await? {
            return Ok(Err(BatchNotKept::TooManyWaiting(waiting)));
        }
        let is_worked_through = kind.kind() == StoredKind::Batch && processing > 0;
        let jobs = if is_worked_through { (self.jobs)(&batch, self.now_unix_ms()) } else { Vec::new() };
        let lanes = jobs.len().max(1) as u64;
        let within_us = u64::try_from((BATCH_KEEP_TIME_MAX - LATE_BEFORE).as_micros()).unwrap_or(u64::MAX);
        let late_us = self.world.clock.monotonic_us().saturating_add(within_us);
        let mut position = 0;
        for some in items.chunks(ITEMS_WRITTEN_AT_ONCE) {
            if self.world.clock.monotonic_us() > late_us {
                // Its client has been given up by then, and must not pay for what it does not know of.
                return Ok(Err(BatchNotKept::StoreUnavailable));
            }
            let mut rows = Vec::with_capacity(some.len());
            for item in some {
                let Some(content) = self.seal(&batch, position, item) else {
                    return Ok(Err(BatchNotKept::StoreUnavailable));
                };
                let lane = u32::try_from(position % lanes).unwrap_or_default();
                rows.push(NewItem { position, lane, content });
                position += 1;
            }
            batches.add_items(owner, batch.id, rows).await?;
        }
        let has_ended = jobs.is_empty();
        let now = self.now_unix_ms();
        batches.open(batch.id, jobs, now).await?;
        Ok(Ok(OwnBatch { ended_unix_ms: has_ended.then_some(now), ..batch }))
    }

    fn seal(&self, batch: &OwnBatch, position: u64, item: &[u8]) -> Option<ItemContent> {
        let part = (position, ItemPart::Request);
        let sealed = ItemContent::seal(&self.vault, batch, part, batch.request, item);
        if sealed.is_err() {
            tracing::error!(batch = %batch.id, "a request of a batch could not be sealed");
        }
        sealed.ok()
    }

    fn open(&self, owner: ObjectOwner, row: EndedItemRow) -> EndedItem {
        let content = row.content.and_then(|content| content.open(&self.vault, owner));
        EndedItem { position: row.position, outcome: row.outcome, content }
    }

    async fn find(&self, owner: ObjectOwner, id: StoredObjectId) -> Result<FoundBatch, StoreError> {
        let found = self.batches.find(owner, id, self.now_unix_ms()).await?;
        Ok(found.map_or(FoundBatch::Unknown, |batch| FoundBatch::Known(Box::new(batch))))
    }
}

impl BatchStore for Batches {
    fn keep(&self, batch: NewBatch) -> PortFuture<'static, Result<OwnBatch, BatchNotKept>> {
        let kept = self.ask(BATCH_KEEP_TIME_MAX, |inner| async move { inner.keep(batch).await });
        Box::pin(async move { kept.await.unwrap_or(Err(BatchNotKept::StoreUnavailable)) })
    }

    fn find(&self, owner: ObjectOwner, id: StoredObjectId) -> PortFuture<'static, FoundBatch> {
        let found = self.ask(RESPONSE_FIND_TIME_MAX, move |inner| async move { inner.find(owner, id).await });
        Box::pin(async move { found.await.unwrap_or(FoundBatch::StoreUnavailable) })
    }

    fn list(&self, page: ObjectListQuery) -> PortFuture<'static, Option<Vec<OwnBatch>>> {
        self.ask(RESPONSE_FIND_TIME_MAX, move |inner| async move {
            inner.batches.list(page, inner.now_unix_ms()).await
        })
    }

    fn cancel(&self, owner: ObjectOwner, id: StoredObjectId) -> PortFuture<'static, FoundBatch> {
        let found = self.ask(RESPONSE_FIND_TIME_MAX, move |inner| async move {
            inner.batches.cancel(owner, id, inner.now_unix_ms()).await?;
            inner.find(owner, id).await
        });
        Box::pin(async move { found.await.unwrap_or(FoundBatch::StoreUnavailable) })
    }

    fn forget(&self, owner: ObjectOwner, id: StoredObjectId) -> PortFuture<'static, bool> {
        let task = self
            .ask(RESPONSE_FIND_TIME_MAX, move |inner| async move { inner.batches.forget(owner, id).await });
        Box::pin(async move { task.await.is_some() })
    }

    fn ended_items(
        &self,
        owner: ObjectOwner,
        id: StoredObjectId,
        after: Option<u64>,
    ) -> PortFuture<'static, Option<Vec<EndedItem>>> {
        self.ask(RESPONSE_FIND_TIME_MAX, move |inner| async move {
            let rows = inner.batches.ended_items(id, after, PAGE).await?;
            Ok(rows.into_iter().map(|row| inner.open(owner, row)).collect())
        })
    }

    fn pieces(
        &self,
        owner: ObjectOwner,
        file: StoredObjectId,
        after: Option<u64>,
    ) -> PortFuture<'static, Option<Vec<(u64, Bytes)>>> {
        self.ask(RESPONSE_FIND_TIME_MAX, move |inner| async move {
            let rows = inner.batches.requests(file, after, PIECES).await?;
            let open = |(position, content): (u64, ItemContent)| {
                Some((position, content.open(&inner.vault, owner)?))
            };
            Ok(rows.into_iter().filter_map(open).collect())
        })
    }

    fn forget_results(&self, batch: StoredObjectId, results: ResultsFile) -> PortFuture<'static, bool> {
        let outcomes = ItemOutcome::ALL.into_iter().filter(|outcome| results.has(*outcome)).collect();
        let task = self.ask(RESPONSE_FIND_TIME_MAX, move |inner| async move {
            inner.batches.forget_results(batch, outcomes).await
        });
        Box::pin(async move { task.await.is_some() })
    }
}

impl Purgeable for Batches {
    fn place(&self) -> Place {
        Place::Batches
    }

    fn purge(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>> {
        Box::pin(async move { Ok(self.inner.batches.purge(scope).await?) })
    }

    fn remaining(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>> {
        Box::pin(async move { Ok(self.inner.batches.remaining(scope).await?) })
    }
}
