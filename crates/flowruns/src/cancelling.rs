//! Cancels the runs of other flows that a run began, and those that they began: all at once, before they begin more.

use database::error::StoreError;
use database::fields::{ColumnId, signed};
use database::statement::compose;
use database::writing::Writing;
use domain::FlowRunId;

/// The runs below one.
const BELOW: &str = "(WITH RECURSIVE below (id) AS (SELECT id FROM flow_runs WHERE parent = $1
     UNION SELECT flow_runs.id FROM flow_runs JOIN below ON flow_runs.parent = below.id) SELECT id FROM below)";
/// Nothing of a run is being made that waits, or that no worker has had: no worker is needed to end it.
const RESTS: &str = "(state = 'waiting' OR state = 'queued' AND started_unix_ms IS NULL)";

/// Ends the runs below one of which nothing is being made, and has the workers of the others end them.
pub(crate) async fn cancel_below(
    writing: &mut Writing,
    id: FlowRunId,
    unix_ms: u64,
) -> Result<(), StoreError> {
    // Until is as long after the end as it was after the beginning.
    let resting = format!(
        "UPDATE flow_runs SET state = 'ended', status = 5, wish = NULL, ended_unix_ms = $2, updated_unix_ms = $2,
         until_unix_ms = $2 + (until_unix_ms - created_unix_ms), changes = changes + 1 WHERE {RESTS} AND id IN {BELOW}"
    );
    // Afterwards: until then a worker may put one aside.
    let steps = format!(
        "UPDATE flow_steps SET status = 'cancelled', ended_unix_ms = $2 WHERE status IN ('pending', 'running', 'waiting')
         AND run IN (SELECT id FROM flow_runs WHERE state = 'ended' AND status = 5 AND ended_unix_ms = $2 AND id IN {BELOW})"
    );
    let others = format!(
        "UPDATE flow_runs SET wish = 'cancel', due_unix_ms = $2, updated_unix_ms = $2, changes = changes + 1,
         state = CASE WHEN state = 'running' THEN 'running' ELSE 'queued' END WHERE state <> 'ended' AND id IN {BELOW}"
    );
    for text in [resting, steps, others] {
        compose(text).bind(id.bytes()).bind(signed(unix_ms)).run(writing.connection()).await?;
    }
    Ok(())
}

/// Refuses a run of another flow whose own run is being cancelled or has ended. The row is locked, so that a cancellation at the
/// same time comes before or after.
pub(crate) async fn require_going(writing: &mut Writing, parent: FlowRunId) -> Result<(), StoreError> {
    let text = "UPDATE flow_runs SET changes = changes WHERE id = $1 AND state <> 'ended'
         AND (wish IS NULL OR wish <> 'cancel')";
    if compose(text.to_owned()).bind(parent.bytes()).run(writing.connection()).await? > 0 {
        return Ok(());
    }
    Err(StoreError::conflict("flow_run_ended", "the run that begins it is being cancelled", None))
}
