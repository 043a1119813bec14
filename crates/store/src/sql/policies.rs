//! SQL for the policies.

use database::act::Act;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed};
use database::statement::{Row, sql};
use database::writing::Writing;
use domain::PolicyId;

use crate::policies::{HookSecretRow, PolicyRow};
use crate::sql::resource::{ColumnValues, Table};
use crate::sql::{projects, seals};

const TABLE: &str = "policies";

/// The anti-rollback record of a policy's secret, if it has one.
async fn put_floor(writing: &mut Writing, row: &PolicyRow) -> Result<(), StoreError> {
    let Some(own) = &row.hook_secret else { return Ok(()) };
    seals::put(writing, row.workspace, row.id, &own.secret.floor).await
}

impl Table for PolicyRow {
    const NAME: &'static str = TABLE;
    const WHAT: &'static str = "policy";

    fn read(row: &Row) -> Result<Self, StoreError> {
        let fields = Fields::new(TABLE, row);
        let hook_secret = match fields.maybe_number("secret_unix_ms")? {
            Some(made_unix_ms) => Some(HookSecretRow { secret: seals::secret(&fields)?, made_unix_ms }),
            None => None,
        };
        Ok(Self {
            id: fields.id("id")?,
            workspace: fields.id("workspace")?,
            project: fields.maybe_id("project")?,
            spec: columns::policy_from_text(fields.get("spec")?)?,
            hook_secret,
            created_unix_ms: fields.number("created_unix_ms")?,
            version: fields.number("version")?,
        })
    }

    fn columns(&self, columns: ColumnValues) -> Result<ColumnValues, StoreError> {
        Ok(columns
            .fix("id", self.id.bytes())
            .fix("workspace", self.workspace.bytes())
            .fix("project", self.project.map(|project| project.bytes()))
            .set("spec", columns::policy_to_text(&self.spec)?)
            .secret(self.hook_secret.as_ref().map(|own| &own.secret))
            .set("secret_unix_ms", self.hook_secret.as_ref().map(|own| signed(own.made_unix_ms)))
            .fix("created_unix_ms", signed(self.created_unix_ms))
            .set("version", signed(self.version)))
    }

    async fn prepare(writing: &mut Writing, row: &mut Self, _: &Act) -> Result<(), StoreError> {
        let (query, owner) = match row.project {
            Some(project) => {
                projects::require(writing, row.workspace, Some(project)).await?;
                (sql("SELECT id FROM policies WHERE project = $1").bind(project.bytes()), "project")
            }
            None => {
                let own = "SELECT id FROM policies WHERE workspace = $1 AND project IS NULL";
                (sql(own).bind(row.workspace.bytes()), "workspace")
            }
        };
        let Some(other) = query.row(writing.connection()).await? else { return Ok(()) };
        let other: PolicyId = Fields::new(TABLE, &other).id("id")?;
        let detail = format!("the {owner} has the policy {other}; change that one");
        Err(StoreError::conflict("policy_exists", detail, Some(other.to_string())))
    }

    async fn follow_creation(writing: &mut Writing, row: &Self, _: &Act) -> Result<(), StoreError> {
        put_floor(writing, row).await
    }

    async fn merge(writing: &mut Writing, old: &Self, row: Self) -> Result<Self, StoreError> {
        let version = |row: &Self| row.hook_secret.as_ref().map_or(0, |own| own.secret.sealed.version);
        let brings_secret = version(&row) > version(old);
        if let Some(own) = row.hook_secret.as_ref().filter(|_| brings_secret) {
            seals::require_next(Self::WHAT, version(old), &own.secret.sealed)?;
            put_floor(writing, &row).await?;
        }
        let hook_secret = if brings_secret { row.hook_secret } else { old.hook_secret.clone() };
        Ok(Self { project: old.project, created_unix_ms: old.created_unix_ms, hook_secret, ..row })
    }

    async fn precede_deletion(writing: &mut Writing, old: &Self) -> Result<(), StoreError> {
        seals::remove(writing, old.workspace, old.id).await
    }

    fn audit_detail(&self) -> String {
        self.project.map_or_else(|| "workspace".to_owned(), |project| format!("project {project}"))
    }
}
