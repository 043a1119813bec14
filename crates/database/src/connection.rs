//! A connection to either database, in autocommit or inside a transaction.

use sqlx::pool::PoolConnection;
use sqlx::{Executor, PgConnection, Postgres, Sqlite, SqliteConnection};
use tokio::time::timeout;

use crate::error::{StoreError, database};
use crate::limits::STATEMENT_TIME_MAX;

/// PostgreSQL's error code for a cached plan that no longer fits its tables.
const PLAN_IS_STALE: &str = "0A000";

/// What statements run on.
pub enum Connection {
    Sqlite(PooledConnection<Sqlite>),
    Postgres(PooledConnection<Postgres>),
}

impl Connection {
    /// What is meant for the database that this is.
    pub const fn either<T: Copy>(&self, postgres: T, sqlite: T) -> T {
        match self {
            Self::Postgres(_) => postgres,
            Self::Sqlite(_) => sqlite,
        }
    }

    /// Commits the transaction. The error of a failed commit does not say whether it took effect, except that
    /// a full or failing disk wrote nothing.
    pub async fn commit(self) -> Result<(), StoreError> {
        let done = match self {
            Self::Sqlite(mut held) => held.end("COMMIT").await,
            Self::Postgres(mut held) => within(held.end("COMMIT")).await,
        };
        done.map_err(|error| match error {
            StoreError::DiskRefuses(_) => error,
            _ => {
                tracing::error!(error = &error as &dyn std::error::Error, "a commit's answer was lost");
                StoreError::Uncertain
            }
        })
    }

    pub async fn roll_back(self) {
        // If even this fails, the connection is closed when it is dropped.
        let _ = match self {
            Self::Sqlite(mut held) => held.end("ROLLBACK").await,
            Self::Postgres(mut held) => within(held.end("ROLLBACK")).await,
        };
    }
}

/// A pooled connection, and whether it is inside a transaction. One that is dropped inside a transaction,
/// could not begin or end one, or whose server went silent is closed instead of returned to the pool: SQLite
/// rolls back by itself when the disk is full or fails, so the next user could not know its state.
pub struct PooledConnection<D: sqlx::Database> {
    connection: PoolConnection<D>,
    in_transaction: bool,
}

impl<D: sqlx::Database> PooledConnection<D>
where
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
{
    pub const fn new(connection: PoolConnection<D>) -> Self {
        Self { connection, in_transaction: false }
    }

    pub async fn begin(&mut self, how: &'static str) -> Result<(), StoreError> {
        self.in_transaction = true;
        self.simple(how).await
    }

    /// Outside a transaction there is nothing to end.
    async fn end(&mut self, how: &'static str) -> Result<(), StoreError> {
        if self.in_transaction {
            self.simple(how).await?;
            self.in_transaction = false;
        }
        Ok(())
    }

    /// A statement without parameters and without rows.
    async fn simple(&mut self, text: &'static str) -> Result<(), StoreError> {
        (&mut *self.connection).execute(text).await.map(|_| ()).map_err(database)
    }
}

impl PooledConnection<Sqlite> {
    pub fn raw(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

impl PooledConnection<Postgres> {
    pub fn raw(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Passes a statement's result on. If the connection was lost, it is not returned to the pool.
    pub fn settle<T>(&mut self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::Unavailable(error)) = &done
            && !is_of_the_statement(error)
        {
            self.connection.close_on_drop();
        }
        done
    }
}

/// Cached plans from before a schema change belong to the connection, so that is closed too.
fn is_of_the_statement(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(db_error) if db_error.code().as_deref() != Some(PLAN_IS_STALE))
}

/// Bounds the time of a request to the server.
pub async fn within<T>(request: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let silent = |_| Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut));
    timeout(STATEMENT_TIME_MAX, request).await.unwrap_or_else(silent)
}

impl<D: sqlx::Database> Drop for PooledConnection<D> {
    fn drop(&mut self) {
        if self.in_transaction {
            self.connection.close_on_drop();
        }
    }
}
