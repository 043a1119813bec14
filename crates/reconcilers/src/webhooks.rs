//! Webhook delivery: one signed request per attempt (Standard Webhooks 1.0), under the address guard; only
//! the status of the response matters.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::limits::WEBHOOK_OFFERED_MAX;
use domain::ports::PortFuture;
use domain::{EventId, Secret, WebhookId, WorkspaceId};
use http::Method;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use jobs::{Handler, Outcome, Policy};
use mail::MailError;
use serde_json::{Map, Value, json};
use store::webhooks::{DELIVER, sealed_object};
use store::{Act, DeliveryAttempt, DeliveryState, EventRow, JobRow, WebhookFormat, WebhookRow};
use world::Random;

use crate::limits::WEBHOOK_RETRY_AFTER_S_MAX;
use crate::mailing::Mailed;
use crate::notices::Notice;
use crate::{Deps, moment};

/// An outgoing webhook request, or one that hands over a part of the audit.
#[derive(Debug, Clone)]
pub struct Posting {
    pub method: Method,
    pub url: String,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
    /// Whose address it is, where a workspace gave it.
    pub owner: Option<WorkspaceId>,
    /// The operator's settings name the address, and nobody else can: it may be a private one.
    pub is_of_settings: bool,
}

/// The parts of the response that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posted {
    pub status: u16,
    /// `Retry-After` in seconds.
    pub retry_after_s: Option<u64>,
}

/// Why there was no response: a code and its meaning, without details such as the address that a name
/// resolves to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostError {
    Refused,
    NoAddress,
    NoConnection,
    NoTls,
    Timeout,
    Broken,
}

impl PostError {
    pub(crate) const fn message(self) -> &'static str {
        match self {
            Self::Refused => "events may not be sent to this address",
            Self::NoAddress => "the name has no address",
            Self::NoConnection => "no connection could be opened",
            Self::NoTls => "the TLS handshake failed",
            Self::Timeout => "no answer within 15 seconds",
            Self::Broken => "the connection ended before an answer came",
        }
    }
}

/// Why nothing is mailed to somebody who left.
const NO_MEMBER: &str = "its receiver is no longer a member of the workspace";
const SECRET_PREFIX: &str = "whsec_";
const SECRET_BYTES: usize = 32;

/// A new signing key.
pub fn mint_secret(random: &dyn Random) -> Secret {
    let mut bytes = vec![0_u8; SECRET_BYTES];
    random.fill(&mut bytes);
    Secret::new(bytes)
}

/// A signing key as its receiver stores it; shown once.
pub fn secret_text(secret: &Secret) -> String {
    format!("{SECRET_PREFIX}{}", STANDARD.encode(secret.expose()))
}

/// The body of an event: the same bytes on every attempt.
pub fn body(event: &EventRow) -> Bytes {
    let body = json!({
        "id": event.id.to_string(),
        "type": event.kind.as_str(),
        "timestamp": moment::write(event.created_unix_ms),
        "workspace_id": event.workspace.to_string(),
        "data": readable(&event.payload),
    });
    Bytes::from(body.to_string())
}

/// Converts times in milliseconds to the timestamps that the rest of the API uses.
pub fn readable(payload: &Value) -> Value {
    let Some(fields) = payload.as_object() else { return payload.clone() };
    let converted =
        fields.iter().map(|(name, value)| match (name.strip_suffix("_unix_ms"), value.as_u64()) {
            (Some(name), Some(unix_ms)) => (name.to_owned(), Value::from(moment::write(unix_ms))),
            _ => (name.clone(), value.clone()),
        });
    Value::Object(converted.collect::<Map<_, _>>())
}

/// A document of Standard Webhooks, signed with every key.
fn signed(
    webhook: &WebhookRow,
    event: &EventRow,
    keys: &[Secret],
    unix_s: u64,
) -> Result<Posting, PostError> {
    let (id, body) = (event.id.to_string(), body(event));
    let headers = vec![
        ("webhook-id", id.clone()),
        ("webhook-timestamp", unix_s.to_string()),
        ("webhook-signature", vault::webhook_signatures(keys, &id, unix_s, &body)),
    ];
    Posting::json(Some(webhook.workspace), webhook.url.clone(), headers, body)
}

/// A message for a chat, whose address is the secret.
fn message(event: &EventRow, keys: &[Secret]) -> Result<Posting, PostError> {
    let url = keys.first().and_then(Secret::expose_text).ok_or(PostError::Refused)?;
    let Notice { headline, details } = Notice::of(event);
    let text = if details.is_empty() {
        format!("*{}*", escaped(&headline))
    } else {
        format!("*{}*\n{}", escaped(&headline), escaped(&details))
    };
    let body = Bytes::from(json!({"text": text}).to_string());
    Posting::json(Some(event.workspace), url.to_owned(), Vec::new(), body)
}

/// Text as Slack's markup takes it: names that people chose can't mention anybody or make links.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl Deps {
    /// One attempt. Also returns the wait that the receiver requested.
    async fn send_event(&self, webhook: &WebhookRow, event: &EventRow) -> (DeliveryAttempt, Option<u64>) {
        if webhook.format != WebhookFormat::Email {
            return self.post_event(webhook, event).await;
        }
        let (state, status, error) = match self.mail_event(webhook, event).await {
            Mailed::Accepted => (DeliveryState::Delivered, None, None),
            Mailed::Refused(MailError { status, message, .. }) => {
                (DeliveryState::Pending, status, Some(message))
            }
            Mailed::NoMember => (DeliveryState::Failed, None, Some(NO_MEMBER.to_owned())),
        };
        (DeliveryAttempt { state, status, error, unix_ms: self.world.clock.unix_ms() }, None)
    }

    /// Signs with every key in force and sends.
    async fn post_event(&self, webhook: &WebhookRow, event: &EventRow) -> (DeliveryAttempt, Option<u64>) {
        let now = self.world.clock.unix_ms();
        let attempt = |state, status, error| (DeliveryAttempt { state, status, error, unix_ms: now }, None);
        let Some(keys) = self.keys_of(webhook, now) else {
            let error = Some("its signing secret can't be opened here right now".to_owned());
            return attempt(DeliveryState::Pending, None, error);
        };
        let posting = if webhook.format == WebhookFormat::Slack {
            message(event, &keys)
        } else {
            signed(webhook, event, &keys, now / 1_000)
        };
        let posted = match posting {
            Ok(posting) => self.outbound.post(posting).await,
            Err(error) => Err(error),
        };
        match posted {
            Ok(posted) if (200..300).contains(&posted.status) => {
                attempt(DeliveryState::Delivered, Some(posted.status), None)
            }
            Ok(posted) => {
                let error = match posted.status {
                    300..400 => "it answered with a redirect, which is not followed".to_owned(),
                    status => format!("it answered {status}"),
                };
                let (attempt, _) = attempt(DeliveryState::Pending, Some(posted.status), Some(error));
                (attempt, posted.retry_after_s.map(|seconds| seconds * 1_000))
            }
            Err(error) => attempt(DeliveryState::Pending, None, Some(error.message().to_owned())),
        }
    }

    /// Newest first. `None` if the newest key doesn't open: the event is delivered once it does.
    fn keys_of(&self, webhook: &WebhookRow, now: u64) -> Option<Vec<Secret>> {
        let mut keys = Vec::new();
        let in_force = |expires: Option<u64>| expires.is_none_or(|expires| now < expires);
        for secret in webhook.secrets.iter().filter(|secret| in_force(secret.expires_unix_ms)) {
            let object = sealed_object(webhook.id, secret.generation);
            match self.vault.opener.open(webhook.workspace, &object, &secret.secret.sealed) {
                Ok(key) => keys.push(key),
                Err(error) => {
                    tracing::warn!(webhook = %webhook.id, ?error, "a signing secret does not open");
                    if keys.is_empty() {
                        return None;
                    }
                }
            }
        }
        (!keys.is_empty()).then_some(keys)
    }

    /// Sends an event that is not stored, for the test route, and returns the result.
    pub async fn test_webhook(&self, webhook: &WebhookRow, event: &EventRow) -> DeliveryAttempt {
        self.send_event(webhook, event).await.0
    }

    async fn deliver(&self, job: &JobRow) -> Outcome {
        let id = |name: &str| job.payload.get(name).and_then(Value::as_str).unwrap_or_default();
        let ids = (id("webhook").parse::<WebhookId>(), id("event").parse::<EventId>());
        let (Ok(webhook_id), Ok(event_id)) = ids else {
            return Outcome::Permanent { error: "it names no webhook and event".to_owned() };
        };
        let found = match self.store.webhooks().delivery(webhook_id, event_id).await {
            Ok(found) => found,
            Err(error) => return Outcome::failure(error),
        };
        // Deleted in the meantime, or already sent by a worker that died before it recorded it.
        let Some((webhook, delivery)) = found.filter(|(_, found)| found.state == DeliveryState::Pending)
        else {
            return Outcome::Done;
        };
        if let Some(reason) = &webhook.disabled_reason {
            let attempt = DeliveryAttempt {
                state: DeliveryState::Failed,
                status: None,
                error: Some(format!("the webhook is disabled: {reason}")),
                unix_ms: self.world.clock.unix_ms(),
            };
            return self.keep_attempt(webhook_id, event_id, attempt, Outcome::Done).await;
        }
        let now = self.world.clock.unix_ms();
        // However long it is quiet, an event is sent once before it is given up.
        if let Some(end) = webhook.quiet.and_then(|quiet| quiet.end_after(now))
            && !self.is_last_try(job)
        {
            let error = "it waits for the end of the webhook's quiet hours".to_owned();
            return Outcome::Failed { error, wait_ms: Some(end.saturating_sub(now)) };
        }
        let (mut attempt, wait_ms) = self.send_event(&webhook, &delivery.event).await;
        let outcome = match (attempt.state, attempt.status) {
            (DeliveryState::Delivered, _) => Outcome::Done,
            (_, Some(410)) => {
                attempt.state = DeliveryState::Failed;
                self.disable(webhook, "its receiver answered 410 Gone").await;
                Outcome::Done
            }
            (DeliveryState::Failed, _) => {
                self.disable(webhook, NO_MEMBER).await;
                Outcome::Done
            }
            _ => {
                if self.is_last_try(job) {
                    attempt.state = DeliveryState::Failed;
                }
                Outcome::Failed { error: attempt.error.clone().unwrap_or_default(), wait_ms }
            }
        };
        self.keep_attempt(webhook_id, event_id, attempt, outcome).await
    }

    fn is_last_try(&self, job: &JobRow) -> bool {
        let given_up = job.created_unix_ms.saturating_add(POLICY.retry_for_ms);
        self.world.clock.unix_ms() >= given_up
    }

    async fn keep_attempt(
        &self,
        webhook: WebhookId,
        event: EventId,
        attempt: DeliveryAttempt,
        outcome: Outcome,
    ) -> Outcome {
        match self.store.webhooks().record_attempt(webhook, event, attempt).await {
            Ok(()) => outcome,
            // Sent again: the receiver recognises it by its id.
            Err(error) => Outcome::failure(error),
        }
    }

    /// What wants no more events, or has nobody to take them.
    async fn disable(&self, webhook: WebhookRow, reason: &str) {
        let id = webhook.id;
        let row = WebhookRow { disabled_reason: Some(reason.to_owned()), ..webhook };
        let written = self.store.webhooks().replace(row, None, Act::system(&self.world)).await;
        if let Err(error) = written {
            tracing::warn!(webhook = %id, %error, "a webhook that is gone could not be disabled");
        }
    }
}

/// Retries for three days: within seconds at first, every six hours at the end.
const POLICY: Policy = Policy {
    first_wait_ms: 5_000,
    wait_max_ms: 6 * 3_600_000,
    retry_for_ms: WEBHOOK_OFFERED_MAX.as_secs() * 1_000,
};

/// The job handler of deliveries.
pub struct Deliver(pub Deps);

impl Handler for Deliver {
    fn kind(&self) -> &'static str {
        DELIVER
    }

    fn policy(&self) -> Policy {
        POLICY
    }

    fn run<'a>(&'a self, job: &'a JobRow) -> PortFuture<'a, Outcome> {
        Box::pin(self.0.deliver(job))
    }
}

impl Posting {
    /// A JSON document, with these headers beside those that all have.
    ///
    /// # Errors
    /// A text that no header may have.
    pub fn json(
        owner: Option<WorkspaceId>,
        url: String,
        more: Vec<(&'static str, String)>,
        body: Bytes,
    ) -> Result<Self, PostError> {
        let mut headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json")), Self::sender()];
        for (name, text) in more {
            let value = HeaderValue::try_from(text).map_err(|_| PostError::Refused)?;
            headers.push((HeaderName::from_static(name), value));
        }
        Ok(Self { method: Method::POST, url, headers, body, owner, is_of_settings: false })
    }

    /// The header that names this program.
    pub const fn sender() -> (HeaderName, HeaderValue) {
        (USER_AGENT, HeaderValue::from_static(concat!("Tidegate/", env!("CARGO_PKG_VERSION"))))
    }
}

impl Posted {
    /// What a response says, with the wait capped.
    pub fn new(status: u16, retry_after: Option<&str>) -> Self {
        let seconds = retry_after.and_then(|text| text.trim().parse::<u64>().ok());
        Self { status, retry_after_s: seconds.map(|seconds| seconds.min(WEBHOOK_RETRY_AFTER_S_MAX)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_as_moments() {
        let converted = readable(&json!({"period_start_unix_ms": 0, "total_micros": 5, "id": "inv_1"}));
        assert_eq!(
            converted,
            json!({"period_start": "1970-01-01T00:00:00.000Z", "total_micros": 5, "id": "inv_1"})
        );
    }
}
