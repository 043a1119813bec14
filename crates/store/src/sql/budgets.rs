//! SQL for budgets, prepaid credit and rate limits.

use database::act::{Act, Written};
use database::connection::Connection;
use database::error::{StoreError, StoreFuture};
use database::feed::Part;
use database::fields::{ColumnId, Fields, signed};
use database::handle::Database;
use database::statement::{Row, sql};
use database::writing::Writing;
use domain::{
    Budget, BudgetId, Commitment, CommitmentPeriod, Counts, CredentialId, EventId, KeyId, Limits, Nanos,
    OnReached, Period, ProjectId, Subject, WorkspaceId,
};

use domain::forecast::Progress;
use serde_json::json;

use crate::api_keys::ApiKeyRow;
use crate::budgets::{BudgetAlert, BudgetRow, BudgetStanding, Budgets, CreditRow, LimitsOf};
use crate::events::{EventKind, EventRow};
use crate::sql::resource::{self, ColumnValues, Table};
use crate::sql::{events, projects};

const TABLE: &str = "budgets";
const NANOS_PER_MICRO: i64 = 1_000;
const EVERY_END_USER: &str = "end_users";

fn subject_bytes(subject: &Subject) -> Vec<u8> {
    match subject {
        Subject::Workspace => Vec::new(),
        Subject::Project(id) => id.bytes(),
        Subject::Key(id) => id.bytes(),
        Subject::EndUser(name) => name.as_bytes().to_vec(),
    }
}

fn subject_of(table: &'static str, fields: &Fields<'_>) -> Result<Subject, StoreError> {
    let kind = fields.text("kind")?;
    Ok(match kind.as_str() {
        "workspace" => Subject::Workspace,
        "project" => Subject::Project(fields.id::<ProjectId>("subject")?),
        "key" => Subject::Key(fields.id::<KeyId>("subject")?),
        "end_user" => {
            let name: Vec<u8> = fields.get("subject")?;
            let name = String::from_utf8(name).map_err(|error| StoreError::corrupt(table, error))?;
            Subject::EndUser(name.into())
        }
        other => return Err(StoreError::corrupt(table, format!("\"{other}\" isn't a kind of subject"))),
    })
}

fn word<T: std::str::FromStr>(fields: &Fields<'_>, name: &'static str) -> Result<T, StoreError> {
    let text = fields.text(name)?;
    text.parse().map_err(|_| StoreError::corrupt(TABLE, format!("{name} is \"{text}\"")))
}

/// The subject of a row of rate limits, and the limits.
pub(super) fn read_limits(row: &Row) -> Result<(WorkspaceId, LimitsOf, Limits), StoreError> {
    let fields = Fields::new("limits", row);
    let of = match fields.text("kind")?.as_str() {
        EVERY_END_USER => LimitsOf::EveryEndUser,
        _ => LimitsOf::Subject(subject_of("limits", &fields)?),
    };
    let limits = Limits {
        requests_per_minute: fields.maybe_number("requests_per_minute")?,
        tokens_per_minute: fields.maybe_number("tokens_per_minute")?,
        concurrent_streams: fields.maybe_number("concurrent_streams")?,
    };
    Ok((fields.id("workspace")?, of, limits))
}

async fn require_own(writing: &mut Writing, row: &BudgetRow) -> Result<(), StoreError> {
    match &row.subject {
        Subject::Project(id) => projects::require(writing, row.workspace, Some(*id)).await,
        Subject::Key(id) => resource::require::<ApiKeyRow>(writing.connection(), row.workspace, *id).await,
        Subject::Workspace | Subject::EndUser(_) => Ok(()),
    }
}

/// Writes what belongs to a new budget.
async fn begin(writing: &mut Writing, row: &BudgetRow, spent: Nanos, period: u64) -> Result<(), StoreError> {
    let query = sql("INSERT INTO budget_periods (budget, period_unix_ms, spent_nanos, recalled_unix_ms)
         VALUES ($1, $2, $3, 0)");
    query.bind(row.id.bytes()).bind(signed(period)).bind(spent.0).run(writing.connection()).await?;
    write_thresholds(writing, row).await
}

async fn write_thresholds(writing: &mut Writing, row: &BudgetRow) -> Result<(), StoreError> {
    let old = sql("DELETE FROM budget_thresholds WHERE budget = $1").bind(row.id.bytes());
    old.run(writing.connection()).await?;
    for percent in &row.alerts {
        sql("INSERT INTO budget_thresholds (budget, percent) VALUES ($1, $2)")
            .bind(row.id.bytes())
            .bind(i64::from(*percent))
            .run(writing.connection())
            .await?;
    }
    Ok(())
}

impl Table for BudgetRow {
    const NAME: &'static str = TABLE;
    const WHAT: &'static str = "budget";
    /// The workspace's credit, and the commitments of its credentials.
    const EXCEPT: &'static str = " AND budgets.period <> 'ever' AND budgets.commitment IS NULL";

    /// Without its alert thresholds, which are in another table.
    fn read(row: &Row) -> Result<Self, StoreError> {
        let fields = Fields::new(TABLE, row);
        Ok(Self {
            id: fields.id("id")?,
            workspace: fields.id("workspace")?,
            name: fields.text("name")?,
            subject: subject_of(TABLE, &fields)?,
            limit: Nanos(fields.get("limit_nanos")?),
            period: word::<Period>(&fields, "period")?,
            on_reached: word::<OnReached>(&fields, "on_reached")?,
            counts: word::<Counts>(&fields, "counts")?,
            alerts: Vec::new(),
            created_unix_ms: fields.number("created_unix_ms")?,
            version: fields.number("version")?,
        })
    }

    fn columns(&self, columns: ColumnValues) -> Result<ColumnValues, StoreError> {
        Ok(columns
            .fix("id", self.id.bytes())
            .fix("workspace", self.workspace.bytes())
            .set("name", &self.name)
            .fix("kind", self.subject.kind())
            .fix("subject", subject_bytes(&self.subject))
            .set("limit_nanos", self.limit.0)
            .fix("period", self.period.as_str())
            .set("on_reached", self.on_reached.as_str())
            .fix("counts", self.counts.as_str())
            .fix("created_unix_ms", signed(self.created_unix_ms))
            .set("version", signed(self.version)))
    }

    async fn load(connection: &mut Connection, rows: &mut [Self]) -> Result<(), StoreError> {
        let query = match rows {
            [] => return Ok(()),
            [row] => sql("SELECT budget, percent FROM budget_thresholds WHERE budget = $1 ORDER BY percent")
                .bind(row.id.bytes()),
            [row, ..] => {
                sql("SELECT kept.budget, kept.percent FROM budget_thresholds AS kept
                 JOIN budgets ON budgets.id = kept.budget WHERE budgets.workspace = $1 ORDER BY kept.percent")
                .bind(row.workspace.bytes())
            }
        };
        for threshold in &query.rows(connection).await? {
            let fields = Fields::new("budget_thresholds", threshold);
            let (budget, percent) = (fields.id::<BudgetId>("budget")?, fields.small("percent")?);
            if let Some(row) = rows.iter_mut().find(|row| row.id == budget) {
                row.alerts.push(percent);
            }
        }
        Ok(())
    }

    async fn prepare(writing: &mut Writing, (row, _): &mut (Self, Nanos), _: &Act) -> Result<(), StoreError> {
        require_own(writing, row).await
    }

    async fn follow_creation(
        writing: &mut Writing,
        (row, spent): &(Self, Nanos),
        act: &Act,
    ) -> Result<(), StoreError> {
        begin(writing, row, *spent, row.period.start(act.unix_ms)).await
    }

    async fn merge(_: &mut Writing, old: &Self, row: Self) -> Result<Self, StoreError> {
        let Self { name, limit, on_reached, alerts, .. } = row;
        Ok(Self { name, limit, on_reached, alerts, ..old.clone() })
    }

    async fn follow_change(
        writing: &mut Writing,
        _: &Self,
        row: &Self,
        _: &Act,
    ) -> Result<String, StoreError> {
        write_thresholds(writing, row).await?;
        // Where a raised limit puts the spent amount below a threshold, that may be crossed and reported again.
        let query = sql("DELETE FROM budget_alerts WHERE budget = $1 AND limit_nanos < $2");
        query.bind(row.id.bytes()).bind(row.limit.0).run(writing.connection()).await?;
        Ok(row.audit_detail())
    }

    fn audit_detail(&self) -> String {
        let (period, then) = (self.period.as_str(), self.on_reached.as_str());
        format!("\"{}\": {} a {period}, then {then}", self.name, self.limit)
    }
}

/// The percents of a commitment that are told of.
const COMMITMENT_ALERTS: [i64; 2] = [80, 100];

/// Writes a credential's commitment as the budget that its spending is drawn from. A commitment that is no
/// longer stated leaves nothing behind.
pub(super) async fn commit(
    writing: &mut Writing,
    credential: (WorkspaceId, CredentialId, &str),
    commitment: Option<Commitment>,
    act: &Act,
) -> Result<(), StoreError> {
    let (workspace, id, name) = credential;
    let Some(commitment) = commitment.filter(|stated| stated.amount_micros > 0) else {
        let query = sql("DELETE FROM budgets WHERE id = $1 AND commitment IS NOT NULL").bind(id.bytes());
        return query.run(writing.connection()).await.map(|_| ());
    };
    let version = signed(writing.version());
    let limit = i64::try_from(commitment.amount_micros).unwrap_or(i64::MAX).saturating_mul(NANOS_PER_MICRO);
    let limit = Nanos(limit);
    // What an older version reads: a budget that stops nothing, of nobody.
    let query = sql(
        "INSERT INTO budgets (id, workspace, name, kind, subject, limit_nanos, period, on_reached, counts,
             created_unix_ms, version, commitment)
         VALUES ($1, $2, $3, 'end_user', $4, $5, 'month', 'allow', 'all', $6, $7, $8)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, limit_nanos = excluded.limit_nanos,
             version = excluded.version, commitment = excluded.commitment",
    );
    query
        .bind(id.bytes())
        .bind(workspace.bytes())
        .bind(name)
        .bind(Vec::<u8>::new())
        .bind(limit.0)
        .bind(signed(act.unix_ms))
        .bind(version)
        .bind(commitment.period.as_str())
        .run(writing.connection())
        .await?;
    for percent in COMMITMENT_ALERTS {
        let query =
            sql("INSERT INTO budget_thresholds (budget, percent) VALUES ($1, $2) ON CONFLICT DO NOTHING");
        query.bind(id.bytes()).bind(percent).run(writing.connection()).await?;
    }
    // Where a raised amount puts what was used below a threshold, that may be crossed and reported again.
    let query = sql("DELETE FROM budget_alerts WHERE budget = $1 AND limit_nanos < $2");
    query.bind(id.bytes()).bind(limit.0).run(writing.connection()).await?;
    fill_from_beyond(writing, id).await
}

/// What went beyond a smaller amount counts towards the present one.
async fn fill_from_beyond(writing: &mut Writing, id: CredentialId) -> Result<(), StoreError> {
    let query = sql("SELECT period_unix_ms, spent_nanos FROM budget_periods WHERE budget = $1");
    let rows = query.bind(id.bytes()).rows(writing.connection()).await?;
    for row in &rows {
        let fields = Fields::new("budget_periods", row);
        let (period, spent) = (fields.number("period_unix_ms")?, fields.get::<i64>("spent_nanos")?);
        let whole = domain::allowance::period_of_beyond(period);
        let Some(whole) = whole.filter(|_| spent > 0) else { continue };
        let query = sql("INSERT INTO budget_periods (budget, period_unix_ms, spent_nanos, recalled_unix_ms)
             VALUES ($1, $2, $3, 0) ON CONFLICT (budget, period_unix_ms) DO UPDATE
             SET spent_nanos = budget_periods.spent_nanos + excluded.spent_nanos");
        let query = query.bind(id.bytes()).bind(signed(whole)).bind(spent);
        query.run(writing.connection()).await?;
        let query = sql("DELETE FROM budget_periods WHERE budget = $1 AND period_unix_ms = $2");
        query.bind(id.bytes()).bind(signed(period)).run(writing.connection()).await?;
    }
    Ok(())
}

/// A row of `budgets` that is a credential's commitment; `None` if it is any other budget.
pub(super) fn read_commitment(row: &Row) -> Result<Option<Budget>, StoreError> {
    let fields = Fields::new(TABLE, row);
    let Some(period) = fields.maybe_text("commitment")? else { return Ok(None) };
    let period = CommitmentPeriod::named(&period)
        .ok_or_else(|| StoreError::corrupt(TABLE, format!("\"{period}\" isn't a period of a commitment")))?;
    Ok(Some(Budget {
        id: fields.id("id")?,
        workspace: fields.id("workspace")?,
        name: fields.text("name")?.into(),
        subject: Subject::Workspace,
        limit: Nanos(fields.get("limit_nanos")?),
        period: period.calendar(),
        on_reached: OnReached::Allow,
        counts: Counts::Committed,
    }))
}

/// Deletes what belonged to a deleted project or key.
pub(super) async fn forget(
    writing: &mut Writing,
    workspace: WorkspaceId,
    subject: &Subject,
) -> Result<(), StoreError> {
    for statement in [
        "DELETE FROM limits WHERE workspace = $1 AND kind = $2 AND subject = $3",
        "DELETE FROM budgets WHERE workspace = $1 AND kind = $2 AND subject = $3",
    ] {
        sql(statement)
            .bind(workspace.bytes())
            .bind(subject.kind())
            .bind(subject_bytes(subject))
            .run(writing.connection())
            .await?;
    }
    Ok(())
}

fn read_alert(row: &Row) -> Result<BudgetAlert, StoreError> {
    let fields = Fields::new("budget_alerts", row);
    Ok(BudgetAlert {
        budget: fields.id("budget")?,
        workspace: fields.id("workspace")?,
        period_unix_ms: fields.number("period_unix_ms")?,
        percent: fields.small("percent")?,
        crossed_unix_ms: fields.number("crossed_unix_ms")?,
        spent: Nanos(fields.get("spent_nanos")?),
        limit: Nanos(fields.get("limit_nanos")?),
    })
}

async fn claim(writing: &mut Writing, count: u32, now_unix_ms: u64) -> Result<Vec<BudgetAlert>, StoreError> {
    // Skips alerts that another replica is claiming now.
    let query = match writing.connection() {
        Connection::Postgres(_) => sql("SELECT * FROM budget_alerts WHERE claimed_unix_ms IS NULL
             ORDER BY crossed_unix_ms, budget, percent LIMIT $1 FOR UPDATE SKIP LOCKED"),
        _ => sql("SELECT * FROM budget_alerts WHERE claimed_unix_ms IS NULL
             ORDER BY crossed_unix_ms, budget, percent LIMIT $1"),
    };
    let rows = query.bind(i64::from(count)).rows(writing.connection()).await?;
    let alerts: Vec<_> = rows.iter().map(read_alert).collect::<Result<_, _>>()?;
    for alert in &alerts {
        let query = sql("UPDATE budget_alerts SET claimed_unix_ms = $4
             WHERE budget = $1 AND period_unix_ms = $2 AND percent = $3");
        query
            .bind(alert.budget.bytes())
            .bind(signed(alert.period_unix_ms))
            .bind(i64::from(alert.percent))
            .bind(signed(now_unix_ms))
            .run(writing.connection())
            .await?;
        let query = sql("SELECT * FROM budgets WHERE id = $1").bind(alert.budget.bytes());
        let row = query.row(writing.connection()).await?;
        let event = match row.as_ref().map(read_commitment).transpose()?.flatten() {
            None => Some(event_of(alert, EventKind::BudgetAlert, budget_payload(alert, row.as_ref())?)),
            Some(commitment) => commitment_payload(alert, &commitment)
                .map(|payload| event_of(alert, EventKind::CommitmentAlert, payload)),
        };
        if let Some(event) = event {
            events::emit(writing, event).await?;
        }
    }
    Ok(alerts)
}

/// The event of an alert; its id is the same whichever replica emits it.
fn event_of(alert: &BudgetAlert, kind: EventKind, payload: serde_json::Value) -> EventRow {
    let mut which = [0; 10];
    let named = alert.budget.bytes().into_iter().rev().zip(alert.percent.to_le_bytes().into_iter().cycle());
    for (byte, (id, percent)) in which.iter_mut().zip(named) {
        *byte = id ^ percent;
    }
    EventRow {
        id: EventId::new(alert.crossed_unix_ms, which),
        workspace: alert.workspace,
        kind,
        payload,
        created_unix_ms: alert.crossed_unix_ms,
    }
}

fn budget_payload(alert: &BudgetAlert, row: Option<&Row>) -> Result<serde_json::Value, StoreError> {
    let name = row.map(|row| Fields::new(TABLE, row).text("name")).transpose()?;
    Ok(json!({
        "budget_id": alert.budget.to_string(),
        "percent": alert.percent,
        "spent_micros": alert.spent.micros(),
        "limit_micros": alert.limit.micros(),
        "name": name,
    }))
}

/// `None` for what went beyond the commitment: that it is used up was told already.
fn commitment_payload(alert: &BudgetAlert, commitment: &Budget) -> Option<serde_json::Value> {
    if domain::allowance::period_of_beyond(alert.period_unix_ms).is_some() {
        return None;
    }
    let mut payload = json!({
        "credential_id": CredentialId::from_uuid(*alert.budget.as_uuid()).to_string(),
        "display_name": &*commitment.name,
        "reason": if alert.percent == UNDER_USED { "under_used" } else { "used" },
        "used_micros": alert.spent.micros(),
        "amount_micros": alert.limit.micros(),
    });
    let progress = progress(commitment, alert.spent, alert.period_unix_ms, alert.crossed_unix_ms);
    let (name, value) = match progress.under_used_near_end() {
        Some(short) if alert.percent == UNDER_USED => ("under_used_micros", json!(short.micros())),
        _ => ("percent", json!(alert.percent)),
    };
    payload.as_object_mut()?.insert(name.to_owned(), value);
    Some(payload)
}

fn progress(commitment: &Budget, used: Nanos, period_unix_ms: u64, now_unix_ms: u64) -> Progress {
    Progress {
        amount: commitment.limit,
        used,
        used_lately: Nanos::ZERO,
        start_unix_ms: period_unix_ms,
        end_unix_ms: commitment.period.end(period_unix_ms).unwrap_or(u64::MAX),
        now_unix_ms,
    }
}

/// The percent under which it is kept that a commitment will not be used up.
const UNDER_USED: u32 = 0;

/// Notes each commitment that will not be used up, near the end of its period and once in it.
async fn note_under_used(writing: &mut Writing, now_unix_ms: u64) -> Result<(), StoreError> {
    let query = sql("SELECT * FROM budgets WHERE commitment IS NOT NULL");
    let rows = query.rows(writing.connection()).await?;
    for row in &rows {
        let Some(commitment) = read_commitment(row)? else { continue };
        let period = commitment.period.start(now_unix_ms);
        let query = sql("SELECT spent_nanos FROM budget_periods WHERE budget = $1 AND period_unix_ms = $2");
        let spent = query.bind(commitment.id.bytes()).bind(signed(period)).row(writing.connection()).await?;
        let spent = spent.map(|row| Fields::new("budget_periods", &row).get("spent_nanos")).transpose()?;
        let used = Nanos(spent.unwrap_or_default());
        if progress(&commitment, used, period, now_unix_ms).under_used_near_end().is_none() {
            continue;
        }
        let query = sql("INSERT INTO budget_alerts
                 (budget, period_unix_ms, percent, workspace, crossed_unix_ms, spent_nanos, limit_nanos)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING");
        query
            .bind(commitment.id.bytes())
            .bind(signed(period))
            .bind(i64::from(UNDER_USED))
            .bind(commitment.workspace.bytes())
            .bind(signed(now_unix_ms))
            .bind(used.0)
            .bind(commitment.limit.0)
            .run(writing.connection())
            .await?;
    }
    Ok(())
}

async fn credit_of(
    connection: &mut Connection,
    workspace: WorkspaceId,
) -> Result<Option<BudgetRow>, StoreError> {
    let query = sql("SELECT * FROM budgets WHERE workspace = $1 AND period = 'ever'");
    let row = query.bind(workspace.bytes()).row(connection).await?;
    row.as_ref().map(BudgetRow::read).transpose()
}

async fn add_credit(
    writing: &mut Writing,
    workspace: WorkspaceId,
    budget: BudgetId,
    amount: Nanos,
    note: String,
    act: Act,
) -> Result<CreditRow, StoreError> {
    match credit_of(writing.connection(), workspace).await? {
        Some(row) => {
            let version = signed(writing.version());
            sql("UPDATE budgets SET limit_nanos = $2, version = $3 WHERE id = $1")
                .bind(row.id.bytes())
                .bind(row.limit.plus(amount).0)
                .bind(version)
                .run(writing.connection())
                .await?;
            writing.announce(Part::Workspace, Some(workspace), row.id);
        }
        None => {
            let row = BudgetRow {
                id: budget,
                workspace,
                name: "credit".to_owned(),
                subject: Subject::Workspace,
                limit: amount,
                period: Period::Ever,
                on_reached: OnReached::Pause,
                counts: Counts::Owed,
                alerts: Vec::new(),
                created_unix_ms: act.unix_ms,
                version: writing.version(),
            };
            resource::add(writing, &row).await?;
            begin(writing, &row, Nanos::ZERO, 0).await?;
        }
    }
    let row = CreditRow {
        id: act.id,
        workspace,
        amount,
        note,
        actor: act.actor.clone(),
        created_unix_ms: act.unix_ms,
    };
    let query = sql("INSERT INTO credits (id, workspace, amount_nanos, note, actor, created_unix_ms)
         VALUES ($1, $2, $3, $4, $5, $6)");
    query
        .bind(row.id.bytes())
        .bind(workspace.bytes())
        .bind(amount.0)
        .bind(&row.note)
        .bind(&row.actor)
        .bind(signed(row.created_unix_ms))
        .run(writing.connection())
        .await?;
    let detail = format!("{amount}: {}", row.note);
    writing.audit(&act, Some(workspace), "credit.add", workspace, detail).await?;
    Ok(row)
}

async fn set_limits(
    writing: &mut Writing,
    workspace: WorkspaceId,
    of: LimitsOf,
    limits: Limits,
    act: Act,
) -> Result<(), StoreError> {
    let (kind, subject) = limits_key(&of);
    sql("DELETE FROM limits WHERE workspace = $1 AND kind = $2 AND subject = $3")
        .bind(workspace.bytes())
        .bind(kind)
        .bind(subject.clone())
        .run(writing.connection())
        .await?;
    if !limits.is_empty() {
        let version = signed(writing.version());
        let query =
            sql("INSERT INTO limits (workspace, kind, subject, requests_per_minute, tokens_per_minute,
                 concurrent_streams, version)
             VALUES ($1, $2, $3, $4, $5, $6, $7)");
        query
            .bind(workspace.bytes())
            .bind(kind)
            .bind(subject)
            .bind(limits.requests_per_minute.map(signed))
            .bind(limits.tokens_per_minute.map(signed))
            .bind(limits.concurrent_streams.map(signed))
            .bind(version)
            .run(writing.connection())
            .await?;
    }
    writing.announce(Part::Workspace, Some(workspace), workspace);
    let object = match &of {
        LimitsOf::Subject(Subject::Key(id)) => id.to_string(),
        LimitsOf::Subject(Subject::Project(id)) => id.to_string(),
        LimitsOf::Subject(Subject::Workspace | Subject::EndUser(_)) | LimitsOf::EveryEndUser => {
            workspace.to_string()
        }
    };
    writing.audit(&act, Some(workspace), "limits.update", object, limits_detail(kind, limits)).await
}

/// The audit detail, with the API's field names.
fn limits_detail(kind: &str, limits: Limits) -> String {
    let parts: Vec<_> = [
        ("requests_per_minute", limits.requests_per_minute),
        ("tokens_per_minute", limits.tokens_per_minute),
        ("concurrent_streams", limits.concurrent_streams),
    ]
    .into_iter()
    .filter_map(|(name, limit)| Some(format!("{name} {}", limit?)))
    .collect();
    if parts.is_empty() { format!("{kind}: none") } else { format!("{kind}: {}", parts.join(", ")) }
}

fn limits_key(of: &LimitsOf) -> (&'static str, Vec<u8>) {
    match of {
        LimitsOf::Subject(subject) => (subject.kind(), subject_bytes(subject)),
        LimitsOf::EveryEndUser => (EVERY_END_USER, Vec::new()),
    }
}

impl Budgets for Database {
    fn standing(&self, id: BudgetId, period_unix_ms: u64) -> StoreFuture<'_, BudgetStanding> {
        Box::pin(async move {
            // One statement, so that the held and the spent amount are from the same moment.
            let query = sql(
                "SELECT CAST(COALESCE((SELECT spent_nanos FROM budget_periods
                        WHERE budget = $1 AND period_unix_ms = $2), 0) AS BIGINT) AS spent,
                    CAST(COALESCE((SELECT SUM(held_nanos) FROM budget_leases
                        WHERE budget = $1 AND period_unix_ms = $2 AND held_nanos > 0), 0) AS BIGINT) AS reserved",
            );
            let query = query.bind(id.bytes()).bind(signed(period_unix_ms));
            let row = query.one(&mut self.read().await?).await?;
            let fields = Fields::new("budget_periods", &row);
            let (spent, reserved) = (Nanos(fields.get("spent")?), Nanos(fields.get("reserved")?));
            Ok(BudgetStanding { period_unix_ms, spent, reserved })
        })
    }

    fn alerts(&self, id: BudgetId, period_unix_ms: u64) -> StoreFuture<'_, Vec<BudgetAlert>> {
        Box::pin(async move {
            let query = sql("SELECT * FROM budget_alerts WHERE budget = $1 AND period_unix_ms = $2
                 ORDER BY percent");
            let query = query.bind(id.bytes()).bind(signed(period_unix_ms));
            let rows = query.rows(&mut self.read().await?).await?;
            rows.iter().map(read_alert).collect()
        })
    }

    fn note_under_used(&self, now_unix_ms: u64) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            // Mostly there is no commitment, so a read comes first, which does not block writers.
            let query = sql("SELECT 1 AS one FROM budgets WHERE commitment IS NOT NULL LIMIT 1");
            if query.row(&mut self.read().await?).await?.is_none() {
                return Ok(());
            }
            self.note(move |writing| Box::pin(note_under_used(writing, now_unix_ms))).await
        })
    }

    fn claim_alerts(&self, count: u32, now_unix_ms: u64) -> StoreFuture<'_, Vec<BudgetAlert>> {
        Box::pin(async move {
            // There are usually none, so a read comes first, which does not block writers.
            let query = sql("SELECT 1 AS one FROM budget_alerts WHERE claimed_unix_ms IS NULL LIMIT 1");
            if query.row(&mut self.read().await?).await?.is_none() {
                return Ok(Vec::new());
            }
            self.note(move |writing| Box::pin(claim(writing, count, now_unix_ms))).await
        })
    }

    fn credit(&self, workspace: WorkspaceId) -> StoreFuture<'_, Option<BudgetRow>> {
        Box::pin(async move { credit_of(&mut self.read().await?, workspace).await })
    }

    fn add_credit(
        &self,
        workspace: WorkspaceId,
        budget: BudgetId,
        amount: Nanos,
        note: String,
        act: Act,
    ) -> StoreFuture<'_, Written<CreditRow>> {
        Box::pin(
            self.write(move |writing| Box::pin(add_credit(writing, workspace, budget, amount, note, act))),
        )
    }

    fn credit_before(&self, workspace: WorkspaceId, before_unix_ms: u64) -> StoreFuture<'_, Nanos> {
        Box::pin(async move {
            let query = sql("SELECT CAST(COALESCE(SUM(amount_nanos), 0) AS BIGINT) AS credited FROM credits
                 WHERE workspace = $1 AND created_unix_ms < $2");
            let query = query.bind(workspace.bytes()).bind(signed(before_unix_ms));
            let row = query.one(&mut self.read().await?).await?;
            Ok(Nanos(Fields::new("credits", &row).get("credited")?))
        })
    }

    fn credits(&self, workspace: WorkspaceId, count: u32) -> StoreFuture<'_, Vec<CreditRow>> {
        Box::pin(async move {
            let query = sql("SELECT * FROM credits WHERE workspace = $1
                 ORDER BY created_unix_ms DESC, id DESC LIMIT $2");
            let query = query.bind(workspace.bytes()).bind(i64::from(count));
            let rows = query.rows(&mut self.read().await?).await?;
            let read = |row: &Row| {
                let fields = Fields::new("credits", row);
                Ok(CreditRow {
                    id: fields.id("id")?,
                    workspace: fields.id("workspace")?,
                    amount: Nanos(fields.get("amount_nanos")?),
                    note: fields.text("note")?,
                    actor: fields.text("actor")?,
                    created_unix_ms: fields.number("created_unix_ms")?,
                })
            };
            rows.iter().map(read).collect()
        })
    }

    fn limits(&self, workspace: WorkspaceId, of: LimitsOf) -> StoreFuture<'_, Limits> {
        Box::pin(async move {
            let (kind, subject) = limits_key(&of);
            let query = sql("SELECT * FROM limits WHERE workspace = $1 AND kind = $2 AND subject = $3");
            let query = query.bind(workspace.bytes()).bind(kind).bind(subject);
            let row = query.row(&mut self.read().await?).await?;
            Ok(row.as_ref().map(read_limits).transpose()?.map(|(_, _, limits)| limits).unwrap_or_default())
        })
    }

    fn set_limits(
        &self,
        workspace: WorkspaceId,
        of: LimitsOf,
        limits: Limits,
        act: Act,
    ) -> StoreFuture<'_, Written<()>> {
        Box::pin(self.write(move |writing| Box::pin(set_limits(writing, workspace, of, limits, act))))
    }
}
