//! Notes how steps end: what is tried again, what is stored, and what can start next.

use std::sync::Arc;
use std::time::Duration;

use flowruns::{StepRow, StepStatus};
use flows::{Action, Outcome, STORED_DEPTH_MAX, Step, VALUE_BYTES_MAX, Work, is_too_deep};
use serde_json::Value;

use super::drive::Drive;
use super::leaf::{Failure, Made, add_cost};
use super::starting::InPlace;
use super::values::{Beside, view};
use super::waiting::Waiting;

impl Drive {
    /// Takes what a future ended with.
    pub(crate) fn take_made(&mut self, made: Made) {
        let (work, tries, made) = match made {
            Made::Ended { work, tries, made } => (work, tries, made),
            Made::Again(work) => {
                let path = self.path_of_work(work);
                if let Some(row) = self.rows.get_mut(&path) {
                    // The next try is another.
                    row.status = StepStatus::Pending;
                }
                return if self.wish.is_none() && self.failure.is_none() {
                    self.start(work);
                } else {
                    self.end(work, Err(Failure::new("flow_run_stopped", "The run stopped before.")), None);
                };
            }
        };
        let path = self.path_of_work(work);
        let (Work::Step(place) | Work::Iteration(place, _)) = work;
        match made {
            Ok(made) => match made.child {
                Some(child) => {
                    let timeout = self.flow.steps.get(place).and_then(|step| step.timeout_seconds);
                    let deadline = self.deadline(&path, timeout);
                    self.begin_waiting(work, Ok(Waiting::for_child(work, child, deadline)));
                }
                None => {
                    if let Some(trace) = made.later {
                        self.costs.push(add_cost(Arc::clone(&self.shared), &self.lease, path, trace));
                    }
                    self.end(work, Ok(made.output), made.cost_nanos);
                }
            },
            Err(failure) => {
                let retry = self.flow.steps.get(place).map(|step| step.retry).unwrap_or_default();
                if tries <= retry.times && self.wish.is_none() {
                    return self.again(work, Duration::from_secs(retry.delay_seconds));
                }
                self.end(work, Err(failure), None);
            }
        }
    }

    /// Notes how some work ended.
    pub(crate) fn end(&mut self, work: Work, made: InPlace, cost_nanos: Option<i64>) {
        let flow = Arc::clone(&self.flow);
        let (Work::Step(place) | Work::Iteration(place, _)) = work;
        let Some(step) = flow.steps.get(place) else { return };
        let made = made.and_then(fitting);
        match work {
            Work::Step(_) => self.end_step(step, place, made, cost_nanos),
            Work::Iteration(_, index) => self.end_iteration(step, (place, index), made, cost_nanos),
        }
    }

    fn end_row(&mut self, path: &str, kind: &str, made: &InPlace, cost_nanos: Option<i64>) -> StepStatus {
        let row = self.row_of(path, kind);
        let now = self.shared.deps.world.clock.unix_ms();
        let status = if made.is_ok() { StepStatus::Completed } else { StepStatus::Failed };
        let row = StepRow {
            status,
            tries: row.tries.max(1),
            started_unix_ms: row.started_unix_ms.or(Some(now)),
            ended_unix_ms: Some(now),
            place: Some(self.place),
            cost_nanos,
            error_code: made.as_ref().err().map(|failure| failure.code.clone()),
            ..row
        };
        self.place += 1;
        let content = match made {
            Ok(output) => self.seal_step(path, output, None),
            Err(failure) => self.seal_step(path, &Value::Null, Some(&failure.message)),
        };
        self.write(row, content, None);
        status
    }

    fn end_step(&mut self, step: &Step, place: usize, made: InPlace, cost_nanos: Option<i64>) {
        let made = made.and_then(|output| match step.check_output(&output) {
            Ok(()) => Ok(output),
            Err(error) => {
                let message = format!(
                    "The step's output doesn't fit its schema at \"{}\": {}",
                    error.pointer, error.message
                );
                Err(Failure::new("flow_output_invalid", message))
            }
        });
        let status = self.end_row(&step.name, &step.kind, &made, cost_nanos);
        let (output, error) = match &made {
            Ok(output) => (output.clone(), None),
            Err(failure) => (Value::Null, Some(failure.message.as_str())),
        };
        let is_closed = matches!(step.action, Action::Gate(_)) && output == Value::Bool(false);
        self.values.steps.insert(step.name.clone(), view(output, status.as_str(), error));
        let outcome = match status {
            StepStatus::Completed if is_closed => Outcome::Closed,
            StepStatus::Completed => Outcome::Completed,
            _ => Outcome::Failed,
        };
        let decided = self.schedule.ended(place, outcome);
        self.note_decided(decided);
    }

    fn end_iteration(
        &mut self,
        step: &Step,
        (place, index): (usize, u32),
        made: InPlace,
        cost_nanos: Option<i64>,
    ) {
        let path = self.path_of(place, Some(index));
        let kind = match &step.action {
            Action::Map { leaf, .. } | Action::Loop { leaf, .. } => leaf.kind(),
            _ => "",
        };
        self.end_row(&path, kind, &made, cost_nanos);
        let has_ended = self.schedule.outcome(place).is_some();
        match made {
            Ok(output) => {
                self.outputs.insert((place, index), output);
                if has_ended {
                    return;
                }
                match step.action {
                    Action::Loop { .. } => self.conclude_loop(place, index, false),
                    _ => {
                        let ended = self.ended_iterations(place);
                        if self.schedule.iteration_ended(place, &ended) {
                            self.conclude_map(place);
                        }
                    }
                }
            }
            Err(failure) if !has_ended => {
                self.schedule.close(place);
                let message = format!("Iteration {index}: {}", failure.message);
                self.end(Work::Step(place), Err(Failure::new(&failure.code, message)), None);
            }
            Err(_) => {}
        }
    }

    pub(crate) fn end_compensation(
        &mut self,
        path: &str,
        kind: &str,
        made: &InPlace,
        cost_nanos: Option<i64>,
    ) {
        self.end_row(path, kind, made, cost_nanos);
    }

    pub(crate) fn conclude_map(&mut self, place: usize) {
        let outputs: Vec<Value> =
            self.outputs.range((place, 0)..=(place, u32::MAX)).map(|(_, output)| output.clone()).collect();
        self.schedule.close(place);
        self.items.remove(&place);
        self.end(Work::Step(place), Ok(Value::Array(outputs)), None);
    }

    /// Ends a loop whose condition holds or whose limit is reached, or goes on.
    pub(crate) fn conclude_loop(&mut self, place: usize, index: u32, is_resumed: bool) {
        let flow = Arc::clone(&self.flow);
        let Some(Action::Loop { limit, until, .. }) = flow.steps.get(place).map(|step| &step.action) else {
            return;
        };
        let output = self.outputs.get(&(place, index)).cloned().unwrap_or_default();
        let beside = Beside::of_iteration(None, index, Value::Null).with_output(output.clone());
        let holds = match until.as_ref().map(|until| self.values.holds(until, &beside)) {
            None => false,
            Some(Ok(holds)) => holds,
            Some(Err(message)) => {
                self.schedule.close(place);
                let failure = Failure::new("flow_expression_failed", message);
                return self.end(Work::Step(place), Err(failure), None);
            }
        };
        let is_last = index + 1 >= *limit;
        if holds || is_last && until.is_none() {
            self.schedule.close(place);
            return self.end(Work::Step(place), Ok(output), None);
        }
        if is_last {
            self.schedule.close(place);
            let message = format!("The loop's condition did not hold after {limit} iterations.");
            return self.end(Work::Step(place), Err(Failure::new("flow_loop_limit", message)), None);
        }
        if !is_resumed {
            let ended = self.ended_iterations(place);
            self.schedule.iteration_ended(place, &ended);
        }
    }
}

/// What a step made, if it is not too large to be kept, nor nested too deep to be read again.
fn fitting(output: Value) -> InPlace {
    if is_too_deep(&output) {
        let message = format!("The step's output is nested more than {STORED_DEPTH_MAX} levels deep.");
        return Err(Failure::new("flow_value_too_large", message));
    }
    let size = serde_json::to_vec(&output).map_or(0, |text| text.len());
    if size <= VALUE_BYTES_MAX {
        return Ok(output);
    }
    let message = format!("The step made {size} bytes, and at most {VALUE_BYTES_MAX} are kept.");
    Err(Failure::new("flow_value_too_large", message))
}
