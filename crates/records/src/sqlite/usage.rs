//! Usage sums per minute on SQLite, added to with each batch.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use database::error::{StoreError, database};
use database::fields::{ColumnId, Fields, signed};
use domain::WorkspaceId;
use sqlx::SqliteConnection;

use crate::groups::{Group, GroupName, Groups, NewGroups};
use crate::sql::usage::HOUR;
use crate::tally::{MinuteTally, Tally};
use crate::upkeep::DAY;

const GROUPS: &str = "usage_groups";
const MINUTES: &str = "usage_minutes";

/// The group of each tally, and those that this process did not know.
pub(crate) async fn groups(
    connection: &mut SqliteConnection,
    groups: &Groups,
    tallies: &[MinuteTally],
) -> Result<(Vec<Arc<Group>>, NewGroups), StoreError> {
    let mut new_groups: HashMap<GroupName, Arc<Group>> = HashMap::new();
    let mut found = Vec::with_capacity(tallies.len());
    for tally in tallies {
        let name = (tally.workspace, tally.group.clone());
        let group = match groups.by_name(&name).or_else(|| new_groups.get(&name).cloned()) {
            Some(group) => group,
            None => {
                let group = group_of(connection, &name, &tally.sample).await?;
                new_groups.insert(name, Arc::clone(&group));
                group
            }
        };
        found.push(group);
    }
    Ok((found, new_groups.into_iter().collect()))
}

/// Reads or inserts the group; `sample` becomes the template of one without.
async fn group_of(
    connection: &mut SqliteConnection,
    name: &GroupName,
    sample: &[u8],
) -> Result<Arc<Group>, StoreError> {
    let (workspace, dimensions) = name;
    let query = sqlx::query("SELECT id, template FROM usage_groups WHERE workspace = ?1 AND dimensions = ?2");
    let query = query.bind(workspace.bytes()).bind(dimensions);
    let Some(row) = query.fetch_optional(&mut *connection).await.map_err(database)? else {
        let query =
            sqlx::query("INSERT INTO usage_groups (workspace, dimensions, template) VALUES (?1, ?2, ?3)");
        let query = query.bind(workspace.bytes()).bind(dimensions).bind(sample);
        let number = query.execute(connection).await.map_err(database)?.last_insert_rowid();
        return Ok(Group::new(number, sample.to_vec()));
    };
    let fields = Fields::new(GROUPS, &row);
    let number = fields.get("id")?;
    if let Some(template) = fields.get::<Option<Vec<u8>>>("template")? {
        return Ok(Group::new(number, template));
    }
    let query = sqlx::query("UPDATE usage_groups SET template = ?2 WHERE id = ?1").bind(number).bind(sample);
    query.execute(connection).await.map_err(database)?;
    Ok(Group::new(number, sample.to_vec()))
}

/// Adds a batch's sums to its minutes.
pub(crate) async fn add(
    connection: &mut SqliteConnection,
    groups: &[Arc<Group>],
    tallies: &[MinuteTally],
) -> Result<(), StoreError> {
    for (MinuteTally { workspace, minute, tally, .. }, group) in tallies.iter().zip(groups) {
        add_tally(connection, *workspace, *minute, group.number, tally).await?;
    }
    Ok(())
}

/// Adds to the sums of the minute and to those of its hour: in two statements, since each is a trip to
/// SQLite's thread.
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
    let query = query.bind(of_minute.encode()?).bind(of_hour.encode_hour()?);
    query.execute(connection).await.map_err(database)?;
    Ok(())
}

/// Writes the sums of a whole day.
pub(crate) async fn set_day(
    connection: &mut SqliteConnection,
    workspace: WorkspaceId,
    day: u64,
    sums: &BTreeMap<i64, Tally>,
) -> Result<(), StoreError> {
    for (group, tally) in sums {
        let query = sqlx::query(
            "INSERT INTO usage_minutes (workspace, span_minutes, minute, usage_group, tally) VALUES (?1, ?2, ?3, ?4, ?5)",
        );
        let query = query.bind(workspace.bytes()).bind(signed(DAY)).bind(signed(day * DAY)).bind(group);
        query.bind(tally.encode()?).execute(&mut *connection).await.map_err(database)?;
    }
    Ok(())
}
