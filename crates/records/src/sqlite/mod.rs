//! Meter records in SQLite, as rows of packed records.

mod batches;
mod records;
mod sink;
mod upkeep;
mod usage;

use std::sync::Arc;

use database::connection::{Connection, PooledConnection};
use database::error::{StoreError, unavailable};
use database::handle::{Database, Pools};
use domain::ports::PortFuture;
use ledger::SettledCounts;
use sqlx::{Pool, Sqlite, SqliteConnection};

use crate::audit_notes::AuditNotes;

pub(crate) use usage::set_day;

/// The only replica of its file.
pub const REPLICA: i64 = 0;

/// The part of the books that is specific to SQLite. Cloning it shares the pools.
#[derive(Clone)]
pub struct SqliteRecords {
    database: Database,
    writer: Pool<Sqlite>,
    readers: Pool<Sqlite>,
    draining: Arc<sink::Draining>,
    notes: Arc<AuditNotes>,
    pub settled: Arc<SettledCounts>,
    /// Whose leases the records draw on, and whose cores' journals they come from: this process's, or a data plane's.
    replica: i64,
}

impl SqliteRecords {
    pub fn new(database: Database, writer: Pool<Sqlite>, readers: Pool<Sqlite>) -> Self {
        let (draining, notes, settled) = Default::default();
        Self { database, writer, readers, draining, notes, settled, replica: REPLICA }
    }

    /// The sink of a data plane's records, which has this number among the replicas. Its own `/metrics` count them.
    pub fn of_replica(&self, replica: i64) -> Self {
        Self { replica, settled: Arc::default(), ..self.clone() }
    }

    /// The same books over other connections to the same file.
    pub fn over(&self, database: &Database) -> Self {
        let Pools::Sqlite { readers, .. } = database.pools() else { return self.clone() };
        Self { database: database.clone(), readers: readers.clone(), ..self.clone() }
    }

    pub(crate) const fn readers(&self) -> &Pool<Sqlite> {
        &self.readers
    }

    /// Like `Database::note`, for statements that only SQLite understands.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'w> FnOnce(&'w mut SqliteConnection) -> PortFuture<'w, Result<T, StoreError>> + Send + 'static,
    {
        let store = self.clone();
        let done = self.database.run_to_end(async move {
            let mut held = store.writer.acquire().await.map(PooledConnection::new).map_err(unavailable)?;
            held.begin("BEGIN IMMEDIATE").await?;
            match work(held.raw()).await {
                Ok(done) => {
                    store.database.commit(Connection::Sqlite(held), None).await?;
                    Ok(done)
                }
                Err(error) => {
                    Connection::Sqlite(held).roll_back().await;
                    Err(error)
                }
            }
        });
        done.await.unwrap_or(Err(StoreError::Uncertain))
    }
}
