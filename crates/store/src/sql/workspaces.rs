//! SQL for workspaces and their wrapped keys.

use database::act::Act;
use database::error::{StoreError, StoreFuture};
use database::feed::Part;
use database::fields::{ColumnId, Fields, signed};
use database::handle::Database;
use database::holding;
use database::meta;
use database::statement::{Row, sql};
use database::writing::Writing;
use domain::WorkspaceId;
use domain::master_key::{self, wrapped_prefix};
use snapshot::WrappedKey;

use crate::founding::Founding;
use crate::sql::resource::{ColumnValues, Table};
use crate::sql::{api_keys, caching, projects};
use crate::workspaces::{WorkspaceRow, Workspaces};

pub(super) fn read_key(row: &Row) -> Result<WrappedKey, StoreError> {
    let fields = Fields::new("workspace_keys", row);
    Ok(WrappedKey {
        workspace: fields.id("workspace")?,
        key_id: fields.text("key_id")?,
        wrapped: fields.get("wrapped")?,
    })
}

impl Table for WorkspaceRow {
    const NAME: &'static str = "workspaces";
    const WHAT: &'static str = "workspace";

    fn read(row: &Row) -> Result<Self, StoreError> {
        let fields = Fields::new(Self::NAME, row);
        Ok(Self {
            id: fields.id("id")?,
            name: fields.text("name")?,
            caching: fields.caching()?,
            created_unix_ms: fields.number("created_unix_ms")?,
            version: fields.number("version")?,
        })
    }

    fn columns(&self, columns: ColumnValues) -> Result<ColumnValues, StoreError> {
        let columns = columns
            .fix("id", self.id.bytes())
            .set("name", &self.name)
            .fix("created_unix_ms", signed(self.created_unix_ms))
            .set("version", signed(self.version));
        Ok(caching::set(columns, &self.caching))
    }

    fn scope(&self) -> Option<WorkspaceId> {
        Some(self.id)
    }

    async fn follow_creation(writing: &mut Writing, new: &Founding, _: &Act) -> Result<(), StoreError> {
        insert_key(writing, &new.wrapped_key).await?;
        projects::insert(writing, &new.project).await?;
        for key in &new.keys {
            api_keys::insert(writing, key).await?;
        }
        Ok(())
    }

    async fn merge(_: &mut Writing, old: &Self, row: Self) -> Result<Self, StoreError> {
        Ok(Self { created_unix_ms: old.created_unix_ms, ..row })
    }

    async fn end(writing: &mut Writing, old: Self, act: &Act) -> Result<Self, StoreError> {
        let held = sql("SELECT (SELECT COUNT(*) FROM projects WHERE workspace = $1)
                  + (SELECT COUNT(*) FROM credentials WHERE workspace = $1)
                  + (SELECT COUNT(*) FROM nodes WHERE workspace = $1) AS held");
        let row = held.bind(old.id.bytes()).one(writing.connection()).await?;
        let held = Fields::new(Self::NAME, &row).number("held")?;
        if held > 0 {
            let detail =
                format!("the workspace still holds {held} projects, credentials or nodes; delete them first");
            return Err(StoreError::conflict("workspace_not_empty", detail, None));
        }
        holding::refuse_owner(writing.connection(), old.id, None).await?;
        for statement in [
            "DELETE FROM routes WHERE workspace = $1",
            "DELETE FROM alias_releases WHERE workspace = $1",
            "DELETE FROM aliases WHERE workspace = $1",
            "DELETE FROM agent_hints WHERE workspace = $1",
            "DELETE FROM policies WHERE workspace = $1",
            "DELETE FROM webhooks WHERE workspace = $1",
            "DELETE FROM workspace_keys WHERE workspace = $1",
            "DELETE FROM node_join_tokens WHERE workspace = $1",
            "DELETE FROM workspaces WHERE id = $1",
        ] {
            sql(statement).bind(old.id.bytes()).run(writing.connection()).await?;
        }
        writing.announce(Part::Workspace, Some(old.id), old.id);
        // Nobody could read it in the workspace's own audit log.
        writing.audit(act, None, "workspace.delete", old.id, old.audit_detail()).await?;
        Ok(old)
    }

    fn audit_detail(&self) -> String {
        format!("name {}", self.name)
    }

    fn audit_creation(new: &Founding) -> String {
        format!("with project {} and {} keys", new.project.id, new.keys.len())
    }
}

pub(super) async fn insert_key(writing: &mut Writing, key: &WrappedKey) -> Result<(), StoreError> {
    refuse_retired(writing, key).await?;
    let query = sql("INSERT INTO workspace_keys (workspace, ordinal, key_id, wrapped)
         SELECT $1, COALESCE(MAX(ordinal), 0) + 1, $2, $3 FROM workspace_keys WHERE workspace = $1");
    query.bind(key.workspace.bytes()).bind(&key.key_id).bind(&key.wrapped).run(writing.connection()).await?;
    let part = if key.workspace.as_uuid().is_nil() { Part::Accounts } else { Part::Workspace };
    writing.announce(part, Some(key.workspace), key.workspace);
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

impl Workspaces for Database {
    fn wrapped_keys(&self, id: WorkspaceId) -> StoreFuture<'_, Vec<WrappedKey>> {
        Box::pin(async move {
            let query = sql("SELECT * FROM workspace_keys WHERE workspace = $1 ORDER BY ordinal");
            let rows = query.bind(id.bytes()).rows(&mut self.read().await?).await?;
            rows.iter().map(read_key).collect()
        })
    }
}
