//! Stores a run that its client waited for, as the task that it is.

use admit::Caller;
use domain::{
    KeyId, NewTask, RunTask, TaskContents, TaskEvent, TaskId, TaskNotKept, TaskPriority, TaskStatus, TraceId,
    Usage,
};
use line::Core;
use runs::{TaskRequest, TaskResult, kept_ms, stored_text};
use serde_json::{Value, json};

use crate::apps::UsageKind;
use crate::input::InputError;
use crate::limits::{TASK_CONTENT_BYTES_MAX, TASK_TTL_SECONDS_MAX, TASK_TTL_SECONDS_MIN};
use crate::refusal::Refusal;
use crate::task::Message;

/// A finished run.
#[derive(Debug)]
pub(crate) struct FinishedRun<'a> {
    pub trace: TraceId,
    pub app: &'a str,
    /// How long it is stored, where its client said so.
    pub ttl_ms: Option<u64>,
    pub request: TaskRequest,
    pub result: TaskResult,
    pub received_unix_ms: u64,
    pub started_unix_ms: u64,
    pub ended_unix_ms: u64,
}

/// What a task used, as it is booked.
pub(crate) fn usage_event(model: &str, is_private: bool, usage: &Usage, kind: &UsageKind) -> Value {
    json!({
        "tier": if is_private { "private" } else { "cloud" },
        "type": kind.r#type,
        "model": model,
        "quantity": kind.quantity,
        "unit": kind.unit,
        // Whether the quantity is an estimate, where the upstream reported none.
        "estimated": usage.is_estimated(),
    })
}

/// How long a task is stored after its end, as its client wants it and no longer than its project may keep anything.
///
/// # Errors
/// No task is stored that long, or that short.
pub(crate) fn ttl_seconds(caller: &Caller, wanted: Option<u64>) -> Result<Option<u64>, Refusal> {
    let Some(seconds) = wanted else { return Ok(None) };
    if !(TASK_TTL_SECONDS_MIN..=TASK_TTL_SECONDS_MAX).contains(&seconds) {
        let message = format!("must be from {TASK_TTL_SECONDS_MIN} to {TASK_TTL_SECONDS_MAX} seconds");
        return Err(Refusal::Input(vec![InputError::new("/ttl_seconds", message)]));
    }
    let project = caller.project();
    let of_policy = project.policy.as_ref().and_then(|policies| policies.retention_days_max());
    let days = [of_policy, project.retention.map(|kept| kept.days)].into_iter().flatten().min();
    let longest = days.map_or(u64::MAX, |days| u64::from(days).saturating_mul(24 * 3_600));
    Ok(Some(seconds.min(longest)))
}

/// The task of a finished run, with a message for the client where it could not be stored.
pub(crate) async fn keep_finished(
    core: &Core,
    caller: &Caller,
    run: FinishedRun<'_>,
) -> (Value, Option<Message>) {
    // Only keys reach these addresses.
    let key = caller.key().map_or_else(|| KeyId::from_uuid(*run.trace.as_uuid()), |key| key.id);
    let (task, contents) = finished(caller, key, &run);
    let document = runs::document(&task, &contents);
    let not_kept = keep(core, caller, task, contents).await.err().map(|message| Message {
        level: "warning",
        code: "task_not_kept",
        message: message.into(),
        meta: None,
    });
    (document, not_kept)
}

fn finished(caller: &Caller, key: KeyId, run: &FinishedRun<'_>) -> (RunTask, TaskContents) {
    let event = TaskEvent::new;
    let task = RunTask {
        // The trace's UUID under the prefix of tasks, so that a request and its task share one id.
        id: TaskId::from_uuid(*run.trace.as_uuid()),
        owner: caller.owner(),
        key,
        app: run.app.to_owned(),
        status: TaskStatus::Completed,
        priority: TaskPriority::default(),
        tries: 1,
        created_unix_ms: run.received_unix_ms,
        updated_unix_ms: run.ended_unix_ms,
        due_unix_ms: run.started_unix_ms,
        ended_unix_ms: Some(run.ended_unix_ms),
        until_unix_ms: run.ended_unix_ms.saturating_add(run.ttl_ms.unwrap_or_else(kept_ms)),
        ttl_ms: run.ttl_ms,
        cancelled_unix_ms: None,
        events: vec![
            event(run.received_unix_ms, TaskStatus::Received),
            event(run.started_unix_ms, TaskStatus::Running),
            event(run.ended_unix_ms, TaskStatus::Completed),
        ],
        logs: Vec::new(),
        rating: None,
        notifies: false,
        chat: None,
    };
    let contents = TaskContents {
        request: Some(stored_text(&run.request)),
        result: Some(stored_text(&run.result)),
        partial: None,
    };
    (task, contents)
}

async fn keep(
    core: &Core,
    caller: &Caller,
    task: RunTask,
    mut contents: TaskContents,
) -> Result<(), &'static str> {
    if caller.retains_nothing() {
        return Err("The project's policy doesn't allow storing content.");
    }
    let length = |part: &Option<bytes::Bytes>| part.as_ref().map_or(0, bytes::Bytes::len);
    if length(&contents.result) > TASK_CONTENT_BYTES_MAX {
        return Err("It is too long to store.");
    }
    // The client has its input.
    contents.request = contents.request.filter(|request| request.len() <= TASK_CONTENT_BYTES_MAX);
    match core.tasks.keep(NewTask { task, contents, open_max: None }).await {
        Ok(()) => Ok(()),
        Err(TaskNotKept::TooManyWaiting(_) | TaskNotKept::StoreUnavailable) => {
            Err("The store can't be reached.")
        }
    }
}
