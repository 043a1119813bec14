//! Puts a run into the queue, to be made by a worker.

use admit::Caller;
use bytes::Bytes;
use decode::Inbound;
use domain::limits::TASKS_OPEN_MAX;
use domain::{
    Dialect, Fault, FaultClass, NewTask, RunTask, SessionId, TaskContents, TaskId, TaskNotKept, TaskPriority,
};
use http::Response;
use line::Core;
use runs::{TaskRequest, kept_ms, stored_text};
use settle::ReplyBody;

use crate::apps::{self, App, AppCall, Files};
use crate::kept_content::store_away;
use crate::limits::{RUN_AHEAD_MAX, TASK_CONTENT_BYTES_MAX};
use crate::problem;
use crate::refusal::Refusal;
use crate::warm;
use runbody::{RunOptions, RunRequest, refusal};

/// What became of a new task.
pub(crate) enum Queued {
    Waits(Box<(RunTask, TaskContents)>),
    /// Nothing can serve it.
    Refused(Box<Response<ReplyBody>>),
}

/// The turn of a chat that a task is to make.
pub(crate) struct NextTurn {
    pub app: String,
    pub chat: SessionId,
    pub ttl_ms: Option<u64>,
}

/// What is stored of a task beside its content.
struct Place {
    app: String,
    priority: TaskPriority,
    chat: Option<SessionId>,
    ttl_ms: Option<u64>,
}

/// Stores a new task, which waits for a worker from now on.
///
/// # Errors
/// Its input does not fit, nothing may be kept, too much waits already, or the store does not answer.
pub(crate) async fn queue(
    core: &Core,
    inbound: Inbound,
    caller: &Caller,
    request: RunRequest,
    app: &App,
) -> Result<Queued, Refusal> {
    if let Some(fault) = nothing_kept(caller) {
        return Err(fault.into());
    }
    check_run_at(request.options.run_at_unix_ms, inbound.received_unix_ms)?;
    let call = apps::prepare((app, Files::LeftOut), &request.input, inbound.trace, true).await?;
    let planned = inbound.with_body(Bytes::new());
    if let Some(refused) = refuse_unservable(core, planned, caller, call, &request.app).await? {
        return Ok(Queued::Refused(Box::new(refused)));
    }
    queue_checked(core, &inbound, caller, request).await
}

/// Stores a new task whose input was checked.
///
/// # Errors
/// Nothing may be kept, too much waits already, or the store does not answer.
pub(crate) async fn queue_checked(
    core: &Core,
    inbound: &Inbound,
    caller: &Caller,
    request: RunRequest,
) -> Result<Queued, Refusal> {
    if let Some(fault) = nothing_kept(caller) {
        return Err(fault.into());
    }
    check_run_at(request.options.run_at_unix_ms, inbound.received_unix_ms)?;
    let session = warm::begin(core, caller, inbound.trace, &request).await?;
    let RunRequest { app, input, options } = request;
    let ttl_ms = options.ttl_ms();
    let RunOptions { webhook, run_at_unix_ms, metadata, priority, files_at, .. } = options;
    let new = (TaskId::from_uuid(*inbound.trace.as_uuid()), inbound.received_unix_ms);
    let headers = warm::kept_headers(line::own_headers_to_keep(&inbound.headers), session);
    let stored =
        TaskRequest { input, webhook, metadata, headers, run_at_unix_ms, files_at, ..TaskRequest::default() };
    let place = Place { app, priority, chat: None, ttl_ms };
    Ok(Queued::Waits(Box::new(keep(core, caller, new, place, stored).await?)))
}

/// Makes a task again that has ended, as a new one.
///
/// # Errors
/// Those of `queue`.
pub(crate) async fn queue_again(
    core: &Core,
    caller: &Caller,
    (id, received_unix_ms): (TaskId, u64),
    task: &RunTask,
    mut request: TaskRequest,
) -> Result<(RunTask, TaskContents), Box<Fault>> {
    if let Some(fault) = nothing_kept(caller) {
        return Err(fault);
    }
    request.retry_of = Some(task.id.to_string());
    request.run_at_unix_ms = None;
    let RunTask { app, priority, chat, ttl_ms, .. } = task.clone();
    keep(core, caller, (id, received_unix_ms), Place { app, priority, chat, ttl_ms }, request).await
}

/// Stores the next turn of a chat.
///
/// # Errors
/// Nothing may be kept, too much waits already, or the store does not answer.
pub(crate) async fn queue_turn(
    core: &Core,
    caller: &Caller,
    new: (TaskId, u64),
    turn: NextTurn,
    request: TaskRequest,
) -> Result<(RunTask, TaskContents), Box<Fault>> {
    if let Some(fault) = nothing_kept(caller) {
        return Err(fault);
    }
    let NextTurn { app, chat, ttl_ms } = turn;
    let place = Place { app, priority: TaskPriority::Normal, chat: Some(chat), ttl_ms };
    keep(core, caller, new, place, request).await
}

async fn keep(
    core: &Core,
    caller: &Caller,
    (id, received_unix_ms): (TaskId, u64),
    Place { app, priority, chat, ttl_ms }: Place,
    request: TaskRequest,
) -> Result<(RunTask, TaskContents), Box<Fault>> {
    let key = caller.key().ok_or_else(|| Box::new(Fault::internal()))?.id;
    let due_unix_ms = request.run_at_unix_ms.map_or(received_unix_ms, |at| at.max(received_unix_ms));
    let times = (received_unix_ms, due_unix_ms.saturating_add(kept_ms()));
    let task = RunTask {
        priority,
        due_unix_ms,
        notifies: request.webhook.is_some(),
        chat,
        ttl_ms,
        ..RunTask::queued((id, caller.owner(), key), app, times)
    };
    let stored = stored_text(&request);
    if stored.len() > TASK_CONTENT_BYTES_MAX {
        return Err(too_large());
    }
    let contents = TaskContents { request: Some(stored), ..TaskContents::default() };
    let new = NewTask { task: task.clone(), contents: contents.clone(), open_max: Some(TASKS_OPEN_MAX) };
    match core.tasks.keep(new).await {
        Ok(()) => Ok((task, contents)),
        Err(TaskNotKept::TooManyWaiting(waiting)) => Err(too_many_waiting(waiting)),
        Err(TaskNotKept::StoreUnavailable) => Err(store_away()),
    }
}

/// Whoever sends a task that nothing can serve learns of it now, and not from a task that fails.
async fn refuse_unservable(
    core: &Core,
    inbound: Inbound,
    caller: &Caller,
    call: AppCall,
    app: &str,
) -> Result<Option<Response<ReplyBody>>, Refusal> {
    let (kind, trace) = (call.kind, inbound.trace);
    let planned = call.into_inbound(inbound).await?;
    let environment = std::sync::Arc::clone(caller.environment());
    let explained = line::explain(core, planned, caller.clone(), &environment).await;
    let of_plan = explained.plan.and_then(|plan| plan.explanation.fault);
    let Some(fault) = explained.refusal.or(of_plan).filter(|fault| is_for_good(fault)) else {
        return Ok(None);
    };
    let refused = line::refuse(core, Dialect::Run, &fault, trace);
    Ok(Some(problem::of_line(core, caller, app, kind, refused).await))
}

/// Whether waiting does not help.
const fn is_for_good(fault: &Fault) -> bool {
    !matches!(
        fault.class,
        FaultClass::Limited
            | FaultClass::Unavailable
            | FaultClass::Overloaded
            | FaultClass::RateLimit
            | FaultClass::Timeout
            | FaultClass::Upstream
    )
}

pub(crate) fn nothing_kept(caller: &Caller) -> Option<Box<Fault>> {
    let policies = caller.project().policy.as_ref()?;
    let kept = "a task that its client doesn't wait for is stored until a worker runs it";
    policies
        .refuse_to_keep(kept, "Send \"wait\": true, so that the answer comes with the response.")
        .map(Box::new)
}

pub(crate) fn check_run_at(run_at_unix_ms: Option<u64>, now_unix_ms: u64) -> Result<(), Box<Fault>> {
    let ahead_max = u64::try_from(RUN_AHEAD_MAX.as_millis()).unwrap_or(u64::MAX);
    if run_at_unix_ms.is_none_or(|at| at <= now_unix_ms.saturating_add(ahead_max)) {
        return Ok(());
    }
    let days = RUN_AHEAD_MAX.as_secs() / (24 * 3_600);
    let message = format!("\"run_at\" is more than {days} days ahead.");
    Err(refusal("invalid_value", message, "Send the task later.", "run_at"))
}

fn too_large() -> Box<Fault> {
    let message = format!("The input has more than the {TASK_CONTENT_BYTES_MAX} bytes that a task may keep.");
    let fix = "Send \"wait\": true, or name files by their address.";
    Box::new(Fault::new(FaultClass::TooLarge, "task_too_large", message).fix(fix).param("input"))
}

fn too_many_waiting(waiting: u64) -> Box<Fault> {
    let message =
        format!("{waiting} tasks of this project have not ended, and at most {TASKS_OPEN_MAX} may wait.");
    let fault = Fault::new(FaultClass::Limited, "tasks_waiting", message);
    Box::new(fault.fix("Send the task again when others have ended.").retry_after_ms(10_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_now_is_told_with_its_bound() {
        let waiting = too_many_waiting(100_000);
        assert_eq!((waiting.code, waiting.class), ("tasks_waiting", FaultClass::Limited));
        assert!(waiting.retry_after_ms.is_some() && waiting.message.contains("100000"), "{waiting}");
        let large = too_large();
        assert_eq!((large.code, large.param.as_deref()), ("task_too_large", Some("input")));
    }

    #[test]
    fn a_task_is_put_off_for_a_month_at_most() {
        let day = 24 * 3_600_000;
        assert!(check_run_at(None, 0).is_ok() && check_run_at(Some(30 * day), 0).is_ok());
        assert_eq!(check_run_at(Some(30 * day + 1), 0).unwrap_err().param.as_deref(), Some("run_at"));
    }
}
