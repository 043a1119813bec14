//! SQL for webhooks, their signing secrets and their deliveries.

use database::act::{Act, Written};
use database::connection::Connection;
use database::error::{StoreError, StoreFuture};
use database::feed::Part;
use database::fields::{ColumnId, Fields, before, signed};
use database::handle::Database;
use database::page::{Listed, Page};
use database::statement::{Row, sql};
use database::writing::Writing;
use domain::limits::WEBHOOKS_OF_WORKSPACE_MAX;
use domain::{EventId, WebhookId, WorkspaceId};

use crate::credentials::SealedSecret;
use crate::events::EventKind;
use crate::sql::resource::{self, ColumnValues, Table};
use crate::sql::{events, jobs, seals};
use crate::webhooks::{
    DeliveryAttempt, DeliveryRow, DeliveryState, SigningSecret, WebhookFormat, WebhookRow, Webhooks,
    sealed_object,
};

const TABLE: &str = "webhooks";
const SECRETS: &str = "webhook_secrets";
const DELIVERIES: &str = "webhook_deliveries";

fn kinds(text: &str) -> Vec<EventKind> {
    text.split(',').filter_map(EventKind::from_name).collect()
}

fn kinds_text(kinds: &[EventKind]) -> String {
    kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(",")
}

async fn load_secrets(connection: &mut Connection, row: &mut WebhookRow) -> Result<(), StoreError> {
    let query = sql("SELECT * FROM webhook_secrets WHERE webhook = $1 ORDER BY generation DESC");
    for found in &query.bind(row.id.bytes()).rows(connection).await? {
        let fields = Fields::new(SECRETS, found);
        let generation = fields.small("generation")?;
        let floor = seals::find(connection, row.workspace, sealed_object(row.id, generation)).await?;
        row.secrets.push(SigningSecret {
            generation,
            secret: SealedSecret {
                sealed: fields.secret()?,
                floor,
                fingerprint: fields.text("fingerprint")?,
            },
            expires_unix_ms: fields.maybe_number("expires_unix_ms")?,
        });
    }
    Ok(())
}

/// The webhooks of a workspace that are subscribed to this kind of event.
pub(super) async fn that_want(
    connection: &mut Connection,
    workspace: WorkspaceId,
    kind: EventKind,
) -> Result<Vec<WebhookId>, StoreError> {
    let query = sql("SELECT * FROM webhooks WHERE workspace = $1 AND disabled_reason IS NULL ORDER BY id");
    let rows = query.bind(workspace.bytes()).rows(connection).await?;
    let rows = rows.iter().map(WebhookRow::read).collect::<Result<Vec<_>, _>>()?;
    let wants = |row: &WebhookRow| row.events.is_empty() || row.events.contains(&kind);
    Ok(rows.into_iter().filter(wants).map(|row| row.id).collect())
}

async fn insert_secret(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: WebhookId,
    secret: &SigningSecret,
) -> Result<(), StoreError> {
    let object = sealed_object(id, secret.generation);
    seals::put(writing, workspace, object, &secret.secret.floor).await?;
    let query =
        sql("INSERT INTO webhook_secrets (webhook, generation, secret_version, secret_key_id, secret_sealed,
             fingerprint, expires_unix_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7)");
    query
        .bind(id.bytes())
        .bind(i64::from(secret.generation))
        .bind(i64::from(secret.secret.sealed.version))
        .bind(&secret.secret.sealed.key_id)
        .bind(&secret.secret.sealed.bytes)
        .bind(&secret.secret.fingerprint)
        .bind(secret.expires_unix_ms.map(signed))
        .run(writing.connection())
        .await?;
    Ok(())
}

impl Table for WebhookRow {
    const NAME: &'static str = TABLE;
    const WHAT: &'static str = "webhook";
    /// A new webhook brings a new anti-rollback record, which every vault learns with the workspace.
    const PART: Part = Part::Workspace;
    const PART_OF_CHANGES: Part = Part::Other;

    /// Everything but the secrets, which are in another table.
    fn read(row: &Row) -> Result<Self, StoreError> {
        let fields = Fields::new(TABLE, row);
        let word: &str = fields.get("format")?;
        let format = WebhookFormat::from_word(word);
        Ok(Self {
            id: fields.id("id")?,
            workspace: fields.id("workspace")?,
            format: format.ok_or_else(|| StoreError::corrupt(TABLE, format!("{word} isn't a format")))?,
            url: fields.text("url")?,
            description: fields.text("description")?,
            quiet: columns::window_from_text(fields.get("quiet_hours")?),
            events: kinds(fields.get("events")?),
            disabled_reason: fields.maybe_text("disabled_reason")?,
            secrets: Vec::new(),
            created_unix_ms: fields.number("created_unix_ms")?,
            version: fields.number("version")?,
        })
    }

    fn columns(&self, columns: ColumnValues) -> Result<ColumnValues, StoreError> {
        Ok(columns
            .fix("id", self.id.bytes())
            .fix("workspace", self.workspace.bytes())
            .fix("format", self.format.as_str())
            .set("url", &self.url)
            .set("description", &self.description)
            .set("quiet_hours", columns::window_to_text(self.quiet))
            .set("events", kinds_text(&self.events))
            .set("disabled_reason", &self.disabled_reason)
            .fix("created_unix_ms", signed(self.created_unix_ms))
            .set("version", signed(self.version)))
    }

    async fn load(connection: &mut Connection, rows: &mut [Self]) -> Result<(), StoreError> {
        for row in rows {
            load_secrets(connection, row).await?;
        }
        Ok(())
    }

    async fn prepare(writing: &mut Writing, row: &mut Self, _: &Act) -> Result<(), StoreError> {
        let query = sql("SELECT COUNT(*) AS held FROM webhooks WHERE workspace = $1");
        let held = query.bind(row.workspace.bytes()).one(writing.connection()).await?;
        if Fields::new(TABLE, &held).number("held")? >= u64::from(WEBHOOKS_OF_WORKSPACE_MAX) {
            let detail = format!("a workspace has at most {WEBHOOKS_OF_WORKSPACE_MAX} webhooks");
            return Err(StoreError::conflict("too_many_webhooks", detail, None));
        }
        Ok(())
    }

    async fn follow_creation(writing: &mut Writing, row: &Self, _: &Act) -> Result<(), StoreError> {
        for secret in &row.secrets {
            insert_secret(writing, row.workspace, row.id, secret).await?;
        }
        Ok(())
    }

    async fn merge(_: &mut Writing, old: &Self, row: Self) -> Result<Self, StoreError> {
        Ok(Self {
            format: old.format,
            secrets: old.secrets.clone(),
            created_unix_ms: old.created_unix_ms,
            ..row
        })
    }

    async fn precede_deletion(writing: &mut Writing, old: &Self) -> Result<(), StoreError> {
        for secret in &old.secrets {
            seals::remove(writing, old.workspace, sealed_object(old.id, secret.generation)).await?;
        }
        Ok(())
    }

    fn audit_detail(&self) -> String {
        format!("url {}", self.url)
    }

    async fn follow_change(_: &mut Writing, _: &Self, row: &Self, _: &Act) -> Result<String, StoreError> {
        Ok(format!("url {}, {}", row.url, row.disabled_reason.as_deref().unwrap_or("active")))
    }
}

async fn rotate(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: WebhookId,
    secret: SigningSecret,
    overlap_until_unix_ms: u64,
    act: Act,
) -> Result<WebhookRow, StoreError> {
    let old = resource::find::<WebhookRow>(writing.connection(), workspace, id).await?;
    let newest = old.secrets.first().map_or(0, |newest| newest.generation);
    if newest.checked_add(1) != Some(secret.generation) {
        let detail = "another rotation came first; read the webhook again";
        return Err(StoreError::conflict("secret_version", detail, None));
    }
    // The secret before the last is dropped even if its overlap is not over: two sign at once, never three.
    for spent in old.secrets.iter().skip(1) {
        seals::remove(writing, workspace, sealed_object(id, spent.generation)).await?;
    }
    let query = sql("DELETE FROM webhook_secrets WHERE webhook = $1 AND generation < $2");
    query.bind(id.bytes()).bind(i64::from(newest)).run(writing.connection()).await?;
    sql("UPDATE webhook_secrets SET expires_unix_ms = $2 WHERE webhook = $1")
        .bind(id.bytes())
        .bind(signed(overlap_until_unix_ms))
        .run(writing.connection())
        .await?;
    insert_secret(writing, workspace, id, &secret).await?;
    sql("UPDATE webhooks SET version = $2 WHERE id = $1")
        .bind(id.bytes())
        .bind(signed(writing.version()))
        .run(writing.connection())
        .await?;
    writing.announce(Part::Workspace, Some(workspace), id);
    let detail = format!("generation {}, fingerprint {}", secret.generation, secret.secret.fingerprint);
    writing.audit(&act, Some(workspace), "webhook.rotate", id, detail).await?;
    resource::find::<WebhookRow>(writing.connection(), workspace, id).await
}

fn read_delivery(row: &Row) -> Result<DeliveryRow, StoreError> {
    let fields = Fields::new(DELIVERIES, row);
    let state = DeliveryState::from_word(fields.get("state")?).unwrap_or(DeliveryState::Failed);
    let status = fields.maybe_number("last_status")?;
    Ok(DeliveryRow {
        event: events::read(row)?,
        state,
        attempts: fields.small("attempts")?,
        last_status: status.and_then(|status| u16::try_from(status).ok()),
        last_error: fields.maybe_text("last_error")?,
        attempted_unix_ms: fields.maybe_number("attempted_unix_ms")?,
    })
}

async fn deliveries(
    connection: &mut Connection,
    workspace: WorkspaceId,
    id: WebhookId,
    page: Page<EventId>,
) -> Result<Listed<DeliveryRow, EventId>, StoreError> {
    resource::find::<WebhookRow>(connection, workspace, id).await?;
    let wanted = page.rows_wanted();
    let before = before(page.after);
    let query = sql("SELECT events.*, webhook_deliveries.* FROM webhook_deliveries
             JOIN events ON events.id = webhook_deliveries.event
         WHERE webhook = $1 AND event < $2 ORDER BY event DESC LIMIT $3");
    let query = query.bind(id.bytes()).bind(before).bind(signed(wanted as u64 + 1));
    let rows = query.rows(connection).await?;
    let rows = rows.iter().map(read_delivery).collect::<Result<Vec<_>, _>>()?;
    Ok(Listed::cut(rows, wanted, |row: &DeliveryRow| row.event.id))
}

async fn delivery(
    connection: &mut Connection,
    webhook: WebhookId,
    event: EventId,
) -> Result<Option<(WebhookRow, DeliveryRow)>, StoreError> {
    let query = sql("SELECT events.*, webhook_deliveries.* FROM webhook_deliveries
             JOIN events ON events.id = webhook_deliveries.event
         WHERE webhook = $1 AND event = $2");
    let Some(row) = query.bind(webhook.bytes()).bind(event.bytes()).row(connection).await? else {
        return Ok(None);
    };
    let found = read_delivery(&row)?;
    match resource::find::<WebhookRow>(connection, found.event.workspace, webhook).await {
        Ok(row) => Ok(Some((row, found))),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn resend(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: WebhookId,
    event: EventId,
    act: Act,
) -> Result<DeliveryRow, StoreError> {
    let webhook = resource::find::<WebhookRow>(writing.connection(), workspace, id).await?;
    let Some((_, found)) = delivery(writing.connection(), id, event).await? else {
        return Err(StoreError::NotFound { what: "delivery" });
    };
    if let Some(reason) = webhook.disabled_reason {
        return Err(StoreError::conflict(
            "webhook_disabled",
            format!("the webhook is disabled: {reason}"),
            None,
        ));
    }
    sql("UPDATE webhook_deliveries SET state = 'pending' WHERE webhook = $1 AND event = $2")
        .bind(id.bytes())
        .bind(event.bytes())
        .run(writing.connection())
        .await?;
    // Refused while a worker is sending: the outcome of its attempt would be taken for that of this one.
    if !jobs::enqueue_fresh(writing, events::delivery_of(id, &found.event, act.unix_ms)).await? {
        return Err(StoreError::conflict("delivery_running", "it is being sent right now", None));
    }
    writing.audit(&act, Some(workspace), "webhook.resend", id, format!("event {event}")).await?;
    Ok(DeliveryRow { state: DeliveryState::Pending, ..found })
}

impl Webhooks for Database {
    fn rotate(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
        secret: SigningSecret,
        overlap_until_unix_ms: u64,
        act: Act,
    ) -> StoreFuture<'_, Written<WebhookRow>> {
        Box::pin(self.write(move |writing| {
            Box::pin(rotate(writing, workspace, id, secret, overlap_until_unix_ms, act))
        }))
    }

    fn deliveries(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
        page: Page<EventId>,
    ) -> StoreFuture<'_, Listed<DeliveryRow, EventId>> {
        Box::pin(async move { deliveries(&mut self.read().await?, workspace, id, page).await })
    }

    fn delivery(
        &self,
        webhook: WebhookId,
        event: EventId,
    ) -> StoreFuture<'_, Option<(WebhookRow, DeliveryRow)>> {
        Box::pin(async move { delivery(&mut self.read().await?, webhook, event).await })
    }

    fn resend(
        &self,
        workspace: WorkspaceId,
        webhook: WebhookId,
        event: EventId,
        act: Act,
    ) -> StoreFuture<'_, DeliveryRow> {
        Box::pin(self.note(move |writing| Box::pin(resend(writing, workspace, webhook, event, act))))
    }

    fn record_attempt(
        &self,
        webhook: WebhookId,
        event: EventId,
        attempt: DeliveryAttempt,
    ) -> StoreFuture<'_, ()> {
        Box::pin(self.note(move |writing| {
            Box::pin(async move {
                let query = sql(
                    "UPDATE webhook_deliveries SET state = $3, attempts = attempts + 1, last_status = $4,
                         last_error = $5, attempted_unix_ms = $6 WHERE webhook = $1 AND event = $2",
                );
                query
                    .bind(webhook.bytes())
                    .bind(event.bytes())
                    .bind(attempt.state.as_str())
                    .bind(attempt.status.map(i64::from))
                    .bind(attempt.error)
                    .bind(signed(attempt.unix_ms))
                    .run(writing.connection())
                    .await?;
                Ok(())
            })
        }))
    }
}
