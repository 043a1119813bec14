//! `/v2/attention`: what somebody should look at, the worst first, each with a sentence and where to go.

use std::sync::Arc;

use api::access::Access;
use api::moment::Moment;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::limits::PAGE_ROWS_MAX;
use domain::{Fault, Nanos, Period, WorkspaceId};
use http::Method;
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::Serialize;
use snapshot::{CredentialState, NodeState};
use store::{
    ApiKeyRow, BudgetRow, BudgetStanding, CredentialRow, DISABLED_BY_SOMEBODY, DeliveryState, NodeRow, Page,
    Resource, ResourceRow, UsageFilter, UsageQuery, UsageRow, WebhookRow, Window,
};

use crate::limits::{ATTENTION_LISTED_MAX, ATTENTION_ROWS_MAX};

const DAY_MS: u64 = 86_400_000;
/// Before an expiry that somebody has to act on.
const EXPIRY_NOTICE_MS: u64 = 7 * DAY_MS;
/// Credit that is left, of all that was paid in.
const CREDIT_LOW_PERCENT: i64 = 10;
/// A budget that says no other threshold is near its limit here.
const BUDGET_NEAR_PERCENT: u32 = 80;
/// Requests below which a rate or a percentile says nothing.
const REQUESTS_COMPARED_MIN: u64 = 20;
/// Failures of a day that are a spike at least, and their rate in percent.
const FAILURES_MIN: u64 = 10;
const FAILURES_PERCENT_MIN: u64 = 5;
/// How much more than in the week before is news.
const FAILURES_FACTOR: u64 = 3;
const SPEND_FACTOR: i64 = 2;
const LATENCY_FACTOR: u64 = 2;
/// A rise of spend by less than a dollar a day is none.
const SPEND_RISE_MIN: Nanos = Nanos(1_000_000_000);
/// The week before the last day.
const WEEK_DAYS: u64 = 7;

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v2/attention", Access::LOOK, list)
            .says(
                "Lists what needs attention, most severe first: for the operator, why the gateway is degraded; budgets and credit \
                 near their end, credentials, keys, nodes and webhooks that fail or expire, and a day that differs from the week \
                 before it.",
            )
            .returns::<Attention>(),
    ]
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Attention")]
struct Attention {
    object: &'static str,
    as_of: Moment,
    /// Most severe first; at most 100.
    data: Vec<Concern>,
}

#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Concern")]
struct Concern {
    #[schemars(extend("enum" = [
        "gateway_degraded", "budget_reached", "budget_near", "credit_used_up", "credit_low", "credential_refused", "credential_unverified", "credential_expired",
        "credential_expiring", "key_expired", "key_expiring", "node_unreachable", "webhook_disabled", "webhook_failing",
        "requests_failing", "spend_risen", "latency_risen", "requests_unpriced", "requests_unmetered"
    ]))]
    kind: &'static str,
    /// `error`: something doesn't work. `warning`: it will not, or differs from what is usual.
    #[schemars(extend("enum" = ["error", "warning"]))]
    severity: &'static str,
    /// The object's id; `null` for the whole workspace.
    subject_id: Option<String>,
    subject_name: Option<String>,
    message: String,
    /// Since when, where that is known.
    since: Option<Moment>,
    /// The console's page about it.
    link: String,
}

impl Concern {
    fn error(kind: &'static str, message: String, link: impl Into<String>) -> Self {
        let (subject_id, subject_name) = (None, None);
        Self { kind, severity: "error", subject_id, subject_name, message, since: None, link: link.into() }
    }

    fn warning(kind: &'static str, message: String, link: impl Into<String>) -> Self {
        Self { severity: "warning", ..Self::error(kind, message, link) }
    }

    fn of(self, id: &impl ToString, name: &str) -> Self {
        Self { subject_id: Some(id.to_string()), subject_name: Some(name.to_owned()), ..self }
    }

    fn since(self, unix_ms: impl Into<Option<u64>>) -> Self {
        Self { since: unix_ms.into().map(Moment), ..self }
    }
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let (workspace, now) = (request.workspace(), control.deps.world.clock.unix_ms());
    let store = &control.deps.store;
    let degraded = request.is_operator().then(|| (control.web.degraded)()).flatten();
    let concern = |reason: String| {
        Concern::error("gateway_degraded", format!("The gateway is degraded: {reason}."), "/upstreams")
    };
    let mut found: Vec<Concern> = degraded.map(concern).into_iter().collect();
    found.extend(budgets(control, workspace, now).await?);
    found.extend(credit(control, workspace).await?);
    let credentials = all::<CredentialRow>(store.credentials(), workspace).await?;
    found.extend(credentials.iter().flat_map(|row| of_credential(row, now)));
    let keys = all::<ApiKeyRow>(store.api_keys(), workspace).await?;
    found.extend(keys.iter().filter_map(|row| of_key(row, now)));
    let nodes = all::<NodeRow>(store.nodes(), workspace).await?;
    found.extend(nodes.iter().filter_map(of_node));
    for webhook in all::<WebhookRow>(store.webhooks(), workspace).await? {
        let last = store.webhooks().deliveries(workspace, webhook.id, Page::first(1)).await;
        let last = last.map_err(of_store)?.rows.into_iter().next();
        let failed = last.filter(|last| last.state == DeliveryState::Failed);
        found.extend(of_webhook(&webhook, failed.map(|last| (last.last_error, last.attempted_unix_ms))));
    }
    let day = (now.saturating_sub(DAY_MS), now);
    let week = (now.saturating_sub((WEEK_DAYS + 1) * DAY_MS), day.0);
    if let (Some(today), Some(before)) =
        (sums(control, workspace, day).await?, sums(control, workspace, week).await?)
    {
        found.extend(changes(&today, &before));
    }
    if let Some(month) = sums(control, workspace, (Period::Month.start(now), now)).await? {
        found.extend(of_month(&month));
    }
    // A stable sort: within a severity, money first, as found.
    found.sort_by_key(|concern| concern.severity != "error");
    found.truncate(ATTENTION_LISTED_MAX);
    Reply::json(&Attention { object: "list", as_of: Moment(now), data: found })
}

/// The rows of one kind, up to a bound.
async fn all<R: ResourceRow<Owner = WorkspaceId>>(
    table: &dyn Resource<R>,
    workspace: WorkspaceId,
) -> Result<Vec<R>, Box<Fault>> {
    let (mut rows, mut page) = (Vec::new(), Page::first(PAGE_ROWS_MAX));
    while rows.len() < ATTENTION_ROWS_MAX {
        let listed = table.list(workspace, page).await.map_err(of_store)?;
        rows.extend(listed.rows);
        let Some(after) = listed.next else { break };
        page = Page { after: Some(after), ..Page::first(PAGE_ROWS_MAX) };
    }
    Ok(rows)
}

async fn sums(
    control: &Control,
    workspace: WorkspaceId,
    (start_unix_ms, end_unix_ms): (u64, u64),
) -> Result<Option<UsageRow>, Box<Fault>> {
    let records = control.deps.store.records();
    let window = records.coverage(Window { start_unix_ms, end_unix_ms }).await.map_err(of_store)?;
    let filter = UsageFilter::default();
    let query = UsageQuery { workspace, window, group_by: Vec::new(), interval: None, filter };
    Ok(records.usage(query).await.map_err(of_store)?.into_iter().next())
}

async fn budgets(control: &Control, workspace: WorkspaceId, now: u64) -> Result<Vec<Concern>, Box<Fault>> {
    let store = control.deps.store.budgets();
    let mut found = Vec::new();
    for row in all::<BudgetRow>(store, workspace).await? {
        let start = row.period.start(now);
        let standing = store.standing(row.id, start).await.map_err(of_store)?;
        let crossed = store.alerts(row.id, start).await.map_err(of_store)?;
        let since = crossed.last().map(|alert| alert.crossed_unix_ms);
        found.extend(of_budget(&row, standing).map(|concern| concern.since(since)));
    }
    Ok(found)
}

fn of_budget(row: &BudgetRow, standing: BudgetStanding) -> Option<Concern> {
    let (spent, limit) = (i128::from(standing.spent.0), i128::from(row.limit.0.max(1)));
    let percent = spent * 100 / limit;
    let amounts = format!("{} of {}", standing.spent, row.limit);
    let link = "/budgets";
    if percent >= 100 {
        let message =
            format!("The budget \"{}\" is used up: {amounts} this {}.", row.name, row.period.as_str());
        return Some(Concern::error("budget_reached", message, link).of(&row.id, &row.name));
    }
    let near =
        row.alerts.iter().filter(|percent| **percent < 100).max().copied().unwrap_or(BUDGET_NEAR_PERCENT);
    if percent >= i128::from(near) {
        let message = format!(
            "The budget \"{}\" is {percent} % used: {amounts} this {}.",
            row.name,
            row.period.as_str()
        );
        return Some(Concern::warning("budget_near", message, link).of(&row.id, &row.name));
    }
    None
}

async fn credit(control: &Control, workspace: WorkspaceId) -> Result<Option<Concern>, Box<Fault>> {
    let budgets = control.deps.store.budgets();
    let Some(credit) = budgets.credit(workspace).await.map_err(of_store)? else { return Ok(None) };
    let standing = budgets.standing(credit.id, 0).await.map_err(of_store)?;
    Ok(of_credit(credit.limit, standing.spent))
}

fn of_credit(paid: Nanos, spent: Nanos) -> Option<Concern> {
    let left = Nanos(paid.0.saturating_sub(spent.0));
    if left.0 <= 0 {
        let message = format!("The credit is used up: {spent} of {paid} are spent.");
        return Some(Concern::error("credit_used_up", message, "/billing"));
    }
    let is_low = i128::from(left.0) * 100 < i128::from(paid.0) * i128::from(CREDIT_LOW_PERCENT);
    is_low.then(|| {
        let message = format!("{left} of {paid} credit are left.");
        Concern::warning("credit_low", message, "/billing")
    })
}

fn of_credential(row: &CredentialRow, now: u64) -> Option<Concern> {
    let (link, name) = (format!("/credentials/{}", row.id), &row.display_name);
    let concern = match (row.state, row.expires_unix_ms) {
        (CredentialState::Revoked | CredentialState::Disabled, _) => return None,
        (CredentialState::Invalid, _) => {
            let why = row.last_error.clone().unwrap_or_default();
            let message = format!("{} refuses the credential \"{name}\". {why}", row.provider);
            Concern::error("credential_refused", message.trim_end().to_owned(), link)
                .since(row.last_verified_unix_ms)
        }
        (CredentialState::Unverified, _) => {
            let why = row.last_error.clone().unwrap_or_default();
            let message = format!("The credential \"{name}\" was never verified, and serves nothing. {why}");
            Concern::error("credential_unverified", message.trim_end().to_owned(), link)
        }
        (_, Some(at)) if at <= now => {
            let message = format!("The credential \"{name}\" has expired. Rotate it.");
            Concern::error("credential_expired", message, link).since(at)
        }
        (_, Some(at)) if at <= now.saturating_add(EXPIRY_NOTICE_MS) => {
            let message = format!("The credential \"{name}\" expires {}. Rotate it.", in_days(at, now));
            Concern::warning("credential_expiring", message, link)
        }
        _ => return None,
    };
    Some(concern.of(&row.id, name))
}

/// A key that ended more than the notice's time ago is no news.
fn of_key(row: &ApiKeyRow, now: u64) -> Option<Concern> {
    let at = row.expires_unix_ms.filter(|_| row.revoked_unix_ms.is_none())?;
    let is_recent = at.saturating_add(EXPIRY_NOTICE_MS) > now;
    let concern = if at <= now && is_recent {
        let message = format!("The API key \"{}\" has expired. Replace it.", row.name);
        Concern::error("key_expired", message, "/keys").since(at)
    } else if at > now && at <= now.saturating_add(EXPIRY_NOTICE_MS) {
        let message = format!("The API key \"{}\" expires {}.", row.name, in_days(at, now));
        Concern::warning("key_expiring", message, "/keys")
    } else {
        return None;
    };
    Some(concern.of(&row.id, &row.name))
}

fn of_node(row: &NodeRow) -> Option<Concern> {
    if row.state() != NodeState::Unreachable {
        return None;
    }
    let why = row.last_error.clone().unwrap_or_default();
    let message = format!("The node \"{}\" can't be reached. {why}", row.name);
    let concern =
        Concern::error("node_unreachable", message.trim_end().to_owned(), format!("/nodes/{}", row.id));
    Some(concern.of(&row.id, &row.name).since(row.last_seen_unix_ms))
}

/// `failed`: the error and the time of the last delivery, if that was given up.
fn of_webhook(row: &WebhookRow, failed: Option<(Option<String>, Option<u64>)>) -> Option<Concern> {
    let name = if row.description.is_empty() { &row.url } else { &row.description };
    let link = format!("/webhooks/{}", row.id);
    let concern = match (&row.disabled_reason, failed) {
        // Whoever disabled it knows.
        (Some(reason), _) if reason == DISABLED_BY_SOMEBODY => return None,
        (Some(reason), _) => {
            let message = format!("The webhook \"{name}\" is disabled: {reason}.");
            Concern::warning("webhook_disabled", message, link)
        }
        (None, Some((error, at))) => {
            let why = error.unwrap_or_default();
            let message = format!("The last event for the webhook \"{name}\" was not delivered. {why}");
            Concern::error("webhook_failing", message.trim_end().to_owned(), link).since(at)
        }
        (None, None) => return None,
    };
    Some(concern.of(&row.id, name))
}

/// How the last day differs from the week before it.
fn changes(today: &UsageRow, week: &UsageRow) -> Vec<Concern> {
    let mut found = Vec::new();
    let rate = |row: &UsageRow| row.sums.failed.saturating_mul(100) / row.sums.requests.max(1);
    let (failing, before) = (rate(today), rate(week));
    if today.sums.failed >= FAILURES_MIN
        && failing >= FAILURES_PERCENT_MIN
        && failing >= before.saturating_mul(FAILURES_FACTOR)
    {
        let message = format!(
            "{} of {} requests failed in the last 24 hours ({failing} %); in the week before, {before} % did.",
            today.sums.failed, today.sums.requests
        );
        found.push(Concern::error("requests_failing", message, "/requests?range=24h&filter=outcome:failed"));
    }
    let usual = Nanos(week.spend.0 / i64::try_from(WEEK_DAYS).unwrap_or(1));
    let rise = today.spend.0.saturating_sub(usual.0);
    if usual.0 > 0 && rise >= SPEND_RISE_MIN.0 && today.spend.0 >= usual.0.saturating_mul(SPEND_FACTOR) {
        let message =
            format!("{} spent in the last 24 hours; in the week before, {usual} a day.", today.spend);
        found.push(Concern::warning("spend_risen", message, "/usage?range=24h"));
    }
    let enough = |row: &UsageRow| row.sums.requests >= REQUESTS_COMPARED_MIN;
    if let (Some(now), Some(usual)) = (today.latency, week.latency)
        && enough(today)
        && enough(week)
        && now.p95_us >= usual.p95_us.saturating_mul(LATENCY_FACTOR)
    {
        let message = format!(
            "95 % of answers took up to {} ms in the last 24 hours; in the week before, {} ms.",
            now.p95_us / 1_000,
            usual.p95_us / 1_000
        );
        found.push(Concern::warning("latency_risen", message, "/usage?range=24h"));
    }
    found
}

fn of_month(month: &UsageRow) -> Vec<Concern> {
    let sums = &month.sums;
    let mut found = Vec::new();
    if sums.unpriced > 0 {
        let message = format!(
            "{} this month without a price: their tokens are counted, their cost is not known.",
            requests(sums.unpriced)
        );
        found.push(Concern::warning("requests_unpriced", message, "/usage?range=month&group=model"));
    }
    if sums.unmetered > 0 {
        let message = format!(
            "{} this month without a token count: the provider sent none, and none could be estimated.",
            requests(sums.unmetered)
        );
        found.push(Concern::warning("requests_unmetered", message, "/usage?range=month&group=provider"));
    }
    found
}

fn requests(count: u64) -> String {
    format!("{count} request{}", if count == 1 { "" } else { "s" })
}

fn in_days(at: u64, now: u64) -> String {
    match at.saturating_sub(now).div_ceil(DAY_MS) {
        0 | 1 => "within a day".to_owned(),
        days => format!("in {days} days"),
    }
}

#[cfg(test)]
mod tests {
    use store::{Percentiles, UsageSums};

    use super::*;

    const NOW: u64 = 1_764_547_200_000;

    fn row(requests: u64, failed: u64, spend_usd: i64, p95_ms: u64) -> UsageRow {
        let latency = Percentiles { p95_us: p95_ms * 1_000, ..Percentiles::default() };
        UsageRow {
            bucket_unix_ms: None,
            groups: Vec::new(),
            sums: UsageSums { requests, failed, ..UsageSums::default() },
            spend: Nanos(spend_usd * 1_000_000_000),
            latency: Some(latency),
            first_byte: None,
        }
    }

    #[test]
    fn a_day_is_compared_with_the_week_before_it() {
        let week = row(700, 7, 70, 900);
        for (today, expected) in [
            (row(100, 1, 10, 900), &[][..]),
            (row(100, 30, 10, 900), &["requests_failing"]),
            (row(100, 1, 25, 900), &["spend_risen"]),
            (row(100, 1, 10, 1_900), &["latency_risen"]),
            (row(9, 9, 0, 9_000), &[]),
        ] {
            let kinds: Vec<_> = changes(&today, &week).iter().map(|concern| concern.kind).collect();
            assert_eq!(kinds, expected, "{today:?}");
        }
    }

    #[test]
    fn credit_is_low_before_it_is_used_up() {
        let of = |paid, spent| of_credit(Nanos(paid), Nanos(spent)).map(|concern| concern.kind);
        assert_eq!(of(1_000, 899), None);
        assert_eq!(of(1_000, 901), Some("credit_low"));
        assert_eq!(of(1_000, 1_000), Some("credit_used_up"));
    }

    #[test]
    fn words_of_time() {
        assert_eq!(in_days(NOW + 1, NOW), "within a day");
        assert_eq!(in_days(NOW + 3 * DAY_MS, NOW), "in 3 days");
    }
}
