//! Sums over records. One statement serves every grouping: the dimensions are bound, not spliced.

use std::collections::HashMap;

use domain::{Mode, Nanos, WorkspaceId};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Sqlite, SqliteConnection};

use super::SqliteStore;
use super::fields::{ColumnId, Fields};
use super::writing::{database, signed};
use crate::StoreError;
use crate::usage::{
    BillingRow, Dimension, GROUPS_MAX, ROWS_MAX, UsageQuery, UsageRow, UsageSums, Window, percentiles,
};

const TABLE: &str = "records";

type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

macro_rules! SUMMED_COLUMNS {
    () => {
        "COALESCE(SUM(attempts > 0), 0) AS s_requests, \
         COALESCE(SUM(input + cached_read + cache_write), 0) AS s_input, \
         COALESCE(SUM(output + reasoning), 0) AS s_output, \
         COALESCE(SUM(cached_read), 0) AS s_cached, \
         COALESCE(SUM(cache_write), 0) AS s_cache_write, \
         COALESCE(SUM(reasoning), 0) AS s_reasoning, \
         COALESCE(SUM(cost_nanos), 0) AS s_cost, \
         COALESCE(SUM(provider_cost_nanos), 0) AS s_provider_cost, \
         COALESCE(SUM(attempts > 0 AND priced = 'unpriced'), 0) AS s_unpriced, \
         COALESCE(SUM(attempts > 0 AND usage_source = 'estimate'), 0) AS s_estimated, \
         COALESCE(SUM(attempts > 0 AND usage_source = 'none' AND outcome = 'completed'), 0) AS s_unmetered, \
         COALESCE(SUM(attempts > 0 AND outcome <> 'completed'), 0) AS s_failed, \
         COALESCE(SUM(attempts = 0), 0) AS s_unattempted, \
         COALESCE(SUM(attempts), 0) AS s_attempts, \
         COALESCE(SUM(CASE WHEN usage_source = 'provider' THEN cached_read ELSE 0 END), 0) AS s_realized"
    };
}
pub(super) use SUMMED_COLUMNS;

macro_rules! group {
    ($place:literal) => {
        concat!(
            "CASE ",
            $place,
            " WHEN 'provider' THEN NULLIF(provider, '') WHEN 'model' THEN NULLIF(resolved_model, '') \
             WHEN 'modality' THEN modality WHEN 'profile' THEN profile WHEN 'mode' THEN mode \
             WHEN 'key' THEN CASE WHEN key IS NOT NULL THEN 'key_' || lower(hex(key)) END WHEN 'project' THEN 'prj_' || lower(hex(project)) \
             WHEN 'region' THEN region WHEN 'environment' THEN environment WHEN 'status' THEN CAST(status AS TEXT) \
             WHEN 'outcome' THEN outcome WHEN 'operation' THEN operation WHEN 'tag' THEN tag END"
        )
    };
}

macro_rules! groups {
    () => {
        concat!(
            "CASE WHEN ?4 > 0 THEN started_unix_ms / ?4 * ?4 END AS bucket, ",
            group!("?5"),
            " AS g1, ",
            group!("?6"),
            " AS g2, ",
            group!("?7"),
            " AS g3"
        )
    };
}

macro_rules! chosen {
    () => {
        " FROM records WHERE workspace = ?1 AND started_unix_ms >= ?2 AND started_unix_ms < ?3 \
         AND (?8 IS NULL OR project = ?8) AND (?9 IS NULL OR key = ?9) AND (?10 IS NULL OR resolved_model = ?10) \
         AND (?11 IS NULL OR provider = ?11) AND (?12 IS NULL OR profile = ?12) AND (?13 IS NULL OR mode = ?13) \
         AND (?14 IS NULL OR environment = ?14) AND (?15 IS NULL OR tag = ?15)"
    };
}

const SUMS: &str = concat!(
    "SELECT ",
    groups!(),
    ", ",
    SUMMED_COLUMNS!(),
    chosen!(),
    " GROUP BY bucket, g1, g2, g3 ORDER BY bucket, g1, g2, g3 LIMIT ?16"
);
const LATENCY_STEPS: &str = concat!(
    "SELECT ",
    groups!(),
    ", latency_step AS step, COUNT(*) AS count",
    chosen!(),
    " AND attempts > 0 AND outcome = 'completed' GROUP BY bucket, g1, g2, g3, step ORDER BY step"
);
const FIRST_BYTE_STEPS: &str = concat!(
    "SELECT ",
    groups!(),
    ", first_byte_step AS step, COUNT(*) AS count",
    chosen!(),
    " AND attempts > 0 AND outcome = 'completed' AND stream = 1 AND first_byte_step IS NOT NULL \
     GROUP BY bucket, g1, g2, g3, step ORDER BY step"
);
const BILLING: &str = concat!(
    "SELECT mode, ",
    SUMMED_COLUMNS!(),
    " FROM records WHERE workspace = ?1 AND started_unix_ms >= ?2 AND started_unix_ms < ?3 AND mode IS NOT NULL \
     GROUP BY mode"
);

type GroupKey = (Option<u64>, [Option<String>; GROUPS_MAX]);

pub(super) fn read_sums(fields: &Fields<'_>) -> Result<UsageSums, StoreError> {
    Ok(UsageSums {
        requests: fields.number("s_requests")?,
        input_tokens: fields.number("s_input")?,
        output_tokens: fields.number("s_output")?,
        cached_tokens: fields.number("s_cached")?,
        cache_write_tokens: fields.number("s_cache_write")?,
        reasoning_tokens: fields.number("s_reasoning")?,
        cost: Nanos(fields.get("s_cost")?),
        provider_cost: Nanos(fields.get("s_provider_cost")?),
        unpriced: fields.number("s_unpriced")?,
        estimated: fields.number("s_estimated")?,
        unmetered: fields.number("s_unmetered")?,
        failed: fields.number("s_failed")?,
        unattempted: fields.number("s_unattempted")?,
        attempts: fields.number("s_attempts")?,
        realized_reused_tokens: fields.number("s_realized")?,
    })
}

fn read_key(row: &SqliteRow) -> Result<GroupKey, StoreError> {
    let fields = Fields::new(TABLE, row);
    let groups = [fields.maybe_text("g1")?, fields.maybe_text("g2")?, fields.maybe_text("g3")?];
    Ok((fields.maybe_number("bucket")?, groups))
}

fn bind<'q>(statement: &'static str, query: &UsageQuery) -> Query<'q> {
    let group = |place: usize| query.group_by.get(place).map(|dimension| dimension.as_str());
    let filter = &query.filter;
    sqlx::query(statement)
        .bind(query.workspace.bytes())
        .bind(signed(query.window.start_unix_ms))
        .bind(signed(query.window.end_unix_ms))
        .bind(query.interval.map_or(0, |interval| signed(interval.ms())))
        .bind(group(0))
        .bind(group(1))
        .bind(group(2))
        .bind(filter.project.map(|id| id.bytes()))
        .bind(filter.key.map(|id| id.bytes()))
        .bind(filter.model.clone())
        .bind(filter.provider.clone())
        .bind(filter.profile.clone())
        .bind(filter.mode.map(|mode| mode.as_str()))
        .bind(filter.environment.clone())
        .bind(filter.tag.clone())
}

pub(super) async fn usage(store: &SqliteStore, query: UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
    // One transaction, so that sums and percentiles are of the same moment.
    let mut reading = store.readers().begin().await.map_err(database)?;
    let rows = bind(SUMS, &query).bind(signed(ROWS_MAX)).fetch_all(&mut *reading).await.map_err(database)?;
    let latency = steps(&mut reading, LATENCY_STEPS, &query).await?;
    let first_byte = steps(&mut reading, FIRST_BYTE_STEPS, &query).await?;
    let grouped_by: Vec<Dimension> = query.group_by.iter().copied().take(GROUPS_MAX).collect();
    let read = |row| {
        let key = read_key(row)?;
        let percentiles_of = |of: &Histograms| of.get(&key).and_then(|counts| percentiles(counts));
        Ok(UsageRow {
            bucket_unix_ms: key.0,
            sums: read_sums(&Fields::new(TABLE, row))?,
            latency: percentiles_of(&latency),
            first_byte: percentiles_of(&first_byte),
            groups: grouped_by.iter().copied().zip(key.1.iter().cloned()).collect(),
        })
    };
    rows.iter().map(read).collect()
}

type Histograms = HashMap<GroupKey, Vec<(u32, u64)>>;

async fn steps(
    connection: &mut SqliteConnection,
    statement: &'static str,
    query: &UsageQuery,
) -> Result<Histograms, StoreError> {
    let mut histograms = Histograms::new();
    for row in &bind(statement, query).fetch_all(connection).await.map_err(database)? {
        let fields = Fields::new(TABLE, row);
        histograms.entry(read_key(row)?).or_default().push((fields.small("step")?, fields.number("count")?));
    }
    Ok(histograms)
}

pub(super) async fn billing(
    store: &SqliteStore,
    workspace: WorkspaceId,
    window: Window,
) -> Result<[BillingRow; 3], StoreError> {
    let rows = sqlx::query(BILLING)
        .bind(workspace.bytes())
        .bind(signed(window.start_unix_ms))
        .bind(signed(window.end_unix_ms))
        .fetch_all(store.readers())
        .await
        .map_err(database)?;
    let mut by_mode = HashMap::new();
    for row in &rows {
        let fields = Fields::new(TABLE, row);
        by_mode.insert(fields.text("mode")?, read_sums(&fields)?);
    }
    Ok(Mode::ALL.map(|mode| BillingRow { mode, sums: by_mode.remove(mode.as_str()).unwrap_or_default() }))
}
