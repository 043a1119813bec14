//! A workload from the workspace's own records, and the budgets that it is paid from.

use api::request::ApiRequest;
use api::state::Control;
use diagnostics::{Booked, BudgetForecast, Privacy, Retry, TRACES_MAX, Trace, WhoRetried};
use domain::forecast::Progress;
use domain::limits::PAGE_ROWS_MAX;
use domain::{
    AttemptRecord, Counts, Fault, FaultClass, MeterRecord, Nanos, Period, ProjectId, Subject, WorkspaceId,
};
use reconcilers::of_store;
use store::{BudgetRow, Interval, Page, RequestFilter, UsageFilter, UsageQuery, Window};

use crate::limits::{DIAGNOSED_BUDGETS_MAX, DIAGNOSTICS_PAGES_MAX};

const US_PER_MS: u64 = 1_000;
/// Parts of equal length that a window with too many requests is read in.
const SLICES: u64 = 20;

/// Which of the workspace's requests a report is of.
pub(super) struct Scope {
    pub window: Window,
    pub project: Option<ProjectId>,
    pub model: Option<String>,
}

/// The requests of a scope.
pub(super) struct Sample {
    pub traces: Vec<Trace>,
    /// There are more than are looked at: of each slice of the window, these are the newest.
    pub is_sampled: bool,
}

/// All requests of the scope, or, where there are too many, as many of each slice of its window.
pub(super) async fn sample(
    control: &Control,
    request: &ApiRequest,
    scope: &Scope,
) -> Result<Sample, Box<Fault>> {
    let workspace = request.workspace();
    let (traces, has_more) = read(control, workspace, scope, scope.window, TRACES_MAX).await?;
    if !has_more {
        return Ok(Sample { traces, is_sampled: false });
    }
    let Window { start_unix_ms, end_unix_ms } = scope.window;
    let length = end_unix_ms.saturating_sub(start_unix_ms);
    let edge = |number: u64| {
        let part = u128::from(length) * u128::from(number) / u128::from(SLICES);
        start_unix_ms.saturating_add(u64::try_from(part).unwrap_or(length))
    };
    let mut traces = Vec::with_capacity(TRACES_MAX);
    for number in 0..SLICES {
        let slice = Window { start_unix_ms: edge(number), end_unix_ms: edge(number + 1) };
        let most = TRACES_MAX / usize::try_from(SLICES).unwrap_or(TRACES_MAX);
        traces.extend(read(control, workspace, scope, slice, most).await?.0);
    }
    Ok(Sample { traces, is_sampled: true })
}

/// The newest requests of a window, and whether there are more.
async fn read(
    control: &Control,
    workspace: WorkspaceId,
    scope: &Scope,
    window: Window,
    most: usize,
) -> Result<(Vec<Trace>, bool), Box<Fault>> {
    let filter = RequestFilter {
        project: scope.project,
        model: scope.model.clone(),
        since_unix_ms: Some(window.start_unix_ms),
        until_unix_ms: Some(window.end_unix_ms),
        ..RequestFilter::default()
    };
    let mut traces = Vec::new();
    let mut page = Page::first(PAGE_ROWS_MAX);
    for _ in 0..DIAGNOSTICS_PAGES_MAX {
        let listed = control.deps.store.records().matching(workspace, filter.clone(), page).await;
        let listed = listed.map_err(of_store)?;
        traces.extend(listed.rows.iter().filter_map(trace));
        let Some(next) = listed.next.filter(|_| traces.len() <= most) else { break };
        page = Page { limit: PAGE_ROWS_MAX, after: Some(next) };
        // The runtime serves others, too.
        tokio::task::yield_now().await;
    }
    let has_more = traces.len() > most;
    traces.truncate(most);
    Ok((traces, has_more))
}

/// A record as a trace. What the gateway asked for itself, and what our own cache answered, is no workload of a provider's.
fn trace(record: &MeterRecord) -> Option<Trace> {
    let is_served = record.caching.is_some_and(|caching| caching.served.is_some());
    if record.extras.side_call.is_some_and(|call| !call.is_wanted()) || is_served {
        return None;
    }
    let fall = record.waterfall();
    let key = record.key.map(|key| key.to_string());
    let project = record.project.to_string();
    let target =
        if record.resolved_model.is_empty() { &record.requested_model } else { &record.resolved_model };
    // Who begins with what was sent before is of the family of whoever sent it; the record does not say more.
    let family = || format!("{project}/{}/{target}", key.as_deref().unwrap_or_default());
    let last = record.attempts.last();
    let first_byte_ms = record.timeline.first_byte_us / US_PER_MS;
    Some(Trace {
        id: record.trace.to_string(),
        privacy: Privacy::Metadata,
        family: (fall.candidate > 0).then(family),
        session: record.extras.session.map(|session| session.to_string()),
        branch: None,
        concurrency_group: None,
        arrival_ms: record.started_unix_ms,
        target: target.clone(),
        ttft_ms: (record.stream && record.timeline.first_byte_us > 0).then_some(first_byte_ms),
        latency_ms: record.timeline.settled_us / US_PER_MS,
        input_tokens: fall.input,
        candidate_tokens: fall.candidate,
        realized_tokens: fall.realized,
        output_tokens: record.usage.completion_total(),
        attempts: record.attempts.len() as u64,
        rates: last.and_then(|attempt| attempt.rates),
        markup_bps: last.map_or(0, |attempt| attempt.markup_bps),
        booked: Some(Booked {
            project,
            key,
            profile: record.profile(),
            eligible_tokens: fall.eligible,
            is_helped: record.caching.is_some_and(|caching| caching.is_applied),
            has_tools: record.extras.has_tools,
            retries: retries(&record.attempts),
        }),
    })
}

/// The attempts that another one followed, without those that ran beside it.
fn retries(attempts: &[AttemptRecord]) -> Vec<Retry> {
    let Some((last, before)) = attempts.split_last() else { return Vec::new() };
    let end = |attempt: &AttemptRecord| attempt.started_us.saturating_add(attempt.duration_us);
    let followed = before.iter().filter(|attempt| end(attempt) <= last.started_us);
    followed
        .map(|attempt| Retry {
            by: WhoRetried {
                provider: attempt.provider.clone(),
                credential: attempt.principal.own_credential().map(|_| attempt.principal.to_string()),
            },
            paid: attempt.charge.provider_cost,
            waited_ms: attempt.duration_us / US_PER_MS,
            is_rate_limited: attempt.fault == Some(FaultClass::RateLimit),
        })
        .collect()
}

/// The budgets of the workspace, or of one project, with what is used of each. Nothing says how a budget of an end user was used
/// lately, since records keep none.
pub(super) async fn budgets(
    control: &Control,
    workspace: WorkspaceId,
    project: Option<ProjectId>,
) -> Result<Vec<BudgetForecast>, Box<Fault>> {
    let now = control.deps.world.clock.unix_ms();
    let listed = control.deps.store.budgets().list(workspace, Page::first(DIAGNOSED_BUDGETS_MAX)).await;
    let mut found = Vec::new();
    for row in listed.map_err(of_store)?.rows {
        let is_of = project.is_none_or(|project| row.subject == Subject::Project(project));
        let is_known = !matches!(row.subject, Subject::EndUser(_)) && row.period != Period::Ever;
        if is_of && is_known {
            found.push(forecast(control, &row, now).await?);
        }
    }
    Ok(found)
}

async fn forecast(control: &Control, row: &BudgetRow, now: u64) -> Result<BudgetForecast, Box<Fault>> {
    let start = row.period.start(now);
    let standing = control.deps.store.budgets().standing(row.id, start).await.map_err(of_store)?;
    let filter = match &row.subject {
        Subject::Project(id) => UsageFilter { project: Some(*id), ..UsageFilter::default() },
        Subject::Key(id) => UsageFilter { key: Some(*id), ..UsageFilter::default() },
        Subject::Workspace | Subject::EndUser(_) => UsageFilter::default(),
    };
    let query = UsageQuery {
        workspace: row.workspace,
        window: Window {
            start_unix_ms: Progress::lately_since_ms(start, now),
            end_unix_ms: now.saturating_add(1),
        },
        group_by: Vec::new(),
        interval: Some(Interval::Day),
        filter,
    };
    let rows = control.deps.store.records().usage(query).await.map_err(of_store)?;
    let spent = rows.iter().map(|usage| match row.counts {
        Counts::Owed => usage.sums.cost,
        Counts::All | Counts::Committed => usage.spend,
    });
    let subject = match &row.subject {
        Subject::Project(id) => Some(format!("project:{id}")),
        Subject::Key(id) => Some(format!("key:{id}")),
        Subject::Workspace | Subject::EndUser(_) => None,
    };
    Ok(BudgetForecast {
        id: row.id.to_string(),
        name: row.name.clone(),
        progress: Progress {
            amount: row.limit,
            used: standing.spent,
            used_lately: spent.sum::<Nanos>().min(standing.spent),
            start_unix_ms: start,
            end_unix_ms: row.period.end(start).unwrap_or(u64::MAX),
            now_unix_ms: now,
        },
        filter: subject,
    })
}
