//! Sums of tasks, counted from the records for as long as those are stored: among the sums by the minute, each task would be a
//! group.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use database::error::StoreError;
use database::page::Page;
use domain::limits::PAGE_ROWS_MAX;
use domain::{Nanos, TaskId};
use filter::Field;

use crate::limits::{TASK_PAGES_MAX, USAGE_ROWS_MAX};
use crate::requests::{Records, RequestFilter};
use crate::tally::{MINUTE_MS, Tally, spend, sums_of};
use crate::usage::{Dimension, UsageQuery, UsageRow};

type Found = BTreeMap<(Option<u64>, Option<TaskId>), (Tally, Nanos)>;

/// The sums of each task, the dearest first, and of the requests that no task made. `None` where the window has more requests or
/// tasks than one answer counts.
pub async fn usage_by_task(
    records: &dyn Records,
    query: &UsageQuery,
) -> Result<Option<Vec<UsageRow>>, StoreError> {
    let mut found = Found::new();
    let mut page = Page::first(PAGE_ROWS_MAX);
    for _ in 0..TASK_PAGES_MAX {
        let listed = records.matching(query.workspace, filter_of(query), page).await?;
        for record in &listed.rows {
            let bucket =
                query.interval.map(|interval| record.started_unix_ms / interval.ms() * interval.ms());
            let (tally, spent) = found.entry((bucket, record.extras.task)).or_default();
            *spent = spent.plus(spend(record.profile(), &sums_of(record)));
            tally.count(record);
        }
        if found.len() as u64 > USAGE_ROWS_MAX {
            return Ok(None);
        }
        let Some(after) = listed.next else { return Ok(Some(rows_of(found))) };
        page = Page { after: Some(after), ..Page::first(PAGE_ROWS_MAX) };
    }
    Ok(None)
}

/// Of the whole minutes that the window touches, as in the other sums.
fn filter_of(query: &UsageQuery) -> RequestFilter {
    let of = query.filter.clone();
    let mode = of.mode.map(|mode| RequestFilter::of_one(Field::Mode, mode.as_str().to_owned()).terms);
    let (start, end) = (query.window.start_unix_ms, query.window.end_unix_ms);
    RequestFilter {
        model: of.model,
        provider: of.provider,
        profile: of.profile,
        key: of.key,
        project: of.project,
        environment: of.environment,
        tag: of.tag,
        qos_class: of.qos_class,
        since_unix_ms: Some(start / MINUTE_MS * MINUTE_MS),
        until_unix_ms: Some(end.div_ceil(MINUTE_MS).saturating_mul(MINUTE_MS)),
        terms: of.terms.into_iter().chain(mode.unwrap_or_default()).collect(),
        ..RequestFilter::default()
    }
}

fn rows_of(found: Found) -> Vec<UsageRow> {
    let row = |((bucket_unix_ms, task), (tally, spend)): ((_, Option<TaskId>), (Tally, Nanos))| {
        let tally = tally.with_known_reuse();
        UsageRow {
            bucket_unix_ms,
            groups: vec![(Dimension::Task, task.map(|task| task.to_string()))],
            spend,
            latency: tally.latency(),
            first_byte: tally.first_byte(),
            sums: tally.sums,
        }
    };
    let mut rows: Vec<UsageRow> = found.into_iter().map(row).collect();
    // A stable sort: among equals the order of the ids stays.
    rows.sort_by_key(|row| (row.bucket_unix_ms, Reverse((row.spend, row.sums.requests))));
    rows
}
