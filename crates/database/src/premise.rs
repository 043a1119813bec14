//! What a change was checked against: it is written only if that is still so, in the transaction that writes it.

use domain::{AuditId, WorkspaceId};

use crate::feed::{FeedRow, Part};

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
    /// Whether a change after `version` concerns it: one of the workspace's configuration, or of the operator's accounts.
    pub(crate) fn is_touched(&self, row: &FeedRow) -> bool {
        match row.part {
            Part::Accounts => true,
            Part::Workspace => row.workspace.is_none_or(|workspace| workspace == self.workspace),
            Part::Key | Part::Other => false,
        }
    }
}
