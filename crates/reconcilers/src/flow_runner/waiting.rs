//! Steps that wait: for a time, an event, an approval, or the run of another flow.

use std::time::Duration;

use domain::FlowRunId;
use flowruns::{FlowEngine, RunState, RunStatus, StepRow, StepStatus, part};
use flows::{Wait, Work};
use serde_json::Value;

use super::drive::Drive;
use super::leaf::Failure;
use super::values::Beside;
use crate::limits::{FLOW_PARKED_MAX, FLOW_TIMER_LATE_MAX};
use crate::milliseconds;

/// How long a run that is held waits before it looks by itself.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// As long, where nobody tells it of what happens elsewhere.
const LOOK_SOON: Duration = Duration::from_secs(1);

/// What a step waits for, and until when.
pub(crate) struct Waiting {
    work: Work,
    what: What,
    deadline_unix_ms: Option<u64>,
}

enum What {
    Time(u64),
    /// By the name of the event, and of approvals with a colon.
    Event(String),
    Child(FlowRunId),
}

impl Waiting {
    pub fn for_approval(work: Work, path: &str, deadline_unix_ms: Option<u64>) -> Self {
        Self { work, what: What::Event(format!(":{path}")), deadline_unix_ms }
    }

    pub const fn for_child(work: Work, child: FlowRunId, deadline_unix_ms: Option<u64>) -> Self {
        Self { work, what: What::Child(child), deadline_unix_ms }
    }

    pub const fn is_for_event(&self) -> bool {
        matches!(self.what, What::Event(_))
    }

    pub const fn child(&self) -> Option<FlowRunId> {
        match self.what {
            What::Child(child) => Some(child),
            What::Time(_) | What::Event(_) => None,
        }
    }

    fn moment(&self) -> Option<u64> {
        let own = match self.what {
            What::Time(until) => Some(until),
            What::Event(_) | What::Child(_) => None,
        };
        own.into_iter().chain(self.deadline_unix_ms).min()
    }
}

impl Drive {
    fn now(&self) -> u64 {
        self.shared.deps.world.clock.unix_ms()
    }

    /// When a step that began is too late.
    pub(crate) fn deadline(&self, path: &str, timeout_seconds: Option<u64>) -> Option<u64> {
        let started = self.rows.get(path).and_then(|row| row.started_unix_ms).unwrap_or_else(|| self.now());
        timeout_seconds.map(|seconds| started.saturating_add(seconds.saturating_mul(1_000)))
    }

    pub(crate) fn wait_of(
        &self,
        work: Work,
        wait: &Wait,
        timeout_seconds: Option<u64>,
    ) -> Result<Waiting, Failure> {
        let path = self.path_of_work(work);
        let started = self.rows.get(&path).and_then(|row| row.started_unix_ms).unwrap_or_else(|| self.now());
        let what = match wait {
            Wait::Seconds(seconds) => What::Time(started.saturating_add(seconds.saturating_mul(1_000))),
            Wait::UntilUnixMs(expression) => {
                let failure = |message: String| Failure::new("flow_expression_failed", message);
                let value = self.values.evaluate(expression, &Beside::default()).map_err(failure)?;
                let until =
                    value.as_u64().ok_or_else(|| failure("This isn't a time in milliseconds.".to_owned()))?;
                What::Time(until)
            }
            Wait::Event(name) => What::Event(name.clone()),
        };
        Ok(Waiting { work, what, deadline_unix_ms: self.deadline(&path, timeout_seconds) })
    }

    /// Notes that a step waits.
    pub(crate) fn begin_waiting(&mut self, work: Work, waiting: Result<Waiting, Failure>) {
        let waiting = match waiting {
            Ok(waiting) => waiting,
            Err(failure) => return self.end(work, Err(failure), None),
        };
        let path = self.path_of_work(work);
        let (Work::Step(place) | Work::Iteration(place, _)) = work;
        let row = self.row_of(&path, &self.kind_of(place));
        let (now, tries) = (self.now(), row.tries.max(1));
        let started_unix_ms = row.started_unix_ms.or(Some(now));
        self.write(StepRow { status: StepStatus::Waiting, tries, started_unix_ms, ..row }, None, None);
        self.waiting.insert(path, waiting);
    }

    /// Ends what has waited long enough.
    pub(crate) fn check_waiting(&mut self) {
        let now = self.now();
        let is_due = |waiting: &Waiting| waiting.moment().is_some_and(|moment| moment <= now);
        let due: Vec<String> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| is_due(waiting))
            .map(|(path, _)| path.clone())
            .collect();
        for path in due {
            let Some(waiting) = self.waiting.remove(&path) else { continue };
            match waiting.what {
                What::Time(until) if until <= now => self.end(waiting.work, Ok(Value::from(until)), None),
                _ => {
                    let failure = Failure::new(
                        "flow_step_timeout",
                        "The event that the step waits for didn't arrive in time.",
                    );
                    self.end(waiting.work, Err(failure), None);
                }
            }
        }
    }

    /// Gives events to the steps that wait for them, the oldest first, each to one step.
    pub(crate) async fn take_events(&mut self) {
        let is_expected = self.waiting.values().any(Waiting::is_for_event);
        if !is_expected || self.events.iter().all(|event| event.taken_by.is_some()) {
            return;
        }
        let mut events = self.events.clone();
        for event in events.iter_mut().filter(|event| event.taken_by.is_none()) {
            let is_for =
                |waiting: &Waiting| matches!(&waiting.what, What::Event(name) if *name == event.name);
            let path = self
                .waiting
                .iter()
                .filter(|(_, waiting)| is_for(waiting))
                .map(|(path, _)| path.clone())
                .min();
            let Some(path) = path else { continue };
            let content = self.shared.runs.content(self.lease.id, part::of_event(event.number)).await;
            let content = match content {
                Ok(content) => {
                    content.and_then(|content| content.open(&self.shared.deps.vault, self.lease.owner))
                }
                Err(error) => {
                    tracing::warn!(%error, "an event of a run could not be read");
                    // As if none were known, so that the run is not put aside: it reads them again.
                    self.events.clear();
                    return;
                }
            };
            let Some(waiting) = self.waiting.remove(&path) else { continue };
            event.taken_by = Some(path.clone());
            let payload = content.unwrap_or_default();
            let is_rejected =
                event.name.starts_with(':') && payload.get("approved").and_then(Value::as_bool) != Some(true);
            let made = match is_rejected {
                true => Err(Failure::new("flow_not_approved", "The step was not approved.")),
                false => Ok(payload),
            };
            self.end(waiting.work, made, None);
            if let Some(write) = self.writes.iter_mut().rev().find(|write| write.step.path == path) {
                write.takes = Some(event.number);
            }
        }
        self.events = events;
    }

    /// Ends the steps whose runs of other flows have ended.
    pub(crate) async fn look_at_children(&mut self) {
        let children: Vec<(String, FlowRunId)> = self
            .waiting
            .iter()
            .filter_map(|(path, waiting)| Some((path.clone(), waiting.child()?)))
            .collect();
        for (path, id) in children {
            let child = match self.shared.runs.get(self.lease.owner.workspace, id).await {
                Ok(child) if child.state != RunState::Ended => continue,
                Ok(child) => Some(child),
                Err(store::StoreError::NotFound { .. }) => None,
                Err(error) => {
                    tracing::warn!(%error, "the run of a sub-flow could not be read");
                    continue;
                }
            };
            let content = self.shared.runs.content(id, part::OUTPUT.to_owned()).await.ok().flatten();
            let output = content.and_then(|content| content.open(&self.shared.deps.vault, self.lease.owner));
            let Some(waiting) = self.waiting.remove(&path) else { continue };
            let cost = child.as_ref().map(|child| child.cost_nanos);
            let made = match child.map(|child| (child.status, child.error_code)) {
                Some((RunStatus::Completed, _)) => Ok(output.unwrap_or_default()),
                Some((_, code)) => {
                    let code = code.unwrap_or_else(|| "flow_run_failed".to_owned());
                    Err(Failure::new(&code, format!("The run {id} of another flow did not complete.")))
                }
                None => Err(Failure::new("flow_content_gone", "The run of another flow was purged.")),
            };
            self.end(waiting.work, made, cost);
        }
    }

    /// How long nothing can happen by itself.
    pub(crate) fn until_next_moment(&self) -> Duration {
        let now = self.now();
        let first = self.waiting.values().filter_map(Waiting::moment).min();
        let has_child = self.waiting.values().any(|waiting| waiting.child().is_some());
        // The queue's worker learns what others want of its runs as it renews their leases.
        let longest = match has_child || self.run.engine != FlowEngine::Queue {
            true => LOOK_SOON,
            false => LOOK_EVERY,
        };
        first.map_or(longest, |moment| Duration::from_millis(moment.saturating_sub(now)).min(longest))
    }

    /// Puts the run aside until what it waits for happens; whether it was.
    pub(crate) async fn park(&mut self, state: RunState) -> bool {
        let now = self.now();
        let first = self.waiting.values().filter_map(Waiting::moment).min();
        let children: Vec<FlowRunId> = self.waiting.values().filter_map(Waiting::child).collect();
        // Who ends a run of another flow wakes this one; a look from time to time finds what was not told.
        let latest = match (state, children.is_empty()) {
            (RunState::Waiting, false) => now.saturating_add(milliseconds(FLOW_PARKED_MAX)),
            _ => now.saturating_add(365 * 24 * 3_600_000),
        };
        self.wakes_unix_ms = first.filter(|_| state == RunState::Waiting);
        // The timer of another engine comes first, and the queue's look is for one that was lost.
        let late = match self.run.engine {
            FlowEngine::Queue => 0,
            FlowEngine::Restate => milliseconds(FLOW_TIMER_LATE_MAX),
        };
        let due = first.unwrap_or(latest).min(latest).saturating_add(late);
        let known = (self.events.len() as u64, children);
        match self.shared.runs.park(self.lease.clone(), (state, due), known, now).await {
            Ok(is_parked) => is_parked,
            Err(error) => {
                tracing::warn!(%error, run = %self.lease.id, "a run could not be put aside");
                false
            }
        }
    }
}
