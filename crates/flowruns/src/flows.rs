//! The flows that projects declare: every change is a new version.

use database::act::Act;
use database::connection::Connection;
use database::error::{StoreError, StoreFuture};
use database::fields::{ColumnId, Fields, after, signed};
use database::handle::Database;
use database::page::{Listed, Page};
use database::statement::{Row, compose, sql};
use database::writing::{Writing, expect_version};
use domain::{FlowId, ObjectOwner, ProjectId, WorkspaceId};
use store::Store;

use crate::limits::{FLOWS_OF_PROJECT_MAX, VERSIONS_MAX};

const TABLE: &str = "flows";
const VERSIONS: &str = "flow_versions";
const WHAT: &str = "flow";

/// A flow, without its documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowRow {
    pub id: FlowId,
    pub owner: ObjectOwner,
    pub name: String,
    pub latest: u64,
    pub created_unix_ms: u64,
    pub updated_unix_ms: u64,
    pub version: u64,
}

/// A version of a flow: it never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowVersion {
    pub number: u64,
    pub document: String,
    pub created_unix_ms: u64,
}

/// The flows in a database.
#[derive(Clone)]
pub struct StoredFlows(Database);

fn read(row: &Row) -> Result<FlowRow, StoreError> {
    let fields = Fields::new(TABLE, row);
    Ok(FlowRow {
        id: fields.id("id")?,
        owner: ObjectOwner { workspace: fields.id("workspace")?, project: fields.id("project")? },
        name: fields.text("name")?,
        latest: fields.number("latest")?,
        created_unix_ms: fields.number("created_unix_ms")?,
        updated_unix_ms: fields.number("updated_unix_ms")?,
        version: fields.number("version")?,
    })
}

fn read_version(row: &Row) -> Result<FlowVersion, StoreError> {
    let fields = Fields::new(VERSIONS, row);
    Ok(FlowVersion {
        number: fields.number("number")?,
        document: fields.text("document")?,
        created_unix_ms: fields.number("created_unix_ms")?,
    })
}

async fn find(
    connection: &mut Connection,
    workspace: WorkspaceId,
    id: FlowId,
) -> Result<FlowRow, StoreError> {
    let query = sql("SELECT * FROM flows WHERE workspace = $1 AND id = $2");
    let row = query.bind(workspace.bytes()).bind(id.bytes()).row(connection).await?;
    row.as_ref().map(read).transpose()?.ok_or(StoreError::NotFound { what: WHAT })
}

async fn by_name(
    connection: &mut Connection,
    owner: ObjectOwner,
    name: &str,
) -> Result<Option<FlowRow>, StoreError> {
    let query = sql("SELECT * FROM flows WHERE workspace = $1 AND project = $2 AND name = $3");
    let query = query.bind(owner.workspace.bytes()).bind(owner.project.bytes()).bind(name);
    query.row(connection).await?.as_ref().map(read).transpose()
}

async fn put_version(writing: &mut Writing, row: &FlowRow, document: String) -> Result<(), StoreError> {
    let query = sql("INSERT INTO flow_versions (flow, number, workspace, document, created_unix_ms)
         VALUES ($1, $2, $3, $4, $5)");
    let query = query.bind(row.id.bytes()).bind(signed(row.latest)).bind(row.owner.workspace.bytes());
    query.bind(document).bind(signed(row.updated_unix_ms)).run(writing.connection()).await?;
    let query = sql("DELETE FROM flow_versions WHERE flow = $1 AND number <= $2");
    let oldest = row.latest.saturating_sub(VERSIONS_MAX);
    query.bind(row.id.bytes()).bind(signed(oldest)).run(writing.connection()).await.map(drop)
}

async fn create(writing: &mut Writing, row: FlowRow, document: String, act: Act) -> Result<(), StoreError> {
    let owner = row.owner;
    let query = sql("SELECT COUNT(*) AS found FROM flows WHERE workspace = $1 AND project = $2");
    let counted =
        query.bind(owner.workspace.bytes()).bind(owner.project.bytes()).one(writing.connection()).await?;
    if Fields::new(TABLE, &counted).number("found")? >= FLOWS_OF_PROJECT_MAX {
        let detail = format!("a project has at most {FLOWS_OF_PROJECT_MAX} flows");
        return Err(StoreError::conflict("too_many_tools", detail, None));
    }
    if let Some(other) = by_name(writing.connection(), owner, &row.name).await? {
        let detail = format!("the project has a flow with the name \"{}\" already", row.name);
        return Err(StoreError::conflict("name_taken", detail, Some(other.id.to_string())));
    }
    let query = sql(
        "INSERT INTO flows (id, workspace, project, name, latest, created_unix_ms, updated_unix_ms, version)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    );
    query
        .bind(row.id.bytes())
        .bind(owner.workspace.bytes())
        .bind(owner.project.bytes())
        .bind(&row.name)
        .bind(signed(row.latest))
        .bind(signed(row.created_unix_ms))
        .bind(signed(row.updated_unix_ms))
        .bind(signed(row.version))
        .run(writing.connection())
        .await?;
    put_version(writing, &row, document).await?;
    let detail = format!("name {}", row.name);
    writing.audit(&act, Some(owner.workspace), "flow.create", row.id, detail).await
}

async fn replace(
    writing: &mut Writing,
    (workspace, id): (WorkspaceId, FlowId),
    (name, document): (String, String),
    expected: Option<u64>,
    act: Act,
) -> Result<FlowRow, StoreError> {
    let old = find(writing.connection(), workspace, id).await?;
    expect_version(WHAT, expected, old.version)?;
    if by_name(writing.connection(), old.owner, &name).await?.is_some_and(|other| other.id != id) {
        let detail = format!("the project has a flow with the name \"{name}\" already");
        return Err(StoreError::conflict("name_taken", detail, None));
    }
    let row = FlowRow {
        name,
        latest: old.latest + 1,
        version: old.version + 1,
        updated_unix_ms: act.unix_ms,
        ..old
    };
    let query = sql("UPDATE flows SET name = $3, latest = $4, updated_unix_ms = $5, version = $6
         WHERE workspace = $1 AND id = $2");
    query
        .bind(workspace.bytes())
        .bind(id.bytes())
        .bind(&row.name)
        .bind(signed(row.latest))
        .bind(signed(row.updated_unix_ms))
        .bind(signed(row.version))
        .run(writing.connection())
        .await?;
    put_version(writing, &row, document).await?;
    let detail = format!("name {}, version {}", row.name, row.latest);
    writing.audit(&act, Some(workspace), "flow.update", row.id, detail).await?;
    Ok(row)
}

impl StoredFlows {
    pub fn of(store: &Store) -> Self {
        Self(store.database().clone())
    }

    /// Refused as `name_taken` and `too_many_tools`.
    pub fn create(&self, row: FlowRow, document: String, act: Act) -> StoreFuture<'_, ()> {
        Box::pin(self.0.note(move |writing| Box::pin(create(writing, row, document, act))))
    }

    /// Stores a further version.
    pub fn replace(
        &self,
        of: (WorkspaceId, FlowId),
        with: (String, String),
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, FlowRow> {
        Box::pin(self.0.note(move |writing| Box::pin(replace(writing, of, with, expected, act))))
    }

    pub fn get(&self, workspace: WorkspaceId, id: FlowId) -> StoreFuture<'_, FlowRow> {
        Box::pin(async move { find(&mut self.0.read().await?, workspace, id).await })
    }

    pub fn named(&self, owner: ObjectOwner, name: String) -> StoreFuture<'_, Option<FlowRow>> {
        Box::pin(async move { by_name(&mut self.0.read().await?, owner, &name).await })
    }

    /// The flows of a project by name, each with its id and its newest version.
    pub fn newest(&self, owner: ObjectOwner) -> StoreFuture<'_, Vec<(String, FlowId, FlowVersion)>> {
        Box::pin(async move {
            let query = sql("SELECT f.name, v.* FROM flows AS f
                 JOIN flow_versions AS v ON v.flow = f.id AND v.number = f.latest
                 WHERE f.workspace = $1 AND f.project = $2 ORDER BY f.name");
            let query = query.bind(owner.workspace.bytes()).bind(owner.project.bytes());
            let read = |row: &Row| {
                let fields = Fields::new(VERSIONS, row);
                Ok((fields.text("name")?, fields.id("flow")?, read_version(row)?))
            };
            query.rows(&mut self.0.read().await?).await?.iter().map(read).collect()
        })
    }

    pub fn list(
        &self,
        workspace: WorkspaceId,
        project: Option<ProjectId>,
        page: Page<FlowId>,
    ) -> StoreFuture<'_, Listed<FlowRow, FlowId>> {
        Box::pin(async move {
            let wanted = page.rows_wanted();
            let of_project = if project.is_some() { " AND project = $4" } else { "" };
            let query = compose(format!(
                "SELECT * FROM flows WHERE workspace = $1 AND id > $2{of_project} ORDER BY id LIMIT $3"
            ));
            let query = query.bind(workspace.bytes()).bind(after(page.after)).bind(signed(wanted as u64 + 1));
            let query = project.into_iter().fold(query, |query, project| query.bind(project.bytes()));
            let rows = query.rows(&mut self.0.read().await?).await?;
            let rows = rows.iter().map(read).collect::<Result<_, _>>()?;
            Ok(Listed::cut(rows, wanted, |row: &FlowRow| row.id))
        })
    }

    /// The versions of a flow, newest first.
    pub fn versions(
        &self,
        workspace: WorkspaceId,
        id: FlowId,
        limit: u32,
    ) -> StoreFuture<'_, Vec<FlowVersion>> {
        Box::pin(async move {
            let query = sql(
                "SELECT * FROM flow_versions WHERE workspace = $1 AND flow = $2 ORDER BY number DESC LIMIT $3",
            );
            let query = query.bind(workspace.bytes()).bind(id.bytes()).bind(i64::from(limit));
            query.rows(&mut self.0.read().await?).await?.iter().map(read_version).collect()
        })
    }

    pub fn version(&self, workspace: WorkspaceId, id: FlowId, number: u64) -> StoreFuture<'_, FlowVersion> {
        Box::pin(async move {
            let query = sql("SELECT * FROM flow_versions WHERE workspace = $1 AND flow = $2 AND number = $3");
            let query = query.bind(workspace.bytes()).bind(id.bytes()).bind(signed(number));
            let row = query.row(&mut self.0.read().await?).await?;
            row.as_ref()
                .map(read_version)
                .transpose()?
                .ok_or(StoreError::NotFound { what: "version of a flow" })
        })
    }

    /// Its runs go on: each has the document that it began with.
    pub fn delete(
        &self,
        workspace: WorkspaceId,
        id: FlowId,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, ()> {
        Box::pin(self.0.note(move |writing| {
            Box::pin(async move {
                let old = find(writing.connection(), workspace, id).await?;
                expect_version(WHAT, expected, old.version)?;
                let query = sql("DELETE FROM flows WHERE workspace = $1 AND id = $2");
                query.bind(workspace.bytes()).bind(id.bytes()).run(writing.connection()).await?;
                let detail = format!("name {}", old.name);
                writing.audit(&act, Some(workspace), "flow.delete", id, detail).await
            })
        }))
    }
}
