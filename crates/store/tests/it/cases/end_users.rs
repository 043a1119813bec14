//! Sums of end users: each record once, by the day, those who spent most first.

use domain::{EndUserId, MeterRecord, Nanos};
use store::{Dimension, Interval, UsageQuery, UsageRow, Window};

use super::records::put_behind;
use crate::samples::*;

const DAY_MS: u64 = 86_400_000;
/// More than a page of rows.
const USERS: u64 = 1_200;

fn user(number: u64) -> EndUserId {
    EndUserId::of_hash(u128::from(number))
}

fn query(fresh: &Fresh, days: u64, interval: Option<Interval>) -> UsageQuery {
    let window = Window { start_unix_ms: NOW / DAY_MS * DAY_MS, end_unix_ms: NOW + days * DAY_MS };
    UsageQuery { window, interval, ..super::usage::query(fresh, &[Dimension::EndUser]) }
}

async fn rows(fresh: &Fresh, days: u64, interval: Option<Interval>) -> Vec<UsageRow> {
    fresh.store.records().usage(query(fresh, days, interval)).await.unwrap()
}

pub async fn what_end_users_used_is_summed_once_by_the_day(fresh: &Fresh) {
    let workspace = fresh.founding.workspace.id;
    let of = |number: u64, end_user: u64, days_later: u64| {
        let mut record: MeterRecord = fresh.record(number);
        record.extras.end_user = Some(user(end_user));
        record.started_unix_ms = NOW + days_later * DAY_MS;
        record
    };
    assert!(!fresh.store.records().knows_end_user(workspace, user(1)).await.unwrap());
    let everybody = || (1..=USERS).map(|number| of(number, number, 0)).collect::<Vec<_>>();
    put_behind(fresh, 0, 1, everybody()).await;
    // The same again, as after a crash, and more of the first on this day and the next.
    put_behind(fresh, 0, 1, everybody()).await;
    let more = [of(5_001, 1, 0), of(5_002, 1, 1), fresh.record(5_003)];
    put_behind(fresh, 1, 1, more.into()).await;

    let one = rows(fresh, 1, None).await;
    assert_eq!(one.len() as u64, USERS, "who names nobody is in no sum");
    let (first, second) = (&one[0], &one[1]);
    assert_eq!(first.groups, [(Dimension::EndUser, Some(user(1).to_string()))], "who spent most is first");
    assert_eq!((first.sums.requests, second.sums.requests), (3, 1));
    assert_eq!(first.spend, Nanos(3 * second.spend.0));
    assert!(first.sums.input_tokens == 3 * second.sums.input_tokens && first.latency.is_some());

    let by_day = rows(fresh, 1, Some(Interval::Day)).await;
    let of_first = by_day.iter().filter(|row| row.groups == first.groups);
    let days: Vec<_> = of_first.map(|row| (row.bucket_unix_ms, row.sums.requests)).collect();
    let day = NOW / DAY_MS * DAY_MS;
    assert_eq!(days, [(Some(day), 2), (Some(day + DAY_MS), 1)]);
    assert_eq!(by_day.len() as u64, USERS + 1);

    let elsewhere = UsageQuery { workspace: domain::WorkspaceId::new(1, [9; 10]), ..query(fresh, 1, None) };
    assert_eq!(fresh.store.records().usage(elsewhere).await.unwrap(), []);
    assert!(fresh.store.records().knows_end_user(workspace, user(USERS)).await.unwrap());
}
