//! `/v2/commitments`: what is used of the commitments that credentials state, and what their periods will come to.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::access::Access;
use api::moment::Moment;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::allowance::beyond_period;
use domain::forecast::Progress;
use domain::{Budget, BudgetId, Fault, Nanos};
use http::Method;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::Serialize;
use snapshot::{CredentialEntry, WorkspaceEntry};
use store::{BudgetAlert, BudgetStanding, Dimension, Interval, UsageFilter, UsageQuery, Window};

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v2/commitments", Access::LOOK, list)
            .says("Lists the commitments of the workspace's credentials, with what is used of them and a forecast.")
            .returns::<List>(),
    ]
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CommitmentList")]
struct List {
    object: &'static str,
    data: Vec<CommitmentView>,
}

/// A credential's commitment in its present period. Amounts are at the credential's own prices.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Commitment")]
struct CommitmentView {
    object: &'static str,
    credential_id: String,
    display_name: String,
    provider: String,
    amount_micros: i64,
    #[schemars(extend("enum" = ["month", "quarter", "year"]))]
    period: &'static str,
    period_start: Moment,
    period_end: Moment,
    /// What fills the commitment, at most its amount.
    used_micros: i64,
    /// What running requests have reserved, and what gateways hold for the next ones.
    reserved_micros: i64,
    left_micros: i64,
    /// What was spent on the credential beyond its commitment: after it was used up, where no route had an overflow, and by
    /// requests that used more of it than was left.
    beyond_micros: i64,
    #[schemars(extend("enum" = ["ok", "warning", "exhausted", "under_used"]))]
    status: &'static str,
    forecast: ForecastView,
    alerts_crossed: Vec<Crossing>,
    /// The spending of each day so far.
    burn_down: Vec<Day>,
}

/// What is used by the period's end if it goes on as before.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CommitmentForecast")]
struct ForecastView {
    /// At the average rate of the period.
    by_period_micros: i64,
    /// At the rate of the last seven days.
    by_last_days_micros: i64,
    /// When the commitment is used up at the rate of the last seven days; absent if not within the period.
    exhausted_at: Option<Moment>,
    /// What is paid for and not used at the rate of the last seven days.
    under_used_micros: i64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CommitmentCrossing")]
struct Crossing {
    /// 80 or 100; 0 means that the commitment will not be used up.
    percent: u32,
    at: Moment,
    used_micros: i64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CommitmentDay")]
struct Day {
    start: Moment,
    spent_micros: i64,
    /// What was left at its end.
    left_micros: i64,
}

/// The workspace's commitments that are used up by the books, which cores learn only by serving.
pub async fn used_up(
    control: &Control,
    workspace: &WorkspaceEntry,
    now_unix_ms: u64,
) -> Result<Vec<BudgetId>, Box<Fault>> {
    let mut used_up = Vec::new();
    for commitment in workspace.terms.iter().flat_map(|terms| &terms.commitments) {
        let start = commitment.period.start(now_unix_ms);
        let standing = control.deps.store.budgets().standing(commitment.id, start).await.map_err(of_store)?;
        if standing.spent >= commitment.limit {
            used_up.push(commitment.id);
        }
    }
    Ok(used_up)
}

type Days = BTreeMap<u64, Nanos>;

const DAY_MS: u64 = 86_400_000;
/// The percentage under which it is kept that a commitment will not be used up.
const UNDER_USED: u32 = 0;

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let snapshot = control.deps.keeper.current();
    let workspace = snapshot.workspace(request.workspace()).ok_or_else(|| Box::new(Fault::internal()))?;
    let commitments = workspace.terms.as_deref().map_or(&[][..], |terms| terms.commitments.as_slice());
    let now = control.deps.world.clock.unix_ms();
    let mut spent = spent_by_day(control, commitments, now).await?;
    let mut data = Vec::with_capacity(commitments.len());
    for credential in &workspace.credentials {
        let is_its = |budget: &&Arc<Budget>| budget.id.as_bytes() == credential.id.as_bytes();
        let Some(commitment) = commitments.iter().find(is_its) else { continue };
        let days = spent.remove(&credential.id.to_string()).unwrap_or_default();
        data.push(view(control, credential, commitment, &days, now).await?);
    }
    Reply::json(&List { object: "list", data })
}

/// What each credential spent on each day, since the earliest start of a period.
async fn spent_by_day(
    control: &Control,
    commitments: &[Arc<Budget>],
    now: u64,
) -> Result<BTreeMap<String, Days>, Box<Fault>> {
    let mut spent: BTreeMap<String, Days> = BTreeMap::new();
    let starts = commitments.iter().map(|commitment| commitment.period.start(now));
    let (Some(start_unix_ms), Some(first)) = (starts.min(), commitments.first()) else { return Ok(spent) };
    let query = UsageQuery {
        workspace: first.workspace,
        window: Window { start_unix_ms, end_unix_ms: now.saturating_add(1) },
        group_by: vec![Dimension::Credential],
        interval: Some(Interval::Day),
        filter: UsageFilter::default(),
    };
    for row in control.deps.store.records().usage(query).await.map_err(of_store)? {
        let credential = row.groups.into_iter().find_map(|(_, value)| value);
        if let (Some(credential), Some(day)) = (credential, row.bucket_unix_ms) {
            let sum = spent.entry(credential).or_default().entry(day).or_default();
            *sum = sum.plus(row.sums.provider_cost);
        }
    }
    Ok(spent)
}

async fn view(
    control: &Control,
    credential: &CredentialEntry,
    commitment: &Budget,
    days: &Days,
    now: u64,
) -> Result<CommitmentView, Box<Fault>> {
    let budgets = control.deps.store.budgets();
    let start = commitment.period.start(now);
    let standing = budgets.standing(commitment.id, start).await.map_err(of_store)?;
    let beyond = budgets.standing(commitment.id, beyond_period(start)).await.map_err(of_store)?;
    let crossed = budgets.alerts(commitment.id, start).await.map_err(of_store)?;
    let since = Progress::lately_since_ms(start, now);
    let progress = Progress {
        amount: commitment.limit,
        used: standing.spent,
        used_lately: days.range(since - since % DAY_MS..).map(|(_, spent)| *spent).sum(),
        start_unix_ms: start,
        end_unix_ms: commitment.period.end(start).unwrap_or(u64::MAX),
        now_unix_ms: now,
    };
    Ok(show(credential, commitment, progress, (standing, beyond), &crossed, days))
}

fn show(
    credential: &CredentialEntry,
    commitment: &Budget,
    progress: Progress,
    (standing, beyond): (BudgetStanding, BudgetStanding),
    crossed: &[BudgetAlert],
    days: &Days,
) -> CommitmentView {
    let forecast = progress.forecast();
    let (used, over) = split(standing.spent, commitment.limit);
    let left = Nanos(commitment.limit.0 - used.0);
    let has = |percent: u32| crossed.iter().any(|alert| alert.percent == percent);
    CommitmentView {
        object: "commitment",
        credential_id: credential.id.to_string(),
        display_name: credential.display_name.to_string(),
        provider: credential.provider.to_string(),
        amount_micros: commitment.limit.micros(),
        period: commitment.period.as_str(),
        period_start: Moment(progress.start_unix_ms),
        period_end: Moment(progress.end_unix_ms),
        used_micros: used.micros(),
        reserved_micros: standing.reserved.micros(),
        left_micros: left.micros(),
        beyond_micros: beyond.spent.plus(over).micros(),
        status: match () {
            () if left.0 == 0 => "exhausted",
            () if has(UNDER_USED) => "under_used",
            () if crossed.is_empty() => "ok",
            () => "warning",
        },
        forecast: ForecastView {
            by_period_micros: forecast.by_period.micros(),
            by_last_days_micros: forecast.by_last_days.micros(),
            exhausted_at: forecast.exhausted_unix_ms.map(Moment),
            under_used_micros: forecast.under_used.micros(),
        },
        alerts_crossed: crossed.iter().map(crossing).collect(),
        burn_down: burn_down(commitment.limit, progress.start_unix_ms, progress.now_unix_ms, days),
    }
}

/// What of it fills the commitment, and what its last requests used beyond.
fn split(spent: Nanos, amount: Nanos) -> (Nanos, Nanos) {
    let used = spent.min(amount);
    (used, Nanos(spent.0 - used.0))
}

fn crossing(alert: &BudgetAlert) -> Crossing {
    Crossing { percent: alert.percent, at: Moment(alert.crossed_unix_ms), used_micros: alert.spent.micros() }
}

/// Each day of the period so far, with what was left of the commitment at its end.
fn burn_down(amount: Nanos, start: u64, now: u64, days: &Days) -> Vec<Day> {
    let mut left = amount.0;
    let count = now.saturating_sub(start) / DAY_MS + 1;
    let one = |number| {
        let day = start + number * DAY_MS;
        let spent = days.get(&day).copied().unwrap_or_default();
        left = left.saturating_sub(spent.0);
        Day { start: Moment(day), spent_micros: spent.micros(), left_micros: Nanos(left.max(0)).micros() }
    };
    (0..count).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commitment_is_filled_by_its_amount_at_most() {
        let split = |spent| split(Nanos(spent), Nanos(10_500));
        assert_eq!(split(10_710), (Nanos(10_500), Nanos(210)));
        assert_eq!([split(0), split(10_500)], [(Nanos(0), Nanos(0)), (Nanos(10_500), Nanos(0))]);
    }
}
