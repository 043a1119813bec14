//! tmp
use crate::run;
use crate::samples::record;
use ledger::{DrainBatch, JournalPosition};
#[test]
fn speed() {
    run(async {
        let fresh = crate::sqlite::fresh().await;
        let records: Vec<_> =
            (0..20_000).map(|n| record(fresh.founding.workspace.id, fresh.founding.project.id, n)).collect();
        let sink = fresh.store.record_sink();
        for size in [200usize, 2000] {
            let t = std::time::Instant::now();
            let recs: Vec<_> = records
                .iter()
                .cloned()
                .map(|mut r| {
                    r.trace = domain::TraceId::new(
                        r.started_unix_ms + size as u64 * 100000,
                        crate::samples::bytes(r.started_unix_ms * 7 + size as u64),
                    );
                    r
                })
                .collect();
            for chunk in recs.chunks(size) {
                sink.apply(DrainBatch { core: 0, upto: JournalPosition::default(), records: chunk.to_vec() })
                    .await
                    .unwrap();
            }
            let e = t.elapsed();
            println!("SPEED batch {size}: {:?} for 20000 => {:.0}/s", e, 20000.0 / e.as_secs_f64());
        }
        let t = std::time::Instant::now();
        let u = fresh
            .store
            .records()
            .usage(store::UsageQuery {
                workspace: fresh.founding.workspace.id,
                window: store::Window { start_unix_ms: 0, end_unix_ms: u64::MAX },
                group_by: vec![store::Dimension::Model, store::Dimension::Key],
                interval: Some(store::Interval::Hour),
                filter: Default::default(),
            })
            .await
            .unwrap();
        println!("USAGE {:?} rows {} for 40k", t.elapsed(), u.len());
        println!("size {}", std::fs::metadata(fresh.dir.path().join("t.db")).unwrap().len());
    })
}
