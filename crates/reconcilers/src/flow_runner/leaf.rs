//! Makes a step that is more than an expression: a task, a call of a tool or a server, a run of another flow.

use std::sync::Arc;
use std::time::Duration;

use domain::limits::TASKS_OPEN_MAX;
use domain::ports::PortFuture;
use domain::tools::{ArgumentPlace, HttpAction};
use domain::{
    FlowRunId, FoundTask, NewTask, ObjectOwner, RunTask, TaskContents, TaskId, TaskNotKept, TaskStatus,
    TraceId,
};
use flowruns::{RunLease, RunRow};
use flows::{Leaf, Work};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use runs::{TaskContent, TaskPart, TaskRequest, TaskResult, TaskWrite, stored_text};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::shared::{Shared, on_its_own};
use super::sub_flow;
use super::values::{Beside, Values};
use crate::limits::FLOW_COST_TIME_MAX;
use crate::task_webhook_job_of;

/// How often a task is looked at that another process makes.
const POLL_SLOWEST: Duration = Duration::from_millis(250);
const POLL_FIRST: Duration = Duration::from_millis(20);
const COST_POLL: Duration = Duration::from_millis(100);
const WAIT_FOR_ROOM: Duration = Duration::from_secs(1);
/// What is encoded in a query.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Why a step failed: a code, and a sentence that is stored sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub code: String,
    pub message: String,
}

impl Failure {
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }
}

/// What came of a step.
pub(crate) struct LeafMade {
    pub output: Value,
    /// Where it is known by now.
    pub cost_nanos: Option<i64>,
    /// The request whose record tells it later.
    pub later: Option<TraceId>,
    /// It goes on as this run.
    pub child: Option<FlowRunId>,
}

impl LeafMade {
    pub const fn of(output: Value) -> Self {
        Self { output, cost_nanos: None, later: None, child: None }
    }
}

/// What a future of a run ends with.
pub(crate) enum Made {
    Ended {
        work: Work,
        tries: u32,
        made: Result<LeafMade, Failure>,
    },
    /// Its pause is over.
    Again(Work),
}

/// A step with its expressions filled in.
#[derive(Debug, Clone)]
pub(crate) enum Prepared {
    App { app: String, input: Value },
    Called(FlowTarget),
    Flow { flow: String, version: Option<u64>, input: Value },
}

/// A tool or a server that a step calls.
#[derive(Debug, Clone)]
pub enum FlowTarget {
    Tool { name: String, arguments: Map<String, Value> },
    Http { action: HttpAction, headers: Vec<(String, String)>, arguments: Map<String, Value> },
}

/// A call that a step makes, which a serving core carries out.
#[derive(Debug, Clone)]
pub struct FlowCall {
    pub owner: ObjectOwner,
    /// What the call of a tool is recorded under.
    pub trace: TraceId,
    pub target: FlowTarget,
    /// The step comes after an approval.
    pub is_approved: bool,
}

/// A try of a step.
pub(crate) struct Call {
    pub shared: Arc<Shared>,
    pub lease: RunLease,
    pub run: RunRow,
    pub prepared: Prepared,
    pub path: String,
    /// What makes the id of what it begins.
    pub seed: (u64, [u8; 10]),
    pub tries: u32,
    pub is_approved: bool,
}

/// Fills in the expressions of a step.
///
/// # Errors
/// One of them has no value.
pub(crate) fn prepare(values: &Values, leaf: &Leaf, beside: &Beside) -> Result<Prepared, String> {
    let fields = |value: Value| match value {
        Value::Object(fields) => Ok(fields),
        Value::Null => Ok(Map::new()),
        _ => Err("The input of a step must be an object.".to_owned()),
    };
    Ok(match leaf {
        Leaf::App { app, input } => {
            let app = text(&values.fill(app, beside)?);
            Prepared::App { app, input: Value::Object(fields(values.fill(input, beside)?)?) }
        }
        Leaf::Tool { tool, input } => {
            let arguments = fields(values.fill(input, beside)?)?;
            Prepared::Called(FlowTarget::Tool { name: tool.clone(), arguments })
        }
        Leaf::Http { method, url, headers, query, body } => {
            let url = address(&text(&values.fill(url, beside)?), &fields(values.fill(query, beside)?)?);
            let headers = fields(values.fill(headers, beside)?)?;
            let headers = headers.iter().map(|(name, value)| (name.clone(), text(value))).collect();
            let arguments = fields(values.fill(body, beside)?)?;
            let places = arguments.keys().map(|name| (name.clone(), ArgumentPlace::Body)).collect();
            let action = HttpAction { method: method.clone(), url, places };
            Prepared::Called(FlowTarget::Http { action, headers, arguments })
        }
        Leaf::Flow { flow, version, input } => {
            let input = Value::Object(fields(values.fill(input, beside)?)?);
            Prepared::Flow { flow: flow.clone(), version: *version, input }
        }
        Leaf::Expression(_) | Leaf::Constant(_) => return Err("This is evaluated in place.".to_owned()),
    })
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The address with its query. Braces would be places of arguments.
fn address(url: &str, query: &Map<String, Value>) -> String {
    let mut url = url.replace('{', "%7B").replace('}', "%7D");
    for (name, value) in query {
        let sign = if url.contains('?') { '&' } else { '?' };
        url.push(sign);
        url.extend(utf8_percent_encode(name, RESERVED));
        url.push('=');
        url.extend(utf8_percent_encode(&text(value), RESERVED));
    }
    url
}

impl Call {
    fn task(&self) -> TaskId {
        TaskId::new(self.seed.0, self.seed.1)
    }
}

/// Makes a try of a step.
async fn make(call: &Call) -> Result<LeafMade, Failure> {
    match &call.prepared {
        Prepared::App { app, input } => run_app(call, app, input).await,
        Prepared::Called(target) => call_target(call, target).await,
        Prepared::Flow { flow, version, input } => {
            let id = FlowRunId::new(call.seed.0, call.seed.1);
            sub_flow::begin(call, id, (flow, *version), input).await?;
            Ok(LeafMade { child: Some(id), ..LeafMade::of(Value::Null) })
        }
    }
}

/// Makes a try of a step within so much time.
///
/// # Errors
/// Why it failed; `late` where it takes longer.
pub(crate) async fn make_within(call: &Call, limit: Duration, late: &str) -> Result<LeafMade, Failure> {
    match timeout(limit, make(call)).await {
        Ok(made) => made,
        Err(_) => {
            abandon(call).await;
            Err(Failure::new("flow_step_timeout", late))
        }
    }
}

/// Ends what a try began that takes too long.
async fn abandon(call: &Call) {
    if matches!(call.prepared, Prepared::App { .. }) {
        cancel_task(&call.shared, call.lease.owner, call.task()).await;
    }
}

pub(crate) async fn cancel_task(shared: &Shared, owner: ObjectOwner, id: TaskId) {
    let now = shared.deps.world.clock.unix_ms();
    if let Err(error) = shared.tasks.cancel(owner, id, now, task_webhook_job_of(owner, id, now)).await {
        tracing::warn!(%error, task = %id, "the task of a step could not be cancelled");
    }
    shared.live.cancel(id);
}

async fn call_target(call: &Call, target: &FlowTarget) -> Result<LeafMade, Failure> {
    let mut target = target.clone();
    if let FlowTarget::Http { headers, .. } = &mut target {
        // Whoever makes a try again sends the same, so that the server can tell.
        let is_given = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("idempotency-key"));
        if !is_given {
            let key = format!("{}-{}-{}", call.lease.id, call.path, call.tries);
            headers.push(("Idempotency-Key".to_owned(), key));
        }
    }
    let (owner, trace) = (call.lease.owner, TraceId::new(call.seed.0, call.seed.1));
    let flow_call = FlowCall { owner, trace, target, is_approved: call.is_approved };
    let answer = call.shared.deps.outbound.call_for_flow(flow_call).await;
    let answer = answer.map_err(|failure| {
        let code = format!("flow_call_{}", failure.outcome.as_str());
        Failure { code, message: failure.text }
    })?;
    if answer.is_error {
        return Err(Failure::new("flow_call_failed", answer.text));
    }
    Ok(LeafMade::of(flows::value_or_text(answer.text)))
}

fn store_away(error: &store::StoreError) -> Failure {
    Failure::new("store_unavailable", format!("The store could not be reached: {error}"))
}

/// The task of a try: made by whichever process has it, and only once.
async fn run_app(call: &Call, app: &str, input: &Value) -> Result<LeafMade, Failure> {
    let (shared, owner, id) = (&call.shared, call.lease.owner, call.task());
    let now = shared.deps.world.clock.unix_ms();
    if shared.tasks.find(owner, id, now).await.map_err(|error| store_away(&error))?.is_none() {
        queue(call, id, app, input).await?;
    }
    let (task, contents) = ended(call, id).await?;
    let result = TaskResult::read(&contents);
    let trace = task.request();
    let cost_nanos = match call.run.budget_nanos {
        Some(_) => cost_of(shared, owner, trace).await,
        None => None,
    };
    let later = cost_nanos.is_none().then_some(trace);
    match (task.status, result) {
        (TaskStatus::Completed, Some(result)) => {
            Ok(LeafMade { cost_nanos, later, ..LeafMade::of(result.output) })
        }
        (TaskStatus::Cancelled, _) => {
            Err(Failure::new("flow_task_cancelled", "The step's task was cancelled."))
        }
        (_, Some(result)) => {
            let code = result.problem.get("code").and_then(Value::as_str).unwrap_or("flow_task_failed");
            Err(Failure::new(code, result.error.unwrap_or_default()))
        }
        (_, None) => Err(Failure::new("flow_content_gone", "The step's output was purged.")),
    }
}

async fn queue(call: &Call, id: TaskId, app: &str, input: &Value) -> Result<(), Failure> {
    let (shared, owner) = (&call.shared, call.lease.owner);
    let metadata = json!({"flow_run_id": call.lease.id.to_string(), "flow_step": call.path});
    let request = TaskRequest { input: input.clone(), metadata, ..TaskRequest::default() };
    let sealed =
        TaskContent::seal(&shared.deps.vault, (owner, id), TaskPart::Request, &stored_text(&request));
    let sealed = sealed.map_err(|error| Failure::new("store_unavailable", error.to_string()))?;
    loop {
        let now = shared.deps.world.clock.unix_ms();
        let times = (now, now.saturating_add(runs::kept_ms()));
        let task = RunTask::queued((id, owner, call.run.key), app.to_owned(), times);
        let new = NewTask { task, contents: TaskContents::default(), open_max: Some(TASKS_OPEN_MAX) };
        let write = TaskWrite::Keep { new: Box::new(new), contents: vec![sealed.clone()] };
        let written = shared.tasks.write(vec![write]).await.map_err(|error| store_away(&error))?;
        match written.into_iter().next().map(runs::Written::kept) {
            Some(Ok(())) => break,
            Some(Err(TaskNotKept::TooManyWaiting(_))) => sleep(WAIT_FOR_ROOM).await,
            Some(Err(TaskNotKept::StoreUnavailable)) | None => {
                return Err(Failure::new("store_unavailable", "The store didn't accept the step's task."));
            }
        }
    }
    shared.task_arrivals.notify_one();
    Ok(())
}

/// Waits for the end of a task, whichever process makes it.
async fn ended(call: &Call, id: TaskId) -> Result<(RunTask, TaskContents), Failure> {
    let (shared, owner) = (&call.shared, call.lease.owner);
    let mut pause = POLL_FIRST;
    loop {
        match shared.live.follow(id) {
            Some(mut progress) => {
                let _ = timeout(WAIT_FOR_ROOM, progress.wait_for(|progress| progress.has_ended)).await;
            }
            None => {
                let _ = timeout(pause, shared.live.started()).await;
                pause = (pause * 2).min(POLL_SLOWEST);
            }
        }
        let now = shared.deps.world.clock.unix_ms();
        let found = shared.tasks.find(owner, id, now).await.map_err(|error| store_away(&error))?;
        match runs::opened(found, &shared.deps.vault) {
            FoundTask::Known(known) if known.0.status.has_ended() => return Ok(*known),
            FoundTask::Known(_) => {}
            _ => return Err(Failure::new("flow_content_gone", "The step's task was purged.")),
        }
    }
}

/// What a request cost: what the workspace owes, or what its own provider bills, whichever is more.
pub(crate) async fn cost_of(shared: &Shared, owner: ObjectOwner, trace: TraceId) -> Option<i64> {
    let end = Instant::now() + FLOW_COST_TIME_MAX;
    while Instant::now() < end {
        match shared.deps.store.records().request(owner.workspace, trace).await {
            Ok(record) => return Some(record.charge.cost.0.max(record.charge.provider_cost.0)),
            // The drainer moves it within a second.
            Err(_) => sleep(COST_POLL).await,
        }
    }
    None
}

/// Adds what a step cost once that is known.
pub(crate) fn add_cost(
    shared: Arc<Shared>,
    lease: &RunLease,
    path: String,
    trace: TraceId,
) -> PortFuture<'static, ()> {
    let (owner, id) = (lease.owner, lease.id);
    let adding = on_its_own(
        "cost of a step",
        Box::pin(async move {
            let Some(cost) = cost_of(&shared, owner, trace).await else { return };
            if let Err(error) = shared.runs.add_cost(id, path, cost).await {
                tracing::warn!(%error, "what a step cost could not be stored");
            }
        }),
    );
    Box::pin(async move { adding.await.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_query_and_no_places() {
        let query = json!({"q": "a b&c", "n": 3});
        let query = query.as_object().unwrap();
        assert_eq!(address("https://a.example/{x}", query), "https://a.example/%7Bx%7D?q=a%20b%26c&n=3");
        assert_eq!(address("https://a.example/?z=1", query), "https://a.example/?z=1&q=a%20b%26c&n=3");
    }
}
