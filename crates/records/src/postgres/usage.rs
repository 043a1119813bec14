//! Usage sums per minute: each batch adds to its replica's own rows, in two statements whatever its size.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use database::error::{StoreError, database};
use database::fields::{ColumnId, Fields, signed};
use domain::WorkspaceId;
use sqlx::PgConnection;

use crate::groups::{Group, GroupName, Groups, NewGroups};
use crate::sql::usage::{HOUR, MINUTE};
use crate::tally::{MinuteTally, Tally};
use crate::upkeep::DAY;

const READ: &str = "SELECT kept.span_minutes, kept.minute, kept.usage_group, kept.tally FROM usage_minutes AS kept \
    JOIN UNNEST($2::BYTEA[], $3::BIGINT[], $4::BIGINT[], $5::BIGINT[]) \
        AS wanted (workspace, span_minutes, minute, usage_group) \
    USING (workspace, span_minutes, minute, usage_group) WHERE kept.replica = $1";
const WRITE: &str = "INSERT INTO usage_minutes (replica, workspace, span_minutes, minute, usage_group, tally) \
    SELECT $1, * FROM UNNEST($2::BYTEA[], $3::BIGINT[], $4::BIGINT[], $5::BIGINT[], $6::BYTEA[]) \
    ON CONFLICT (workspace, span_minutes, minute, usage_group, replica) DO UPDATE SET tally = excluded.tally";
const NAME: &str = "INSERT INTO usage_groups (workspace, dimensions, template) \
    SELECT * FROM UNNEST($1::BYTEA[], $2::BYTEA[], $3::BYTEA[]) ON CONFLICT DO NOTHING";
const NUMBERS: &str = "SELECT id, workspace, dimensions, template FROM usage_groups \
    JOIN UNNEST($1::BYTEA[], $2::BYTEA[]) AS wanted (workspace, dimensions) USING (workspace, dimensions)";
/// For a group that the previous version created without a template. If two replicas race, both use the first
/// one's.
const GIVE_TEMPLATE: &str =
    "UPDATE usage_groups SET template = COALESCE(template, $2) WHERE id = $1 RETURNING template";

/// The key of a roll-up row without its replica: span, minute, group.
type RollUpKey = (u64, u64, i64);

/// The group of each tally, and those that this process did not know.
pub(crate) async fn groups(
    connection: &mut PgConnection,
    groups: &Groups,
    tallies: &[MinuteTally],
) -> Result<(Vec<Arc<Group>>, NewGroups), StoreError> {
    let mut unknown: BTreeMap<GroupName, &[u8]> = BTreeMap::new();
    for tally in tallies {
        let name = (tally.workspace, tally.group.clone());
        if groups.by_name(&name).is_none() {
            unknown.entry(name).or_insert(&tally.sample);
        }
    }
    let learned =
        if unknown.is_empty() { HashMap::new() } else { find_by_names(connection, unknown).await? };
    let of = |tally: &MinuteTally| {
        let name = (tally.workspace, tally.group.clone());
        let group = groups.by_name(&name).or_else(|| learned.get(&name).cloned());
        group.ok_or_else(|| StoreError::corrupt("usage_groups", "a group has no number"))
    };
    let found = tallies.iter().map(of).collect::<Result<_, _>>()?;
    Ok((found, learned.into_iter().collect()))
}

/// Inserts or reads groups that this process does not know, each with a sample as its template. Sorted, so
/// that replicas that insert the same groups wait for each other and don't deadlock.
async fn find_by_names(
    connection: &mut PgConnection,
    unknown: BTreeMap<GroupName, &[u8]>,
) -> Result<HashMap<GroupName, Arc<Group>>, StoreError> {
    let workspaces: Vec<_> = unknown.keys().map(|(workspace, _)| workspace.bytes()).collect();
    let dimensions: Vec<_> = unknown.keys().map(|(_, dimensions)| dimensions.clone()).collect();
    let samples: Vec<_> = unknown.values().map(|sample| sample.to_vec()).collect();
    let query = sqlx::query(NAME).bind(&workspaces).bind(&dimensions).bind(samples);
    query.execute(&mut *connection).await.map_err(database)?;
    let query = sqlx::query(NUMBERS).bind(&workspaces).bind(&dimensions);
    let mut learned = HashMap::new();
    for row in &query.fetch_all(&mut *connection).await.map_err(database)? {
        let fields = Fields::new("usage_groups", row);
        let (name, number) = ((fields.id("workspace")?, fields.get("dimensions")?), fields.get("id")?);
        let template = match (fields.get::<Option<Vec<u8>>>("template")?, unknown.get(&name)) {
            (Some(template), _) => template,
            (None, sample) => give_template(connection, number, sample.copied().unwrap_or_default()).await?,
        };
        learned.insert(name, Group::new(number, template));
    }
    Ok(learned)
}

async fn give_template(
    connection: &mut PgConnection,
    number: i64,
    sample: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let query = sqlx::query(GIVE_TEMPLATE).bind(number).bind(sample);
    let row = query.fetch_one(connection).await.map_err(database)?;
    Fields::new("usage_groups", &row).get("template")
}

/// Adds a batch's sums to its minutes and hours.
pub(crate) async fn add(
    connection: &mut PgConnection,
    groups: &[Arc<Group>],
    replica: i64,
    tallies: &[MinuteTally],
) -> Result<(), StoreError> {
    if tallies.is_empty() {
        return Ok(());
    }
    let mut sums: BTreeMap<RollUpKey, (WorkspaceId, Tally)> = BTreeMap::new();
    for (MinuteTally { workspace, minute, tally, .. }, group) in tallies.iter().zip(groups) {
        for key in [(MINUTE, *minute, group.number), (HOUR, minute / HOUR * HOUR, group.number)] {
            sums.entry(key).or_insert_with(|| (*workspace, Tally::default())).1.plus(tally);
        }
    }
    add_kept(connection, replica, &mut sums).await?;
    write(connection, replica, &sums).await
}

/// Writes the sums of a whole day.
pub(crate) async fn set_day(
    connection: &mut PgConnection,
    replica: i64,
    workspace: WorkspaceId,
    day: u64,
    sums: BTreeMap<i64, Tally>,
) -> Result<(), StoreError> {
    let placed = sums.into_iter().map(|(group, tally)| ((DAY, day * DAY, group), (workspace, tally)));
    write(connection, replica, &placed.collect()).await
}

async fn add_kept(
    connection: &mut PgConnection,
    replica: i64,
    sums: &mut BTreeMap<RollUpKey, (WorkspaceId, Tally)>,
) -> Result<(), StoreError> {
    let (workspaces, spans, minutes, groups) = columns(sums);
    let query = sqlx::query(READ).bind(replica).bind(workspaces).bind(spans).bind(minutes).bind(groups);
    for row in &query.fetch_all(connection).await.map_err(database)? {
        let fields = Fields::new("usage_minutes", row);
        let key = (fields.number("span_minutes")?, fields.number("minute")?, fields.get("usage_group")?);
        if let Some((_, sum)) = sums.get_mut(&key) {
            sum.plus(&Tally::decode(fields.get("tally")?)?);
        }
    }
    Ok(())
}

async fn write(
    connection: &mut PgConnection,
    replica: i64,
    sums: &BTreeMap<RollUpKey, (WorkspaceId, Tally)>,
) -> Result<(), StoreError> {
    let (workspaces, spans, minutes, groups) = columns(sums);
    let form = |((span, ..), (_, tally)): (&RollUpKey, &(WorkspaceId, Tally))| match *span {
        HOUR => tally.encode_hour(),
        _ => tally.encode(),
    };
    let forms: Vec<Vec<u8>> = sums.iter().map(form).collect::<Result<_, _>>()?;
    let query = sqlx::query(WRITE).bind(replica).bind(workspaces).bind(spans).bind(minutes).bind(groups);
    query.bind(forms).execute(connection).await.map_err(database)?;
    Ok(())
}

type Columns = (Vec<Vec<u8>>, Vec<i64>, Vec<i64>, Vec<i64>);

fn columns(sums: &BTreeMap<RollUpKey, (WorkspaceId, Tally)>) -> Columns {
    let mut columns = Columns::default();
    for ((span, minute, group), (workspace, _)) in sums {
        columns.0.push(workspace.bytes());
        columns.1.push(signed(*span));
        columns.2.push(signed(*minute));
        columns.3.push(*group);
    }
    columns
}
