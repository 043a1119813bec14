//! What a change was checked against: it is written only if that is still so, in the transaction that writes it.

use domain::{AuditId, WorkspaceId};

use crate::act::Act;
use crate::error::StoreError;
use crate::feed::{FeedRow, Part};
use crate::meta::read_feed;
use crate::writing::Writing;

/// The code of the conflict when a premise does not hold any more: what was checked is checked again.
pub const RULES_CHANGED: &str = "rules_changed";

/// The configuration that a check read, and how long its outcome holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Premise {
    pub workspace: WorkspaceId,
    /// The version of the configuration that was read.
    pub version: u64,
    /// The first moment at which the check could come out otherwise by itself.
    pub until_unix_ms: Option<u64>,
    /// What the audit keeps beside the change, if it is made.
    pub noted: Option<Noted>,
}

/// A further entry of the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    pub id: AuditId,
    pub action: &'static str,
    pub object: String,
    pub detail: String,
}

impl Premise {
    /// Refuses the write if the workspace's configuration, or the operator's accounts, changed after they were read.
    pub(crate) async fn require(&self, writing: &mut Writing, act: &Act) -> Result<(), StoreError> {
        let is_over = self.until_unix_ms.is_some_and(|until| act.unix_ms >= until);
        let present = writing.version() - 1;
        let changes = read_feed(writing.connection(), self.version).await?;
        let is_stale = changes.is_none_or(|rows| {
            let reaches = rows.last().map_or(self.version, |row| row.version);
            reaches != present || rows.iter().any(|row| self.is_touched(row))
        });
        if is_over || is_stale {
            let detail = "the configuration changed while this change was checked against it";
            return Err(StoreError::conflict(RULES_CHANGED, detail, None));
        }
        Ok(())
    }

    fn is_touched(&self, row: &FeedRow) -> bool {
        match row.part {
            Part::Accounts => true,
            Part::Workspace => row.workspace.is_none_or(|workspace| workspace == self.workspace),
            Part::Key | Part::Other => false,
        }
    }
}
