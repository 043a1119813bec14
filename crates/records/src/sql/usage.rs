//! Reads the usage sums: adds up minutes, hours and days for a query.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed};
use database::handle::Database;
use database::meta;
use database::statement::sql;
use domain::{Nanos, Profile, WorkspaceId};

use crate::end_users;
use crate::limits::{USAGE_DIMENSIONS_MAX, USAGE_ROWS_MAX};
use crate::tally::{Group, MINUTE_MS, Tally, spend};
use crate::upkeep::DAY;
use crate::usage::{Dimension, Interval, UsageQuery, UsageRow, Window};

const GROUPS: &str = "usage_groups";
const MINUTES: &str = "usage_minutes";
/// The spans of sums, in minutes.
pub(crate) const MINUTE: u64 = 1;
pub(crate) const HOUR: u64 = 60;
/// How many roll-up rows are in memory at once.
const ROWS_AT_ONCE: usize = 1_000;
const ROWS: &str = "SELECT minute, usage_group, 0 AS replica, tally FROM usage_minutes \
    WHERE workspace = $1 AND span_minutes = $2 AND (minute, usage_group) > ($3, $4) AND minute < $5 \
    ORDER BY minute, usage_group LIMIT $6";
/// For PostgreSQL, where each replica has rows of its own.
const ROWS_OF_REPLICAS: &str = "SELECT minute, usage_group, replica, tally FROM usage_minutes \
    WHERE workspace = $2 AND span_minutes = $3 AND (minute, usage_group, replica) > ($4, $5, $1) AND minute < $6 \
    ORDER BY minute, usage_group, replica LIMIT $7";

/// The fact with the first minute, counted from 1970, that still has sums per minute; before it there are
/// only hours. Always the first minute of an hour, and never lowered.
pub(crate) const MINUTES_FROM: &str = "usage.minutes_from";

pub(crate) async fn minutes_from(connection: &mut Connection) -> Result<u64, StoreError> {
    let Some(bytes) = meta::find(connection, MINUTES_FROM.to_owned()).await? else { return Ok(0) };
    let bytes = bytes.try_into().map_err(|_| StoreError::corrupt("meta", "a minute has not eight bytes"))?;
    Ok(u64::from_be_bytes(bytes))
}

/// Widens a window to whole hours where minutes are deleted.
fn widened(window: Window, minutes_from: u64) -> Window {
    let (Window { start_unix_ms: start, end_unix_ms: end }, hour) = (window, HOUR * MINUTE_MS);
    let is_forgotten = |unix_ms: u64| start < end && unix_ms < minutes_from.saturating_mul(MINUTE_MS);
    Window {
        start_unix_ms: if is_forgotten(start) { start / hour * hour } else { start },
        end_unix_ms: if is_forgotten(end) { end.next_multiple_of(hour) } else { end },
    }
}

/// The window that an answer for this one covers.
pub(crate) async fn coverage(database: &Database, window: Window) -> Result<Window, StoreError> {
    let minutes_from = minutes_from(&mut database.read().await?).await?;
    Ok(widened(window, minutes_from))
}

/// Splits the window, in whole minutes, into spans: whole hours in the middle and minutes at the edges. With
/// an interval of minutes, minutes only, as far back as they exist.
fn spans(window: Window, interval: Option<Interval>, minutes_from: u64) -> [(u64, Range<u64>); 3] {
    let window = widened(window, minutes_from);
    let (start, end) = (window.start_unix_ms / MINUTE_MS, window.end_unix_ms.div_ceil(MINUTE_MS));
    if interval == Some(Interval::Minute) {
        let kept = minutes_from.min(end).max(start);
        return [(HOUR, start..kept), (MINUTE, kept..end), (MINUTE, end..end)];
    }
    let hours_start = start.next_multiple_of(HOUR).min(end);
    let hours_end = (end / HOUR * HOUR).max(hours_start);
    [(MINUTE, start..hours_start), (HOUR, hours_start..hours_end), (MINUTE, hours_end..end)]
}

/// Replaces hours by whole days where days are summed.
async fn with_days(
    reading: &mut Connection,
    workspace: WorkspaceId,
    spans: [(u64, Range<u64>); 3],
) -> Result<Vec<(u64, Range<u64>)>, StoreError> {
    let mut cut = Vec::with_capacity(spans.len());
    for (span, minutes) in spans {
        if span != HOUR {
            cut.push((span, minutes));
            continue;
        }
        let query =
            sql("SELECT day FROM rolled_days WHERE workspace = $1 AND day >= $2 AND day < $3 ORDER BY day");
        let query = query.bind(workspace.bytes()).bind(signed(minutes.start.div_ceil(DAY)));
        let mut at = minutes.start;
        for row in &query.bind(signed(minutes.end / DAY)).rows(reading).await? {
            let day = Fields::new("rolled_days", row).number("day")? * DAY;
            if day > at {
                cut.push((HOUR, at..day));
            }
            at = day + DAY;
            match cut.last_mut().filter(|(span, days)| *span == DAY && days.end == day) {
                Some((_, days)) => days.end = at,
                None => cut.push((DAY, day..at)),
            }
        }
        cut.push((HOUR, at..minutes.end));
    }
    Ok(cut)
}

type RowName = (Option<u64>, [Option<String>; USAGE_DIMENSIONS_MAX]);

/// A group as the query's rows show it: its dimension values, and the profile that says who pays.
struct SelectedGroup {
    values: [Option<String>; USAGE_DIMENSIONS_MAX],
    profile: Option<Profile>,
}

pub(crate) async fn usage(database: &Database, query: UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
    if end_users::is_by_end_user(&query) {
        return end_users::usage(database, &query).await;
    }
    let grouped_by: Vec<Dimension> = query.group_by.iter().copied().take(USAGE_DIMENSIONS_MAX).collect();
    let mut found: BTreeMap<RowName, (Tally, Nanos)> = BTreeMap::new();
    let select = |group: Group<'_>| {
        let value = |index: usize| grouped_by.get(index).and_then(|dimension| group.value(*dimension));
        let values = group.passes(&query.filter).then(|| std::array::from_fn(value));
        values.map(|values| SelectedGroup { values, profile: group.profile() })
    };
    let bucket = |minute: u64| query.interval.map(|interval| bucket_of(minute, interval));
    let add = |minute, selected: &SelectedGroup, tally: Tally| {
        let (sum, spent) = found.entry((bucket(minute), selected.values.clone())).or_default();
        *spent = spent.plus(spend(selected.profile, &tally.sums));
        sum.plus(&tally);
        if found.len() as u64 > USAGE_ROWS_MAX {
            // Drops the last row in sort order: the answer is cut off before it in any case.
            found.pop_last();
        }
    };
    let of_days = query.interval.is_none_or(|interval| interval == Interval::Day);
    sum(database, query.workspace, (query.window, query.interval), of_days, select, add).await?;
    let row = |((bucket_unix_ms, values), (tally, spend)): (RowName, (Tally, Nanos))| UsageRow {
        bucket_unix_ms,
        groups: grouped_by.iter().copied().zip(values).collect(),
        sums: tally.sums,
        spend,
        latency: tally.latency(),
        first_byte: tally.first_byte(),
    };
    Ok(found.into_iter().map(row).collect())
}

fn bucket_of(minute: u64, interval: Interval) -> u64 {
    let unix_ms = minute.saturating_mul(MINUTE_MS);
    unix_ms / interval.ms() * interval.ms()
}

/// Calls `add` for every row of the window, with what `select` returned for its group.
async fn sum(
    database: &Database,
    workspace: WorkspaceId,
    (window, interval): (Window, Option<Interval>),
    of_days: bool,
    select: impl Fn(Group<'_>) -> Option<SelectedGroup> + Send + Sync,
    mut add: impl FnMut(u64, &SelectedGroup, Tally) + Send,
) -> Result<(), StoreError> {
    // One transaction, so that all rows come from one snapshot.
    let mut reading = database.moment_in_order().await?;
    let mut groups: HashMap<i64, Option<SelectedGroup>> = HashMap::new();
    let minutes_from = minutes_from(&mut reading).await?;
    let spans = spans(window, interval, minutes_from);
    let spans =
        if of_days { with_days(&mut reading, workspace, spans).await? } else { spans.into_iter().collect() };
    for (span, minutes) in spans.into_iter().filter(|(_, minutes)| !minutes.is_empty()) {
        // Before the first row of the first minute.
        let mut after = [signed(minutes.start), i64::MIN, i64::MIN];
        loop {
            let query = match reading {
                Connection::Postgres(_) => sql(ROWS_OF_REPLICAS).bind(after[2]),
                _ => sql(ROWS),
            };
            let rows = query
                .bind(workspace.bytes())
                .bind(signed(span))
                .bind(after[0])
                .bind(after[1])
                .bind(signed(minutes.end))
                .bind(signed(ROWS_AT_ONCE as u64))
                .rows(&mut reading)
                .await?;
            for row in &rows {
                let fields = Fields::new(MINUTES, row);
                let group: i64 = fields.get("usage_group")?;
                after = [fields.get("minute")?, group, fields.get("replica")?];
                let known = match groups.entry(group) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(slot) => slot.insert(read_group(&mut reading, group, &select).await?),
                };
                if let Some(selected) = known {
                    let tally = Tally::decode(fields.get("tally")?)?.with_known_reuse();
                    add(fields.number("minute")?, selected, tally);
                }
            }
            if rows.len() < ROWS_AT_ONCE {
                break;
            }
        }
    }
    reading.roll_back().await;
    Ok(())
}

async fn read_group(
    connection: &mut Connection,
    number: i64,
    select: impl Fn(Group<'_>) -> Option<SelectedGroup> + Send + Sync,
) -> Result<Option<SelectedGroup>, StoreError> {
    let query = sql("SELECT dimensions FROM usage_groups WHERE id = $1");
    let row = query.bind(number).one(connection).await?;
    Ok(select(Group::decode(Fields::new(GROUPS, &row).get("dimensions")?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(minutes: Range<u64>) -> Window {
        Window { start_unix_ms: minutes.start * MINUTE_MS, end_unix_ms: minutes.end * MINUTE_MS }
    }

    #[test]
    fn a_window_is_hours_with_minutes_at_its_edges() {
        let ranges = |minutes, interval| spans(window(minutes), interval, 0).map(|(_, minutes)| minutes);
        let cases = [
            (0..0, [0..0, 0..0, 0..0]),
            (59..61, [59..60, 60..60, 60..61]),
            (5..10, [5..10, 10..10, 10..10]),
            (60..180, [60..60, 60..180, 180..180]),
            (61..200, [61..120, 120..180, 180..200]),
        ];
        for (minutes, expected) in cases {
            assert_eq!(ranges(minutes.clone(), None), expected, "{minutes:?}");
        }
        assert_eq!(ranges(61..200, Some(Interval::Minute)), [61..61, 61..200, 200..200]);
        let ever = spans(Window { start_unix_ms: 0, end_unix_ms: u64::MAX }, None, 0);
        assert_eq!(ever[2].1.end, u64::MAX.div_ceil(MINUTE_MS));
    }

    #[test]
    fn where_minutes_are_forgotten_a_window_is_hours() {
        let cases = [
            (61..200, 60, 61..200),
            (61..200, 120, 60..200),
            (61..170, 180, 60..180),
            (61..180, 180, 60..180),
            (61..190, 240, 60..240),
            (61..61, 240, 61..61),
        ];
        for (requested, minutes_from, expected) in cases {
            assert_eq!(widened(window(requested), minutes_from), window(expected), "from {minutes_from}");
        }
        let by_minute = |minutes, from| spans(window(minutes), Some(Interval::Minute), from);
        assert_eq!(by_minute(61..200, 120), [(HOUR, 60..120), (MINUTE, 120..200), (MINUTE, 200..200)]);
        assert_eq!(by_minute(61..180, 600), [(HOUR, 60..180), (MINUTE, 180..180), (MINUTE, 180..180)]);
    }
}
