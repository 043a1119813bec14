//! Meter records, listed and read back.

use domain::{MeterRecord, TraceId, WorkspaceId};
use sqlx::Row;

use super::SqliteStore;
use super::batches::{self, Order, Walk};
use crate::records::{passes, request_row};
use crate::sql::usage;
use crate::sql::writing::{database, unsigned};
use crate::usage::{BillingRow, UsageQuery, UsageRow, Window};
use crate::{Listed, Page, Records, RequestFilter, RequestRow, StoreError, StoreFuture};

async fn requests(
    store: &SqliteStore,
    workspace: WorkspaceId,
    filter: RequestFilter,
    page: Page<TraceId>,
) -> Result<Listed<RequestRow, TraceId>, StoreError> {
    let wanted = page.rows_wanted();
    let walk = Walk {
        order: Order::NewestFirst,
        after: page.after,
        wanted: wanted + 1,
        workspace: Some(workspace),
        since_unix_ms: filter.since_unix_ms,
        until_unix_ms: filter.until_unix_ms,
    };
    let take = |record: MeterRecord| {
        let is_asked_for = record.workspace == workspace && passes(&filter, &record);
        is_asked_for.then(|| request_row(record))
    };
    let mut reading = store.readers().begin().await.map_err(database)?;
    let rows = batches::walk(&mut reading, walk, take).await?;
    Ok(Listed::cut(rows, wanted, |row: &RequestRow| row.trace))
}

async fn every_record(
    store: &SqliteStore,
    workspace: Option<WorkspaceId>,
    page: Page<TraceId>,
) -> Result<Listed<MeterRecord, TraceId>, StoreError> {
    let wanted = page.rows_wanted();
    let walk = Walk {
        order: Order::OldestFirst,
        after: page.after,
        wanted: wanted + 1,
        workspace,
        since_unix_ms: None,
        until_unix_ms: None,
    };
    let take = |record: MeterRecord| {
        let is_asked_for = workspace.is_none_or(|workspace| workspace == record.workspace);
        is_asked_for.then_some(record)
    };
    let mut reading = store.readers().begin().await.map_err(database)?;
    let rows = batches::walk(&mut reading, walk, take).await?;
    Ok(Listed::cut(rows, wanted, |record: &MeterRecord| record.trace))
}

impl Records for SqliteStore {
    fn requests(
        &self,
        workspace: WorkspaceId,
        filter: RequestFilter,
        page: Page<TraceId>,
    ) -> StoreFuture<'_, Listed<RequestRow, TraceId>> {
        Box::pin(requests(self, workspace, filter, page))
    }

    fn request(&self, workspace: WorkspaceId, trace: TraceId) -> StoreFuture<'_, MeterRecord> {
        Box::pin(async move {
            let mut reader = self.readers().acquire().await.map_err(database)?;
            let found = batches::find(&mut reader, workspace, trace).await?;
            found.ok_or(StoreError::NotFound { what: "request" })
        })
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
            let query = sqlx::query("SELECT COALESCE(SUM(records), 0) FROM record_batches");
            let row = query.fetch_one(self.readers()).await.map_err(database)?;
            row.try_get(0).map(unsigned).map_err(|error| StoreError::corrupt("record_batches", error))
        })
    }
}
