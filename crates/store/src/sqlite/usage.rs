//! Sums over records, by the minute: added to with each batch.

use std::collections::HashMap;

use domain::WorkspaceId;
use sqlx::SqliteConnection;

use crate::StoreError;
use crate::sql::fields::{ColumnId, Fields};
use crate::sql::usage::{GroupName, Groups, HOUR, NewGroups};
use crate::sql::writing::{database, signed};
use crate::tally::{MinuteTally, Tally};

const GROUPS: &str = "usage_groups";
const MINUTES: &str = "usage_minutes";

/// Adds a batch's sums to those of its minutes.
pub(super) async fn add(
    connection: &mut SqliteConnection,
    groups: &Groups,
    tallies: Vec<MinuteTally>,
) -> Result<NewGroups, StoreError> {
    let mut new_groups: HashMap<GroupName, i64> = HashMap::new();
    for MinuteTally { workspace, minute, group, tally } in tallies {
        let name = (workspace, group);
        let number = match groups.number(&name).or_else(|| new_groups.get(&name).copied()) {
            Some(number) => number,
            None => {
                let number = group_number(connection, &name).await?;
                new_groups.insert(name, number);
                number
            }
        };
        add_tally(connection, workspace, minute, number, &tally).await?;
    }
    Ok(new_groups.into_iter().collect())
}

async fn group_number(connection: &mut SqliteConnection, name: &GroupName) -> Result<i64, StoreError> {
    let (workspace, dimensions) = name;
    let query = sqlx::query("SELECT id FROM usage_groups WHERE workspace = ?1 AND dimensions = ?2");
    let query = query.bind(workspace.bytes()).bind(dimensions);
    if let Some(row) = query.fetch_optional(&mut *connection).await.map_err(database)? {
        return Fields::new(GROUPS, &row).get("id");
    }
    let query = sqlx::query("INSERT INTO usage_groups (workspace, dimensions) VALUES (?1, ?2)");
    let query = query.bind(workspace.bytes()).bind(dimensions);
    query.execute(connection).await.map(|done| done.last_insert_rowid()).map_err(database)
}

/// To the sums of the minute and to those of its hour, in two statements, since each is a trip to SQLite's thread.
async fn add_tally(
    connection: &mut SqliteConnection,
    workspace: WorkspaceId,
    minute: u64,
    group: i64,
    tally: &Tally,
) -> Result<(), StoreError> {
    let hour = minute / HOUR * HOUR;
    let query = sqlx::query(
        "SELECT span_minutes, tally FROM usage_minutes \
         WHERE workspace = ?1 AND span_minutes = 1 AND minute = ?2 AND usage_group = ?4 \
         UNION ALL SELECT span_minutes, tally FROM usage_minutes \
         WHERE workspace = ?1 AND span_minutes = 60 AND minute = ?3 AND usage_group = ?4",
    );
    let query = query.bind(workspace.bytes()).bind(signed(minute)).bind(signed(hour)).bind(group);
    let (mut of_minute, mut of_hour) = (tally.clone(), tally.clone());
    for row in &query.fetch_all(&mut *connection).await.map_err(database)? {
        let fields = Fields::new(MINUTES, row);
        let earlier = Tally::decode(fields.get("tally")?)?;
        let sum = if fields.number("span_minutes")? == HOUR { &mut of_hour } else { &mut of_minute };
        sum.plus(&earlier);
    }
    let query = sqlx::query(
        "INSERT INTO usage_minutes (workspace, span_minutes, minute, usage_group, tally) \
         VALUES (?1, 1, ?2, ?4, ?5), (?1, 60, ?3, ?4, ?6) \
         ON CONFLICT (workspace, span_minutes, minute, usage_group) DO UPDATE SET tally = excluded.tally",
    );
    let query = query.bind(workspace.bytes()).bind(signed(minute)).bind(signed(hour)).bind(group);
    let query = query.bind(of_minute.encode()?).bind(of_hour.encode()?);
    query.execute(connection).await.map_err(database)?;
    Ok(())
}
