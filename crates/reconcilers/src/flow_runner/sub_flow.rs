//! Runs of other flows that a step begins.

use domain::FlowRunId;
use flowruns::{FlowContent, NewRun, RunRow, RunState, RunStatus, part};
use serde_json::Value;

use super::leaf::{Call, Failure, payer};
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
    let run = RunRow {
        id,
        owner,
        request: parent.request,
        key: payer(parent),
        name: compiled.name,
        flow: Some((flow.id, number)),
        parent: Some((parent.id, call.path.clone())),
        depth: parent.depth + 1,
        replay_of: None,
        state: RunState::Queued,
        status: RunStatus::Pending,
        budget_nanos: match (compiled.budget_nano_usd, left) {
            (Some(own), Some(left)) => Some(own.min(left)),
            (own, left) => own.or(left),
        },
        cost_nanos: 0,
        created_unix_ms: now,
        updated_unix_ms: now,
        due_unix_ms: now,
        started_unix_ms: None,
        ended_unix_ms: None,
        until_unix_ms: now.saturating_add(milliseconds(FLOW_RUN_KEPT)),
        wish: None,
        error_code: None,
        changes: 0,
    };
    let of = (owner, id, parent.request);
    let seal = |part: &str, content: &Value| {
        FlowContent::seal(&shared.deps.vault, of, part.to_owned(), content)
            .map_err(|error| Failure::new("store_unavailable", error.to_string()))
    };
    let contents = vec![seal(part::DOCUMENT, &document)?, seal(part::INPUT, input)?];
    shared.runs.create(NewRun { run, contents, steps: Vec::new() }, None).await.map_err(away)?;
    shared.deps.flows.arrived();
    Ok(())
}
