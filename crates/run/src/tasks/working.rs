//! Makes a task that a worker took from the queue: one pass through the pipeline as its key, followed by whoever wants to, and
//! stores how it ended.

use std::rc::Rc;
use std::time::Duration;

use admit::Caller;
use bytes::Bytes;
use chat::ChatStream;
use decode::Inbound;
use domain::{
    Dialect, Fault, FaultClass, Operation, RunTask, TaskAgain, TaskEnd, TaskEvent, TaskLease, TaskLogLine,
    TaskStatus, Usage,
};
use http::StatusCode;
use http::header::HeaderMap;
use http_body_util::BodyExt as _;
use line::{Core, LiveTask, Postponable, TaskCall};
use runs::{TaskRequest, TaskResult, kept_ms, stored_text};
use serde_json::{Value, json};
use settle::ReplyBody;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use crate::answer::{NoResult, Served, broken, collect, result_of};
use crate::answer_stream::document_of as document_of_answer;
use crate::apps::{self, App, Files, Kind, OwnApp};
use crate::chats;
use crate::flow_runs;
use crate::limits::{TASK_CONTENT_BYTES_MAX, TASK_STORE_TRIES_MAX, TASK_TRIES_MAX, TASK_VIDEO_WAIT_MAX};
use crate::made_files::{self, MadeBy};
use crate::own_runs;
use crate::problem;
use crate::task::Message;
use crate::warm;

/// How long a task waits after its first failure; after each further one, twice as long.
const RETRY_MS: u64 = 1_000;
/// How often what a running task has is stored, for readers at other processes.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// How long the end of a task waits for a store that is away, at first.
const STORE_PAUSE: Duration = Duration::from_millis(200);

/// What became of a try.
pub(crate) enum Tried {
    Completed(Box<TaskResult>),
    Failed(Box<TaskResult>),
    Cancelled,
    /// It goes back to the queue.
    Again {
        wait_ms: u64,
        is_postponed: bool,
        why: String,
    },
}

/// Makes a task. It returns once it is stored how it ended, or once that can't be.
pub async fn work(core: &Rc<Core>, call: TaskCall) {
    let lease = TaskLease {
        id: call.task.id,
        owner: call.task.owner,
        worker: call.worker.clone(),
        tries: call.task.tries,
    };
    let live = core.live_tasks.begin(call.task.id);
    let mut task = call.task.clone();
    let tried = if task.cancelled_unix_ms.is_some() {
        Tried::Cancelled
    } else {
        tokio::select! {
            biased;
            () = live.cancelled() => Tried::Cancelled,
            tried = make(core, &call, &live, (&lease, &mut task)) => tried,
        }
    };
    conclude(core, &lease, task, tried).await;
    // Only now: who follows it reads how it ended.
    drop(live);
}

/// Stores how a try ended, for as long as the store may come back before the lease is over.
async fn conclude(core: &Core, lease: &TaskLease, mut task: RunTask, tried: Tried) {
    let now = core.deps.world.clock.unix_ms();
    if let Tried::Cancelled = &tried {
        flow_runs::cancel(core, task.owner, (task.id, &task.app)).await;
    }
    let mut line = |text: String| task.logs.push(TaskLogLine { unix_ms: now, text });
    let ended = match tried {
        Tried::Completed(result) => Some((TaskStatus::Completed, result)),
        Tried::Failed(result) => {
            line(format!("failed: {}", code_of(&result.problem)));
            Some((TaskStatus::Failed, result))
        }
        Tried::Cancelled => Some((
            TaskStatus::Cancelled,
            Box::new(TaskResult::failed("The task was cancelled.".to_owned(), Value::Null)),
        )),
        Tried::Again { wait_ms, is_postponed, why } => {
            let waits_for_people = why == chats::WAITS_FOR_PEOPLE;
            // It goes back and forth as long as its flow runs.
            if why != flow_runs::WAITS_FOR_FLOW {
                line(why);
            }
            task.events.push(TaskEvent::new(now, TaskStatus::Queued));
            let again = TaskAgain {
                due_unix_ms: now.saturating_add(wait_ms),
                events: task.events.clone(),
                logs: task.logs.clone(),
                is_postponed,
                unix_ms: now,
            };
            stored(lease, || core.tasks.requeue(lease.clone(), again.clone())).await;
            if waits_for_people {
                chats::rouse(core, &task).await;
            }
            None
        }
    };
    let Some((status, result)) = ended else { return };
    task.events.push(TaskEvent::new(now, status));
    let end = TaskEnd {
        status,
        events: task.events,
        logs: task.logs,
        result: stored_text(&*result),
        ended_unix_ms: now,
        notifies: task.notifies,
    };
    stored(lease, || core.tasks.finish(lease.clone(), end.clone())).await;
}

async fn stored(lease: &TaskLease, write: impl Fn() -> domain::ports::PortFuture<'static, Option<bool>>) {
    let mut pause = STORE_PAUSE;
    for _ in 0..TASK_STORE_TRIES_MAX {
        match write().await {
            Some(true) => return,
            Some(false) => {
                return tracing::warn!(task = %lease.id, "a task was taken by another worker meanwhile");
            }
            None => sleep(pause).await,
        }
        pause *= 2;
    }
    tracing::warn!(task = %lease.id, "the result of a task could not be stored; the task runs again once its lease expires");
}

/// The code of a problem document.
fn code_of(problem: &Value) -> &str {
    problem.get("code").and_then(Value::as_str).unwrap_or("unknown")
}

async fn make(
    core: &Rc<Core>,
    call: &TaskCall,
    live: &LiveTask,
    (lease, task): (&TaskLease, &mut RunTask),
) -> Tried {
    if task.tries > TASK_TRIES_MAX {
        return failed_by(&interrupted(task.tries), call);
    }
    let request =
        call.request.as_ref().and_then(|request| serde_json::from_slice::<TaskRequest>(request).ok());
    let Some(request) = request else { return failed_by(&purged(), call) };
    let snapshot = core.snapshot.current();
    let caller = match admit::again(snapshot, task.owner, task.key, core.deps.world.clock.unix_ms()) {
        Ok(caller) => caller.in_task(task.id, None),
        Err(fault) => return failed_by(&fault, call),
    };
    let files_at = request.files_at.clone();
    let tried = make_as(core, call, (caller, live), (lease, task), request).await;
    match tried {
        Tried::Completed(result) => kept_apart(core, call, result, files_at).await,
        tried => tried,
    }
}

/// A result whose files are stored, where its client wants that.
async fn kept_apart(
    core: &Core,
    call: &TaskCall,
    mut result: Box<TaskResult>,
    files_at: Option<String>,
) -> Tried {
    if let Some(origin) = files_at {
        let task = &call.task;
        let by = MadeBy { owner: task.owner, task: task.id, kept_ms: task.ttl_ms.unwrap_or_else(kept_ms) };
        let messages = made_files::store(core, by, &mut result.output, &origin).await;
        result.messages.extend(messages.iter().map(|message| json!(message)));
    }
    if stored_text(&*result).len() > TASK_CONTENT_BYTES_MAX {
        return failed_by(&too_long(), call);
    }
    if parts_of(&result.output).any(schemas::is_too_deep) {
        return failed_by(&too_deep(), call);
    }
    Tried::Completed(result)
}

async fn make_as(
    core: &Rc<Core>,
    call: &TaskCall,
    (caller, live): (Caller, &LiveTask),
    (lease, task): (&TaskLease, &mut RunTask),
    request: TaskRequest,
) -> Tried {
    if !request.turn.is_null() {
        live.enter(TaskStatus::Running);
        task.events.push(TaskEvent::new(core.deps.world.clock.unix_ms(), TaskStatus::Running));
        return Box::pin(chats::take_turn(core, call, (caller, live), request)).await;
    }
    let enter = |task: &mut RunTask, status| {
        live.enter(status);
        task.events.push(TaskEvent::new(core.deps.world.clock.unix_ms(), status));
    };
    let app = App::find(core, &caller, &task.app);
    match OwnApp::find(core, &caller, &app).await {
        Ok(Some(own)) => {
            let headers = line::headers_of_kept(request.headers);
            let own = (own, &request.input, &headers);
            return own_runs::make_task(core, call, &caller, own, |status| enter(task, status)).await;
        }
        Ok(None) => {}
        Err(fault) => return failed_by(&fault, call),
    }
    if request.names_files() {
        enter(task, TaskStatus::Preparing);
    }
    let files = Files::of(core, &caller);
    let mut prepared = match apps::prepare((&app, files), &request.input, call.trace, true).await {
        Ok(prepared) => prepared,
        Err(refusal) => return failed_by(&refusal.into_fault(), call),
    };
    let wanted = Wanted {
        kind: prepared.kind,
        input: request.input,
        messages: std::mem::take(&mut prepared.messages),
    };
    enter(task, TaskStatus::Running);
    let inbound = match prepared.into_inbound(inbound(core, call, request.headers)).await {
        Ok(inbound) => inbound,
        Err(refusal) => return failed_by(&refusal.into_fault(), call),
    };
    serve(core, call, (inbound, caller), wanted, (live, lease)).await
}

/// What a task is to answer.
struct Wanted {
    kind: Kind,
    input: Value,
    /// What its client is told beside the output.
    messages: Vec<Message>,
}

/// The request of a task, before its app makes something of it.
fn inbound(core: &Core, call: &TaskCall, headers: Vec<(String, String)>) -> Inbound {
    let world = &core.deps.world;
    Inbound {
        trace: call.trace,
        dialect: Dialect::Run,
        operation: Operation::Run,
        headers: line::headers_of_kept(headers),
        addressed: None,
        body: Bytes::new(),
        form: None,
        received_us: world.clock.monotonic_us(),
        received_unix_ms: world.clock.unix_ms(),
    }
}

async fn serve(
    core: &Rc<Core>,
    call: &TaskCall,
    (inbound, caller): (Inbound, Caller),
    wanted: Wanted,
    (live, lease): (&LiveTask, &TaskLease),
) -> Tried {
    let session = warm::named_by(&inbound.headers);
    let answered = line::serve_postponable(core, inbound, caller.clone()).await;
    let (response, may_retry) = match answered {
        Postponable::Postponed { wait_ms } => {
            let why = "it waits for room under a limit".to_owned();
            return Tried::Again { wait_ms, is_postponed: true, why };
        }
        Postponable::Answered { response, may_retry } => (*response, may_retry),
    };
    if response.status() != StatusCode::OK {
        let refused = problem::of_line(core, &caller, &call.task.app, wanted.kind, response).await;
        return failed_or_again(call, document_of_answer(refused).await, may_retry);
    }
    let (head, mut body) = response.into_parts();
    warm::stay(core, caller.owner(), session, &head.headers).await;
    let whole = match wanted.kind {
        Kind::Text => read_text(core, &mut body, (live, lease)).await,
        _ => collect(&mut body)
            .await
            .map_err(|fault| Broken { problem: document_of(&fault, call), may_retry: true }),
    };
    let whole = match whole {
        Ok(whole) => whole,
        Err(Broken { problem, may_retry }) => return failed_or_again(call, problem, may_retry),
    };
    let usage = body.usage().copied().unwrap_or_default();
    completed(core, (call, &caller), wanted, &head.headers, (whole, usage)).await
}

/// What comes out of a whole answer.
async fn completed(
    core: &Rc<Core>,
    (call, caller): (&TaskCall, &Caller),
    wanted: Wanted,
    headers: &HeaderMap,
    (whole, usage): (Bytes, Usage),
) -> Tried {
    let Wanted { kind, input, messages } = wanted;
    let served = Served { app: &call.task.app, kind, input: &input, headers, body: &whole, usage: &usage };
    let result = match result_of(core, caller, served, messages, TASK_VIDEO_WAIT_MAX).await {
        Ok((result, _)) => result,
        Err(NoResult::Fault(fault)) => return failed_by(&fault, call),
        Err(NoResult::Answer(refused)) => {
            return failed_or_again(call, document_of_answer(*refused).await, false);
        }
        Err(NoResult::Broken) => return failed_or_again(call, document_of(&broken(), call), true),
    };
    Tried::Completed(Box::new(result))
}

/// An answer that is not whole.
struct Broken {
    problem: Value,
    may_retry: bool,
}

/// Reads a streamed text as it arrives, for those who follow it: the completion that it makes.
async fn read_text(
    core: &Core,
    body: &mut ReplyBody,
    (live, lease): (&LiveTask, &TaskLease),
) -> Result<Bytes, Broken> {
    let mut stream = ChatStream::default();
    let mut ticks = interval_at(Instant::now() + PROGRESS_EVERY, PROGRESS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stored_length = None;
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            _ = ticks.tick() => {
                let length = stream.bytes_read();
                if stored_length.replace(length) != Some(length) {
                    let event = TaskEvent::new(core.deps.world.clock.unix_ms(), TaskStatus::Running);
                    let partial = json!({"response": live.text()}).to_string();
                    core.tasks.progress(lease.clone(), Some(event), Some(partial.into()));
                }
                continue;
            }
        };
        match frame {
            None => break,
            Some(Err(_)) => return Err(Broken { problem: Value::Null, may_retry: true }),
            Some(Ok(frame)) => {
                let Some(piece) = frame.data_ref() else { continue };
                let text = stream.take(piece);
                if stream.bytes_read() > TASK_CONTENT_BYTES_MAX {
                    return Err(Broken {
                        problem: json!({"code": too_long().code, "detail": too_long().message}),
                        may_retry: false,
                    });
                }
                if !text.is_empty() {
                    live.push(&text);
                }
            }
        }
    }
    if let Some(problem) = stream.error.take() {
        return Err(Broken { problem, may_retry: true });
    }
    if stream.is_whole() {
        Ok(stream.completion())
    } else {
        Err(Broken { problem: Value::Null, may_retry: true })
    }
}

pub(crate) fn failed_or_again(call: &TaskCall, problem: Value, may_retry: bool) -> Tried {
    let problem = if problem.is_null() { document_of(&broken(), call) } else { problem };
    if may_retry && call.task.tries < TASK_TRIES_MAX {
        let wait_ms = RETRY_MS << call.task.tries.saturating_sub(1);
        let why =
            format!("try {} failed: {}; the next one is in {wait_ms} ms", call.task.tries, code_of(&problem));
        return Tried::Again { wait_ms, is_postponed: false, why };
    }
    let text = |name: &str| problem.get(name).and_then(Value::as_str).map(str::to_owned);
    let error = text("detail").or_else(|| text("message")).unwrap_or_else(|| "The task failed.".to_owned());
    Tried::Failed(Box::new(TaskResult::failed(error, problem)))
}

pub(crate) fn failed_by(fault: &Fault, call: &TaskCall) -> Tried {
    failed_or_again(call, document_of(fault, call), false)
}

pub(crate) fn document_of(fault: &Fault, call: &TaskCall) -> Value {
    let rendered = dialects::render_error(fault, Dialect::Run, call.trace);
    serde_json::from_slice(&rendered.body).unwrap_or_default()
}

fn interrupted(tries: u32) -> Fault {
    let message =
        format!("The task was started {tries} times, and each time its gateway ended before it was done.");
    Fault::new(FaultClass::Internal, "task_interrupted", message)
        .fix("Run it again with POST /tasks/ID/retry.")
}

fn purged() -> Fault {
    Fault::new(FaultClass::Conflict, "task_content_gone", "The input of the task was purged before it ran.")
        .fix("Send it again.")
}

/// The fields of an output, each of which may be as deep as what is stored.
fn parts_of(output: &Value) -> impl Iterator<Item = &Value> {
    let fields = output.as_object();
    let whole = fields.is_none().then_some(output);
    fields.into_iter().flat_map(serde_json::Map::values).chain(whole)
}

fn too_deep() -> Fault {
    let message = format!("The answer is nested more than {} levels deep.", schemas::STORED_DEPTH_MAX);
    Fault::new(FaultClass::TooLarge, "task_too_large", message)
        .fix("Have the deeply nested part written as a string.")
}

fn too_long() -> Fault {
    let message =
        format!("The answer has more than the {TASK_CONTENT_BYTES_MAX} bytes that a task can store.");
    Fault::new(FaultClass::TooLarge, "task_too_large", message)
        .fix("Request less, or call the model directly.")
}

#[cfg(test)]
mod tests {
    use domain::{KeyId, ObjectOwner, ProjectId, TaskId, TraceId, WorkspaceId};

    use super::*;

    fn call(tries: u32) -> TaskCall {
        let owner =
            ObjectOwner { workspace: WorkspaceId::new(1, [2; 10]), project: ProjectId::new(1, [3; 10]) };
        let of = (TaskId::new(1, [1; 10]), owner, KeyId::new(1, [4; 10]));
        let task =
            RunTask { status: TaskStatus::Dispatched, tries, ..RunTask::queued(of, "m".into(), (1, 2)) };
        TaskCall { task, request: None, worker: "w".into(), trace: TraceId::new(1, [5; 10]) }
    }

    fn failed(tried: Tried) -> (String, String) {
        let Tried::Failed(result) = tried else { panic!("it goes on") };
        (code_of(&result.problem).to_owned(), result.error.unwrap_or_default())
    }

    #[test]
    fn what_can_not_go_better_fails_with_its_reason() {
        for (fault, code) in [
            (interrupted(6), "task_interrupted"),
            (purged(), "task_content_gone"),
            (too_long(), "task_too_large"),
        ] {
            let (found, error) = failed(failed_by(&fault, &call(1)));
            assert_eq!(found, code);
            assert!(error.contains(&*fault.message), "{error}");
        }
    }

    #[test]
    fn a_try_waits_twice_as_long_as_the_one_before_and_the_last_one_fails() {
        for (tries, wait) in [(1, 1_000), (2, 2_000), (4, 8_000)] {
            let Tried::Again { wait_ms, is_postponed, why } =
                failed_or_again(&call(tries), Value::Null, true)
            else {
                panic!("it fails")
            };
            assert_eq!((wait_ms, is_postponed), (wait, false));
            assert_eq!(
                why,
                format!("try {tries} failed: upstream_answer_broken; the next one is in {wait} ms")
            );
        }
        assert_eq!(
            failed(failed_or_again(&call(TASK_TRIES_MAX), Value::Null, true)).0,
            "upstream_answer_broken"
        );
        assert_eq!(
            failed(failed_or_again(&call(1), json!({"code": "x", "detail": "y"}), false)),
            ("x".into(), "y".into())
        );
    }
}
