//! Maintenance: daily sums, and retention of records and minutes.

use domain::{MeterRecord, TraceId};
use store::{Dimension, Interval, Page, UsageQuery, UsageRow, Window};

use super::records::put_behind;
use super::usage::query;
use crate::samples::{Fresh, NOW, bytes};

const DAY_MS: u64 = 86_400_000;
const MIDNIGHT: u64 = NOW / DAY_MS * DAY_MS;

/// The exchange that started this many quarter hours after midnight.
fn at(fresh: &Fresh, quarter: u64) -> MeterRecord {
    let started = MIDNIGHT + quarter * DAY_MS / 96;
    let like = fresh.record(quarter);
    MeterRecord {
        trace: TraceId::new(started, bytes(quarter)),
        started_unix_ms: started,
        resolved_model: format!("openai/model-{}", quarter % 3),
        ..like
    }
}

async fn all_usage(fresh: &Fresh) -> Vec<Vec<UsageRow>> {
    let mut answers = Vec::new();
    for interval in [None, Some(Interval::Day), Some(Interval::Hour)] {
        for (start, end) in [(0, 10 * DAY_MS), (DAY_MS / 3, 2 * DAY_MS + 7_200_000), (DAY_MS, 2 * DAY_MS)] {
            let window = Window { start_unix_ms: MIDNIGHT + start, end_unix_ms: MIDNIGHT + end };
            let query = UsageQuery { window, interval, ..query(fresh, &[Dimension::Model]) };
            answers.push(fresh.store.records().usage(query).await.unwrap());
        }
    }
    answers
}

/// Sums read from days equal those of their hours, also after a late record.
pub async fn days_say_what_their_hours_say(fresh: &Fresh) {
    let upkeep = fresh.store.upkeep();
    let sum = async || upkeep.sum_days(0, MIDNIGHT + 3 * DAY_MS + DAY_MS / 2).await.unwrap();
    put_behind(fresh, 0, 1, (0..4 * 96).map(|quarter| at(fresh, quarter)).collect()).await;
    let by_hours = all_usage(fresh).await;
    assert_eq!(by_hours[0].iter().map(|row| row.sums.requests).sum::<u64>(), 4 * 96);
    assert_eq!(sum().await, 3, "the fourth day is not over");
    assert_eq!(all_usage(fresh).await, by_hours);
    assert_eq!(sum().await, 0, "once is enough");
    // Another record of the second day, which its replica delivers late.
    let late = MeterRecord { trace: TraceId::new(NOW, bytes(9_999)), ..at(fresh, 100) };
    put_behind(fresh, 0, 2, vec![late]).await;
    let with_late = all_usage(fresh).await;
    assert_eq!(with_late[0].iter().map(|row| row.sums.requests).sum::<u64>(), 4 * 96 + 1);
    assert_eq!(sum().await, 1);
    assert_eq!(all_usage(fresh).await, with_late);
    assert_eq!(upkeep.sum_days(MIDNIGHT + 3 * DAY_MS, MIDNIGHT + 9 * DAY_MS).await.unwrap(), 1);
    assert_eq!(all_usage(fresh).await, with_late);
}

/// Batches and summing in parallel: no batch is lost to a day that is being summed.
pub async fn days_are_summed_beside_batches(fresh: &Fresh) {
    let sums = async {
        let mut summed = 0;
        for _ in 0..20 {
            summed += fresh.store.upkeep().sum_days(0, MIDNIGHT + 9 * DAY_MS).await.unwrap();
        }
        summed
    };
    let batches = async {
        for offset in 0..40 {
            let some = (0..30).map(|quarter| MeterRecord {
                trace: TraceId::new(NOW, bytes(offset * 1_000 + quarter)),
                ..at(fresh, quarter * 7)
            });
            put_behind(fresh, 0, offset + 1, some.collect()).await;
        }
    };
    let (summed, ()) = tokio::join!(sums, batches);
    fresh.store.upkeep().sum_days(0, MIDNIGHT + 9 * DAY_MS).await.unwrap();
    let rows = all_usage(fresh).await;
    let requests: u64 = rows[0].iter().map(|row| row.sums.requests).sum();
    assert_eq!(requests, 1_200, "{summed} days were summed meanwhile");
}

/// With a clock that moved on; sums stay, and later records are stored.
pub async fn what_is_too_old_is_forgotten_and_its_sums_stay(fresh: &Fresh) {
    let workspace = fresh.founding.workspace.id;
    let week = 7 * 96;
    for (offset, first) in (1..).zip((0..6 * week).step_by(96)) {
        put_behind(fresh, 0, offset, (first..first + 96).map(|quarter| at(fresh, quarter)).collect()).await;
    }
    let before = all_usage(fresh).await;
    let cutoff = MIDNIGHT + 3 * 7 * DAY_MS;
    let forgotten = fresh.store.upkeep().forget_records(cutoff).await.unwrap();
    assert!(forgotten.records > 1_000 || forgotten.weeks >= 2, "{forgotten:?}");
    assert_eq!(all_usage(fresh).await, before);
    let page = Page::first(1_000);
    let oldest = fresh.store.records().every_record(workspace, page).await.unwrap().rows[0].started_unix_ms;
    // Retention deletes whole weeks on one database, whole rows on the other.
    assert!(oldest < cutoff + 1 && oldest > cutoff - 8 * DAY_MS, "{}", (cutoff - oldest) / DAY_MS);
    let left = fresh.store.records().record_count().await.unwrap();
    assert!((3 * week..=4 * week).contains(&left), "{left}");
    assert_eq!(fresh.store.upkeep().forget_records(cutoff).await.unwrap(), Default::default());
    // One that a replica delivers long after.
    let late = MeterRecord { trace: TraceId::new(MIDNIGHT + 5, bytes(77_777)), ..at(fresh, 0) };
    let upto = ledger::JournalPosition { epoch: 1, segment: 1, offset: 1_000 };
    let batch = ledger::DrainBatch { core: 0, upto, records: crate::samples::settled([late.clone()]) };
    if fresh.store.record_sink().apply(batch.clone()).await.is_err() {
        fresh.store.record_sink().apply(batch).await.unwrap();
    }
    assert_eq!(fresh.store.records().request(workspace, late.trace).await.unwrap(), late);
    assert!(fresh.store.records().request(workspace, at(fresh, 0).trace).await.is_err());
}

async fn usage(fresh: &Fresh, window: Window, interval: Option<Interval>) -> Vec<UsageRow> {
    let query = UsageQuery { window, interval, ..query(fresh, &[]) };
    fresh.store.records().usage(query).await.unwrap()
}

/// Between two quarter hours after midnight.
fn quarters(start: u64, end: u64) -> Window {
    let at = |quarter| MIDNIGHT + quarter * QUARTER_MS;
    Window { start_unix_ms: at(start), end_unix_ms: at(end) }
}

const QUARTER_MS: u64 = DAY_MS / 96;

/// Sums of hours and days stay the same; windows that start or end where minutes are deleted cover whole
/// hours, and say so.
pub async fn minutes_are_forgotten_and_their_hours_stay(fresh: &Fresh) {
    let upkeep = fresh.store.upkeep();
    let requests = |rows: &[UsageRow]| rows.iter().map(|row| row.sums.requests).sum::<u64>();
    let covered = async |window| fresh.store.records().coverage(window).await.unwrap();
    put_behind(fresh, 0, 1, (0..4 * 96).map(|quarter| at(fresh, quarter)).collect()).await;
    put_behind(fresh, 0, 2, (4 * 96..6 * 96).map(|quarter| at(fresh, quarter)).collect()).await;
    let whole = [quarters(0, 6 * 96), quarters(8, 5 * 96), quarters(193, 6 * 96), quarters(192, 200)];
    let mut before = Vec::new();
    for window in whole {
        before.push(usage(fresh, window, None).await);
        assert_eq!(covered(window).await, window);
    }
    assert_eq!(requests(&usage(fresh, quarters(1, 7), None).await), 6);
    // In the middle of an hour, which keeps its minutes.
    let cutoff = MIDNIGHT + 2 * DAY_MS + 2 * QUARTER_MS;
    assert_eq!(upkeep.forget_minutes(cutoff).await.unwrap(), 2 * 96);
    assert_eq!(upkeep.forget_minutes(cutoff).await.unwrap(), 0, "once is enough");
    for (window, before) in whole.into_iter().zip(&before) {
        assert_eq!(usage(fresh, window, None).await, *before, "{window:?}");
        assert_eq!(covered(window).await, window);
    }
    for requested in [[1, 7, 0, 8], [1, 193, 0, 193], [5, 6, 4, 8], [193, 195, 193, 195]] {
        let [start, end, from, until] = requested;
        let (window, widened) = (quarters(start, end), quarters(from, until));
        assert_eq!(covered(window).await, widened);
        let expected = (widened.end_unix_ms - widened.start_unix_ms) / QUARTER_MS;
        for interval in [None, Some(Interval::Hour), Some(Interval::Minute), Some(Interval::Day)] {
            let rows = usage(fresh, window, interval).await;
            assert_eq!(requests(&rows), expected, "{requested:?} by {interval:?}");
        }
    }
    let by_minute = usage(fresh, quarters(188, 194), Some(Interval::Minute)).await;
    let of_rows: Vec<_> = by_minute.iter().map(|row| row.sums.requests).collect();
    assert_eq!(of_rows, [4, 1, 1], "an hour, and minutes");
    // A late record counts in its hour; the minute that it recreates is not read, and is deleted.
    let late = MeterRecord { trace: TraceId::new(MIDNIGHT + 1, bytes(9_999)), ..at(fresh, 1) };
    put_behind(fresh, 0, 3, vec![late]).await;
    for interval in [None, Some(Interval::Minute)] {
        assert_eq!(requests(&usage(fresh, quarters(1, 2), interval).await), 5);
    }
    assert_eq!(upkeep.forget_minutes(cutoff).await.unwrap(), 1);
    // A replica with longer retention brings nothing back.
    assert_eq!(upkeep.forget_minutes(MIDNIGHT).await.unwrap(), 0);
    assert_eq!(covered(quarters(1, 7)).await, quarters(0, 8));
    assert_eq!(upkeep.sum_days(0, MIDNIGHT + 9 * DAY_MS).await.unwrap(), 6);
    assert_eq!(requests(&usage(fresh, quarters(0, 6 * 96), Some(Interval::Day)).await), 6 * 96 + 1);
}

/// More than one transaction deletes.
pub async fn many_minutes_are_forgotten_a_slice_at_a_time(fresh: &Fresh) {
    let minutes = |day: u64| {
        (0..6_000_u64).map(move |number| {
            let started = MIDNIGHT + day * DAY_MS + number % 1_440 * 60_000;
            let number = day * 10_000 + number;
            MeterRecord {
                trace: TraceId::new(started, bytes(number)),
                started_unix_ms: started,
                tag: Some(format!("tag {}", number % 7)),
                ..fresh.record(number)
            }
        })
    };
    put_behind(fresh, 0, 1, minutes(0).collect()).await;
    put_behind(fresh, 0, 2, minutes(1).collect()).await;
    let forget = async || fresh.store.upkeep().forget_minutes(MIDNIGHT + DAY_MS).await.unwrap();
    let (one, other) = tokio::join!(forget(), forget());
    assert_eq!(one + other, 6_000);
    let rows = usage(fresh, quarters(0, 2 * 96), Some(Interval::Minute)).await;
    assert_eq!((rows.iter().map(|row| row.sums.requests).sum::<u64>(), rows.len()), (12_000, 24 + 1_440));
}
