//! SQL for the routes.

use database::act::Act;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed};
use database::statement::{Row, sql};
use database::writing::Writing;
use domain::RouteId;

use crate::api_keys::ApiKeyRow;
use crate::credentials::CredentialRow;
use crate::routes::{RouteRow, scope_text};
use crate::sql::projects;
use crate::sql::resource::{self, ColumnValues, Table};
use crate::stored;

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

/// Its scope is its own, and the ids in the scope and the list of credentials belong to the workspace.
async fn check(writing: &mut Writing, row: &RouteRow) -> Result<(), StoreError> {
    refuse_taken_scope(writing, row).await?;
    projects::require(writing, row.workspace, row.spec.scope.project_id).await?;
    if let Some(key) = row.spec.scope.key_id {
        resource::require::<ApiKeyRow>(writing.connection(), row.workspace, key).await?;
    }
    for credential in &row.spec.credential_ids {
        resource::require::<CredentialRow>(writing.connection(), row.workspace, *credential).await?;
    }
    Ok(())
}

impl Table for RouteRow {
    const NAME: &'static str = "routes";
    const WHAT: &'static str = "route";

    fn read(row: &Row) -> Result<Self, StoreError> {
        let fields = Fields::new(Self::NAME, row);
        Ok(Self {
            id: fields.id("id")?,
            workspace: fields.id("workspace")?,
            spec: stored::route_from_text(fields.get("spec")?)?,
            created_unix_ms: fields.number("created_unix_ms")?,
            version: fields.number("version")?,
        })
    }

    fn columns(&self, columns: ColumnValues) -> Result<ColumnValues, StoreError> {
        Ok(columns
            .fix("id", self.id.bytes())
            .fix("workspace", self.workspace.bytes())
            .set("scope", scope_text(&self.spec.scope))
            .set("project", self.spec.scope.project_id.map(|id| id.bytes()))
            .set("spec", stored::route_to_text(&self.spec)?)
            .fix("created_unix_ms", signed(self.created_unix_ms))
            .set("version", signed(self.version)))
    }

    async fn prepare(writing: &mut Writing, row: &mut Self, _: &Act) -> Result<(), StoreError> {
        check(writing, row).await
    }

    async fn merge(writing: &mut Writing, old: &Self, row: Self) -> Result<Self, StoreError> {
        check(writing, &row).await?;
        Ok(Self { created_unix_ms: old.created_unix_ms, ..row })
    }

    fn audit_detail(&self) -> String {
        format!("scope {}", scope_text(&self.spec.scope))
    }
}
