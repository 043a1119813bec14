//! `/v2/jobs`: how the durable queue stands, and what it gave up.

use std::sync::Arc;

use domain::limits::PAGE_ROWS_DEFAULT;
use http::Method;
use serde_json::{Value, json};
use store::JobRow;
use store::jobs::OURS;

use crate::access::Access;
use crate::failure::of_store;
use crate::request::Ask;
use crate::router::{Handled, Route};
use crate::{Control, Reply, moment};

pub fn routes() -> Vec<Route> {
    vec![Route::new(Method::GET, "/v2/jobs", Access::OPERATE, get)]
}

fn show(job: &JobRow) -> Value {
    json!({
        "id": job.id,
        "kind": job.kind,
        "workspace_id": (job.workspace != OURS).then(|| job.workspace.to_string()),
        "payload": job.payload,
        "attempts": job.attempts,
        "last_error": job.last_error,
        "created_at": moment::write(job.created_unix_ms),
    })
}

fn get(control: &Arc<Control>, ask: Ask) -> Handled<'_> {
    Box::pin(async move {
        ask.only_query(&[])?;
        let counts = control.store.jobs().counts().await.map_err(of_store)?;
        let dead = control.store.jobs().dead(PAGE_ROWS_DEFAULT).await.map_err(of_store)?;
        Reply::json(&json!({
            "object": "jobs",
            "waiting": counts.waiting,
            "ready": counts.ready,
            "running": counts.running,
            "dead": counts.dead,
            "dead_jobs": dead.iter().map(show).collect::<Vec<_>>(),
        }))
    })
}
