//! Workspaces and their wrapped keys.

use domain::WorkspaceId;
use snapshot::WrappedKey;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::SqliteStore;
use super::fields::{ColumnId, Fields, after};
use super::writing::{Writing, database, expect_version, signed};
use crate::feed::Part;
use crate::{Act, Listed, Page, StoreError, StoreFuture, WorkspaceRow, Workspaces, Written};

const WHAT: &str = "workspace";

pub(super) fn read(row: &SqliteRow) -> Result<WorkspaceRow, StoreError> {
    let fields = Fields::new("workspaces", row);
    Ok(WorkspaceRow {
        id: fields.id("id")?,
        name: fields.text("name")?,
        created_unix_ms: fields.number("created_unix_ms")?,
        version: fields.number("version")?,
    })
}

pub(super) fn read_key(row: &SqliteRow) -> Result<WrappedKey, StoreError> {
    let fields = Fields::new("workspace_keys", row);
    Ok(WrappedKey {
        workspace: fields.id("workspace")?,
        key_id: fields.text("key_id")?,
        wrapped: fields.get("wrapped")?,
    })
}

async fn find(connection: &mut SqliteConnection, id: WorkspaceId) -> Result<WorkspaceRow, StoreError> {
    let query = sqlx::query("SELECT * FROM workspaces WHERE id = ?1").bind(id.bytes());
    let row = query.fetch_optional(connection).await.map_err(database)?;
    row.as_ref().map_or(Err(StoreError::NotFound { what: WHAT }), read)
}

pub(super) async fn insert(writing: &mut Writing, row: &WorkspaceRow) -> Result<(), StoreError> {
    let version = signed(writing.version());
    sqlx::query("INSERT INTO workspaces (id, name, created_unix_ms, version) VALUES (?1, ?2, ?3, ?4)")
        .bind(row.id.bytes())
        .bind(&row.name)
        .bind(signed(row.created_unix_ms))
        .bind(version)
        .execute(writing.connection())
        .await
        .map_err(database)?;
    writing.changed(Part::Workspace, Some(row.id), row.id);
    Ok(())
}

pub(super) async fn insert_key(writing: &mut Writing, key: &WrappedKey) -> Result<(), StoreError> {
    let query = sqlx::query(
        "INSERT INTO workspace_keys (workspace, ordinal, key_id, wrapped)
         SELECT ?1, COALESCE(MAX(ordinal), 0) + 1, ?2, ?3 FROM workspace_keys WHERE workspace = ?1",
    );
    query
        .bind(key.workspace.bytes())
        .bind(&key.key_id)
        .bind(&key.wrapped)
        .execute(writing.connection())
        .await
        .map_err(database)?;
    let part = if key.workspace.as_uuid().is_nil() { Part::Accounts } else { Part::Workspace };
    writing.changed(part, Some(key.workspace), key.workspace);
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
    sqlx::query("UPDATE workspaces SET name = ?2, version = ?3 WHERE id = ?1")
        .bind(row.id.bytes())
        .bind(&row.name)
        .bind(signed(row.version))
        .execute(writing.connection())
        .await
        .map_err(database)?;
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
    let held = sqlx::query(
        "SELECT (SELECT COUNT(*) FROM projects WHERE workspace = ?1)
              + (SELECT COUNT(*) FROM credentials WHERE workspace = ?1)
              + (SELECT COUNT(*) FROM nodes WHERE workspace = ?1)",
    );
    let row = held.bind(id.bytes()).fetch_one(writing.connection()).await.map_err(database)?;
    let held: i64 = row.try_get(0).map_err(|error| StoreError::corrupt("workspaces", error))?;
    if held > 0 {
        let detail =
            format!("the workspace still holds {held} projects, credentials or nodes; delete them first");
        return Err(StoreError::conflict("workspace_not_empty", detail, None));
    }
    for statement in [
        "DELETE FROM routes WHERE workspace = ?1",
        "DELETE FROM workspace_keys WHERE workspace = ?1",
        "DELETE FROM workspaces WHERE id = ?1",
    ] {
        sqlx::query(statement).bind(id.bytes()).execute(writing.connection()).await.map_err(database)?;
    }
    writing.changed(Part::Workspace, Some(id), id);
    writing.audit(&act, None, "workspace.delete", id, format!("name {}", old.name)).await
}

impl Workspaces for SqliteStore {
    fn get(&self, id: WorkspaceId) -> StoreFuture<'_, WorkspaceRow> {
        Box::pin(async move { find(&mut *self.readers().acquire().await.map_err(database)?, id).await })
    }

    fn list(&self, page: Page<WorkspaceId>) -> StoreFuture<'_, Listed<WorkspaceRow, WorkspaceId>> {
        Box::pin(async move {
            let wanted = page.rows_wanted();
            let rows = sqlx::query("SELECT * FROM workspaces WHERE id > ?1 ORDER BY id LIMIT ?2")
                .bind(after(page.after))
                .bind(signed(wanted as u64 + 1))
                .fetch_all(self.readers())
                .await
                .map_err(database)?;
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
            let query = sqlx::query("SELECT * FROM workspace_keys WHERE workspace = ?1 ORDER BY ordinal");
            let rows = query.bind(id.bytes()).fetch_all(self.readers()).await.map_err(database)?;
            rows.iter().map(read_key).collect()
        })
    }

    fn add_wrapped_key(&self, key: WrappedKey, act: Act) -> StoreFuture<'_, Written<()>> {
        Box::pin(self.write(move |writing| {
            Box::pin(async move {
                insert_key(writing, &key).await?;
                let workspace = Some(key.workspace).filter(|id| !id.as_uuid().is_nil());
                writing.audit(&act, workspace, "workspace_key.create", &key.key_id, String::new()).await
            })
        }))
    }
}
