//! SQL for the BYOC nodes.

use domain::{EventId, NodeId, ProbeResult, ServerFacts, WorkspaceId};

use super::fields::{ColumnId, Fields, after};
use super::writing::{Writing, expect_version, signed};
use super::{Connection, Database, Row, events, names, seals, sql};
use crate::events::{EventKind, EventRow};
use crate::feed::Part;
use crate::{
    Act, Joined, Listed, NewSecret, NodeObservation, NodeRow, Nodes, Page, SealedSecret, StoreError,
    StoreFuture, Written, stored,
};

const TABLE: &str = "nodes";
pub(super) const WHAT: &str = "node";

/// Everything but the anti-rollback record, which is in another table, and the join state, which the snapshot
/// doesn't need.
pub(super) fn read(row: &Row) -> Result<NodeRow, StoreError> {
    let fields = Fields::new(TABLE, row);
    let secret = match fields.maybe_number("secret_version")? {
        Some(_) => Some(SealedSecret {
            sealed: fields.sealed()?,
            floor: domain::Sealed { version: 0, key_id: String::new(), bytes: Vec::new() },
            fingerprint: fields.text("fingerprint")?,
        }),
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
        draining: fields.flag("draining")?,
        reachable: fields.flag("reachable")?,
        metadata: fields.json("metadata")?,
        last_seen_unix_ms: fields.maybe_number("last_seen_unix_ms")?,
        last_error: fields.maybe_text("last_error")?,
        server: stored::server_from_text(TABLE, fields.get("server")?)?,
        created_unix_ms: fields.number("created_unix_ms")?,
        joined: None,
        version: fields.number("version")?,
    })
}

/// Selects nodes, with the join state of those that joined by themselves.
macro_rules! with_joined {
    ($which:literal) => {
        concat!(
            "SELECT nodes.*, c.joined_unix_ms, c.revoked_unix_ms, c.beat_unix_ms, c.due_unix_ms, c.said
             FROM nodes LEFT JOIN node_credentials c ON c.node = nodes.id ",
            $which
        )
    };
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
                .map(|text| stored::from_text("node_credentials", &text))
                .transpose()?,
        }),
        None => None,
    };
    Ok(NodeRow { joined, ..read(row)? })
}

async fn with_floor(connection: &mut Connection, mut row: NodeRow) -> Result<NodeRow, StoreError> {
    if let Some(secret) = &mut row.secret {
        secret.floor = seals::find(connection, row.workspace, row.id).await?;
    }
    Ok(row)
}

pub(super) async fn find(
    connection: &mut Connection,
    workspace: WorkspaceId,
    id: NodeId,
) -> Result<NodeRow, StoreError> {
    let query = sql(with_joined!("WHERE nodes.workspace = $1 AND nodes.id = $2"));
    let query = query.bind(workspace.bytes()).bind(id.bytes());
    let row = query.row(connection).await?;
    let row = row.as_ref().map_or(Err(StoreError::NotFound { what: WHAT }), read_joined)?;
    with_floor(connection, row).await
}

pub(super) async fn named(
    connection: &mut Connection,
    workspace: WorkspaceId,
    name: &str,
) -> Result<Option<NodeRow>, StoreError> {
    let query = sql("SELECT id FROM nodes WHERE workspace = $1 AND name = $2");
    let row = query.bind(workspace.bytes()).bind(name).row(connection).await?;
    let Some(row) = row else { return Ok(None) };
    let id = Fields::new(TABLE, &row).id("id")?;
    find(connection, workspace, id).await.map(Some)
}

pub(super) async fn insert(writing: &mut Writing, row: &NodeRow) -> Result<(), StoreError> {
    let query = sql(
        "INSERT INTO nodes (id, workspace, name, base_url, secret_version, secret_key_id, secret_sealed, fingerprint,
             secret_version_last, declared_models, learned_models, labels, draining, reachable, metadata,
             last_seen_unix_ms, last_error, server, created_unix_ms, version)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)",
    );
    let sealed = row.secret.as_ref().map(|secret| &secret.sealed);
    query
        .bind(row.id.bytes())
        .bind(row.workspace.bytes())
        .bind(&row.name)
        .bind(&row.base_url)
        .bind(sealed.map(|sealed| i64::from(sealed.version)))
        .bind(sealed.map(|sealed| &sealed.key_id))
        .bind(sealed.map(|sealed| &sealed.bytes))
        .bind(row.secret.as_ref().map(|secret| &secret.fingerprint))
        .bind(i64::from(row.secret_version_last))
        .bind(stored::to_text(TABLE, &row.declared_models)?)
        .bind(stored::to_text(TABLE, &row.learned_models)?)
        .bind(stored::to_text(TABLE, &row.labels)?)
        .bind(i64::from(row.draining))
        .bind(i64::from(row.reachable))
        .bind(stored::to_text(TABLE, &row.metadata)?)
        .bind(row.last_seen_unix_ms.map(signed))
        .bind(&row.last_error)
        .bind(stored::server_to_text(TABLE, &row.server)?)
        .bind(signed(row.created_unix_ms))
        .bind(signed(row.version))
        .run(writing.connection())
        .await?;
    writing.changed(Part::Workspace, Some(row.workspace), row.id);
    Ok(())
}

pub(super) async fn overwrite(writing: &mut Writing, row: &NodeRow) -> Result<(), StoreError> {
    let query = sql("DELETE FROM nodes WHERE workspace = $1 AND id = $2");
    let query = query.bind(row.workspace.bytes()).bind(row.id.bytes());
    query.run(writing.connection()).await?;
    insert(writing, row).await
}

async fn refuse_taken_name(writing: &mut Writing, row: &NodeRow) -> Result<(), StoreError> {
    let query = sql("SELECT id FROM nodes WHERE workspace = $1 AND name = $2 AND id <> $3")
        .bind(row.workspace.bytes())
        .bind(&row.name)
        .bind(row.id.bytes());
    let Some(other) = query.row(writing.connection()).await? else {
        return Ok(());
    };
    let other: NodeId = Fields::new(TABLE, &other).id("id")?;
    let detail = format!("the node {other} has the name \"{}\" already", row.name);
    Err(StoreError::conflict("name_taken", detail, Some(other.to_string())))
}

async fn create(writing: &mut Writing, mut row: NodeRow, act: Act) -> Result<NodeRow, StoreError> {
    refuse_taken_name(writing, &row).await?;
    row.version = writing.version();
    row.secret_version_last = row.secret.as_ref().map_or(0, |secret| secret.sealed.version);
    insert(writing, &row).await?;
    if let Some(secret) = &row.secret {
        seals::put(writing, row.workspace, row.id, &secret.floor).await?;
    }
    writing.audit(&act, Some(row.workspace), "node.create", row.id, format!("name {}", row.name)).await?;
    Ok(row)
}

async fn replace(
    writing: &mut Writing,
    row: NodeRow,
    secret: Option<Option<NewSecret>>,
    expected: Option<u64>,
    act: Act,
) -> Result<NodeRow, StoreError> {
    let old = find(writing.connection(), row.workspace, row.id).await?;
    expect_version(WHAT, expected, old.version)?;
    refuse_taken_name(writing, &row).await?;
    let moves_secret = old.secret.is_some() && old.base_url != row.base_url;
    seals::require_secret_for(WHAT, moves_secret, secret.is_some())?;
    let probed = old.server.probed.filter(|_| old.base_url == row.base_url);
    let mut row = NodeRow {
        server: ServerFacts { probed, stated: row.server.stated },
        id: old.id,
        workspace: old.workspace,
        secret: old.secret,
        secret_version_last: old.secret_version_last,
        learned_models: old.learned_models,
        reachable: old.reachable,
        last_seen_unix_ms: old.last_seen_unix_ms,
        last_error: old.last_error,
        created_unix_ms: old.created_unix_ms,
        joined: old.joined,
        version: writing.version(),
        ..row
    };
    let action = if secret.is_some() { "node.rotate" } else { "node.update" };
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
    overwrite(writing, &row).await?;
    writing.audit(&act, Some(row.workspace), action, row.id, format!("name {}", row.name)).await?;
    Ok(row)
}

async fn observed(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: NodeId,
    base_url: &str,
    found: NodeObservation,
) -> Result<NodeRow, StoreError> {
    let row = find(writing.connection(), workspace, id).await?;
    // Whatever answers at the address of a node without heartbeats is not that node.
    let is_silent = row.joined.as_ref().is_some_and(|joined| !joined.is_alive(found.unix_ms));
    if is_silent || row.base_url != base_url { Ok(row) } else { see(writing, row, found).await }
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
    overwrite(writing, &row).await?;
    if was_reachable != row.reachable {
        tell(writing, &row, found.unix_ms).await?;
    }
    Ok(row)
}

async fn probed(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: NodeId,
    base_url: String,
    found: ProbeResult,
    act: Act,
) -> Result<NodeRow, StoreError> {
    let mut row = find(writing.connection(), workspace, id).await?;
    if row.base_url != base_url {
        return Ok(row);
    }
    let detail = format!("{} facts", found.findings.len());
    row.server.learn(found);
    row.version = writing.version();
    overwrite(writing, &row).await?;
    writing.audit(&act, Some(workspace), "node.probe", id, detail).await?;
    Ok(row)
}

async fn acted(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: NodeId,
    action: &'static str,
    detail: String,
    act: Act,
) -> Result<(), StoreError> {
    find(writing.connection(), workspace, id).await?;
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

async fn delete(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: NodeId,
    expected: Option<u64>,
    act: Act,
) -> Result<(), StoreError> {
    let old = find(writing.connection(), workspace, id).await?;
    expect_version(WHAT, expected, old.version)?;
    for statement in [
        "DELETE FROM nodes WHERE workspace = $1 AND id = $2",
        "DELETE FROM node_credentials WHERE workspace = $1 AND node = $2",
    ] {
        let query = sql(statement).bind(workspace.bytes()).bind(id.bytes());
        query.run(writing.connection()).await?;
    }
    seals::remove(writing, workspace, id).await?;
    writing.changed(Part::Workspace, Some(workspace), id);
    writing.audit(&act, Some(workspace), "node.delete", id, format!("name {}", old.name)).await
}

/// The nodes of one workspace, or of all.
async fn list(
    store: &Database,
    workspace: Option<WorkspaceId>,
    page: Page<NodeId>,
) -> Result<Listed<NodeRow, NodeId>, StoreError> {
    let wanted = page.rows_wanted();
    let mut connection = store.read().await?;
    let query = match workspace {
        Some(id) => {
            sql(with_joined!("WHERE nodes.workspace = $3 AND nodes.id > $1 ORDER BY nodes.id LIMIT $2"))
                .bind(after(page.after))
                .bind(signed(wanted as u64 + 1))
                .bind(id.bytes())
        }
        None => sql(with_joined!("WHERE nodes.id > $1 ORDER BY nodes.id LIMIT $2"))
            .bind(after(page.after))
            .bind(signed(wanted as u64 + 1)),
    };
    let found = query.rows(&mut connection).await?;
    let mut rows = Vec::with_capacity(found.len());
    for row in &found {
        rows.push(with_floor(&mut connection, read_joined(row)?).await?);
    }
    Ok(Listed::cut(rows, wanted, |row: &NodeRow| row.id))
}

impl Nodes for Database {
    fn create(&self, row: NodeRow, act: Act) -> StoreFuture<'_, Written<NodeRow>> {
        Box::pin(self.write(move |writing| Box::pin(create(writing, row, act))))
    }

    fn get(&self, workspace: WorkspaceId, id: NodeId) -> StoreFuture<'_, NodeRow> {
        Box::pin(async move { find(&mut self.read().await?, workspace, id).await })
    }

    fn list(&self, workspace: WorkspaceId, page: Page<NodeId>) -> StoreFuture<'_, Listed<NodeRow, NodeId>> {
        Box::pin(list(self, Some(workspace), page))
    }

    fn named(&self, workspace: WorkspaceId, name: String, begins: bool) -> StoreFuture<'_, Vec<NodeId>> {
        Box::pin(async move {
            let query =
                sql("SELECT id FROM nodes WHERE workspace = $1 AND substr(name, 1, CAST($2 AS INTEGER)) = $3
                 ORDER BY id LIMIT $4");
            names::ids(&mut self.read().await?, query, TABLE, workspace, name, begins).await
        })
    }

    fn list_all(&self, page: Page<NodeId>) -> StoreFuture<'_, Listed<NodeRow, NodeId>> {
        Box::pin(list(self, None, page))
    }

    fn replace(
        &self,
        row: NodeRow,
        secret: Option<Option<NewSecret>>,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<NodeRow>> {
        Box::pin(self.write(move |writing| Box::pin(replace(writing, row, secret, expected, act))))
    }

    fn observed(
        &self,
        workspace: WorkspaceId,
        id: NodeId,
        base_url: String,
        found: NodeObservation,
    ) -> StoreFuture<'_, Written<NodeRow>> {
        Box::pin(self.write(move |writing| {
            Box::pin(async move { observed(writing, workspace, id, &base_url, found).await })
        }))
    }

    fn probed(
        &self,
        workspace: WorkspaceId,
        id: NodeId,
        base_url: String,
        found: ProbeResult,
        act: Act,
    ) -> StoreFuture<'_, Written<NodeRow>> {
        Box::pin(self.write(move |writing| Box::pin(probed(writing, workspace, id, base_url, found, act))))
    }

    fn acted(
        &self,
        workspace: WorkspaceId,
        id: NodeId,
        action: &'static str,
        detail: String,
        act: Act,
    ) -> StoreFuture<'_, Written<()>> {
        Box::pin(self.write(move |writing| Box::pin(acted(writing, workspace, id, action, detail, act))))
    }

    fn delete(
        &self,
        workspace: WorkspaceId,
        id: NodeId,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<()>> {
        Box::pin(self.write(move |writing| Box::pin(delete(writing, workspace, id, expected, act))))
    }
}
