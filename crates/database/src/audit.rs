//! The audit log: who did what to which object. It is append-only, and each workspace's entries form a hash
//! chain.

use domain::ports::AuditEntry;
use domain::{AuditId, TraceId, WorkspaceId};

use proof::Digest;
use proof::audit::{Entry, INSTALLATION, Linked};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    pub id: AuditId,
    pub unix_ms: u64,
    pub workspace: Option<WorkspaceId>,
    pub actor: String,
    /// For example `credential.create`.
    pub action: String,
    pub object: String,
    pub detail: String,
    pub trace: Option<TraceId>,
    /// Hashes of the object's stored state before and after this act.
    pub before: Option<Digest>,
    pub after: Option<Digest>,
    /// Its sequence number and the chain's hash there; `None` until the entry is linked into the chain.
    pub link: Option<Link>,
}

/// Which entries are wanted: every field that is set must match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditFilter {
    /// In the actor, the action, the target or the detail, whatever the case.
    pub text: Option<String>,
    pub actor: Option<String>,
    /// An action such as `credential.create`, or the first word of one.
    pub action: Option<String>,
    pub target: Option<String>,
    pub since_unix_ms: Option<u64>,
    /// Exclusive.
    pub until_unix_ms: Option<u64>,
}

impl AuditFilter {
    /// Whether every entry matches.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn matches(&self, row: &AuditRow) -> bool {
        let is =
            |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        let is_action = |wanted: &String| {
            row.action
                .strip_prefix(wanted.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let has = |text: &String| {
            let text = text.to_lowercase();
            let fields = [&row.actor, &row.action, &row.object, &row.detail];
            fields.into_iter().any(|field| field.to_lowercase().contains(&text))
        };
        is(&self.actor, &row.actor)
            && is(&self.target, &row.object)
            && self.action.as_ref().is_none_or(is_action)
            && self.since_unix_ms.is_none_or(|since| row.unix_ms >= since)
            && self.until_unix_ms.is_none_or(|until| row.unix_ms < until)
            && self.text.as_ref().is_none_or(has)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    pub sequence: u64,
    pub hash: Digest,
}

/// The name of a workspace's chain, or of the installation's.
pub fn chain_name(workspace: Option<WorkspaceId>) -> String {
    workspace.map_or_else(|| INSTALLATION.to_owned(), |id| id.to_string())
}

impl AuditRow {
    /// The row as it is hashed, at `sequence` of its chain.
    pub fn entry(&self, sequence: u64) -> Entry {
        Entry {
            sequence,
            id: self.id.to_string(),
            unix_ms: self.unix_ms,
            actor: self.actor.clone(),
            action: self.action.clone(),
            target: self.object.clone(),
            detail: self.detail.clone(),
            request_id: self.trace.map(|id| id.to_string()),
            before: self.before,
            after: self.after,
        }
    }

    /// The row with its hash; `None` while it is in no chain.
    pub fn linked(&self) -> Option<Linked> {
        self.link.map(|link| Linked { entry: self.entry(link.sequence), hash: link.hash })
    }

    pub fn new(id: AuditId, unix_ms: u64, entry: AuditEntry) -> Self {
        Self {
            id,
            unix_ms,
            workspace: entry.workspace,
            actor: entry.actor,
            action: entry.action.to_owned(),
            object: entry.object,
            detail: entry.detail,
            trace: entry.trace,
            before: None,
            after: None,
            link: None,
        }
    }
}

/// A chain of which a sink was not sent everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainBehind {
    pub workspace: Option<WorkspaceId>,
    /// How many of its entries were sent.
    pub sent: u64,
    pub length: u64,
}
