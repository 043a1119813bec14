//! Begins steps: those in place are evaluated at once, others become tasks, calls, runs of other flows, or wait.

use std::sync::Arc;
use std::time::Duration;

use flowruns::{StepRow, StepStatus};
use flows::{Action, Expression, Leaf, MAP_ITEMS_MAX, Outcome, Template, Work};
use serde_json::{Map, Value};
use tokio::time::sleep;

use super::drive::Drive;
use super::leaf::{self, Failure, Made};
use super::shared::on_its_own;
use super::values::Beside;
use super::waiting::Waiting;
use crate::limits::FLOW_STEP_TIME_MAX;

/// What a step made in place, or why not.
pub(crate) type InPlace = Result<Value, Failure>;

fn of_expression(result: Result<Value, String>) -> InPlace {
    result.map_err(|message| Failure::new("flow_expression_failed", message))
}

impl Drive {
    /// Begins what is ready.
    pub(crate) fn start(&mut self, work: Work) {
        let flow = Arc::clone(&self.flow);
        let (Work::Step(place) | Work::Iteration(place, _)) = work;
        let Some(step) = flow.steps.get(place) else { return };
        let beside = Beside::default();
        if let (Work::Step(_), Some(when)) = (work, &step.when) {
            match self.values.holds(when, &beside) {
                Ok(true) => {}
                Ok(false) => return self.skip(place),
                Err(message) => {
                    return self.end(work, Err(Failure::new("flow_expression_failed", message)), None);
                }
            }
        }
        match (&step.action, work) {
            (Action::Leaf(leaf), _) => self.start_leaf(work, leaf, &beside),
            (Action::Map { leaf, .. } | Action::Loop { leaf, .. }, Work::Iteration(_, index)) => {
                let beside = self.beside_of(place, index);
                self.start_leaf(work, leaf, &beside);
            }
            (Action::Map { over, parallel, .. }, Work::Step(_)) => self.open_map(place, over, *parallel),
            (Action::Loop { limit, .. }, Work::Step(_)) => self.open_loop(place, *limit),
            (Action::Wait(wait), _) => {
                let waiting = self.wait_of(work, wait, step.timeout_seconds);
                self.begin_waiting(work, waiting);
            }
            (Action::Approval { message }, _) => match self.values.fill(message, &beside) {
                Ok(message) => {
                    let path = self.path_of_work(work);
                    let deadline = self.deadline(&path, step.timeout_seconds);
                    let content = self.seal_step(&path, &message, None);
                    self.begin_waiting(work, Ok(Waiting::for_approval(work, &path, deadline)));
                    if let Some(write) = self.writes.last_mut() {
                        write.content = content;
                    }
                }
                Err(message) => self.end(work, Err(Failure::new("flow_expression_failed", message)), None),
            },
            (action, _) => {
                let made = self.in_place(place, action);
                self.end(work, made, None);
            }
        }
    }

    fn skip(&mut self, place: usize) {
        self.note_decided(vec![(place, Outcome::Skipped)]);
        let decided = self.schedule.ended(place, Outcome::Skipped);
        self.note_decided(decided);
    }

    /// What a gate, a branch, a selector or a merge makes.
    fn in_place(&self, place: usize, action: &Action) -> InPlace {
        let beside = Beside::default();
        match action {
            Action::Gate(condition) => of_expression(self.values.holds(condition, &beside).map(Value::Bool)),
            Action::Branch(cases) => {
                for (name, condition) in cases {
                    if of_expression(self.values.holds(condition, &beside).map(Value::Bool))?
                        == Value::Bool(true)
                    {
                        return Ok(Value::from(name.as_str()));
                    }
                }
                Ok(Value::Null)
            }
            Action::Selector { cases, default } => {
                let chosen = |(when, value): &(Expression, Template)| match self.values.holds(when, &beside) {
                    Ok(true) => Some(Ok(value.clone())),
                    Ok(false) => None,
                    Err(message) => Some(Err(message)),
                };
                let template = cases.iter().find_map(chosen).unwrap_or_else(|| Ok(default.clone()));
                of_expression(template.and_then(|template| self.values.fill(&template, &beside)))
            }
            Action::Merge { is_first } => Ok(self.merged(place, *is_first)),
            _ => Err(Failure::new("flow_step_unknown", "The step can't be made in place.")),
        }
    }

    /// The outputs of the steps that a merge needs and that completed.
    fn merged(&self, place: usize, is_first: bool) -> Value {
        let needs = self.flow.steps.get(place).map(|step| step.needs.clone()).unwrap_or_default();
        let completed =
            needs.into_iter().filter(|need| self.schedule.outcome(*need) == Some(Outcome::Completed));
        let outputs = completed.filter_map(|need| {
            let name = self.path_of(need, None);
            let output = self.values.steps.get(&name)?.get("output")?.clone();
            Some((self.rows.get(&name).and_then(|row| row.place), name, output))
        });
        if is_first {
            return outputs
                .min_by_key(|(place, _, _)| *place)
                .map(|(_, _, output)| output)
                .unwrap_or_default();
        }
        Value::Object(outputs.map(|(_, name, output)| (name, output)).collect::<Map<_, _>>())
    }

    fn open_map(&mut self, place: usize, over: &Expression, parallel: u32) {
        let work = Work::Step(place);
        let items = match of_expression(self.values.evaluate(over, &Beside::default())) {
            Ok(Value::Array(items)) if items.len() <= MAP_ITEMS_MAX => items,
            Ok(Value::Array(_)) => {
                let message = format!("A map goes over at most {MAP_ITEMS_MAX} items.");
                return self.end(work, Err(Failure::new("flow_map_too_large", message)), None);
            }
            Ok(_) => {
                let message = "A map needs a list, and this isn't one.";
                return self.end(work, Err(Failure::new("flow_expression_failed", message)), None);
            }
            Err(failure) => return self.end(work, Err(failure), None),
        };
        let total = u32::try_from(items.len()).unwrap_or(u32::MAX);
        self.items.insert(place, items);
        self.mark_running(work);
        let ended = self.ended_iterations(place);
        self.schedule.open(place, total, parallel, &ended);
        if self.schedule.has_no_iterations(place) {
            self.conclude_map(place);
        }
    }

    fn open_loop(&mut self, place: usize, limit: u32) {
        self.mark_running(Work::Step(place));
        let ended = self.ended_iterations(place);
        self.schedule.open(place, limit, 1, &ended);
        // What the last iteration made may have been the end.
        if let Some(last) = ended.last() {
            self.conclude_loop(place, *last, true);
        }
    }

    fn beside_of(&self, place: usize, index: u32) -> Beside {
        let item = self.items.get(&place).and_then(|items| items.get(index as usize)).cloned();
        let previous = index.checked_sub(1).and_then(|before| self.outputs.get(&(place, before)));
        // Of a map, no iteration waits for another.
        let previous = previous.filter(|_| item.is_none()).cloned().unwrap_or_default();
        Beside::of_iteration(item, index, previous)
    }

    /// Notes that a step has begun that is not over at once.
    pub(crate) fn mark_running(&mut self, work: Work) {
        let path = self.path_of_work(work);
        let (Work::Step(place) | Work::Iteration(place, _)) = work;
        let row = self.row_of(&path, &self.kind_of(place));
        let now = self.shared.deps.world.clock.unix_ms();
        let started_unix_ms = row.started_unix_ms.or(Some(now));
        self.write(StepRow { status: StepStatus::Running, started_unix_ms, ..row }, None, None);
    }

    fn start_leaf(&mut self, work: Work, leaf: &Leaf, beside: &Beside) {
        if leaf.is_pure() {
            let made = match leaf {
                Leaf::Expression(expression) => of_expression(self.values.evaluate(expression, beside)),
                Leaf::Constant(value) => Ok(value.clone()),
                _ => return,
            };
            return self.end(work, made, None);
        }
        if self.run.budget_nanos.is_some_and(|budget| self.run.cost_nanos >= budget) {
            self.failure = Some("flow_budget_reached".to_owned());
            return;
        }
        let path = self.path_of_work(work);
        let prepared = match leaf::prepare(&self.values, leaf, beside) {
            Ok(prepared) => prepared,
            Err(message) => {
                return self.end(work, Err(Failure::new("flow_expression_failed", message)), None);
            }
        };
        let (tries, started_unix_ms) = self.start_try(&prepared, &path, leaf.kind());
        let (Work::Step(place) | Work::Iteration(place, _)) = work;
        let limit = self.flow.steps.get(place).and_then(|step| step.timeout_seconds);
        let limit = limit.map_or(FLOW_STEP_TIME_MAX, Duration::from_secs);
        let is_approved = matches!(leaf, Leaf::Tool { .. }) && self.is_approved(place);
        let call = self.call_of(prepared, (path, tries, started_unix_ms), is_approved);
        let making = on_its_own(
            "step of a flow",
            Box::pin(
                async move { leaf::make_within(&call, limit, "The step exceeded its time limit.").await },
            ),
        );
        self.making.push(Box::pin(async move {
            let ended = || Err(Failure::new("flow_run_stopped", "The step ended without a result."));
            let made = making.await.unwrap_or_else(ended);
            Made::Ended { work, tries, made }
        }));
    }

    /// Whether a step is after an approval that was given.
    fn is_approved(&self, place: usize) -> bool {
        let (mut seen, mut open) = (std::collections::HashSet::new(), vec![place]);
        while let Some(step) = open.pop().and_then(|place| self.flow.steps.get(place)) {
            let is_given = |need: &usize| {
                let is_approval = self.flow.steps.get(*need).is_some_and(|step| step.kind == "approval");
                is_approval && self.schedule.outcome(*need) == Some(Outcome::Completed)
            };
            if step.needs.iter().any(is_given) {
                return true;
            }
            open.extend(step.needs.iter().copied().filter(|need| seen.insert(*need)));
        }
        false
    }

    /// Begins a step again after a pause.
    pub(crate) fn again(&mut self, work: Work, delay: Duration) {
        self.making.push(Box::pin(async move {
            sleep(delay).await;
            Made::Again(work)
        }));
    }
}
