//! Alert rules, measured once a minute, and the weekly digest.

use std::time::Duration;

use domain::limits::PAGE_ROWS_MAX;
use domain::{AlertRuleId, EventId, WorkspaceId};
use serde_json::{Value, json};
use store::{
    AlertMetric, AlertRuleRow, AlertState, Dimension, EventKind, EventRow, Page, StoreError, UsageFilter,
    UsageQuery, UsageRow, Window,
};

use crate::{Deps, milliseconds};

pub(crate) const DIGEST_EVERY_MS: u64 = 3_600_000;
const MINUTE_MS: u64 = 60_000;
const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);
/// 1 January 1970 was a Thursday: the first Monday is four days later.
const FIRST_MONDAY: Duration = Duration::from_secs(4 * 86_400);
const MODELS_OF_A_DIGEST: usize = 5;

/// What a rule measures of its window; `None` where too few requests say nothing.
fn value_of(rule: &AlertRuleRow, row: Option<&UsageRow>) -> Option<u64> {
    let requests = row.map_or(0, |row| row.sums.requests);
    if rule.metric.needs_requests() && requests < rule.requests_min.max(1) {
        return None;
    }
    let Some(row) = row else { return Some(0) };
    let sums = &row.sums;
    match rule.metric {
        AlertMetric::Spend => Some(u64::try_from(row.spend.micros()).unwrap_or(0)),
        AlertMetric::Requests => Some(sums.total_requests()),
        AlertMetric::Refused => Some(sums.unattempted),
        // Rounded up, so that one failure of many is not none.
        AlertMetric::ErrorPercent => Some(sums.failed.saturating_mul(100).div_ceil(requests.max(1))),
        AlertMetric::Latency => row.latency.map(|latency| latency.p95_us / 1_000),
        AlertMetric::FirstByte => row.first_byte.map(|latency| latency.p95_us / 1_000),
    }
}

/// The state after a measurement, and the kind of event that the change is, if it is one. A rule that measured too little keeps
/// its state: silence neither alerts nor resolves.
fn next_state(rule: &AlertRuleRow, value: Option<u64>, now: u64) -> (AlertState, Option<EventKind>) {
    let before = rule.state.firing_since_unix_ms;
    let (firing, kind) = match (value, before) {
        (Some(value), None) if value > rule.threshold => (Some(now), Some(EventKind::AlertFiring)),
        (Some(value), Some(_)) if value <= rule.threshold => (None, Some(EventKind::AlertResolved)),
        _ => (before, None),
    };
    let state = AlertState {
        firing_since_unix_ms: firing,
        fired_unix_ms: firing.or(rule.state.fired_unix_ms),
        value,
        measured_unix_ms: Some(now),
    };
    (state, kind)
}

/// Measures all rules of all workspaces.
pub(crate) async fn measure_all(deps: &Deps) -> Result<(), StoreError> {
    let mut after: Option<AlertRuleId> = None;
    loop {
        let rules = deps.store.alert_rules().enabled(after, PAGE_ROWS_MAX).await?;
        for rule in &rules {
            measure(deps, rule).await?;
        }
        after = rules.last().map(|rule| rule.id);
        if (rules.len() as u64) < u64::from(PAGE_ROWS_MAX) {
            return Ok(());
        }
    }
}

async fn measure(deps: &Deps, rule: &AlertRuleRow) -> Result<(), StoreError> {
    let now = deps.world.clock.unix_ms();
    let start_unix_ms = now.saturating_sub(u64::from(rule.window_minutes) * MINUTE_MS);
    let query = UsageQuery {
        workspace: rule.workspace,
        // Records that arrive with this minute are in its sums.
        window: Window { start_unix_ms, end_unix_ms: now + MINUTE_MS },
        group_by: Vec::new(),
        interval: None,
        filter: UsageFilter {
            project: rule.project,
            key: rule.key,
            model: rule.model.clone(),
            provider: rule.provider.clone(),
            ..UsageFilter::default()
        },
    };
    let rows = deps.store.records().usage(query).await?;
    let value = value_of(rule, rows.first());
    let (state, kind) = next_state(rule, value, now);
    let event = kind.map(|kind| event_of(deps, rule, value, kind, now));
    deps.store.alert_rules().record(rule.clone(), state, event).await
}

fn event_of(deps: &Deps, rule: &AlertRuleRow, value: Option<u64>, kind: EventKind, now: u64) -> EventRow {
    EventRow {
        id: EventId::new(now, deps.world.id_bytes()),
        workspace: rule.workspace,
        kind,
        payload: json!({
            "id": rule.id.to_string(),
            "name": rule.name,
            "metric": rule.metric.as_str(),
            "value": value,
            "threshold": rule.threshold,
            "window_minutes": rule.window_minutes,
            "project_id": rule.project.map(|id| id.to_string()),
            "key_id": rule.key.map(|id| id.to_string()),
            "model": rule.model,
            "provider": rule.provider,
        }),
        created_unix_ms: now,
    }
}

/// Emits the digest of the week before, once a week for each workspace: its event's id is that of the week.
pub(crate) async fn digest_all(deps: &Deps) -> Result<(), StoreError> {
    let now = deps.world.clock.unix_ms();
    let end = monday(now);
    // Records of the last minutes may still be on their way; and whoever was away for the first day is not told of a week ago.
    if !(end + MINUTE_MS * 10..end + milliseconds(DAY)).contains(&now) {
        return Ok(());
    }
    let mut page = Page::first(PAGE_ROWS_MAX);
    loop {
        let listed = deps.store.workspaces().list((), page).await?;
        // A workspace has nothing to report of a week before it was made.
        for workspace in listed.rows.iter().filter(|workspace| workspace.created_unix_ms < end) {
            let event = digest(deps, workspace.id, end).await?;
            deps.store.events().emit(event).await?;
        }
        match listed.next {
            Some(after) => page = Page { after: Some(after), limit: PAGE_ROWS_MAX },
            None => return Ok(()),
        }
    }
}

/// Monday's midnight in UTC, at or before a moment.
fn monday(unix_ms: u64) -> u64 {
    let (week, first) = (milliseconds(WEEK), milliseconds(FIRST_MONDAY));
    unix_ms.saturating_sub(first) / week * week + first
}

async fn digest(deps: &Deps, workspace: WorkspaceId, end: u64) -> Result<EventRow, StoreError> {
    let week = milliseconds(WEEK);
    let of = |end: u64, group_by: Vec<Dimension>| UsageQuery {
        workspace,
        window: Window { start_unix_ms: end - week, end_unix_ms: end },
        group_by,
        interval: None,
        filter: UsageFilter::default(),
    };
    let records = deps.store.records();
    let now = records.usage(of(end, Vec::new())).await?;
    let before = records.usage(of(end - week, Vec::new())).await?;
    let mut models = records.usage(of(end, vec![Dimension::Model])).await?;
    models.sort_by_key(|row| std::cmp::Reverse((row.spend, row.sums.requests)));
    let all = |rows: &[UsageRow]| rows.first().map_or(0, |row| row.sums.total_requests());
    let spent = |row: &UsageRow| row.spend.micros_beside(row.sums.cost);
    let spend = |rows: &[UsageRow]| rows.first().map_or(0, spent);
    let model = |row: &UsageRow| {
        let name = row.groups.first().and_then(|(_, name)| name.clone())?;
        Some(json!({"model": name, "spend_micros": spent(row), "requests": row.sums.total_requests()}))
    };
    let models: Vec<Value> = models.iter().filter_map(model).take(MODELS_OF_A_DIGEST).collect();
    let random = workspace.as_bytes().last_chunk::<10>().copied().unwrap_or_default();
    Ok(EventRow {
        id: EventId::new(end, random),
        workspace,
        kind: EventKind::WeeklyDigest,
        payload: json!({
            "start_unix_ms": end - week,
            "end_unix_ms": end,
            "requests": all(&now),
            "requests_before": all(&before),
            "failed": now.first().map_or(0, |row| row.sums.failed),
            "refused": now.first().map_or(0, |row| row.sums.unattempted),
            "spend_micros": spend(&now),
            "spend_before_micros": spend(&before),
            "models": models,
        }),
        created_unix_ms: end,
    })
}

#[cfg(test)]
mod tests {
    use domain::Nanos;
    use store::{Percentiles, UsageSums};

    use super::*;

    fn rule(metric: AlertMetric, threshold: u64) -> AlertRuleRow {
        AlertRuleRow {
            id: AlertRuleId::new(1, [1; 10]),
            workspace: WorkspaceId::new(1, [2; 10]),
            name: "ours".to_owned(),
            metric,
            project: None,
            key: None,
            model: None,
            provider: None,
            window_minutes: 15,
            threshold,
            requests_min: 10,
            is_enabled: true,
            state: AlertState::default(),
            created_unix_ms: 1,
            version: 1,
        }
    }

    fn row(requests: u64, failed: u64) -> UsageRow {
        let sums = UsageSums { requests, failed, unattempted: 7, ..UsageSums::default() };
        let latency = Some(Percentiles { p50_us: 1_000, p95_us: 2_500_999, p99_us: 9_000_000 });
        UsageRow {
            bucket_unix_ms: None,
            groups: Vec::new(),
            sums,
            spend: Nanos(5_000_000_000),
            latency,
            first_byte: None,
        }
    }

    #[test]
    fn what_a_rule_measures() {
        for (metric, requests, expected) in [
            (AlertMetric::Spend, 1, Some(5_000_000)),
            (AlertMetric::Requests, 1, Some(8)),
            (AlertMetric::Refused, 1, Some(7)),
            (AlertMetric::ErrorPercent, 300, Some(1)),
            (AlertMetric::ErrorPercent, 9, None),
            (AlertMetric::Latency, 300, Some(2_500)),
            (AlertMetric::Latency, 9, None),
            (AlertMetric::FirstByte, 300, None),
        ] {
            assert_eq!(
                value_of(&rule(metric, 1), Some(&row(requests, 1))),
                expected,
                "{metric:?} of {requests}"
            );
        }
        assert_eq!(value_of(&rule(AlertMetric::Spend, 1), None), Some(0));
        assert_eq!(value_of(&rule(AlertMetric::ErrorPercent, 1), None), None);
    }

    #[test]
    fn an_alert_fires_once_and_resolves_once() {
        let mut rule = rule(AlertMetric::Spend, 10);
        let mut events = Vec::new();
        for (now, value) in
            [(1, Some(10)), (2, Some(11)), (3, Some(99)), (4, None), (5, Some(10)), (6, Some(9))]
        {
            let (state, kind) = next_state(&rule, value, now);
            rule.state = state;
            events.extend(kind.map(|kind| (now, kind)));
            assert_eq!(state.measured_unix_ms, Some(now));
        }
        assert_eq!(events, [(2, EventKind::AlertFiring), (5, EventKind::AlertResolved)]);
    }

    #[test]
    fn weeks_begin_on_mondays() {
        // 23 November 2026 was a Monday.
        let start = 1_795_392_000_000;
        assert_eq!(monday(start), start);
        assert_eq!(monday(start + 7 * 86_400_000 - 1), start);
        assert_eq!(monday(start - 1), start - 7 * 86_400_000);
    }
}
