//! Opaque state of turns with tool calls (thought signatures, sealed reasoning) that providers must be sent
//! again and clients can't carry: cached in memory, sealed in the store, found by the ids of the calls for a
//! day.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use domain::ContentKind;
use domain::limits::{
    KEPT_TURN_BYTES_MAX, STORE_CLOSING_TIME_MAX, TURN_CACHED_FOR, TURN_CALLS_MAX, TURN_FIND_TIME_MAX,
    TURNS_FOUND_BYTES_MAX, TURNS_REMEMBERED_BYTES_MAX, TURNS_WAITING_BYTES_MAX,
};
use domain::ports::{PortFuture, StoredTurn, TurnStore};
use domain::purge::{Place, PurgeError, PurgeScope, Purgeable, Purged, Remembers};
use domain::{ProjectId, TraceId, WorkspaceId};
use store::{KeptTurnRow, Store, StoreError, TurnLookup};
use tasks::{RuntimeTasks, Task};
use tokio::sync::{OwnedSemaphorePermit, RwLock, Semaphore};
use vault::{ContentRef, Vault};
use world::World;

use crate::limits::WRITE_PAUSE_MAX;
use crate::memory::{CachedTurn, Digest, Now, TurnCache};
use crate::packing::{pack_turn, unpack_turn};

/// How often a turn is written again while the store is away; the pause doubles each time.
const WRITE_TRIES: u32 = 12;
const WRITE_PAUSE: Duration = Duration::from_millis(100);
/// How often expired rows are deleted, and how many at a time.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);
const EXPIRED_ROWS: u32 = 500;
/// Store errors are logged no more often than this; otherwise every request would log one.
const WARN_EVERY_US: u64 = 60_000_000;

/// Stores the turns.
pub struct Turns {
    inner: Arc<Inner>,
    worker: Task,
}

struct Inner {
    store: Store,
    vault: Vault,
    world: World,
    /// The runtime that uses the store: serving cores wait for its result and never do its work.
    tasks: RuntimeTasks,
    here: Mutex<LocalState>,
    /// Bytes that may wait for the store.
    permits: Arc<Semaphore>,
    /// Write-locked by a purge, so that nothing it removes is read into memory or written in the meantime.
    purging: RwLock<()>,
    last_warned_us: Mutex<Option<u64>>,
}

/// The state of this process.
struct LocalState {
    memory: TurnCache,
    /// Turns not written to the store yet. A purge removes them from here, and then they are never written.
    waiting: HashMap<Digest, ContentRef>,
}

impl Turns {
    /// Starts deleting expired turns. Must be called on the runtime that is to use the store.
    pub fn start(store: Store, vault: Vault, world: World) -> Arc<Self> {
        let inner = Arc::new(Inner {
            store,
            vault,
            world,
            tasks: RuntimeTasks::on_this_runtime("turns"),
            here: Mutex::new(LocalState {
                memory: TurnCache::new(TURNS_REMEMBERED_BYTES_MAX),
                waiting: HashMap::new(),
            }),
            permits: Arc::new(Semaphore::new(TURNS_WAITING_BYTES_MAX)),
            purging: RwLock::default(),
            last_warned_us: Mutex::default(),
        });
        let worker = Task::spawn("turns", attend(Arc::downgrade(&inner)));
        Arc::new(Self { inner, worker })
    }

    /// Returns when the pending writes are done, or after `STORE_CLOSING_TIME_MAX`.
    pub async fn stop(&self) {
        self.worker.stop();
        self.inner.tasks.finish(STORE_CLOSING_TIME_MAX).await;
    }
}

async fn attend(inner: Weak<Inner>) {
    loop {
        tokio::time::sleep(EXPIRE_EVERY).await;
        let Some(inner) = inner.upgrade() else { return };
        if let Err(error) = inner.expire().await {
            inner.tell(Some(&error), "expired turns could not be removed");
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    fn here(&self) -> MutexGuard<'_, LocalState> {
        locked(&self.here)
    }

    fn now(&self) -> Now {
        Now { unix_ms: self.world.clock.unix_ms(), us: self.world.clock.monotonic_us() }
    }

    /// Logs a store error, at most once per `WARN_EVERY_US`.
    fn tell(&self, error: Option<&(dyn std::error::Error + 'static)>, what: &'static str) {
        let now_us = self.world.clock.monotonic_us();
        let mut warned_us = locked(&self.last_warned_us);
        if warned_us.is_none_or(|warned_us| now_us.saturating_sub(warned_us) >= WARN_EVERY_US) {
            *warned_us = Some(now_us);
            tracing::warn!(error, "{what}; this is logged at most once a minute");
        }
    }

    fn trust_until_us(&self) -> u64 {
        let believed_us = u64::try_from(TURN_CACHED_FOR.as_micros()).unwrap_or(u64::MAX);
        self.world.clock.monotonic_us().saturating_add(believed_us)
    }

    /// The turn to store; `None` where it has no calls to find it by, or is too long.
    fn turn(&self, kept: StoredTurn) -> Option<Arc<CachedTurn>> {
        let StoredTurn { workspace, project, request, calls, content, kept_for, is_awaited } = kept;
        let hash = |call: &String| self.vault.requests.of_call(workspace, project, call);
        let calls: Vec<_> = calls.iter().take(TURN_CALLS_MAX).map(hash).collect();
        let digest = self.vault.requests.of_turn(request, calls.first()?);
        if content.len() > KEPT_TURN_BYTES_MAX {
            return None;
        }
        let content_ref = ContentRef { kept: ContentKind::Turn, workspace, project, digest, request };
        let kept_ms = u64::try_from(kept_for.as_millis()).unwrap_or(u64::MAX);
        let until_unix_ms = self.world.clock.unix_ms().saturating_add(kept_ms);
        Some(Arc::new(CachedTurn { content_ref, calls, content: content.into(), until_unix_ms, is_awaited }))
    }

    /// `None` where too many bytes wait for the store already.
    fn permit_for(&self, turn: &CachedTurn) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(turn.bytes()).ok()?;
        Arc::clone(&self.permits).try_acquire_many_owned(bytes).ok()
    }

    async fn write(&self, turn: &Arc<CachedTurn>) {
        let mut pause = WRITE_PAUSE;
        for tries_left in (0..WRITE_TRIES).rev() {
            match self.try_write(turn).await {
                Ok(()) => break,
                Err(error) if error.is_transient() && tries_left > 0 => {
                    tokio::time::sleep(pause).await;
                    pause = WRITE_PAUSE_MAX.min(pause * 2);
                }
                Err(error) => self.tell(Some(&error), "a turn is known only to this process"),
            }
        }
        self.here().waiting.remove(&turn.content_ref.digest);
    }

    async fn try_write(&self, turn: &Arc<CachedTurn>) -> Result<(), StoreError> {
        let _no_purge = self.purging.read().await;
        let content_ref = turn.content_ref;
        if !self.here().waiting.contains_key(&content_ref.digest) {
            return Ok(());
        }
        // Sealed again for each attempt: the workspace's key may be rotated in between.
        let sealed = pack_turn(&turn.calls, &turn.content)
            .and_then(|packed| self.vault.sealer.seal_content(&content_ref, &packed).ok());
        let Some(sealed) = sealed else {
            tracing::error!(request = %content_ref.request, "a turn could not be sealed");
            return Ok(());
        };
        let ContentRef { digest, workspace, project, request, .. } = content_ref;
        let until_unix_ms = turn.until_unix_ms;
        let row = KeptTurnRow { digest, workspace, project, request, sealed, until_unix_ms };
        self.store.kept_turns().keep(row, turn.calls.clone()).await?;
        self.remember_awaited(turn);
        self.here().waiting.remove(&digest);
        Ok(())
    }

    /// From now on this process finds it, unless it was purged.
    fn remember_awaited(&self, turn: &Arc<CachedTurn>) {
        let believed_until_us = self.trust_until_us();
        let mut here = self.here();
        if turn.is_awaited && here.waiting.contains_key(&turn.content_ref.digest) {
            here.memory.put(Arc::clone(turn), believed_until_us);
        }
    }

    async fn find(
        self: &Arc<Self>,
        workspace: WorkspaceId,
        project: ProjectId,
        calls: &[String],
    ) -> Vec<Option<Bytes>> {
        let unsought = calls.len().saturating_sub(TURN_CALLS_MAX);
        let hash = |call: &String| self.vault.requests.of_call(workspace, project, call);
        let sought: Vec<_> = calls.iter().skip(unsought).map(hash).collect();
        let (mut known, unsure) = self.find_cached(&sought);
        if !unsure.is_empty() {
            let lookup = TurnLookup {
                workspace,
                project,
                calls: unsure.iter().copied().collect(),
                now_unix_ms: self.world.clock.unix_ms(),
                bytes_max: TURNS_FOUND_BYTES_MAX as u64,
            };
            // If the store doesn't answer, the cached turns are used.
            if let Some(found) = self.query_store(lookup).await {
                self.correct(&mut known, &unsure, &found);
            }
        }
        let content = |call| known.get(call).map(|turn| turn.content.clone());
        std::iter::repeat_n(None, unsought).chain(sought.iter().map(content)).collect()
    }

    /// The cached turns of these calls, and the calls that the store must be queried for.
    fn find_cached(&self, sought: &[Digest]) -> (HashMap<Digest, Arc<CachedTurn>>, HashSet<Digest>) {
        let (mut known, mut unsure) = (HashMap::new(), HashSet::new());
        let now = self.now();
        let memory = &mut self.here().memory;
        for call in sought {
            let found = memory.find(call, now);
            if !found.as_ref().is_some_and(|(_, is_believed)| *is_believed) {
                unsure.insert(*call);
            }
            known.extend(found.map(|(turn, _)| (*call, turn)));
        }
        (known, unsure)
    }

    /// For the calls that the store was queried for, its result replaces the cached one.
    fn correct(
        &self,
        known: &mut HashMap<Digest, Arc<CachedTurn>>,
        unsure: &HashSet<Digest>,
        found: &[Arc<CachedTurn>],
    ) {
        let is_found = |turn: &CachedTurn| found.iter().any(|other| other.content_ref == turn.content_ref);
        for turn in unsure.iter().filter_map(|call| known.remove(call)) {
            if !is_found(&turn) {
                self.here().memory.remove(&turn.content_ref.digest);
            }
        }
        // Sorted from old to new: if two turns have a call with the same id, the newer one wins.
        for turn in found {
            let calls = turn.calls.iter().filter(|call| unsure.contains(*call));
            known.extend(calls.map(|call| (*call, Arc::clone(turn))));
        }
    }

    /// The turns in the store; `None` where it failed or did not answer in time.
    async fn query_store(self: &Arc<Self>, lookup: TurnLookup) -> Option<Vec<Arc<CachedTurn>>> {
        const WHAT: &str = "turns could not be looked up";
        let inner = Arc::clone(self);
        let looking = self.tasks.run(async move { inner.read_from_store(lookup).await });
        match tokio::time::timeout(TURN_FIND_TIME_MAX, looking).await {
            Ok(Ok(Ok(found))) => return Some(found),
            Ok(Ok(Err(error))) => self.tell(Some(&error), WHAT),
            Ok(Err(error)) => self.tell(Some(&error), WHAT),
            Err(error) => self.tell(Some(&error), WHAT),
        }
        None
    }

    async fn read_from_store(&self, lookup: TurnLookup) -> Result<Vec<Arc<CachedTurn>>, StoreError> {
        let _no_purge = self.purging.read().await;
        let rows = self.store.kept_turns().find(lookup).await?;
        let turns: Vec<_> = rows.into_iter().filter_map(|row| self.open(row)).map(Arc::new).collect();
        let believed_until_us = self.trust_until_us();
        let memory = &mut self.here().memory;
        for turn in &turns {
            memory.put(Arc::clone(turn), believed_until_us);
        }
        Ok(turns)
    }

    /// A turn that doesn't open counts as unknown. Refusals are audited; a key made by another process is
    /// learned within a moment.
    fn open(&self, row: KeptTurnRow) -> Option<CachedTurn> {
        let KeptTurnRow { digest, workspace, project, request, sealed, until_unix_ms } = row;
        let content_ref = ContentRef { kept: ContentKind::Turn, workspace, project, digest, request };
        let packed = self.vault.opener.open_content(&content_ref, &sealed).ok()?;
        let (calls, content) = unpack_turn(packed.expose())?;
        Some(CachedTurn { content_ref, calls, content, until_unix_ms, is_awaited: false })
    }

    async fn expire(&self) -> Result<(), StoreError> {
        let now_unix_ms = self.world.clock.unix_ms();
        self.here().memory.forget(|turn| turn.until_unix_ms <= now_unix_ms);
        let expire = || self.store.kept_turns().expire(now_unix_ms, EXPIRED_ROWS);
        while expire().await? == u64::from(EXPIRED_ROWS) {}
        Ok(())
    }

    /// Removes the turns in this process's memory; returns how many of them the store never had.
    fn forget(&self, scope: &PurgeScope) -> u64 {
        let mut here = self.here();
        here.memory.forget(|turn| covers(scope, &turn.content_ref));
        let before = here.waiting.len();
        here.waiting.retain(|_, content_ref| !covers(scope, content_ref));
        (before - here.waiting.len()) as u64
    }

    async fn purge(&self, scope: PurgeScope) -> Result<u64, StoreError> {
        let _alone = self.purging.write().await;
        let unheard = self.forget(&scope);
        self.store.kept_turns().purge(scope).await.map(|gone| gone + unheard)
    }

    async fn remaining(&self, scope: PurgeScope) -> Result<u64, StoreError> {
        let _alone = self.purging.write().await;
        let unheard =
            self.here().waiting.values().filter(|content_ref| covers(&scope, content_ref)).count() as u64;
        self.store.kept_turns().remaining(scope).await.map(|left| left + unheard)
    }
}

fn covers(scope: &PurgeScope, content_ref: &ContentRef) -> bool {
    scope.covers(content_ref.workspace, content_ref.project, content_ref.request)
}

impl TurnStore for Turns {
    fn keep(&self, turn: StoredTurn) -> PortFuture<'static, ()> {
        let Some(turn) = self.inner.turn(turn) else { return Box::pin(async {}) };
        let permit = self.inner.permit_for(&turn);
        {
            let mut here = self.inner.here();
            if !turn.is_awaited || permit.is_none() {
                here.memory.put(Arc::clone(&turn), self.inner.trust_until_us());
            }
            if permit.is_some() {
                here.waiting.insert(turn.content_ref.digest, turn.content_ref);
            }
        }
        let Some(permit) = permit else {
            self.inner.tell(None, "too many turns wait for the store; some are known only to this process");
            return Box::pin(async {});
        };
        let inner = Arc::clone(&self.inner);
        // Spawned at once, not when the future is polled: its caller may drop it.
        let written = Arc::clone(&turn);
        let writing = self.inner.tasks.run(async move {
            inner.write(&written).await;
            drop(permit);
        });
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            if !turn.is_awaited {
                let _ = writing.await;
            } else if tokio::time::timeout(TURN_FIND_TIME_MAX, writing).await.is_err() {
                // The write goes on. Until it is done, this process alone has it.
                inner.remember_awaited(&turn);
            }
        })
    }

    fn find(
        &self,
        workspace: WorkspaceId,
        project: ProjectId,
        calls: Vec<String>,
    ) -> PortFuture<'static, Vec<Option<Bytes>>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { inner.find(workspace, project, &calls).await })
    }

    fn forget(&self, workspace: WorkspaceId, request: TraceId) -> PortFuture<'static, bool> {
        let inner = Arc::clone(&self.inner);
        let scope = PurgeScope::of(workspace, Purged::Requests(vec![request]));
        let purging = self.inner.tasks.run(async move { inner.purge(scope).await });
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            match purging.await {
                Ok(Ok(gone)) => gone > 0,
                Ok(Err(error)) => {
                    inner.tell(Some(&error), "the stored content of a request could not be deleted");
                    false
                }
                Err(_) => false,
            }
        })
    }
}

impl Remembers for Turns {
    /// Turns that wait to be written stay: nothing else has them.
    fn forget_remembered(&self, workspace: WorkspaceId, project: Option<ProjectId>) {
        let scope = PurgeScope::of(workspace, project.map_or(Purged::Everything, Purged::Project));
        self.inner.here().memory.forget(|turn| covers(&scope, &turn.content_ref));
    }
}

impl Purgeable for Turns {
    fn place(&self) -> Place {
        Place::KeptTurns
    }

    fn purge(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>> {
        Box::pin(async move { Ok(self.inner.purge(scope).await?) })
    }

    fn remaining(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>> {
        Box::pin(async move { Ok(self.inner.remaining(scope).await?) })
    }
}

domain::brief_debug!(Turns);

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;
