//! Draws a run's set from the meter records: which requests, and their shape without content.

use domain::{MeterRecord, Operation, Outcome, Priced, Profile, WorkspaceId};
use replay::{Measured, ReplayKind, Trace, busiest_tokens_per_minute};
use store::{Page, RequestFilter, Store, StoreError};

use crate::limits::{REPLAY_MATCHED_MAX, REPLAY_PAGES_MAX};
use crate::rows::{DrawnSet, OpenTrace, RunSpec, SetFilter};

/// Records that are read at once.
const PAGE_ROWS: u32 = 1_000;
const MILLI: u64 = 1_000;

/// The set of a run, in the order in which its requests arrived.
pub async fn draw(
    store: &Store,
    workspace: WorkspaceId,
    spec: &RunSpec,
) -> Result<(DrawnSet, Vec<OpenTrace>), StoreError> {
    let mut matched = matching(store, workspace, &spec.set).await?;
    matched.sort_by_key(|one| one.arrival_ms);
    let first_ms = matched.first().map_or(0, |one| one.arrival_ms);
    for one in &mut matched {
        one.arrival_ms -= first_ms;
    }
    let drawn = DrawnSet {
        matched: matched.len() as u64,
        taken: matched.len().min(spec.set.requests_max as usize) as u64,
        busiest_tokens_per_minute: busiest_tokens_per_minute(&matched),
        span_ms: matched.last().map_or(0, |one| one.arrival_ms),
    };
    let taken = evenly(matched, spec.set.requests_max as usize);
    let open = |(position, trace): (usize, Trace)| OpenTrace {
        position: position as u64,
        due_ms: due_ms(trace.arrival_ms, spec.speed_milli),
        trace,
        tries: 0,
    };
    Ok((drawn, taken.into_iter().enumerate().map(open).collect()))
}

/// When a request is due after the start; at once where the run is as fast as it can be.
pub fn due_ms(arrival_ms: u64, speed_milli: Option<u32>) -> u64 {
    speed_milli.map_or(0, |speed| arrival_ms.saturating_mul(MILLI) / u64::from(speed.max(1)))
}

async fn matching(store: &Store, workspace: WorkspaceId, set: &SetFilter) -> Result<Vec<Trace>, StoreError> {
    let filter = RequestFilter {
        model: set.model.clone(),
        key: set.key.as_deref().and_then(|text| text.parse().ok()),
        project: set.project.as_deref().and_then(|text| text.parse().ok()),
        alias: set.alias.clone(),
        since_unix_ms: Some(set.since_unix_ms),
        until_unix_ms: Some(set.until_unix_ms),
        ..RequestFilter::default()
    };
    let mut found = Vec::new();
    let mut page = Page::first(PAGE_ROWS);
    for _ in 0..REPLAY_PAGES_MAX {
        let listed = store.records().matching(workspace, filter.clone(), page).await?;
        let of_route =
            |record: &&MeterRecord| set.route.as_ref().is_none_or(|route| *route == record.plan.route);
        found.extend(listed.rows.iter().filter(of_route).filter_map(|record| trace_of(record, set.kind)));
        let Some(next) = listed.next.filter(|_| found.len() < REPLAY_MATCHED_MAX) else { break };
        page = Page { limit: PAGE_ROWS, after: Some(next) };
        // The runtime serves others, too.
        tokio::task::yield_now().await;
    }
    found.truncate(REPLAY_MATCHED_MAX);
    Ok(found)
}

/// At most so many, at equal distances.
fn evenly(all: Vec<Trace>, most: usize) -> Vec<Trace> {
    if all.len() <= most {
        return all;
    }
    let (length, mut next) = (all.len(), 0);
    let chosen = all.into_iter().enumerate().filter(|(at, _)| {
        let is_chosen = *at == next * length / most;
        next += usize::from(is_chosen);
        is_chosen
    });
    chosen.map(|(_, trace)| trace).collect()
}

/// What a set's requests are in records.
pub const fn operation_of(kind: ReplayKind) -> Operation {
    match kind {
        ReplayKind::Chat => Operation::Chat,
        ReplayKind::Complete => Operation::Complete,
        ReplayKind::Embed => Operation::Embed,
    }
}

/// The sets whose reports are about such requests; `None` where nothing can be replayed.
pub const fn kind_of(operation: Operation) -> Option<ReplayKind> {
    match operation {
        Operation::Chat | Operation::Run => Some(ReplayKind::Chat),
        Operation::Complete => Some(ReplayKind::Complete),
        Operation::Embed => Some(ReplayKind::Embed),
        _ => None,
    }
}

/// A request of the kind that others than nodes answered, whole. What the gateway asked for itself, what its cache answered, and what failed
/// is nothing that a candidate could be compared with.
fn trace_of(record: &MeterRecord, kind: ReplayKind) -> Option<Trace> {
    let is_of_kind = record.operation == operation_of(kind);
    let is_moved = is_elsewhere(record) && is_of_kind && record.extras.side_call.is_none();
    let is_served = record.caching.is_some_and(|caching| caching.served.is_some());
    let is_whole = record.outcome == Outcome::Completed && record.status < 400;
    if !is_moved || is_served || !is_whole {
        return None;
    }
    let fall = record.waterfall();
    let key = record.key.map(|key| key.to_string()).unwrap_or_default();
    let served =
        if record.resolved_model.is_empty() { &record.requested_model } else { &record.resolved_model };
    let session = record.extras.session.map(|session| session.to_string());
    let family = session.clone().unwrap_or_else(|| format!("{}/{key}/{served}", record.project));
    Some(Trace {
        request: record.trace.to_string(),
        // The start of the set is taken off once all are read.
        arrival_ms: record.started_unix_ms,
        session,
        project: record.project.to_string(),
        family,
        model: record.requested_model.clone(),
        served_model: served.clone(),
        prompt_tokens: record.usage.prompt_total(),
        prefix_tokens: fall.candidate,
        output_tokens: record.usage.completion_total(),
        stream: record.stream,
        baseline: measured(record),
    })
}

/// Whether something else than a node served it.
pub fn is_elsewhere(record: &MeterRecord) -> bool {
    record.profile().is_some_and(|profile| profile != Profile::Byoc)
}

/// What a meter record says of an answer.
pub fn measured(record: &MeterRecord) -> Measured {
    let cost = match record.profile() {
        Some(Profile::ManagedProvider) => record.charge.cost,
        _ => record.charge.provider_cost,
    };
    let first_byte_us = record.timeline.first_byte_us;
    let is_whole = record.outcome == Outcome::Completed && record.status < 400;
    Measured {
        first_token_us: (record.stream && first_byte_us > 0).then_some(first_byte_us),
        total_us: record.timeline.settled_us,
        is_error: !is_whole,
        // Nobody bills for a node, so that free is no price of it.
        cost_nanos: (record.charge.priced == Priced::Priced).then_some(cost.0),
        prompt_tokens: record.usage.prompt_total(),
        output_tokens: record.usage.completion_total(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(arrival_ms: u64) -> Trace {
        Trace {
            request: String::new(),
            arrival_ms,
            session: None,
            project: String::new(),
            family: String::new(),
            model: String::new(),
            served_model: String::new(),
            prompt_tokens: 1,
            prefix_tokens: 0,
            output_tokens: 1,
            stream: false,
            baseline: Measured::default(),
        }
    }

    #[test]
    fn a_set_is_taken_evenly() {
        for (count, most, expected) in [
            (10, 3, vec![0, 3, 6]),
            (4, 4, vec![0, 1, 2, 3]),
            (3, 9, vec![0, 1, 2]),
            (10, 4, vec![0, 2, 5, 7]),
        ] {
            let taken = evenly((0..count).map(trace).collect(), most);
            assert_eq!(
                taken.iter().map(|one| one.arrival_ms).collect::<Vec<_>>(),
                expected,
                "{count} {most}"
            );
        }
    }

    #[test]
    fn arrivals_follow_the_speed() {
        for (speed, expected) in [(Some(1_000), 6_000), (Some(2_000), 3_000), (Some(500), 12_000), (None, 0)]
        {
            assert_eq!(due_ms(6_000, speed), expected, "{speed:?}");
        }
    }
}
