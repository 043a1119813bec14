//! SQL for agents and their versions. What a version says is sealed among the secrets of tools, and resealed with them.

use std::collections::HashMap;

use database::act::Act;
use database::connection::Connection;
use database::error::{StoreError, StoreFuture};
use database::fields::{ColumnId, Fields, after, signed};
use database::handle::Database;
use database::page::{Listed, Page};
use database::seals::require_key;
use database::statement::{Row, compose, sql};
use database::writing::{Writing, expect_version};
use domain::{AgentId, ObjectOwner, ProjectId, TraceId, WorkspaceId};
use store::Store;
use tools::{SealedHeaders, seal_headers};
use vault::{Vault, VaultError};

use crate::definition::Definition;
use crate::limits::{AGENTS_OF_PROJECT_MAX, VERSIONS_MAX};

const TABLE: &str = "agents";
const WHAT: &str = "agent";
/// The name of what is sealed.
const SEALED: &str = "definition";

/// One agent, without its definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentRow {
    pub id: AgentId,
    pub owner: ObjectOwner,
    pub name: String,
    pub created_unix_ms: u64,
    /// The number of its newest definition.
    pub version: u64,
}

/// One version, sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRow {
    pub number: u64,
    pub sealed: SealedHeaders,
    pub created_unix_ms: u64,
}

/// The agents of an installation.
#[derive(Clone)]
pub struct Stored(Database);

/// Seals a version of an agent.
pub fn seal(
    vault: &Vault,
    owner: ObjectOwner,
    (id, number): (AgentId, u64),
    request: TraceId,
    definition: &Definition,
) -> Result<SealedHeaders, VaultError> {
    // Serialising this type can't fail.
    let text = serde_json::to_string(definition).unwrap_or_default();
    seal_headers(vault, owner, &format!("{id}@{number}"), request, &[(SEALED.to_owned(), text)])
}

/// What a version says; `None` where it does not open any more.
pub fn unsealed(vault: &Vault, owner: ObjectOwner, version: &VersionRow) -> Option<Definition> {
    let opened = version.sealed.open(vault, owner)?;
    let (_, text) = opened.into_iter().find(|(name, _)| name == SEALED)?;
    serde_json::from_slice(text.expose()).ok()
}

fn read(row: &Row) -> Result<AgentRow, StoreError> {
    let fields = Fields::new(TABLE, row);
    Ok(AgentRow {
        id: fields.id("id")?,
        owner: ObjectOwner { workspace: fields.id("workspace")?, project: fields.id("project")? },
        name: fields.text("name")?,
        created_unix_ms: fields.number("created_unix_ms")?,
        version: fields.number("version")?,
    })
}

fn read_version(row: &Row) -> Result<VersionRow, StoreError> {
    let fields = Fields::new("agent_versions", row);
    let sealed = SealedHeaders {
        digest: fields.digest("secret")?,
        request: fields.id("request")?,
        sealed: fields.sealed()?,
    };
    Ok(VersionRow {
        number: fields.number("number")?,
        sealed,
        created_unix_ms: fields.number("created_unix_ms")?,
    })
}

const VERSIONS: &str =
    "SELECT v.*, s.request, s.sealed_version, s.sealed_key_id, s.sealed FROM agent_versions AS v
     JOIN tool_secrets AS s ON s.digest = v.secret WHERE v.workspace = $1 AND v.agent = $2";

const NEWEST: &str =
    "SELECT v.*, s.request, s.sealed_version, s.sealed_key_id, s.sealed FROM agent_versions AS v
     JOIN tool_secrets AS s ON s.digest = v.secret JOIN agents AS a ON a.id = v.agent AND a.version = v.number
     WHERE a.workspace = $1 AND a.project = $2";

async fn find(
    connection: &mut Connection,
    workspace: WorkspaceId,
    id: AgentId,
) -> Result<AgentRow, StoreError> {
    let query = sql("SELECT * FROM agents WHERE workspace = $1 AND id = $2");
    let row = query.bind(workspace.bytes()).bind(id.bytes()).row(connection).await?;
    row.as_ref().map(read).transpose()?.ok_or(StoreError::NotFound { what: WHAT })
}

async fn version(
    connection: &mut Connection,
    (workspace, id, number): (WorkspaceId, AgentId, u64),
) -> Result<VersionRow, StoreError> {
    let query = compose(format!("{VERSIONS} AND v.number = $3"));
    let query = query.bind(workspace.bytes()).bind(id.bytes()).bind(signed(number));
    let row = query.row(connection).await?;
    row.as_ref().map(read_version).transpose()?.ok_or(StoreError::NotFound { what: "agent version" })
}

/// Refuses a name that another agent of the project has.
async fn refuse_taken_name(writing: &mut Writing, row: &AgentRow) -> Result<(), StoreError> {
    let query = sql("SELECT id FROM agents WHERE workspace = $1 AND project = $2 AND name = $3 AND id <> $4");
    let query = query.bind(row.owner.workspace.bytes()).bind(row.owner.project.bytes());
    if query.bind(&row.name).bind(row.id.bytes()).row(writing.connection()).await?.is_none() {
        return Ok(());
    }
    let detail = format!("the project has an agent with the name \"{}\" already", row.name);
    Err(StoreError::conflict("name_taken", detail, None))
}

async fn put_version(writing: &mut Writing, row: &AgentRow, new: &VersionRow) -> Result<(), StoreError> {
    let owner = row.owner;
    require_key(writing, owner.workspace, &new.sealed.sealed.key_id).await?;
    sql("INSERT INTO tool_secrets (digest, workspace, project, request, sealed_version, sealed_key_id, sealed)
         VALUES ($1, $2, $3, $4, $5, $6, $7)")
    .bind(new.sealed.digest.to_vec())
    .bind(owner.workspace.bytes())
    .bind(owner.project.bytes())
    .bind(new.sealed.request.bytes())
    .bind(i64::from(new.sealed.sealed.version))
    .bind(&new.sealed.sealed.key_id)
    .bind(&new.sealed.sealed.bytes)
    .run(writing.connection())
    .await?;
    sql("INSERT INTO agent_versions (agent, number, workspace, secret, created_unix_ms) VALUES ($1, $2, $3, $4, $5)")
        .bind(row.id.bytes())
        .bind(signed(new.number))
        .bind(owner.workspace.bytes())
        .bind(new.sealed.digest.to_vec())
        .bind(signed(new.created_unix_ms))
        .run(writing.connection())
        .await
        .map(drop)
}

async fn audit(writing: &mut Writing, row: &AgentRow, verb: &str, act: &Act) -> Result<(), StoreError> {
    let (action, detail) = (format!("agent.{verb}"), format!("name {}, version {}", row.name, row.version));
    writing.audit(act, Some(row.owner.workspace), action, row.id, detail).await
}

fn refuse_too_many(number: u64, number_max: u64, why: &str) -> Result<(), StoreError> {
    if number <= number_max {
        return Ok(());
    }
    Err(StoreError::conflict("too_many_agents", format!("{why}: {number_max}"), None))
}

async fn create(writing: &mut Writing, row: AgentRow, first: VersionRow, act: Act) -> Result<(), StoreError> {
    let count = sql("SELECT COUNT(*) AS found FROM agents WHERE workspace = $1 AND project = $2");
    let count = count.bind(row.owner.workspace.bytes()).bind(row.owner.project.bytes());
    let found = Fields::new(TABLE, &count.one(writing.connection()).await?).number("found")?;
    refuse_too_many(found + 1, AGENTS_OF_PROJECT_MAX, "a project has at most so many agents")?;
    refuse_taken_name(writing, &row).await?;
    sql("INSERT INTO agents (id, workspace, project, name, created_unix_ms, version) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(row.id.bytes())
        .bind(row.owner.workspace.bytes())
        .bind(row.owner.project.bytes())
        .bind(&row.name)
        .bind(signed(row.created_unix_ms))
        .bind(signed(row.version))
        .run(writing.connection())
        .await?;
    put_version(writing, &row, &first).await?;
    audit(writing, &row, "create", &act).await
}

async fn replace(
    writing: &mut Writing,
    row: AgentRow,
    next: VersionRow,
    expected: Option<u64>,
    act: Act,
) -> Result<AgentRow, StoreError> {
    let old = find(writing.connection(), row.owner.workspace, row.id).await?;
    expect_version(WHAT, expected, old.version)?;
    // The version that its writer sealed was the next one when it was read.
    expect_version(WHAT, Some(next.number), old.version + 1)?;
    refuse_too_many(next.number, VERSIONS_MAX, "an agent has at most so many versions")?;
    let row = AgentRow { version: next.number, ..row };
    refuse_taken_name(writing, &row).await?;
    let query = sql("UPDATE agents SET name = $3, version = $4 WHERE workspace = $1 AND id = $2");
    let query = query.bind(row.owner.workspace.bytes()).bind(row.id.bytes()).bind(&row.name);
    query.bind(signed(row.version)).run(writing.connection()).await?;
    put_version(writing, &row, &next).await?;
    audit(writing, &row, "update", &act).await?;
    Ok(row)
}

async fn delete(
    writing: &mut Writing,
    (workspace, id): (WorkspaceId, AgentId),
    expected: Option<u64>,
    act: Act,
) -> Result<(), StoreError> {
    let old = find(writing.connection(), workspace, id).await?;
    expect_version(WHAT, expected, old.version)?;
    let query = sql("DELETE FROM tool_secrets WHERE digest IN
         (SELECT secret FROM agent_versions WHERE workspace = $1 AND agent = $2)");
    query.bind(workspace.bytes()).bind(id.bytes()).run(writing.connection()).await?;
    let query = sql("DELETE FROM agents WHERE workspace = $1 AND id = $2");
    query.bind(workspace.bytes()).bind(id.bytes()).run(writing.connection()).await?;
    audit(writing, &old, "delete", &act).await
}

impl Stored {
    pub fn of(store: &Store) -> Self {
        Self(store.database().clone())
    }

    /// Refused as `name_taken` and `too_many_agents`.
    pub fn create(&self, row: AgentRow, first: VersionRow, act: Act) -> StoreFuture<'_, ()> {
        Box::pin(self.0.note(move |writing| Box::pin(create(writing, row, first, act))))
    }

    pub fn get(&self, workspace: WorkspaceId, id: AgentId) -> StoreFuture<'_, AgentRow> {
        Box::pin(async move { find(&mut self.0.read().await?, workspace, id).await })
    }

    /// One version of an agent.
    pub fn version(&self, workspace: WorkspaceId, id: AgentId, number: u64) -> StoreFuture<'_, VersionRow> {
        Box::pin(async move { version(&mut self.0.read().await?, (workspace, id, number)).await })
    }

    /// Its versions, oldest first.
    pub fn versions(&self, workspace: WorkspaceId, id: AgentId) -> StoreFuture<'_, Vec<VersionRow>> {
        Box::pin(async move {
            let query = compose(format!("{VERSIONS} ORDER BY v.number"));
            let query = query.bind(workspace.bytes()).bind(id.bytes());
            query.rows(&mut self.0.read().await?).await?.iter().map(read_version).collect()
        })
    }

    /// The agent of a project with this name, and one of its versions, or its newest.
    pub fn named(
        &self,
        owner: ObjectOwner,
        name: String,
        number: Option<u64>,
    ) -> StoreFuture<'_, Option<(AgentRow, VersionRow)>> {
        Box::pin(async move {
            let mut connection = self.0.read().await?;
            let query = sql("SELECT * FROM agents WHERE workspace = $1 AND project = $2 AND name = $3");
            let query = query.bind(owner.workspace.bytes()).bind(owner.project.bytes()).bind(name);
            let Some(row) = query.row(&mut connection).await?.as_ref().map(read).transpose()? else {
                return Ok(None);
            };
            let number = number.unwrap_or(row.version);
            match version(&mut connection, (owner.workspace, row.id, number)).await {
                Ok(version) => Ok(Some((row, version))),
                Err(StoreError::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    /// The agents of a project by name, each with its newest version.
    pub fn newest(&self, owner: ObjectOwner) -> StoreFuture<'_, Vec<(AgentRow, VersionRow)>> {
        Box::pin(async move {
            let mut connection = self.0.read().await?;
            let query = sql("SELECT * FROM agents WHERE workspace = $1 AND project = $2 ORDER BY name");
            let query = query.bind(owner.workspace.bytes()).bind(owner.project.bytes());
            let agents = query.rows(&mut connection).await?;
            let query = sql(NEWEST).bind(owner.workspace.bytes()).bind(owner.project.bytes());
            let mut versions: HashMap<AgentId, VersionRow> = HashMap::new();
            for row in &query.rows(&mut connection).await? {
                versions.insert(Fields::new("agent_versions", row).id("agent")?, read_version(row)?);
            }
            let agents = agents.iter().map(read).collect::<Result<Vec<_>, _>>()?;
            Ok(agents.into_iter().filter_map(|row| Some((row.clone(), versions.remove(&row.id)?))).collect())
        })
    }

    pub fn list(
        &self,
        workspace: WorkspaceId,
        project: Option<ProjectId>,
        page: Page<AgentId>,
    ) -> StoreFuture<'_, Listed<AgentRow, AgentId>> {
        Box::pin(async move {
            let wanted = page.rows_wanted();
            let of_project = if project.is_some() { " AND project = $4" } else { "" };
            let query = compose(format!(
                "SELECT * FROM agents WHERE workspace = $1 AND id > $2{of_project} ORDER BY id LIMIT $3"
            ));
            let query = query.bind(workspace.bytes()).bind(after(page.after)).bind(signed(wanted as u64 + 1));
            let query = project.into_iter().fold(query, |query, project| query.bind(project.bytes()));
            let rows = query.rows(&mut self.0.read().await?).await?;
            let rows = rows.iter().map(read).collect::<Result<_, _>>()?;
            Ok(Listed::cut(rows, wanted, |row: &AgentRow| row.id))
        })
    }

    /// A new version, refused unless the agent is at the expected one.
    pub fn replace(
        &self,
        row: AgentRow,
        next: VersionRow,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, AgentRow> {
        Box::pin(self.0.note(move |writing| Box::pin(replace(writing, row, next, expected, act))))
    }

    pub fn delete(
        &self,
        workspace: WorkspaceId,
        id: AgentId,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, ()> {
        Box::pin(self.0.note(move |writing| Box::pin(delete(writing, (workspace, id), expected, act))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_too_many_is_refused() {
        assert!(refuse_too_many(VERSIONS_MAX, VERSIONS_MAX, "an agent has at most so many versions").is_ok());
        let refused =
            refuse_too_many(VERSIONS_MAX + 1, VERSIONS_MAX, "an agent has at most so many versions");
        assert!(format!("{:?}", refused.unwrap_err()).contains("too_many_agents"));
    }
}
