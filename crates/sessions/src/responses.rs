//! Which credential made the responses that providers store (`store: true`): written in batches after the
//! answer, found by the provider's id for a month.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::limits::{
    RESPONSE_FIND_TIME_MAX, RESPONSE_ID_BYTES_MAX, RESPONSE_KNOWN, RESPONSES_WAITING_MAX,
    STORE_CLOSING_TIME_MAX,
};
use domain::ports::{FoundResponse, PortFuture, ResponseName, ResponseStore, StoredResponse};
use domain::{Drawn, TraceId};
use store::{BudgetHolds, NewJob, Store, StoredResponseRow};
use tasks::{RuntimeTasks, Task};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use vault::Vault;
use world::World;

use crate::retrying::retrying;

type Digest = [u8; 32];

/// Rows per transaction.
const BATCH_ROWS: usize = 256;
/// How often a batch is written again while the store is away; the pause doubles each time.
const RETRIES: (u32, Duration) = (12, Duration::from_millis(100));
/// How often expired rows are deleted, and how many at a time.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);
const EXPIRED_ROWS: u32 = 500;

/// The job to enqueue once a response is stored, by the provider's id.
pub type ResponseChore = fn(&StoredResponseRow, &str, u64) -> Option<NewJob>;

/// Stores who made which response.
pub struct Responses {
    inner: Arc<Inner>,
    chore: ResponseChore,
    messages: mpsc::Sender<WriterMessage>,
    writer: Task,
}

struct Inner {
    store: Store,
    vault: Vault,
    world: World,
    /// The runtime that uses the store: serving cores wait for its result and never do its work.
    tasks: RuntimeTasks,
    /// Responses not written to the store yet.
    waiting: Mutex<HashMap<Digest, StoredResponse>>,
}

/// Messages to the writer task. It handles them in order, so that a response is never booked before it is
/// stored.
enum WriterMessage {
    /// The reply comes once it is written, and is dropped if it can't be.
    Keep(Box<StoredResponseRow>, oneshot::Sender<()>),
    Book(Digest, TraceId, oneshot::Sender<bool>),
    Unbook(Digest, TraceId),
    Hold(Digest, BudgetHolds),
    Forget(Digest),
    Stop,
}

impl Responses {
    /// Starts the writer. Must be called on the runtime that is to use the store.
    pub fn start(store: Store, vault: Vault, world: World, chore: ResponseChore) -> Arc<Self> {
        let (messages, receiver) = mpsc::channel(RESPONSES_WAITING_MAX);
        let tasks = RuntimeTasks::on_this_runtime("responses");
        let inner = Arc::new(Inner { store, vault, world, tasks, waiting: Mutex::default() });
        let writer = Task::spawn_reader("responses", Arc::clone(&inner).write_all(receiver));
        Arc::new(Self { inner, chore, messages, writer })
    }

    /// Returns when the pending writes and reads are done, or each of them after `STORE_CLOSING_TIME_MAX`.
    pub async fn stop(&self) {
        let stopping = async {
            let _ = self.messages.send(WriterMessage::Stop).await;
            let _ = self.writer.ended().await;
        };
        if timeout(STORE_CLOSING_TIME_MAX, stopping).await.is_err() {
            self.writer.abort();
            let responses = self.inner.waiting().len();
            tracing::warn!(responses, "the owners of some responses were not written before the stop");
        }
        self.inner.tasks.finish(STORE_CLOSING_TIME_MAX).await;
    }

    fn digest(&self, name: &ResponseName) -> Digest {
        self.inner.vault.requests.of_response(name.workspace, name.project, &name.id)
    }

    /// Sends a message without waiting. Fails only when the store has been away for long.
    fn ask(&self, ask: WriterMessage) -> bool {
        let is_taken = self.messages.try_send(ask).is_ok();
        if !is_taken {
            tracing::warn!("too many responses wait for the store");
        }
        is_taken
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether an id can be part of a URL without escaping.
fn is_plain(id: &str) -> bool {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=RESPONSE_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_safe)
}

impl Inner {
    fn waiting(&self) -> MutexGuard<'_, HashMap<Digest, StoredResponse>> {
        locked(&self.waiting)
    }

    async fn write_all(self: Arc<Self>, mut receiver: mpsc::Receiver<WriterMessage>) {
        let mut expiry = interval_at(Instant::now() + EXPIRE_EVERY, EXPIRE_EVERY);
        expiry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut messages = Vec::new();
        loop {
            tokio::select! {
                count = receiver.recv_many(&mut messages, BATCH_ROWS) => if count == 0 { return },
                _ = expiry.tick() => self.expire().await,
            }
            let (mut rows, mut kept) = (Vec::new(), Vec::new());
            for ask in messages.drain(..) {
                if let WriterMessage::Keep(row, reply) = ask {
                    rows.push(*row);
                    kept.push(reply);
                    continue;
                }
                // Earlier rows are written before this message is handled.
                let are_kept = self.keep(std::mem::take(&mut rows)).await;
                kept.drain(..).filter(|_| are_kept).for_each(tell);
                match ask {
                    WriterMessage::Stop => return,
                    ask => self.act(ask).await,
                }
            }
            let are_kept = self.keep(rows).await;
            kept.into_iter().filter(|_| are_kept).for_each(tell);
        }
    }

    /// If one row makes a batch fail, the rows are written one by one: the project of one may be gone. Returns whether all of them
    /// are written for sure.
    async fn keep(&self, rows: Vec<StoredResponseRow>) -> bool {
        if rows.is_empty() {
            return true;
        }
        let kept = retrying(RETRIES, || self.store.stored_responses().keep(rows.clone())).await;
        let are_kept = kept.is_ok();
        if let Err(error) = kept {
            if rows.len() == 1 || error.is_transient() {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, responses = rows.len(), "the owners of responses could not be written");
            } else {
                for row in rows.iter().cloned() {
                    Box::pin(self.keep(vec![row])).await;
                }
            }
        }
        let mut waiting = self.waiting();
        rows.iter().for_each(|row| drop(waiting.remove(&row.digest)));
        are_kept
    }

    async fn act(&self, ask: WriterMessage) {
        let responses = self.store.stored_responses();
        let done = match ask {
            // The caller has gone away.
            WriterMessage::Book(_, _, reply) if reply.is_closed() => Ok(()),
            WriterMessage::Book(digest, by, reply) => {
                match retrying(RETRIES, || responses.book(digest, by)).await {
                    Ok(is_given) if reply.send(is_given).is_err() && is_given => {
                        retrying(RETRIES, || responses.unbook(digest, by)).await
                    }
                    done => done.map(drop),
                }
            }
            WriterMessage::Unbook(digest, by) => retrying(RETRIES, || responses.unbook(digest, by)).await,
            WriterMessage::Hold(digest, holds) => {
                retrying(RETRIES, || responses.hold(digest, holds.clone())).await
            }
            WriterMessage::Forget(digest) => retrying(RETRIES, || responses.forget(digest)).await,
            WriterMessage::Keep(..) | WriterMessage::Stop => Ok(()),
        };
        if let Err(error) = done {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the state of a stored response could not be written");
        }
    }

    async fn expire(&self) {
        let now_unix_ms = self.world.clock.unix_ms();
        loop {
            match self.store.stored_responses().expire(now_unix_ms, EXPIRED_ROWS).await {
                Ok(removed) if removed == u64::from(EXPIRED_ROWS) => {}
                Ok(_) => return,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "expired responses could not be removed");
                    return;
                }
            }
        }
    }

    async fn find(&self, digest: Digest) -> FoundResponse {
        if let Some(response) = self.waiting().get(&digest) {
            return FoundResponse::Known(response.clone());
        }
        let found = self.store.stored_responses().find(digest, self.world.clock.unix_ms()).await;
        match found {
            Ok(Some(response)) => FoundResponse::Known(response),
            Ok(None) => FoundResponse::Unknown,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the owner of a response could not be looked up");
                FoundResponse::StoreUnavailable
            }
        }
    }
}

/// The receiver may be gone.
fn tell(reply: oneshot::Sender<()>) {
    let _ = reply.send(());
}

impl ResponseStore for Responses {
    fn keep_with_holds(
        &self,
        name: ResponseName,
        response: StoredResponse,
        holds: Vec<Drawn>,
    ) -> PortFuture<'static, bool> {
        if !is_plain(&name.id) {
            return Box::pin(async { false });
        }
        let digest = self.digest(&name);
        let known_ms = u64::try_from(RESPONSE_KNOWN.as_millis()).unwrap_or(u64::MAX);
        let now_unix_ms = self.inner.world.clock.unix_ms();
        let until_unix_ms = now_unix_ms.saturating_add(known_ms);
        self.inner.waiting().insert(digest, response.clone());
        let ResponseName { workspace, project, id } = name;
        let mut row = StoredResponseRow {
            digest,
            workspace,
            project,
            provider_id: id.clone(),
            response,
            until_unix_ms,
            job: None,
            holds: BudgetHolds { replica: self.inner.store.replica(), parts: holds },
        };
        row.job = (self.chore)(&row, &id, now_unix_ms);
        let (reply, written) = oneshot::channel();
        if !self.ask(WriterMessage::Keep(Box::new(row), reply)) {
            self.inner.waiting().remove(&digest);
            return Box::pin(async { false });
        }
        Box::pin(async move { matches!(timeout(RESPONSE_FIND_TIME_MAX, written).await, Ok(Ok(()))) })
    }

    fn hold(&self, name: ResponseName, parts: Vec<Drawn>) -> bool {
        let holds = BudgetHolds { replica: self.inner.store.replica(), parts };
        self.ask(WriterMessage::Hold(self.digest(&name), holds))
    }

    fn find(&self, name: ResponseName) -> PortFuture<'static, FoundResponse> {
        if !is_plain(&name.id) {
            return Box::pin(async { FoundResponse::Unknown });
        }
        let (inner, digest) = (Arc::clone(&self.inner), self.digest(&name));
        let looking = self.inner.tasks.run(async move { inner.find(digest).await });
        Box::pin(async move {
            match timeout(RESPONSE_FIND_TIME_MAX, looking).await {
                Ok(Ok(found)) => found,
                _ => FoundResponse::StoreUnavailable,
            }
        })
    }

    fn book(&self, name: ResponseName, by: TraceId) -> PortFuture<'static, bool> {
        let (reply, given) = oneshot::channel();
        if !self.ask(WriterMessage::Book(self.digest(&name), by, reply)) {
            return Box::pin(async { false });
        }
        Box::pin(async move { matches!(timeout(RESPONSE_FIND_TIME_MAX, given).await, Ok(Ok(true))) })
    }

    fn unbook(&self, name: ResponseName, by: TraceId) {
        self.ask(WriterMessage::Unbook(self.digest(&name), by));
    }

    fn forget(&self, name: ResponseName) {
        self.ask(WriterMessage::Forget(self.digest(&name)));
    }
}

domain::brief_debug!(Responses);

#[cfg(test)]
#[path = "responses_tests.rs"]
mod tests;
