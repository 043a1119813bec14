//! Flows as apps: the task begins a run under its own id, and follows it. Between its looks it is back in the queue, so that the
//! tasks of the run's steps find workers.

use std::rc::Rc;
use std::time::Duration;

use admit::Caller;
use domain::{
    Fault, FaultClass, FlowNotStarted, FlowProgress, FlowRunId, FlowStart, ObjectOwner, StoredFlow, TaskId,
};
use line::{Core, TaskCall};
use serde_json::{Map, Value};
use tokio::time::sleep;

use crate::kept_content::store_away;
use crate::limits::{FLOW_REST_MS_MAX, FLOW_REST_MS_MIN};
use crate::own_runs::result_of;
use crate::tasks::{self, Tried};

/// Why the task of a flow goes back to the queue: nothing that its log tells.
pub(crate) const WAITS_FOR_FLOW: &str = "it waits for its flow";
/// How often a worker looks before it puts the task back, and how long it waits between.
const POLLS: u32 = 10;
const POLL_EVERY: Duration = Duration::from_millis(100);
const NAMESPACE: &str = "flows/";

/// The run that a task follows: a try after a crash finds it again.
const fn run_of(task: TaskId) -> FlowRunId {
    FlowRunId::from_uuid(*task.as_uuid())
}

/// Cancels the run of a task, if it follows one.
pub(crate) async fn cancel(core: &Core, owner: ObjectOwner, (task, app): (TaskId, &str)) {
    if app.starts_with(NAMESPACE) && !core.flows.cancel(owner, run_of(task)).await {
        tracing::warn!(%task, "the run of a cancelled task could not be cancelled");
    }
}

pub(crate) async fn make(
    core: &Rc<Core>,
    call: &TaskCall,
    caller: &Caller,
    (flow, input): (StoredFlow, Map<String, Value>),
) -> Tried {
    let (task, owner) = (&call.task, caller.owner());
    let id = run_of(task.id);
    if core.flows.progress(owner, id).await == FlowProgress::Gone {
        let start = FlowStart {
            id,
            owner,
            request: call.trace,
            key: task.key,
            flow,
            input: Value::Object(input).to_string().into(),
        };
        match core.flows.begin(start).await {
            Ok(()) => {}
            Err(FlowNotStarted::Invalid(why)) => return tasks::failed_by(&invalid(&why), call),
            Err(FlowNotStarted::TooManyRuns) => {
                let why = "too many flow runs are waiting in its project".to_owned();
                return Tried::Again { wait_ms: FLOW_REST_MS_MAX, is_postponed: true, why };
            }
            Err(FlowNotStarted::StoreUnavailable) => return away(call),
        }
    }
    for _ in 0..POLLS {
        match core.flows.progress(owner, id).await {
            FlowProgress::Running => sleep(POLL_EVERY).await,
            FlowProgress::Completed(output) => {
                let output = serde_json::from_slice(&output).unwrap_or_default();
                return Tried::Completed(Box::new(result_of(output, &task.app, "flow")));
            }
            FlowProgress::Failed(code) => return tasks::failed_by(&failed(id, &code), call),
            FlowProgress::Gone => return tasks::failed_by(&failed(id, "flow_content_gone"), call),
            FlowProgress::Cancelled => return Tried::Cancelled,
            FlowProgress::StoreUnavailable => return away(call),
        }
    }
    let age_ms = core.deps.world.clock.unix_ms().saturating_sub(task.created_unix_ms);
    let wait_ms = (age_ms / 10).clamp(FLOW_REST_MS_MIN, FLOW_REST_MS_MAX);
    Tried::Again { wait_ms, is_postponed: true, why: WAITS_FOR_FLOW.to_owned() }
}

fn away(call: &TaskCall) -> Tried {
    tasks::failed_or_again(call, tasks::document_of(&store_away(), call), true)
}

fn invalid(why: &str) -> Fault {
    let message = format!("The flow or its input is invalid: {why}");
    Fault::new(FaultClass::BadRequest, "flow_invalid", message).param("input").fix("Correct the flow.")
}

fn failed(id: FlowRunId, code: &str) -> Fault {
    let message = format!("The flow's run {id} failed: {code}.");
    let fault = Fault::new(FaultClass::Upstream, "app_failed", message).param("app").should_retry(false);
    fault.fix("GET /v2/flow-runs/ID shows each step, and /retry runs some of them again.")
}
