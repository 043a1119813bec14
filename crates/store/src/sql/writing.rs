//! One write transaction: its version, the changes for the feed, and the audit entries that go with them.

use std::fmt::Display;

use domain::WorkspaceId;

use super::fields::Fields;
use super::{Connection, audit, sql};
use crate::feed::{FEED_ROWS_KEPT, Part};
use crate::{Act, AuditRow, StoreError};

/// What is locked against concurrent changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    Configuration,
    Nothing,
}

/// Notifies listening replicas of the new version when the transaction commits.
const NOTIFY: &str = "SELECT pg_notify('tidegate_changes', $1)";

pub(crate) struct Writing {
    connection: Connection,
    version: u64,
    changed: Vec<(Part, String, Option<WorkspaceId>)>,
    events: u16,
}

impl Writing {
    /// Takes the lock at the start: what the transaction reads is still true when it writes.
    pub(crate) async fn begin(mut connection: Connection, lock: Lock) -> Result<Self, StoreError> {
        // SQLite has one writer; on PostgreSQL, writers are serialised by this row's lock.
        let head = match (&connection, lock) {
            (Connection::Postgres(_), Lock::Configuration) => "SELECT version FROM head FOR UPDATE",
            _ => "SELECT version FROM head",
        };
        let row = sql(head).one(&mut connection).await?;
        let version = Fields::new("head", &row).number("version")?;
        Ok(Self { connection, version, changed: Vec::new(), events: 0 })
    }

    pub(crate) const fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// The version that this transaction makes, if it changes anything.
    pub(crate) const fn version(&self) -> u64 {
        self.version + 1
    }

    /// The number of the next event of this transaction.
    pub(crate) const fn next_event(&mut self) -> u16 {
        let number = self.events;
        self.events = number.wrapping_add(1);
        number
    }

    pub(crate) fn changed(&mut self, part: Part, workspace: Option<WorkspaceId>, object: impl Display) {
        let change = (part, object.to_string(), workspace);
        if !self.changed.contains(&change) {
            self.changed.push(change);
        }
    }

    /// Writes the audit entry in the transaction of the change.
    pub(crate) async fn audit(
        &mut self,
        act: &Act,
        workspace: Option<WorkspaceId>,
        action: impl Into<String>,
        object: impl Display,
        detail: String,
    ) -> Result<(), StoreError> {
        let row = AuditRow {
            id: act.id,
            unix_ms: act.unix_ms,
            workspace,
            actor: act.actor.clone(),
            action: action.into(),
            object: object.to_string(),
            detail,
            trace: act.trace,
            before: None,
            after: None,
            link: None,
        };
        audit::add(self, row).await
    }

    /// The connection, with the feed's rows written, the version that contains the write, and whether that is
    /// a new one.
    pub(crate) async fn finish(mut self) -> Result<(Connection, u64, bool), StoreError> {
        let changed = std::mem::take(&mut self.changed);
        let is_new = !changed.is_empty();
        if is_new {
            self.version += 1;
            self.write_feed(changed).await?;
        }
        Ok((self.connection, self.version, is_new))
    }

    pub(crate) fn into_connection(self) -> Connection {
        self.connection
    }

    async fn write_feed(
        &mut self,
        changed: Vec<(Part, String, Option<WorkspaceId>)>,
    ) -> Result<(), StoreError> {
        let version = signed(self.version);
        sql("UPDATE head SET version = $1").bind(version).run(self.connection()).await?;
        for (part, object, workspace) in changed {
            sql("INSERT INTO changes (version, part, object, workspace) VALUES ($1, $2, $3, $4)")
                .bind(version)
                .bind(part.as_str())
                .bind(object)
                .bind(workspace.map(|id| id.as_bytes().to_vec()))
                .run(self.connection())
                .await?;
        }
        if matches!(self.connection, Connection::Postgres(_)) {
            sql(NOTIFY).bind(version.to_string()).run(self.connection()).await?;
        }
        sql("DELETE FROM changes WHERE version <= $1")
            .bind(signed(self.version.saturating_sub(FEED_ROWS_KEPT)))
            .run(self.connection())
            .await?;
        Ok(())
    }
}

/// Compares the caller's expected version with the row's.
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

/// Databases have signed integers; a value that doesn't fit saturates, visibly.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(crate) fn unavailable(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(db_error) if is_of_the_disk(db_error.code().as_deref()) => {
            StoreError::DiskRefuses(error)
        }
        _ => StoreError::Unavailable(error),
    }
}

/// SQLite's codes for a full disk, a failed write, and shared memory that could not grow; PostgreSQL's for a
/// full disk.
fn is_of_the_disk(code: Option<&str>) -> bool {
    matches!(code, Some("13" | "778" | "4874" | "53100"))
}

/// PostgreSQL's code for a NUL in a text.
const NUL_IN_TEXT: &str = "22021";

/// Classifies a statement's error: a mistake of the caller, or a failure of the database.
pub(crate) fn database(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(db_error) if db_error.is_unique_violation() => {
            StoreError::conflict("already_exists", "an object with this id or name exists already", None)
        }
        sqlx::Error::Database(db_error) if db_error.is_foreign_key_violation() => StoreError::conflict(
            "referenced",
            "another object refers to this one, or what it refers to is gone",
            None,
        ),
        sqlx::Error::Database(db_error) if db_error.code().as_deref() == Some(NUL_IN_TEXT) => {
            StoreError::conflict(
                "text_has_nul",
                "a text holds the character U+0000, which can't be kept",
                None,
            )
        }
        _ => unavailable(error),
    }
}
