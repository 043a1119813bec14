//! Drives one run: starts what is ready, stores what comes out, and puts the run down when it has ended or waits for something.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use domain::ports::PortFuture;
use flowruns::{EventRow, RunLease, RunRow, RunState, StepRow, StepStatus, StepWrite, Wish};
use flows::{Flow, Outcome, Schedule, Work};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::leaf::Made;
use super::shared::Shared;
use super::signals::HeldSignal;
use super::values::{Values, view};
use super::waiting::Waiting;
use crate::limits::{FLOW_STEPS_STORED_MAX, FLOW_STORE_TRIES_MAX, FLOW_TURN_MAX};

const STORE_PAUSE: Duration = Duration::from_millis(200);

/// A run with what is known of it.
pub(crate) struct Drive {
    pub shared: Arc<Shared>,
    pub run: RunRow,
    pub lease: RunLease,
    pub flow: Arc<Flow>,
    pub schedule: Schedule,
    pub values: Values,
    /// By path.
    pub rows: HashMap<String, StepRow>,
    /// Of iterations.
    pub outputs: BTreeMap<(usize, u32), Value>,
    /// What maps go over.
    pub items: HashMap<usize, Vec<Value>>,
    pub making: FuturesUnordered<PortFuture<'static, Made>>,
    pub costs: FuturesUnordered<PortFuture<'static, ()>>,
    pub waiting: HashMap<String, Waiting>,
    pub writes: Vec<StepWrite>,
    /// The order in which steps ended.
    pub place: u64,
    pub events: Vec<EventRow>,
    pub wish: Option<Wish>,
    /// Why the run fails, where that is no step's fault alone.
    pub failure: Option<String>,
    /// Another worker has it.
    pub is_lost: bool,
    /// Somebody else may have done something since it was read.
    pub is_stale: bool,
    /// How many steps had ended when it was stored last.
    pub stored: u64,
    /// When what it waits for happens by itself; noted as it is put aside.
    pub wakes_unix_ms: Option<u64>,
}

/// The path of an iteration.
pub(crate) fn of_iteration(name: &str, index: u32) -> String {
    format!("{name}[{index}]")
}

/// The step and the number of an iteration.
pub(crate) fn iteration_of(path: &str) -> Option<(&str, u32)> {
    let (name, rest) = path.split_once('[')?;
    Some((name, rest.strip_suffix(']')?.parse().ok()?))
}

impl Drive {
    /// Drives the run until it ends, waits, or belongs to somebody else.
    pub async fn run(mut self, held: &HeldSignal) -> FuturesUnordered<PortFuture<'static, ()>> {
        while self.turn(held).await {}
        self.costs
    }

    /// Starts what is ready, stores what has changed, and waits until something happens; `false` where the run was put down.
    pub async fn turn(&mut self, held: &HeldSignal) -> bool {
        if std::mem::take(&mut self.is_stale) {
            self.refresh().await;
        }
        if self.wish == Some(Wish::Cancel) {
            self.cancel().await;
            return false;
        }
        let has_more = self.start_ready();
        self.check_waiting();
        self.take_events().await;
        if !self.flush().await {
            return false;
        }
        if has_more || (self.schedule.has_ready() && self.may_start()) {
            // Others have a turn.
            tokio::task::yield_now().await;
            return true;
        }
        if self.making.is_empty() && self.put_down().await {
            return false;
        }
        self.is_stale = self.next_event(held).await;
        true
    }

    /// Whether steps may start now.
    pub fn may_start(&self) -> bool {
        self.wish.is_none() && self.failure.is_none() && !self.schedule.is_failing() && self.has_room()
    }

    pub fn has_room(&self) -> bool {
        self.making.len() < self.flow.parallel as usize
    }

    /// Starts what is ready; whether more is than could be stored at once. Expressions are evaluated here, beside everything else
    /// that the control plane does, so it ends after a short time too.
    fn start_ready(&mut self) -> bool {
        let start = Instant::now();
        while self.may_start() {
            if self.writes.len() >= FLOW_STEPS_STORED_MAX || start.elapsed() > FLOW_TURN_MAX {
                return true;
            }
            let Some(work) = self.schedule.next_work() else { break };
            self.start(work);
        }
        false
    }

    /// Waits until something happens; whether it may have been somebody else.
    async fn next_event(&mut self, held: &HeldSignal) -> bool {
        let wait = self.until_next_moment();
        tokio::select! {
            Some(made) = self.making.next(), if !self.making.is_empty() => {
                self.take_made(made);
                false
            }
            Some(()) = self.costs.next(), if !self.costs.is_empty() => false,
            () = held.touched() => true,
            () = sleep(wait) => true,
        }
    }

    /// Reads what others want of the run.
    async fn refresh(&mut self) {
        let workspace = self.lease.owner.workspace;
        match self.shared.runs.get(workspace, self.lease.id).await {
            Ok(run) => {
                self.is_lost = run.state != RunState::Running;
                self.wish = run.wish;
                self.run.cost_nanos = run.cost_nanos;
            }
            // Its workspace was deleted, or it was purged.
            Err(store::StoreError::NotFound { .. }) => self.is_lost = true,
            Err(error) => tracing::warn!(%error, "a run could not be read"),
        }
        if self.waiting.values().any(Waiting::is_for_event) {
            match self.shared.runs.events(self.lease.id).await {
                Ok(events) => self.events = events,
                Err(error) => tracing::warn!(%error, "the events of a run could not be read"),
            }
        }
        self.look_at_children().await;
    }

    /// Stores what has changed; `false` where the run is not this worker's any more.
    pub async fn flush(&mut self) -> bool {
        if self.writes.is_empty() {
            return !self.is_lost;
        }
        let writes = std::mem::take(&mut self.writes);
        let mut pause = STORE_PAUSE;
        for _ in 0..FLOW_STORE_TRIES_MAX {
            let now = self.shared.deps.world.clock.unix_ms();
            match self.shared.runs.save(self.lease.clone(), writes.clone(), now).await {
                Ok(is_held) => {
                    self.is_lost |= !is_held;
                    self.stored = self.place;
                    return !self.is_lost;
                }
                Err(error) => {
                    tracing::warn!(%error, run = %self.lease.id, "what steps made could not be stored");
                    sleep(pause).await;
                    pause *= 2;
                }
            }
        }
        // What is not stored is made again, by whoever takes the run.
        self.is_lost = true;
        false
    }

    /// Notes steps whose fate is decided by others.
    pub fn note_decided(&mut self, decided: Vec<(usize, Outcome)>) {
        for (step, outcome) in decided {
            let status = match outcome {
                Outcome::Skipped => StepStatus::Skipped,
                Outcome::Completed | Outcome::Closed | Outcome::Failed | Outcome::Blocked => {
                    StepStatus::Blocked
                }
            };
            let now = self.shared.deps.world.clock.unix_ms();
            let (path, kind) = (self.path_of(step, None), self.kind_of(step));
            self.values.steps.insert(path.clone(), view(Value::Null, status.as_str(), None));
            let row = StepRow { ended_unix_ms: Some(now), ..StepRow::new(path, &kind, status) };
            self.write(row, None, None);
        }
    }

    pub fn kind_of(&self, step: usize) -> String {
        self.flow.steps.get(step).map(|step| step.kind.clone()).unwrap_or_default()
    }

    pub fn row_of(&self, path: &str, kind: &str) -> StepRow {
        let known = self.rows.get(path).cloned();
        known.unwrap_or_else(|| StepRow::new(path.to_owned(), kind, StepStatus::Pending))
    }

    /// The path of some work.
    pub fn path_of_work(&self, work: Work) -> String {
        match work {
            Work::Step(step) => self.path_of(step, None),
            Work::Iteration(step, index) => self.path_of(step, Some(index)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_iteration_has_a_path_of_its_own() {
        assert_eq!(of_iteration("step", 12), "step[12]");
        assert_eq!(iteration_of("step[12]"), Some(("step", 12)));
        assert_eq!(iteration_of("step"), None);
        assert_eq!(iteration_of("step[12]!compensate"), None);
    }
}
