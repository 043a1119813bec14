//! An index over meter records derived from the usage sums: in which groups, and in which minutes of which
//! hours, a filter can match.
//!
//! Rare matches are found without reading the records between them, and a filter that matches no group reads
//! no record at all.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed};
use database::handle::Database;
use database::statement::{Row, sql};
use domain::{TraceId, WorkspaceId};
use uuid::Uuid;

use crate::limits::RANGES_MAX;
use crate::requests::RequestFilter;
use crate::sql::usage::HOUR;
use crate::tally::{Group, MINUTE_MS, Minutes, Tally};

/// How many hours the first lookup covers; if they have too few requests, later ones cover many more.
const HOURS_FIRST: u64 = 2;
const HOURS_GROW: u64 = 16;
/// How many hourly sums are in memory at once.
const ROWS_AT_ONCE: usize = 5_000;
/// Filters by group only, to fit the index: a group belongs to one workspace.
const HOURS: &str = "SELECT minute, tally FROM usage_minutes WHERE usage_group = ANY($1) \
    AND span_minutes = 60 AND minute >= $2 AND minute < $3 LIMIT $4";
const HOURS_ON_SQLITE: &str = "SELECT minute, tally FROM usage_minutes INDEXED BY usage_hours_by_group \
    WHERE usage_group IN (SELECT value FROM json_each($1)) \
    AND span_minutes = 60 AND minute >= $2 AND minute < $3 LIMIT $4";

/// The lowest possible trace of this moment: a trace starts with its exchange's timestamp.
pub(crate) fn first_trace_of(unix_ms: u64) -> TraceId {
    let [.., a, b, c, d, e, f] = unix_ms.min((1 << 48) - 1).to_be_bytes();
    TraceId::from_uuid(Uuid::from_bytes([a, b, c, d, e, f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]))
}

/// The groups of a workspace that a filter can match, or `None` if the filter can't narrow them.
pub(crate) async fn groups_of(
    connection: &mut Connection,
    workspace: WorkspaceId,
    filter: &RequestFilter,
) -> Result<Option<BTreeSet<i64>>, StoreError> {
    let of_all = RequestFilter {
        since_unix_ms: filter.since_unix_ms,
        until_unix_ms: filter.until_unix_ms,
        ..RequestFilter::default()
    };
    if *filter == of_all {
        return Ok(None);
    }
    let query = sql("SELECT id, dimensions FROM usage_groups WHERE workspace = $1").bind(workspace.bytes());
    let mut wanted = BTreeSet::new();
    let rows = query.rows(connection).await?;
    for row in &rows {
        let fields = Fields::new("usage_groups", row);
        if Group::decode(fields.get("dimensions")?)?.may_have(filter) {
            wanted.insert(fields.get("id")?);
        }
    }
    // If the groups don't narrow the search, neither do their hours.
    Ok(Some(wanted).filter(|wanted| wanted.is_empty() || wanted.len() < rows.len()))
}

/// The workspaces that have groups.
pub(crate) async fn recorded_workspaces(database: &Database) -> Result<Vec<WorkspaceId>, StoreError> {
    let query = sql("SELECT DISTINCT workspace FROM usage_groups ORDER BY workspace");
    let rows = query.rows(&mut database.read().await?).await?;
    rows.iter().map(|row| Fields::new("usage_groups", row).id("workspace")).collect()
}

/// The range between two traces, both exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceRange {
    pub after: TraceId,
    pub before: TraceId,
}

impl TraceRange {
    /// All traces after one, or all traces.
    pub(crate) fn behind(trace: Option<TraceId>) -> Self {
        let after = trace.unwrap_or_else(|| TraceId::from_uuid(Uuid::nil()));
        Self { after, before: TraceId::from_uuid(Uuid::max()) }
    }

    pub(crate) fn has(&self, trace: TraceId) -> bool {
        self.after < trace && trace < self.before
    }
}

/// Walks, newest first, through the time ranges in which a filter can match.
pub(crate) struct Search {
    /// Every match is within this range.
    whole: TraceRange,
    /// The minutes whose hours were not looked up yet.
    minutes: Option<Range<u64>>,
    hours_at_once: u64,
}

impl Search {
    pub(crate) fn new(filter: &RequestFilter, cursor: Option<TraceId>) -> Self {
        let until = filter.until_unix_ms.map(first_trace_of);
        // No trace consists of a timestamp alone, so the exclusive bound excludes nothing.
        let after = first_trace_of(filter.since_unix_ms.unwrap_or(0));
        let before = until.into_iter().chain(cursor).min().unwrap_or_else(|| first_trace_of(u64::MAX));
        Self { whole: TraceRange { after, before }, minutes: None, hours_at_once: HOURS_FIRST }
    }

    /// The next ranges, newest first: enough to hold `wanted` requests, or as many as one statement takes;
    /// empty at the end. Without groups, the whole range at once.
    pub(crate) async fn next(
        &mut self,
        reading: &mut Connection,
        workspace: WorkspaceId,
        groups: Option<&BTreeSet<i64>>,
        wanted: usize,
    ) -> Result<Vec<TraceRange>, StoreError> {
        let Some(groups) = groups else {
            let is_first = self.minutes.replace(0..0).is_none();
            return Ok(if is_first { vec![self.whole] } else { Vec::new() });
        };
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        let mut minutes = match &self.minutes {
            Some(minutes) => minutes.clone(),
            None => minutes_with_hours(reading, workspace, self.whole).await?,
        };
        let mut stretches = Vec::new();
        while stretches.is_empty() && !minutes.is_empty() {
            let last_hour = (minutes.end - 1) / HOUR;
            let start = (last_hour.saturating_sub(self.hours_at_once - 1) * HOUR).max(minutes.start);
            let rows = hours_of(reading, groups, start..minutes.end).await?;
            if rows.len() == ROWS_AT_ONCE && self.hours_at_once > 1 {
                self.hours_at_once = self.hours_at_once.div_ceil(HOURS_GROW).min(self.hours_at_once - 1);
                continue;
            }
            let grow = ROWS_AT_ONCE as u64 / 2 / (rows.len() as u64).max(1);
            self.hours_at_once = self.hours_at_once.saturating_mul(grow.clamp(1, HOURS_GROW));
            (stretches, minutes.end) = self.cut(&rows, start, wanted)?;
        }
        self.minutes = Some(minutes);
        Ok(stretches)
    }

    /// The newest hours that together have enough requests, as ranges, and the minute below which hours are
    /// left. `rows` has all hours from `start` on.
    fn cut(&self, rows: &[Row], start: u64, wanted: usize) -> Result<(Vec<TraceRange>, u64), StoreError> {
        let mut hours: BTreeMap<u64, (u64, Minutes)> = BTreeMap::new();
        for row in rows {
            let fields = Fields::new("usage_minutes", row);
            let tally = Tally::decode(fields.get("tally")?)?;
            let (requests, minutes) = hours.entry(fields.number("minute")?).or_default();
            *requests += tally.sums.total_requests();
            minutes.plus(tally.minutes);
        }
        let (mut spans, mut requests): (Vec<Range<u64>>, u64) = (Vec::new(), 0);
        let mut left_end = start;
        for (hour, (of_hour, minutes)) in hours.into_iter().rev() {
            for run in minutes.runs() {
                let run = hour + run.start..hour + run.end;
                match spans.last_mut().filter(|later| later.start == run.end) {
                    Some(later) => later.start = run.start,
                    None => spans.push(run),
                }
            }
            requests += of_hour;
            if requests >= wanted as u64 || spans.len() >= RANGES_MAX {
                left_end = hour;
                break;
            }
        }
        let within = |span: Range<u64>| TraceRange {
            after: first_trace_of(span.start * MINUTE_MS).max(self.whole.after),
            before: first_trace_of(span.end * MINUTE_MS).min(self.whole.before),
        };
        let stretches = spans.into_iter().map(within).filter(|stretch| stretch.after < stretch.before);
        Ok((stretches.collect(), left_end))
    }
}

fn minute_of(trace: TraceId) -> u64 {
    trace.unix_ms() / MINUTE_MS
}

/// From the workspace's first hour to the end of its last, within a range.
async fn minutes_with_hours(
    connection: &mut Connection,
    workspace: WorkspaceId,
    whole: TraceRange,
) -> Result<Range<u64>, StoreError> {
    let query = sql("SELECT \
         (SELECT minute FROM usage_minutes WHERE workspace = $1 AND span_minutes = 60 AND minute >= $2 \
             ORDER BY minute LIMIT 1) AS first, \
         (SELECT minute FROM usage_minutes WHERE workspace = $1 AND span_minutes = 60 AND minute < $3 \
             ORDER BY minute DESC LIMIT 1) AS last")
    .bind(workspace.bytes())
    // An hour's row is keyed by its first minute.
    .bind(signed(minute_of(whole.after) / HOUR * HOUR))
    .bind(signed(minute_of(whole.before) + 1));
    let row = query.one(connection).await?;
    let fields = Fields::new("usage_minutes", &row);
    let (first, last) = (fields.maybe_number("first")?, fields.maybe_number("last")?);
    Ok(first.zip(last).map_or(0..0, |(first, last)| first..last + HOUR))
}

/// The sums of these groups' hours, one per replica. If there are `ROWS_AT_ONCE` rows, some may be missing,
/// except for a single hour, which is always complete.
async fn hours_of(
    connection: &mut Connection,
    groups: &BTreeSet<i64>,
    minutes: Range<u64>,
) -> Result<Vec<Row>, StoreError> {
    let groups: Vec<i64> = groups.iter().copied().collect();
    let query = match connection {
        Connection::Postgres(_) => sql(HOURS),
        _ => sql(HOURS_ON_SQLITE),
    };
    let is_one_hour = minutes.start.saturating_add(HOUR) >= minutes.end;
    let most = if is_one_hour { i64::MAX } else { signed(ROWS_AT_ONCE as u64) };
    let query = query.bind(groups).bind(signed(minutes.start)).bind(signed(minutes.end));
    query.bind(most).rows(connection).await
}
