//! Webhooks: where a workspace's events are delivered, the secrets that sign them, and the state of each
//! delivery.

use database::act::{Act, Written};
use database::error::StoreFuture;
use database::page::{Listed, Page};
use domain::{EventId, TimeWindow, WebhookId, WorkspaceId};

use crate::credentials::SealedSecret;
use crate::events::{EventKind, EventRow};
use crate::resource::Resource;

/// The job that delivers one event to one webhook.
pub const DELIVER: &str = "webhook.deliver";
/// The reason where a person disabled it.
pub const DISABLED_BY_SOMEBODY: &str = "somebody disabled it";
/// The job that announces a credential's expiry in advance.
pub const ANNOUNCE_EXPIRY: &str = "credential.announce_expiry";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookRow {
    pub id: WebhookId,
    pub workspace: WorkspaceId,
    pub format: WebhookFormat,
    /// For `Slack`, the address without its path: all of it is the secret. For `Email`, the id of the member who receives the email:
    /// their address is the person's, and goes with them.
    pub url: String,
    pub description: String,
    /// When events wait until it is over.
    pub quiet: Option<TimeWindow>,
    /// Subscribes to these kinds; to every kind if empty.
    pub events: Vec<EventKind>,
    /// Why nothing is sent.
    pub disabled_reason: Option<String>,
    /// Newest first; two during a rotation, and none for `Email`.
    pub secrets: Vec<SigningSecret>,
    pub created_unix_ms: u64,
    /// Ignored on writing.
    pub version: u64,
}

domain::words! {
    /// What an event looks like to its receiver.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub enum WebhookFormat by from_word {
        /// A signed document of Standard Webhooks.
        #[default]
        Standard = "standard",
        /// A message for an incoming webhook of Slack, or of a chat that takes the same form.
        Slack = "slack",
        /// An email to a member of the workspace.
        Email = "email",
    }
}

/// What signs a webhook's events or, for `Slack`, the address that they are sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningSecret {
    pub generation: u32,
    pub secret: SealedSecret,
    /// For a secret that a newer one replaced.
    pub expires_unix_ms: Option<u64>,
}

/// The object name that a webhook secret is sealed under: each generation is a separate object, so that two
/// can be open at once.
pub fn sealed_object(webhook: WebhookId, generation: u32) -> String {
    format!("{webhook}/{generation}")
}

domain::words! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum DeliveryState by from_word {
        Pending = "pending",
        Delivered = "delivered",
        /// Retried for the whole retry period, or rejected for good.
        Failed = "failed",
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryRow {
    pub event: EventRow,
    pub state: DeliveryState,
    pub attempts: u32,
    pub last_status: Option<u16>,
    pub last_error: Option<String>,
    pub attempted_unix_ms: Option<u64>,
}

/// The result of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryAttempt {
    pub state: DeliveryState,
    pub status: Option<u16>,
    pub error: Option<String>,
    pub unix_ms: u64,
}

/// One above the limit is refused as `too_many_webhooks`. A change writes address, description, events and whether
/// it is disabled; the secrets can't change with it.
pub trait Webhooks: Resource<WebhookRow> {
    /// Adds a secret; the previous one also signs until the overlap ends.
    fn rotate(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
        secret: SigningSecret,
        overlap_until_unix_ms: u64,
        act: Act,
    ) -> StoreFuture<'_, Written<WebhookRow>>;
    /// Newest first.
    fn deliveries(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
        page: Page<EventId>,
    ) -> StoreFuture<'_, Listed<DeliveryRow, EventId>>;
    /// One delivery with its webhook; `None` if either is gone.
    fn delivery(
        &self,
        webhook: WebhookId,
        event: EventId,
    ) -> StoreFuture<'_, Option<(WebhookRow, DeliveryRow)>>;
    /// Sends an event again, whatever its state, and retries for as long as for a new one. Refused as
    /// `webhook_disabled`, and as `delivery_running` while it is being sent.
    fn resend(
        &self,
        workspace: WorkspaceId,
        webhook: WebhookId,
        event: EventId,
        act: Act,
    ) -> StoreFuture<'_, DeliveryRow>;
    fn record_attempt(
        &self,
        webhook: WebhookId,
        event: EventId,
        attempt: DeliveryAttempt,
    ) -> StoreFuture<'_, ()>;
}
