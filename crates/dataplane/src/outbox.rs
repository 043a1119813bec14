//! Settled records on their way to the control plane: stored in their order before they count here, and deleted once they are
//! there. They wait for days.

use std::sync::Arc;

use database::error::StoreError;
use database::fields::{Fields, signed};
use database::handle::Database;
use database::statement::sql;
use domain::TraceId;
use domain::ports::PortFuture;
use ledger::{DrainBatch, JournalPosition, RecordSink, SettledRecords, SinkError};
use store::Store;
use tokio::sync::Notify;
use uuid::Uuid;

const TABLE: &str = "data_plane_outbox";

/// A batch that waits, and its place in the queue.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub place: u64,
    pub batch: DrainBatch,
}

/// The sink of a data plane: what is settled goes to the control plane, and to its own books.
pub struct Outbox {
    database: Database,
    local: Arc<dyn RecordSink>,
    added: Notify,
}

impl Outbox {
    #[must_use]
    pub fn new(store: &Store) -> Arc<Self> {
        Arc::new(Self {
            database: store.database().clone(),
            local: store.record_sink(),
            added: Notify::new(),
        })
    }

    async fn add(&self, batch: &DrainBatch) -> Result<(), StoreError> {
        let encoded: Vec<(Uuid, &[u8])> =
            batch.records.encoded().map(|(trace, body)| (*trace.as_uuid(), body)).collect();
        let records = postcard::to_allocvec(&encoded).map_err(|error| StoreError::corrupt(TABLE, error))?;
        let query = sql("INSERT INTO data_plane_outbox (place, core, epoch, segment, position, records)
             SELECT COALESCE(MAX(place), 0) + 1, $1, $2, $3, $4, $5 FROM data_plane_outbox")
        .bind(i64::from(batch.core))
        .bind(batch.upto.epoch.cast_signed())
        .bind(batch.upto.segment.cast_signed())
        .bind(batch.upto.offset.cast_signed())
        .bind(records);
        self.database
            .note(move |writing| Box::pin(async move { query.run(writing.connection()).await }))
            .await?;
        self.added.notify_one();
        Ok(())
    }

    /// The batch that is next.
    ///
    /// # Errors
    /// Of the database.
    pub(crate) async fn first(&self) -> Result<Option<Waiting>, StoreError> {
        let query = sql("SELECT * FROM data_plane_outbox ORDER BY place LIMIT 1");
        let Some(row) = query.row(&mut self.database.read().await?).await? else { return Ok(None) };
        let fields = Fields::new(TABLE, &row);
        let bytes: Vec<u8> = fields.get("records")?;
        let encoded: Vec<(Uuid, &[u8])> =
            postcard::from_bytes(&bytes).map_err(|error| StoreError::corrupt(TABLE, error))?;
        let mut records = SettledRecords::default();
        for (trace, body) in encoded {
            records.push(TraceId::from_uuid(trace), body);
        }
        let number = |name| fields.get::<i64>(name).map(i64::cast_unsigned);
        let upto = JournalPosition {
            epoch: number("epoch")?,
            segment: number("segment")?,
            offset: number("position")?,
        };
        let core = fields.small("core")?;
        Ok(Some(Waiting { place: fields.number("place")?, batch: DrainBatch { core, upto, records } }))
    }

    /// Forgets a batch that has arrived.
    ///
    /// # Errors
    /// Of the database.
    pub(crate) async fn arrived(&self, place: u64) -> Result<(), StoreError> {
        let query = sql("DELETE FROM data_plane_outbox WHERE place = $1").bind(signed(place));
        self.database
            .note(move |writing| Box::pin(async move { query.run(writing.connection()).await }))
            .await?;
        Ok(())
    }

    /// How many batches wait.
    ///
    /// # Errors
    /// Of the database.
    pub async fn waiting(&self) -> Result<u64, StoreError> {
        let query = sql("SELECT COUNT(*) AS waiting FROM data_plane_outbox");
        let row = query.one(&mut self.database.read().await?).await?;
        Fields::new(TABLE, &row).number("waiting")
    }

    pub(crate) async fn await_more(&self) {
        self.added.notified().await;
    }
}

impl RecordSink for Outbox {
    /// A batch that is stored here twice, after a crash, counts once there: each record is known by its trace.
    fn apply<'a>(&'a self, batch: DrainBatch) -> PortFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            if !batch.records.is_empty() {
                self.add(&batch).await.map_err(|error| SinkError(error.with_causes()))?;
            }
            self.local.apply(batch).await
        })
    }

    fn position<'a>(&'a self, core: u32) -> PortFuture<'a, Result<Option<JournalPosition>, SinkError>> {
        self.local.position(core)
    }
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outbox")
    }
}
