//! Lists and decodes meter records on PostgreSQL.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use database::connection::Connection;
use database::error::{StoreError, StoreFuture};
use database::fields::{ColumnId, Fields, signed};
use database::page::{Listed, Page};
use database::statement::{Row, sql};
use domain::{EndUserId, MeterRecord, SessionId, TraceId, WorkspaceId};

use crate::end_users;
use crate::limits::{GROUPS_NAMED_MAX, SCANNED_MAX};
use crate::packed::{Piece, pieces};
use crate::postgres::PostgresRecords;
use crate::requests::{Records, RequestFilter, RequestRow, passes, request_row};
use crate::sql::hours::{self, Search, TraceRange};
use crate::sql::session_sums;
use crate::sql::usage;
use crate::usage::{UsageQuery, UsageRow, UsageSums, Window};

const TABLE: &str = "meter_records";
/// Rows in memory at once.
const ROWS_AT_ONCE: usize = 500;

/// For each range the newest rows first, up to a page. Each statement reads one table, so that it follows
/// that table's index through the partition of each range and ends when its page is full; a union of both
/// tables was sorted whole.
macro_rules! newest_first {
    ($group:literal, $table:literal, $of_groups:literal) => {
        concat!(
            "SELECT found.trace, found.usage_group, found.body \
             FROM UNNEST(string_to_array($2, ',')::BYTEA[], string_to_array($3, ',')::BYTEA[]) \
                 WITH ORDINALITY AS stretch (after, before, place) \
             CROSS JOIN LATERAL (SELECT trace, ",
            $group,
            " AS usage_group, body FROM ",
            $table,
            " WHERE workspace = $1 AND trace > stretch.after AND trace < stretch.before",
            $of_groups,
            " ORDER BY trace DESC LIMIT $4) AS found \
             ORDER BY stretch.place, found.trace DESC LIMIT $4"
        )
    };
}

const NEWEST_FIRST: &str = newest_first!("usage_group::BIGINT", "meter_records", "");
const NEWEST_OF_GROUPS_FIRST: &str =
    newest_first!("usage_group::BIGINT", "meter_records", " AND usage_group = ANY($5)");
/// Records of the previous version have no group.
const EARLIER_NEWEST_FIRST: &str = newest_first!("0::BIGINT", "records", "");
const OLDEST_FIRST: &str = "SELECT trace, usage_group::BIGINT, body FROM meter_records \
    WHERE workspace = $1 AND trace > $2 AND trace < $3 ORDER BY trace LIMIT $4";
const EARLIER_OLDEST_FIRST: &str = "SELECT trace, 0::BIGINT AS usage_group, body FROM records \
    WHERE workspace = $1 AND trace > $2 AND trace < $3 ORDER BY trace LIMIT $4";
const EARLIER_NEWEST: &str = "SELECT trace FROM records WHERE workspace = $1 ORDER BY trace DESC LIMIT 1";
const ONE: &str = "SELECT trace, usage_group::BIGINT, body FROM meter_records WHERE workspace = $1 AND trace = $2 \
    UNION ALL SELECT trace, 0::BIGINT, body FROM records WHERE workspace = $1 AND trace = $2";

/// The number that means "no group".
const NO_GROUP: i64 = 0;

async fn read(
    store: &PostgresRecords,
    connection: &mut Connection,
    row: &Row,
) -> Result<MeterRecord, StoreError> {
    let fields = Fields::new(TABLE, row);
    let (trace, body): (TraceId, &[u8]) = (fields.id("trace")?, fields.get("body")?);
    let piece = match fields.get::<i64>("usage_group")? {
        NO_GROUP => pieces(body)?.next().ok_or_else(|| StoreError::corrupt(TABLE, "a body is empty"))??,
        group => Piece::Delta { group, difference: body },
    };
    store.draining.groups.read(connection, trace, piece).await
}

/// The current and the previous table of records, as a workspace's lists read them.
struct Tables {
    workspace: WorkspaceId,
    /// The newest record in the previous table: ranges above it skip that table.
    earlier_newest: Option<TraceId>,
    /// If set, only records of these groups are wanted.
    groups: Option<Vec<i64>>,
}

impl Tables {
    async fn new(
        reading: &mut Connection,
        workspace: WorkspaceId,
        groups: Option<&BTreeSet<i64>>,
    ) -> Result<Self, StoreError> {
        let newest = sql(EARLIER_NEWEST).bind(workspace.bytes()).row(reading).await?;
        let earlier_newest = newest.map(|row| Fields::new(TABLE, &row).id("trace")).transpose()?;
        let named = groups.filter(|groups| groups.len() <= GROUPS_NAMED_MAX);
        Ok(Self { workspace, earlier_newest, groups: named.map(|groups| groups.iter().copied().collect()) })
    }

    /// The newest `most` records of both tables within these ranges, with their traces.
    async fn newest(
        &self,
        reading: &mut Connection,
        stretches: &[TraceRange],
        most: usize,
    ) -> Result<Vec<(TraceId, Row)>, StoreError> {
        let bound = |statement, stretches: &[TraceRange]| {
            let query = sql(statement).bind(self.workspace.bytes());
            let query = query.bind(bytea_list(stretches.iter().map(|stretch| stretch.after)));
            let query = query.bind(bytea_list(stretches.iter().map(|stretch| stretch.before)));
            query.bind(signed(most as u64))
        };
        let query = match &self.groups {
            Some(groups) => bound(NEWEST_OF_GROUPS_FIRST, stretches).bind(groups.clone()),
            None => bound(NEWEST_FIRST, stretches),
        };
        let mut rows = query.rows(reading).await?;
        let is_after =
            |stretch: &TraceRange| self.earlier_newest.is_none_or(|newest| stretch.after >= newest);
        let earlier = stretches.get(stretches.partition_point(is_after)..).unwrap_or_default();
        if !earlier.is_empty() {
            rows.extend(bound(EARLIER_NEWEST_FIRST, earlier).rows(reading).await?);
        }
        let mut rows = traced(rows)?;
        rows.sort_by_key(|(trace, _)| Reverse(*trace));
        rows.truncate(most);
        Ok(rows)
    }

    /// The oldest `most` records of both tables within a range.
    async fn oldest(
        &self,
        reading: &mut Connection,
        whole: TraceRange,
        most: usize,
    ) -> Result<Vec<(TraceId, Row)>, StoreError> {
        let bound = |statement| {
            let query = sql(statement).bind(self.workspace.bytes()).bind(whole.after.bytes());
            query.bind(whole.before.bytes()).bind(signed(most as u64))
        };
        let mut rows = bound(OLDEST_FIRST).rows(reading).await?;
        if self.earlier_newest.is_some_and(|newest| newest > whole.after) {
            rows.extend(bound(EARLIER_OLDEST_FIRST).rows(reading).await?);
        }
        let mut rows = traced(rows)?;
        rows.sort_by_key(|(trace, _)| *trace);
        rows.truncate(most);
        Ok(rows)
    }
}

fn traced(rows: Vec<Row>) -> Result<Vec<(TraceId, Row)>, StoreError> {
    rows.into_iter().map(|row| Ok((Fields::new(TABLE, &row).id("trace")?, row))).collect()
}

/// As `bytea` literals, separated by commas.
fn bytea_list(traces: impl Iterator<Item = TraceId>) -> String {
    let written = traces.map(|trace| format!("\\x{}", trace.as_uuid().simple()));
    written.collect::<Vec<_>>().join(",")
}

/// The remaining ranges after everything down to `trace` was read.
fn below(mut stretches: Vec<TraceRange>, trace: TraceId) -> Vec<TraceRange> {
    stretches.retain(|stretch| stretch.after < trace);
    if let Some(newest) = stretches.first_mut() {
        newest.before = newest.before.min(trace);
    }
    stretches
}

/// The matching records, the newest first, each as `made` makes it.
async fn matching<T: Send>(
    store: &PostgresRecords,
    workspace: WorkspaceId,
    filter: RequestFilter,
    page: Page<TraceId>,
    made: fn(MeterRecord) -> T,
    trace: fn(&T) -> TraceId,
) -> Result<Listed<T, TraceId>, StoreError> {
    let wanted = page.rows_wanted();
    let mut reading = store.database.moment_in_order().await?;
    let groups = hours::groups_of(&mut reading, workspace, &filter).await?;
    let tables = Tables::new(&mut reading, workspace, groups.as_ref()).await?;
    let mut search = Search::new(&filter, page.after);
    let (mut found, mut scanned, mut ended_at) = (Vec::new(), 0, None);
    let (mut stretches, mut at_once) = (Vec::new(), (wanted + 1).min(ROWS_AT_ONCE));
    while found.len() <= wanted {
        if stretches.is_empty() {
            // If few of a group's requests match the filter, each search covers more of them than the last.
            let still = (wanted + 1 - found.len()).max(scanned);
            stretches = search.next(&mut reading, workspace, groups.as_ref(), still).await?;
        }
        let Some(oldest) = stretches.last().copied() else { break };
        let rows = tables.newest(&mut reading, &stretches, at_once).await?;
        for (_, row) in &rows {
            let record = read(store, &mut reading, row).await?;
            if passes(&filter, &record) {
                found.push(made(record));
            }
            if found.len() > wanted {
                break;
            }
        }
        scanned += rows.len();
        let last = rows.last().map(|(trace, _)| *trace).filter(|_| rows.len() == at_once);
        if scanned >= SCANNED_MAX && found.len() <= wanted {
            // A short read covers the last range to its start.
            ended_at = Some(last.unwrap_or(oldest.after));
            break;
        }
        stretches = last.map_or_else(Vec::new, |last| below(stretches, last));
        at_once = (at_once * 2).min(ROWS_AT_ONCE);
    }
    reading.roll_back().await;
    Ok(Listed::cut(found, wanted, trace).or_end_at(ended_at))
}

async fn request(
    store: &PostgresRecords,
    workspace: WorkspaceId,
    trace: TraceId,
) -> Result<MeterRecord, StoreError> {
    let mut reading = store.database.read().await?;
    let row = sql(ONE).bind(workspace.bytes()).bind(trace.bytes()).row(&mut reading).await?;
    let row = row.ok_or(StoreError::NotFound { what: "request" })?;
    read(store, &mut reading, &row).await
}

async fn every_record(
    store: &PostgresRecords,
    workspace: WorkspaceId,
    page: Page<TraceId>,
) -> Result<Listed<MeterRecord, TraceId>, StoreError> {
    let wanted = page.rows_wanted();
    let mut reading = store.database.moment_in_order().await?;
    let tables = Tables::new(&mut reading, workspace, None).await?;
    let mut records = Vec::new();
    for (_, row) in &tables.oldest(&mut reading, TraceRange::behind(page.after), wanted + 1).await? {
        records.push(read(store, &mut reading, row).await?);
    }
    reading.roll_back().await;
    Ok(Listed::cut(records, wanted, |record: &MeterRecord| record.trace))
}

impl Records for PostgresRecords {
    fn requests(
        &self,
        workspace: WorkspaceId,
        filter: RequestFilter,
        page: Page<TraceId>,
    ) -> StoreFuture<'_, Listed<RequestRow, TraceId>> {
        Box::pin(matching(self, workspace, filter, page, request_row, |row| row.trace))
    }

    fn matching(
        &self,
        workspace: WorkspaceId,
        filter: RequestFilter,
        page: Page<TraceId>,
    ) -> StoreFuture<'_, Listed<MeterRecord, TraceId>> {
        Box::pin(matching(self, workspace, filter, page, |record| record, |record| record.trace))
    }

    fn request(&self, workspace: WorkspaceId, trace: TraceId) -> StoreFuture<'_, MeterRecord> {
        Box::pin(request(self, workspace, trace))
    }

    fn coverage(&self, window: Window) -> StoreFuture<'_, Window> {
        Box::pin(usage::coverage(&self.database, window))
    }

    fn session_sums(&self, workspace: WorkspaceId, session: SessionId) -> StoreFuture<'_, UsageSums> {
        Box::pin(session_sums::of_session(&self.database, workspace, session))
    }

    fn knows_end_user(&self, workspace: WorkspaceId, end_user: EndUserId) -> StoreFuture<'_, bool> {
        Box::pin(end_users::is_known(&self.database, workspace, end_user))
    }

    fn usage(&self, query: UsageQuery) -> StoreFuture<'_, Vec<UsageRow>> {
        Box::pin(usage::usage(&self.database, query))
    }

    fn every_record(
        &self,
        workspace: WorkspaceId,
        page: Page<TraceId>,
    ) -> StoreFuture<'_, Listed<MeterRecord, TraceId>> {
        Box::pin(every_record(self, workspace, page))
    }

    fn recorded_workspaces(&self) -> StoreFuture<'_, Vec<WorkspaceId>> {
        Box::pin(hours::recorded_workspaces(&self.database))
    }

    fn record_count(&self) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            let row = sql(
                "SELECT (SELECT COUNT(*) FROM meter_records) + (SELECT COUNT(*) FROM records) AS records",
            )
            .one(&mut self.database.read().await?)
            .await?;
            Fields::new(TABLE, &row).number("records")
        })
    }
}
