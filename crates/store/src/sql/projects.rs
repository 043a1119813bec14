//! SQL for the projects.

use domain::{CacheMode, ProjectId, Subject, WorkspaceId};

use super::fields::{ColumnId, Fields, after};
use super::writing::{Writing, expect_version, signed};
use super::{Connection, Database, Row, budgets, names, sql};
use crate::feed::Part;
use crate::{Act, Listed, Page, ProjectRow, Projects, StoreError, StoreFuture, Written, stored};

const WHAT: &str = "project";

pub(super) fn read(row: &Row) -> Result<ProjectRow, StoreError> {
    let fields = Fields::new("projects", row);
    Ok(ProjectRow {
        id: fields.id("id")?,
        workspace: fields.id("workspace")?,
        name: fields.text("name")?,
        environment: fields.text("environment")?,
        caching: fields.caching()?,
        metadata: fields.json("metadata")?,
        created_unix_ms: fields.number("created_unix_ms")?,
        version: fields.number("version")?,
    })
}

pub(super) async fn find(
    connection: &mut Connection,
    workspace: WorkspaceId,
    id: ProjectId,
) -> Result<ProjectRow, StoreError> {
    let query = sql("SELECT * FROM projects WHERE workspace = $1 AND id = $2");
    let row = query.bind(workspace.bytes()).bind(id.bytes()).row(connection).await?;
    row.as_ref().map_or(Err(StoreError::NotFound { what: WHAT }), read)
}

/// Checks a reference to a project: it must belong to the same workspace.
pub(super) async fn require(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: Option<ProjectId>,
) -> Result<(), StoreError> {
    match id {
        Some(id) => find(writing.connection(), workspace, id).await.map(|_| ()),
        None => Ok(()),
    }
}

async fn refuse_taken_name(writing: &mut Writing, row: &ProjectRow) -> Result<(), StoreError> {
    let query = sql("SELECT id FROM projects WHERE workspace = $1 AND name = $2 AND id <> $3")
        .bind(row.workspace.bytes())
        .bind(&row.name)
        .bind(row.id.bytes());
    let Some(other) = query.row(writing.connection()).await? else {
        return Ok(());
    };
    let other: ProjectId = Fields::new("projects", &other).id("id")?;
    let detail = format!("the project {other} has the name \"{}\" already", row.name);
    Err(StoreError::conflict("name_taken", detail, Some(other.to_string())))
}

pub(super) async fn insert(writing: &mut Writing, row: &ProjectRow) -> Result<(), StoreError> {
    refuse_taken_name(writing, row).await?;
    let version = signed(writing.version());
    let query =
        sql("INSERT INTO projects (id, workspace, name, environment, metadata, created_unix_ms, version,
             caching_managed, caching_byok) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");
    query
        .bind(row.id.bytes())
        .bind(row.workspace.bytes())
        .bind(&row.name)
        .bind(&row.environment)
        .bind(stored::to_text("projects", &row.metadata)?)
        .bind(signed(row.created_unix_ms))
        .bind(version)
        .bind(row.caching.managed.map(CacheMode::as_str))
        .bind(row.caching.byok.map(CacheMode::as_str))
        .run(writing.connection())
        .await?;
    writing.changed(Part::Workspace, Some(row.workspace), row.id);
    Ok(())
}

async fn create(writing: &mut Writing, mut row: ProjectRow, act: Act) -> Result<ProjectRow, StoreError> {
    insert(writing, &row).await?;
    row.version = writing.version();
    writing.audit(&act, Some(row.workspace), "project.create", row.id, format!("name {}", row.name)).await?;
    Ok(row)
}

async fn replace(
    writing: &mut Writing,
    mut row: ProjectRow,
    expected: Option<u64>,
    act: Act,
) -> Result<ProjectRow, StoreError> {
    let old = find(writing.connection(), row.workspace, row.id).await?;
    expect_version(WHAT, expected, old.version)?;
    refuse_taken_name(writing, &row).await?;
    row.version = writing.version();
    row.created_unix_ms = old.created_unix_ms;
    let query = sql("UPDATE projects SET name = $3, environment = $4, metadata = $5, version = $6,
         caching_managed = $7, caching_byok = $8 WHERE workspace = $1 AND id = $2");
    query
        .bind(row.workspace.bytes())
        .bind(row.id.bytes())
        .bind(&row.name)
        .bind(&row.environment)
        .bind(stored::to_text("projects", &row.metadata)?)
        .bind(signed(row.version))
        .bind(row.caching.managed.map(CacheMode::as_str))
        .bind(row.caching.byok.map(CacheMode::as_str))
        .run(writing.connection())
        .await?;
    writing.changed(Part::Workspace, Some(row.workspace), row.id);
    writing.audit(&act, Some(row.workspace), "project.update", row.id, format!("name {}", row.name)).await?;
    Ok(row)
}

async fn delete(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: ProjectId,
    expected: Option<u64>,
    act: Act,
) -> Result<(), StoreError> {
    let old = find(writing.connection(), workspace, id).await?;
    expect_version(WHAT, expected, old.version)?;
    let held = sql("SELECT (SELECT COUNT(*) FROM api_keys WHERE project = $1 AND revoked_unix_ms IS NULL)
              + (SELECT COUNT(*) FROM credentials WHERE project = $1)
              + (SELECT COUNT(*) FROM routes WHERE project = $1) AS held");
    let row = held.bind(id.bytes()).one(writing.connection()).await?;
    let held = Fields::new("projects", &row).number("held")?;
    if held > 0 {
        let detail = format!("{held} live keys, credentials or routes belong to the project; end them first");
        return Err(StoreError::conflict("project_not_empty", detail, None));
    }
    let revoked = sql("SELECT id FROM api_keys WHERE project = $1").bind(id.bytes());
    for key in revoked.rows(writing.connection()).await? {
        let key: domain::KeyId = Fields::new("api_keys", &key).id("id")?;
        budgets::forget(writing, workspace, &Subject::Key(key)).await?;
        writing.changed(Part::Key, Some(workspace), key);
    }
    budgets::forget(writing, workspace, &Subject::Project(id)).await?;
    for statement in [
        "DELETE FROM policies WHERE project = $1",
        "DELETE FROM api_keys WHERE project = $1",
        "DELETE FROM projects WHERE id = $1",
    ] {
        sql(statement).bind(id.bytes()).run(writing.connection()).await?;
    }
    writing.changed(Part::Workspace, Some(workspace), id);
    writing.audit(&act, Some(workspace), "project.delete", id, format!("name {}", old.name)).await
}

impl Projects for Database {
    fn create(&self, row: ProjectRow, act: Act) -> StoreFuture<'_, Written<ProjectRow>> {
        Box::pin(self.write(move |writing| Box::pin(create(writing, row, act))))
    }

    fn get(&self, workspace: WorkspaceId, id: ProjectId) -> StoreFuture<'_, ProjectRow> {
        Box::pin(async move { find(&mut self.read().await?, workspace, id).await })
    }

    fn list(
        &self,
        workspace: WorkspaceId,
        page: Page<ProjectId>,
    ) -> StoreFuture<'_, Listed<ProjectRow, ProjectId>> {
        Box::pin(async move {
            let wanted = page.rows_wanted();
            let rows = sql("SELECT * FROM projects WHERE workspace = $1 AND id > $2 ORDER BY id LIMIT $3")
                .bind(workspace.bytes())
                .bind(after(page.after))
                .bind(signed(wanted as u64 + 1))
                .rows(&mut self.read().await?)
                .await?;
            let rows = rows.iter().map(read).collect::<Result<_, _>>()?;
            Ok(Listed::cut(rows, wanted, |row: &ProjectRow| row.id))
        })
    }

    fn named(&self, workspace: WorkspaceId, name: String, begins: bool) -> StoreFuture<'_, Vec<ProjectId>> {
        Box::pin(async move {
            let query = sql(
                "SELECT id FROM projects WHERE workspace = $1 AND substr(name, 1, CAST($2 AS INTEGER)) = $3
                 ORDER BY id LIMIT $4",
            );
            names::ids(&mut self.read().await?, query, "projects", workspace, name, begins).await
        })
    }

    fn replace(
        &self,
        row: ProjectRow,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<ProjectRow>> {
        Box::pin(self.write(move |writing| Box::pin(replace(writing, row, expected, act))))
    }

    fn delete(
        &self,
        workspace: WorkspaceId,
        id: ProjectId,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<()>> {
        Box::pin(self.write(move |writing| Box::pin(delete(writing, workspace, id, expected, act))))
    }
}
