//! Sums over records, by the minute: each batch adds to its replica's own, in two statements whatever its size.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use domain::WorkspaceId;
use sqlx::PgConnection;

use crate::StoreError;
use crate::sql::fields::{ColumnId, Fields};
use crate::sql::usage::{GroupName, Groups, HOUR, MINUTE, NewGroups};
use crate::sql::writing::{database, signed};
use crate::tally::{MinuteTally, Tally};

const READ: &str = "SELECT kept.span_minutes, kept.minute, kept.usage_group, kept.tally FROM usage_minutes AS kept \
    JOIN UNNEST($2::BYTEA[], $3::BIGINT[], $4::BIGINT[], $5::BIGINT[]) \
        AS wanted (workspace, span_minutes, minute, usage_group) \
    USING (workspace, span_minutes, minute, usage_group) WHERE kept.replica = $1";
const WRITE: &str = "INSERT INTO usage_minutes (replica, workspace, span_minutes, minute, usage_group, tally) \
    SELECT $1, * FROM UNNEST($2::BYTEA[], $3::BIGINT[], $4::BIGINT[], $5::BIGINT[], $6::BYTEA[]) \
    ON CONFLICT (workspace, span_minutes, minute, usage_group, replica) DO UPDATE SET tally = excluded.tally";
const NAME: &str = "INSERT INTO usage_groups (workspace, dimensions) \
    SELECT * FROM UNNEST($1::BYTEA[], $2::BYTEA[]) ON CONFLICT DO NOTHING";
const NUMBERS: &str = "SELECT id, workspace, dimensions FROM usage_groups \
    JOIN UNNEST($1::BYTEA[], $2::BYTEA[]) AS wanted (workspace, dimensions) USING (workspace, dimensions)";

/// A row of the roll-up, but for its replica: span, minute, group.
type Place = (u64, u64, i64);

/// Adds a batch's sums to those of its minutes and hours.
pub(super) async fn add(
    connection: &mut PgConnection,
    groups: &Groups,
    replica: i64,
    tallies: Vec<MinuteTally>,
) -> Result<NewGroups, StoreError> {
    if tallies.is_empty() {
        return Ok(NewGroups::new());
    }
    let new_groups = numbers(connection, groups, &tallies).await?;
    let learned: HashMap<&GroupName, i64> = new_groups.iter().map(|(name, number)| (name, *number)).collect();
    let mut sums: BTreeMap<Place, (WorkspaceId, Tally)> = BTreeMap::new();
    for MinuteTally { workspace, minute, group, tally } in tallies {
        let name = (workspace, group);
        let number = groups.number(&name).or_else(|| learned.get(&name).copied());
        let number = number.ok_or_else(|| StoreError::corrupt("usage_groups", "a group has no number"))?;
        for place in [(MINUTE, minute, number), (HOUR, minute / HOUR * HOUR, number)] {
            sums.entry(place).or_insert_with(|| (workspace, Tally::default())).1.plus(&tally);
        }
    }
    add_kept(connection, replica, &mut sums).await?;
    write(connection, replica, &sums).await?;
    Ok(new_groups)
}

/// The numbers of groups that this process has not met. In one order, so that replicas that name the same ones wait
/// for each other and don't get entangled.
async fn numbers(
    connection: &mut PgConnection,
    groups: &Groups,
    tallies: &[MinuteTally],
) -> Result<NewGroups, StoreError> {
    let names = tallies.iter().map(|tally| (tally.workspace, tally.group.clone()));
    let unknown: BTreeSet<GroupName> = names.filter(|name| groups.number(name).is_none()).collect();
    if unknown.is_empty() {
        return Ok(NewGroups::new());
    }
    let (workspaces, dimensions): (Vec<_>, Vec<_>) =
        unknown.into_iter().map(|(workspace, dimensions)| (workspace.bytes(), dimensions)).unzip();
    let query = sqlx::query(NAME).bind(&workspaces).bind(&dimensions);
    query.execute(&mut *connection).await.map_err(database)?;
    let query = sqlx::query(NUMBERS).bind(&workspaces).bind(&dimensions);
    let rows = query.fetch_all(connection).await.map_err(database)?;
    let read = |row| {
        let fields = Fields::new("usage_groups", row);
        Ok(((fields.id("workspace")?, fields.get("dimensions")?), fields.get("id")?))
    };
    rows.iter().map(read).collect()
}

async fn add_kept(
    connection: &mut PgConnection,
    replica: i64,
    sums: &mut BTreeMap<Place, (WorkspaceId, Tally)>,
) -> Result<(), StoreError> {
    let (workspaces, spans, minutes, groups) = columns(sums);
    let query = sqlx::query(READ).bind(replica).bind(workspaces).bind(spans).bind(minutes).bind(groups);
    for row in &query.fetch_all(connection).await.map_err(database)? {
        let fields = Fields::new("usage_minutes", row);
        let place = (fields.number("span_minutes")?, fields.number("minute")?, fields.get("usage_group")?);
        if let Some((_, sum)) = sums.get_mut(&place) {
            sum.plus(&Tally::decode(fields.get("tally")?)?);
        }
    }
    Ok(())
}

async fn write(
    connection: &mut PgConnection,
    replica: i64,
    sums: &BTreeMap<Place, (WorkspaceId, Tally)>,
) -> Result<(), StoreError> {
    let (workspaces, spans, minutes, groups) = columns(sums);
    let forms: Vec<Vec<u8>> = sums.values().map(|(_, tally)| tally.encode()).collect::<Result<_, _>>()?;
    let query = sqlx::query(WRITE).bind(replica).bind(workspaces).bind(spans).bind(minutes).bind(groups);
    query.bind(forms).execute(connection).await.map_err(database)?;
    Ok(())
}

type Columns = (Vec<Vec<u8>>, Vec<i64>, Vec<i64>, Vec<i64>);

fn columns(sums: &BTreeMap<Place, (WorkspaceId, Tally)>) -> Columns {
    let mut columns = Columns::default();
    for ((span, minute, group), (workspace, _)) in sums {
        columns.0.push(workspace.bytes());
        columns.1.push(signed(*span));
        columns.2.push(signed(*minute));
        columns.3.push(*group);
    }
    columns
}
