//! Idempotency keys: a key is claimed in the store before anything is sent, and its answer is sealed once
//! complete and replayed for a day.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use domain::limits::{
    CLAIM_EXTENDED_EVERY, CLAIM_TIME_MAX, CLAIM_WAIT_MAX, KEEP_WAIT_MAX, STORE_CLOSING_TIME_MAX,
};
use domain::ports::{
    AnswerStore, Claim, Claimed, KeyedRequest, Place, PortFuture, PurgeError, PurgeScope, Purgeable,
    StoredAnswer,
};
use domain::{ContentKind, ProjectId, TraceId, WorkspaceId};
use store::{AnswerClaim, Claiming, ReplicaId, Store, StoreError};
use tasks::{RuntimeTasks, Task};
use tokio::sync::{oneshot, watch};
use vault::{ContentRef, OpenError, Vault};
use world::World;

use crate::packing::{pack, unpack};

/// How often storing an answer is tried while the store is away; the claim is held until then.
const KEEP_TRIES: u32 = 30;
const KEEP_PAUSE: Duration = Duration::from_secs(2);
/// Expired rows are deleted this many at a time.
const EXPIRED_ROWS: u32 = 500;
/// The worker deletes expired rows once in this many rounds.
const EXPIRE_EVERY_ROUNDS: u32 = 4;

/// Settings of the answer store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswersSettings {
    /// An answer with a longer body is not stored.
    pub body_bytes_max: usize,
    /// This replica. Its claims are released at start, since the process that held them is gone.
    pub holder: ReplicaId,
}

/// Stores the answers of requests with an idempotency key.
pub struct Answers {
    inner: Arc<Inner>,
    worker: Task,
}

struct Inner {
    store: Store,
    vault: Vault,
    world: World,
    settings: AnswersSettings,
    /// The runtime that uses the store: serving cores wait for its result and never do its work.
    tasks: RuntimeTasks,
    claims: Mutex<Claims>,
    queries: Mutex<QueriesInFlight>,
}

/// The claims held by this process, by the digest of the key: a repeat of a request in flight here is
/// detected without the store.
type Claims = HashMap<[u8; 32], Open>;

#[derive(Debug, Clone, Copy)]
struct Open {
    request: TraceId,
    body_digest: [u8; 32],
    stage: Stage,
}

/// Single flight: of concurrent requests under one key, one queries the store, and the others wait for its
/// result.
type QueriesInFlight = HashMap<[u8; 32], ([u8; 32], watch::Receiver<Option<QueryOutcome>>)>;

/// The result of the query, for the requests that waited for it.
#[derive(Debug, Clone)]
enum QueryOutcome {
    InFlight,
    Answered(StoredAnswer),
    Unreadable,
    OtherBody,
    StoreUnavailable,
}

impl QueryOutcome {
    fn of(claimed: &Claimed) -> Self {
        match claimed {
            Claimed::Acquired(_) | Claimed::InFlight => Self::InFlight,
            Claimed::Answered(answer) => Self::Answered(answer.clone()),
            Claimed::Unreadable => Self::Unreadable,
            Claimed::OtherBody => Self::OtherBody,
            Claimed::StoreUnavailable => Self::StoreUnavailable,
        }
    }

    /// The result for a request with the same body, or with another one; `None` where only the store can
    /// tell.
    fn means(self, same_body: bool) -> Option<Claimed> {
        Some(match self {
            Self::StoreUnavailable => Claimed::StoreUnavailable,
            Self::OtherBody if same_body => Claimed::OtherBody,
            Self::OtherBody => return None,
            _ if !same_body => Claimed::OtherBody,
            Self::InFlight => Claimed::InFlight,
            Self::Answered(answer) => Claimed::Answered(answer),
            Self::Unreadable => Claimed::Unreadable,
        })
    }
}

/// The exclusive right to query the store for a key; dropping it gives the right up.
struct StoreQuery<'a> {
    inner: &'a Inner,
    digest: [u8; 32],
    tell: watch::Sender<Option<QueryOutcome>>,
}

impl Drop for StoreQuery<'_> {
    fn drop(&mut self) {
        self.inner.queries.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.digest);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// Released here, but the store could not be reached; the release is repeated.
    Released,
}

impl Answers {
    /// Releases the claims of an earlier process of this replica, and starts the task that maintains claims.
    /// Must be called on the runtime that is to use the store.
    pub async fn start(
        store: Store,
        vault: Vault,
        world: World,
        settings: AnswersSettings,
    ) -> Result<Arc<Self>, StoreError> {
        let freed = store.kept_answers().abandon(settings.holder).await?;
        if freed > 0 {
            tracing::info!(freed, "keyed requests of the last run may be sent again");
        }
        let tasks = RuntimeTasks::on_this_runtime("answers");
        let inner = Arc::new(Inner {
            store,
            vault,
            world,
            settings,
            tasks,
            claims: Mutex::default(),
            queries: Mutex::default(),
        });
        let worker = Task::spawn("answers", attend(Arc::downgrade(&inner)));
        Ok(Arc::new(Self { inner, worker }))
    }

    /// Stops maintaining claims; open ones are released at the next start, or when they expire. Returns when the answers and releases in flight are in the store, or after `STORE_CLOSING_TIME_MAX`.
    pub async fn stop(&self) {
        self.worker.stop();
        self.inner.tasks.finish(STORE_CLOSING_TIME_MAX).await;
    }
}

/// Extends the open claims, repeats releases that the store has missed, and deletes expired rows.
async fn attend(inner: Weak<Inner>) {
    for round in 0_u32.. {
        tokio::time::sleep(CLAIM_EXTENDED_EVERY).await;
        let Some(inner) = inner.upgrade() else { return };
        if let Err(error) = inner.attend(round.is_multiple_of(EXPIRE_EVERY_ROUNDS)).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "claims of keyed requests could not be maintained");
        }
    }
}

impl Inner {
    async fn attend(&self, expires: bool) -> Result<(), StoreError> {
        let (mut open, mut released) = (Vec::new(), Vec::new());
        for (digest, claim) in &*self.claims() {
            let list = if claim.stage == Stage::Open { &mut open } else { &mut released };
            list.push((*digest, claim.request));
        }
        if !open.is_empty() {
            self.store.kept_answers().extend(open, self.after(CLAIM_TIME_MAX)).await?;
        }
        for (digest, request) in released {
            self.store.kept_answers().release(digest, request).await?;
            self.forget(digest, request);
        }
        let mut more = expires;
        while more {
            let now = self.world.clock.unix_ms();
            more = self.store.kept_answers().expire(now, EXPIRED_ROWS).await? == u64::from(EXPIRED_ROWS);
        }
        Ok(())
    }

    fn claims(&self) -> std::sync::MutexGuard<'_, Claims> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, digest: [u8; 32], request: TraceId) {
        let mut claims = self.claims();
        if claims.get(&digest).is_some_and(|claim| claim.request == request) {
            claims.remove(&digest);
        }
    }

    /// What this process knows without the store.
    fn find_cached(&self, digest: &[u8; 32], body_digest: &[u8; 32]) -> Option<Claimed> {
        let claim = *self.claims().get(digest).filter(|claim| claim.stage == Stage::Open)?;
        Some(if claim.body_digest == *body_digest { Claimed::InFlight } else { Claimed::OtherBody })
    }

    fn after(&self, time: Duration) -> u64 {
        self.world.clock.unix_ms().saturating_add(millis(time))
    }

    async fn claim(&self, keyed: KeyedRequest) -> Claimed {
        let digest = self.vault.requests.of_key(keyed.project, &keyed.path, &keyed.key);
        let body_digest = self.vault.requests.of_body(&digest, &keyed.body);
        loop {
            if let Some(known) = self.find_cached(&digest, &body_digest) {
                return known;
            }
            match self.look(digest, body_digest) {
                Ok(look) => {
                    let claimed = self.claim_in_store(&keyed, digest, body_digest).await;
                    look.tell.send_replace(Some(QueryOutcome::of(&claimed)));
                    return claimed;
                }
                Err((looking_for, mut outcome)) => {
                    let learned =
                        outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
                    if let Some(claimed) =
                        learned.and_then(|outcome| outcome.means(looking_for == body_digest))
                    {
                        return claimed;
                    }
                }
            }
        }
    }

    /// The right to query the store; or else the channel with the result of the query in flight, and the body
    /// it is for.
    fn look(
        &self,
        digest: [u8; 32],
        body_digest: [u8; 32],
    ) -> Result<StoreQuery<'_>, ([u8; 32], watch::Receiver<Option<QueryOutcome>>)> {
        let mut queries = self.queries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(in_flight) = queries.get(&digest) {
            return Err(in_flight.clone());
        }
        let (tell, outcome) = watch::channel(None);
        queries.insert(digest, (body_digest, outcome));
        Ok(StoreQuery { inner: self, digest, tell })
    }

    async fn claim_in_store(&self, keyed: &KeyedRequest, digest: [u8; 32], body_digest: [u8; 32]) -> Claimed {
        let row = AnswerClaim {
            digest,
            workspace: keyed.workspace,
            project: keyed.project,
            request: keyed.request,
            body_digest,
            holder: self.settings.holder,
            now_unix_ms: self.world.clock.unix_ms(),
            until_unix_ms: self.after(CLAIM_TIME_MAX),
            is_cached: keyed.is_cached,
        };
        let mut claimed = self.store.kept_answers().claim(row.clone()).await;
        if matches!(claimed, Err(StoreError::Uncertain)) {
            // The claim may have been written all the same. Claiming again with the same values is
            // idempotent.
            claimed = self.store.kept_answers().claim(row).await;
        }
        let content_ref = |request| content_ref(keyed.workspace, keyed.project, digest, request);
        match claimed {
            Ok(Claiming::Yours) => {
                let open = Open { request: keyed.request, body_digest, stage: Stage::Open };
                self.claims().insert(digest, open);
                let (workspace, project) = (keyed.workspace, keyed.project);
                Claimed::Acquired(Claim {
                    digest,
                    workspace,
                    project,
                    request: keyed.request,
                    lifetime: keyed.lifetime,
                })
            }
            Ok(Claiming::OtherBody) => Claimed::OtherBody,
            Ok(Claiming::InFlight) => Claimed::InFlight,
            Ok(Claiming::Answered { request, sealed, until_unix_ms }) => self.read(
                &content_ref(request),
                &sealed,
                until_unix_ms.saturating_sub(millis(keyed.lifetime)),
            ),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(request = %keyed.request, error, "a keyed request could not be claimed");
                // If the claim was written all the same, it must be released: nobody will answer under it.
                let lost = Open { request: keyed.request, body_digest, stage: Stage::Released };
                self.claims().entry(digest).or_insert(lost);
                Claimed::StoreUnavailable
            }
        }
    }

    fn read(&self, content_ref: &ContentRef, sealed: &domain::Sealed, kept_unix_ms: u64) -> Claimed {
        match self.vault.opener.open_content(content_ref, sealed) {
            Ok(packed) => unpack(packed.expose()).map_or(Claimed::Unreadable, Claimed::Answered),
            // Another replica sealed it under a new key, which this one learns within a second.
            Err(OpenError::KeyUnknown) if self.is_fresh(kept_unix_ms) => Claimed::InFlight,
            Err(_) => Claimed::Unreadable,
        }
    }

    fn is_fresh(&self, kept_unix_ms: u64) -> bool {
        kept_unix_ms.saturating_add(10_000) > self.world.clock.unix_ms()
    }

    async fn keep(&self, claim: Claim, answer: StoredAnswer) {
        let Claim { digest, workspace, project, request, lifetime } = claim;
        let content_ref = content_ref(workspace, project, digest, request);
        let sealed =
            pack(answer).and_then(|packed| self.vault.sealer.seal_content(&content_ref, &packed).ok());
        let Some(sealed) = sealed else {
            tracing::error!(%request, "an answer under an idempotency key could not be sealed");
            return self.release(request, digest).await;
        };
        for _ in 0..KEEP_TRIES {
            let until = self.after(lifetime);
            match self.store.kept_answers().keep(digest, request, sealed.clone(), until).await {
                Ok(kept) => {
                    if !kept {
                        tracing::warn!(%request, "an answer came after its claim had ended; it isn't stored");
                    }
                    return self.forget(digest, request);
                }
                Err(error) if error.is_transient() => tokio::time::sleep(KEEP_PAUSE).await,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(%request, error, "an answer under an idempotency key was not stored");
                    break;
                }
            }
        }
        self.release(request, digest).await;
    }

    async fn release(&self, request: TraceId, digest: [u8; 32]) {
        match self.store.kept_answers().release(digest, request).await {
            Ok(()) => self.forget(digest, request),
            Err(_) => {
                if let Some(claim) = self.claims().get_mut(&digest).filter(|claim| claim.request == request) {
                    claim.stage = Stage::Released;
                }
            }
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

const fn content_ref(
    workspace: WorkspaceId,
    project: ProjectId,
    digest: [u8; 32],
    request: TraceId,
) -> ContentRef {
    ContentRef { kept: ContentKind::Answer, workspace, project, digest, request }
}

/// Runs work on the store's runtime, and waits for it up to `wait_max`.
async fn within<T: Send + 'static>(
    inner: &Arc<Inner>,
    wait_max: Duration,
    work: impl FnOnce(Arc<Inner>, oneshot::Sender<T>) -> PortFuture<'static, ()>,
) -> Option<T> {
    let (tell, reply) = oneshot::channel();
    drop(inner.tasks.run(work(Arc::clone(inner), tell)));
    tokio::time::timeout(wait_max, reply).await.ok().and_then(Result::ok)
}

impl AnswerStore for Answers {
    fn body_bytes_max(&self) -> usize {
        self.inner.settings.body_bytes_max
    }

    fn claim(&self, keyed: KeyedRequest) -> PortFuture<'static, Claimed> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let claimed = within(&inner, CLAIM_WAIT_MAX, |inner, tell| {
                Box::pin(async move {
                    let claimed = inner.claim(keyed).await;
                    if let Err(Claimed::Acquired(claim)) = tell.send(claimed) {
                        inner.release(claim.request, claim.digest).await;
                    }
                })
            });
            claimed.await.unwrap_or(Claimed::StoreUnavailable)
        })
    }

    fn keep(&self, claim: Claim, answer: StoredAnswer) -> PortFuture<'static, ()> {
        let inner = Arc::clone(&self.inner);
        let (tell, done) = oneshot::channel();
        // Spawned at once, not when the future is polled: its caller may drop it.
        drop(self.inner.tasks.run(async move {
            inner.keep(claim, answer).await;
            let _ = tell.send(());
        }));
        Box::pin(async move {
            let _ = tokio::time::timeout(KEEP_WAIT_MAX, done).await;
        })
    }

    fn release(&self, claim: Claim) {
        let inner = Arc::clone(&self.inner);
        drop(self.inner.tasks.run(async move { inner.release(claim.request, claim.digest).await }));
    }

    fn forget(&self, keyed: KeyedRequest) -> PortFuture<'static, ()> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let digest = inner.vault.requests.of_key(keyed.project, &keyed.path, &keyed.key);
            let forgotten = within(&inner, CLAIM_WAIT_MAX, |inner, tell| {
                Box::pin(async move {
                    if let Err(error) = inner.store.kept_answers().forget(digest).await {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(error, "a stored answer could not be deleted");
                    }
                    let _ = tell.send(());
                })
            });
            let _: Option<()> = forgotten.await;
        })
    }
}

impl Purgeable for Answers {
    fn place(&self) -> Place {
        Place::IdempotentAnswers
    }

    fn purge(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>> {
        counted(self.inner.store.kept_answers().purge(scope))
    }

    fn remaining(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>> {
        counted(self.inner.store.kept_answers().remaining(scope))
    }
}

fn counted<'a>(
    work: impl Future<Output = Result<u64, StoreError>> + Send + 'a,
) -> PortFuture<'a, Result<u64, PurgeError>> {
    Box::pin(async move { Ok(work.await?) })
}

domain::brief_debug!(Answers, |it| settings = it.inner.settings);
