//! SQL for the projects.

use database::act::Act;
use database::error::{StoreError, StoreFuture};
use database::feed::Part;
use database::fields::{ColumnId, Fields, signed, to_text};
use database::handle::Database;
use database::holding;
use database::statement::{Row, sql};
use database::writing::Writing;
use domain::{KeyId, ProjectId, Subject, WorkspaceId};

use crate::projects::{ProjectRow, Projects};
use crate::sql::resource::{self, ColumnValues, Table};
use crate::sql::unbooked::refuse_while_open;
use crate::sql::{budgets, caching, names};

/// Checks a reference to a project: it must belong to the same workspace.
pub(super) async fn require(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: Option<ProjectId>,
) -> Result<(), StoreError> {
    match id {
        Some(id) => resource::require::<ProjectRow>(writing.connection(), workspace, id).await,
        None => Ok(()),
    }
}

async fn refuse_taken_name(writing: &mut Writing, row: &ProjectRow) -> Result<(), StoreError> {
    resource::refuse_taken_name::<ProjectRow>(writing, row.workspace, row.id, &row.name).await
}

/// Inserts a project of a workspace that is being founded.
pub(super) async fn insert(writing: &mut Writing, row: &ProjectRow) -> Result<(), StoreError> {
    refuse_taken_name(writing, row).await?;
    let row = ProjectRow { version: writing.version(), ..row.clone() };
    resource::add(writing, &row).await
}

impl Table for ProjectRow {
    const NAME: &'static str = "projects";
    const WHAT: &'static str = "project";

    fn read(row: &Row) -> Result<Self, StoreError> {
        let fields = Fields::new(Self::NAME, row);
        Ok(Self {
            id: fields.id("id")?,
            workspace: fields.id("workspace")?,
            name: fields.text("name")?,
            environment: fields.text("environment")?,
            origins: fields.text("origins")?,
            caching: fields.caching()?,
            metadata: fields.json("metadata")?,
            created_unix_ms: fields.number("created_unix_ms")?,
            version: fields.number("version")?,
        })
    }

    fn columns(&self, columns: ColumnValues) -> Result<ColumnValues, StoreError> {
        let columns = columns
            .fix("id", self.id.bytes())
            .fix("workspace", self.workspace.bytes())
            .set("name", &self.name)
            .set("environment", &self.environment)
            .set("origins", &self.origins)
            .set("metadata", to_text(Self::NAME, &self.metadata)?)
            .fix("created_unix_ms", signed(self.created_unix_ms))
            .set("version", signed(self.version));
        Ok(caching::set(columns, &self.caching))
    }

    async fn prepare(writing: &mut Writing, row: &mut Self, _: &Act) -> Result<(), StoreError> {
        refuse_taken_name(writing, row).await
    }

    async fn merge(writing: &mut Writing, old: &Self, row: Self) -> Result<Self, StoreError> {
        refuse_taken_name(writing, &row).await?;
        Ok(Self { created_unix_ms: old.created_unix_ms, ..row })
    }

    async fn precede_deletion(writing: &mut Writing, old: &Self) -> Result<(), StoreError> {
        let held =
            sql("SELECT (SELECT COUNT(*) FROM api_keys WHERE project = $1 AND revoked_unix_ms IS NULL)
                  + (SELECT COUNT(*) FROM credentials WHERE project = $1)
                  + (SELECT COUNT(*) FROM routes WHERE project = $1) AS held");
        let row = held.bind(old.id.bytes()).one(writing.connection()).await?;
        let held = Fields::new(Self::NAME, &row).number("held")?;
        if held > 0 {
            let detail = format!(
                "{held} live keys, credentials or routes belong to the project; revoke or delete them first"
            );
            return Err(StoreError::conflict("project_not_empty", detail, None));
        }
        let is_of = |project, _| project == old.id;
        refuse_while_open(writing.connection(), (Self::WHAT, Some(old.workspace)), is_of).await?;
        holding::refuse_owner(writing.connection(), old.workspace, Some(old.id)).await?;
        let revoked = sql("SELECT id FROM api_keys WHERE project = $1").bind(old.id.bytes());
        for key in revoked.rows(writing.connection()).await? {
            let key: KeyId = Fields::new("api_keys", &key).id("id")?;
            budgets::forget(writing, old.workspace, &Subject::Key(key)).await?;
            writing.announce(Part::Key, Some(old.workspace), key);
        }
        budgets::forget(writing, old.workspace, &Subject::Project(old.id)).await?;
        for statement in [
            "DELETE FROM policies WHERE project = $1",
            "DELETE FROM alias_releases WHERE alias IN (SELECT id FROM aliases WHERE project = $1)",
            "DELETE FROM aliases WHERE project = $1",
            "DELETE FROM api_keys WHERE project = $1",
        ] {
            sql(statement).bind(old.id.bytes()).run(writing.connection()).await?;
        }
        Ok(())
    }

    fn audit_detail(&self) -> String {
        format!("name {}", self.name)
    }
}

impl Projects for Database {
    fn ids_by_name(
        &self,
        workspace: WorkspaceId,
        name: String,
        begins: bool,
    ) -> StoreFuture<'_, Vec<ProjectId>> {
        Box::pin(async move {
            names::ids::<ProjectRow>(&mut self.read().await?, "name", workspace, name, begins).await
        })
    }
}
