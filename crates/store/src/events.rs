//! Events: changes in a workspace that its own systems can subscribe to through webhooks.

use database::error::StoreFuture;
use domain::{EventId, WorkspaceId};

use crate::resource::Json;

/// The event's type. A new kind is a line here and one in `docs/webhooks.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// An alert rule measures more than its threshold.
    AlertFiring,
    /// It measures no more than that again.
    AlertResolved,
    CredentialActive,
    CredentialExpiring,
    CredentialInvalid,
    CredentialDisabled,
    CredentialRevoked,
    /// A budget has reached one of its alert thresholds, by default 50, 80 and 100 %.
    BudgetAlert,
    /// An alias's canary left its gates and was withdrawn.
    CanaryWithdrawn,
    /// A commitment is used to 80 or 100 %, or will not be used up.
    CommitmentAlert,
    InvoiceFinalised,
    KeyCreated,
    KeyRevoked,
    /// An MCP server describes tools otherwise than they were accepted: they are held back.
    McpToolsChanged,
    NodeReachable,
    NodeUnreachable,
    /// What the week before was like.
    WeeklyDigest,
    /// Sent on request, to the one webhook under test.
    WebhookTest,
}

impl EventKind {
    pub const ALL: [Self; 18] = [
        Self::AlertFiring,
        Self::AlertResolved,
        Self::CredentialActive,
        Self::CredentialExpiring,
        Self::CredentialInvalid,
        Self::CredentialDisabled,
        Self::CredentialRevoked,
        Self::BudgetAlert,
        Self::CanaryWithdrawn,
        Self::CommitmentAlert,
        Self::InvoiceFinalised,
        Self::KeyCreated,
        Self::KeyRevoked,
        Self::McpToolsChanged,
        Self::NodeReachable,
        Self::NodeUnreachable,
        Self::WeeklyDigest,
        Self::WebhookTest,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AlertFiring => "alert.firing",
            Self::AlertResolved => "alert.resolved",
            Self::CredentialActive => "credential.active",
            Self::CredentialExpiring => "credential.expiring",
            Self::CredentialInvalid => "credential.invalid",
            Self::CredentialDisabled => "credential.disabled",
            Self::CredentialRevoked => "credential.revoked",
            Self::BudgetAlert => "budget.alert",
            Self::CanaryWithdrawn => "alias.canary_withdrawn",
            Self::CommitmentAlert => "commitment.alert",
            Self::InvoiceFinalised => "invoice.finalised",
            Self::KeyCreated => "key.created",
            Self::KeyRevoked => "key.revoked",
            Self::McpToolsChanged => "mcp_server.tools_changed",
            Self::NodeReachable => "node.reachable",
            Self::NodeUnreachable => "node.unreachable",
            Self::WeeklyDigest => "digest.weekly",
            Self::WebhookTest => "webhook.test",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// An event as it is delivered.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRow {
    pub id: EventId,
    pub workspace: WorkspaceId,
    pub kind: EventKind,
    /// Ids and states: never a secret and never content.
    pub payload: Json,
    pub created_unix_ms: u64,
}

pub trait Events: Send + Sync {
    /// Stores the event for every webhook subscribed to its kind, and enqueues the deliveries. Idempotent by
    /// event. The store's own acts do this in their transaction.
    fn emit(&self, event: EventRow) -> StoreFuture<'_, ()>;
    /// Deletes older events and their deliveries.
    fn forget(&self, before_unix_ms: u64) -> StoreFuture<'_, u64>;
}
