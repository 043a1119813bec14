//! The store on SQLite: one writer, several readers, and a write-ahead log that is fsynced at every commit.

mod batches;
mod migrations;
mod records;
mod sink;
mod upkeep;
mod usage;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::ports::PortFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection as _, Pool, Sqlite, SqliteConnection};

use crate::sql::writing::unavailable;
use crate::sql::{Connection, Database, PooledConnection, Pools, founding, meta};
use crate::{Foundation, Store, StoreError};
pub(crate) use usage::set_day;

pub(crate) const READERS: u32 = 4;
/// For new databases; an existing one keeps its page size. Rows of packed records are long, and each of their
/// pages costs two writes to the log and one to the database. With larger pages a lone record would write too
/// much.
const PAGE_BYTES: u32 = 8 * 1024;
const BUSY_TIME_MAX: Duration = Duration::from_secs(10);
const WAIT_FOR_CONNECTION_MAX: Duration = Duration::from_secs(10);

/// The only replica of its file.
const REPLICA: i64 = 0;

/// The part of the books that is specific to SQLite. Cloning it shares the pools.
#[derive(Clone)]
pub(crate) struct SqliteStore {
    database: Database,
    writer: Pool<Sqlite>,
    readers: Pool<Sqlite>,
    draining: Arc<sink::Draining>,
}

pub(crate) async fn create(path: &Path, foundation: Foundation) -> Result<Store, StoreError> {
    make_file(path)?;
    let made = found(path, foundation).await;
    if made.is_err() {
        // A file that can't be removed is refused at the next start, since it isn't complete.
        for file in [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")] {
            let _ = fs::remove_file(file);
        }
    }
    made
}

pub(crate) async fn open(path: &Path) -> Result<Store, StoreError> {
    if !path.exists() {
        return Err(StoreError::NotMade { path: path.into() });
    }
    let store = connect(path).await?;
    migrations::run(&store.writer, path).await?;
    if !meta::is_complete(&store.database).await? {
        return Err(StoreError::HalfMade { path: path.into() });
    }
    Ok(store.into_store())
}

/// A consistent snapshot of the database, while others write to it; its schema is not migrated.
pub(crate) async fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    if !from.exists() {
        return Err(StoreError::NotMade { path: from.into() });
    }
    let options = SqliteConnectOptions::new().filename(from).read_only(true).busy_timeout(BUSY_TIME_MAX);
    let mut connection = options.connect().await.map_err(unavailable)?;
    let name = to.to_str().ok_or_else(|| StoreError::Foreign { path: to.into() })?;
    let copied = sqlx::query("VACUUM INTO ?1").bind(name).execute(&mut connection).await.map_err(unavailable);
    connection.close().await.map_err(unavailable)?;
    copied.map(|_| ())
}

async fn found(path: &Path, foundation: Foundation) -> Result<Store, StoreError> {
    let store = connect(path).await?;
    migrations::run(&store.writer, path).await?;
    founding::lay(&store.database, foundation, path.display().to_string()).await?;
    Ok(store.into_store())
}

/// Creates the file before SQLite does, so that it is private from its first byte; the `-wal` and `-shm`
/// files inherit the mode.
fn make_file(path: &Path) -> Result<(), StoreError> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(StoreError::AlreadyMade { path: path.into() })
        }
        Err(source) => Err(StoreError::Disk { path: path.into(), source }),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

async fn connect(path: &Path) -> Result<SqliteStore, StoreError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .page_size(PAGE_BYTES)
        .busy_timeout(BUSY_TIME_MAX);
    let pool = || {
        SqlitePoolOptions::new()
            .acquire_timeout(WAIT_FOR_CONNECTION_MAX)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
    };
    // One connection writes: a second one could only wait for it, and a read that is upgraded to a write
    // would fail at once.
    let writer = pool().max_connections(1).connect_with(options.clone()).await.map_err(unavailable)?;
    let readers = pool().max_connections(READERS).connect_lazy_with(options.read_only(true));
    let database = Database::new(Pools::Sqlite { writer: writer.clone(), readers: readers.clone() });
    Ok(SqliteStore { database, writer, readers, draining: Arc::default() })
}

impl SqliteStore {
    fn into_store(self) -> Store {
        Store::new(self.database.clone(), Arc::new(self), REPLICA)
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
