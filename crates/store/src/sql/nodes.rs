//! SQL for the BYOC nodes.

use database::act::{Act, Written};
use database::connection::Connection;
use database::error::{StoreError, StoreFuture};
use database::fields::{ColumnId, Fields, from_text, signed, to_text};
use database::handle::Database;
use database::page::{Listed, Page};
use database::statement::{Row, sql};
use database::writing::Writing;
use domain::{EventId, NodeId, ProbeResult, ServerFacts, WorkspaceId};
use records::node_hours;

use crate::credentials::NewSecret;
use crate::events::{EventKind, EventRow};
use crate::joins::Joined;
use crate::nodes::{NodeObservation, NodeRow, Nodes};
use crate::sql::resource::{self, ColumnValues, Table};
use crate::sql::{events, names, seals};

const TABLE: &str = "nodes";
pub(super) const WHAT: &str = "node";

/// Everything but the anti-rollback record, which is in another table, and the join state, which the snapshot
/// doesn't need.
pub(super) fn read(row: &Row) -> Result<NodeRow, StoreError> {
    let fields = Fields::new(TABLE, row);
    let secret = match fields.maybe_number("secret_version")? {
        Some(_) => Some(seals::secret(&fields)?),
        None => None,
    };
    Ok(NodeRow {
        id: fields.id("id")?,
        workspace: fields.id("workspace")?,
        name: fields.text("name")?,
        base_url: fields.text("base_url")?,
        secret,
        secret_version_last: fields.small("secret_version_last")?,
        declared_models: fields.json("declared_models")?,
        learned_models: fields.json("learned_models")?,
        labels: fields.json("labels")?,
        cost: fields.maybe_json("cost")?,
        cordoned: fields.flag("cordoned")?,
        draining: fields.flag("draining")?,
        reachable: fields.flag("reachable")?,
        metadata: fields.json("metadata")?,
        last_seen_unix_ms: fields.maybe_number("last_seen_unix_ms")?,
        last_error: fields.maybe_text("last_error")?,
        server: columns::server_from_text(TABLE, fields.get("server")?)?,
        created_unix_ms: fields.number("created_unix_ms")?,
        joined: None,
        version: fields.number("version")?,
    })
}

/// A row with the columns of its node credential, if it has one.
fn read_joined(row: &Row) -> Result<NodeRow, StoreError> {
    let fields = Fields::new("node_credentials", row);
    let joined = match fields.maybe_number("joined_unix_ms")? {
        Some(unix_ms) => Some(Joined {
            unix_ms,
            revoked_unix_ms: fields.maybe_number("revoked_unix_ms")?,
            beat_unix_ms: fields.maybe_number("beat_unix_ms")?,
            due_unix_ms: fields.maybe_number("due_unix_ms")?,
            report: fields
                .maybe_text("said")?
                .map(|text| from_text("node_credentials", &text))
                .transpose()?,
        }),
        None => None,
    };
    Ok(NodeRow { joined, ..read(row)? })
}

pub(super) async fn find_by_name(
    connection: &mut Connection,
    workspace: WorkspaceId,
    name: &str,
) -> Result<Option<NodeRow>, StoreError> {
    let query = sql("SELECT id FROM nodes WHERE workspace = $1 AND name = $2");
    let row = query.bind(workspace.bytes()).bind(name).row(connection).await?;
    let Some(row) = row else { return Ok(None) };
    let id = Fields::new(TABLE, &row).id("id")?;
    resource::find::<NodeRow>(connection, workspace, id).await.map(Some)
}

async fn refuse_taken_name(writing: &mut Writing, row: &NodeRow) -> Result<(), StoreError> {
    resource::refuse_taken_name::<NodeRow>(writing, row.workspace, row.id, &row.name).await
}

impl Table for NodeRow {
    const NAME: &'static str = TABLE;
    const WHAT: &'static str = WHAT;

    /// With the join state of those that joined by themselves.
    fn select() -> String {
        "SELECT nodes.*, c.joined_unix_ms, c.revoked_unix_ms, c.beat_unix_ms, c.due_unix_ms, c.said
         FROM nodes LEFT JOIN node_credentials c ON c.node = nodes.id"
            .to_owned()
    }

    fn read(row: &Row) -> Result<Self, StoreError> {
        read_joined(row)
    }

    fn columns(&self, columns: ColumnValues) -> Result<ColumnValues, StoreError> {
        Ok(columns
            .set("id", self.id.bytes())
            .set("workspace", self.workspace.bytes())
            .set("name", &self.name)
            .set("base_url", &self.base_url)
            .secret(self.secret.as_ref())
            .set("secret_version_last", i64::from(self.secret_version_last))
            .set("declared_models", to_text(TABLE, &self.declared_models)?)
            .set("learned_models", to_text(TABLE, &self.learned_models)?)
            .set("labels", to_text(TABLE, &self.labels)?)
            .set("cost", self.cost.map(|cost| to_text(TABLE, &cost)).transpose()?)
            .set("cordoned", i64::from(self.cordoned))
            .set("draining", i64::from(self.draining))
            .set("reachable", i64::from(self.reachable))
            .set("metadata", to_text(TABLE, &self.metadata)?)
            .set("last_seen_unix_ms", self.last_seen_unix_ms.map(signed))
            .set("last_error", &self.last_error)
            .set("server", columns::server_to_text(TABLE, &self.server)?)
            .set("created_unix_ms", signed(self.created_unix_ms))
            .set("version", signed(self.version)))
    }

    async fn load(connection: &mut Connection, rows: &mut [Self]) -> Result<(), StoreError> {
        for row in rows {
            if let Some(secret) = &mut row.secret {
                secret.floor = seals::find(connection, row.workspace, row.id).await?;
            }
        }
        Ok(())
    }

    async fn prepare(writing: &mut Writing, row: &mut Self, _: &Act) -> Result<(), StoreError> {
        row.secret_version_last = row.secret.as_ref().map_or(0, |secret| secret.sealed.version);
        refuse_taken_name(writing, row).await
    }

    async fn follow_creation(writing: &mut Writing, row: &Self, _: &Act) -> Result<(), StoreError> {
        let Some(secret) = &row.secret else { return Ok(()) };
        seals::put(writing, row.workspace, row.id, &secret.floor).await
    }

    async fn merge(
        writing: &mut Writing,
        old: &Self,
        (row, secret): (Self, Option<Option<NewSecret>>),
    ) -> Result<Self, StoreError> {
        refuse_taken_name(writing, &row).await?;
        let moves = old.base_url != row.base_url;
        seals::require_secret_for(WHAT, old.secret.is_some() && moves, secret.is_some())?;
        let probed = old.server.probed.clone().filter(|_| !moves);
        let mut row = Self {
            server: ServerFacts { probed, stated: row.server.stated },
            name: row.name,
            base_url: row.base_url,
            declared_models: row.declared_models,
            labels: row.labels,
            cost: row.cost,
            cordoned: row.cordoned,
            draining: row.draining,
            metadata: row.metadata,
            ..old.clone()
        };
        match secret {
            Some(Some(secret)) => {
                seals::require_next(WHAT, row.secret_version_last, &secret.sealed)?;
                seals::put(writing, row.workspace, row.id, &secret.floor).await?;
                row.secret_version_last = secret.sealed.version;
                row.secret = Some(secret);
            }
            Some(None) => row.secret = None,
            None => {}
        }
        Ok(row)
    }

    async fn overwrite(writing: &mut Writing, row: &Self) -> Result<(), StoreError> {
        resource::reinsert(writing, row).await
    }

    async fn precede_deletion(writing: &mut Writing, old: &Self) -> Result<(), StoreError> {
        sql("DELETE FROM node_credentials WHERE workspace = $1 AND node = $2")
            .bind(old.workspace.bytes())
            .bind(old.id.bytes())
            .run(writing.connection())
            .await?;
        seals::remove(writing, old.workspace, old.id).await
    }

    fn audit_verb((_, secret): &(Self, Option<Option<NewSecret>>)) -> &'static str {
        if secret.is_some() { "rotate" } else { "update" }
    }

    fn audit_detail(&self) -> String {
        format!("name {}", self.name)
    }
}

async fn record_observation(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: NodeId,
    base_url: &str,
    found: NodeObservation,
) -> Result<NodeRow, StoreError> {
    let row = resource::find::<NodeRow>(writing.connection(), workspace, id).await?;
    // Whatever answers at the address of a node without heartbeats is not that node.
    let is_silent = row.joined.as_ref().is_some_and(|joined| !joined.is_alive(found.unix_ms));
    if is_silent || row.base_url != base_url {
        return Ok(row);
    }
    let was_up_since =
        row.last_seen_unix_ms.filter(|_| row.reachable && found.reachable && row.joined.is_none());
    if let Some(since_unix_ms) = was_up_since {
        node_hours::add_poll(writing, (workspace, id), (since_unix_ms, found.unix_ms)).await?;
    }
    see(writing, row, found).await
}

/// Stores whether a node is reachable.
pub(super) async fn see(
    writing: &mut Writing,
    mut row: NodeRow,
    found: NodeObservation,
) -> Result<NodeRow, StoreError> {
    let learned = found.models.unwrap_or_else(|| row.learned_models.clone());
    let is_news =
        (row.reachable, &row.learned_models, &row.last_error) != (found.reachable, &learned, &found.error);
    if found.reachable {
        row.last_seen_unix_ms = Some(found.unix_ms);
    }
    if !is_news {
        sql("UPDATE nodes SET last_seen_unix_ms = $3 WHERE workspace = $1 AND id = $2")
            .bind(row.workspace.bytes())
            .bind(row.id.bytes())
            .bind(row.last_seen_unix_ms.map(signed))
            .run(writing.connection())
            .await?;
        return Ok(row);
    }
    let was_reachable = std::mem::replace(&mut row.reachable, found.reachable);
    row.learned_models = learned;
    row.last_error = found.error;
    row.version = writing.version();
    resource::put(writing, &row).await?;
    if was_reachable != row.reachable {
        tell(writing, &row, found.unix_ms).await?;
    }
    Ok(row)
}

async fn record_probe(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: NodeId,
    base_url: String,
    found: ProbeResult,
    act: Act,
) -> Result<NodeRow, StoreError> {
    let mut row = resource::find::<NodeRow>(writing.connection(), workspace, id).await?;
    if row.base_url != base_url {
        return Ok(row);
    }
    let detail = format!("{} facts", found.findings.len());
    row.server.learn(found);
    row.version = writing.version();
    resource::put(writing, &row).await?;
    writing.audit(&act, Some(workspace), "node.probe", id, detail).await?;
    Ok(row)
}

async fn record_action(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: NodeId,
    action: &'static str,
    detail: String,
    act: Act,
) -> Result<(), StoreError> {
    resource::find::<NodeRow>(writing.connection(), workspace, id).await?;
    writing.audit(&act, Some(workspace), action, id, detail).await
}

/// No act caused it, so the event's id is derived from the node's id and the time.
async fn tell(writing: &mut Writing, row: &NodeRow, unix_ms: u64) -> Result<(), StoreError> {
    let random = row.id.as_bytes().last_chunk::<10>().copied().unwrap_or_default();
    let kind = if row.reachable { EventKind::NodeReachable } else { EventKind::NodeUnreachable };
    let payload = serde_json::json!({"id": row.id.to_string(), "name": row.name});
    let event = EventRow {
        id: EventId::new(unix_ms, random),
        workspace: row.workspace,
        kind,
        payload,
        created_unix_ms: unix_ms,
    };
    events::emit(writing, event).await
}

impl Nodes for Database {
    fn ids_by_name(
        &self,
        workspace: WorkspaceId,
        name: String,
        begins: bool,
    ) -> StoreFuture<'_, Vec<NodeId>> {
        Box::pin(async move {
            names::ids::<NodeRow>(&mut self.read().await?, "name", workspace, name, begins).await
        })
    }

    fn list_all(&self, page: Page<NodeId>) -> StoreFuture<'_, Listed<NodeRow, NodeId>> {
        Box::pin(async move { resource::list(&mut self.read().await?, None, page).await })
    }

    fn record_observation(
        &self,
        workspace: WorkspaceId,
        id: NodeId,
        base_url: String,
        found: NodeObservation,
    ) -> StoreFuture<'_, Written<NodeRow>> {
        Box::pin(self.write(move |writing| {
            Box::pin(async move { record_observation(writing, workspace, id, &base_url, found).await })
        }))
    }

    fn record_probe(
        &self,
        workspace: WorkspaceId,
        id: NodeId,
        base_url: String,
        found: ProbeResult,
        act: Act,
    ) -> StoreFuture<'_, Written<NodeRow>> {
        Box::pin(
            self.write(move |writing| Box::pin(record_probe(writing, workspace, id, base_url, found, act))),
        )
    }

    fn record_action(
        &self,
        workspace: WorkspaceId,
        id: NodeId,
        action: &'static str,
        detail: String,
        act: Act,
    ) -> StoreFuture<'_, Written<()>> {
        Box::pin(
            self.write(move |writing| Box::pin(record_action(writing, workspace, id, action, detail, act))),
        )
    }
}
