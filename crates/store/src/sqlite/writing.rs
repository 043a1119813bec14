//! One write transaction: its version, what it changed, and the audit entry that goes with it.

use std::fmt::Display;

use domain::WorkspaceId;
use sqlx::{Pool, Row, Sqlite, SqliteConnection, Transaction};

use crate::feed::{FEED_ROWS_KEPT, Part};
use crate::{Act, StoreError};

pub(crate) struct Writing {
    transaction: Transaction<'static, Sqlite>,
    version: u64,
    changed: Vec<(Part, String, Option<WorkspaceId>)>,
}

impl Writing {
    /// Takes the write lock at once: what is read in the transaction is still true when it writes.
    pub(crate) async fn begin(pool: &Pool<Sqlite>) -> Result<Self, StoreError> {
        let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await.map_err(unavailable)?;
        let row =
            sqlx::query("SELECT version FROM head").fetch_one(&mut *transaction).await.map_err(database)?;
        let version: i64 = row.try_get(0).map_err(|error| StoreError::corrupt("head", error))?;
        Ok(Self { transaction, version: unsigned(version), changed: Vec::new() })
    }

    pub(crate) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }

    /// The version that this transaction makes, if it changes anything.
    pub(crate) const fn version(&self) -> u64 {
        self.version + 1
    }

    pub(crate) fn changed(&mut self, part: Part, workspace: Option<WorkspaceId>, object: impl Display) {
        let change = (part, object.to_string(), workspace);
        if !self.changed.contains(&change) {
            self.changed.push(change);
        }
    }

    /// Keeps who did what, in the transaction that does it.
    pub(crate) async fn audit(
        &mut self,
        act: &Act,
        workspace: Option<WorkspaceId>,
        action: &'static str,
        object: impl Display,
        detail: String,
    ) -> Result<(), StoreError> {
        let query = sqlx::query(
            "INSERT INTO audit (id, unix_ms, workspace, actor, action, object, detail, trace)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        );
        query
            .bind(act.id.as_bytes().as_slice())
            .bind(signed(act.unix_ms))
            .bind(workspace.map(|id| id.as_bytes().to_vec()))
            .bind(&act.actor)
            .bind(action)
            .bind(object.to_string())
            .bind(detail)
            .bind(act.trace.map(|id| id.as_bytes().to_vec()))
            .execute(self.connection())
            .await
            .map_err(database)?;
        Ok(())
    }

    /// The version that holds the write, and whether it is a new one.
    pub(crate) async fn commit(mut self) -> Result<(u64, bool), StoreError> {
        let changed = std::mem::take(&mut self.changed);
        let is_new = !changed.is_empty();
        if is_new {
            self.version += 1;
            self.write_feed(changed).await?;
        }
        // Whether a commit that failed was kept can't be told from its error.
        self.transaction.commit().await.map_err(|error| {
            tracing::error!(%error, "a commit's answer was lost");
            StoreError::Uncertain
        })?;
        Ok((self.version, is_new))
    }

    async fn write_feed(
        &mut self,
        changed: Vec<(Part, String, Option<WorkspaceId>)>,
    ) -> Result<(), StoreError> {
        let version = signed(self.version);
        sqlx::query("UPDATE head SET version = ?1")
            .bind(version)
            .execute(self.connection())
            .await
            .map_err(database)?;
        for (part, object, workspace) in changed {
            sqlx::query("INSERT INTO changes (version, part, object, workspace) VALUES (?1, ?2, ?3, ?4)")
                .bind(version)
                .bind(part.as_str())
                .bind(object)
                .bind(workspace.map(|id| id.as_bytes().to_vec()))
                .execute(self.connection())
                .await
                .map_err(database)?;
        }
        sqlx::query("DELETE FROM changes WHERE version <= ?1")
            .bind(signed(self.version.saturating_sub(FEED_ROWS_KEPT)))
            .execute(self.connection())
            .await
            .map_err(database)?;
        Ok(())
    }
}

/// The caller's expected version against the row's.
pub(crate) fn expect_version(
    what: &'static str,
    expected: Option<u64>,
    current: u64,
) -> Result<(), StoreError> {
    match expected {
        Some(expected) if expected != current => Err(StoreError::Precondition { what, current }),
        _ => Ok(()),
    }
}

/// SQLite's integers are signed; what doesn't fit stays at the edge, visibly.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(crate) fn unavailable(error: sqlx::Error) -> StoreError {
    StoreError::Unavailable(error)
}

/// An error of a statement: what the caller did, or the database's trouble.
pub(crate) fn database(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(told) if told.is_unique_violation() => {
            StoreError::conflict("already_exists", "an object with this id or name exists already", None)
        }
        sqlx::Error::Database(told) if told.is_foreign_key_violation() => StoreError::conflict(
            "referenced",
            "another object refers to this one, or what it refers to is gone",
            None,
        ),
        _ => StoreError::Unavailable(error),
    }
}
