//! SQL for alert rules and what was measured.

use database::act::Act;
use database::error::{StoreError, StoreFuture};
use database::feed::Part;
use database::fields::{ColumnId, Fields, after, signed};
use database::handle::Database;
use database::statement::{Row, sql};
use database::writing::Writing;
use domain::AlertRuleId;
use domain::limits::ALERT_RULES_OF_WORKSPACE_MAX;

use crate::alerts::{AlertMetric, AlertRuleRow, AlertRules, AlertState, MEASURE, MEASURE_EVERY_MS};
use crate::events::EventRow;
use crate::jobs::NewJob;
use crate::sql::resource::{ColumnValues, Table};
use crate::sql::{events, jobs};

const TABLE: &str = "alert_rules";

impl Table for AlertRuleRow {
    const NAME: &'static str = TABLE;
    const WHAT: &'static str = "alert rule";
    const NOUN: &'static str = "alert_rule";
    const PART: Part = Part::Other;

    fn read(row: &Row) -> Result<Self, StoreError> {
        let fields = Fields::new(TABLE, row);
        let word: &str = fields.get("metric")?;
        let metric = AlertMetric::from_word(word)
            .ok_or_else(|| StoreError::corrupt(TABLE, format!("{word} isn't a metric")))?;
        Ok(Self {
            id: fields.id("id")?,
            workspace: fields.id("workspace")?,
            name: fields.text("name")?,
            metric,
            project: fields.maybe_id("project")?,
            key: fields.maybe_id("api_key")?,
            model: fields.maybe_text("model")?,
            provider: fields.maybe_text("provider")?,
            window_minutes: fields.small("window_minutes")?,
            threshold: fields.number("threshold")?,
            requests_min: fields.number("requests_min")?,
            is_enabled: fields.flag("is_enabled")?,
            state: AlertState {
                firing_since_unix_ms: fields.maybe_number("firing_since_unix_ms")?,
                fired_unix_ms: fields.maybe_number("fired_unix_ms")?,
                value: fields.maybe_number("value")?,
                measured_unix_ms: fields.maybe_number("measured_unix_ms")?,
            },
            created_unix_ms: fields.number("created_unix_ms")?,
            version: fields.number("version")?,
        })
    }

    fn columns(&self, columns: ColumnValues) -> Result<ColumnValues, StoreError> {
        Ok(columns
            .fix("id", self.id.bytes())
            .fix("workspace", self.workspace.bytes())
            .set("name", &self.name)
            .set("metric", self.metric.as_str())
            .set("project", self.project.map(|id| id.bytes()))
            .set("api_key", self.key.map(|id| id.bytes()))
            .set("model", self.model.as_deref())
            .set("provider", self.provider.as_deref())
            .set("window_minutes", i64::from(self.window_minutes))
            .set("threshold", signed(self.threshold))
            .set("requests_min", signed(self.requests_min))
            .set("is_enabled", i64::from(self.is_enabled))
            .set("firing_since_unix_ms", self.state.firing_since_unix_ms.map(signed))
            .set("fired_unix_ms", self.state.fired_unix_ms.map(signed))
            .set("value", self.state.value.map(signed))
            .set("measured_unix_ms", self.state.measured_unix_ms.map(signed))
            .fix("created_unix_ms", signed(self.created_unix_ms))
            .set("version", signed(self.version)))
    }

    async fn prepare(writing: &mut Writing, row: &mut Self, _: &Act) -> Result<(), StoreError> {
        let query = sql("SELECT COUNT(*) AS held FROM alert_rules WHERE workspace = $1");
        let held = query.bind(row.workspace.bytes()).one(writing.connection()).await?;
        if Fields::new(TABLE, &held).number("held")? >= u64::from(ALERT_RULES_OF_WORKSPACE_MAX) {
            let detail = format!("a workspace has at most {ALERT_RULES_OF_WORKSPACE_MAX} alert rules");
            return Err(StoreError::conflict("too_many_alert_rules", detail, None));
        }
        Ok(())
    }

    /// A changed rule is measured afresh: what was found is about the rule as it was.
    async fn merge(_: &mut Writing, old: &Self, row: Self) -> Result<Self, StoreError> {
        let state = AlertState { fired_unix_ms: old.state.fired_unix_ms, ..AlertState::default() };
        Ok(Self { created_unix_ms: old.created_unix_ms, state, ..row })
    }

    async fn follow_creation(writing: &mut Writing, _: &Self, act: &Act) -> Result<(), StoreError> {
        measure_now(writing, act).await
    }

    async fn follow_change(
        writing: &mut Writing,
        _: &Self,
        row: &Self,
        act: &Act,
    ) -> Result<String, StoreError> {
        measure_now(writing, act).await?;
        Ok(row.audit_detail())
    }

    fn audit_detail(&self) -> String {
        format!("name \"{}\", {} above {}", self.name, self.metric.as_str(), self.threshold)
    }
}

/// Whoever wrote a rule sees what it measures, and need not wait for the next minute.
async fn measure_now(writing: &mut Writing, act: &Act) -> Result<(), StoreError> {
    let job = || NewJob::recurring(MEASURE, MEASURE_EVERY_MS, act.unix_ms);
    if !jobs::enqueue(writing, job()).await? {
        // The measurement that runs now may have read the rule as it was.
        let name = Some(format!("{MEASURE}:{}", act.id));
        jobs::enqueue(writing, NewJob { name, every_ms: None, ..job() }).await?;
    }
    Ok(())
}

async fn record(
    writing: &mut Writing,
    rule: &AlertRuleRow,
    state: AlertState,
    event: Option<EventRow>,
) -> Result<(), StoreError> {
    let query = sql("UPDATE alert_rules SET firing_since_unix_ms = $3, value = $4, measured_unix_ms = $5, fired_unix_ms = $6
         WHERE id = $1 AND version = $2 AND COALESCE(firing_since_unix_ms, 0) = $7");
    let query = query.bind(rule.id.bytes()).bind(signed(rule.version));
    let query = query.bind(state.firing_since_unix_ms.map(signed)).bind(state.value.map(signed));
    let query = query.bind(state.measured_unix_ms.map(signed)).bind(state.fired_unix_ms.map(signed));
    // Of two measurements at the same time one tells that the rule fires.
    let query = query.bind(signed(rule.state.firing_since_unix_ms.unwrap_or(0)));
    let is_same = query.run(writing.connection()).await? == 1;
    match event.filter(|_| is_same) {
        Some(event) => events::emit(writing, event).await,
        None => Ok(()),
    }
}

impl AlertRules for Database {
    fn enabled(&self, last: Option<AlertRuleId>, rows_max: u32) -> StoreFuture<'_, Vec<AlertRuleRow>> {
        Box::pin(async move {
            let query =
                sql("SELECT * FROM alert_rules WHERE is_enabled <> 0 AND id > $1 ORDER BY id LIMIT $2");
            let query = query.bind(after(last)).bind(i64::from(rows_max));
            let rows = query.rows(&mut self.read().await?).await?;
            rows.iter().map(AlertRuleRow::read).collect()
        })
    }

    fn record(&self, rule: AlertRuleRow, state: AlertState, event: Option<EventRow>) -> StoreFuture<'_, ()> {
        Box::pin(
            self.note(move |writing| Box::pin(async move { record(writing, &rule, state, event).await })),
        )
    }
}
