//! Reads a run that a worker took: its document, what it was given, and what its steps have made so far.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use flowruns::{FlowContent, RunLease, RunRow, RunStatus, StepRow, StepStatus, StepWrite, part};
use flows::{Flow, Outcome, Schedule};
use futures_util::stream::FuturesUnordered;
use serde_json::Value;

use super::drive::{Drive, iteration_of, of_iteration};
use super::shared::Shared;
use super::values::{Values, view};

/// Which outcome a stored step had.
fn outcome_of(step: &StepRow, content: Option<&Value>) -> Option<Outcome> {
    let is_closed = || {
        step.kind == "gate" && content.and_then(|content| content.get("output")) == Some(&Value::Bool(false))
    };
    Some(match step.status {
        StepStatus::Completed if is_closed() => Outcome::Closed,
        StepStatus::Completed => Outcome::Completed,
        StepStatus::Failed | StepStatus::Cancelled => Outcome::Failed,
        StepStatus::Skipped => Outcome::Skipped,
        StepStatus::Blocked => Outcome::Blocked,
        StepStatus::Pending | StepStatus::Running | StepStatus::Waiting => return None,
    })
}

impl Drive {
    /// `None` where it can't be read now, or can't run: then that is stored.
    pub(crate) async fn load(shared: Arc<Shared>, run: RunRow, lease: RunLease) -> Option<Self> {
        let loaded = match shared.runs.load(run.id).await {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::warn!(%error, run = %run.id, "a run could not be read; it is taken again once its lease is over");
                return None;
            }
        };
        let open = |content: &FlowContent| content.open(&shared.deps.vault, run.owner);
        let mut contents: HashMap<String, Value> = loaded
            .contents
            .iter()
            .filter_map(|content| Some((content.part.clone(), open(content)?)))
            .collect();
        let document = contents.remove(part::DOCUMENT);
        let flow = document.as_ref().and_then(|document| flows::compile(document).ok());
        let Some((flow, input)) = flow.map(Arc::new).zip(contents.remove(part::INPUT)) else {
            end_unreadable(&shared, &run, lease).await;
            return None;
        };
        let mut drive = Self::new(shared, (run, lease), flow, input);
        drive.events = loaded.events;
        drive.restore(loaded.steps, contents);
        Some(drive)
    }

    fn new(shared: Arc<Shared>, (run, lease): (RunRow, RunLease), flow: Arc<Flow>, input: Value) -> Self {
        let (schedule, _) = Schedule::resume(Arc::clone(&flow), &[]);
        Self {
            shared,
            wish: run.wish,
            run,
            lease,
            schedule,
            flow,
            values: Values { input, steps: HashMap::new() },
            rows: HashMap::new(),
            outputs: BTreeMap::new(),
            items: HashMap::new(),
            making: FuturesUnordered::new(),
            costs: FuturesUnordered::new(),
            waiting: HashMap::new(),
            writes: Vec::new(),
            place: 0,
            events: Vec::new(),
            failure: None,
            is_lost: false,
            is_stale: true,
            stored: 0,
            wakes_unix_ms: None,
        }
    }

    fn restore(&mut self, steps: Vec<StepRow>, mut contents: HashMap<String, Value>) {
        let places: HashMap<&str, usize> =
            self.flow.steps.iter().enumerate().map(|(place, step)| (step.name.as_str(), place)).collect();
        let mut ended = Vec::new();
        for step in steps {
            self.place = self.place.max(step.place.map_or(0, |place| place + 1));
            let content = contents.remove(&part::of_step(&step.path));
            let output =
                || content.as_ref().and_then(|content| content.get("output")).cloned().unwrap_or_default();
            if let Some((name, index)) = iteration_of(&step.path) {
                if let Some(place) = places.get(name)
                    && step.status == StepStatus::Completed
                {
                    self.outputs.insert((*place, index), output());
                }
            } else if let Some(place) = places.get(step.path.as_str())
                && let Some(outcome) = outcome_of(&step, content.as_ref())
            {
                let error = content.as_ref().and_then(|content| content.get("error")).and_then(Value::as_str);
                self.values.steps.insert(step.path.clone(), view(output(), step.status.as_str(), error));
                ended.push((*place, outcome));
            }
            self.rows.insert(step.path.clone(), step);
        }
        self.stored = self.place;
        let (schedule, decided) = Schedule::resume(Arc::clone(&self.flow), &ended);
        self.schedule = schedule;
        self.note_decided(decided);
    }

    /// The iterations of a step that have ended.
    pub(crate) fn ended_iterations(&self, step: usize) -> Vec<u32> {
        self.outputs.range((step, 0)..=(step, u32::MAX)).map(|((_, index), _)| *index).collect()
    }

    pub(crate) fn path_of(&self, step: usize, index: Option<u32>) -> String {
        let name = self.flow.steps.get(step).map_or("", |step| step.name.as_str());
        index.map_or_else(|| name.to_owned(), |index| of_iteration(name, index))
    }

    pub(crate) fn seal_step(&self, path: &str, output: &Value, error: Option<&str>) -> Option<FlowContent> {
        let content = serde_json::json!({"output": output, "error": error});
        let of = (self.lease.owner, self.lease.id, self.lease.request);
        FlowContent::seal(&self.shared.deps.vault, of, part::of_step(path), &content)
            .inspect_err(|error| tracing::warn!(%error, "what a step made could not be sealed"))
            .ok()
    }

    pub(crate) fn write(&mut self, step: StepRow, content: Option<FlowContent>, takes: Option<u64>) {
        // At once: the next step may be one too many for the budget.
        self.run.cost_nanos = self.run.cost_nanos.saturating_add(step.cost_nanos.unwrap_or_default());
        self.rows.insert(step.path.clone(), step.clone());
        self.writes.push(StepWrite { step, content, takes });
    }
}

/// Its content was purged, or it was written by a version that knew other documents.
async fn end_unreadable(shared: &Shared, run: &RunRow, lease: RunLease) {
    let now = shared.deps.world.clock.unix_ms();
    let end = super::ending::run_end(RunStatus::Failed, Some("flow_content_gone".to_owned()), None, now);
    if let Err(error) = shared.runs.finish(lease, end).await {
        tracing::warn!(%error, run = %run.id, "a run without content could not be ended");
    }
}
