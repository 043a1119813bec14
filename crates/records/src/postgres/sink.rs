//! The drainer's sink on PostgreSQL: applies settled records from the journals, each exactly once, whichever
//! replica sends them and however often.
//!
//! Records go by COPY into a temporary table and from there into the partitions, where the trace is the key:
//! duplicates are skipped, and only new records are added to the sums. Small batches go straight to the
//! partitions. Sums and the journal's position are written in the same transaction. A commit whose reply was
//! lost may still be running when its batch is sent again, so a batch first locks its replica's row and so
//! waits for that commit.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use database::connection::{Connection, within};
use database::error::{StoreError, database};
use database::fields::{ColumnId, Fields, signed};
use domain::TraceId;
use domain::ports::PortFuture;
use ledger::lease::lease_ms;
use ledger::{DrainBatch, JournalPosition, RecordSink, SettledBatch, SinkError};
use sqlx::{Executor, PgConnection, Row};

use crate::audit_notes;
use crate::batch::Prepared;
use crate::groups::{Group, Groups, NewGroups};
use crate::limits::WEEKS_CACHED_MAX;
use crate::postgres::copy::Rows;
use crate::postgres::{PostgresRecords, usage};
use crate::sql::leases::Draws;

const TABLE: &str = "meter_records";
pub(crate) const WEEK_MS: u64 = 7 * 86_400_000;
const STAGE: &str = "CREATE TEMPORARY TABLE IF NOT EXISTS meter_staging \
    (usage_group INTEGER, workspace BYTEA, trace BYTEA, body BYTEA) ON COMMIT DELETE ROWS";
const COPY: &str = "COPY meter_staging (usage_group, workspace, trace, body) FROM STDIN (FORMAT binary)";
const KEEP_COPIED: &str = "INSERT INTO meter_records (usage_group, workspace, trace, body) \
    SELECT usage_group, workspace, trace, body FROM meter_staging ON CONFLICT DO NOTHING RETURNING trace";
const KEEP_FEW: &str = "INSERT INTO meter_records (usage_group, workspace, trace, body) \
    SELECT * FROM UNNEST($1::INTEGER[], $2::BYTEA[], $3::BYTEA[], $4::BYTEA[]) ON CONFLICT DO NOTHING RETURNING trace";
/// Duplicates in the previous version's table.
const KEPT_BEFORE: &str = "SELECT trace FROM records WHERE trace = ANY($1)";
const SPEND: &str = "INSERT INTO budget_periods (budget, period_unix_ms, spent_nanos, recalled_unix_ms) \
    SELECT drawn.budget, drawn.period, drawn.amount, 0 \
    FROM UNNEST($1::BYTEA[], $2::BIGINT[], $3::BIGINT[]) AS drawn (budget, period, amount) \
    JOIN budgets ON budgets.id = drawn.budget ORDER BY drawn.budget, drawn.period \
    ON CONFLICT (budget, period_unix_ms) DO UPDATE \
        SET spent_nanos = budget_periods.spent_nanos + excluded.spent_nanos";
/// What a replica drew on a commitment without a lease, as it does where the database is silent, is its debt. What goes
/// beyond a commitment is no debt: its period is of no day.
const UNHOLD: &str = "WITH drawn AS (\
        SELECT * FROM UNNEST($1::BYTEA[], $2::BIGINT[], $3::BIGINT[]) AS drawn (budget, period, amount)), \
    unheld AS (UPDATE budget_leases AS held SET held_nanos = held.held_nanos - drawn.amount FROM drawn \
        WHERE held.budget = drawn.budget AND held.period_unix_ms = drawn.period AND held.replica = $4 \
        RETURNING held.budget, held.period_unix_ms AS period) \
    INSERT INTO budget_leases \
        (budget, period_unix_ms, replica, held_nanos, until_unix_ms, sequence, moved_nanos) \
    SELECT drawn.budget, drawn.period, $4, -drawn.amount, \
        CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) + $5, 0, 0 \
    FROM drawn JOIN budgets ON budgets.id = drawn.budget \
    WHERE budgets.commitment IS NOT NULL AND drawn.period % 86400000 = 0 \
        AND (drawn.budget, drawn.period) NOT IN (SELECT budget, period FROM unheld) \
    ON CONFLICT (budget, period_unix_ms, replica) DO UPDATE \
        SET held_nanos = budget_leases.held_nanos + excluded.held_nanos";
const ALERT: &str = "INSERT INTO budget_alerts \
        (budget, period_unix_ms, percent, workspace, crossed_unix_ms, spent_nanos, limit_nanos) \
    SELECT spent.budget, spent.period_unix_ms, threshold.percent, budgets.workspace, \
        CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT), spent.spent_nanos, budgets.limit_nanos \
    FROM UNNEST($1::BYTEA[], $2::BIGINT[], $3::BIGINT[]) AS drawn (budget, period, amount) \
    JOIN budget_periods AS spent ON spent.budget = drawn.budget AND spent.period_unix_ms = drawn.period \
    JOIN budgets ON budgets.id = spent.budget \
    JOIN budget_thresholds AS threshold ON threshold.budget = spent.budget \
    WHERE spent.spent_nanos * 100 >= budgets.limit_nanos * threshold.percent \
    ON CONFLICT DO NOTHING";
/// From this many records on, a COPY is worth its extra statements. The driver leaves Nagle's algorithm on,
/// so the end of each COPY waits up to 40 ms for the server's acknowledgement.
const COPIED_MIN: usize = 100;

/// This process's cache of database facts that rarely or never change.
#[derive(Default)]
pub(crate) struct Draining {
    pub(crate) groups: Groups,
    /// Weeks that have a partition, and whether the previous version's table has one too.
    weeks: Mutex<HashMap<u64, bool>>,
}

impl Draining {
    fn weeks(&self) -> std::sync::MutexGuard<'_, HashMap<u64, bool>> {
        self.weeks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rows of a batch, delta-encoded against their groups.
#[derive(Default)]
struct RecordColumns {
    groups: Vec<i32>,
    workspaces: Vec<Vec<u8>>,
    traces: Vec<Vec<u8>>,
    bodies: Vec<Vec<u8>>,
}

impl RecordColumns {
    fn of(prepared: &Prepared, groups: &[Arc<Group>], before: &HashSet<TraceId>) -> Result<Self, StoreError> {
        let corrupt = |detail| StoreError::corrupt(TABLE, detail);
        let mut kept = Self::default();
        for (row, tail) in prepared.rows().filter(|(row, _)| !before.contains(&row.named.trace)) {
            let group = groups.get(row.tally).ok_or_else(|| corrupt("a group is missing"))?;
            kept.groups.push(i32::try_from(group.number).map_err(|_| corrupt("there are too many groups"))?);
            kept.workspaces.push(row.named.workspace.bytes());
            kept.traces.push(row.named.trace.bytes());
            kept.bodies.push(group.template.difference(tail));
        }
        Ok(kept)
    }

    fn copy_rows(&self) -> Result<Vec<u8>, StoreError> {
        let mut rows = Rows::new();
        let names = self.groups.iter().zip(&self.workspaces);
        for ((group, workspace), (trace, body)) in names.zip(self.traces.iter().zip(&self.bodies)) {
            rows.add([&group.to_be_bytes(), workspace, trace, body])
                .ok_or_else(|| StoreError::corrupt(TABLE, "a record is too large"))?;
        }
        Ok(rows.finish())
    }
}

/// The week, counted from 1970, of a trace's timestamp.
fn week_of(trace: TraceId) -> u64 {
    trace.unix_ms() / WEEK_MS
}

impl RecordSink for PostgresRecords {
    fn apply<'a>(&'a self, batch: DrainBatch) -> PortFuture<'a, Result<(), SinkError>> {
        Box::pin(async move { take(self, batch).await.map_err(|error| SinkError(error.with_causes())) })
    }

    fn position<'a>(&'a self, core: u32) -> PortFuture<'a, Result<Option<JournalPosition>, SinkError>> {
        Box::pin(async move { position(self, core).await.map_err(|error| SinkError(error.with_causes())) })
    }
}

async fn take(store: &PostgresRecords, batch: DrainBatch) -> Result<(), StoreError> {
    let taken = try_to_take(store, batch).await;
    if taken.is_err() {
        // The cached partition may have been dropped by retention.
        store.draining.weeks().clear();
    }
    taken
}

async fn try_to_take(store: &PostgresRecords, batch: DrainBatch) -> Result<(), StoreError> {
    let mut prepared = Prepared::of(&batch.records, |_| true)?;
    let remarks = std::mem::take(&mut prepared.remarks);
    let has_earlier = make_partitions(store, &prepared).await?;
    let mut held = store.pools.begin("BEGIN").await?;
    let applied = within(apply(held.raw(), store, batch, prepared, has_earlier)).await;
    let (new_groups, settled) = held.settle(applied)?;
    store.database.commit(Connection::Postgres(held), None).await?;
    store.settled.add(settled);
    store.draining.groups.remember(new_groups);
    audit_notes::write(&store.database, &store.notes, remarks).await;
    Ok(())
}

/// Creates missing partitions; returns whether the previous version's table has records of these weeks.
async fn make_partitions(store: &PostgresRecords, prepared: &Prepared) -> Result<bool, StoreError> {
    let weeks: BTreeSet<u64> = prepared.rows().map(|(row, _)| week_of(row.named.trace)).collect();
    let mut has_earlier = false;
    for week in weeks {
        let known = store.draining.weeks().get(&week).copied();
        has_earlier |= match known {
            Some(known) => known,
            None => make_partition(store, week).await?,
        };
    }
    Ok(has_earlier)
}

async fn make_partition(store: &PostgresRecords, week: u64) -> Result<bool, StoreError> {
    let mut held = store.pools.acquire().await?;
    let query = sqlx::query_scalar("SELECT make_meter_partition($1)").bind(signed(week));
    let made = within(async { query.fetch_one(held.raw()).await.map_err(database) }).await;
    let has_earlier = held.settle(made)?;
    let mut known = store.draining.weeks();
    if known.len() >= WEEKS_CACHED_MAX {
        known.clear();
    }
    known.insert(week, has_earlier);
    Ok(has_earlier)
}

/// Writes a batch; returns the groups that this process did not know, and the sums of the new records.
async fn apply(
    connection: &mut PgConnection,
    store: &PostgresRecords,
    batch: DrainBatch,
    mut prepared: Prepared,
    has_earlier: bool,
) -> Result<(NewGroups, SettledBatch), StoreError> {
    let (replica, known) = (store.replica, &store.draining.groups);
    let lock = sqlx::query("SELECT 1 FROM replicas WHERE number = $1 FOR UPDATE").bind(replica);
    lock.execute(&mut *connection).await.map_err(database)?;
    let (mut groups, new_groups) = usage::groups(connection, known, &prepared.tallies).await?;
    if prepared.len() > 0 {
        let before = if has_earlier { kept_before(connection, &prepared).await? } else { HashSet::new() };
        let mut new = keep(connection, &RecordColumns::of(&prepared, &groups, &before)?).await?;
        if new.len() < prepared.len() {
            prepared = Prepared::of(&batch.records, |trace| new.remove(&trace))?;
            groups = usage::groups(connection, known, &prepared.tallies).await?.0;
        }
    }
    usage::add(connection, &groups, replica, &prepared.tallies).await?;
    spend(connection, batch.is_leased().then_some(replica), &prepared.draws).await?;
    for statement in prepared.sums() {
        statement.run_on_postgres(connection).await?;
    }
    prepared.end_user_days.write_to_postgres(connection, replica).await?;
    set_position(connection, replica, batch.core, batch.upto).await?;
    Ok((new_groups, prepared.settled))
}

async fn kept_before(
    connection: &mut PgConnection,
    prepared: &Prepared,
) -> Result<HashSet<TraceId>, StoreError> {
    let traces: Vec<_> = prepared.rows().map(|(row, _)| row.named.trace.bytes()).collect();
    let rows = sqlx::query(KEPT_BEFORE).bind(traces).fetch_all(connection).await.map_err(database)?;
    rows.iter().map(|row| Fields::new(TABLE, row).id("trace")).collect()
}

/// Moves what was drawn on budgets to the spent amounts, from the leases of the replica if it had leased it, in
/// three statements however many budgets there are. Replicas that draw on the same budgets lock them in the same order.
async fn spend(connection: &mut PgConnection, replica: Option<i64>, draws: &Draws) -> Result<(), StoreError> {
    if draws.is_empty() {
        return Ok(());
    }
    let (mut budgets, mut periods, mut amounts) = (Vec::new(), Vec::new(), Vec::new());
    for (budget, period, amount) in draws.iter() {
        budgets.push(budget);
        periods.push(period);
        amounts.push(amount);
    }
    let drawn = |statement| sqlx::query(statement).bind(&budgets).bind(&periods).bind(&amounts);
    drawn(SPEND).execute(&mut *connection).await.map_err(database)?;
    if let Some(replica) = replica {
        let lease_ms = signed(lease_ms());
        drawn(UNHOLD).bind(replica).bind(lease_ms).execute(&mut *connection).await.map_err(database)?;
    }
    drawn(ALERT).execute(&mut *connection).await.map_err(database)?;
    Ok(())
}

/// Inserts the records; returns the traces that are new.
async fn keep(connection: &mut PgConnection, kept: &RecordColumns) -> Result<HashSet<TraceId>, StoreError> {
    let new = if kept.traces.len() < COPIED_MIN {
        sqlx::query(KEEP_FEW)
            .bind(&kept.groups)
            .bind(&kept.workspaces)
            .bind(&kept.traces)
            .bind(&kept.bodies)
            .fetch_all(connection)
            .await
    } else {
        connection.execute(STAGE).await.map_err(database)?;
        let mut copy = connection.copy_in_raw(COPY).await.map_err(database)?;
        copy.send(kept.copy_rows()?).await.map_err(database)?;
        copy.finish().await.map_err(database)?;
        sqlx::query(KEEP_COPIED).fetch_all(connection).await
    };
    new.map_err(database)?.iter().map(|row| Fields::new(TABLE, row).id("trace")).collect()
}

/// Within one epoch a position only increases.
async fn set_position(
    connection: &mut PgConnection,
    replica: i64,
    core: u32,
    upto: JournalPosition,
) -> Result<(), StoreError> {
    let query = sqlx::query(
        "INSERT INTO journal_positions AS kept (replica, core, epoch, segment, position) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (replica, core) DO UPDATE
             SET epoch = excluded.epoch, segment = excluded.segment, position = excluded.position
             WHERE kept.epoch <> excluded.epoch
                 OR (kept.segment, kept.position) < (excluded.segment, excluded.position)",
    );
    query
        .bind(replica)
        .bind(i64::from(core))
        .bind(upto.epoch.cast_signed())
        .bind(upto.segment.cast_signed())
        .bind(upto.offset.cast_signed())
        .execute(connection)
        .await
        .map_err(database)?;
    Ok(())
}

async fn position(store: &PostgresRecords, core: u32) -> Result<Option<JournalPosition>, StoreError> {
    let mut held = store.pools.acquire().await?;
    let query = sqlx::query(
        "SELECT epoch, segment, position FROM journal_positions WHERE replica = $1 AND core = $2",
    );
    let query = query.bind(store.replica).bind(i64::from(core));
    let found = within(async { query.fetch_optional(held.raw()).await.map_err(database) }).await;
    let Some(row) = held.settle(found)? else { return Ok(None) };
    let number = |name: &str| row.try_get::<i64, _>(name).map(i64::cast_unsigned);
    let read = || {
        Ok(JournalPosition {
            epoch: number("epoch")?,
            segment: number("segment")?,
            offset: number("position")?,
        })
    };
    read().map(Some).map_err(|error: sqlx::Error| StoreError::corrupt("journal_positions", error))
}
