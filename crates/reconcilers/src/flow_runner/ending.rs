//! Ends runs: with their output, by a failure whose steps are compensated, or because somebody cancelled them.

use std::collections::HashSet;
use std::sync::Arc;

use domain::{FlowRunId, TaskId, WorkspaceId};
use flowruns::{FlowContent, RunEnd, RunState, RunStatus, StepRow, StepStatus, Wish, part};
use flows::{Leaf, Outcome};
use serde_json::{Map, Value};
use store::Act;

use super::drive::Drive;
use super::leaf::{self, Failure, LeafMade};
use super::shared::Shared;
use super::values::Beside;
use crate::limits::{FLOW_RUN_KEPT, FLOW_STEP_TIME_MAX};
use crate::milliseconds;

/// What the path of a compensation ends with.
const COMPENSATION: &str = "!compensate";

pub(crate) fn run_end(
    status: RunStatus,
    error_code: Option<String>,
    output: Option<FlowContent>,
    unix_ms: u64,
) -> RunEnd {
    let until_unix_ms = unix_ms.saturating_add(milliseconds(FLOW_RUN_KEPT));
    RunEnd { status, error_code, output, unix_ms, until_unix_ms }
}

impl Drive {
    /// Puts down a run of which nothing is made now: ends it, or sets it aside; `false` where it goes on.
    pub(crate) async fn put_down(&mut self) -> bool {
        let is_failing = self.failure.is_some() || self.schedule.is_failing();
        if self.wish == Some(Wish::Pause) && !is_failing {
            return self.park(RunState::Paused).await;
        }
        if is_failing {
            self.cancel_waiting().await;
            if !self.flush().await {
                return true;
            }
            self.compensate().await;
            let code = self.failure.clone().or_else(|| self.first_failure());
            self.finish(RunStatus::Failed, code).await;
            return true;
        }
        if self.schedule.is_done() {
            let (status, code) = match self.output() {
                Ok(output) => {
                    let of = (self.lease.owner, self.lease.id, self.lease.request);
                    let sealed =
                        FlowContent::seal(&self.shared.deps.vault, of, part::OUTPUT.to_owned(), &output).ok();
                    let now = self.shared.deps.world.clock.unix_ms();
                    return self.store_end(run_end(RunStatus::Completed, None, sealed, now)).await;
                }
                Err(_) => (RunStatus::Failed, Some("flow_expression_failed".to_owned())),
            };
            self.finish(status, code).await;
            return true;
        }
        if self.waiting.is_empty() {
            // Iterations that failed with their step are all that can be left.
            self.finish(RunStatus::Failed, Some("flow_run_stopped".to_owned())).await;
            return true;
        }
        self.park(RunState::Waiting).await
    }

    /// What the run makes.
    fn output(&self) -> Result<Value, String> {
        if let Some(output) = &self.flow.output {
            return self.values.fill(output, &Beside::default());
        }
        let needed: HashSet<usize> =
            self.flow.steps.iter().flat_map(|step| step.needs.iter().copied()).collect();
        let last = self.flow.steps.iter().enumerate().filter(|(place, _)| !needed.contains(place));
        let outputs = last.filter_map(|(_, step)| {
            let output = self.values.steps.get(&step.name)?.get("output")?.clone();
            Some((step.name.clone(), output))
        });
        Ok(Value::Object(outputs.collect::<Map<_, _>>()))
    }

    fn first_failure(&self) -> Option<String> {
        let failed = self.rows.values().filter(|row| row.status == StepStatus::Failed);
        failed.min_by_key(|row| row.place).and_then(|row| row.error_code.clone())
    }

    async fn finish(&mut self, status: RunStatus, code: Option<String>) {
        let now = self.shared.deps.world.clock.unix_ms();
        self.store_end(run_end(status, code, None, now)).await;
    }

    async fn store_end(&mut self, end: RunEnd) -> bool {
        match self.shared.runs.finish(self.lease.clone(), end).await {
            Ok(_) => {
                if let Some((parent, _)) = &self.run.parent {
                    self.shared.deps.flows.touch(*parent);
                }
            }
            // It is taken again once its lease is over, and ends then.
            Err(error) => tracing::warn!(%error, run = %self.lease.id, "how a run ended could not be stored"),
        }
        true
    }

    /// Ends the run as somebody wants, with all that it began.
    pub(crate) async fn cancel(&mut self) {
        self.making.clear();
        self.cancel_waiting().await;
        // Of a run that was put aside, what waits is known by its rows alone.
        let is_open = |row: &&StepRow| matches!(row.status, StepStatus::Running | StepStatus::Waiting);
        let open: Vec<StepRow> = self.rows.values().filter(is_open).cloned().collect();
        for row in open {
            if let Some(task) = row.began.as_deref().and_then(|id| id.parse::<TaskId>().ok()) {
                leaf::cancel_task(&self.shared, self.lease.owner, task).await;
            }
            if let Some(child) = row.began.as_deref().and_then(|id| id.parse::<FlowRunId>().ok()) {
                cancel_child(&self.shared, self.lease.owner.workspace, child).await;
            }
            self.mark_cancelled(row);
        }
        if self.flush().await {
            self.finish(RunStatus::Cancelled, None).await;
        }
    }

    fn mark_cancelled(&mut self, row: StepRow) {
        let now = self.shared.deps.world.clock.unix_ms();
        let row = StepRow { status: StepStatus::Cancelled, ended_unix_ms: Some(now), ..row };
        self.write(row, None, None);
    }

    async fn cancel_waiting(&mut self) {
        for (path, waiting) in std::mem::take(&mut self.waiting) {
            if let Some(child) = waiting.child() {
                cancel_child(&self.shared, self.lease.owner.workspace, child).await;
            }
            if let Some(row) = self.rows.get(&path).cloned() {
                self.mark_cancelled(row);
            }
        }
    }

    /// Undoes the steps that completed, the newest first.
    async fn compensate(&mut self) {
        let flow = Arc::clone(&self.flow);
        let mut completed: Vec<(Option<u64>, usize)> = flow
            .steps
            .iter()
            .enumerate()
            .filter(|(place, step)| {
                step.compensate.is_some() && self.schedule.outcome(*place) == Some(Outcome::Completed)
            })
            .map(|(place, step)| (self.rows.get(&step.name).and_then(|row| row.place), place))
            .collect();
        completed.sort_unstable_by(|one, other| other.cmp(one));
        for (_, place) in completed {
            let Some(step) = flow.steps.get(place) else { continue };
            let Some(leaf) = &step.compensate else { continue };
            let path = format!("{}{COMPENSATION}", step.name);
            if self.rows.get(&path).is_some_and(|row| row.status.has_ended()) {
                continue;
            }
            let output = self.values.steps.get(&step.name).and_then(|step| step.get("output")).cloned();
            let beside = Beside::default().with_output(output.unwrap_or_default());
            if !self.undo(&path, leaf, &beside).await {
                return;
            }
        }
    }

    /// Makes one compensation; `false` where the run is not this worker's any more. One that fails does not stop the others.
    async fn undo(&mut self, path: &str, leaf: &Leaf, beside: &Beside) -> bool {
        let failed = |message: String| Failure::new("flow_expression_failed", message);
        let made = if leaf.is_pure() {
            match leaf {
                Leaf::Expression(expression) => {
                    self.values.evaluate(expression, beside).map(LeafMade::of).map_err(failed)
                }
                Leaf::Constant(value) => Ok(LeafMade::of(value.clone())),
                _ => return true,
            }
        } else {
            match leaf::prepare(&self.values, leaf, beside) {
                Ok(prepared) => {
                    let (tries, started_unix_ms) = self.start_try(&prepared, path, leaf.kind());
                    if !self.flush().await {
                        return false;
                    }
                    let call = self.call_of(prepared, (path.to_owned(), tries, started_unix_ms), true);
                    let late = "The compensation exceeded its time limit.";
                    Box::pin(leaf::make_within(&call, FLOW_STEP_TIME_MAX, late)).await
                }
                Err(message) => Err(failed(message)),
            }
        };
        if let Ok(LeafMade { later: Some(trace), .. }) = &made {
            let shared = Arc::clone(&self.shared);
            self.costs.push(leaf::add_cost(shared, &self.lease, path.to_owned(), *trace));
        }
        let cost = made.as_ref().ok().and_then(|made| made.cost_nanos);
        let made = made.map(|made| made.output);
        self.end_compensation(path, leaf.kind(), &made, cost);
        self.flush().await
    }
}

async fn cancel_child(shared: &Shared, workspace: WorkspaceId, child: FlowRunId) {
    let act = Act::system(&shared.deps.world);
    match shared.runs.wish((workspace, child), Wish::Cancel, act).await {
        Ok(_) => shared.deps.flows.touch(child),
        Err(error) => tracing::info!(%error, run = %child, "the run of a sub-flow was not cancelled"),
    }
}
