//! Runs of other flows that a step begins.

use domain::FlowRunId;
use flowruns::{NewRun, RunRow};
use serde_json::Value;

use super::leaf::{Call, Failure};
use crate::limits::{FLOW_DEPTH_MAX, FLOW_RUN_KEPT};
use crate::milliseconds;

/// Stores the run, unless it is there already.
///
/// # Errors
/// There is no such flow, its input does not fit, or it can't be stored.
pub(crate) async fn begin(
    call: &Call,
    id: FlowRunId,
    (name, version): (&str, Option<u64>),
    input: &Value,
) -> Result<(), Failure> {
    let (shared, owner, parent) = (&call.shared, call.lease.owner, &call.run);
    if parent.depth + 1 > FLOW_DEPTH_MAX {
        let message = format!("Flows run others at most {FLOW_DEPTH_MAX} deep.");
        return Err(Failure::new("flow_too_deep", message));
    }
    let away = |error: store::StoreError| Failure::new("store_unavailable", error.to_string());
    let found = shared.flows.named(owner, name.to_owned()).await.map_err(away)?;
    let unknown = || Failure::new("flow_not_found", format!("The project has no flow \"{name}\"."));
    let flow = found.ok_or_else(unknown)?;
    let number = version.unwrap_or(flow.latest);
    let stored = shared.flows.version(owner.workspace, flow.id, number).await.map_err(|_| unknown())?;
    let document: Value = serde_json::from_str(&stored.document).map_err(|_| unknown())?;
    let compiled = flows::compile(&document).map_err(|_| unknown())?;
    compiled.check_input(input).map_err(|errors| {
        let first = errors.first().map(|error| format!("{}: {}", error.pointer, error.message));
        Failure::new("flow_input_invalid", first.unwrap_or_default())
    })?;
    let now = shared.deps.world.clock.unix_ms();
    let left = parent.budget_nanos.map(|budget| budget.saturating_sub(parent.cost_nanos));
    let of = (id, owner, parent.request);
    let times = (now, now.saturating_add(milliseconds(FLOW_RUN_KEPT)));
    let run = RunRow {
        flow: Some((flow.id, number)),
        parent: Some((parent.id, call.path.clone())),
        depth: parent.depth + 1,
        engine: parent.engine,
        budget_nanos: compiled.budget_nano_usd.into_iter().chain(left).min(),
        ..RunRow::queued(of, parent.key, compiled.name, times)
    };
    let new = NewRun::sealed(&shared.deps.vault, run, &document, input);
    let new = new.map_err(|error| Failure::new("store_unavailable", error.to_string()))?;
    match shared.runs.create(new, None).await {
        // Its run is being cancelled: whoever drives that drops this with it, and the step does not fail before.
        Err(store::StoreError::Conflict { what: "flow_run_ended", .. }) => std::future::pending().await,
        created => created.map_err(away)?,
    };
    shared.deps.flows.arrived();
    Ok(())
}
