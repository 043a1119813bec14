//! Drives runs for an engine beside the queue: round by round, each of which the engine notes before it asks for the next.

use std::sync::Arc;

use domain::FlowRunId;
use domain::ports::PortFuture;
use flowruns::{FlowEngine, RunLease, RunState, StoredFlows, StoredRuns};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use line::LiveTasks;
use serde::{Deserialize, Serialize};
use store::StoreError;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use super::drive::Drive;
use super::shared::Shared;
use super::signals::HeldSignal;
use crate::limits::{FLOW_COSTS_WAITING_MAX, FLOW_ROUND_TIME_MAX, FLOW_RUNS_AT_ONCE, FLOW_TIMER_LATE_MAX};
use crate::{Deps, milliseconds};

type Costs = FuturesUnordered<PortFuture<'static, ()>>;

/// Drives the runs of one engine in this process.
pub struct FlowDriver {
    engine: FlowEngine,
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    left: mpsc::Sender<Costs>,
}

/// What steps cost of runs that were put down, as it becomes known.
pub struct LeftCosts {
    arriving: mpsc::Receiver<Costs>,
    waiting: Costs,
}

/// A run that this process drives until this is dropped, or another drives it.
pub struct DrivenRun {
    drive: Drive,
    held: HeldSignal,
    _place: OwnedSemaphorePermit,
}

/// What an engine notes of a round. It has no content of the run: the store has that, sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// How many steps of the run had ended before, and how many have since: their numbers are those of the stored steps.
    pub ended_before: u64,
    pub ended: u64,
    pub next: Next,
}

/// What follows a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    Round,
    /// Nothing, before so many milliseconds are over or the run is sent again.
    Wake {
        after_ms: u64,
    },
    /// Nothing, unless the run is sent again.
    Nothing,
}

impl FlowDriver {
    pub fn new(
        engine: FlowEngine,
        deps: Deps,
        (task_arrivals, live): (Arc<Notify>, Arc<LiveTasks>),
    ) -> (Arc<Self>, LeftCosts) {
        let (runs, flows) = (StoredRuns::of(&deps.store), StoredFlows::of(&deps.store));
        let tasks = runs::stored(&deps.store);
        let shared = Arc::new(Shared { deps, runs, flows, tasks, live, task_arrivals });
        let (left, arriving) = mpsc::channel(FLOW_COSTS_WAITING_MAX);
        let places = Arc::new(Semaphore::new(FLOW_RUNS_AT_ONCE));
        let costs = LeftCosts { arriving, waiting: Costs::new() };
        (Arc::new(Self { engine, shared, places, left }), costs)
    }

    /// Drives a run until steps of it have ended and are stored, or for a while. The first round takes the run from whoever had it.
    ///
    /// # Errors
    /// The store is away, or another driver has the run: ask again, from the beginning.
    pub async fn round(&self, id: FlowRunId, driven: &mut Option<DrivenRun>) -> Result<Round, StoreError> {
        if driven.is_none() {
            *driven = self.take(id).await?;
        }
        let Some(run) = driven else {
            return Ok(Round { ended_before: 0, ended: 0, next: Next::Nothing });
        };
        let before = run.drive.stored;
        let end = Instant::now() + FLOW_ROUND_TIME_MAX;
        while run.drive.turn(&run.held).await {
            if run.drive.stored > before || Instant::now() >= end {
                // What ended in this turn is stored before the engine is heard of again, which may take its time.
                if !run.drive.flush().await {
                    break;
                }
                return Ok(Round { ended_before: before, ended: run.drive.stored, next: Next::Round });
            }
        }
        let ended = run.drive.stored;
        let next = match driven.take() {
            Some(run) => self.put_down(run).await?,
            None => Next::Nothing,
        };
        Ok(Round { ended_before: before, ended, next })
    }

    async fn take(&self, id: FlowRunId) -> Result<Option<DrivenRun>, StoreError> {
        // The semaphore lives as long as this does, and is never closed.
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return Ok(None) };
        let world = &self.shared.deps.world;
        let now = world.clock.unix_ms();
        let driver = format!("{} {} {}", self.engine.as_str(), self.shared.deps.replica, self.token());
        let held = self.shared.deps.flows.hold(id);
        let until = now.saturating_add(milliseconds(2 * FLOW_TIMER_LATE_MAX));
        let seized = self.shared.runs.seize(id, self.engine, driver.clone(), (now, until)).await?;
        let Some(run) = seized else { return Ok(None) };
        let lease = RunLease { id, owner: run.owner, request: run.request, worker: driver };
        let workspace = run.owner.workspace;
        match Drive::load(Arc::clone(&self.shared), run, lease).await {
            Some(drive) => Ok(Some(DrivenRun { drive, held, _place: place })),
            None => match self.shared.runs.get(workspace, id).await {
                Ok(run) if run.state == RunState::Ended => Ok(None),
                Ok(_) => Err(unfinished()),
                Err(StoreError::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    /// A word that tells this driver of a run from those before.
    fn token(&self) -> String {
        self.shared.deps.world.id_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    async fn put_down(&self, run: DrivenRun) -> Result<Next, StoreError> {
        let DrivenRun { drive, held, _place } = run;
        let (workspace, id, wakes, is_lost) =
            (drive.lease.owner.workspace, drive.lease.id, drive.wakes_unix_ms, drive.is_lost);
        if !drive.costs.is_empty() && self.left.send(drive.costs).await.is_err() {
            tracing::debug!(run = %id, "what steps cost is not noted as the process stops");
        }
        drop(held);
        match self.shared.runs.get(workspace, id).await {
            Ok(_) if is_lost => Err(unfinished()),
            // How it ended could not be stored.
            Ok(run) if run.state == RunState::Running && wakes.is_none() => Err(unfinished()),
            Ok(run) if run.state == RunState::Waiting => {
                let now = self.shared.deps.world.clock.unix_ms();
                let after = |wakes: u64| Next::Wake { after_ms: wakes.saturating_sub(now) };
                Ok(wakes.map_or(Next::Nothing, after))
            }
            Ok(_) | Err(StoreError::NotFound { .. }) => Ok(Next::Nothing),
            Err(error) => Err(error),
        }
    }
}

fn unfinished() -> StoreError {
    StoreError::conflict("flow_run_not_ended", "the run goes on with another round", None)
}

impl LeftCosts {
    /// Returns when one more is known; never where nothing is left.
    pub async fn next(&mut self) {
        loop {
            tokio::select! {
                Some(()) = self.waiting.next(), if !self.waiting.is_empty() => return,
                Some(costs) = self.arriving.recv() => self.waiting.extend(costs),
                else => return std::future::pending().await,
            }
        }
    }
}
