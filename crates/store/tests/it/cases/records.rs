//! Meter records: lists, filters, and exactly-once draining.

use std::collections::BTreeSet;

use domain::{MeterRecord, Outcome, TraceId};
use filter::Filter;
use ledger::{DrainBatch, JournalPosition};
use store::{Page, RequestFilter};

use crate::samples::{Fresh, NOW, all, bytes, founding, missing, record, settled, workspace_id};

fn at(epoch: u64, offset: u64) -> JournalPosition {
    JournalPosition { epoch, segment: 1, offset }
}

/// Like a drainer: each batch after the previous one.
pub async fn put_behind(fresh: &Fresh, core: u32, offset: u64, records: Vec<MeterRecord>) {
    let batch = DrainBatch { core, upto: at(1, offset), records: settled(records) };
    fresh.store.record_sink().apply(batch).await.unwrap();
}

async fn listed(fresh: &Fresh, filter: &RequestFilter, limit: u32) -> Vec<TraceId> {
    let (records, workspace) = (fresh.store.records(), fresh.founding.workspace.id);
    let rows = all(limit, async |page| records.requests(workspace, filter.clone(), page).await).await;
    rows.iter().map(|row| row.trace).collect()
}

pub async fn put(fresh: &Fresh, records: Vec<MeterRecord>) {
    let upto = JournalPosition { epoch: 1, segment: 1, offset: 1 };
    fresh.store.record_sink().apply(DrainBatch { core: 0, upto, records: settled(records) }).await.unwrap();
}

pub async fn a_batch_is_taken_once_with_its_position(fresh: &Fresh) {
    let sink = fresh.store.record_sink();
    assert_eq!(sink.position(3).await.unwrap(), None);
    let records = settled((0..100).map(|number| fresh.record(number)));
    let upto = JournalPosition { epoch: u64::MAX - 1, segment: 7, offset: 99 };
    let batch = DrainBatch { core: 3, upto, records };
    sink.apply(batch.clone()).await.unwrap();
    sink.apply(batch.clone()).await.unwrap();
    assert_eq!(sink.position(3).await.unwrap(), Some(upto));
    assert_eq!(fresh.store.records().record_count().await.unwrap(), 100);
    fresh.store.commit_faults().script([store::fixtures::CommitFault::Refused]);
    let upto_next = JournalPosition { offset: 100, ..upto };
    let next = DrainBatch { records: settled([fresh.record(500)]), upto: upto_next, core: 3 };
    sink.apply(next.clone()).await.unwrap_err();
    assert_eq!(sink.position(3).await.unwrap(), Some(upto), "neither without the other");
    assert_eq!(fresh.store.records().record_count().await.unwrap(), 100);
    fresh.store.commit_faults().script([store::fixtures::CommitFault::AnswerLost]);
    sink.apply(next.clone()).await.unwrap_err();
    sink.apply(next).await.unwrap();
    assert_eq!(fresh.store.records().record_count().await.unwrap(), 101);
    sink.apply(DrainBatch { core: 4, upto, records: settled([]) }).await.unwrap();
    assert_eq!(sink.position(4).await.unwrap(), Some(upto));
}

pub async fn a_record_reads_back_whole_and_only_in_its_workspace(fresh: &Fresh) {
    let workspace = fresh.founding.workspace.id;
    let settled = fresh.record(5);
    put(fresh, vec![settled.clone()]).await;
    let records = fresh.store.records();
    assert_eq!(records.request(workspace, settled.trace).await.unwrap(), settled);
    missing(records.request(founding(2).workspace.id, settled.trace).await);
    assert_eq!(records.every_record(workspace, Page::default()).await.unwrap().rows, [settled]);
}

pub async fn requests_are_listed_newest_first_and_filtered(fresh: &Fresh) {
    let (workspace, project) = (fresh.founding.workspace.id, fresh.founding.project.id);
    let mut records: Vec<_> = (0..25).map(|number| fresh.record(number)).collect();
    records[3].outcome = Outcome::Failed;
    records[3].status = 502;
    records[4].resolved_model = "meta-llama/x".into();
    records[4].requested_model = "x".into();
    put(fresh, records.clone()).await;
    put(fresh, vec![record(founding(2).workspace.id, project, 99)]).await;
    let (mut seen, mut read_so_far) = (BTreeSet::new(), 0);
    let rows = all(10, async |page| {
        let page = fresh.store.records().requests(workspace, RequestFilter::default(), page).await.unwrap();
        read_so_far += page.rows.len() as u64;
        // Records that arrive meanwhile are newer, and shift no page.
        put(fresh, vec![fresh.record(1_000 + read_so_far)]).await;
        Ok(page)
    });
    let order: Vec<_> = rows.await.iter().map(|row| row.trace).collect();
    assert!(order.iter().rev().is_sorted() && order.iter().all(|trace| seen.insert(*trace)));
    assert_eq!(order.len(), 25);
    let count = async |filter: RequestFilter| {
        fresh.store.records().requests(workspace, filter, Page::first(1_000)).await.unwrap().rows.len()
    };
    let every = count(RequestFilter::default()).await;
    assert_eq!(count(RequestFilter { status: Some(502), ..Default::default() }).await, 1);
    assert_eq!(count(RequestFilter { outcome: Some(Outcome::Failed), ..Default::default() }).await, 1);
    assert_eq!(count(RequestFilter { model: Some("x".into()), ..Default::default() }).await, 1);
    assert_eq!(count(RequestFilter { model: Some("meta-llama/x".into()), ..Default::default() }).await, 1);
    let profile = Some("managed_provider".into());
    assert_eq!(count(RequestFilter { profile, ..Default::default() }).await, every);
    assert_eq!(count(RequestFilter { profile: Some("byok".into()), ..Default::default() }).await, 0);
    let by = async |text: &str| {
        let terms = Filter::parse(text).unwrap().terms;
        count(RequestFilter { terms, ..Default::default() }).await
    };
    let key = records[0].key.unwrap();
    for (text, expected) in [
        ("status:error", 1),
        ("-status:error", every - 1),
        ("model:meta-llama/*", 1),
        ("mode:mi region:eu cost:0.0000015", every),
        ("cost:>0.0000015", 0),
        ("input:120 output:>=35 cached:<=20 attempts:1", every),
        (&format!("key:{key} project:{project}"), every),
        ("latency:>1us -tag:x", every),
    ] {
        assert_eq!(by(text).await, expected, "{text}");
    }
    let [since_unix_ms, until_unix_ms] = [20, 22].map(|number| Some(records[number].started_unix_ms));
    assert_eq!(count(RequestFilter { since_unix_ms, until_unix_ms, ..Default::default() }).await, 2);
    let refused = RequestFilter { status: Some(502), ..Default::default() };
    let row = fresh.store.records().requests(workspace, refused, Page::default()).await.unwrap().rows;
    assert_eq!((row[0].principal, row[0].region.as_deref()), (records[3].principal, Some("eu")));
    assert_eq!((row[0].sums.input_tokens, row[0].sums.output_tokens, row[0].sums.failed), (120, 35, 1));
    assert_eq!((row[0].latency_us, row[0].first_byte_us), (2_000, Some(900)));
}

/// Cores drain in parallel, and a long exchange settles among younger ones: rows overlap in every way.
pub async fn overlapping_batches_are_told_in_one_order(fresh: &Fresh) {
    let workspace = fresh.founding.workspace.id;
    let mut records: Vec<_> = (0..400).map(|number| fresh.record(number)).collect();
    let stride = |from: usize, step: usize| records.iter().skip(from).step_by(step).cloned();
    put_behind(fresh, 0, 1, stride(0, 4).collect()).await;
    put_behind(fresh, 1, 1, stride(1, 4).rev().collect()).await;
    put_behind(fresh, 0, 2, stride(399, 1).chain(stride(2, 4).take(50)).collect()).await;
    for (offset, late) in (3..).zip(stride(2, 4).skip(50)) {
        put_behind(fresh, 0, offset, vec![late]).await;
    }
    put_behind(fresh, 1, 2, stride(3, 4).take(99).collect()).await;
    for limit in [7, 100, 1_000] {
        let read = all(limit, async |page| fresh.store.records().every_record(workspace, page).await);
        assert_eq!(read.await, records, "{limit}");
    }
    let newest_first: Vec<_> = records.iter().rev().map(|record| record.trace).collect();
    for limit in [1, 33, 1_000] {
        assert_eq!(listed(fresh, &RequestFilter::default(), limit).await, newest_first, "{limit}");
    }
    for settled in &mut records {
        assert_eq!(fresh.store.records().request(workspace, settled.trace).await.unwrap(), *settled);
    }
    missing(fresh.store.records().request(workspace, fresh.record(401).trace).await);
    assert_eq!(fresh.store.records().record_count().await.unwrap(), 400);
}

/// Between two pages, records arrive that are older and newer than the cursor, and small rows are merged into
/// large ones.
pub async fn pages_stay_whole_whatever_comes_in_between(fresh: &Fresh) {
    let workspace = fresh.founding.workspace.id;
    let even = |number: u64| fresh.record(number * 2);
    for number in 0..200 {
        put_behind(fresh, 0, number + 1, vec![even(number)]).await;
    }
    let mut offset = 1_000;
    let rows = all(13, async |page| {
        let page = fresh.store.records().requests(workspace, RequestFilter::default(), page).await;
        for odd in [offset - 999, 10_001 + offset] {
            offset += 2;
            put_behind(fresh, 0, offset, vec![fresh.record(odd)]).await;
        }
        page
    });
    let order: Vec<_> = rows.await.iter().map(|row| row.trace).collect();
    assert!(order.is_sorted_by(|one, next| one > next), "newest first, and each once");
    let seen: BTreeSet<_> = order.into_iter().collect();
    assert!((0..200).all(|number| seen.contains(&even(number).trace)), "what was there is told");
}

async fn requests_summed(fresh: &Fresh) -> u64 {
    let rows = fresh.store.records().usage(super::usage::query(fresh, &[])).await.unwrap();
    rows.first().map_or(0, |row| row.sums.requests)
}

/// Whatever the drainer or a recovery repeats, records and sums have it once.
pub async fn what_may_come_again_is_counted_once(fresh: &Fresh) {
    use store::fixtures::CommitFault::{AnswerLost, Refused};
    let sink = fresh.store.record_sink();
    let batch = |epoch, offset, numbers: std::ops::Range<u64>| DrainBatch {
        core: 0,
        upto: at(epoch, offset),
        records: settled(numbers.map(|number| fresh.record(number))),
    };
    let count = async || {
        let count = fresh.store.records().record_count().await.unwrap();
        assert_eq!(requests_summed(fresh).await, count);
        count
    };
    // The reply of the first commit is lost: the drainer reads again, and by then there is more to read.
    fresh.store.commit_faults().script([AnswerLost]);
    sink.apply(batch(1, 10, 0..10)).await.unwrap_err();
    sink.apply(batch(1, 15, 0..15)).await.unwrap();
    sink.apply(batch(1, 20, 15..20)).await.unwrap();
    assert_eq!(count().await, 20);
    // A refused commit, then a lost reply, then more.
    fresh.store.commit_faults().script([Refused, AnswerLost]);
    sink.apply(batch(1, 30, 20..30)).await.unwrap_err();
    assert_eq!((count().await, sink.position(0).await.unwrap()), (20, Some(at(1, 20))));
    sink.apply(batch(1, 30, 20..30)).await.unwrap_err();
    sink.apply(batch(1, 35, 20..35)).await.unwrap();
    assert_eq!(count().await, 35);
    // A whole batch again, and an earlier one: the position stays.
    sink.apply(batch(1, 35, 20..35)).await.unwrap();
    sink.apply(batch(1, 20, 15..20)).await.unwrap();
    assert_eq!((count().await, sink.position(0).await.unwrap()), (35, Some(at(1, 35))));
    sink.apply(batch(1, 40, 35..40)).await.unwrap();
    // Another run's epoch, and then segments of the first come back, as after a power loss.
    sink.apply(batch(2, 5, 40..45)).await.unwrap();
    for (offset, from) in [(20, 0), (40, 20), (50, 35)] {
        sink.apply(batch(1, offset, from..from + 20)).await.unwrap();
    }
    assert_eq!(count().await, 55);
    sink.apply(batch(2, 9, 40..60)).await.unwrap();
    assert_eq!(count().await, 60);
}

pub async fn a_batch_of_many_workspaces_shows_each_its_own(fresh: &Fresh) {
    let project = fresh.founding.project.id;
    let of = |number: u64| workspace_id(number % 5 + 1);
    let records: Vec<_> = (0..50).map(|number| record(of(number), project, number)).collect();
    put(fresh, records.clone()).await;
    for workspace in (0..5).map(of) {
        let own: Vec<_> = records.iter().filter(|record| record.workspace == workspace).cloned().collect();
        assert_eq!(fresh.store.records().every_record(workspace, Page::default()).await.unwrap().rows, own);
        let page =
            fresh.store.records().requests(workspace, Default::default(), Page::default()).await.unwrap();
        assert_eq!(page.rows.len(), own.len());
        assert!(fresh.store.records().request(workspace, own[0].trace).await.is_ok());
    }
    let stranger = fresh.store.records().requests(workspace_id(6), Default::default(), Page::default()).await;
    assert_eq!(stranger.unwrap().rows, []);
}

/// Months of requests of which few match: by each filter, in pages, and by fields that are not dimensions of
/// the sums. What no group can narrow is searched range by range, and each match is found once.
pub async fn a_page_that_looked_at_much_ends_early(fresh: &Fresh) {
    let workspace = fresh.founding.workspace.id;
    let is_wanted = |number: u64| [1, 6_001, 11_999].contains(&number);
    let one = |number: u64| {
        let mut record = fresh.record(number);
        record.usage.output = if is_wanted(number) { 5_000 } else { 30 };
        record
    };
    // Overlapping rows of two gateways.
    for (first, offset) in (0..12_000_u64).step_by(3_000).zip(1..) {
        for core in 0..2 {
            let some = (first..first + 3_000).filter(|number| number % 2 == u64::from(core)).map(one);
            put_behind(fresh, core, offset, some.collect()).await;
        }
    }
    for text in ["output:>1000", "output:>1000 status:2xx", "output:>1000 model:gpt-4o"] {
        let filter = RequestFilter { terms: Filter::parse(text).unwrap().terms, ..Default::default() };
        let (mut page, mut found, mut early) = (Page::first(3), Vec::new(), 0);
        loop {
            let listed = fresh.store.records().requests(workspace, filter.clone(), page.clone());
            let listed = listed.await.unwrap();
            early += usize::from(listed.rows.len() < 3 && listed.next.is_some());
            found.extend(listed.rows.iter().map(|row| row.trace));
            let Some(next) = listed.next else { break };
            assert!(page.after.is_none_or(|before| next < before), "{text}: each page goes on");
            page.after = Some(next);
        }
        assert_eq!(found, [11_999, 6_001, 1].map(|number| one(number).trace), "{text}");
        assert!(early > 0, "{text}");
    }
}

/// Half an hour apart, with a rare kind now and then.
fn with_rare_ones(fresh: &Fresh) -> Vec<MeterRecord> {
    let hour = 3_600_000;
    (0..3_000_u64)
        .map(|number| {
            let started = NOW + number * hour / 2;
            let like = fresh.record(number);
            MeterRecord {
                trace: TraceId::new(started, bytes(number)),
                started_unix_ms: started,
                status: if number % 500 == 7 { 502 } else { 200 },
                outcome: if number % 500 == 7 { Outcome::Failed } else { Outcome::Completed },
                requested_model: if number % 700 == 3 { "fast".into() } else { "gpt-4o".into() },
                // An unknown model, so that the sums don't have the requested name.
                resolved_model: if number % 900 == 5 { String::new() } else { "openai/gpt-4o".into() },
                tag: (number % 40 == 0).then(|| format!("tag {}", number / 40)),
                ..like
            }
        })
        .collect()
}

pub async fn what_is_rare_is_found_wherever_it_lies(fresh: &Fresh) {
    let every = with_rare_ones(fresh);
    for (offset, some) in (1..).zip(every.chunks(250)) {
        put_behind(fresh, 0, offset, some.to_vec()).await;
    }
    let since = |number: usize| Some(every[number].started_unix_ms);
    let is = RequestFilter::default;
    let cases = [
        RequestFilter { status: Some(502), ..is() },
        RequestFilter { status: Some(418), ..is() },
        RequestFilter { outcome: Some(Outcome::Failed), ..is() },
        RequestFilter { outcome: Some(Outcome::Completed), ..is() },
        RequestFilter { model: Some("fast".into()), ..is() },
        RequestFilter { model: Some("gpt-4o".into()), ..is() },
        RequestFilter { model: Some("openai/gpt-4o".into()), ..is() },
        RequestFilter { tag: Some("tag 11".into()), ..is() },
        RequestFilter { tag: Some("tag 11".into()), status: Some(502), ..is() },
        RequestFilter { provider: Some("openai".into()), ..is() },
        RequestFilter { status: Some(502), since_unix_ms: since(508), until_unix_ms: since(2_007), ..is() },
        RequestFilter { status: Some(502), since_unix_ms: since(507), until_unix_ms: since(2_008), ..is() },
        RequestFilter { since_unix_ms: since(507), until_unix_ms: since(2_008), ..is() },
    ];
    for filter in cases {
        let within = |record: &&MeterRecord| {
            filter.since_unix_ms.is_none_or(|since| record.started_unix_ms >= since)
                && filter.until_unix_ms.is_none_or(|until| record.started_unix_ms < until)
        };
        let wanted = |record: &&MeterRecord| {
            filter.status.is_none_or(|status| record.status == status)
                && filter.outcome.is_none_or(|outcome| record.outcome == outcome)
                && filter.tag.as_ref().is_none_or(|tag| record.tag.as_ref() == Some(tag))
                && filter
                    .model
                    .as_ref()
                    .is_none_or(|model| *model == record.requested_model || *model == record.resolved_model)
        };
        let expected: Vec<_> = every.iter().rev().filter(within).filter(wanted).map(|it| it.trace).collect();
        for limit in [2, 1_000] {
            if limit < 10 && expected.len() > 100 {
                continue;
            }
            let found = listed(fresh, &filter, limit).await;
            assert!(found == expected, "{filter:?} by {limit}: {} of {}", found.len(), expected.len());
        }
    }
}
