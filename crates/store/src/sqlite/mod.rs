//! The store on SQLite: one writer, several readers, and a write-ahead log that is fsynced at every commit.

mod migrations;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use database::error::{StoreError, unavailable};
use database::handle::{Database, Pools};
use database::meta;
use records::sqlite::{REPLICA, SqliteRecords};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection as _, Pool, Sqlite};

use crate::founding::Foundation;
use crate::limits::{SQLITE_BUSY_TIME_MAX, SQLITE_CONNECTION_WAIT_MAX};
use crate::opened::Opened;
use crate::sql::founding;

const READERS: u32 = 4;
/// For new databases; an existing one keeps its page size. Rows of packed records are long, and each of their
/// pages costs two writes to the log and one to the database. With larger pages a lone record would write too
/// much.
const PAGE_BYTES: u32 = 8 * 1024;

/// An open database, before it is known to be complete.
struct Parts {
    database: Database,
    writer: Pool<Sqlite>,
    readers: Pool<Sqlite>,
}

impl Parts {
    fn into_opened(self) -> Opened {
        let Self { database, writer, readers } = self;
        let books = SqliteRecords::new(database.clone(), writer, readers);
        Opened { database, books: Arc::new(books), replica: REPLICA }
    }
}

pub(crate) async fn create(path: &Path, foundation: Foundation) -> Result<Opened, StoreError> {
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

pub(crate) async fn open(path: &Path) -> Result<Opened, StoreError> {
    if !path.exists() {
        return Err(StoreError::NotMade { path: path.into() });
    }
    let parts = connect(path).await?;
    migrations::run(&parts.writer, path).await?;
    if !meta::is_complete(&parts.database).await? {
        return Err(StoreError::HalfMade { path: path.into() });
    }
    Ok(parts.into_opened())
}

/// A consistent snapshot of the database, while others write to it; its schema is not migrated.
pub(crate) async fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    if !from.exists() {
        return Err(StoreError::NotMade { path: from.into() });
    }
    let options =
        SqliteConnectOptions::new().filename(from).read_only(true).busy_timeout(SQLITE_BUSY_TIME_MAX);
    let mut connection = options.connect().await.map_err(unavailable)?;
    let name = to.to_str().ok_or_else(|| StoreError::Foreign { path: to.into() })?;
    let copied = sqlx::query("VACUUM INTO ?1").bind(name).execute(&mut connection).await.map_err(unavailable);
    connection.close().await.map_err(unavailable)?;
    copied.map(|_| ())
}

async fn found(path: &Path, foundation: Foundation) -> Result<Opened, StoreError> {
    let parts = connect(path).await?;
    migrations::run(&parts.writer, path).await?;
    founding::lay(&parts.database, foundation, path.display().to_string()).await?;
    Ok(parts.into_opened())
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

async fn connect(path: &Path) -> Result<Parts, StoreError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // What is deleted is overwritten: a purge leaves nothing in free pages.
        .pragma("secure_delete", "ON")
        .page_size(PAGE_BYTES)
        .busy_timeout(SQLITE_BUSY_TIME_MAX);
    let pool = || {
        SqlitePoolOptions::new()
            .acquire_timeout(SQLITE_CONNECTION_WAIT_MAX)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
    };
    // One connection writes: a second one could only wait for it, and a read that is upgraded to a write
    // would fail at once.
    let writer = pool().max_connections(1).connect_with(options.clone()).await.map_err(unavailable)?;
    let readers = pool().max_connections(READERS).connect_lazy_with(options.read_only(true));
    let database = Database::new(Pools::Sqlite { writer: writer.clone(), readers: readers.clone() });
    Ok(Parts { database, writer, readers })
}
