//! What an hour of the candidate's hardware costs: by the nodes that answered, else as the run states it.

use std::collections::{BTreeMap, BTreeSet};

use domain::{MeterRecord, NodeId, Principal};
use reconcilers::Deps;
use store::{StoreError, Window};

use crate::rows::ReplayRunRow;

pub const HOUR_MS: u64 = 3_600_000;
/// As far back as a node's hours and energy say how busy it is.
const COUNTED_MS: u64 = 30 * 24 * HOUR_MS;
pub const NANOS_PER_MICRO: u64 = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HourCost {
    pub nanos: u64,
    /// How it is known: by the `nodes`, or the `run`.
    pub by: &'static str,
}

/// What an hour costs of all nodes that answered, if each has a cost.
pub async fn hour_of(
    deps: &Deps,
    run: &ReplayRunRow,
    records: impl Iterator<Item = &MeterRecord>,
) -> Result<Option<HourCost>, StoreError> {
    let answered = records.filter(|record| record.status < 400).map(|record| record.principal);
    let nodes: Option<BTreeSet<NodeId>> = answered.map(node_of).collect();
    if let Some(nodes) = nodes.filter(|nodes| !nodes.is_empty())
        && let Some(nanos) = of_nodes(deps, run, &nodes).await?
    {
        return Ok(Some(HourCost { nanos, by: "nodes" }));
    }
    let stated = run.spec.candidate.cost_per_hour_micros;
    Ok(stated.map(|micros| HourCost { nanos: micros.saturating_mul(NANOS_PER_MICRO), by: "run" }))
}

fn node_of(principal: Option<Principal>) -> Option<NodeId> {
    match principal {
        Some(Principal::Node(node)) => Some(node),
        _ => None,
    }
}

async fn of_nodes(
    deps: &Deps,
    run: &ReplayRunRow,
    nodes: &BTreeSet<NodeId>,
) -> Result<Option<u64>, StoreError> {
    let now = deps.world.clock.unix_ms();
    let window = Window { start_unix_ms: now.saturating_sub(COUNTED_MS), end_unix_ms: now };
    let counted = deps.store.node_hours().counts(run.workspace, window).await?;
    let counted: BTreeMap<NodeId, _> = counted.into_iter().collect();
    let mut sum = 0_u64;
    for node in nodes {
        let cost = match deps.store.nodes().get(run.workspace, *node).await {
            Ok(row) => row.cost,
            Err(StoreError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let Some(cost) = cost else { return Ok(None) };
        let counts = counted.get(node).copied().unwrap_or_default();
        sum = sum.saturating_add(cost.average_hour(&counts).0.unsigned_abs());
    }
    Ok(Some(sum))
}
