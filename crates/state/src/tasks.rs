//! `/v2/tasks`: the tasks of a workspace and where each is, without what they are about.

use std::sync::Arc;

use api::access::Access;
use api::failure::invalid;
use api::moment::Moment;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::{Fault, RunTask, TaskId, TaskStatus};
use http::Method;
use schemars::JsonSchema;
use serde::Serialize;

use crate::scope;

const WHAT: &str = "task";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v2/tasks", Access::LOOK, list)
            .says("Lists tasks, newest first. Their inputs and outputs are at `/tasks`, for keys of their project.")
            .query("project_id", "Only those of this project.")
            .query("status", "Only those in this status, such as `queued` or `failed`.")
            .lists::<TaskView>(),
        Route::new(Method::GET, "/v2/tasks/{id}", Access::LOOK, get)
            .says("Shows a task: where it is, and its log.")
            .returns_value::<TaskView>(),
        Route::new(Method::POST, "/v2/tasks/{id}/cancel", Access::DEVELOP, cancel)
            .says("Cancels a task. One that has ended stays as it is; a running one ends shortly.")
            .takes_nothing()
            .returns_value::<TaskView>(),
    ]
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Task")]
struct TaskView {
    id: String,
    object: &'static str,
    project_id: String,
    api_key_id: String,
    /// The exchange of its first try.
    request_id: String,
    app: String,
    status: &'static str,
    priority: &'static str,
    /// How often a worker took it.
    tries: u32,
    /// From 1 to 5.
    rating: Option<u8>,
    events: Vec<EventView>,
    logs: Vec<LogView>,
    created_at: Moment,
    updated_at: Moment,
    /// The earliest time at which it starts.
    due_at: Moment,
    cancelled_at: Option<Moment>,
    ended_at: Option<Moment>,
    /// How long it is stored after its end, where its client said so.
    ttl_seconds: Option<u64>,
    /// When it is deleted.
    expires_at: Moment,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TaskEvent")]
struct EventView {
    at: Moment,
    status: &'static str,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TaskLogLine")]
struct LogView {
    at: Moment,
    text: String,
}

fn show(task: &RunTask) -> TaskView {
    let word = |code| TaskStatus::by_code(code).map_or("unknown", TaskStatus::as_str);
    let events = task.events.iter();
    let logs = task.logs.iter();
    TaskView {
        id: task.id.to_string(),
        object: WHAT,
        project_id: task.owner.project.to_string(),
        api_key_id: task.key.to_string(),
        request_id: task.request().to_string(),
        app: task.app.clone(),
        status: task.status.as_str(),
        priority: task.priority.as_str(),
        tries: task.tries,
        rating: task.rating,
        events: events
            .map(|event| EventView { at: Moment(event.unix_ms), status: word(event.status) })
            .collect(),
        logs: logs.map(|line| LogView { at: Moment(line.unix_ms), text: line.text.clone() }).collect(),
        created_at: Moment(task.created_unix_ms),
        updated_at: Moment(task.updated_unix_ms),
        due_at: Moment(task.due_unix_ms),
        cancelled_at: task.cancelled_unix_ms.map(Moment),
        ended_at: task.ended_unix_ms.map(Moment),
        ttl_seconds: task.ttl_ms.map(|ttl_ms| ttl_ms / 1_000),
        expires_at: Moment(task.until_unix_ms),
    }
}

fn status_of(request: &ApiRequest) -> Result<Option<TaskStatus>, Box<Fault>> {
    let Some(text) = request.query.get("status") else { return Ok(None) };
    let known: Vec<_> = TaskStatus::ALL.iter().map(|status| status.as_str()).collect();
    let fix = format!("Send one of {}.", known.join(", "));
    let found = TaskStatus::by_name(text).map(Some);
    found.ok_or_else(|| invalid("status", "\"status\" isn't a valid task status.", fix))
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let of = (scope::listed(&request)?, status_of(&request)?);
    let listed = control.deps.run_tasks(request.workspace(), of, request.page()?).await?;
    Reply::json(&request.page_of(listed, show))
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let id: TaskId = request.id(WHAT)?;
    let task = control.deps.run_task(request.workspace(), id).await?;
    scope::check(&request, task.owner.project, WHAT, &id)?;
    Reply::json(&show(&task))
}

async fn cancel(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let id: TaskId = request.id(WHAT)?;
    let task = control.deps.run_task(request.workspace(), id).await?;
    scope::check(&request, task.owner.project, WHAT, &id)?;
    let act = request.act(&control.deps.world);
    Reply::json(&show(&control.deps.cancel_run_task(request.workspace(), id, act).await?))
}
