//! Usage sums.

use domain::{
    CredentialId, MeterRecord, Mode, Nanos, NodeId, Outcome, Priced, Principal, TaskId, Usage, UsageSource,
};
use store::{Dimension, Interval, UsageFilter, UsageQuery, UsageRow, UsageSums, Window};

use super::records::{put, put_behind};
use crate::samples::{Fresh, NOW, bytes, founding, record};

const EVER: Window = Window { start_unix_ms: 0, end_unix_ms: u64::MAX };

pub fn query(fresh: &Fresh, group_by: &[Dimension]) -> UsageQuery {
    UsageQuery {
        workspace: fresh.founding.workspace.id,
        window: EVER,
        group_by: group_by.to_vec(),
        interval: None,
        filter: UsageFilter::default(),
    }
}

/// Four managed, two byok (one of them failed, one unpriced), one byoc (estimated), one refused before any
/// attempt.
fn mixed(fresh: &Fresh) -> Vec<MeterRecord> {
    let mut records: Vec<_> = (0..8).map(|number| fresh.record(number)).collect();
    for byok in &mut records[4..6] {
        byok.principal = Some(Principal::Credential(CredentialId::new(NOW, bytes(1))));
        byok.charge.cost = Nanos(0);
        byok.tag = Some("batch".into());
    }
    records[4].outcome = Outcome::Failed;
    records[5].charge.priced = Priced::Unpriced;
    records[6].principal = Some(Principal::Node(NodeId::new(NOW, bytes(1))));
    records[6].provider = "byoc".into();
    records[6].usage.source = UsageSource::Estimate;
    records[6].charge = Default::default();
    records[7].principal = None;
    records[7].provider = String::new();
    records[7].attempts.clear();
    records[7].usage = Default::default();
    records[7].charge = Default::default();
    records[7].outcome = Outcome::Failed;
    records[7].key = None;
    records
}

fn named(rows: &[UsageRow]) -> Vec<(Option<&str>, u64)> {
    rows.iter().map(|row| (row.groups[0].1.as_deref(), row.sums.requests)).collect()
}

pub async fn sums_follow_every_dimension(fresh: &Fresh) {
    put(fresh, mixed(fresh)).await;
    put(fresh, vec![record(founding(2).workspace.id, fresh.founding.project.id, 77)]).await;
    let usage = async |query| fresh.store.records().usage(query).await.unwrap();
    let all = usage(query(fresh, &[])).await;
    assert_eq!(all.len(), 1);
    let sums = all[0].sums;
    assert_eq!((sums.requests, sums.unattempted, sums.failed, sums.attempts), (7, 1, 1, 7));
    assert_eq!((sums.input_tokens, sums.output_tokens, sums.cached_tokens), (840, 245, 140));
    assert_eq!((sums.cost, sums.provider_cost), (Nanos(6_000), Nanos(6_000)));
    assert_eq!((sums.unpriced, sums.estimated, sums.unmetered), (1, 1, 0));
    assert_eq!(sums.realized_reused_tokens, 120, "an estimate isn't evidence");
    let by = async |dimension| usage(query(fresh, &[dimension])).await;
    let modes = [(None, 0), (Some("byoc"), 1), (Some("byok"), 2), (Some("mi"), 4)];
    assert_eq!(named(&by(Dimension::Mode).await), modes);
    let profiles = [(Some("byoc"), 1), (Some("byok"), 2), (Some("managed_provider"), 4)];
    assert_eq!(named(&by(Dimension::Profile).await)[1..], profiles);
    assert_eq!(named(&by(Dimension::Provider).await), [(None, 0), (Some("byoc"), 1), (Some("openai"), 6)]);
    assert_eq!(named(&by(Dimension::Tag).await), [(None, 5), (Some("batch"), 2)]);
    let project = fresh.founding.project.id.to_string();
    assert_eq!(named(&by(Dimension::Project).await), [(Some(project.as_str()), 7)]);
    let key = mixed(fresh)[0].key.unwrap().to_string();
    assert_eq!(named(&by(Dimension::Key).await), [(None, 0), (Some(key.as_str()), 7)]);
    // Tasks and end users have separate sums: `cases::end_users`.
    let apart = [Dimension::Task, Dimension::EndUser];
    for dimension in Dimension::ALL.into_iter().filter(|one| !apart.contains(one)) {
        assert_eq!(by(dimension).await.iter().map(|row| row.sums.requests).sum::<u64>(), 7, "{dimension:?}");
        assert_eq!(Dimension::from_name(dimension.as_str()), Some(dimension));
    }
    let two = usage(query(fresh, &[Dimension::Mode, Dimension::Outcome])).await;
    assert_eq!(two.iter().filter(|row| row.groups[0].1.as_deref() == Some("byok")).count(), 2);
    let filter = UsageFilter { tag: Some("batch".into()), ..UsageFilter::default() };
    assert_eq!(usage(UsageQuery { filter, ..query(fresh, &[]) }).await[0].sums.requests, 2);
    let of_key = format!("key:{key}");
    let cases = [("tag:bat*", 2), ("mode:byok", 2), ("-mode:mi provider:*", 3), (&of_key, 7), ("key:x", 0)];
    for (text, expected) in cases {
        let terms = filter::Filter::parse(text).unwrap().terms;
        let filter = UsageFilter { terms, ..UsageFilter::default() };
        let rows = usage(UsageQuery { filter, ..query(fresh, &[]) }).await;
        assert_eq!(rows.iter().map(|row| row.sums.requests).sum::<u64>(), expected, "{text}");
    }
}

pub async fn tasks_agents_and_adapters_add_up_to_the_total(fresh: &Fresh) {
    let task = |number: u64| Some(TaskId::new(NOW, bytes(number)));
    let mut records = mixed(fresh);
    for (at, number) in [(0, 1), (1, 1), (4, 2), (6, 1)] {
        records[at].extras.task = task(number);
    }
    for at in [0, 1, 7] {
        records[at].extras.agent = Some("helper".into());
    }
    records[6].extras.adapter = Some("law".into());
    put(fresh, records).await;
    let usage = async |query| fresh.store.records().usage(query).await.unwrap();
    let by_agent = usage(query(fresh, &[Dimension::Agent])).await;
    assert_eq!(named(&by_agent), [(None, 5), (Some("helper"), 2)]);
    assert_eq!(by_agent[1].sums.unattempted, 1, "refused requests are the agent's, too");
    assert_eq!(named(&usage(query(fresh, &[Dimension::Adapter])).await), [(None, 6), (Some("law"), 1)]);

    let window = Window { start_unix_ms: NOW - 3_600_000, end_unix_ms: NOW + 3_600_000 };
    let by_task = async |filter| {
        let query = UsageQuery { window, filter, ..query(fresh, &[Dimension::Task]) };
        store::usage_by_task(fresh.store.records(), &query).await.unwrap().unwrap()
    };
    let rows = by_task(UsageFilter::default()).await;
    let requests = |rows: &[UsageRow], task: Option<TaskId>| {
        let is_its = |row: &&UsageRow| row.groups[0].1 == task.map(|task| task.to_string());
        rows.iter().find(is_its).map(|row| row.sums.requests)
    };
    assert_eq!([task(1), task(2), None].map(|task| requests(&rows, task)), [Some(3), Some(1), Some(3)]);
    let total = &usage(query(fresh, &[])).await[0];
    let mut sums = UsageSums::default();
    rows.iter().for_each(|row| sums.plus(&row.sums));
    let counts = |sums: &UsageSums| (sums.requests, sums.unattempted, sums.input_tokens, sums.cost);
    assert_eq!(counts(&sums), counts(&total.sums));
    assert_eq!(rows.iter().map(|row| row.spend).sum::<Nanos>(), total.spend);
    let on_nodes = by_task(UsageFilter { mode: Some(Mode::Byoc), ..UsageFilter::default() }).await;
    assert_eq!((on_nodes.len(), requests(&on_nodes, task(1))), (1, Some(1)));
}

pub async fn intervals_cut_the_window(fresh: &Fresh) {
    let hour = Interval::Hour.ms();
    let start = NOW / hour * hour;
    let records = (0..6)
        .map(|number| MeterRecord { started_unix_ms: start + number * hour / 2, ..fresh.record(number) });
    put(fresh, records.collect()).await;
    let window = Window { start_unix_ms: start, end_unix_ms: start + 5 * hour / 2 };
    let cut = UsageQuery { window, interval: Some(Interval::Hour), ..query(fresh, &[]) };
    let rows = fresh.store.records().usage(cut).await.unwrap();
    let buckets: Vec<_> =
        rows.iter().map(|row| (row.bucket_unix_ms.unwrap() - start, row.sums.requests)).collect();
    assert_eq!(buckets, [(0, 2), (hour, 2), (2 * hour, 1)], "the end is exclusive");
    let fine = UsageQuery { window, interval: Some(Interval::Minute), ..query(fresh, &[]) };
    let rows = fresh.store.records().usage(fine).await.unwrap();
    let starts: Vec<_> = rows.iter().map(|row| (row.bucket_unix_ms.unwrap() - start) / 60_000).collect();
    assert_eq!(starts, [0, 30, 60, 90, 120]);
}

/// The sums of a window by mode.
async fn by_mode(fresh: &Fresh, window: Window) -> [UsageSums; 3] {
    let rows = fresh.store.records().usage(UsageQuery { window, ..query(fresh, &[Dimension::Mode]) });
    let rows = rows.await.unwrap();
    Mode::ALL.map(|mode| {
        let of_mode = |row: &&UsageRow| row.groups[0].1.as_deref() == Some(mode.as_str());
        rows.iter().find(of_mode).map(|row| row.sums).unwrap_or_default()
    })
}

pub async fn each_mode_has_its_own_money(fresh: &Fresh) {
    put(fresh, mixed(fresh)).await;
    let rows = by_mode(fresh, EVER).await;
    assert_eq!(rows.map(|sums| sums.requests), [4, 2, 1]);
    assert_eq!(rows.map(|sums| sums.cost), [Nanos(6_000), Nanos(0), Nanos(0)]);
    assert_eq!(rows.map(|sums| sums.provider_cost), [Nanos(4_000), Nanos(2_000), Nanos(0)]);
    assert_eq!(rows.map(|sums| (sums.unpriced, sums.unmetered)), [(0, 0), (1, 0), (0, 0)]);
    // Completed, without any usage.
    let mut silent = fresh.record(99);
    silent.usage = Usage::default();
    put_behind(fresh, 0, 2, vec![silent]).await;
    let sums = by_mode(fresh, EVER).await.map(|sums| (sums.requests, sums.unmetered));
    assert_eq!(sums, [(5, 1), (2, 0), (1, 0)]);
}

pub async fn percentiles_are_of_completed_requests(fresh: &Fresh) {
    let mut records: Vec<_> = (1..=100).map(|number| fresh.record(number)).collect();
    for (number, settled) in (1_u64..).zip(&mut records) {
        settled.timeline.settled_us = number * 1_000;
        settled.stream = number % 2 == 0;
    }
    records[99].outcome = Outcome::ClientCancelled;
    put(fresh, records).await;
    let rows = fresh.store.records().usage(query(fresh, &[Dimension::Model])).await.unwrap();
    let latency = rows[0].latency.unwrap();
    assert!((50_000..=57_000).contains(&latency.p50_us), "{latency:?}");
    assert!((98_000..=112_000).contains(&latency.p99_us), "{latency:?}");
    let first_byte = rows[0].first_byte.unwrap();
    assert!((900..=1_012).contains(&first_byte.p95_us), "{first_byte:?}");
}

/// Sums are stored per minute: a window's start is rounded down to a whole minute, its end up.
pub async fn a_window_covers_whole_minutes(fresh: &Fresh) {
    let minute = NOW / 60_000 * 60_000;
    let records = [0, 59_999, 60_000, 119_999, 120_000]
        .map(|after: u64| MeterRecord { started_unix_ms: minute + after, ..fresh.record(after) });
    put(fresh, records.to_vec()).await;
    for (start, end, expected) in [
        (0, 60_000, 2),
        (0, 60_001, 4),
        (59_999, 60_000, 2),
        (60_000, 120_000, 2),
        (119_999, 120_001, 3),
        (180_000, 240_000, 0),
    ] {
        let window = Window { start_unix_ms: minute + start, end_unix_ms: minute + end };
        let rows = fresh.store.records().usage(UsageQuery { window, ..query(fresh, &[]) }).await.unwrap();
        assert_eq!(rows.first().map_or(0, |row| row.sums.requests), expected, "{start}..{end}");
        let of_modes = by_mode(fresh, window).await;
        assert_eq!(of_modes.map(|sums| sums.requests), [expected, 0, 0], "{start}..{end}");
    }
}

pub async fn an_answer_has_an_end(fresh: &Fresh) {
    let tagged = (0..10_050).map(|number| MeterRecord {
        tag: Some(format!("{:05}", (number * 7_919) % 10_050)),
        ..fresh.record(number)
    });
    put(fresh, tagged.collect()).await;
    let rows = fresh.store.records().usage(query(fresh, &[Dimension::Tag])).await.unwrap();
    assert_eq!(rows.len(), 10_000);
    assert_eq!(rows[9_999].groups[0].1.as_deref(), Some("09999"), "the first in order");
}

/// The time is printed, not asserted: the machine may be busy.
pub async fn many_records_are_summed_in_little_time(fresh: &Fresh) {
    const RECORDS: u64 = 100_000;
    let started = std::time::Instant::now();
    for batch in 0..RECORDS / 1_000 {
        let records = (batch * 1_000..(batch + 1) * 1_000).map(|number| MeterRecord {
            started_unix_ms: NOW + number * 100,
            requested_model: format!("model {}", number % 10),
            resolved_model: format!("openai/model {}", number % 10),
            ..fresh.record(number)
        });
        put_behind(fresh, 0, batch + 1, records.collect()).await;
    }
    let applied = started.elapsed() / u32::try_from(RECORDS).unwrap();
    let started = std::time::Instant::now();
    let rows = fresh.store.records().usage(query(fresh, &[Dimension::Model])).await.unwrap();
    let summed = started.elapsed();
    assert_eq!((rows.len(), rows.iter().map(|row| row.sums.requests).sum::<u64>()), (10, RECORDS));
    let started = std::time::Instant::now();
    assert_eq!(by_mode(fresh, EVER).await[0].requests, RECORDS);
    println!("applied: {applied:?} a record; by model: {summed:?}; by mode: {:?}", started.elapsed());
}
