//! SQL for events and of the webhook deliveries that they cause.

use database::act::Act;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed, to_text};
use database::statement::{Row, sql};
use database::writing::Writing;
use domain::limits::CREDENTIAL_EXPIRY_NOTICES;
use domain::{CredentialId, EventId, WebhookId, WorkspaceId};
use serde_json::json;
use uuid::Uuid;

use crate::events::{EventKind, EventRow, Events};
use crate::jobs::{INSTALLATION, NewJob};
use crate::resource::Json;
use crate::sql::webhooks;

const TABLE: &str = "events";
/// The kind of job that delivers one event to one webhook.
pub(super) const DELIVER: &str = crate::webhooks::DELIVER;

pub(super) fn read(row: &Row) -> Result<EventRow, StoreError> {
    let fields = Fields::new(TABLE, row);
    let name: &str = fields.get("kind")?;
    let kind = EventKind::from_name(name);
    Ok(EventRow {
        id: fields.id("id")?,
        workspace: fields.id("workspace")?,
        kind: kind.ok_or_else(|| StoreError::corrupt(TABLE, format!("{name} isn't a kind")))?,
        payload: fields.json("payload")?,
        created_unix_ms: fields.number("created_unix_ms")?,
    })
}

/// Emits an event in the transaction of the act that caused it.
pub(super) async fn of_act(
    writing: &mut Writing,
    act: &Act,
    workspace: WorkspaceId,
    kind: EventKind,
    payload: Json,
) -> Result<(), StoreError> {
    let id = EventId::from_uuid(nth(act.id.as_uuid(), writing.next_event()));
    emit(writing, EventRow { id, workspace, kind, payload, created_unix_ms: act.unix_ms }).await
}

/// An event id derived from the act's id: the id itself for the first event, variants for further ones.
fn nth(id: &Uuid, number: u16) -> Uuid {
    let mut bytes = *id.as_bytes();
    if let Some(last) = bytes.last_chunk_mut::<2>() {
        *last = (u16::from_be_bytes(*last) ^ number).to_be_bytes();
    }
    Uuid::from_bytes(bytes)
}

pub(super) async fn emit(writing: &mut Writing, event: EventRow) -> Result<(), StoreError> {
    let wanted = webhooks::that_want(writing.connection(), event.workspace, event.kind).await?;
    if wanted.is_empty() {
        return Ok(());
    }
    let query = sql("INSERT INTO events (id, workspace, kind, payload, created_unix_ms)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING");
    let kept = query
        .bind(event.id.bytes())
        .bind(event.workspace.bytes())
        .bind(event.kind.as_str())
        .bind(to_text(TABLE, &event.payload)?)
        .bind(signed(event.created_unix_ms))
        .run(writing.connection())
        .await?;
    if kept == 0 {
        return Ok(());
    }
    for webhook in wanted {
        sql("INSERT INTO webhook_deliveries (webhook, event, state, attempts) VALUES ($1, $2, 'pending', 0)")
            .bind(webhook.bytes())
            .bind(event.id.bytes())
            .run(writing.connection())
            .await?;
        super::jobs::enqueue(writing, delivery_of(webhook, &event, event.created_unix_ms)).await?;
    }
    Ok(())
}

/// The job that delivers an event to a webhook. Its name is unique per pair, so repeated enqueueing leaves
/// one.
pub(super) fn delivery_of(webhook: WebhookId, event: &EventRow, unix_ms: u64) -> NewJob {
    NewJob {
        kind: DELIVER,
        workspace: event.workspace,
        name: Some(format!("{DELIVER}:{webhook}:{}", event.id)),
        payload: json!({"webhook": webhook.to_string(), "event": event.id.to_string()}),
        run_unix_ms: unix_ms,
        every_ms: None,
        unix_ms,
    }
}

/// Enqueues the notices before a credential's expiry. Each records the current expiry, so that a notice for
/// an outdated one is dropped when it runs. Of the notices already due, only the last is sent.
pub(super) async fn announce_expiry(
    writing: &mut Writing,
    workspace: WorkspaceId,
    credential: CredentialId,
    expires_unix_ms: Option<u64>,
    unix_ms: u64,
) -> Result<(), StoreError> {
    let Some(expires) = expires_unix_ms.filter(|expires| *expires > unix_ms) else { return Ok(()) };
    let notices =
        CREDENTIAL_EXPIRY_NOTICES.map(|before| u64::try_from(before.as_millis()).unwrap_or(u64::MAX));
    let is_due = |before_ms: u64| expires.saturating_sub(before_ms) <= unix_ms;
    let last_due = notices.into_iter().filter(|before_ms| is_due(*before_ms)).min();
    for before_ms in notices.into_iter().filter(|before_ms| !is_due(*before_ms)).chain(last_due) {
        let job = NewJob {
            kind: crate::webhooks::ANNOUNCE_EXPIRY,
            workspace: INSTALLATION,
            name: Some(format!("{}:{credential}:{expires}:{before_ms}", crate::webhooks::ANNOUNCE_EXPIRY)),
            payload: json!({
                "workspace": workspace.to_string(),
                "credential": credential.to_string(),
                "expires_unix_ms": expires,
                "before_ms": before_ms,
            }),
            run_unix_ms: expires.saturating_sub(before_ms),
            every_ms: None,
            unix_ms,
        };
        super::jobs::enqueue(writing, job).await?;
    }
    Ok(())
}

impl Events<'_> {
    /// Stores the event for every webhook subscribed to its kind, and enqueues the deliveries. Idempotent by
    /// event. The store's own acts do this in their transaction.
    pub async fn emit(self, event: EventRow) -> Result<(), StoreError> {
        self.0.note(move |writing| Box::pin(emit(writing, event))).await
    }

    /// Deletes older events and their deliveries.
    pub async fn forget(self, before_unix_ms: u64) -> Result<u64, StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    let query = sql("DELETE FROM events WHERE created_unix_ms < $1");
                    query.bind(signed(before_unix_ms)).run(writing.connection()).await
                })
            })
            .await
    }
}
