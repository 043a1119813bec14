//! SQL for workspaces and their wrapped keys.

use database::act::{Act, Written};
use database::connection::Connection;
use database::error::{StoreError, StoreFuture};
use database::feed::Part;
use database::fields::{ColumnId, Fields, after, signed};
use database::handle::Database;
use database::meta;
use database::page::{Listed, Page};
use database::statement::{Row, sql};
use database::writing::{Writing, expect_version};
use domain::master_key::{self, wrapped_prefix};
use domain::{CacheMode, WorkspaceId};
use snapshot::WrappedKey;

use crate::workspaces::{WorkspaceRow, Workspaces};

const WHAT: &str = "workspace";

pub(super) fn read(row: &Row) -> Result<WorkspaceRow, StoreError> {
    let fields = Fields::new("workspaces", row);
    Ok(WorkspaceRow {
        id: fields.id("id")?,
        name: fields.text("name")?,
        caching: fields.caching()?,
        created_unix_ms: fields.number("created_unix_ms")?,
        version: fields.number("version")?,
    })
}

pub(super) fn read_key(row: &Row) -> Result<WrappedKey, StoreError> {
    let fields = Fields::new("workspace_keys", row);
    Ok(WrappedKey {
        workspace: fields.id("workspace")?,
        key_id: fields.text("key_id")?,
        wrapped: fields.get("wrapped")?,
    })
}

async fn find(connection: &mut Connection, id: WorkspaceId) -> Result<WorkspaceRow, StoreError> {
    let query = sql("SELECT * FROM workspaces WHERE id = $1").bind(id.bytes());
    let row = query.row(connection).await?;
    row.as_ref().map_or(Err(StoreError::NotFound { what: WHAT }), read)
}

pub(super) async fn insert(writing: &mut Writing, row: &WorkspaceRow) -> Result<(), StoreError> {
    let version = signed(writing.version());
    let query =
        sql("INSERT INTO workspaces (id, name, created_unix_ms, version, caching_managed, caching_byok)
         VALUES ($1, $2, $3, $4, $5, $6)");
    query
        .bind(row.id.bytes())
        .bind(&row.name)
        .bind(signed(row.created_unix_ms))
        .bind(version)
        .bind(row.caching.managed.map(CacheMode::as_str))
        .bind(row.caching.byok.map(CacheMode::as_str))
        .run(writing.connection())
        .await?;
    writing.changed(Part::Workspace, Some(row.id), row.id);
    Ok(())
}

pub(super) async fn insert_key(writing: &mut Writing, key: &WrappedKey) -> Result<(), StoreError> {
    refuse_retired(writing, key).await?;
    let query = sql("INSERT INTO workspace_keys (workspace, ordinal, key_id, wrapped)
         SELECT $1, COALESCE(MAX(ordinal), 0) + 1, $2, $3 FROM workspace_keys WHERE workspace = $1");
    query.bind(key.workspace.bytes()).bind(&key.key_id).bind(&key.wrapped).run(writing.connection()).await?;
    let part = if key.workspace.as_uuid().is_nil() { Part::Accounts } else { Part::Workspace };
    writing.changed(part, Some(key.workspace), key.workspace);
    Ok(())
}

/// Refuses a key wrapped under a retired master key, by a replica that learned too late of its end: it could
/// never be unwrapped.
async fn refuse_retired(writing: &mut Writing, key: &WrappedKey) -> Result<(), StoreError> {
    let retired = meta::find(writing.connection(), master_key::RETIRED.to_owned()).await?.unwrap_or_default();
    let retired = String::from_utf8_lossy(&retired);
    if retired.lines().any(|id| key.wrapped.starts_with(&wrapped_prefix(id))) {
        let detail = "the master key was replaced meanwhile; send the request again";
        return Err(StoreError::conflict("master_key_retired", detail, None));
    }
    Ok(())
}

async fn replace(
    writing: &mut Writing,
    mut row: WorkspaceRow,
    expected: Option<u64>,
    act: Act,
) -> Result<WorkspaceRow, StoreError> {
    let old = find(writing.connection(), row.id).await?;
    expect_version(WHAT, expected, old.version)?;
    row.version = writing.version();
    row.created_unix_ms = old.created_unix_ms;
    sql("UPDATE workspaces SET name = $2, version = $3, caching_managed = $4, caching_byok = $5 WHERE id = $1")
        .bind(row.id.bytes())
        .bind(&row.name)
        .bind(signed(row.version))
        .bind(row.caching.managed.map(CacheMode::as_str))
        .bind(row.caching.byok.map(CacheMode::as_str))
        .run(writing.connection())
        .await?;
    writing.changed(Part::Workspace, Some(row.id), row.id);
    writing.audit(&act, Some(row.id), "workspace.update", row.id, format!("name {}", row.name)).await?;
    Ok(row)
}

async fn delete(
    writing: &mut Writing,
    id: WorkspaceId,
    expected: Option<u64>,
    act: Act,
) -> Result<(), StoreError> {
    let old = find(writing.connection(), id).await?;
    expect_version(WHAT, expected, old.version)?;
    let held = sql("SELECT (SELECT COUNT(*) FROM projects WHERE workspace = $1)
              + (SELECT COUNT(*) FROM credentials WHERE workspace = $1)
              + (SELECT COUNT(*) FROM nodes WHERE workspace = $1) AS held");
    let row = held.bind(id.bytes()).one(writing.connection()).await?;
    let held = Fields::new("workspaces", &row).number("held")?;
    if held > 0 {
        let detail =
            format!("the workspace still holds {held} projects, credentials or nodes; delete them first");
        return Err(StoreError::conflict("workspace_not_empty", detail, None));
    }
    for statement in [
        "DELETE FROM routes WHERE workspace = $1",
        "DELETE FROM webhooks WHERE workspace = $1",
        "DELETE FROM workspace_keys WHERE workspace = $1",
        "DELETE FROM node_join_tokens WHERE workspace = $1",
        "DELETE FROM workspaces WHERE id = $1",
    ] {
        sql(statement).bind(id.bytes()).run(writing.connection()).await?;
    }
    writing.changed(Part::Workspace, Some(id), id);
    writing.audit(&act, None, "workspace.delete", id, format!("name {}", old.name)).await
}

impl Workspaces for Database {
    fn get(&self, id: WorkspaceId) -> StoreFuture<'_, WorkspaceRow> {
        Box::pin(async move { find(&mut self.read().await?, id).await })
    }

    fn list(&self, page: Page<WorkspaceId>) -> StoreFuture<'_, Listed<WorkspaceRow, WorkspaceId>> {
        Box::pin(async move {
            let wanted = page.rows_wanted();
            let rows = sql("SELECT * FROM workspaces WHERE id > $1 ORDER BY id LIMIT $2")
                .bind(after(page.after))
                .bind(signed(wanted as u64 + 1))
                .rows(&mut self.read().await?)
                .await?;
            let rows = rows.iter().map(read).collect::<Result<_, _>>()?;
            Ok(Listed::cut(rows, wanted, |row: &WorkspaceRow| row.id))
        })
    }

    fn replace(
        &self,
        row: WorkspaceRow,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<WorkspaceRow>> {
        Box::pin(self.write(move |writing| Box::pin(replace(writing, row, expected, act))))
    }

    fn delete(&self, id: WorkspaceId, expected: Option<u64>, act: Act) -> StoreFuture<'_, Written<()>> {
        Box::pin(self.write(move |writing| Box::pin(delete(writing, id, expected, act))))
    }

    fn wrapped_keys(&self, id: WorkspaceId) -> StoreFuture<'_, Vec<WrappedKey>> {
        Box::pin(async move {
            let query = sql("SELECT * FROM workspace_keys WHERE workspace = $1 ORDER BY ordinal");
            let rows = query.bind(id.bytes()).rows(&mut self.read().await?).await?;
            rows.iter().map(read_key).collect()
        })
    }
}
