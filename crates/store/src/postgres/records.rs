//! Meter records, listed and read back.

use domain::{MeterRecord, TraceId, WorkspaceId};

use super::PostgresStore;
use crate::packed::{frames, unpack};
use crate::records::{passes, request_row};
use crate::sql::fields::{ColumnId, Fields, after};
use crate::sql::writing::signed;
use crate::sql::{Row, sql, usage};
use crate::usage::{BillingRow, UsageQuery, UsageRow, Window};
use crate::{Listed, Page, Records, RequestFilter, RequestRow, StoreError, StoreFuture};

const TABLE: &str = "records";
/// Rows that are in memory at once.
const ROWS_AT_ONCE: usize = 500;
/// Longer than any id, so it comes after all of them.
const AFTER_ALL_IDS: [u8; 17] = [0xFF; 17];

fn read(row: &Row) -> Result<MeterRecord, StoreError> {
    let body: &[u8] = Fields::new(TABLE, row).get("body")?;
    let frames = frames(body)?;
    frames.first().map_or_else(|| Err(StoreError::corrupt(TABLE, "a body is empty")), |frame| unpack(frame))
}

/// Reads on until a page is full: what a filter asks of a body is not asked of the database.
async fn requests(
    store: &PostgresStore,
    workspace: WorkspaceId,
    filter: RequestFilter,
    page: Page<TraceId>,
) -> Result<Listed<RequestRow, TraceId>, StoreError> {
    let wanted = page.rows_wanted();
    let mut connection = store.database.read().await?;
    let mut before = page.after.map_or_else(|| AFTER_ALL_IDS.to_vec(), |trace| trace.bytes());
    let (mut found, mut at_once) = (Vec::new(), (wanted + 1).min(ROWS_AT_ONCE));
    loop {
        let query = sql("SELECT trace, body FROM records WHERE workspace = $1 AND trace < $2 \
             AND started_unix_ms >= $3 AND started_unix_ms < $4 ORDER BY trace DESC LIMIT $5")
        .bind(workspace.bytes())
        .bind(&before)
        .bind(signed(filter.since_unix_ms.unwrap_or(0)))
        .bind(signed(filter.until_unix_ms.unwrap_or(u64::MAX)))
        .bind(signed(ROWS_AT_ONCE as u64));
        let rows = query.rows(&mut connection).await?;
        for row in &rows {
            let record = read(row)?;
            if passes(&filter, &record) {
                found.push(request_row(record));
            }
        }
        match rows.last() {
            Some(last) if rows.len() == at_once && found.len() <= wanted => {
                before = Fields::new(TABLE, last).get("trace")?;
                at_once = (at_once * 2).min(ROWS_AT_ONCE);
            }
            _ => return Ok(Listed::cut(found, wanted, |row: &RequestRow| row.trace)),
        }
    }
}

async fn request(
    store: &PostgresStore,
    workspace: WorkspaceId,
    trace: TraceId,
) -> Result<MeterRecord, StoreError> {
    let query = sql("SELECT body FROM records WHERE workspace = $1 AND trace = $2");
    let query = query.bind(workspace.bytes()).bind(trace.bytes());
    let row = query.row(&mut store.database.read().await?).await?;
    row.as_ref().map_or(Err(StoreError::NotFound { what: "request" }), read)
}

async fn every_record(
    store: &PostgresStore,
    workspace: Option<WorkspaceId>,
    page: Page<TraceId>,
) -> Result<Listed<MeterRecord, TraceId>, StoreError> {
    let wanted = page.rows_wanted();
    let query = match workspace {
        Some(id) => {
            sql("SELECT body FROM records WHERE workspace = $3 AND trace > $1 ORDER BY trace LIMIT $2")
                .bind(after(page.after))
                .bind(signed(wanted as u64 + 1))
                .bind(id.bytes())
        }
        None => sql("SELECT body FROM records WHERE trace > $1 ORDER BY trace LIMIT $2")
            .bind(after(page.after))
            .bind(signed(wanted as u64 + 1)),
    };
    let rows = query.rows(&mut store.database.read().await?).await?;
    let rows = rows.iter().map(read).collect::<Result<_, _>>()?;
    Ok(Listed::cut(rows, wanted, |record: &MeterRecord| record.trace))
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
        workspace: Option<WorkspaceId>,
        page: Page<TraceId>,
    ) -> StoreFuture<'_, Listed<MeterRecord, TraceId>> {
        Box::pin(every_record(self, workspace, page))
    }

    fn record_count(&self) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            let row =
                sql("SELECT COUNT(*) AS records FROM records").one(&mut self.database.read().await?).await?;
            Fields::new(TABLE, &row).number("records")
        })
    }
}
