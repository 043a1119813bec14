//! Lists and decodes meter records on SQLite.

use database::error::{StoreError, StoreFuture, database};
use database::fields::unsigned;
use database::page::{Listed, Page};
use domain::{EndUserId, MeterRecord, SessionId, TraceId, WorkspaceId};
use sqlx::Row;

use crate::end_users;
use crate::limits::SCANNED_MAX;
use crate::requests::{Records, RequestFilter, RequestRow, passes, request_row};
use crate::sql::hours::{self, Search, TraceRange};
use crate::sql::session_sums;
use crate::sql::usage;
use crate::sqlite::SqliteRecords;
use crate::sqlite::batches::{self, Order, Scan};
use crate::usage::{UsageQuery, UsageRow, UsageSums, Window};

/// The matching records, the newest first, each as `made` makes it.
async fn matching<T: Send>(
    store: &SqliteRecords,
    workspace: WorkspaceId,
    filter: RequestFilter,
    page: Page<TraceId>,
    made: fn(MeterRecord) -> T,
    trace: fn(&T) -> TraceId,
) -> Result<Listed<T, TraceId>, StoreError> {
    let wanted = page.rows_wanted();
    let mut reading = store.database.snapshot().await?;
    let groups = hours::groups_of(&mut reading, workspace, &filter).await?;
    let mut search = Search::new(&filter, page.after);
    let (mut found, mut scanned, mut ended_at) = (Vec::new(), 0, None);
    while found.len() <= wanted && ended_at.is_none() {
        let still = wanted + 1 - found.len();
        // If few of a group's requests match the filter, each search covers more of them than the last.
        let stretches = search.next(&mut reading, workspace, groups.as_ref(), still.max(scanned)).await?;
        if stretches.is_empty() {
            break;
        }
        let walk = Scan {
            order: Order::NewestFirst,
            wanted: still,
            workspace,
            stretches: &stretches,
            groups: groups.as_ref(),
            scanned_max: SCANNED_MAX.saturating_sub(scanned),
        };
        let take = |record: MeterRecord| {
            let is_wanted = record.workspace == workspace && passes(&filter, &record);
            is_wanted.then(|| made(record))
        };
        let walked = batches::walk(&mut reading, &store.draining.groups, walk, take).await?;
        found.extend(walked.rows);
        scanned += walked.scanned;
        ended_at = walked.ended_at;
    }
    reading.roll_back().await;
    Ok(Listed::cut(found, wanted, trace).or_end_at(ended_at))
}

async fn every_record(
    store: &SqliteRecords,
    workspace: WorkspaceId,
    page: Page<TraceId>,
) -> Result<Listed<MeterRecord, TraceId>, StoreError> {
    let wanted = page.rows_wanted();
    let walk = Scan {
        order: Order::OldestFirst,
        wanted: wanted + 1,
        workspace,
        stretches: &[TraceRange::behind(page.after)],
        groups: None,
        scanned_max: usize::MAX,
    };
    let take = |record: MeterRecord| (record.workspace == workspace).then_some(record);
    let mut reading = store.database.snapshot().await?;
    let walked = batches::walk(&mut reading, &store.draining.groups, walk, take).await?;
    reading.roll_back().await;
    Ok(Listed::cut(walked.rows, wanted, |record: &MeterRecord| record.trace))
}

impl Records for SqliteRecords {
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
        Box::pin(async move {
            let mut reader = self.database.read().await?;
            let found = batches::find(&mut reader, &self.draining.groups, workspace, trace).await?;
            found.ok_or(StoreError::NotFound { what: "request" })
        })
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
            let query = sqlx::query("SELECT COALESCE(SUM(records), 0) FROM record_batches");
            let row = query.fetch_one(self.readers()).await.map_err(database)?;
            row.try_get(0).map(unsigned).map_err(|error| StoreError::corrupt("record_batches", error))
        })
    }
}
