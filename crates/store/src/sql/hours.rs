//! Where a filter's requests can be, told by the sums: in which groups, and in which hours.
//!
//! Whatever is rare is found without reading what lies between, and what never was costs no record at all.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use domain::{TraceId, WorkspaceId};
use uuid::Uuid;

use super::fields::{ColumnId, Fields};
use super::usage::HOUR;
use super::writing::{signed, unsigned};
use super::{Connection, Database, sql};
use crate::tally::{Group, MINUTE_MS, Tally};
use crate::{RequestFilter, StoreError};

const HOUR_MS: u64 = HOUR * MINUTE_MS;
/// So few groups are looked up one by one. The hours of more are walked, since the newest are likely to have enough; where
/// those don't, up to `LOOKED_UP_MAX` are looked up after all.
const FEW_GROUPS: usize = 16;
const LOOKED_UP_MAX: usize = 256;
const HOURS_AT_ONCE: usize = 200;
const ROWS_AT_ONCE: usize = 1_000;
const PAGES_WALKED: usize = 3;

/// The first trace that can begin at this moment: a trace begins with the moment at which its exchange did.
pub(crate) fn first_trace_of(unix_ms: u64) -> TraceId {
    let [.., a, b, c, d, e, f] = unix_ms.min((1 << 48) - 1).to_be_bytes();
    TraceId::from_uuid(Uuid::from_bytes([a, b, c, d, e, f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]))
}

/// The groups of a workspace whose requests a filter may ask for, or `None` where it asks for all.
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
    // Where groups don't tell what is asked for, neither do their hours.
    Ok(Some(wanted).filter(|wanted| wanted.is_empty() || wanted.len() < rows.len()))
}

/// The workspaces that have groups.
pub(crate) async fn recorded_workspaces(database: &Database) -> Result<Vec<WorkspaceId>, StoreError> {
    let query = sql("SELECT DISTINCT workspace FROM usage_groups ORDER BY workspace");
    let rows = query.rows(&mut database.read().await?).await?;
    rows.iter().map(|row| Fields::new("usage_groups", row).id("workspace")).collect()
}

/// Goes from the newest to the oldest through the stretches of time in which what is asked for can be.
pub(crate) struct Search {
    /// Whatever is asked for lies between these; both are exclusive.
    after: TraceId,
    before: TraceId,
    hours: Option<Hours>,
}

impl Search {
    pub(crate) fn new(filter: &RequestFilter, cursor: Option<TraceId>) -> Self {
        let until = filter.until_unix_ms.map(first_trace_of);
        Self {
            // No trace is nothing but a moment, so nothing is left out.
            after: first_trace_of(filter.since_unix_ms.unwrap_or(0)),
            before: until.into_iter().chain(cursor).min().unwrap_or_else(|| first_trace_of(u64::MAX)),
            hours: None,
        }
    }

    /// The next stretch, between two traces: all at once where no groups are asked for.
    pub(crate) async fn next(
        &mut self,
        reading: &mut Connection,
        workspace: WorkspaceId,
        groups: Option<&BTreeSet<i64>>,
        wanted: usize,
    ) -> Result<Option<(TraceId, TraceId)>, StoreError> {
        let Some(groups) = groups else {
            let is_first = self.hours.is_none();
            self.hours = Some(Hours::default());
            return Ok(is_first.then_some((self.after, self.before)));
        };
        loop {
            let hours = self.hours.get_or_insert_with(|| Hours {
                spans: VecDeque::new(),
                before_minute: minute_of(self.before).saturating_add(1),
            });
            if let Some(span) = hours.spans.pop_front() {
                let (after, before) = (first_trace_of(span.start), first_trace_of(span.end));
                return Ok(Some((after.max(self.after), before.min(self.before))));
            }
            // An hour's row stands at its first minute.
            let minutes = minute_of(self.after) / HOUR * HOUR..hours.before_minute;
            if minutes.is_empty() || groups.is_empty() {
                return Ok(None);
            }
            self.hours = Some(hours_of(reading, workspace, groups, minutes, wanted).await?);
        }
    }
}

fn minute_of(trace: TraceId) -> u64 {
    let [a, b, c, d, e, f, ..] = *trace.as_bytes();
    u64::from_be_bytes([0, 0, a, b, c, d, e, f]) / MINUTE_MS
}

/// Hours of some groups, the newest first, as spans of milliseconds, and the minute up to which they are all.
#[derive(Default)]
struct Hours {
    spans: VecDeque<Range<u64>>,
    /// Where to go on; zero is the end.
    before_minute: u64,
}

/// The newest of these hours that together have `wanted` requests.
async fn hours_of(
    connection: &mut Connection,
    workspace: WorkspaceId,
    groups: &BTreeSet<i64>,
    minutes: Range<u64>,
    wanted: usize,
) -> Result<Hours, StoreError> {
    let walked = match groups.len() {
        ..=FEW_GROUPS => None,
        _ => walked(connection, workspace, groups, &minutes, wanted).await?,
    };
    let (counts, complete_from) = match walked {
        Some(counts) => counts,
        None => looked_up(connection, groups, &minutes, wanted).await?,
    };
    let mut hours = Hours { spans: VecDeque::new(), before_minute: complete_from };
    let mut requests = 0;
    for (minute, count) in counts.into_iter().rev().filter(|(minute, _)| *minute >= complete_from) {
        if requests >= wanted as u64 {
            hours.before_minute = minute + 1;
            return Ok(hours);
        }
        requests += count;
        let start = minute * MINUTE_MS;
        match hours.spans.back_mut().filter(|span| span.start == start + HOUR_MS) {
            Some(later) => later.start = start,
            None => hours.spans.push_back(start..start + HOUR_MS),
        }
    }
    Ok(hours)
}

/// Requests by hour, and the first minute from which on none is missing.
type Counts = (BTreeMap<u64, u64>, u64);

fn add(counts: &mut BTreeMap<u64, u64>, minute: u64, tally: &[u8]) -> Result<(), StoreError> {
    let sums = Tally::decode(tally)?.sums;
    *counts.entry(minute).or_default() += sums.requests + sums.unattempted;
    Ok(())
}

async fn looked_up(
    connection: &mut Connection,
    groups: &BTreeSet<i64>,
    minutes: &Range<u64>,
    wanted: usize,
) -> Result<Counts, StoreError> {
    let (mut counts, mut complete_from) = (BTreeMap::new(), 0);
    // Each of a group's hours has a request at least.
    let most = wanted.clamp(1, HOURS_AT_ONCE);
    for group in groups {
        let query = sql("SELECT minute, tally FROM usage_minutes \
             WHERE usage_group = $1 AND span_minutes = 60 AND minute >= $2 AND minute < $3 ORDER BY minute DESC LIMIT $4")
        .bind(*group)
        .bind(signed(minutes.start))
        .bind(signed(minutes.end))
        .bind(signed(most as u64));
        let rows = query.rows(connection).await?;
        let mut last = 0;
        for row in &rows {
            let fields = Fields::new("usage_minutes", row);
            last = fields.number("minute")?;
            add(&mut counts, last, fields.get("tally")?)?;
        }
        if rows.len() == most {
            // Of replicas, another may have more of this hour; it is read whole with it.
            complete_from = complete_from.max(last);
        }
    }
    Ok((counts, complete_from))
}

/// `None` where it is shorter to look the groups up.
async fn walked(
    connection: &mut Connection,
    workspace: WorkspaceId,
    groups: &BTreeSet<i64>,
    minutes: &Range<u64>,
    wanted: usize,
) -> Result<Option<Counts>, StoreError> {
    let mut counts = BTreeMap::new();
    let mut before = (signed(minutes.end), i64::MIN);
    for page in 0.. {
        // The hour that was walked last may go on.
        let complete_from = unsigned(before.0).saturating_add(1);
        let requests: u64 = counts.range(complete_from..).map(|(_, count)| count).sum();
        if requests >= wanted as u64 || counts.len() >= HOURS_AT_ONCE {
            return Ok(Some((counts, complete_from)));
        }
        if page == PAGES_WALKED && groups.len() <= LOOKED_UP_MAX {
            return Ok(None);
        }
        let query = sql("SELECT minute, usage_group, tally FROM usage_minutes \
             WHERE workspace = $1 AND span_minutes = 60 AND minute >= $2 AND (minute, usage_group) < ($3, $4) \
             ORDER BY minute DESC, usage_group DESC LIMIT $5")
        .bind(workspace.bytes())
        .bind(signed(minutes.start))
        .bind(before.0)
        .bind(before.1)
        .bind(signed(ROWS_AT_ONCE as u64));
        let rows = query.rows(connection).await?;
        for row in &rows {
            let fields = Fields::new("usage_minutes", row);
            let (minute, group) = (fields.number("minute")?, fields.get("usage_group")?);
            before = (signed(minute), group);
            if groups.contains(&group) {
                add(&mut counts, minute, fields.get("tally")?)?;
            }
        }
        if rows.len() < ROWS_AT_ONCE {
            return Ok(Some((counts, 0)));
        }
    }
    Ok(None)
}
