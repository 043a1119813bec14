//! Roll-up and retention of usage sums: hours are summed into days, so that a long window reads few rows; old
//! minutes are deleted, so that the sums don't outgrow the records.

use std::collections::BTreeMap;

use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed};
use database::handle::Database;
use database::statement::sql;
use database::writing::Writing;
use domain::WorkspaceId;

use crate::sql::hours;
use crate::sql::usage::{HOUR, MINUTES_FROM};
use crate::tally::{MINUTE_MS, Tally};
use crate::upkeep::DAY;

const MINUTES: &str = "usage_minutes";
const DAY_MS: u64 = DAY * MINUTE_MS;
/// Keeps replicas of any version from adding to an hour meanwhile: the day's sum and its mark must agree.
const ALONE: &str = "LOCK TABLE usage_minutes IN SHARE ROW EXCLUSIVE MODE";
/// Locked first, in the order in which a batch of this replica locks.
const OWN_REPLICA: &str = "SELECT 1 FROM replicas WHERE number = $1 FOR UPDATE";

/// Rows of minutes deleted per transaction, so that nothing waits long for it.
const FORGOTTEN_AT_ONCE: u64 = 5_000;

/// The days of every workspace that have hours but no mark.
pub(crate) async fn days_to_sum(
    database: &Database,
    from_unix_ms: u64,
    until_unix_ms: u64,
) -> Result<Vec<(WorkspaceId, u64)>, StoreError> {
    let (from, until) = (from_unix_ms.div_ceil(DAY_MS), until_unix_ms / DAY_MS);
    let mut found = Vec::new();
    let mut reading = database.read().await?;
    for workspace in hours::recorded_workspaces(database).await? {
        let mut day = from;
        while day < until {
            let query = sql(
                "SELECT minute, (SELECT COUNT(*) FROM rolled_days WHERE workspace = $1 AND day = minute / 1440) AS marks \
                 FROM usage_minutes WHERE workspace = $1 AND span_minutes = 60 AND minute >= $2 AND minute < $3 \
                 ORDER BY minute LIMIT 1",
            );
            let query = query.bind(workspace.bytes()).bind(signed(day * DAY)).bind(signed(until * DAY));
            let Some(row) = query.row(&mut reading).await? else { break };
            let fields = Fields::new(MINUTES, &row);
            day = fields.number("minute")? / DAY;
            if fields.number("marks")? == 0 {
                found.push((workspace, day));
            }
            day += 1;
        }
    }
    Ok(found)
}

/// Sums one day and marks it; `false` if it was marked already.
pub(crate) async fn sum_day(
    database: &Database,
    replica: Option<i64>,
    workspace: WorkspaceId,
    day: u64,
) -> Result<bool, StoreError> {
    let mut writing = database.begin().await?;
    if let Some(replica) = replica {
        sql(OWN_REPLICA).bind(replica).run(&mut writing).await?;
        sql(ALONE).run(&mut writing).await?;
    }
    let mark = sql("INSERT INTO rolled_days (workspace, day) VALUES ($1, $2) ON CONFLICT DO NOTHING");
    if mark.bind(workspace.bytes()).bind(signed(day)).run(&mut writing).await? == 0 {
        writing.roll_back().await;
        return Ok(false);
    }
    let sums = sums_of(&mut writing, workspace, day).await?;
    sql("DELETE FROM usage_minutes WHERE workspace = $1 AND span_minutes = 1440 AND minute = $2")
        .bind(workspace.bytes())
        .bind(signed(day * DAY))
        .run(&mut writing)
        .await?;
    match &mut writing {
        Connection::Sqlite(held) => crate::sqlite::set_day(held.raw(), workspace, day, &sums).await?,
        Connection::Postgres(held) => {
            crate::postgres::set_day(held.raw(), replica.unwrap_or_default(), workspace, day, sums).await?;
        }
    }
    database.commit(writing, None).await?;
    Ok(true)
}

async fn sums_of(
    connection: &mut Connection,
    workspace: WorkspaceId,
    day: u64,
) -> Result<BTreeMap<i64, Tally>, StoreError> {
    let mut sums: BTreeMap<i64, Tally> = BTreeMap::new();
    for minute in (day * DAY..(day + 1) * DAY).step_by(usize::try_from(HOUR).unwrap_or(1)) {
        let query = sql("SELECT usage_group, tally FROM usage_minutes \
             WHERE workspace = $1 AND span_minutes = 60 AND minute = $2");
        for row in &query.bind(workspace.bytes()).bind(signed(minute)).rows(connection).await? {
            let fields = Fields::new(MINUTES, row);
            sums.entry(fields.get("usage_group")?).or_default().plus(&Tally::decode(fields.get("tally")?)?);
        }
    }
    Ok(sums)
}

/// Deletes the sums per minute before this moment, rounded down to a whole hour; returns how many rows. The
/// boundary is published first: from then on readers use hours there, even where a late record recreates a
/// minute.
pub(crate) async fn forget_minutes(database: &Database, before_unix_ms: u64) -> Result<u64, StoreError> {
    let before = before_unix_ms / MINUTE_MS / HOUR * HOUR;
    database.note(move |writing| Box::pin(tell_forgotten(writing, before))).await?;
    let mut forgotten = 0;
    for workspace in hours::recorded_workspaces(database).await? {
        while let Some(until) = next_slice(database, workspace, before).await? {
            forgotten += database
                .note(move |writing| {
                    Box::pin(async move {
                        sql("DELETE FROM usage_minutes WHERE workspace = $1 AND span_minutes = 1 AND minute < $2")
                            .bind(workspace.bytes())
                            .bind(signed(until))
                            .run(writing.connection())
                            .await
                    })
                })
                .await?;
        }
    }
    Ok(forgotten)
}

/// Publishes the boundary. Of replicas that differ, the one that retains fewer minutes wins. The bytes are
/// big-endian, so they compare like the number.
async fn tell_forgotten(writing: &mut Writing, minute: u64) -> Result<(), StoreError> {
    let query = sql("INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE \
         SET value = excluded.value WHERE meta.value < excluded.value");
    let query = query.bind(MINUTES_FROM).bind(minute.to_be_bytes().to_vec());
    query.run(writing.connection()).await.map(|_| ())
}

/// The end of the next slice of a workspace's oldest minutes; `None` when all are deleted.
async fn next_slice(
    database: &Database,
    workspace: WorkspaceId,
    before: u64,
) -> Result<Option<u64>, StoreError> {
    let mut reading = database.read().await?;
    let mut minute_at = async |offset: u64| {
        let query = sql(
            "SELECT minute FROM usage_minutes WHERE workspace = $1 AND span_minutes = 1 AND minute < $2 \
             ORDER BY minute LIMIT 1 OFFSET $3",
        );
        let query = query.bind(workspace.bytes()).bind(signed(before)).bind(signed(offset));
        let row = query.row(&mut reading).await?;
        row.map(|row| Fields::new(MINUTES, &row).number("minute")).transpose()
    };
    let Some(first) = minute_at(0).await? else { return Ok(None) };
    // The rows of one minute are deleted together.
    let beyond = minute_at(FORGOTTEN_AT_ONCE).await?;
    Ok(Some(beyond.map_or(before, |beyond| beyond.max(first + 1))))
}
