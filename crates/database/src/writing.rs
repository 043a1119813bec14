//! One write transaction: its version, the changes for the feed, and the audit entries that go with them.

use std::fmt::Display;

use domain::WorkspaceId;

use crate::act::Act;
use crate::audit::AuditRow;
use crate::chain;
use crate::connection::Connection;
use crate::error::StoreError;
use crate::feed::{FEED_ROWS_KEPT, Part, read_feed};
use crate::fields::{Fields, signed};
use crate::premise::{Premise, RULES_CHANGED};
use crate::statement::sql;

/// What is locked against concurrent changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    Configuration,
    Nothing,
}

/// Notifies listening replicas of the new version when the transaction commits.
const NOTIFY: &str = "SELECT pg_notify('tidegate_changes', $1)";

pub struct Writing {
    connection: Connection,
    version: u64,
    changed: Vec<(Part, String, Option<WorkspaceId>)>,
    events: u16,
}

impl Writing {
    /// Takes the lock at the start: what the transaction reads is still true when it writes.
    pub async fn begin(mut connection: Connection, lock: Lock) -> Result<Self, StoreError> {
        // SQLite has one writer; on PostgreSQL, writers are serialised by this row's lock.
        let head = match (&connection, lock) {
            (Connection::Postgres(_), Lock::Configuration) => "SELECT version FROM head FOR UPDATE",
            _ => "SELECT version FROM head",
        };
        let row = sql(head).one(&mut connection).await?;
        let version = Fields::new("head", &row).number("version")?;
        Ok(Self { connection, version, changed: Vec::new(), events: 0 })
    }

    pub const fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// The version that this transaction makes, if it changes anything.
    pub const fn version(&self) -> u64 {
        self.version + 1
    }

    /// Makes this transaction's version a later one than this, which is in force elsewhere already. Followers find a gap in the
    /// feed, and read everything again.
    pub const fn pass(&mut self, version: u64) {
        if self.version < version {
            self.version = version;
        }
    }

    /// The number of the next event of this transaction.
    pub const fn next_event(&mut self) -> u16 {
        let number = self.events;
        self.events = number.wrapping_add(1);
        number
    }

    pub fn announce(&mut self, part: Part, workspace: Option<WorkspaceId>, object: impl Display) {
        let change = (part, object.to_string(), workspace);
        if !self.changed.contains(&change) {
            self.changed.push(change);
        }
    }

    /// Writes the audit entry in the transaction of the change, if what the change was checked against still holds.
    pub async fn audit(
        &mut self,
        act: &Act,
        workspace: Option<WorkspaceId>,
        action: impl Into<String>,
        object: impl Display,
        detail: String,
    ) -> Result<(), StoreError> {
        let entry = |id, action, object, detail| AuditRow {
            id,
            unix_ms: act.unix_ms,
            workspace,
            actor: act.actor.clone(),
            action,
            object,
            detail,
            trace: act.trace,
            before: None,
            after: None,
            link: None,
        };
        if let Some(premise) = &act.premise {
            self.require(premise, act).await?;
        }
        chain::add(self, entry(act.id, action.into(), object.to_string(), detail)).await?;
        let Some(noted) = act.premise.as_ref().and_then(|premise| premise.noted.clone()) else {
            return Ok(());
        };
        // After the change's own entry, which compares the object with how it was before.
        chain::add(self, entry(noted.id, noted.action.to_owned(), noted.object, noted.detail)).await
    }

    /// Refuses the write if the rules changed after they were read, or what the check rests on is over.
    async fn require(&mut self, premise: &Premise, act: &Act) -> Result<(), StoreError> {
        let is_over = premise.until_unix_ms.is_some_and(|until| act.unix_ms >= until);
        let present = self.version;
        let changes = read_feed(self.connection(), premise.version).await?;
        let is_stale = changes.is_none_or(|rows| {
            let reaches = rows.last().map_or(premise.version, |row| row.version);
            reaches != present || rows.iter().any(|row| premise.is_touched(row))
        });
        if is_over || is_stale {
            let detail = "the configuration changed while this change was checked against it";
            return Err(StoreError::conflict(RULES_CHANGED, detail, None));
        }
        Ok(())
    }

    /// The connection, with the feed's rows written, the version that contains the write, and whether that is
    /// a new one.
    pub async fn finish(mut self) -> Result<(Connection, u64, bool), StoreError> {
        let changed = std::mem::take(&mut self.changed);
        let is_new = !changed.is_empty();
        if is_new {
            self.version += 1;
            self.write_feed(changed).await?;
        }
        Ok((self.connection, self.version, is_new))
    }

    pub fn into_connection(self) -> Connection {
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
pub fn expect_version(what: &'static str, expected: Option<u64>, current: u64) -> Result<(), StoreError> {
    match expected {
        Some(expected) if expected != current => Err(StoreError::Precondition { what, current }),
        _ => Ok(()),
    }
}
