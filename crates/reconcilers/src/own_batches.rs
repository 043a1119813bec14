//! Works through the batches that no provider takes as a whole: each lane of a batch is a job, which tries some of its
//! items at a time, and keeps the result of each.
//!
//! A kill may interrupt it anywhere. An item that was begun is begun again under the id of the same exchange, so that it is
//! booked once whoever ends it (docs/decisions/0044-a-batch-is-worked-through-item-by-item.md).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use batches::{Batches as _, FinishedItem, ItemContent, ItemPart, OpenItem, StoredBatches};
use conversation::own_batch::{OwnBatches, OwnItem, OwnResult};
use domain::ports::PortFuture;
use domain::{
    ItemOutcome, ObjectOwner, Operation, Outcome as Ended, OwnBatch, SideCall, SideCallPurpose,
    StoredObjectId, TraceId, WorkspaceId,
};
use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use jobs::{Handler, Outcome, Policy};
use line::{ItemAnswer, ItemCall};
use serde_json::json;
use store::{JobRow, NewJob, StoreError};

use crate::Deps;
use crate::limits::{
    BATCH_ITEM_TRIES_MAX, BATCH_ITEMS_AT_ONCE_OF_LANE, BATCH_LANES_AT_ONCE, BATCH_LANES_AT_ONCE_OF_WORKSPACE,
    BATCH_LANES_MAX,
};

const RUN: &str = "batches.run";
/// A lane for so many items.
const ITEMS_OF_LANE: u64 = 50;
/// How long a turn begins items; then other jobs have theirs.
const TURN: Duration = Duration::from_secs(20);
/// How often a turn reads whether its batch is cancelled.
const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// Items that are cancelled or expire in one write.
const ENDED_AT_ONCE: u32 = 1_000;
/// How long an item waits after its first failure; after each further one, twice as long.
const RETRY_MS: u64 = 2_000;
/// How long a lane waits that finds no place.
const CROWDED_MS: u64 = 1_000;
/// A batch ends within a day; what it held is gone after a month.
const POLICY: Policy = Policy { first_wait_ms: 100, wait_max_ms: 1_000, retry_for_ms: 31 * 24 * 3_600_000 };

/// The jobs of a new batch, one for each lane.
pub fn batch_jobs_of(batch: &OwnBatch, unix_ms: u64) -> Vec<NewJob> {
    let lanes = batch.counts.processing.div_ceil(ITEMS_OF_LANE).clamp(1, BATCH_LANES_MAX);
    let job = |lane| NewJob {
        kind: RUN,
        workspace: batch.owner.workspace,
        name: Some(format!("{RUN}:{}:{lane}", batch.id)),
        payload: json!({"project": batch.owner.project.to_string(), "batch": batch.id.to_string(), "lane": lane}),
        run_unix_ms: unix_ms,
        every_ms: None,
        unix_ms,
    };
    (0..lanes).map(job).collect()
}

/// A lane of a batch, by its job.
#[derive(Debug, Clone, Copy)]
struct Lane {
    owner: ObjectOwner,
    id: StoredObjectId,
    number: u32,
}

impl Lane {
    fn of(job: &JobRow) -> Option<Self> {
        let text = |name| job.payload.get(name)?.as_str();
        let number = u32::try_from(job.payload.get("lane")?.as_u64()?).ok()?;
        let owner = ObjectOwner { workspace: job.workspace, project: text("project")?.parse().ok()? };
        Some(Self { owner, id: text("batch")?.parse().ok()?, number })
    }
}

/// The lanes that have a turn in this process, by workspace: batches leave places for other jobs, and for other workspaces.
#[derive(Default)]
struct Turns(Mutex<HashMap<WorkspaceId, usize>>);

/// A place among them.
struct Place<'a> {
    turns: &'a Turns,
    workspace: WorkspaceId,
}

impl Turns {
    fn take(&self, workspace: WorkspaceId) -> Option<Place<'_>> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = running.get(&workspace).copied().unwrap_or_default();
        if own >= BATCH_LANES_AT_ONCE_OF_WORKSPACE || running.values().sum::<usize>() >= BATCH_LANES_AT_ONCE {
            return None;
        }
        running.insert(workspace, own + 1);
        Some(Place { turns: self, workspace })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut running = self.turns.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = running.get_mut(&self.workspace) {
            *own = own.saturating_sub(1);
        }
        running.retain(|_, own| *own > 0);
    }
}

/// The worker.
pub struct BatchRunner {
    batches: StoredBatches,
    deps: Deps,
    turns: Turns,
}

impl BatchRunner {
    pub fn new(deps: Deps) -> Self {
        Self { batches: batches::stored(&deps.store), deps, turns: Turns::default() }
    }
}

impl Handler for BatchRunner {
    fn kind(&self) -> &'static str {
        RUN
    }

    fn policy(&self) -> Policy {
        POLICY
    }

    fn run<'a>(&'a self, job: &'a JobRow) -> PortFuture<'a, Outcome> {
        Box::pin(async move {
            let Some(lane) = Lane::of(job) else {
                return Outcome::Permanent { error: "it does not say what to work through".into() };
            };
            let Some(_place) = self.turns.take(lane.owner.workspace) else {
                return later("other batches have their turn", CROWDED_MS);
            };
            match self.turn(lane).await {
                Ok(outcome) => outcome,
                Err(error) => {
                    tracing::warn!(batch = %lane.id, %error, "a batch could not be worked through");
                    Outcome::failure(error)
                }
            }
        })
    }
}

fn later(why: &str, wait_ms: u64) -> Outcome {
    Outcome::Failed { error: why.to_owned(), wait_ms: Some(wait_ms) }
}

/// How the try of an item ended.
enum Tried {
    Finished(FinishedItem),
    /// It is tried again: under another exchange if this one was booked.
    Again {
        position: u64,
        tries: u32,
        wait_ms: u64,
        is_postponed: bool,
    },
}

impl Tried {
    const fn position(&self) -> u64 {
        match self {
            Self::Finished(item) => item.position,
            Self::Again { position, .. } => *position,
        }
    }
}

/// A lane's turn.
struct Turn<'a> {
    batches: &'a StoredBatches,
    deps: &'a Deps,
    lane: Lane,
    batch: OwnBatch,
    format: &'static dyn OwnBatches,
    refreshed: Instant,
    in_flight: Vec<u64>,
    begins: bool,
}

impl BatchRunner {
    async fn turn(&self, lane: Lane) -> Result<Outcome, StoreError> {
        let Some(format) = dialects::own_batches(lane.id.kind.dialect()) else {
            return Ok(Outcome::Permanent { error: "its dialect has no such batches".into() });
        };
        let Self { batches, deps, .. } = self;
        let Some(batch) = find(batches, deps, lane).await? else { return Ok(Outcome::Done) };
        let (refreshed, in_flight) = (Instant::now(), Vec::new());
        let mut turn = Turn { batches, deps, lane, batch, format, refreshed, in_flight, begins: true };
        let is_there = turn.work().await?;
        if !is_there {
            return Ok(Outcome::Done);
        }
        let now = deps.world.clock.unix_ms();
        match batches.next_try(lane.id, lane.number).await? {
            Some(next_unix_ms) => Ok(later("it goes on", next_unix_ms.saturating_sub(now))),
            None => {
                batches.conclude(lane.id, now).await?;
                Ok(Outcome::Done)
            }
        }
    }
}

async fn find(batches: &StoredBatches, deps: &Deps, lane: Lane) -> Result<Option<OwnBatch>, StoreError> {
    let found = batches.find(lane.owner, lane.id, deps.world.clock.unix_ms()).await?;
    Ok(found.filter(|batch| batch.ended_unix_ms.is_none()))
}

impl Turn<'_> {
    /// Tries items until the turn is over or none is left; `false` where the batch is no longer there.
    async fn work(&mut self) -> Result<bool, StoreError> {
        let (started, deps) = (Instant::now(), self.deps);
        let mut running = FuturesUnordered::new();
        self.end_waiting().await?;
        loop {
            if self.refreshed.elapsed() >= REFRESH_EVERY && !self.refresh().await? {
                return Ok(false);
            }
            self.begins = self.begins && started.elapsed() < TURN;
            for item in self.take().await? {
                self.in_flight.push(item.position);
                running.push(try_item(deps, self.batch.clone(), self.format, item));
            }
            let refresh_in = REFRESH_EVERY.saturating_sub(self.refreshed.elapsed());
            let Ok(next) = tokio::time::timeout(refresh_in, running.next()).await else { continue };
            let Some(first) = next else { return Ok(true) };
            let mut ended = vec![first];
            while let Some(Some(more)) = running.next().now_or_never() {
                ended.push(more);
            }
            self.settle(ended).await?;
        }
    }

    async fn refresh(&mut self) -> Result<bool, StoreError> {
        self.refreshed = Instant::now();
        let Some(batch) = find(self.batches, self.deps, self.lane).await? else { return Ok(false) };
        self.batch = batch;
        self.end_waiting().await?;
        Ok(true)
    }

    /// What has not begun is not begun in a batch that was cancelled, or whose time is over.
    async fn end_waiting(&self) -> Result<(), StoreError> {
        let now = self.deps.world.clock.unix_ms();
        let outcome = match self.batch.cancelled_unix_ms {
            Some(_) => ItemOutcome::Cancelled,
            None if self.batch.expires_unix_ms <= now => ItemOutcome::Expired,
            None => return Ok(()),
        };
        let Lane { id, number, .. } = self.lane;
        while self.batches.end_waiting(id, number, outcome, ENDED_AT_ONCE).await? == u64::from(ENDED_AT_ONCE)
        {
        }
        Ok(())
    }

    /// The items to begin now: some at a time, so that one query finds several.
    async fn take(&self) -> Result<Vec<OpenItem>, StoreError> {
        let free = BATCH_ITEMS_AT_ONCE_OF_LANE.saturating_sub(self.in_flight.len());
        if !self.begins || free * 2 < BATCH_ITEMS_AT_ONCE_OF_LANE {
            return Ok(Vec::new());
        }
        let now = self.deps.world.clock.unix_ms();
        let rows_max = u32::try_from(free).unwrap_or_default();
        let Lane { id, number, .. } = self.lane;
        self.batches.take(id, number, self.in_flight.clone(), now, rows_max).await
    }

    async fn settle(&mut self, ended: Vec<Tried>) -> Result<(), StoreError> {
        let (batches, id) = (self.batches, self.lane.id);
        let mut finished = Vec::new();
        for tried in ended {
            self.in_flight.retain(|position| *position != tried.position());
            match tried {
                Tried::Finished(item) => finished.push(item),
                Tried::Again { position, tries, wait_ms, is_postponed } => {
                    self.begins &= !is_postponed;
                    let now = self.deps.world.clock.unix_ms();
                    batches.retry(id, position, tries, now.saturating_add(wait_ms)).await?;
                }
            }
        }
        if finished.is_empty() {
            return Ok(());
        }
        batches.finish(self.lane.owner, id, finished).await
    }
}

async fn try_item(deps: &Deps, batch: OwnBatch, format: &dyn OwnBatches, item: OpenItem) -> Tried {
    let OpenItem { position, tries, started_unix_ms, .. } = item;
    let name = format!("{position}/{tries}");
    let trace = deps.vault.requests.of_item(started_unix_ms, batch.id, &name);
    let content = item.content.as_ref().and_then(|content| content.open(&deps.vault, batch.owner));
    let Some(read) = content.and_then(|content| format.read_item(&content)) else {
        // It was purged, or does not open any more: nobody knows what it asked for.
        return Tried::Finished(FinishedItem { position, outcome: ItemOutcome::Errored, result: None });
    };
    if item.is_resumed && was_left(deps, batch.owner, trace).await {
        return Tried::Again { position, tries: tries + 1, wait_ms: 0, is_postponed: false };
    }
    let OwnItem { custom_id, body, addressed, endpoint } = read;
    let of_endpoint = endpoint.as_deref().and_then(dialects::file_batch_operation);
    let (operation, dialect) = of_endpoint
        .map_or((Operation::Chat, batch.id.kind.dialect()), |(operation, grammar)| {
            (operation, grammar.dialect())
        });
    let call = ItemCall {
        owner: batch.owner,
        key: batch.key,
        seat: None,
        dialect,
        operation,
        trace,
        side_call: SideCall { purpose: SideCallPurpose::BatchItem, parent: batch.request },
        headers: batch.headers.clone(),
        addressed,
        body,
    };
    let (outcome, status, body) = match deps.outbound.run_item(call).await {
        ItemAnswer::Postponed { wait_ms } => {
            return Tried::Again { position, tries, wait_ms, is_postponed: true };
        }
        ItemAnswer::Failed { may_retry: true, .. } if tries + 1 < BATCH_ITEM_TRIES_MAX => {
            return Tried::Again {
                position,
                tries: tries + 1,
                wait_ms: RETRY_MS << tries,
                is_postponed: false,
            };
        }
        ItemAnswer::Failed { error, status, .. } => (ItemOutcome::Errored, status, error),
        ItemAnswer::Succeeded { body, status } => (ItemOutcome::Succeeded, status, body),
    };
    let exchange = Some((trace, status));
    let line =
        format.write_line(&OwnResult { custom_id: &custom_id, outcome, body: &body, position, exchange });
    let result = seal(deps, &batch, position, trace, &line);
    Tried::Finished(FinishedItem { position, outcome, result })
}

/// Whether the exchange of this id was given up when its gateway was stopped, and is in the books so: then it is over.
async fn was_left(deps: &Deps, owner: ObjectOwner, trace: TraceId) -> bool {
    let record = deps.store.records().request(owner.workspace, trace).await;
    record.is_ok_and(|record| matches!(record.outcome, Ended::ClientCancelled | Ended::Interrupted))
}

fn seal(deps: &Deps, batch: &OwnBatch, position: u64, trace: TraceId, line: &[u8]) -> Option<ItemContent> {
    let sealed = ItemContent::seal(&deps.vault, batch, (position, ItemPart::Result), trace, line);
    sealed.inspect_err(|error| tracing::error!(%trace, %error, "a result could not be sealed")).ok()
}
