//! The store on SQLite: one writer, several readers, a write-ahead log that every commit syncs.

mod accounts;
mod api_keys;
mod audit;
mod batches;
mod credentials;
mod devices;
mod fields;
mod founding;
mod meta;
mod migrations;
mod nodes;
mod people;
mod projects;
mod records;
mod routes;
mod seals;
mod sign_ins;
mod sink;
mod source;
mod usage;
mod workspaces;
mod writing;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::ports::PortFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Pool, Sqlite};
use tokio::sync::watch;

use crate::{Backend, Foundation, StoreError};
use writing::{Writing, unavailable};

pub(crate) const READERS: u32 = 4;
const BUSY_TIME_MAX: Duration = Duration::from_secs(10);
const WAIT_FOR_CONNECTION_MAX: Duration = Duration::from_secs(10);
/// A fact that the first transaction writes with everything else: without it a database is half-made.
const COMPLETE: &str = "store.complete";

/// Cloning it shares the pools.
#[derive(Clone)]
pub(crate) struct SqliteStore {
    writer: Pool<Sqlite>,
    readers: Pool<Sqlite>,
    changed: watch::Sender<u64>,
    draining: Arc<sink::Draining>,
    #[cfg(feature = "fixtures")]
    commit_faults: Arc<crate::fixtures::CommitFaults>,
}

pub(crate) async fn create(path: &Path, foundation: Foundation) -> Result<SqliteStore, StoreError> {
    make_file(path)?;
    let made = found(path, foundation).await;
    if made.is_err() {
        // What can't be removed is refused at the next start, since it isn't complete.
        for file in [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")] {
            let _ = fs::remove_file(file);
        }
    }
    made
}

pub(crate) async fn open(path: &Path) -> Result<SqliteStore, StoreError> {
    if !path.exists() {
        return Err(StoreError::NotMade { path: path.into() });
    }
    let store = connect(path).await?;
    migrations::run(&store.writer, path).await?;
    if meta::read(&store, COMPLETE.to_owned()).await?.is_none() {
        return Err(StoreError::HalfMade { path: path.into() });
    }
    Ok(store)
}

async fn found(path: &Path, foundation: Foundation) -> Result<SqliteStore, StoreError> {
    let store = connect(path).await?;
    migrations::run(&store.writer, path).await?;
    founding::lay(&store, foundation, COMPLETE).await?;
    Ok(store)
}

/// Created by us before SQLite sees it, so that it is private from its first byte; its companions inherit the mode.
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
        .busy_timeout(BUSY_TIME_MAX);
    let pool = || {
        SqlitePoolOptions::new()
            .acquire_timeout(WAIT_FOR_CONNECTION_MAX)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
    };
    // One connection writes: a second one could only wait for it, and a read that turns into a write would fail at once.
    let writer = pool().max_connections(1).connect_with(options.clone()).await.map_err(unavailable)?;
    let readers = pool().max_connections(READERS).connect_lazy_with(options.read_only(true));
    let (changed, _) = watch::channel(0);
    Ok(SqliteStore {
        writer,
        readers,
        changed,
        draining: Arc::default(),
        #[cfg(feature = "fixtures")]
        commit_faults: Arc::default(),
    })
}

impl SqliteStore {
    pub(crate) const fn readers(&self) -> &Pool<Sqlite> {
        &self.readers
    }

    /// Runs one write transaction to its end, whether or not the caller still waits: a caller who hangs up must not
    /// leave a commit that nobody was told of.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<crate::Written<T>, StoreError>
    where
        T: Send + 'static,
        F: for<'w> FnOnce(&'w mut Writing) -> PortFuture<'w, Result<T, StoreError>> + Send + 'static,
    {
        let store = self.clone();
        let done = tokio::spawn(async move { store.transact(work).await }).await;
        done.unwrap_or(Err(StoreError::Uncertain))
    }

    async fn transact<T, F>(&self, work: F) -> Result<crate::Written<T>, StoreError>
    where
        F: for<'w> FnOnce(&'w mut Writing) -> PortFuture<'w, Result<T, StoreError>>,
    {
        let mut writing = Writing::begin(&self.writer).await?;
        let row = work(&mut writing).await?;
        self.commit(writing).await.map(|version| crate::Written { version, row })
    }

    async fn commit(&self, writing: Writing) -> Result<u64, StoreError> {
        #[cfg(feature = "fixtures")]
        self.commit_faults.before()?;
        let (version, changed) = writing.commit().await?;
        if changed {
            self.changed.send_replace(version);
        }
        #[cfg(feature = "fixtures")]
        self.commit_faults.after()?;
        Ok(version)
    }

    #[cfg(feature = "fixtures")]
    pub(crate) fn commit_faults(&self) -> Arc<crate::fixtures::CommitFaults> {
        Arc::clone(&self.commit_faults)
    }
}

impl Backend for SqliteStore {
    fn close(&self) -> PortFuture<'_, ()> {
        Box::pin(async move {
            self.readers.close().await;
            self.writer.close().await;
        })
    }

    #[cfg(feature = "fixtures")]
    fn commit_faults(&self) -> Arc<crate::fixtures::CommitFaults> {
        Self::commit_faults(self)
    }
}
