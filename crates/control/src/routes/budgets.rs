//! `/v2/budgets`: spending limits of a workspace, a project, a key or an end user, and their current state.

use std::sync::Arc;

use api::failure::{invalid, missing, not_an_id, not_there};
use api::limits::NAME_CHARS_MAX;
use api::moment::Moment;
use api::names::checked_name;
use api::openapi::bounds::{NAME, exactly_one};
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::Route;
use api::state::Control;
use domain::forecast::Progress;
use domain::limits::{BUDGET_MICROS_MAX, END_USER_BYTES_MAX};
use domain::{BudgetId, Counts, Fault, Mode, Nanos, OnReached, Period, Subject};
use reconcilers::of_store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{BudgetAlert, BudgetRow, BudgetStanding, UsageFilter, UsageQuery, Window};

use crate::limits::BUDGET_ALERTS_MAX;
use crate::resource::{Resource, WritableResource, delete, get, list, patch, post, put, reply};

const ALERTS: [u32; 3] = [50, 80, 100];
const NANOS_PER_MICRO: i64 = 1_000;

pub fn routes() -> Vec<Route> {
    vec![
        post::<BudgetRow>("Creates a budget for the workspace, a project, a key or an end user.")
            .makes::<BudgetView>(),
        list::<BudgetRow>("Lists the workspace's budgets and how much of each is spent."),
        get::<BudgetRow>("Shows a budget and how much of it is spent."),
        patch::<BudgetRow>(
            "Changes fields of a budget. Its subject, its period and what it counts can't change.",
        ),
        put::<BudgetRow>("Replaces all writable fields of a budget."),
        delete::<BudgetRow>("Deletes a budget."),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Budget", extend("oneOf" = exactly_one(&["workspace", "project_id", "key_id", "end_user"])))]
pub struct Input {
    #[schemars(length(min = 1, max = NAME_CHARS_MAX), regex(pattern = NAME))]
    name: Option<String>,
    project_id: Option<String>,
    key_id: Option<String>,
    #[serde(default)]
    workspace: bool,
    end_user: Option<String>,
    #[schemars(required)]
    #[schemars(range(min = 1))]
    limit_micros: Option<u64>,
    /// `month`, `week` or `day`.
    #[schemars(extend("enum" = ["month", "week", "day", null]))]
    period: Option<String>,
    /// `pause` or `allow`.
    on_reached: Option<String>,
    /// `all` spending, or only what is `owed` to the operator.
    counts: Option<String>,
    /// Percentages of the limit that trigger an alert.
    alerts: Option<Vec<u32>>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BudgetCrossing")]
struct BudgetCrossing {
    percent: u32,
    at: Moment,
    spent_micros: i64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Budget")]
pub struct BudgetView {
    id: String,
    object: &'static str,
    name: String,
    project_id: Option<String>,
    key_id: Option<String>,
    workspace: bool,
    end_user: Option<String>,
    limit_micros: i64,
    spent_micros: i64,
    reserved_micros: i64,
    free_micros: i64,
    /// The forecast of spending by the end of the period, at its average rate so far.
    forecast_micros: Option<i64>,
    period: &'static str,
    period_start: Moment,
    period_end: Option<Moment>,
    on_reached: &'static str,
    counts: &'static str,
    alerts: Vec<u32>,
    alerts_crossed: Vec<BudgetCrossing>,
    /// `reached` when nothing is left, `warning` once a threshold is crossed.
    #[schemars(extend("enum" = ["ok", "warning", "reached"]))]
    status: &'static str,
    created_at: Moment,
}

fn forecast(row: &BudgetRow, start_unix_ms: u64, spent: Nanos, now_unix_ms: u64) -> Option<i64> {
    let end_unix_ms = row.period.end(start_unix_ms)?;
    let progress = Progress {
        amount: row.limit,
        used: spent,
        used_lately: spent,
        start_unix_ms,
        end_unix_ms,
        now_unix_ms,
    };
    Some(progress.forecast().by_period.micros())
}

fn show_standing(
    row: &BudgetRow,
    (start, now): (u64, u64),
    standing: BudgetStanding,
    crossed: &[BudgetAlert],
) -> BudgetView {
    let free = (row.limit.0 - standing.spent.0 - standing.reserved.0).max(0);
    let of = |subject: &Subject| match subject {
        Subject::Project(id) => (Some(id.to_string()), None, None),
        Subject::Key(id) => (None, Some(id.to_string()), None),
        Subject::EndUser(name) => (None, None, Some(name.to_string())),
        Subject::Workspace => (None, None, None),
    };
    let (project_id, key_id, end_user) = of(&row.subject);
    // By what is left: a refused request was too large for it, which says nothing of smaller ones.
    let is_reached = standing.spent >= row.limit;
    BudgetView {
        id: row.id.to_string(),
        object: "budget",
        name: row.name.clone(),
        project_id,
        key_id,
        workspace: row.subject == Subject::Workspace,
        end_user,
        limit_micros: row.limit.micros(),
        spent_micros: standing.spent.micros(),
        reserved_micros: standing.reserved.micros(),
        free_micros: Nanos(free).micros(),
        forecast_micros: forecast(row, start, standing.spent, now),
        period: row.period.as_str(),
        period_start: Moment(start),
        period_end: row.period.end(start).map(Moment),
        on_reached: row.on_reached.as_str(),
        counts: row.counts.as_str(),
        alerts: row.alerts.clone(),
        status: match (is_reached, crossed.is_empty()) {
            (true, _) => "reached",
            (false, false) => "warning",
            (false, true) => "ok",
        },
        alerts_crossed: crossed.iter().map(show_crossed).collect(),
        created_at: Moment(row.created_unix_ms),
    }
}

fn show_crossed(alert: &BudgetAlert) -> BudgetCrossing {
    BudgetCrossing {
        percent: alert.percent,
        at: Moment(alert.crossed_unix_ms),
        spent_micros: alert.spent.micros(),
    }
}

fn subject_of(input: &Input) -> Result<Subject, Box<Fault>> {
    let fix = "Name one of project_id, key_id, workspace: true, end_user.";
    let given =
        [input.project_id.is_some(), input.key_id.is_some(), input.workspace, input.end_user.is_some()];
    if given.iter().filter(|given| **given).count() != 1 {
        return Err(invalid("workspace", "A budget is of exactly one thing.", fix));
    }
    if let Some(text) = &input.project_id {
        return text.parse().map(Subject::Project).map_err(|_| not_an_id("project_id", "project", text));
    }
    if let Some(text) = &input.key_id {
        return text.parse().map(Subject::Key).map_err(|_| not_an_id("key_id", "key", text));
    }
    match input.end_user.as_deref() {
        None => Ok(Subject::Workspace),
        Some(name) if !name.is_empty() && name.len() <= END_USER_BYTES_MAX && !name.contains('\0') => {
            Ok(Subject::EndUser(name.into()))
        }
        Some(_) => {
            let message = "This can't be the name of an end user.";
            Err(invalid("end_user", message, format!("Give 1 to {END_USER_BYTES_MAX} bytes.")))
        }
    }
}

/// Names the field of a project or key that the workspace doesn't have.
async fn check_subject(control: &Control, row: &BudgetRow) -> Result<(), Box<Fault>> {
    let store = &control.deps.store;
    match &row.subject {
        Subject::Project(id) => {
            let found = store.projects().get(row.workspace, *id).await;
            let refusal = |error| Box::new(not_there(error, "project", id).param("project_id"));
            found.map(drop).map_err(refusal)
        }
        Subject::Key(id) => {
            let found = store.api_keys().get(row.workspace, *id).await;
            let refusal = |error| Box::new(not_there(error, "API key", id).param("key_id"));
            found.map(drop).map_err(refusal)
        }
        Subject::Workspace | Subject::EndUser(_) => Ok(()),
    }
}

fn checked_limit(limit_micros: Option<u64>) -> Result<Nanos, Box<Fault>> {
    let limit =
        limit_micros.ok_or_else(|| missing("limit_micros", "Give the limit in millionths of a USD."))?;
    let nanos = i64::try_from(limit).ok().filter(|_| (1..=BUDGET_MICROS_MAX).contains(&limit));
    nanos.map(|micros| Nanos(micros * NANOS_PER_MICRO)).ok_or_else(|| {
        let message = format!("limit_micros can't be {limit}.");
        invalid("limit_micros", message, format!("Give 1 to {BUDGET_MICROS_MAX}."))
    })
}

fn checked_word<T: std::str::FromStr>(
    field: &'static str,
    word: Option<&str>,
    usual: T,
    choices: &str,
) -> Result<T, Box<Fault>> {
    let Some(word) = word else { return Ok(usual) };
    word.parse()
        .map_err(|_| invalid(field, format!("Unknown {field} \"{word}\"."), format!("Use {choices}.")))
}

fn checked_alerts(alerts: Option<Vec<u32>>) -> Result<Vec<u32>, Box<Fault>> {
    let mut alerts = alerts.unwrap_or_else(|| ALERTS.to_vec());
    alerts.sort_unstable();
    alerts.dedup();
    if alerts.len() > BUDGET_ALERTS_MAX || alerts.iter().any(|percent| !(1..=100).contains(percent)) {
        let fix = format!("Give up to {BUDGET_ALERTS_MAX} percents from 1 to 100, such as [50, 80, 100].");
        let percents: Vec<u32> = alerts.into_iter().rev().take(BUDGET_ALERTS_MAX).collect();
        return Err(invalid("alerts", format!("alerts can't be {percents:?}."), fix));
    }
    Ok(alerts)
}

fn row_of(control: &Control, request: &ApiRequest, input: Input) -> Result<BudgetRow, Box<Fault>> {
    let now = control.deps.world.clock.unix_ms();
    let subject = subject_of(&input)?;
    let period = checked_word("period", input.period.as_deref(), Period::Month, "month, week or day")?;
    if period == Period::Ever {
        return Err(invalid("period", "Unknown period \"ever\".", "Use month, week or day."));
    }
    let name = match input.name {
        Some(name) => checked_name(Some(name), "name")?,
        None => format!("{} by the {}", subject.kind(), period.as_str()),
    };
    Ok(BudgetRow {
        id: BudgetId::new(now, control.deps.world.id_bytes()),
        workspace: request.workspace(),
        name,
        subject,
        limit: checked_limit(input.limit_micros)?,
        period,
        on_reached: checked_word(
            "on_reached",
            input.on_reached.as_deref(),
            OnReached::Pause,
            "pause or allow",
        )?,
        counts: checked_word("counts", input.counts.as_deref(), Counts::All, "all or owed")?,
        alerts: checked_alerts(input.alerts)?,
        created_unix_ms: now,
        version: 0,
    })
}

/// What was already spent in this period before the budget existed, from the books, which don't record end
/// users.
async fn spent_before(control: &Control, row: &BudgetRow) -> Result<Nanos, Box<Fault>> {
    let now = control.deps.world.clock.unix_ms();
    let start_unix_ms = row.period.start(now);
    let end_unix_ms = row.period.end(start_unix_ms).unwrap_or(u64::MAX);
    let mut filter = UsageFilter::default();
    match &row.subject {
        Subject::Workspace => {}
        Subject::Project(id) => filter.project = Some(*id),
        Subject::Key(id) => filter.key = Some(*id),
        Subject::EndUser(_) => return Ok(Nanos::ZERO),
    }
    let sums = |filter: UsageFilter| {
        let window = Window { start_unix_ms, end_unix_ms };
        let query =
            UsageQuery { workspace: row.workspace, window, group_by: Vec::new(), interval: None, filter };
        control.deps.store.records().usage(query)
    };
    let owed: Nanos = sums(filter.clone()).await.map_err(of_store)?.iter().map(|row| row.sums.cost).sum();
    if row.counts == Counts::Owed {
        return Ok(owed);
    }
    let own = UsageFilter { mode: Some(Mode::Byok), ..filter };
    let own: Nanos = sums(own).await.map_err(of_store)?.iter().map(|row| row.sums.provider_cost).sum();
    Ok(owed.plus(own))
}

impl Resource for BudgetRow {
    const PATH: &'static str = "/v2/budgets";
    const ONE: &'static str = "/v2/budgets/{id}";
    const WHAT: &'static str = "budget";
    type View = BudgetView;

    fn table(control: &Control) -> &dyn store::Resource<Self> {
        control.deps.store.budgets()
    }

    async fn view(&self, control: &Control) -> Result<BudgetView, Box<Fault>> {
        let budgets = control.deps.store.budgets();
        let now = control.deps.world.clock.unix_ms();
        let start = self.period.start(now);
        let standing = budgets.standing(self.id, start).await.map_err(of_store)?;
        let crossed = budgets.alerts(self.id, start).await.map_err(of_store)?;
        Ok(show_standing(self, (start, now), standing, &crossed))
    }
}

impl WritableResource for BudgetRow {
    type Input = Input;
    type Update = Input;
    /// What was spent before a new budget.
    type Rest = Option<Nanos>;

    fn writable(&self, _: &Control) -> Result<Value, Box<Fault>> {
        let mut document = json!({
            "name": self.name, "limit_micros": self.limit.micros(), "period": self.period.as_str(),
            "on_reached": self.on_reached.as_str(), "counts": self.counts.as_str(), "alerts": self.alerts,
        });
        let (field, value) = match &self.subject {
            Subject::Workspace => ("workspace", json!(true)),
            Subject::Project(id) => ("project_id", json!(id.to_string())),
            Subject::Key(id) => ("key_id", json!(id.to_string())),
            Subject::EndUser(name) => ("end_user", json!(&**name)),
        };
        if let Some(fields) = document.as_object_mut() {
            fields.insert(field.to_owned(), value);
        }
        Ok(document)
    }

    async fn new(
        control: &Control,
        request: &ApiRequest,
        input: Input,
    ) -> Result<(Self::New, Self::Rest), Box<Fault>> {
        let row = row_of(control, request, input)?;
        check_subject(control, &row).await?;
        let spent = spent_before(control, &row).await?;
        Ok(((row, spent), Some(spent)))
    }

    async fn change(
        self,
        control: &Control,
        request: &ApiRequest,
        input: Input,
    ) -> Result<(Self, Self::Rest), Box<Fault>> {
        let changed = row_of(control, request, input)?;
        let fixed = [
            ("workspace", changed.subject == self.subject),
            ("period", changed.period == self.period),
            ("counts", changed.counts == self.counts),
        ];
        if let Some((field, _)) = fixed.into_iter().find(|(_, stays)| !stays) {
            let message = "The subject of a budget, its period and what it counts can't be changed.";
            return Err(invalid(field, message, "Create another budget and delete this one."));
        }
        Ok((Self { id: self.id, created_unix_ms: self.created_unix_ms, ..changed }, None))
    }

    async fn finish(
        self,
        control: &Arc<Control>,
        request: &ApiRequest,
        spent: Self::Rest,
    ) -> Result<Reply, Box<Fault>> {
        let Some(spent) = spent.filter(|_| request.is_rehearsal) else {
            return reply(control, self).await;
        };
        let now = control.deps.world.clock.unix_ms();
        let start = self.period.start(now);
        let standing = BudgetStanding { spent, ..BudgetStanding::default() };
        Ok(Reply::json(&show_standing(&self, (start, now), standing, &[]))?.version(self.version))
    }
}
