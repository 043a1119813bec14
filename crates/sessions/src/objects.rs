//! Which credential made the files, batches and videos that providers store. These are created rarely, and
//! the client gets their ids at once, so each is written to the store before its client gets the response.

use std::sync::Arc;
use std::time::Duration;

use domain::limits::{KEPT_ID_BYTES_MAX, RESPONSE_FIND_TIME_MAX, STORE_CLOSING_TIME_MAX};
use domain::ports::{ObjectStore, PortFuture};
use domain::{
    Drawn, FoundObject, ObjectListQuery, ObjectOwner, Principal, StoredObject, StoredObjectId,
    StoredObjectKind, TraceId,
};
use store::jobs::NewJob;
use store::{BudgetHolds, KeptObjectRow, Store, StoreError};
use tasks::{RuntimeTasks, Task};
use tokio::time::{sleep, timeout};
use vault::Vault;
use world::World;

use crate::expiry::expire_all;
use crate::limits::LIST_ENTRY_BYTES_MAX;

const WRITE_PAUSE: Duration = Duration::from_millis(100);

/// The job to enqueue once an object is stored, if its kind needs one.
pub type Chore = Box<dyn Fn(ObjectOwner, StoredObjectId, u64) -> Option<NewJob> + Send + Sync>;

/// Stores who made which object.
pub struct Objects {
    inner: Arc<Inner>,
    vault: Vault,
    expiring: Task,
}

struct Inner {
    store: Store,
    world: World,
    /// The runtime that uses the store: serving cores wait for its result and never do its work.
    tasks: RuntimeTasks,
    chore: Chore,
}

impl Objects {
    /// Starts deleting expired rows. Must be called on the runtime that is to use the store.
    pub fn start(store: Store, vault: Vault, world: World, chore: Chore) -> Arc<Self> {
        let tasks = RuntimeTasks::on_this_runtime("objects");
        let inner = Arc::new(Inner { store, world, tasks, chore });
        let expired = Arc::clone(&inner);
        let expiring = Task::spawn("objects", async move {
            expire_all(|rows_max| expired.store.kept_objects().expire(expired.now_unix_ms(), rows_max)).await;
        });
        Arc::new(Self { inner, vault, expiring })
    }

    /// Returns when the reads and writes in flight are done, or after `STORE_CLOSING_TIME_MAX`.
    pub async fn stop(&self) {
        self.expiring.stop();
        self.inner.tasks.finish(STORE_CLOSING_TIME_MAX).await;
    }

    fn ask<T, F>(&self, work: impl FnOnce(Arc<Inner>) -> F) -> PortFuture<'static, Option<T>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let task = self.inner.tasks.run(work(Arc::clone(&self.inner)));
        Box::pin(async move {
            match timeout(RESPONSE_FIND_TIME_MAX, task).await {
                Ok(Ok(Ok(value))) => Some(value),
                Ok(Ok(Err(error))) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the owner of a stored object could not be written or read");
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

    async fn keep(&self, row: KeptObjectRow, parts: Vec<Drawn>) -> Result<(), StoreError> {
        let job = (self.chore)(row.owner, row.id, self.now_unix_ms());
        let holds = BudgetHolds { replica: self.store.replica(), parts };
        loop {
            let objects = self.store.kept_objects();
            match objects.keep_with_holds(row.clone(), job.clone(), holds.clone()).await {
                // Retried without a limit: the caller waits with a timeout.
                Err(error) if error.is_transient() => sleep(WRITE_PAUSE).await,
                done => return done,
            }
        }
    }
}

/// Whether a provider's id can be part of a URL without escaping.
fn is_plain(id: &str) -> bool {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=KEPT_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_safe)
}

impl ObjectStore for Objects {
    fn id(
        &self,
        owner: ObjectOwner,
        kind: StoredObjectKind,
        maker: Principal,
        provider_id: &str,
    ) -> StoredObjectId {
        self.vault.requests.of_object(owner, kind, maker, provider_id)
    }

    fn keep(
        &self,
        owner: ObjectOwner,
        id: StoredObjectId,
        mut object: StoredObject,
        holds: Vec<Drawn>,
    ) -> PortFuture<'static, bool> {
        if !is_plain(&object.provider_id) {
            return Box::pin(async { false });
        }
        if object.list_entry.len() > LIST_ENTRY_BYTES_MAX {
            object.list_entry.clear();
        }
        let row = KeptObjectRow { id, owner, object };
        let kept = self.ask(|inner| async move { inner.keep(row, holds).await });
        Box::pin(async move { kept.await.is_some() })
    }

    fn find(&self, owner: ObjectOwner, id: StoredObjectId) -> PortFuture<'static, FoundObject> {
        let found = self.ask(move |inner| async move {
            inner.store.kept_objects().find(owner, id, inner.now_unix_ms()).await
        });
        Box::pin(async move {
            match found.await {
                Some(Some(object)) => FoundObject::Known(Box::new(object)),
                Some(None) => FoundObject::Unknown,
                None => FoundObject::StoreUnavailable,
            }
        })
    }

    fn list(
        &self,
        page: ObjectListQuery,
    ) -> PortFuture<'static, Option<Vec<(StoredObjectId, StoredObject)>>> {
        self.ask(move |inner| async move {
            let rows = inner.store.kept_objects().list(page, inner.now_unix_ms()).await?;
            Ok(rows.into_iter().map(|row| (row.id, row.object)).collect())
        })
    }

    fn book(&self, owner: ObjectOwner, id: StoredObjectId, by: TraceId) -> PortFuture<'static, bool> {
        let task = self.ask(move |inner| async move { inner.store.kept_objects().book(owner, id, by).await });
        Box::pin(async move { task.await.unwrap_or(false) })
    }

    fn unbook(&self, owner: ObjectOwner, id: StoredObjectId, by: TraceId) -> PortFuture<'static, ()> {
        let task =
            self.ask(move |inner| async move { inner.store.kept_objects().unbook(owner, id, by).await });
        Box::pin(async move { task.await.unwrap_or(()) })
    }

    fn forget(&self, owner: ObjectOwner, id: StoredObjectId) -> PortFuture<'static, ()> {
        let task = self.ask(move |inner| async move { inner.store.kept_objects().forget(owner, id).await });
        Box::pin(async move { task.await.unwrap_or(()) })
    }
}

domain::brief_debug!(Objects);

#[cfg(test)]
#[path = "objects_tests.rs"]
mod tests;
