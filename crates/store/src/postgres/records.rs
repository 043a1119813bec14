//! Meter records, listed and read back.

use std::collections::BTreeSet;

use domain::{MeterRecord, TraceId, WorkspaceId};

use super::PostgresStore;
use crate::packed::{Piece, pieces};
use crate::records::{LOOKED_AT_MAX, passes, request_row};
use crate::sql::fields::{ColumnId, Fields, after};
use crate::sql::hours::Search;
use crate::sql::writing::signed;
use crate::sql::{Connection, Row, hours, sql, usage};
use crate::usage::{UsageQuery, UsageRow};
use crate::{Listed, Page, Records, RequestFilter, RequestRow, StoreError, StoreFuture};

const TABLE: &str = "meter_records";
/// Rows that are in memory at once.
const ROWS_AT_ONCE: usize = 500;
/// With so many groups a statement names none of them.
const GROUPS_NAMED_MAX: usize = 1_000;
/// Longer than any id, so it comes after all of them.
const AFTER_ALL_IDS: [u8; 17] = [0xFF; 17];

/// Each statement is about one table, so that it follows that table's index through the newest partition and ends when
/// its page is full; both in one were sorted whole.
const NEWEST_FIRST: &str = "SELECT trace, usage_group::BIGINT, body FROM meter_records \
    WHERE workspace = $1 AND trace > $2 AND trace < $3 ORDER BY trace DESC LIMIT $4";
const NEWEST_OF_GROUPS_FIRST: &str = "SELECT trace, usage_group::BIGINT, body FROM meter_records \
    WHERE workspace = $1 AND trace > $2 AND trace < $3 AND usage_group = ANY(string_to_array($5, ',')::INTEGER[]) \
    ORDER BY trace DESC LIMIT $4";
const OLDEST_FIRST: &str = "SELECT trace, usage_group::BIGINT, body FROM meter_records \
    WHERE workspace = $1 AND trace > $2 AND trace < $3 ORDER BY trace LIMIT $4";
/// What the version before kept is of no group.
const EARLIER_NEWEST_FIRST: &str = "SELECT trace, 0::BIGINT AS usage_group, body FROM records \
    WHERE workspace = $1 AND trace > $2 AND trace < $3 ORDER BY trace DESC LIMIT $4";
const EARLIER_OLDEST_FIRST: &str = "SELECT trace, 0::BIGINT AS usage_group, body FROM records \
    WHERE workspace = $1 AND trace > $2 AND trace < $3 ORDER BY trace LIMIT $4";
const EARLIER_NEWEST: &str = "SELECT trace FROM records WHERE workspace = $1 ORDER BY trace DESC LIMIT 1";
const ONE: &str = "SELECT trace, usage_group::BIGINT, body FROM meter_records WHERE workspace = $1 AND trace = $2 \
    UNION ALL SELECT trace, 0::BIGINT, body FROM records WHERE workspace = $1 AND trace = $2";

/// The number that stands for what is of no group.
const NO_GROUP: i64 = 0;

async fn read(
    store: &PostgresStore,
    connection: &mut Connection,
    row: &Row,
) -> Result<MeterRecord, StoreError> {
    let fields = Fields::new(TABLE, row);
    let (trace, body): (TraceId, &[u8]) = (fields.id("trace")?, fields.get("body")?);
    let piece = match fields.get::<i64>("usage_group")? {
        NO_GROUP => {
            pieces(body)?.into_iter().next().ok_or_else(|| StoreError::corrupt(TABLE, "a body is empty"))?
        }
        group => Piece::Told { group, difference: body },
    };
    store.draining.groups.read(connection, trace, piece).await
}

/// The two tables that lists of a workspace read.
struct Tables {
    workspace: WorkspaceId,
    /// The newest that the version before kept: above it nothing is looked for there.
    earlier_newest: Option<Vec<u8>>,
    /// Numbers with commas between them, where only these groups are wanted.
    groups: Option<String>,
}

/// Both ends are exclusive.
struct Stretch {
    after: Vec<u8>,
    before: Vec<u8>,
}

impl Tables {
    async fn new(
        reading: &mut Connection,
        workspace: WorkspaceId,
        groups: Option<&BTreeSet<i64>>,
    ) -> Result<Self, StoreError> {
        let newest = sql(EARLIER_NEWEST).bind(workspace.bytes()).row(reading).await?;
        let earlier_newest = newest.map(|row| Fields::new(TABLE, &row).get("trace")).transpose()?;
        let named = groups.filter(|groups| groups.len() <= GROUPS_NAMED_MAX);
        let groups = named.map(|groups| groups.iter().map(i64::to_string).collect::<Vec<_>>().join(","));
        Ok(Self { workspace, earlier_newest, groups })
    }

    /// The first `most` of both in this order, with their traces.
    async fn rows(
        &self,
        reading: &mut Connection,
        order: Order,
        stretch: &Stretch,
        most: usize,
    ) -> Result<Vec<(Vec<u8>, Row)>, StoreError> {
        let (statement, earlier) = match (order, &self.groups) {
            (Order::NewestFirst, None) => (NEWEST_FIRST, EARLIER_NEWEST_FIRST),
            (Order::NewestFirst, Some(_)) => (NEWEST_OF_GROUPS_FIRST, EARLIER_NEWEST_FIRST),
            (Order::OldestFirst, _) => (OLDEST_FIRST, EARLIER_OLDEST_FIRST),
        };
        let bound = |statement| {
            let query =
                sql(statement).bind(self.workspace.bytes()).bind(&stretch.after).bind(&stretch.before);
            query.bind(signed(most as u64))
        };
        let query = bound(statement);
        let query = match &self.groups {
            Some(named) if order == Order::NewestFirst => query.bind(named),
            _ => query,
        };
        let mut rows = query.rows(reading).await?;
        if self.earlier_newest.as_ref().is_some_and(|newest| *newest > stretch.after) {
            rows.extend(bound(earlier).rows(reading).await?);
        }
        let traced = |row: Row| Ok((Fields::new(TABLE, &row).get("trace")?, row));
        let mut rows = rows.into_iter().map(traced).collect::<Result<Vec<(Vec<u8>, Row)>, StoreError>>()?;
        rows.sort_by(|(one, _), (other, _)| match order {
            Order::NewestFirst => other.cmp(one),
            Order::OldestFirst => one.cmp(other),
        });
        rows.truncate(most);
        Ok(rows)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    NewestFirst,
    OldestFirst,
}

async fn requests(
    store: &PostgresStore,
    workspace: WorkspaceId,
    filter: RequestFilter,
    page: Page<TraceId>,
) -> Result<Listed<RequestRow, TraceId>, StoreError> {
    let wanted = page.rows_wanted();
    let mut reading = store.database.moment_in_order().await?;
    let groups = hours::groups_of(&mut reading, workspace, &filter).await?;
    let tables = Tables::new(&mut reading, workspace, groups.as_ref()).await?;
    let mut search = Search::new(&filter, page.after);
    let (mut found, mut looked_at, mut ended_at) = (Vec::new(), 0, None);
    let mut at_once = (wanted + 1).min(ROWS_AT_ONCE);
    while found.len() <= wanted && ended_at.is_none() {
        let still = wanted + 1 - found.len();
        let Some(between) = search.next(&mut reading, workspace, groups.as_ref(), still).await? else {
            break;
        };
        let mut stretch = Stretch { after: between.0.bytes(), before: between.1.bytes() };
        // Reads on until the page is full or the stretch is at its end: not all that a filter asks is in columns.
        loop {
            let mut rows = tables.rows(&mut reading, Order::NewestFirst, &stretch, at_once).await?;
            for (_, row) in &rows {
                let record = read(store, &mut reading, row).await?;
                if passes(&filter, &record) {
                    found.push(request_row(record));
                }
                if found.len() > wanted {
                    break;
                }
            }
            looked_at += rows.len();
            let is_full = rows.len() == at_once;
            let last = rows.pop().filter(|_| is_full && found.len() <= wanted);
            if looked_at >= LOOKED_AT_MAX {
                // At a stretch's end, all after its beginning was looked at.
                let last = last.map(|(_, row)| Fields::new(TABLE, &row).id("trace")).transpose()?;
                ended_at = Some(last.unwrap_or(between.0));
                break;
            }
            let Some((last, _)) = last else { break };
            stretch.before = last;
            at_once = (at_once * 2).min(ROWS_AT_ONCE);
        }
    }
    reading.roll_back().await;
    Ok(Listed::cut(found, wanted, |row: &RequestRow| row.trace).or_ended_at(ended_at))
}

async fn request(
    store: &PostgresStore,
    workspace: WorkspaceId,
    trace: TraceId,
) -> Result<MeterRecord, StoreError> {
    let mut reading = store.database.read().await?;
    let row = sql(ONE).bind(workspace.bytes()).bind(trace.bytes()).row(&mut reading).await?;
    let row = row.ok_or(StoreError::NotFound { what: "request" })?;
    read(store, &mut reading, &row).await
}

async fn every_record(
    store: &PostgresStore,
    workspace: WorkspaceId,
    page: Page<TraceId>,
) -> Result<Listed<MeterRecord, TraceId>, StoreError> {
    let wanted = page.rows_wanted();
    let mut reading = store.database.moment_in_order().await?;
    let tables = Tables::new(&mut reading, workspace, None).await?;
    let stretch = Stretch { after: after(page.after), before: AFTER_ALL_IDS.to_vec() };
    let mut records = Vec::new();
    for (_, row) in &tables.rows(&mut reading, Order::OldestFirst, &stretch, wanted + 1).await? {
        records.push(read(store, &mut reading, row).await?);
    }
    reading.roll_back().await;
    Ok(Listed::cut(records, wanted, |record: &MeterRecord| record.trace))
}

impl Records for PostgresStore {
    fn requests(
        &self,
        workspace: WorkspaceId,
        filter: RequestFilter,
        page: Page<TraceId>,
    ) -> StoreFuture<'_, Listed<RequestRow, TraceId>> {
        Box::pin(requests(self, workspace, filter, page))
    }

    fn request(&self, workspace: WorkspaceId, trace: TraceId) -> StoreFuture<'_, MeterRecord> {
        Box::pin(request(self, workspace, trace))
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
