//! Finds runs of flows that a caller may see.

use api::failure::not_there;
use api::request::ApiRequest;
use api::state::Control;
use domain::{Fault, FlowRunId};
use flowruns::{RunRow, StoredRuns};

use crate::scope;

const WHAT: &str = "run of a flow";

pub(crate) fn runs_of(control: &Control) -> StoredRuns {
    StoredRuns::of(&control.deps.store)
}

/// The run of the path, where the caller may see it.
pub(crate) async fn found(control: &Control, request: &ApiRequest) -> Result<RunRow, Box<Fault>> {
    let id: FlowRunId = request.id(WHAT)?;
    let run = runs_of(control).get(request.workspace(), id).await;
    let run = run.map_err(|error| not_there(error, WHAT, &id))?;
    scope::check(request, run.owner.project, WHAT, &id)?;
    Ok(run)
}
