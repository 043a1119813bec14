//! Meter records.

use std::collections::BTreeSet;

use domain::{MeterRecord, Outcome};
use ledger::{DrainBatch, JournalPosition};
use store::{Page, RequestFilter, StoreError};

use crate::Fresh;
use crate::samples::{founding, record};

pub async fn put(fresh: &Fresh, records: Vec<MeterRecord>) {
    let upto = JournalPosition { epoch: 1, segment: 1, offset: 1 };
    fresh.store.record_sink().apply(DrainBatch { core: 0, upto, records }).await.unwrap();
}

pub async fn a_batch_is_taken_once_with_its_position(fresh: &Fresh) {
    let sink = fresh.store.record_sink();
    let (workspace, project) = (fresh.founding.workspace.id, fresh.founding.project.id);
    assert_eq!(sink.position(3).await.unwrap(), None);
    let records: Vec<_> = (0..100).map(|number| record(workspace, project, number)).collect();
    let upto = JournalPosition { epoch: u64::MAX - 1, segment: 7, offset: 99 };
    let batch = DrainBatch { core: 3, upto, records };
    sink.apply(batch.clone()).await.unwrap();
    sink.apply(batch.clone()).await.unwrap();
    assert_eq!(sink.position(3).await.unwrap(), Some(upto));
    assert_eq!(fresh.store.records().record_count().await.unwrap(), 100);
    fresh.store.commit_faults().script([store::fixtures::CommitFault::Refused]);
    let next = DrainBatch {
        records: vec![record(workspace, project, 500)],
        upto: JournalPosition { offset: 100, ..upto },
        core: 3,
    };
    sink.apply(next.clone()).await.unwrap_err();
    assert_eq!(sink.position(3).await.unwrap(), Some(upto), "neither without the other");
    assert_eq!(fresh.store.records().record_count().await.unwrap(), 100);
    fresh.store.commit_faults().script([store::fixtures::CommitFault::AnswerLost]);
    sink.apply(next.clone()).await.unwrap_err();
    sink.apply(next).await.unwrap();
    assert_eq!(fresh.store.records().record_count().await.unwrap(), 101);
    sink.apply(DrainBatch { core: 4, upto, records: Vec::new() }).await.unwrap();
    assert_eq!(sink.position(4).await.unwrap(), Some(upto));
}

pub async fn a_record_reads_back_whole_and_only_in_its_workspace(fresh: &Fresh) {
    let (workspace, project) = (fresh.founding.workspace.id, fresh.founding.project.id);
    let settled = record(workspace, project, 5);
    put(fresh, vec![settled.clone()]).await;
    let records = fresh.store.records();
    assert_eq!(records.request(workspace, settled.trace).await.unwrap(), settled);
    let foreign = records.request(founding(2).workspace.id, settled.trace).await;
    assert!(matches!(foreign, Err(StoreError::NotFound { .. })));
    assert_eq!(records.every_record(None, Page::default()).await.unwrap().rows, [settled]);
}

pub async fn requests_are_listed_newest_first_and_filtered(fresh: &Fresh) {
    let (workspace, project) = (fresh.founding.workspace.id, fresh.founding.project.id);
    let mut records: Vec<_> = (0..25).map(|number| record(workspace, project, number)).collect();
    records[3].outcome = Outcome::Failed;
    records[3].status = 502;
    records[4].resolved_model = "meta-llama/x".into();
    records[4].requested_model = "x".into();
    put(fresh, records.clone()).await;
    put(fresh, vec![record(founding(2).workspace.id, project, 99)]).await;
    let (mut page, mut seen, mut order) = (Page::first(10), BTreeSet::new(), Vec::new());
    loop {
        let listed =
            fresh.store.records().requests(workspace, RequestFilter::default(), page.clone()).await.unwrap();
        order.extend(listed.rows.iter().map(|row| row.trace));
        // What comes in meanwhile is newer, and moves no page.
        put(fresh, vec![record(workspace, project, 1_000 + order.len() as u64)]).await;
        match listed.next {
            Some(after) => page.after = Some(after),
            None => break,
        }
    }
    assert!(order.iter().rev().is_sorted() && order.iter().all(|trace| seen.insert(*trace)));
    assert_eq!(order.len(), 25);
    let count = async |filter: RequestFilter| {
        fresh.store.records().requests(workspace, filter, Page::first(1_000)).await.unwrap().rows.len()
    };
    let all = count(RequestFilter::default()).await;
    assert_eq!(count(RequestFilter { status: Some(502), ..Default::default() }).await, 1);
    assert_eq!(count(RequestFilter { outcome: Some(Outcome::Failed), ..Default::default() }).await, 1);
    assert_eq!(count(RequestFilter { model: Some("x".into()), ..Default::default() }).await, 1);
    assert_eq!(count(RequestFilter { model: Some("meta-llama/x".into()), ..Default::default() }).await, 1);
    assert_eq!(
        count(RequestFilter { profile: Some("managed_provider".into()), ..Default::default() }).await,
        all
    );
    assert_eq!(count(RequestFilter { profile: Some("byok".into()), ..Default::default() }).await, 0);
    let since = Some(records[20].started_unix_ms);
    let until = Some(records[22].started_unix_ms);
    assert_eq!(
        count(RequestFilter { since_unix_ms: since, until_unix_ms: until, ..Default::default() }).await,
        2
    );
    let row = fresh
        .store
        .records()
        .requests(workspace, RequestFilter { status: Some(502), ..Default::default() }, Page::default())
        .await
        .unwrap()
        .rows;
    assert_eq!((row[0].principal, row[0].region.as_deref()), (records[3].principal, Some("eu")));
    assert_eq!((row[0].sums.input_tokens, row[0].sums.output_tokens, row[0].sums.failed), (120, 35, 1));
    assert_eq!((row[0].latency_us, row[0].first_byte_us), (2_000, Some(900)));
}
