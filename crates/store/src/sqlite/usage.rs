//! Sums over records, by the minute: added to with each batch, and read back for usage and billing.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::{Mode, WorkspaceId};
use sqlx::SqliteConnection;

use super::SqliteStore;
use super::fields::{ColumnId, Fields};
use super::writing::{database, signed};
use crate::StoreError;
use crate::tally::{Group, MINUTE_MS, MinuteTally, Tally};
use crate::usage::{BillingRow, Dimension, GROUPS_MAX, Interval, ROWS_MAX, UsageQuery, UsageRow, Window};

const GROUPS: &str = "usage_groups";
const MINUTES: &str = "usage_minutes";
/// The spans that are summed, in minutes.
const MINUTE: u64 = 1;
const HOUR: u64 = 60;
/// Numbers of groups in memory; past that they are learned anew.
const GROUPS_REMEMBERED_MAX: usize = 10_000;
/// Rows of the roll-up that are in memory at once.
const ROWS_AT_ONCE: usize = 1_000;

type GroupName = (WorkspaceId, Vec<u8>);

/// The numbers of groups that are in the database for good.
#[derive(Default)]
pub(super) struct Groups(Mutex<HashMap<GroupName, i64>>);

/// Groups that a transaction made or found: they count once it is committed.
pub(super) type NewGroups = Vec<(GroupName, i64)>;

impl Groups {
    pub(super) fn remember(&self, groups: NewGroups) {
        let mut known = self.lock();
        if known.len() + groups.len() > GROUPS_REMEMBERED_MAX {
            known.clear();
        }
        known.extend(groups.into_iter().take(GROUPS_REMEMBERED_MAX));
    }

    fn number(&self, name: &GroupName) -> Option<i64> {
        self.lock().get(name).copied()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<GroupName, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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

/// The window in whole minutes as spans: whole hours where it has them, and minutes at its edges.
fn spans(window: Window) -> [(u64, std::ops::Range<u64>); 3] {
    let (start, end) = (window.start_unix_ms / MINUTE_MS, window.end_unix_ms.div_ceil(MINUTE_MS));
    let hours_start = start.next_multiple_of(HOUR).min(end);
    let hours_end = (end / HOUR * HOUR).max(hours_start);
    [(MINUTE, start..hours_start), (HOUR, hours_start..hours_end), (MINUTE, hours_end..end)]
}

type RowName = (Option<u64>, [Option<String>; GROUPS_MAX]);

/// What a query makes of a group: nothing where its filter holds it back, else the values it is shown under.
type Shown = Option<[Option<String>; GROUPS_MAX]>;

pub(super) async fn usage(store: &SqliteStore, query: UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
    let grouped_by: Vec<Dimension> = query.group_by.iter().copied().take(GROUPS_MAX).collect();
    let mut found: BTreeMap<RowName, Tally> = BTreeMap::new();
    let shown = |group: Group<'_>| {
        let value = |place: usize| grouped_by.get(place).and_then(|dimension| group.value(*dimension));
        group.passes(&query.filter).then(|| std::array::from_fn(value))
    };
    let bucket = |minute: u64| query.interval.map(|interval| bucket_of(minute, interval));
    let add = |minute, values: &[Option<String>; GROUPS_MAX], tally: Tally| {
        let name = (bucket(minute), values.clone());
        found.entry(name).or_default().plus(&tally);
        if found.len() as u64 > ROWS_MAX {
            // The last in order: whatever else it is told, the answer ends before it.
            found.pop_last();
        }
    };
    sum(store, query.workspace, query.window, shown, add).await?;
    let row = |((bucket_unix_ms, values), tally): (RowName, Tally)| UsageRow {
        bucket_unix_ms,
        groups: grouped_by.iter().copied().zip(values).collect(),
        sums: tally.sums,
        latency: tally.latency(),
        first_byte: tally.first_byte(),
    };
    Ok(found.into_iter().map(row).collect())
}

fn bucket_of(minute: u64, interval: Interval) -> u64 {
    let unix_ms = minute.saturating_mul(MINUTE_MS);
    unix_ms / interval.ms() * interval.ms()
}

pub(super) async fn billing(
    store: &SqliteStore,
    workspace: WorkspaceId,
    window: Window,
) -> Result<[BillingRow; 3], StoreError> {
    let mut rows = Mode::ALL.map(|mode| BillingRow { mode, sums: Default::default() });
    let shown = |group: Group<'_>| {
        group
            .value(Dimension::Mode)
            .map(|mode| std::array::from_fn(|place| (place == 0).then(|| mode.clone())))
    };
    let add = |_, values: &[Option<String>; GROUPS_MAX], tally: Tally| {
        let mode = values.first().and_then(Option::as_deref);
        if let Some(row) = rows.iter_mut().find(|row| Some(row.mode.as_str()) == mode) {
            row.sums.plus(&tally.sums);
        }
    };
    sum(store, workspace, window, shown, add).await?;
    Ok(rows)
}

/// Hands every row of the window to `add`, with what `shown` made of its group.
async fn sum(
    store: &SqliteStore,
    workspace: WorkspaceId,
    window: Window,
    shown: impl Fn(Group<'_>) -> Shown + Send + Sync,
    mut add: impl FnMut(u64, &[Option<String>; GROUPS_MAX], Tally) + Send,
) -> Result<(), StoreError> {
    // One transaction, so that all rows are of the same moment.
    let mut reading = store.readers().begin().await.map_err(database)?;
    let mut groups: HashMap<i64, Shown> = HashMap::new();
    for (span, minutes) in spans(window) {
        // Before the first group of the first minute.
        let mut after = (signed(minutes.start), i64::MIN);
        loop {
            let query = sqlx::query(
                "SELECT minute, usage_group, tally FROM usage_minutes \
                 WHERE workspace = ?1 AND span_minutes = ?2 AND (minute, usage_group) > (?3, ?4) AND minute < ?5 \
                 ORDER BY minute, usage_group LIMIT ?6",
            );
            let query = query.bind(workspace.bytes()).bind(signed(span)).bind(after.0).bind(after.1);
            let query = query.bind(signed(minutes.end)).bind(signed(ROWS_AT_ONCE as u64));
            let rows = query.fetch_all(&mut *reading).await.map_err(database)?;
            for row in &rows {
                let fields = Fields::new(MINUTES, row);
                let group: i64 = fields.get("usage_group")?;
                after = (fields.get("minute")?, group);
                let values = match groups.entry(group) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(place) => place.insert(read_group(&mut reading, group, &shown).await?),
                };
                if let Some(values) = values {
                    add(fields.number("minute")?, values, Tally::decode(fields.get("tally")?)?);
                }
            }
            if rows.len() < ROWS_AT_ONCE {
                break;
            }
        }
    }
    Ok(())
}

async fn read_group(
    connection: &mut SqliteConnection,
    number: i64,
    shown: impl Fn(Group<'_>) -> Shown + Send + Sync,
) -> Result<Shown, StoreError> {
    let query = sqlx::query("SELECT dimensions FROM usage_groups WHERE id = ?1");
    let row = query.bind(number).fetch_one(connection).await.map_err(database)?;
    Ok(shown(Group::decode(Fields::new(GROUPS, &row).get("dimensions")?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_hours_with_minutes_at_its_edges() {
        let cases = [
            ((0, 0), [0..0, 0..0, 0..0]),
            ((59, 61), [59..60, 60..60, 60..61]),
            ((5, 10), [5..10, 10..10, 10..10]),
            ((60, 180), [60..60, 60..180, 180..180]),
            ((61, 200), [61..120, 120..180, 180..200]),
        ];
        for ((start, end), expected) in cases {
            let window = Window { start_unix_ms: start * MINUTE_MS, end_unix_ms: end * MINUTE_MS };
            assert_eq!(spans(window).map(|(_, minutes)| minutes), expected, "{start}..{end}");
        }
        let ever = spans(Window { start_unix_ms: 0, end_unix_ms: u64::MAX });
        assert_eq!(ever[2].1.end, u64::MAX.div_ceil(MINUTE_MS));
    }
}
