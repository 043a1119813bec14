//! Meter records, listed and read back.

use domain::{MeterRecord, Profile, TraceId, WorkspaceId};
use sqlx::Row;

use super::batches::{self, Order, Walk};
use super::writing::{database, unsigned};
use super::{SqliteStore, usage};
use crate::tally::{first_byte_us, latency_us, region, sums_of};
use crate::usage::{BillingRow, UsageQuery, UsageRow, Window};
use crate::{Listed, Page, Records, RequestFilter, RequestRow, StoreError, StoreFuture};

fn passes(filter: &RequestFilter, record: &MeterRecord) -> bool {
    let is = |wanted: &Option<String>, found: Option<&str>| wanted.is_none() || wanted.as_deref() == found;
    let is_model = |model: &String| *model == record.resolved_model || *model == record.requested_model;
    filter.model.as_ref().is_none_or(is_model)
        && is(&filter.provider, Some(&record.provider))
        && is(&filter.profile, record.profile().map(Profile::as_str))
        && (filter.key.is_none() || filter.key == record.key)
        && filter.project.is_none_or(|project| project == record.project)
        && is(&filter.environment, Some(&record.environment))
        && filter.status.is_none_or(|status| status == record.status)
        && filter.outcome.is_none_or(|outcome| outcome == record.outcome)
        && is(&filter.tag, record.tag.as_deref())
        && filter.since_unix_ms.is_none_or(|since| record.started_unix_ms >= since)
        && filter.until_unix_ms.is_none_or(|until| record.started_unix_ms < until)
}

fn request_row(record: MeterRecord) -> RequestRow {
    RequestRow {
        trace: record.trace,
        project: record.project,
        key: record.key,
        started_unix_ms: record.started_unix_ms,
        finished_unix_ms: record.finished_unix_ms,
        operation: record.operation.as_str().to_owned(),
        dialect: record.dialect.as_str().to_owned(),
        stream: record.stream,
        outcome: record.outcome.as_str().to_owned(),
        status: record.status,
        profile: record.profile().map_or_else(String::new, |profile| profile.as_str().to_owned()),
        principal: record.principal,
        region: region(&record).cloned(),
        attempts: u32::try_from(record.attempts.len()).unwrap_or(u32::MAX),
        fallback_used: record.fallback_used,
        sums: sums_of(&record),
        latency_us: latency_us(&record),
        first_byte_us: first_byte_us(&record),
        bytes_out: record.bytes_out,
        environment: record.environment,
        requested_model: record.requested_model,
        resolved_model: record.resolved_model,
        fault_code: record.fault_code,
        provider: record.provider,
        tag: record.tag,
    }
}

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
        Box::pin(usage::usage(self, query))
    }

    fn billing(&self, workspace: WorkspaceId, window: Window) -> StoreFuture<'_, [BillingRow; 3]> {
        Box::pin(usage::billing(self, workspace, window))
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
