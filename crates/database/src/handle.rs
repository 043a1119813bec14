//! The handle on a database: connections to read with, and transactions that version, announce and audit what they change.

use std::future::Future;

use domain::ports::PortFuture;
use sqlx::{Pool, Sqlite};
use tasks::Writes;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::act::Written;
use crate::connection::{Connection, PooledConnection};
use crate::error::{StoreError, unavailable};
use crate::limits::CONNECTIONS_APART_MAX;
use crate::notifier::Notifier;
use crate::rehearsal;
use crate::writing::{Lock, Writing};

const MOMENT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
const MOMENT_IN_ORDER: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
    SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_seqscan = off; \
    SET LOCAL jit = off";

/// The source of connections.
#[derive(Clone)]
pub enum Pools {
    /// One connection writes, several read.
    Sqlite {
        writer: Pool<Sqlite>,
        readers: Pool<Sqlite>,
    },
    Postgres(crate::postgres::Pools),
}

impl Pools {
    fn apart(&self) -> Self {
        match self {
            Self::Sqlite { writer, readers } => {
                Self::Sqlite { writer: writer.clone(), readers: twin(readers) }
            }
            Self::Postgres(pools) => {
                Self::Postgres(crate::postgres::Pools { pool: twin(&pools.pool), ..pools.clone() })
            }
        }
    }
}

/// Another pool for the same database. It connects when it is needed.
fn twin<D: sqlx::Database>(pool: &Pool<D>) -> Pool<D> {
    let options = pool.connect_options();
    pool.options().clone().max_connections(CONNECTIONS_APART_MAX).connect_lazy_with((*options).clone())
}

/// One database; cloning it shares the pools.
#[derive(Clone)]
pub struct Database {
    pools: Pools,
    notifier: Notifier,
    /// Changes in progress. A closed pool ends them.
    writes: Writes,
    #[cfg(feature = "fixtures")]
    commit_faults: std::sync::Arc<crate::fixtures::CommitFaults>,
}

impl Database {
    pub fn new(pools: Pools) -> Self {
        Self {
            pools,
            notifier: Notifier::default(),
            writes: Writes::default(),
            #[cfg(feature = "fixtures")]
            commit_faults: std::sync::Arc::default(),
        }
    }

    /// Whether other processes may use it as well.
    pub const fn is_shared(&self) -> bool {
        matches!(self.pools, Pools::Postgres(_))
    }

    /// The same database by separate connections, which nobody else can keep. Only one connection ever writes to SQLite, so all
    /// its changes are made on this runtime from now on: none keeps that connection while its thread is held up.
    pub fn apart(&self) -> Self {
        if self.is_sqlite() {
            self.writes.stay_here();
        }
        Self { pools: self.pools.apart(), ..self.clone() }
    }

    pub const fn pools(&self) -> &Pools {
        &self.pools
    }

    /// For single read statements.
    pub async fn read(&self) -> Result<Connection, StoreError> {
        match &self.pools {
            Pools::Sqlite { readers, .. } => readers
                .acquire()
                .await
                .map(PooledConnection::new)
                .map(Connection::Sqlite)
                .map_err(unavailable),
            Pools::Postgres(pools) => pools.acquire().await.map(Connection::Postgres),
        }
    }

    /// An autocommit connection: with many writers, the cheapest way to run a single statement. `None` on
    /// SQLite, where writers are serialised.
    pub async fn autocommit(&self) -> Result<Option<Connection>, StoreError> {
        match &self.pools {
            Pools::Sqlite { .. } => Ok(None),
            Pools::Postgres(pools) => pools.acquire().await.map(Connection::Postgres).map(Some),
        }
    }

    /// Marks the end of an autocommitted write, where tests inject faults.
    pub fn finish_autocommit(&self) -> Result<(), StoreError> {
        #[cfg(feature = "fixtures")]
        self.commit_faults.after()?;
        Ok(())
    }

    /// A read-only transaction on one snapshot; the caller rolls it back at the end, so that its connection
    /// returns to the pool.
    pub async fn snapshot(&self) -> Result<Connection, StoreError> {
        match &self.pools {
            Pools::Sqlite { readers, .. } => begin_on(readers, "BEGIN").await,
            Pools::Postgres(pools) => pools.begin(MOMENT).await.map(Connection::Postgres),
        }
    }

    /// Like `moment`, for lists that follow an index and end early. Without statistics for young partitions,
    /// PostgreSQL would rather read and sort everything. A disabled plan type only raises its cost, so far
    /// that any statement would be compiled for a second: hence `jit` is off.
    pub async fn moment_in_order(&self) -> Result<Connection, StoreError> {
        match &self.pools {
            Pools::Sqlite { .. } => self.snapshot().await,
            Pools::Postgres(pools) => pools.begin(MOMENT_IN_ORDER).await.map(Connection::Postgres),
        }
    }

    /// A write transaction; on SQLite concurrent ones are serialised.
    pub async fn begin(&self) -> Result<Connection, StoreError> {
        match &self.pools {
            Pools::Sqlite { writer, .. } => begin_on(writer, "BEGIN IMMEDIATE").await,
            Pools::Postgres(pools) => pools.begin("BEGIN").await.map(Connection::Postgres),
        }
    }

    /// Runs one configuration change to its end, even if the caller is gone: a dropped connection must not
    /// leave a commit that was never announced. Concurrent changes, on whatever replica, are serialised, so
    /// that what a change reads is still true when it writes.
    pub async fn write<T, F>(&self, work: F) -> Result<Written<T>, StoreError>
    where
        T: Send + 'static,
        F: for<'w> FnOnce(&'w mut Writing) -> PortFuture<'w, Result<T, StoreError>> + Send + 'static,
    {
        self.run(Lock::Configuration, work).await
    }

    /// Like `write`, for what is not part of the configuration; it does not wait for configuration changes.
    pub async fn note<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'w> FnOnce(&'w mut Writing) -> PortFuture<'w, Result<T, StoreError>> + Send + 'static,
    {
        self.run(Lock::Nothing, work).await.map(|written| written.row)
    }

    /// Runs a write to its end, even if the caller is gone.
    pub fn run_to_end<F>(&self, write: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.writes.run(write)
    }

    async fn run<T, F>(&self, lock: Lock, work: F) -> Result<Written<T>, StoreError>
    where
        T: Send + 'static,
        F: for<'w> FnOnce(&'w mut Writing) -> PortFuture<'w, Result<T, StoreError>> + Send + 'static,
    {
        let (database, is_rehearsal) = (self.clone(), rehearsal::is_on());
        let done = self.run_to_end(async move { database.transact(lock, is_rehearsal, work).await }).await;
        done.unwrap_or(Err(StoreError::Uncertain))
    }

    async fn transact<T, F>(&self, lock: Lock, is_rehearsal: bool, work: F) -> Result<Written<T>, StoreError>
    where
        F: for<'w> FnOnce(&'w mut Writing) -> PortFuture<'w, Result<T, StoreError>>,
    {
        let mut writing = Writing::begin(self.begin().await?, lock).await?;
        match work(&mut writing).await {
            Ok(row) if is_rehearsal => {
                let version = writing.version().saturating_sub(1);
                writing.into_connection().roll_back().await;
                Ok(Written { version, row })
            }
            Ok(row) => {
                let (transaction, version, is_new) = writing.finish().await?;
                self.commit(transaction, is_new.then_some(version)).await?;
                Ok(Written { version, row })
            }
            Err(error) => {
                writing.into_connection().roll_back().await;
                Err(error)
            }
        }
    }

    /// Commits, and announces the version that the transaction made.
    pub async fn commit(&self, transaction: Connection, version: Option<u64>) -> Result<(), StoreError> {
        #[cfg(feature = "fixtures")]
        self.commit_faults.before()?;
        transaction.commit().await?;
        if let Some(version) = version {
            self.notifier.tell(version);
        }
        #[cfg(feature = "fixtures")]
        self.commit_faults.after()?;
        Ok(())
    }

    /// Brings what was overwritten from the write-ahead log into the file, and empties the log. `false` where a reader keeps
    /// it, and on PostgreSQL, whose log is its own.
    pub async fn scrub(&self) -> Result<bool, StoreError> {
        let Pools::Sqlite { writer, .. } = &self.pools else { return Ok(false) };
        let busy = sqlx::query_scalar::<_, i64>("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(writer).await;
        busy.map(|busy| busy == 0).map_err(unavailable)
    }

    pub const fn is_sqlite(&self) -> bool {
        matches!(self.pools, Pools::Sqlite { .. })
    }

    pub fn watch(&self) -> watch::Receiver<u64> {
        self.notifier.watch()
    }

    pub fn notifier(&self) -> Notifier {
        self.notifier.clone()
    }

    pub async fn close(&self) {
        match &self.pools {
            Pools::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
            Pools::Postgres(pools) => pools.close().await,
        }
        self.writes.finish().await;
    }

    #[cfg(feature = "fixtures")]
    pub async fn leave_room(&self, pages: Option<u32>) -> Result<(), StoreError> {
        let Pools::Sqlite { writer, .. } = &self.pools else {
            return Err(StoreError::Address);
        };
        let count = sqlx::query_scalar::<_, i64>("PRAGMA page_count").fetch_one(writer).await;
        let most =
            pages.map_or(Ok(i64::from(u32::MAX - 1)), |pages| count.map(|count| count + i64::from(pages)));
        let limit = format!("PRAGMA max_page_count = {}", most.map_err(unavailable)?);
        sqlx::query(sqlx::AssertSqlSafe(limit)).execute(writer).await.map(|_| ()).map_err(unavailable)
    }

    #[cfg(feature = "fixtures")]
    pub fn commit_faults(&self) -> std::sync::Arc<crate::fixtures::CommitFaults> {
        std::sync::Arc::clone(&self.commit_faults)
    }
}

/// A SQLite connection inside a transaction.
async fn begin_on(pool: &Pool<Sqlite>, how: &'static str) -> Result<Connection, StoreError> {
    let mut held = pool.acquire().await.map(PooledConnection::new).map_err(unavailable)?;
    held.begin(how).await?;
    Ok(Connection::Sqlite(held))
}
