//! Webhooks: where a workspace is told of its events, what signs them, and how each delivery went.

use domain::{EventId, WebhookId, WorkspaceId};

use crate::events::{EventKind, EventRow};
use crate::{Act, Listed, Page, SealedSecret, StoreFuture, Written};

/// The job that offers one event to one webhook.
pub const DELIVER: &str = "webhook.deliver";
/// The job that tells of a credential's end before it comes.
pub const ANNOUNCE_EXPIRY: &str = "credential.announce_expiry";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookRow {
    pub id: WebhookId,
    pub workspace: WorkspaceId,
    pub url: String,
    pub description: String,
    /// Every kind where empty.
    pub events: Vec<EventKind>,
    /// Why nothing is sent.
    pub disabled_reason: Option<String>,
    /// The newest first; two while a rotation lasts.
    pub secrets: Vec<SigningSecret>,
    pub created_unix_ms: u64,
    /// Ignored on writing.
    pub version: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningSecret {
    pub generation: u32,
    pub secret: SealedSecret,
    /// Of the one that a newer one replaced.
    pub expires_unix_ms: Option<u64>,
}

/// What a secret of a webhook is sealed as: each generation is an object of its own, so that two can be open at once.
#[must_use]
pub fn sealed_object(webhook: WebhookId, generation: u32) -> String {
    format!("{webhook}/{generation}")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    Pending,
    Delivered,
    /// Offered for as long as events are, or refused for good.
    Failed,
}

impl DeliveryState {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
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

/// How one attempt went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryAttempt {
    pub state: DeliveryState,
    pub status: Option<u16>,
    pub error: Option<String>,
    pub unix_ms: u64,
}

pub trait Webhooks: Send + Sync {
    /// Refused as `too_many_webhooks` past the limit.
    fn create(&self, row: WebhookRow, act: Act) -> StoreFuture<'_, Written<WebhookRow>>;
    fn get(&self, workspace: WorkspaceId, id: WebhookId) -> StoreFuture<'_, WebhookRow>;
    fn list(
        &self,
        workspace: WorkspaceId,
        page: Page<WebhookId>,
    ) -> StoreFuture<'_, Listed<WebhookRow, WebhookId>>;
    /// Writes address, description, events and whether it is disabled; secrets stay.
    fn replace(
        &self,
        row: WebhookRow,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<WebhookRow>>;
    /// Adds a secret; the one before signs too until then.
    fn rotate(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
        secret: SigningSecret,
        overlap_until_unix_ms: u64,
        act: Act,
    ) -> StoreFuture<'_, Written<WebhookRow>>;
    fn delete(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<()>>;
    /// Newest first.
    fn deliveries(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
        page: Page<EventId>,
    ) -> StoreFuture<'_, Listed<DeliveryRow, EventId>>;
    /// One delivery with its webhook; nothing where either is gone.
    fn delivery(
        &self,
        webhook: WebhookId,
        event: EventId,
    ) -> StoreFuture<'_, Option<(WebhookRow, DeliveryRow)>>;
    /// Offers an event once more, whatever became of it, for as long as a new one. Refused as `webhook_disabled`, and as
    /// `delivery_running` while it is being sent.
    fn resend(
        &self,
        workspace: WorkspaceId,
        webhook: WebhookId,
        event: EventId,
        act: Act,
    ) -> StoreFuture<'_, DeliveryRow>;
    fn attempted(&self, webhook: WebhookId, event: EventId, attempt: DeliveryAttempt) -> StoreFuture<'_, ()>;
}
