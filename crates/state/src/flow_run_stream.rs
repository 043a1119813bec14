//! Follows runs of flows: each answer is one server-sent event, and the client asks for the next with the last one's number.

use std::sync::Arc;

use api::reply::Reply;
use api::request::ApiRequest;
use api::router::Handled;
use api::state::Control;
use domain::Fault;
use flowruns::{RunRow, RunState};
use reconcilers::of_store;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::flow_run_found::{found, runs_of};
use crate::flow_run_view::detail;
use crate::limits::{FLOW_STREAM_PAUSE, FLOW_STREAM_TIME_MAX};

/// Waits until a run has changed, or for as long as an answer may wait.
pub(crate) async fn changed(
    control: &Control,
    request: &ApiRequest,
    mut run: RunRow,
) -> Result<(RunRow, bool), Box<Fault>> {
    let of_header = request.headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let after = request.query.get("after").map(String::as_str).or(of_header);
    let Some(after) = after.and_then(|text| text.parse::<u64>().ok()) else { return Ok((run, true)) };
    let end = Instant::now() + FLOW_STREAM_TIME_MAX;
    while run.changes <= after && run.state != RunState::Ended && Instant::now() < end {
        sleep(FLOW_STREAM_PAUSE).await;
        run = runs_of(control).get(request.workspace(), run.id).await.map_err(of_store)?;
    }
    let is_changed = run.changes > after || run.state == RunState::Ended;
    Ok((run, is_changed))
}

/// One event, with its number; a comment where nothing happened.
pub(crate) fn event(run: &RunRow, document: Option<&serde_json::Value>) -> Result<Reply, Box<Fault>> {
    let text = match document {
        Some(document) => format!("retry: 100\nid: {}\ndata: {document}\n\n", run.changes),
        None => format!("retry: 100\nid: {}\n: nothing changed\n\n", run.changes),
    };
    let reply = Reply::json(&json!(null))?;
    Ok(Reply { body: text.into(), content_type: "text/event-stream", ..reply })
}

pub(crate) async fn follow(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let run = found(control, &request).await?;
    let (run, is_changed) = changed(control, &request, run).await?;
    if !is_changed {
        return event(&run, None);
    }
    let document = json!(detail(control, &run).await?);
    event(&run, Some(&document))
}
