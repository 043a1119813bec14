//! `/v2/jobs`: the state of the durable job queue, and the jobs it gave up.

use std::sync::Arc;

use api::access::Access;
use api::moment::Moment;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::limits::PAGE_ROWS_DEFAULT;
use http::Method;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use store::JobRow;
use store::jobs::INSTALLATION;

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v2/jobs", Access::OPERATE, get)
            .says("Shows the job queue and the jobs that were given up.")
            .returns_value::<Jobs>(),
    ]
}

#[derive(Serialize, JsonSchema)]
struct Jobs {
    object: &'static str,
    waiting: u64,
    ready: u64,
    running: u64,
    dead: u64,
    /// The jobs that were given up most recently.
    dead_jobs: Vec<Job>,
}

#[derive(Serialize, JsonSchema)]
struct Job {
    id: i64,
    kind: String,
    /// The workspace that owns it; the installation's own has none.
    workspace_id: Option<String>,
    payload: Value,
    attempts: u32,
    last_error: Option<String>,
    created_at: Moment,
}

fn show(job: &JobRow) -> Job {
    Job {
        id: job.id,
        kind: job.kind.clone(),
        workspace_id: (job.workspace != INSTALLATION).then(|| job.workspace.to_string()),
        payload: job.payload.clone(),
        attempts: job.attempts,
        last_error: job.last_error.clone(),
        created_at: Moment(job.created_unix_ms),
    }
}

async fn get(control: &Arc<Control>, _: ApiRequest) -> Handled {
    let counts = control.deps.store.jobs().counts().await.map_err(of_store)?;
    let dead = control.deps.store.jobs().dead(PAGE_ROWS_DEFAULT).await.map_err(of_store)?;
    Reply::json(&Jobs {
        object: "jobs",
        waiting: counts.waiting,
        ready: counts.ready,
        running: counts.running,
        dead: counts.dead,
        dead_jobs: dead.iter().map(show).collect(),
    })
}
