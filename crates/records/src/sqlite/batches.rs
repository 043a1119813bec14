//! Rows of packed meter records on SQLite: appended, merged in levels while they are small, and scanned in
//! trace order.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use database::connection::Connection;
use database::error::{StoreError, database};
use database::fields::{ColumnId, Fields, signed};
use database::statement::sql;
use domain::{MeterRecord, TraceId, WorkspaceId};
use ledger::SettledRecords;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

use crate::groups::Groups;
use crate::packed::{Packed, Piece, pieces, traces};
use crate::sql::hours::TraceRange;

const TABLE: &str = "record_batches";
/// How many rows of a level are merged into one of the next.
const MERGED_AT_ONCE: i64 = 8;
const LEVEL_LAST: i64 = 3;
/// Above this size rows are not merged: eight rows just below it still fit into one.
const LARGE_RECORDS: usize = 256;
const LARGE_BYTES: usize = 128 * 1024;
/// Rows in memory at once while duplicates are searched.
const ROWS_AT_ONCE: i64 = 16;
/// Longer than any id, so it sorts after all of them.
const AFTER_ALL_IDS: [u8; 17] = [0xFF; 17];

/// The level of a new row: that of merged rows of its size.
fn level(row: &Packed) -> i64 {
    let fits = |records, bytes| row.count() < records && row.body.len() < bytes;
    let of_size = |levels: usize| fits(LARGE_RECORDS >> (3 * levels), LARGE_BYTES >> (3 * levels));
    let level = (0..LEVEL_LAST).zip([2, 1, 0]).find(|(_, below)| of_size(*below));
    level.map_or(LEVEL_LAST, |(level, _)| level)
}

/// Inserts a row and merges full levels, like an LSM tree: each record is rewritten at most `LEVEL_LAST`
/// times, and lists read few rows however slowly the records arrived.
pub(crate) async fn add(connection: &mut SqliteConnection, row: Packed) -> Result<(), StoreError> {
    let mut level = level(&row);
    insert(connection, row, level).await?;
    while level < LEVEL_LAST && count_of_level(connection, level).await? >= MERGED_AT_ONCE {
        level = merge(connection, level).await?;
    }
    Ok(())
}

async fn insert(connection: &mut SqliteConnection, row: Packed, level: i64) -> Result<(), StoreError> {
    let query = sqlx::query(
        "INSERT INTO record_batches (first_trace, last_trace, first_started_unix_ms, last_started_unix_ms, records, \
         level, workspaces, traces, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    );
    query
        .bind(row.first_trace.bytes())
        .bind(row.last_trace.bytes())
        .bind(signed(row.first_started_unix_ms))
        .bind(signed(row.last_started_unix_ms))
        .bind(signed(row.count() as u64))
        .bind(level)
        .bind(row.workspaces)
        .bind(row.traces)
        .bind(row.body)
        .execute(connection)
        .await
        .map_err(database)?;
    Ok(())
}

async fn count_of_level(connection: &mut SqliteConnection, level: i64) -> Result<i64, StoreError> {
    let query = sqlx::query("SELECT COUNT(*) FROM record_batches WHERE level = ?1 AND level < 3");
    let row = query.bind(level).fetch_one(connection).await.map_err(database)?;
    row.try_get(0).map_err(|error| StoreError::corrupt(TABLE, error))
}

/// Merges all rows of a level into one; returns that one's level.
async fn merge(connection: &mut SqliteConnection, level: i64) -> Result<i64, StoreError> {
    let query = sqlx::query(
        "SELECT first_trace, last_trace, first_started_unix_ms, last_started_unix_ms, workspaces, traces, body \
         FROM record_batches WHERE level = ?1 AND level < 3 ORDER BY id",
    );
    let rows = query.bind(level).fetch_all(&mut *connection).await.map_err(database)?;
    let rows = rows.iter().map(read_packed).collect::<Result<_, _>>()?;
    let delete = sqlx::query("DELETE FROM record_batches WHERE level = ?1 AND level < 3").bind(level);
    delete.execute(&mut *connection).await.map_err(database)?;
    let next = level + 1;
    if let Some(merged) = Packed::merge(rows)? {
        insert(connection, merged, next).await?;
    }
    Ok(next)
}

fn read_packed(row: &SqliteRow) -> Result<Packed, StoreError> {
    let fields = Fields::new(TABLE, row);
    Ok(Packed {
        first_trace: fields.id("first_trace")?,
        last_trace: fields.id("last_trace")?,
        first_started_unix_ms: fields.number("first_started_unix_ms")?,
        last_started_unix_ms: fields.number("last_started_unix_ms")?,
        workspaces: fields.get("workspaces")?,
        traces: fields.get("traces")?,
        body: fields.get("body")?,
    })
}

/// Which of these records are stored already. Reads only traces, and only of rows whose range overlaps
/// theirs.
pub(crate) async fn known(
    connection: &mut SqliteConnection,
    records: &SettledRecords,
) -> Result<HashSet<TraceId>, StoreError> {
    let wanted: HashSet<TraceId> = records.traces().collect();
    let (Some(first), Some(last)) = (wanted.iter().min(), wanted.iter().max()) else {
        return Ok(HashSet::new());
    };
    let mut found = HashSet::new();
    let mut after = (first.bytes(), i64::MIN);
    loop {
        let query = sqlx::query(
            "SELECT id, last_trace, traces FROM record_batches \
             WHERE (last_trace, id) > (?1, ?2) AND first_trace <= ?3 ORDER BY last_trace, id LIMIT ?4",
        );
        let query = query.bind(after.0).bind(after.1).bind(last.bytes()).bind(ROWS_AT_ONCE);
        let rows = query.fetch_all(&mut *connection).await.map_err(database)?;
        let Some(last_row) = rows.last() else { return Ok(found) };
        let fields = Fields::new(TABLE, last_row);
        after = (fields.get("last_trace")?, fields.get("id")?);
        for row in &rows {
            let named: &[u8] = Fields::new(TABLE, row).get("traces")?;
            found.extend(traces(named).filter(|trace| wanted.contains(trace)));
        }
    }
}

/// Finds one record through the rows whose range and traces contain it.
pub(crate) async fn find(
    connection: &mut Connection,
    groups: &Groups,
    workspace: WorkspaceId,
    trace: TraceId,
) -> Result<Option<MeterRecord>, StoreError> {
    // `instr` may also match across two ids, hence the loop. Most lookups are for recent records, hence the
    // index.
    let query = sql("SELECT traces, body FROM record_batches INDEXED BY record_batches_by_last \
         WHERE last_trace >= $1 AND first_trace <= $1 AND instr(traces, $1) > 0 AND instr(workspaces, $2) > 0");
    for row in &query.bind(trace.bytes()).bind(workspace.bytes()).rows(connection).await? {
        let fields = Fields::new(TABLE, row);
        let index = traces(fields.get("traces")?).position(|named| named == trace);
        if let Some(index) = index
            && let Some(piece) = pieces(fields.get("body")?)?.nth(index)
        {
            let record = groups.read(connection, trace, piece?).await?;
            return Ok(Some(record).filter(|record| record.workspace == workspace));
        }
    }
    Ok(None)
}

/// Deletes a few of the rows whose records are all before this trace; returns how many records they had.
pub(crate) async fn forget(connection: &mut SqliteConnection, before: TraceId) -> Result<i64, StoreError> {
    let query = sqlx::query(
        "DELETE FROM record_batches WHERE id IN \
         (SELECT id FROM record_batches WHERE last_trace < ?1 ORDER BY last_trace LIMIT ?2) RETURNING records",
    );
    let rows = query.bind(before.bytes()).bind(ROWS_AT_ONCE).fetch_all(connection).await.map_err(database)?;
    rows.iter().map(|row| Fields::new(TABLE, row).get::<i64>("records")).sum()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    NewestFirst,
    OldestFirst,
}

/// The parameters of a scan. The statement filters by the row's columns, `take` by the rest.
#[derive(Debug, Clone)]
pub(crate) struct Scan<'a> {
    pub order: Order,
    pub wanted: usize,
    pub workspace: WorkspaceId,
    /// Newest first; at least one that is not empty.
    pub stretches: &'a [TraceRange],
    /// Records of other groups are skipped without decoding them.
    pub groups: Option<&'a BTreeSet<i64>>,
    /// After this many records no further row is read; only for scans with the newest first.
    pub scanned_max: usize,
}

pub(crate) struct ScanResult<T> {
    pub rows: Vec<T>,
    pub scanned: usize,
    /// Where a scan gave up before it had found enough: nothing from here on was read.
    pub ended_at: Option<TraceId>,
}

const NEWER_ROWS_FIRST: &str = "SELECT id, first_trace, last_trace FROM record_batches \
    WHERE (last_trace, id) < ($1, $2) AND first_trace < $4 AND last_trace > $3 AND instr(workspaces, $5) > 0 \
    ORDER BY last_trace DESC, id DESC LIMIT $6";
const OLDER_ROWS_FIRST: &str = "SELECT id, first_trace, last_trace FROM record_batches \
    WHERE (first_trace, id) > ($1, $2) AND last_trace > $3 AND first_trace < $4 AND instr(workspaces, $5) > 0 \
    ORDER BY first_trace, id LIMIT $6";
const BODIES: &str =
    "SELECT id, traces, body FROM record_batches WHERE id IN (SELECT value FROM json_each($1))";
/// Most scans end in the first row; rare matches take many.
const RANGES_AT_FIRST: usize = 4;
const RANGES_AT_ONCE: usize = 256;
const BODIES_AT_ONCE: usize = 8;

impl Scan<'_> {
    /// The stretches that overlap a row.
    fn within(&self, range: &RowRange) -> &[TraceRange] {
        let newest = self.stretches.partition_point(|stretch| stretch.after >= range.last);
        let end = self.stretches.partition_point(|stretch| stretch.before > range.first);
        self.stretches.get(newest..end).unwrap_or_default()
    }

    fn newest(&self) -> Option<TraceId> {
        self.stretches.first().map(|stretch| stretch.before)
    }
}

/// A row's first and last trace, both inclusive.
struct RowRange {
    id: i64,
    first: TraceId,
    last: TraceId,
}

impl RowRange {
    /// The bound in scan order: no later row has a record beyond it.
    const fn edge(&self, order: Order) -> TraceId {
        match order {
            Order::NewestFirst => self.last,
            Order::OldestFirst => self.first,
        }
    }
}

/// Returns the first `wanted` results of `take`, in order. Ranges overlap, so further rows are read as long
/// as they may have a record that sorts before one already found; few bodies are in memory at a time. The
/// caller's transaction keeps rows from being merged during the scan.
pub(crate) async fn walk<T>(
    connection: &mut Connection,
    groups: &Groups,
    walk: Scan<'_>,
    mut take: impl FnMut(MeterRecord) -> Option<T> + Send,
) -> Result<ScanResult<T>, StoreError> {
    let (mut scanned, mut ended_at) = (0, None);
    let mut found = Matches { order: walk.order, wanted: walk.wanted, rows: BTreeMap::new() };
    let mut rows = Rows::new(&walk);
    while let Some((range, traces, body)) = rows.next(connection, &walk, &found).await? {
        // No unread record is newer than this row's edge, so the next page starts with the edge: before the
        // trace above it.
        let edge = range.edge(walk.order);
        let above = TraceId::from_uuid(Uuid::from_u128(edge.as_uuid().as_u128().saturating_add(1)));
        if scanned >= walk.scanned_max && walk.newest().is_some_and(|before| above < before) {
            found.keep_above(edge);
            ended_at = Some(above);
            break;
        }
        for (trace, piece) in candidates(&walk, &range, &traces, &body)? {
            if !found.has_room_for(trace) {
                break;
            }
            scanned += 1;
            if let Some(taken) = take(groups.read(connection, trace, piece).await?) {
                found.put(trace, taken);
            }
        }
    }
    Ok(ScanResult { rows: found.into_rows(), scanned, ended_at })
}

/// A row's records that are within the scan and may be of its groups, in scan order.
fn candidates<'b>(
    walk: &Scan<'_>,
    range: &RowRange,
    named: &[u8],
    body: &'b [u8],
) -> Result<Vec<(TraceId, Piece<'b>)>, StoreError> {
    let stretches = walk.within(range);
    let is_wanted = |group| walk.groups.is_none_or(|groups| groups.contains(&group));
    let mut candidates = Vec::new();
    let mut pieces = pieces(body)?;
    for trace in traces(named) {
        let piece = pieces.next().ok_or_else(|| StoreError::corrupt(TABLE, "a record is missing"))??;
        // The newest of the stretches that begin before the trace.
        let index = stretches.partition_point(|stretch| stretch.after >= trace);
        if stretches.get(index).is_some_and(|stretch| stretch.has(trace)) && piece.may_be_of(is_wanted) {
            candidates.push((trace, piece));
        }
    }
    candidates.sort_unstable_by_key(|(trace, _)| *trace);
    if walk.order == Order::NewestFirst {
        candidates.reverse();
    }
    Ok(candidates)
}

/// A row's range, traces and body.
type WaitingRow = (RowRange, Vec<u8>, Vec<u8>);

/// The rows of a scan, in the order of their edges.
struct Rows {
    /// The cursor: the last range that was read.
    at: (Vec<u8>, i64),
    ranges_at_once: usize,
    bodies_at_once: usize,
    is_last: bool,
    ranges: VecDeque<RowRange>,
    held: VecDeque<WaitingRow>,
}

impl Rows {
    fn new(walk: &Scan<'_>) -> Self {
        let at = match walk.order {
            Order::NewestFirst => (AFTER_ALL_IDS.to_vec(), i64::MAX),
            Order::OldestFirst => (Vec::new(), i64::MIN),
        };
        Self {
            at,
            ranges_at_once: RANGES_AT_FIRST,
            bodies_at_once: 1,
            is_last: false,
            ranges: VecDeque::new(),
            held: VecDeque::new(),
        }
    }

    /// The next row that may still contribute to the results.
    async fn next<T>(
        &mut self,
        connection: &mut Connection,
        walk: &Scan<'_>,
        found: &Matches<T>,
    ) -> Result<Option<WaitingRow>, StoreError> {
        loop {
            if let Some(held) = self.held.pop_front() {
                return Ok(Some(held).filter(|(range, ..)| found.has_room_for(range.edge(walk.order))));
            }
            if self.ranges.is_empty() && !self.is_last {
                self.read_ranges(connection, walk).await?;
                continue;
            }
            if self.ranges.front().is_none_or(|range| !found.has_room_for(range.edge(walk.order))) {
                return Ok(None);
            }
            self.read_bodies(connection).await?;
        }
    }

    async fn read_ranges(&mut self, connection: &mut Connection, walk: &Scan<'_>) -> Result<(), StoreError> {
        let statement = match walk.order {
            Order::NewestFirst => NEWER_ROWS_FIRST,
            Order::OldestFirst => OLDER_ROWS_FIRST,
        };
        let oldest = walk.stretches.last().map(|stretch| stretch.after);
        let query = sql(statement)
            .bind(&self.at.0)
            .bind(self.at.1)
            .bind(oldest.map_or(Vec::new(), |trace| trace.bytes()))
            .bind(walk.newest().map_or(Vec::new(), |trace| trace.bytes()))
            .bind(walk.workspace.bytes())
            .bind(signed(self.ranges_at_once as u64));
        let rows = query.rows(connection).await?;
        self.is_last = rows.len() < self.ranges_at_once;
        self.ranges_at_once = (self.ranges_at_once * 4).min(RANGES_AT_ONCE);
        for row in &rows {
            let fields = Fields::new(TABLE, row);
            let (first, last) = (fields.id("first_trace")?, fields.id("last_trace")?);
            let range = RowRange { id: fields.get("id")?, first, last };
            self.at = (range.edge(walk.order).bytes(), range.id);
            if !walk.within(&range).is_empty() {
                self.ranges.push_back(range);
            }
        }
        Ok(())
    }

    async fn read_bodies(&mut self, connection: &mut Connection) -> Result<(), StoreError> {
        let some = self.ranges.len().min(self.bodies_at_once);
        let ranges: Vec<_> = self.ranges.drain(..some).collect();
        self.bodies_at_once = (self.bodies_at_once * 2).min(BODIES_AT_ONCE);
        let ids: Vec<i64> = ranges.iter().map(|range| range.id).collect();
        let mut bodies = HashMap::new();
        for row in &sql(BODIES).bind(ids).rows(connection).await? {
            let fields = Fields::new(TABLE, row);
            bodies.insert(fields.get::<i64>("id")?, (fields.get("traces")?, fields.get("body")?));
        }
        for range in ranges {
            let (traces, body) =
                bodies.remove(&range.id).ok_or_else(|| StoreError::corrupt(TABLE, "a row is missing"))?;
            self.held.push_back((range, traces, body));
        }
        Ok(())
    }
}

/// The first `wanted` matches so far.
struct Matches<T> {
    order: Order,
    wanted: usize,
    rows: BTreeMap<TraceId, T>,
}

impl<T> Matches<T> {
    /// Whether a record with this trace would be among them.
    fn has_room_for(&self, trace: TraceId) -> bool {
        let last = match self.order {
            Order::NewestFirst => self.rows.first_key_value().map(|(last, _)| trace > *last),
            Order::OldestFirst => self.rows.last_key_value().map(|(last, _)| trace < *last),
        };
        self.rows.len() < self.wanted || last.unwrap_or(false)
    }

    fn put(&mut self, trace: TraceId, row: T) {
        self.rows.insert(trace, row);
        if self.rows.len() > self.wanted {
            match self.order {
                Order::NewestFirst => self.rows.pop_first(),
                Order::OldestFirst => self.rows.pop_last(),
            };
        }
    }

    fn keep_above(&mut self, trace: TraceId) {
        self.rows.retain(|found, _| *found > trace);
    }

    fn into_rows(self) -> Vec<T> {
        match self.order {
            Order::NewestFirst => self.rows.into_values().rev().collect(),
            Order::OldestFirst => self.rows.into_values().collect(),
        }
    }
}
