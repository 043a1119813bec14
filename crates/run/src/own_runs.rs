//! Runs of apps that are no models: waited for, or made by a worker as the task that they are.

use std::rc::Rc;

use admit::Caller;
use decode::Inbound;
use domain::{CallOutcome, Fault, FaultClass, ReadyApp, TaskId, TaskStatus, ToolCallRecord, TraceId};
use http::{HeaderMap, Response, StatusCode};
use line::{Core, TaskCall};
use runs::TaskResult;
use schemas::STORED_DEPTH_MAX;
use serde_json::{Map, Value, json};
use settle::ReplyBody;
use toolloop::ProjectTools;

use crate::answer::{self, Frame};
use crate::apps::OwnApp;
use crate::limits::VIDEO_WAIT_MAX;
use crate::refusal::Refusal;
use crate::task::Envelope;
use crate::tasks::{self, Format, Queued, Tried};
use crate::{chats, flow_runs, warm};
use runbody::{RunRequest, sanitize};

/// Why a run made nothing.
pub(crate) struct NotMade {
    pub fault: Box<Fault>,
    /// The same call may succeed later.
    pub may_retry: bool,
}

impl From<Box<Fault>> for NotMade {
    fn from(fault: Box<Fault>) -> Self {
        Self { fault, may_retry: false }
    }
}

/// Runs an app for a client that waits, or queues it.
pub(crate) async fn run(
    core: &Rc<Core>,
    inbound: Inbound,
    caller: &Caller,
    (request, own): (RunRequest, OwnApp),
    (waits, streams): (bool, Option<Format>),
) -> Result<Response<ReplyBody>, Refusal> {
    let now_unix_ms = core.deps.world.clock.unix_ms();
    let input = own.check((caller, now_unix_ms), &request.input)?;
    let (trace, envelope) = (inbound.trace, Envelope::from_headers(&inbound.headers));
    if waits && let OwnApp::Http(_) | OwnApp::Tool(_) = own {
        let key = TaskId::from_uuid(*trace.as_uuid()).to_string();
        let session = warm::begin(core, caller, trace, &request).await?;
        let made = make(core, caller, (&own, &request.app, &inbound.headers), input, (trace, &key)).await;
        let result = made.map_err(|not_made| Refusal::Fault(not_made.fault))?;
        core.counters.answered(StatusCode::OK.as_u16());
        let frame = Frame::of(&inbound, request, session);
        let headers = line::own_headers(trace, "application/json");
        return Ok(answer::finished(core, caller, frame, now_unix_ms, (result, Vec::new()), headers).await);
    }
    let queued = match own {
        OwnApp::Agent(agent, _) => chats::queue_app(core, caller, &inbound, (*agent, request)).await?,
        _ => tasks::queue_checked(core, &inbound, caller, request).await?,
    };
    let Queued::Waits(waiting) = queued else { return Err(Box::new(Fault::internal()).into()) };
    core.counters.answered(StatusCode::OK.as_u16());
    let (mut task, mut contents) = *waiting;
    if let Some(format) = streams {
        return Ok(tasks::stream(core, caller, task.id, format));
    }
    if waits && let Some(found) = tasks::ended(core, caller.owner(), task.id, VIDEO_WAIT_MAX).await {
        (task, contents) = found;
    }
    let body = envelope.wrap(&runs::document(&task, &contents), &[]);
    Ok(settle::whole(StatusCode::OK, line::own_headers(trace, "application/json"), body.into()))
}

/// Makes the task of such an app. Agents' tasks are turns of chats, which are made elsewhere.
pub(crate) async fn make_task(
    core: &Rc<Core>,
    call: &TaskCall,
    caller: &Caller,
    (own, input, headers): (OwnApp, &Value, &HeaderMap),
    enter: impl FnOnce(TaskStatus),
) -> Tried {
    let now_unix_ms = core.deps.world.clock.unix_ms();
    let input = match own.check((caller, now_unix_ms), input) {
        Ok(input) => input,
        Err(refusal) => return tasks::failed_by(&refusal.into_fault(), call),
    };
    enter(TaskStatus::Running);
    if let OwnApp::Flow(flow, _) = own {
        return flow_runs::make(core, call, caller, (flow, input)).await;
    }
    let key = call.task.id.to_string();
    match make(core, caller, (&own, &call.task.app, headers), input, (call.trace, &key)).await {
        Ok(result) => Tried::Completed(Box::new(result)),
        Err(NotMade { fault, may_retry }) => {
            tasks::failed_or_again(call, tasks::document_of(&fault, call), may_retry)
        }
    }
}

async fn make(
    core: &Rc<Core>,
    caller: &Caller,
    (own, name, headers): (&OwnApp, &str, &HeaderMap),
    input: Map<String, Value>,
    (trace, key): (TraceId, &str),
) -> Result<TaskResult, NotMade> {
    let (output, kind) = match own {
        OwnApp::Http(ready) => {
            let output = call_server(core, caller, ready, input, (trace, key)).await?;
            if schemas::is_too_deep(&output) {
                let message = format!("The app's output is nested more than {STORED_DEPTH_MAX} levels deep.");
                return Err(failed("app_output_invalid", FaultClass::Upstream, message).into());
            }
            (output, "app")
        }
        OwnApp::Tool(_) => {
            let tool = name.strip_prefix("tools/").unwrap_or(name);
            let tools = ProjectTools::behind(core, caller, headers, tool).await?;
            let result = tools.call(core, caller, trace, tool, input).await;
            tools.close();
            let gone = || "The project no longer has this tool.".to_owned();
            let result = result.ok_or_else(|| failed("app_failed", FaultClass::Upstream, gone()))?;
            if result.is_error {
                let message = format!("The tool failed: {}", sanitize(&result.text));
                return Err(failed("app_failed", FaultClass::Upstream, message).into());
            }
            // What is nested too deep to be stored as a value is stored as the text that came.
            let value = serde_json::from_str(&result.text).ok().filter(|value| !schemas::is_too_deep(value));
            let value = value.unwrap_or(Value::String(result.text));
            (json!({"result": value}), "tool")
        }
        OwnApp::Agent(..) | OwnApp::Flow(..) => return Err(Box::new(Fault::internal()).into()),
    };
    Ok(result_of(output, name, kind))
}

/// The result of a run of an app that is no model.
pub(crate) fn result_of(output: Value, name: &str, kind: &str) -> TaskResult {
    TaskResult {
        output,
        error: None,
        problem: Value::Null,
        app_id: Some(name.to_owned()),
        is_private: true,
        usage_events: vec![json!({
            "tier": "private", "type": kind, "model": name, "quantity": 1, "unit": "calls", "estimated": false,
        })],
        messages: Vec::new(),
    }
}

/// Calls the server of an app, and records the call as those of tools are.
async fn call_server(
    core: &Core,
    caller: &Caller,
    ready: &ReadyApp,
    input: Map<String, Value>,
    (trace, key): (TraceId, &str),
) -> Result<Value, NotMade> {
    let owner = caller.owner();
    let clock = &core.deps.world.clock;
    let (started_unix_ms, started_us) = (clock.unix_ms(), clock.monotonic_us());
    let bytes_in = Value::Object(input.clone()).to_string().len() as u64;
    let ran = tools::run_app(&core.deps.egress, owner.workspace, ready, &input, key).await;
    let (outcome, bytes_out) = match &ran {
        Ok(answer) => (CallOutcome::Answered, answer.bytes),
        Err(failure) => (failure.failure.outcome, 0),
    };
    core.tools.record(vec![ToolCallRecord {
        owner,
        request: trace,
        step: 1,
        place: 0,
        name: ready.app.name.clone(),
        declared: ready.app.id.to_string(),
        started_unix_ms,
        duration_ms: clock.monotonic_us().saturating_sub(started_us) / 1_000,
        outcome,
        bytes_in,
        bytes_out,
        is_truncated: false,
    }]);
    let failure = match ran {
        Ok(answer) => return Ok(answer.output),
        Err(failure) => failure,
    };
    let (code, class) = code_of(failure.failure.outcome, failure.is_output);
    let may_retry = failure.may_retry;
    Err(NotMade { fault: failed(code, class, failure.failure.text), may_retry })
}

fn failed(code: &'static str, class: FaultClass, message: String) -> Box<Fault> {
    let fault = Fault::new(class, code, message).param("app").should_retry(false);
    Box::new(fault.fix("Check the app's server, and GET /v2/apps for how the gateway calls it."))
}

/// The code and the class of a call that failed.
const fn code_of(outcome: CallOutcome, is_output: bool) -> (&'static str, FaultClass) {
    match outcome {
        _ if is_output => ("app_output_invalid", FaultClass::Upstream),
        CallOutcome::Timeout => ("app_timeout", FaultClass::Timeout),
        CallOutcome::Unreachable => ("app_unreachable", FaultClass::Upstream),
        CallOutcome::Refused => ("app_refused", FaultClass::Upstream),
        CallOutcome::BadArguments => ("app_input_refused", FaultClass::BadRequest),
        CallOutcome::Answered | CallOutcome::Failed | CallOutcome::NotApproved => {
            ("app_failed", FaultClass::Upstream)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_failed_is_told_by_what_became_of_it() {
        for (outcome, is_output, code) in [
            (CallOutcome::Failed, false, "app_failed"),
            (CallOutcome::Failed, true, "app_output_invalid"),
            (CallOutcome::Timeout, false, "app_timeout"),
            (CallOutcome::Unreachable, false, "app_unreachable"),
            (CallOutcome::Refused, false, "app_refused"),
            (CallOutcome::BadArguments, false, "app_input_refused"),
        ] {
            assert_eq!(code_of(outcome, is_output).0, code);
        }
    }
}
