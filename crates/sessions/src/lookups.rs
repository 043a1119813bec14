//! Which sessions there are, for requests that name one: asked of the store, and remembered for a few seconds.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use domain::limits::{RESPONSE_FIND_TIME_MAX, STORE_CLOSING_TIME_MAX};
use domain::ports::{
    FoundSession, HistoryEvent, PortFuture, SessionFailure, SessionHead, SessionStore, SessionWriter,
    WarmEvent, WarmSession,
};
use domain::{BranchId, ObjectOwner, Principal, SessionEventId, SessionId};
use store::{Store, StoreError};
use tasks::{RuntimeTasks, Task};
use tokio::task::JoinError;
use tokio::time::timeout;
use vault::Vault;
use world::World;

use crate::carried;
use crate::expiry::expire_all;
use crate::limits::{SESSION_TIME_MAX, SESSIONS_REMEMBERED_MAX};
use crate::transcripts::Transcripts;

/// A session that was deleted is known for this long to processes that have just seen it.
const REMEMBERED_US: u64 = 5_000_000;

/// Looks sessions up, and ends those whose time is over.
pub struct SessionLookups {
    inner: Arc<Inner>,
    expiring: Task,
}

struct Inner {
    store: Store,
    world: World,
    transcripts: Transcripts,
    /// The runtime that uses the store: serving cores wait for its result and never do its work.
    tasks: RuntimeTasks,
    known: Mutex<HashMap<(ObjectOwner, SessionId), Remembered>>,
}

/// A session that was there.
struct Remembered {
    /// Until when it is believed to be, on the monotonic clock.
    until_us: u64,
    /// Where the runs of a warm one stay.
    seat: Option<Principal>,
}

impl SessionLookups {
    /// Starts ending sessions and artifacts. Must be called on the runtime that is to use the store.
    pub fn start(store: Store, vault: Vault, world: World) -> Arc<Self> {
        let tasks = RuntimeTasks::on_this_runtime("session lookups");
        let transcripts = Transcripts { store: store.clone(), vault, world: world.clone() };
        let inner = Arc::new(Inner { store, world, transcripts, tasks, known: Mutex::default() });
        let expired = Arc::clone(&inner);
        let expiring = Task::spawn("ends of sessions", async move {
            expire_all(|rows_max| expired.store.artifacts().expire(expired.world.clock.unix_ms(), rows_max))
                .await;
        });
        Arc::new(Self { inner, expiring })
    }

    /// Returns when the lookups in flight are done, or after `STORE_CLOSING_TIME_MAX`.
    pub async fn stop(&self) {
        self.expiring.stop();
        self.inner.tasks.finish(STORE_CLOSING_TIME_MAX).await;
    }
}

impl Inner {
    fn now_us(&self) -> u64 {
        self.world.clock.monotonic_us()
    }

    fn known(&self, owner: ObjectOwner, id: SessionId) -> Option<FoundSession> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Remembered { until_us, seat } = known.get(&(owner, id))?;
        (*until_us > self.now_us()).then_some(FoundSession::Known { is_warm: seat.is_some(), seat: *seat })
    }

    fn remember(&self, owner: ObjectOwner, id: SessionId, seat: Option<Principal>) {
        let now_us = self.now_us();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= SESSIONS_REMEMBERED_MAX {
            known.retain(|_, remembered| remembered.until_us > now_us);
        }
        if known.len() < SESSIONS_REMEMBERED_MAX {
            let until_us = now_us.saturating_add(REMEMBERED_US);
            known.insert((owner, id), Remembered { until_us, seat });
        }
    }

    async fn look_up(&self, owner: ObjectOwner, id: SessionId) -> FoundSession {
        let now_unix_ms = self.world.clock.unix_ms();
        match self.store.sessions().get(owner.workspace, id, now_unix_ms).await {
            Ok(row) if row.project == owner.project => {
                let seat = row.warm.as_ref().and_then(|warm| warm.seat);
                // The seat of a warm one may be known any moment, at another gateway too.
                let is_warm = row.warm.is_some();
                if !is_warm || seat.is_some() {
                    self.remember(owner, id, seat);
                }
                FoundSession::Known { is_warm, seat }
            }
            Ok(_) | Err(StoreError::NotFound { .. }) => FoundSession::Unknown,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "a session could not be looked up");
                FoundSession::StoreUnavailable
            }
        }
    }
}

/// Waits for what is done with a session on the runtime that uses the store.
async fn within<T>(
    doing: impl Future<Output = Result<Result<T, SessionFailure>, JoinError>>,
) -> Result<T, SessionFailure> {
    match timeout(SESSION_TIME_MAX, doing).await {
        Ok(Ok(done)) => done,
        _ => Err(SessionFailure::StoreUnavailable),
    }
}

impl SessionStore for SessionLookups {
    fn find(&self, owner: ObjectOwner, id: SessionId) -> PortFuture<'static, FoundSession> {
        if let Some(known) = self.inner.known(owner, id) {
            return Box::pin(async move { known });
        }
        let inner = Arc::clone(&self.inner);
        let looking = self.inner.tasks.run(async move { inner.look_up(owner, id).await });
        Box::pin(async move {
            match timeout(RESPONSE_FIND_TIME_MAX, looking).await {
                Ok(Ok(found)) => found,
                _ => FoundSession::StoreUnavailable,
            }
        })
    }

    fn head(
        &self,
        owner: ObjectOwner,
        id: SessionId,
    ) -> PortFuture<'static, Result<SessionHead, SessionFailure>> {
        let transcripts = self.inner.transcripts.clone();
        Box::pin(within(self.inner.tasks.run(async move { transcripts.head(owner, id).await })))
    }

    fn history(
        &self,
        owner: ObjectOwner,
        id: SessionId,
        branch: Option<BranchId>,
    ) -> PortFuture<'static, Result<(SessionHead, Vec<HistoryEvent>), SessionFailure>> {
        let transcripts = self.inner.transcripts.clone();
        Box::pin(within(self.inner.tasks.run(async move { transcripts.history(owner, id, branch).await })))
    }

    fn append(
        &self,
        by: SessionWriter,
        to: (SessionId, BranchId),
        events: Vec<(String, String)>,
    ) -> PortFuture<'static, Result<Vec<SessionEventId>, SessionFailure>> {
        let transcripts = self.inner.transcripts.clone();
        Box::pin(within(self.inner.tasks.run(async move { transcripts.append(by, to, events).await })))
    }

    fn open(
        &self,
        by: SessionWriter,
        name: &'static str,
        metadata: BTreeMap<String, String>,
    ) -> PortFuture<'static, Result<SessionHead, SessionFailure>> {
        let transcripts = self.inner.transcripts.clone();
        Box::pin(within(self.inner.tasks.run(async move { transcripts.open(by, name, metadata).await })))
    }

    fn set_metadata(
        &self,
        by: SessionWriter,
        id: SessionId,
        metadata: BTreeMap<String, String>,
    ) -> PortFuture<'static, Result<(), SessionFailure>> {
        let transcripts = self.inner.transcripts.clone();
        Box::pin(within(
            self.inner.tasks.run(async move { transcripts.set_metadata(by, id, metadata).await }),
        ))
    }

    fn delete(&self, by: SessionWriter, id: SessionId) -> PortFuture<'static, Result<(), SessionFailure>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(within(self.inner.tasks.run(async move {
            let owner = by.owner;
            let deleted = inner.transcripts.delete(by, id).await;
            inner.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&(owner, id));
            deleted
        })))
    }

    fn open_warm(
        &self,
        by: SessionWriter,
        app: String,
        idle_ms: u64,
    ) -> PortFuture<'static, Result<WarmSession, SessionFailure>> {
        let transcripts = self.inner.transcripts.clone();
        Box::pin(within(self.inner.tasks.run(async move { transcripts.open_warm(by, app, idle_ms).await })))
    }

    fn warm(
        &self,
        owner: ObjectOwner,
        id: SessionId,
        event: WarmEvent,
    ) -> PortFuture<'static, Result<WarmSession, SessionFailure>> {
        let transcripts = self.inner.transcripts.clone();
        Box::pin(within(self.inner.tasks.run(async move { transcripts.warm(owner, id, event).await })))
    }

    fn event(
        &self,
        owner: ObjectOwner,
        id: SessionEventId,
    ) -> PortFuture<'static, Result<HistoryEvent, SessionFailure>> {
        let transcripts = self.inner.transcripts.clone();
        Box::pin(within(self.inner.tasks.run(async move { transcripts.event(owner, id).await })))
    }

    fn empty_event(
        &self,
        by: SessionWriter,
        id: SessionId,
        event: SessionEventId,
    ) -> PortFuture<'static, Result<(), SessionFailure>> {
        let transcripts = self.inner.transcripts.clone();
        Box::pin(within(self.inner.tasks.run(async move { transcripts.empty_event(by, id, event).await })))
    }

    fn seal(&self, by: &SessionWriter, content: &[u8]) -> Option<Vec<u8>> {
        carried::seal(&self.inner.transcripts.vault, (by.owner, by.request), content)
    }

    fn open_sealed(&self, owner: ObjectOwner, sealed: &[u8]) -> Option<Vec<u8>> {
        carried::open(&self.inner.transcripts.vault, owner, sealed)
    }
}
