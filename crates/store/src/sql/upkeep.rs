//! Days summed from their hours, so that a long window is few rows; and minutes that are forgotten, so that the sums
//! don't outgrow the records.

use std::collections::BTreeMap;

use domain::WorkspaceId;

use super::fields::{ColumnId, Fields};
use super::usage::{HOUR, MINUTES_FROM};
use super::writing::{Writing, signed};
use super::{Connection, Database, hours, sql};
use crate::StoreError;
use crate::tally::{MINUTE_MS, Tally};
use crate::upkeep::DAY;

const MINUTES: &str = "usage_minutes";
const DAY_MS: u64 = DAY * MINUTE_MS;
/// Nobody adds to an hour meanwhile, of whichever version: what is summed is what the day's mark stands for.
const ALONE: &str = "LOCK TABLE usage_minutes IN SHARE ROW EXCLUSIVE MODE";
/// First of all, since a batch of this replica takes it first too.
const OWN_REPLICA: &str = "SELECT 1 FROM replicas WHERE number = $1 FOR UPDATE";

/// Rows of minutes that go at once, so that nobody waits long for them.
const FORGOTTEN_AT_ONCE: u64 = 5_000;

/// The days of every workspace that have hours and no mark.
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

/// Sums one day and marks it; whether it had to be.
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
    database.keep(writing, None).await?;
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

/// Takes away the sums by the minute from before this moment, down to a whole hour; how many rows. Readers are told first:
/// from then on they read hours there, also where a late record brings a minute back.
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

/// Of replicas that forget at once, whoever keeps fewer minutes is heard. The bytes are in the order of their number.
async fn tell_forgotten(writing: &mut Writing, minute: u64) -> Result<(), StoreError> {
    let query = sql("INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE \
         SET value = excluded.value WHERE meta.value < excluded.value");
    let query = query.bind(MINUTES_FROM).bind(minute.to_be_bytes().to_vec());
    query.run(writing.connection()).await.map(|_| ())
}

/// Up to which minute a workspace's oldest go next; `None` where all are gone.
async fn next_slice(
    database: &Database,
    workspace: WorkspaceId,
    before: u64,
) -> Result<Option<u64>, StoreError> {
    let mut reading = database.read().await?;
    let mut minute_at = async |place: u64| {
        let query = sql(
            "SELECT minute FROM usage_minutes WHERE workspace = $1 AND span_minutes = 1 AND minute < $2 \
             ORDER BY minute LIMIT 1 OFFSET $3",
        );
        let query = query.bind(workspace.bytes()).bind(signed(before)).bind(signed(place));
        let row = query.row(&mut reading).await?;
        row.map(|row| Fields::new(MINUTES, &row).number("minute")).transpose()
    };
    let Some(first) = minute_at(0).await? else { return Ok(None) };
    // A minute goes whole.
    let beyond = minute_at(FORGOTTEN_AT_ONCE).await?;
    Ok(Some(beyond.map_or(before, |beyond| beyond.max(first + 1))))
}
