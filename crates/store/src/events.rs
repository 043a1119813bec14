//! Events: changes in a workspace that its own systems can subscribe to through webhooks.

use database::handle::Database;
use domain::{EventId, WorkspaceId};

use crate::resource::Json;

domain::words! {
    /// The event's type. A new kind is a line here and one in `docs/webhooks.md`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum EventKind by from_name {
        /// An alert rule measures more than its threshold.
        AlertFiring = "alert.firing",
        /// It measures no more than that again.
        AlertResolved = "alert.resolved",
        CredentialActive = "credential.active",
        CredentialExpiring = "credential.expiring",
        CredentialInvalid = "credential.invalid",
        CredentialDisabled = "credential.disabled",
        CredentialRevoked = "credential.revoked",
        /// A budget has reached one of its alert thresholds, by default 50, 80 and 100 %.
        BudgetAlert = "budget.alert",
        /// An alias's canary left its gates and was withdrawn.
        CanaryWithdrawn = "alias.canary_withdrawn",
        /// A commitment is used to 80 or 100 %, or will not be used up.
        CommitmentAlert = "commitment.alert",
        InvoiceFinalised = "invoice.finalised",
        KeyCreated = "key.created",
        KeyRevoked = "key.revoked",
        /// An MCP server describes tools otherwise than they were accepted: they are held back.
        McpToolsChanged = "mcp_server.tools_changed",
        NodeReachable = "node.reachable",
        NodeUnreachable = "node.unreachable",
        /// What the week before was like.
        WeeklyDigest = "digest.weekly",
        /// Sent on request, to the one webhook under test.
        WebhookTest = "webhook.test",
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

#[derive(Clone, Copy)]
pub struct Events<'a>(pub &'a Database);
