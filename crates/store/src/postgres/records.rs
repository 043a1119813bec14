//! Meter records, listed and read back.

use domain::{MeterRecord, TraceId, WorkspaceId};

use super::PostgresStore;
use crate::packed::{Piece, pieces};
use crate::records::{passes, request_row};
use crate::sql::fields::{ColumnId, Fields, after};
use crate::sql::hours::Search;
use crate::sql::writing::signed;
use crate::sql::{Connection, Row, hours, sql, usage};
use crate::usage::{BillingRow, UsageQuery, UsageRow, Window};
use crate::{Listed, Page, Records, RequestFilter, RequestRow, StoreError, StoreFuture};

const TABLE: &str = "meter_records";
/// Rows that are in memory at once.
const ROWS_AT_ONCE: usize = 500;
/// With so many groups a statement names none of them.
const GROUPS_NAMED_MAX: usize = 1_000;
/// Longer than any id, so it comes after all of them.
const AFTER_ALL_IDS: [u8; 17] = [0xFF; 17];

/// What the version before kept is of no group.
const NEWEST_FIRST: &str = "SELECT trace, usage_group, body FROM (\
    SELECT trace, usage_group::BIGINT, body FROM meter_records WHERE workspace = $1 AND trace > $2 AND trace < $3 \
    UNION ALL SELECT trace, 0::BIGINT, body FROM records WHERE workspace = $1 AND trace > $2 AND trace < $3 \
    ) AS kept ORDER BY trace DESC LIMIT $4";
const NEWEST_OF_GROUPS_FIRST: &str = "SELECT trace, usage_group, body FROM (\
    SELECT trace, usage_group::BIGINT, body FROM meter_records WHERE workspace = $1 AND trace > $2 AND trace < $3 \
        AND usage_group = ANY(string_to_array($5, ',')::INTEGER[]) \
    UNION ALL SELECT trace, 0::BIGINT, body FROM records WHERE workspace = $1 AND trace > $2 AND trace < $3 \
    ) AS kept ORDER BY trace DESC LIMIT $4";
const OLDEST_FIRST: &str = "SELECT trace, usage_group, body FROM (\
    SELECT trace, usage_group::BIGINT, body FROM meter_records WHERE workspace = $1 AND trace > $2 AND trace < $3 \
    UNION ALL SELECT trace, 0::BIGINT, body FROM records WHERE workspace = $1 AND trace > $2 AND trace < $3 \
    ) AS kept ORDER BY trace LIMIT $4";
const ONE: &str = "SELECT trace, usage_group::BIGINT, body FROM meter_records WHERE workspace = $1 AND trace = $2 \
    UNION ALL SELECT trace, 0::BIGINT, body FROM records WHERE workspace = $1 AND trace = $2";

async fn read(
    store: &PostgresStore,
    connection: &mut Connection,
    row: &Row,
) -> Result<MeterRecord, StoreError> {
    let fields = Fields::new(TABLE, row);
    let (trace, body): (TraceId, &[u8]) = (fields.id("trace")?, fields.get("body")?);
    let piece = match fields.get::<i64>("usage_group")? {
        0 => pieces(body)?.into_iter().next().ok_or_else(|| StoreError::corrupt(TABLE, "a body is empty"))?,
        group => Piece::Told { group, difference: body },
    };
    store.draining.groups.read(connection, trace, piece).await
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
    let named = groups.as_ref().filter(|groups| groups.len() <= GROUPS_NAMED_MAX);
    let named = named.map(|groups| groups.iter().map(i64::to_string).collect::<Vec<_>>().join(","));
    let mut search = Search::new(&filter, page.after);
    let mut found = Vec::new();
    while let Some(between) =
        search.next(&mut reading, workspace, groups.as_ref(), wanted + 1 - found.len()).await?
    {
        let (after, mut before) = (between.0.bytes(), between.1.bytes());
        let mut at_once = (wanted + 1 - found.len()).min(ROWS_AT_ONCE);
        // Reads on until the page is full or the stretch is at its end: not all that a filter asks is in columns.
        loop {
            let query = sql(if named.is_some() { NEWEST_OF_GROUPS_FIRST } else { NEWEST_FIRST });
            let query = query.bind(workspace.bytes()).bind(&after).bind(&before).bind(signed(at_once as u64));
            let query = if let Some(named) = &named { query.bind(named) } else { query };
            let rows = query.rows(&mut reading).await?;
            for row in &rows {
                let record = read(store, &mut reading, row).await?;
                if passes(&filter, &record) {
                    found.push(request_row(record));
                }
            }
            match rows.last() {
                Some(last) if rows.len() == at_once && found.len() <= wanted => {
                    before = Fields::new(TABLE, last).get("trace")?;
                    at_once = (at_once * 2).min(ROWS_AT_ONCE);
                }
                _ => break,
            }
        }
        if found.len() > wanted {
            break;
        }
    }
    reading.roll_back().await;
    Ok(Listed::cut(found, wanted, |row: &RequestRow| row.trace))
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
    let query =
        sql(OLDEST_FIRST).bind(workspace.bytes()).bind(after(page.after)).bind(AFTER_ALL_IDS.as_slice());
    let mut records = Vec::new();
    for row in &query.bind(signed(wanted as u64 + 1)).rows(&mut reading).await? {
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

    fn billing(&self, workspace: WorkspaceId, window: Window) -> StoreFuture<'_, [BillingRow; 3]> {
        Box::pin(usage::billing(&self.database, workspace, window))
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
