//! Settled records on their way to the control plane: stored in their order before they count here, and kept for a while once they
//! are there, for a control plane that is restored from a backup. They wait for days.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed};
use database::handle::Database;
use database::statement::{Row, Statement, sql};
use domain::ports::PortFuture;
use domain::{TraceId, WorkspaceId};
use ledger::{DrainBatch, JournalPosition, RecordSink, SettledRecords, SinkError};
use store::Store;
use tokio::sync::Notify;
use uuid::Uuid;
use world::{Clock, World};

use crate::limits::{DELIVERED_BYTES_MAX, FORGET_EVERY, UNSETTLED_BATCHES_MAX};

const TABLE: &str = "data_plane_outbox";

/// A batch that waits, its place in the queue, and that of the last one that was delivered before it.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub place: u64,
    pub delivered_place: u64,
    pub batch: DrainBatch,
}

/// The records of a workspace, each in its encoding.
type Part<'b> = (WorkspaceId, Vec<(Uuid, &'b [u8])>);

/// The sink of a data plane: what is settled goes to the control plane, and to its own books.
pub struct Outbox {
    database: Database,
    local: Arc<dyn RecordSink>,
    clock: Arc<dyn Clock>,
    /// For how long records are kept that were delivered.
    kept: Duration,
    /// Whose records are delivered: each workspace's by itself, so that none waits for another's.
    queues: Vec<(WorkspaceId, Notify)>,
    /// By core, what is stored here and may not count in the local books yet: it is offered again, in batches with other bounds.
    unsettled: Mutex<HashMap<u32, HashSet<TraceId>>>,
}

impl Outbox {
    /// `workspaces` in the order in which they were joined.
    pub async fn open(
        store: &Store,
        workspaces: impl Iterator<Item = WorkspaceId> + Send,
        (world, kept): (&World, Duration),
    ) -> Result<Arc<Self>, StoreError> {
        let outbox = Self {
            database: store.database().clone(),
            local: store.record_sink(),
            clock: Arc::clone(&world.clock),
            kept,
            queues: workspaces.map(|workspace| (workspace, Notify::new())).collect(),
            unsettled: Mutex::default(),
        };
        let unsettled = outbox.last_stored().await?;
        *outbox.lock() = unsettled;
        Ok(Arc::new(outbox))
    }

    /// The records of the last batches: a process that died between the outbox and the books left one of each core at most.
    async fn last_stored(&self) -> Result<HashMap<u32, HashSet<TraceId>>, StoreError> {
        let query = sql("SELECT * FROM data_plane_outbox ORDER BY place DESC LIMIT $1");
        let query = query.bind(signed(UNSETTLED_BATCHES_MAX));
        let rows = query.rows(&mut self.database.read().await?).await?;
        let mut found: HashMap<u32, HashSet<TraceId>> = HashMap::new();
        for row in &rows {
            let batch = batch_of(row)?;
            found.entry(batch.core).or_default().extend(batch.records.traces());
        }
        Ok(found)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, HashSet<TraceId>>> {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the records of a batch that are not stored yet.
    async fn add(&self, batch: &DrainBatch) -> Result<(), StoreError> {
        let parts = self.parts(batch);
        let mut queries = Vec::with_capacity(parts.len());
        for (workspace, records) in &parts {
            let records =
                postcard::to_allocvec(records).map_err(|error| StoreError::corrupt(TABLE, error))?;
            let query = sql(
                "INSERT INTO data_plane_outbox (place, core, epoch, segment, position, records, workspace)
                 SELECT COALESCE(MAX(place), 0) + 1, $1, $2, $3, $4, $5, $6 FROM data_plane_outbox",
            )
            .bind(i64::from(batch.core))
            .bind(batch.upto.epoch.cast_signed())
            .bind(batch.upto.segment.cast_signed())
            .bind(batch.upto.offset.cast_signed())
            .bind(records)
            .bind(workspace.bytes());
            queries.push(query);
        }
        if !queries.is_empty() {
            self.run(queries).await?;
        }
        self.lock().entry(batch.core).or_default().extend(batch.records.traces());
        for (workspace, _) in &parts {
            self.announce(*workspace);
        }
        Ok(())
    }

    /// What is new of a batch, by workspace.
    fn parts<'b>(&self, batch: &'b DrainBatch) -> Vec<Part<'b>> {
        let mut parts: Vec<Part<'_>> =
            self.queues.iter().map(|(workspace, _)| (*workspace, Vec::new())).collect();
        let unsettled = self.lock();
        let stored = unsettled.get(&batch.core);
        for (body, record) in batch.records.decoded::<&str>() {
            if stored.is_some_and(|traces| traces.contains(&record.trace)) {
                continue;
            }
            match parts.iter_mut().find(|(workspace, _)| *workspace == record.workspace) {
                Some((_, records)) => records.push((*record.trace.as_uuid(), body)),
                None => tracing::error!(
                    trace = %record.trace,
                    workspace = %record.workspace,
                    "a record is of a workspace that this data plane has not joined; it is only in the local books"
                ),
            }
        }
        parts.retain(|(_, records)| !records.is_empty());
        parts
    }

    /// Runs statements in one transaction. Returns how many rows they changed.
    async fn run(&self, queries: Vec<Statement>) -> Result<u64, StoreError> {
        self.database
            .note(move |writing| {
                Box::pin(async move {
                    let mut changed = 0;
                    for query in queries {
                        changed += query.run(writing.connection()).await?;
                    }
                    Ok(changed)
                })
            })
            .await
    }

    /// The batch of a workspace that is next.
    pub(crate) async fn first(&self, workspace: WorkspaceId) -> Result<Option<Waiting>, StoreError> {
        let query = self.of(
            workspace,
            "SELECT * FROM data_plane_outbox WHERE delivered_unix_ms IS NULL AND (workspace = $1 OR workspace IS NULL AND $2 = 1)
             ORDER BY place LIMIT 1",
        );
        let Some(row) = query.row(&mut self.database.read().await?).await? else { return Ok(None) };
        let place = Fields::new(TABLE, &row).number("place")?;
        let delivered_place = self.delivered_before(workspace, signed(place)).await?;
        Ok(Some(Waiting { place, delivered_place, batch: batch_of(&row)? }))
    }

    /// Binds a workspace, and whether batches without one are its own.
    fn of(&self, workspace: WorkspaceId, text: &'static str) -> Statement {
        let is_first = self.queues.first().is_some_and(|(first, _)| *first == workspace);
        sql(text).bind(workspace.bytes()).bind(i64::from(is_first))
    }

    /// Notes that a batch has arrived.
    pub(crate) async fn arrived(&self, place: u64) -> Result<(), StoreError> {
        let query = sql("UPDATE data_plane_outbox SET delivered_unix_ms = $2 WHERE place = $1");
        self.run(vec![query.bind(signed(place)).bind(signed(self.clock.unix_ms()))]).await.map(drop)
    }

    /// Up to which place all batches of a workspace are delivered.
    pub(crate) async fn delivered_place(&self, workspace: WorkspaceId) -> Result<u64, StoreError> {
        self.delivered_before(workspace, i64::MAX).await
    }

    async fn delivered_before(&self, workspace: WorkspaceId, place: i64) -> Result<u64, StoreError> {
        let query = self.of(
            workspace,
            "SELECT COALESCE(MAX(place), 0) AS place FROM data_plane_outbox WHERE delivered_unix_ms IS NOT NULL
             AND (workspace = $1 OR workspace IS NULL AND $2 = 1) AND place < $3",
        );
        let row = query.bind(place).one(&mut self.database.read().await?).await?;
        Fields::new(TABLE, &row).number("place")
    }

    /// Has what the control plane lost delivered again: everything after a place. Returns the number of batches.
    pub(crate) async fn again_after(&self, workspace: WorkspaceId, place: u64) -> Result<u64, StoreError> {
        let query = self.of(
            workspace,
            "UPDATE data_plane_outbox SET delivered_unix_ms = NULL
             WHERE delivered_unix_ms IS NOT NULL AND (workspace = $1 OR workspace IS NULL AND $2 = 1) AND place > $3",
        );
        let again = self.run(vec![query.bind(signed(place))]).await?;
        self.announce(workspace);
        Ok(again)
    }

    /// Forgets what was delivered long ago, or before the newest that are kept. The last place stays, so that no place is used twice.
    pub(crate) async fn forget_old(&self) -> Result<(), StoreError> {
        let before =
            self.clock.unix_ms().saturating_sub(u64::try_from(self.kept.as_millis()).unwrap_or(u64::MAX));
        let query = sql("DELETE FROM data_plane_outbox WHERE delivered_unix_ms IS NOT NULL
             AND place < (SELECT MAX(place) FROM data_plane_outbox) AND (delivered_unix_ms < $1 OR place <= COALESCE((
                 SELECT MAX(place) FROM (
                     SELECT place, SUM(LENGTH(records)) OVER (ORDER BY place DESC) AS bytes FROM data_plane_outbox
                     WHERE delivered_unix_ms IS NOT NULL
                 ) AS sums WHERE bytes > $2), 0))");
        self.run(vec![query.bind(signed(before)).bind(signed(DELIVERED_BYTES_MAX))]).await.map(drop)
    }

    /// Forgets delivered records that are kept no longer, until the process ends.
    pub async fn tidy(self: Arc<Self>) {
        loop {
            tokio::time::sleep(FORGET_EVERY).await;
            if let Err(error) = self.forget_old().await {
                tracing::warn!(error = error.with_causes(), "delivered records can't be forgotten yet");
            }
        }
    }

    /// The place of the last batch, whatever its workspace.
    pub async fn last_place(&self) -> Result<u64, StoreError> {
        let query = sql("SELECT COALESCE(MAX(place), 0) AS place FROM data_plane_outbox");
        let row = query.one(&mut self.database.read().await?).await?;
        Fields::new(TABLE, &row).number("place")
    }

    /// How many batches of a workspace wait, up to a place.
    pub(crate) async fn waiting(&self, workspace: WorkspaceId, upto: u64) -> Result<u64, StoreError> {
        let query = self.of(
            workspace,
            "SELECT COUNT(*) AS waiting FROM data_plane_outbox WHERE delivered_unix_ms IS NULL
             AND (workspace = $1 OR workspace IS NULL AND $2 = 1) AND place <= $3",
        );
        let row = query.bind(signed(upto)).one(&mut self.database.read().await?).await?;
        Fields::new(TABLE, &row).number("waiting")
    }

    fn announce(&self, workspace: WorkspaceId) {
        for (_, added) in self.queues.iter().filter(|(of, _)| *of == workspace) {
            added.notify_one();
        }
    }

    pub(crate) async fn await_more(&self, workspace: WorkspaceId) {
        match self.queues.iter().find(|(of, _)| *of == workspace) {
            Some((_, added)) => added.notified().await,
            None => std::future::pending().await,
        }
    }
}

fn batch_of(row: &Row) -> Result<DrainBatch, StoreError> {
    let fields = Fields::new(TABLE, row);
    let bytes: Vec<u8> = fields.get("records")?;
    let encoded: Vec<(Uuid, &[u8])> =
        postcard::from_bytes(&bytes).map_err(|error| StoreError::corrupt(TABLE, error))?;
    let mut records = SettledRecords::default();
    for (trace, body) in encoded {
        records.push(TraceId::from_uuid(trace), body);
    }
    let number = |name| fields.get::<i64>(name).map(i64::cast_unsigned);
    let upto =
        JournalPosition { epoch: number("epoch")?, segment: number("segment")?, offset: number("position")? };
    Ok(DrainBatch { core: fields.small("core")?, upto, records })
}

impl RecordSink for Outbox {
    /// A batch that is offered again, after a crash or because the local books did not take it, may have more records than before.
    /// Those that are stored are not stored again: at the control plane, too, a batch begins where the one before it ends.
    fn apply<'a>(&'a self, batch: DrainBatch) -> PortFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            if !batch.records.is_empty() {
                self.add(&batch).await.map_err(|error| SinkError(error.with_causes()))?;
            }
            let core = batch.core;
            self.local.apply(batch).await?;
            self.lock().remove(&core);
            Ok(())
        })
    }

    fn position<'a>(&'a self, core: u32) -> PortFuture<'a, Result<Option<JournalPosition>, SinkError>> {
        self.local.position(core)
    }
}

domain::brief_debug!(Outbox as "Outbox");
