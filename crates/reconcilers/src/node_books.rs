//! Books what a joined node served without a gateway: a request without a key, charged to the workspace's
//! first project.

use domain::record::{Extras, PlanRecord};
use domain::{
    AttemptRecord, Charge, Dialect, FaultClass, MeterRecord, Operation, Outcome, Principal, Timeline, Usage,
    UsageSource,
};
use snapshot::{ProjectEntry, Snapshot};
use store::{KnownNode, NodeRecord};

use crate::{Deps, async_billing};

/// The provider name of nodes in records.
const PROVIDER: &str = "byoc";

/// Books requests that no gateway sent to the node; those that a gateway sent are booked by its own record. What
/// another backend answered used none of the node's tokens: the gateway has its own record of it, or it is of
/// the node's own list alone. A record that is reported twice is booked once.
///
/// # Errors
/// The store can't take records now; the node reports them again.
pub async fn book(
    deps: &Deps,
    snapshot: &Snapshot,
    known: KnownNode,
    records: &[NodeRecord],
) -> Result<(), String> {
    let workspace = snapshot.workspace(known.workspace);
    let Some(project) = workspace.and_then(|workspace| workspace.projects.first()) else { return Ok(()) };
    let now = deps.world.clock.unix_ms();
    let own = records.iter().filter(|record| record.request.is_none() && record.left_to.is_none());
    let records = own.map(|record| record_of(deps, snapshot, project, known, record, now)).collect();
    async_billing::book(deps, records).await
}

fn record_of(
    deps: &Deps,
    snapshot: &Snapshot,
    project: &ProjectEntry,
    known: KnownNode,
    record: &NodeRecord,
    now_unix_ms: u64,
) -> MeterRecord {
    let principal = Principal::Node(known.node);
    let usage = usage_of(record);
    let (outcome, fault) = outcome_of(&record.ended);
    // A node's clock that is fast must not date records in the future.
    let started_unix_ms = record.started_unix_ms.min(now_unix_ms);
    let attempt = AttemptRecord {
        number: 1,
        principal,
        provider: PROVIDER.to_owned(),
        upstream_model: record.model.clone(),
        region: None,
        started_us: 0,
        duration_us: record.took_ms.saturating_mul(1_000),
        status: fault.is_none().then_some(200),
        fault,
        upstream_request_id: None,
        usage,
        rates: None,
        markup_bps: 0,
        charge: Charge::default(),
    };
    let mut booked = MeterRecord {
        trace: deps.vault.requests.of_node_event(record.started_unix_ms, known.node, record.event),
        workspace: known.workspace,
        project: project.id,
        key: None,
        environment: project.environment.to_string(),
        started_unix_ms,
        finished_unix_ms: started_unix_ms.saturating_add(record.took_ms),
        operation: operation(&record.operation),
        // Nodes don't report the dialect of the request.
        dialect: Dialect::Chat,
        stream: false,
        requested_model: record.model.clone(),
        resolved_model: record.model.clone(),
        outcome,
        status: if fault.is_none() { 200 } else { 500 },
        fault,
        fault_code: fault.is_some().then(|| "node_failed".to_owned()),
        reason: None,
        extras: Extras { adapter: record.adapter.clone(), ..Extras::default() },
        principal: Some(principal),
        provider: PROVIDER.to_owned(),
        fallback_used: false,
        tag: None,
        usage,
        charge: Charge::default(),
        attempts: vec![attempt],
        plan: PlanRecord {
            resolution: "node_report".into(),
            candidates: vec![principal],
            snapshot_version: snapshot.version(),
            ..PlanRecord::default()
        },
        timeline: Timeline { settled_us: record.took_ms.saturating_mul(1_000), ..Timeline::default() },
        bytes_out: 0,
        drawn: Vec::new(),
        caching: None,
    };
    ledger::price::book(&mut booked);
    booked
}

fn usage_of(record: &NodeRecord) -> Usage {
    Usage {
        input: record.input_tokens.saturating_sub(record.cached_tokens),
        cached_read: record.cached_tokens,
        output: record.output_tokens.saturating_sub(record.reasoning_tokens),
        reasoning: record.reasoning_tokens,
        source: if record.is_measured { UsageSource::Provider } else { UsageSource::Estimate },
        ..Usage::default()
    }
}

/// The operation that a node reports; an unknown word comes from a newer node and counts as chat.
fn operation(word: &str) -> Operation {
    let known = [Operation::Chat, Operation::Complete, Operation::Embed, Operation::Rerank, Operation::Count];
    known.into_iter().find(|operation| operation.as_str() == word).unwrap_or(Operation::Chat)
}

/// The outcome in the words of the node's journal.
fn outcome_of(word: &str) -> (Outcome, Option<FaultClass>) {
    match word {
        "whole" => (Outcome::Completed, None),
        "left" => (Outcome::ClientCancelled, None),
        "lost" => (Outcome::Interrupted, None),
        _ => (Outcome::Failed, Some(FaultClass::Upstream)),
    }
}
