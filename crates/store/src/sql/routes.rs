//! SQL for the routes.

use database::act::Act;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed};
use database::statement::{Row, sql};
use database::writing::Writing;

use crate::api_keys::ApiKeyRow;
use crate::credentials::CredentialRow;
use crate::routes::{RouteRow, clash, place_text, place_words, scope_taken};
use crate::sql::projects;
use crate::sql::resource::{self, ColumnValues, Table};
use crate::sql::route_versions;

async fn refuse_taken_scope(writing: &mut Writing, row: &RouteRow) -> Result<(), StoreError> {
    let query = sql("SELECT id FROM routes WHERE workspace = $1 AND scope = $2 AND id <> $3")
        .bind(row.workspace.bytes())
        .bind(place_text(&row.spec))
        .bind(row.id.bytes());
    let Some(other) = query.row(writing.connection()).await? else {
        return Ok(());
    };
    Err(scope_taken(Fields::new("routes", &other).id("id")?))
}

/// It must not be ambiguous which of two routes of one scope applies.
async fn refuse_ambiguous(writing: &mut Writing, row: &RouteRow) -> Result<(), StoreError> {
    if row.spec.when.is_empty() {
        return Ok(());
    }
    let query = sql("SELECT id, spec FROM routes WHERE workspace = $1 AND id <> $2 ORDER BY id")
        .bind(row.workspace.bytes())
        .bind(row.id.bytes());
    for other in query.rows(writing.connection()).await? {
        let fields = Fields::new("routes", &other);
        let spec = columns::route_from_text(fields.get("spec")?)?;
        if let Some(clash) = clash(&row.spec, fields.id("id")?, &spec) {
            return Err(clash);
        }
    }
    Ok(())
}

/// Its scope is its own, and the ids in the scope and the list of credentials belong to the workspace.
async fn check(writing: &mut Writing, row: &RouteRow) -> Result<(), StoreError> {
    refuse_taken_scope(writing, row).await?;
    refuse_ambiguous(writing, row).await?;
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
            spec: columns::route_from_text(fields.get("spec")?)?,
            created_unix_ms: fields.number("created_unix_ms")?,
            version: fields.number("version")?,
        })
    }

    fn columns(&self, columns: ColumnValues) -> Result<ColumnValues, StoreError> {
        Ok(columns
            .fix("id", self.id.bytes())
            .fix("workspace", self.workspace.bytes())
            .set("scope", place_text(&self.spec))
            .set("project", self.spec.scope.project_id.map(|id| id.bytes()))
            .set("spec", columns::route_to_text(&self.spec)?)
            .fix("created_unix_ms", signed(self.created_unix_ms))
            .set("version", signed(self.version)))
    }

    async fn prepare(writing: &mut Writing, row: &mut Self, _: &Act) -> Result<(), StoreError> {
        check(writing, row).await
    }

    async fn follow_creation(writing: &mut Writing, row: &Self, act: &Act) -> Result<(), StoreError> {
        route_versions::record(writing, row, act).await
    }

    async fn merge(writing: &mut Writing, old: &Self, row: Self) -> Result<Self, StoreError> {
        check(writing, &row).await?;
        Ok(Self { created_unix_ms: old.created_unix_ms, ..row })
    }

    async fn follow_change(
        writing: &mut Writing,
        old: &Self,
        row: &Self,
        act: &Act,
    ) -> Result<String, StoreError> {
        route_versions::complete(writing, old).await?;
        route_versions::record(writing, row, act).await?;
        Ok(row.audit_detail())
    }

    fn audit_detail(&self) -> String {
        format!("for {}", place_words(&self.spec))
    }
}
