//! SQL for the routes.

use domain::{RouteId, WorkspaceId};

use super::fields::{ColumnId, Fields, after};
use super::writing::{Writing, expect_version, signed};
use super::{Connection, Database, Row, projects, sql};
use crate::feed::Part;
use crate::routes::scope_text;
use crate::{Act, Listed, Page, RouteRow, Routes, StoreError, StoreFuture, Written, stored};

const WHAT: &str = "route";

pub(super) fn read(row: &Row) -> Result<RouteRow, StoreError> {
    let fields = Fields::new("routes", row);
    Ok(RouteRow {
        id: fields.id("id")?,
        workspace: fields.id("workspace")?,
        spec: stored::route_from_text(fields.get("spec")?)?,
        created_unix_ms: fields.number("created_unix_ms")?,
        version: fields.number("version")?,
    })
}

async fn find(
    connection: &mut Connection,
    workspace: WorkspaceId,
    id: RouteId,
) -> Result<RouteRow, StoreError> {
    let query = sql("SELECT * FROM routes WHERE workspace = $1 AND id = $2");
    let row = query.bind(workspace.bytes()).bind(id.bytes()).row(connection).await?;
    row.as_ref().map_or(Err(StoreError::NotFound { what: WHAT }), read)
}

async fn refuse_taken_scope(writing: &mut Writing, row: &RouteRow) -> Result<(), StoreError> {
    let query = sql("SELECT id FROM routes WHERE workspace = $1 AND scope = $2 AND id <> $3")
        .bind(row.workspace.bytes())
        .bind(scope_text(&row.spec.scope))
        .bind(row.id.bytes());
    let Some(other) = query.row(writing.connection()).await? else {
        return Ok(());
    };
    let other: RouteId = Fields::new("routes", &other).id("id")?;
    let detail = format!("the route {other} has the same scope; change that one, or narrow this one's scope");
    Err(StoreError::conflict("route_scope_taken", detail, Some(other.to_string())))
}

/// The ids in the scope and the list of credentials must belong to the workspace.
async fn require_own(writing: &mut Writing, row: &RouteRow) -> Result<(), StoreError> {
    projects::require(writing, row.workspace, row.spec.scope.project_id).await?;
    if let Some(key) = row.spec.scope.key_id {
        let query = sql("SELECT 1 FROM api_keys WHERE workspace = $1 AND id = $2");
        let query = query.bind(row.workspace.bytes()).bind(key.bytes());
        let found = query.row(writing.connection()).await?;
        found.ok_or(StoreError::NotFound { what: "API key" })?;
    }
    for credential in &row.spec.credential_ids {
        let query = sql("SELECT 1 FROM credentials WHERE workspace = $1 AND id = $2");
        let query = query.bind(row.workspace.bytes()).bind(credential.bytes());
        let found = query.row(writing.connection()).await?;
        found.ok_or(StoreError::NotFound { what: "credential" })?;
    }
    Ok(())
}

async fn create(writing: &mut Writing, mut row: RouteRow, act: Act) -> Result<RouteRow, StoreError> {
    refuse_taken_scope(writing, &row).await?;
    require_own(writing, &row).await?;
    row.version = writing.version();
    let query = sql("INSERT INTO routes (id, workspace, scope, project, spec, created_unix_ms, version)
         VALUES ($1, $2, $3, $4, $5, $6, $7)");
    query
        .bind(row.id.bytes())
        .bind(row.workspace.bytes())
        .bind(scope_text(&row.spec.scope))
        .bind(row.spec.scope.project_id.map(|id| id.bytes()))
        .bind(stored::route_to_text(&row.spec)?)
        .bind(signed(row.created_unix_ms))
        .bind(signed(row.version))
        .run(writing.connection())
        .await?;
    writing.changed(Part::Workspace, Some(row.workspace), row.id);
    let detail = format!("scope {}", scope_text(&row.spec.scope));
    writing.audit(&act, Some(row.workspace), "route.create", row.id, detail).await?;
    Ok(row)
}

async fn replace(
    writing: &mut Writing,
    mut row: RouteRow,
    expected: Option<u64>,
    act: Act,
) -> Result<RouteRow, StoreError> {
    let old = find(writing.connection(), row.workspace, row.id).await?;
    expect_version(WHAT, expected, old.version)?;
    refuse_taken_scope(writing, &row).await?;
    require_own(writing, &row).await?;
    row.version = writing.version();
    row.created_unix_ms = old.created_unix_ms;
    let query = sql(
        "UPDATE routes SET scope = $3, project = $4, spec = $5, version = $6 WHERE workspace = $1 AND id = $2",
    );
    query
        .bind(row.workspace.bytes())
        .bind(row.id.bytes())
        .bind(scope_text(&row.spec.scope))
        .bind(row.spec.scope.project_id.map(|id| id.bytes()))
        .bind(stored::route_to_text(&row.spec)?)
        .bind(signed(row.version))
        .run(writing.connection())
        .await?;
    writing.changed(Part::Workspace, Some(row.workspace), row.id);
    let detail = format!("scope {}", scope_text(&row.spec.scope));
    writing.audit(&act, Some(row.workspace), "route.update", row.id, detail).await?;
    Ok(row)
}

async fn delete(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: RouteId,
    expected: Option<u64>,
    act: Act,
) -> Result<(), StoreError> {
    let old = find(writing.connection(), workspace, id).await?;
    expect_version(WHAT, expected, old.version)?;
    sql("DELETE FROM routes WHERE workspace = $1 AND id = $2")
        .bind(workspace.bytes())
        .bind(id.bytes())
        .run(writing.connection())
        .await?;
    writing.changed(Part::Workspace, Some(workspace), id);
    let detail = format!("scope {}", scope_text(&old.spec.scope));
    writing.audit(&act, Some(workspace), "route.delete", id, detail).await
}

impl Routes for Database {
    fn create(&self, row: RouteRow, act: Act) -> StoreFuture<'_, Written<RouteRow>> {
        Box::pin(self.write(move |writing| Box::pin(create(writing, row, act))))
    }

    fn get(&self, workspace: WorkspaceId, id: RouteId) -> StoreFuture<'_, RouteRow> {
        Box::pin(async move { find(&mut self.read().await?, workspace, id).await })
    }

    fn list(
        &self,
        workspace: WorkspaceId,
        page: Page<RouteId>,
    ) -> StoreFuture<'_, Listed<RouteRow, RouteId>> {
        Box::pin(async move {
            let wanted = page.rows_wanted();
            let rows = sql("SELECT * FROM routes WHERE workspace = $1 AND id > $2 ORDER BY id LIMIT $3")
                .bind(workspace.bytes())
                .bind(after(page.after))
                .bind(signed(wanted as u64 + 1))
                .rows(&mut self.read().await?)
                .await?;
            let rows = rows.iter().map(read).collect::<Result<_, _>>()?;
            Ok(Listed::cut(rows, wanted, |row: &RouteRow| row.id))
        })
    }

    fn replace(&self, row: RouteRow, expected: Option<u64>, act: Act) -> StoreFuture<'_, Written<RouteRow>> {
        Box::pin(self.write(move |writing| Box::pin(replace(writing, row, expected, act))))
    }

    fn delete(
        &self,
        workspace: WorkspaceId,
        id: RouteId,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<()>> {
        Box::pin(self.write(move |writing| Box::pin(delete(writing, workspace, id, expected, act))))
    }
}
