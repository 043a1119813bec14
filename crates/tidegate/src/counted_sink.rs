//! The sink of settled records, which also adds them to the sums of `/metrics`.

use std::sync::Arc;

use domain::ports::PortFuture;
use ledger::{DrainBatch, JournalPosition, RecordSink, SinkError};
use line::SettledCounts;

pub struct CountedSink {
    pub sink: Arc<dyn RecordSink>,
    pub counts: Arc<SettledCounts>,
}

impl RecordSink for CountedSink {
    fn apply<'a>(&'a self, batch: DrainBatch) -> PortFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            let records = batch.records.clone();
            // A batch that is refused comes again.
            self.sink.apply(batch).await?;
            records.decoded::<&str>().for_each(|(_, record)| self.counts.count(&record));
            Ok(())
        })
    }

    fn position<'a>(&'a self, core: u32) -> PortFuture<'a, Result<Option<JournalPosition>, SinkError>> {
        self.sink.position(core)
    }
}
