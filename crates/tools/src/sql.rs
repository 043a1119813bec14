//! SQL for tools, MCP servers, apps and named secrets, what is sealed of them, and the calls that were made.

use database::act::Act;
use database::connection::Connection;
use database::error::{StoreError, StoreFuture};
use database::fields::{ColumnId, Fields, after, signed, to_text};
use database::handle::Database;
use database::page::{Listed, Page};
use database::statement::{Row, Statement, compose, sql};
use database::writing::{Writing, expect_version};
use domain::tools::McpState;
use domain::{AppId, CallOutcome, McpServerId, ObjectOwner, ProjectId, ToolCallRecord, TraceId, WorkspaceId};
use store::Store;

use crate::app_versions::{self, AppVersion};
use crate::limits::TOOLS_OF_PROJECT_MAX;
use crate::rows::{DeclaredRow, Kind, ServerKind};
use crate::sealed::SealedHeaders;
use crate::sealed_sql::{insert_secret, remove_digest};

const CALLS: &str = "tool_calls";

/// What the projects of an installation declare.
#[derive(Clone)]
pub struct Declared(Database);

fn select<K: Kind>() -> String {
    format!(
        "SELECT d.*, s.request, s.sealed_version, s.sealed_key_id, s.sealed FROM {} AS d
         LEFT JOIN tool_secrets AS s ON s.digest = d.secret",
        K::TABLE
    )
}

fn read<K: Kind>(row: &Row) -> Result<DeclaredRow<K>, StoreError> {
    let fields = Fields::new(K::TABLE, row);
    let digest: Option<&[u8]> = fields.get("secret")?;
    let secret = match digest {
        None => None,
        Some(_) => Some(SealedHeaders {
            digest: fields.digest("secret")?,
            request: fields.id("request")?,
            sealed: fields.sealed()?,
        }),
    };
    Ok(DeclaredRow {
        id: fields.id("id")?,
        owner: ObjectOwner { workspace: fields.id("workspace")?, project: fields.id("project")? },
        name: fields.text("name")?,
        is_enabled: fields.flag("is_enabled")?,
        definition: fields.json("definition")?,
        state: if K::HAS_STATE { fields.json("state")? } else { K::State::default() },
        secret,
        created_unix_ms: fields.number("created_unix_ms")?,
        version: fields.number("version")?,
    })
}

async fn find<K: Kind>(
    connection: &mut Connection,
    workspace: WorkspaceId,
    id: K::Id,
) -> Result<DeclaredRow<K>, StoreError> {
    let query = compose(format!("{} WHERE d.workspace = $1 AND d.id = $2", select::<K>()));
    let row = query.bind(workspace.bytes()).bind(id.bytes()).row(connection).await?;
    row.as_ref().map(read).transpose()?.ok_or(StoreError::NotFound { what: K::WHAT })
}

/// Refuses a name that another row of the project has.
async fn refuse_taken_name<K: Kind>(writing: &mut Writing, row: &DeclaredRow<K>) -> Result<(), StoreError> {
    for (table, what) in K::NAMES {
        let query = compose(format!(
            "SELECT id FROM {table} WHERE workspace = $1 AND project = $2 AND name = $3 AND id <> $4"
        ));
        let query = query.bind(row.owner.workspace.bytes()).bind(row.owner.project.bytes());
        if query.bind(&row.name).bind(row.id.bytes()).row(writing.connection()).await?.is_some() {
            let detail = format!("the project has a {what} with the name \"{}\" already", row.name);
            return Err(StoreError::conflict("name_taken", detail, None));
        }
    }
    Ok(())
}

async fn put_secret<K: Kind>(writing: &mut Writing, row: &DeclaredRow<K>) -> Result<(), StoreError> {
    let Some(secret) = &row.secret else { return Ok(()) };
    remove_secret(writing, Some(secret)).await?;
    insert_secret(writing, row.owner, secret).await
}

async fn remove_secret(writing: &mut Writing, secret: Option<&SealedHeaders>) -> Result<(), StoreError> {
    let Some(secret) = secret else { return Ok(()) };
    remove_digest(writing, &secret.digest).await
}

async fn create<K: Kind>(writing: &mut Writing, row: DeclaredRow<K>, act: Act) -> Result<(), StoreError> {
    let count =
        compose(format!("SELECT COUNT(*) AS found FROM {} WHERE workspace = $1 AND project = $2", K::TABLE));
    let count = count.bind(row.owner.workspace.bytes()).bind(row.owner.project.bytes());
    if Fields::new(K::TABLE, &count.one(writing.connection()).await?).number("found")? >= TOOLS_OF_PROJECT_MAX
    {
        let detail = format!("a project has at most {TOOLS_OF_PROJECT_MAX} of them");
        return Err(StoreError::conflict("too_many_tools", detail, None));
    }
    refuse_taken_name(writing, &row).await?;
    put_secret(writing, &row).await?;
    let (name, place) = if K::HAS_STATE { (", state", ", $10") } else { ("", "") };
    let query = compose(format!(
        "INSERT INTO {} (id, workspace, project, name, is_enabled, definition, secret, created_unix_ms, version{name})
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9{place})",
        K::TABLE
    ));
    let query = query
        .bind(row.id.bytes())
        .bind(row.owner.workspace.bytes())
        .bind(row.owner.project.bytes())
        .bind(&row.name)
        .bind(i64::from(row.is_enabled))
        .bind(to_text(K::TABLE, &row.definition)?)
        .bind(row.secret.as_ref().map(|secret| secret.digest.to_vec()))
        .bind(signed(row.created_unix_ms))
        .bind(signed(row.version));
    with_state(query, &row)?.run(writing.connection()).await?;
    audit(writing, &row, "create", &act).await
}

fn with_state<K: Kind>(query: Statement, row: &DeclaredRow<K>) -> Result<Statement, StoreError> {
    Ok(if K::HAS_STATE { query.bind(to_text(K::TABLE, &row.state)?) } else { query })
}

async fn audit<K: Kind>(
    writing: &mut Writing,
    row: &DeclaredRow<K>,
    verb: &str,
    act: &Act,
) -> Result<(), StoreError> {
    let (action, detail) = (format!("{}.{verb}", K::NOUN), format!("name {}", row.name));
    writing.audit(act, Some(row.owner.workspace), action, row.id, detail).await
}

async fn replace<K: Kind>(
    writing: &mut Writing,
    row: DeclaredRow<K>,
    expected: Option<u64>,
    act: Act,
) -> Result<DeclaredRow<K>, StoreError> {
    let old = find::<K>(writing.connection(), row.owner.workspace, row.id).await?;
    expect_version(K::WHAT, expected, old.version)?;
    K::keep_replaced(writing, &old, act.unix_ms).await?;
    let row = DeclaredRow { version: old.version + 1, ..row };
    refuse_taken_name(writing, &row).await?;
    if row.secret.is_none() {
        remove_secret(writing, old.secret.as_ref()).await?;
    }
    let change = (row.secret == old.secret).then_some((&old.definition, &row.definition));
    K::forget_grant(writing, row.id, change).await?;
    put_secret(writing, &row).await?;
    let state = if K::HAS_STATE { ", state = $8" } else { "" };
    let query = compose(format!(
        "UPDATE {} SET name = $3, is_enabled = $4, definition = $5, secret = $6, version = $7{state}
         WHERE workspace = $1 AND id = $2",
        K::TABLE
    ));
    let query = query
        .bind(row.owner.workspace.bytes())
        .bind(row.id.bytes())
        .bind(&row.name)
        .bind(i64::from(row.is_enabled))
        .bind(to_text(K::TABLE, &row.definition)?)
        .bind(row.secret.as_ref().map(|secret| secret.digest.to_vec()))
        .bind(signed(row.version));
    with_state(query, &row)?.run(writing.connection()).await?;
    audit(writing, &row, "update", &act).await?;
    Ok(row)
}

async fn delete<K: Kind>(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: K::Id,
    expected: Option<u64>,
    act: Act,
) -> Result<(), StoreError> {
    let old = find::<K>(writing.connection(), workspace, id).await?;
    expect_version(K::WHAT, expected, old.version)?;
    remove_secret(writing, old.secret.as_ref()).await?;
    K::forget_grant(writing, id, None).await?;
    let query = compose(format!("DELETE FROM {} WHERE workspace = $1 AND id = $2", K::TABLE));
    query.bind(workspace.bytes()).bind(id.bytes()).run(writing.connection()).await?;
    audit(writing, &old, "delete", &act).await
}

async fn list<K: Kind>(
    connection: &mut Connection,
    workspace: WorkspaceId,
    project: Option<ProjectId>,
    page: Page<K::Id>,
) -> Result<Listed<DeclaredRow<K>, K::Id>, StoreError> {
    let wanted = page.rows_wanted();
    let of_project = if project.is_some() { " AND d.project = $4" } else { "" };
    let query = compose(format!(
        "{} WHERE d.workspace = $1 AND d.id > $2{of_project} ORDER BY d.id LIMIT $3",
        select::<K>()
    ));
    let query = query.bind(workspace.bytes()).bind(after(page.after)).bind(signed(wanted as u64 + 1));
    let query = project.into_iter().fold(query, |query, project| query.bind(project.bytes()));
    let rows = query.rows(connection).await?.iter().map(read).collect::<Result<_, _>>()?;
    Ok(Listed::cut(rows, wanted, |row: &DeclaredRow<K>| row.id))
}

async fn enabled<K: Kind>(
    connection: &mut Connection,
    owner: ObjectOwner,
) -> Result<Vec<DeclaredRow<K>>, StoreError> {
    let query = compose(format!(
        "{} WHERE d.workspace = $1 AND d.project = $2 AND d.is_enabled <> 0 ORDER BY d.id",
        select::<K>()
    ));
    let query = query.bind(owner.workspace.bytes()).bind(owner.project.bytes());
    query.rows(connection).await?.iter().map(read).collect()
}

async fn named<K: Kind>(
    connection: &mut Connection,
    owner: ObjectOwner,
    name: String,
) -> Result<Option<DeclaredRow<K>>, StoreError> {
    let query =
        compose(format!("{} WHERE d.workspace = $1 AND d.project = $2 AND d.name = $3", select::<K>()));
    let query = query.bind(owner.workspace.bytes()).bind(owner.project.bytes()).bind(name);
    query.row(connection).await?.as_ref().map(read).transpose()
}

/// What is found out of a server is no change of what people wrote: it has no version, and no place in the audit.
async fn note_state(
    writing: &mut Writing,
    owner: ObjectOwner,
    id: McpServerId,
    state: McpState,
) -> Result<(), StoreError> {
    let query = sql("UPDATE mcp_servers SET state = $4 WHERE workspace = $1 AND project = $2 AND id = $3");
    let query = query.bind(owner.workspace.bytes()).bind(owner.project.bytes()).bind(id.bytes());
    query.bind(to_text(ServerKind::TABLE, &state)?).run(writing.connection()).await.map(drop)
}

async fn record(writing: &mut Writing, calls: Vec<ToolCallRecord>) -> Result<(), StoreError> {
    for call in calls {
        let query = sql("INSERT INTO tool_calls
             (workspace, project, request, place, step, name, declared, outcome, started_unix_ms, duration_ms,
              bytes_in, bytes_out, is_truncated)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT DO NOTHING");
        query
            .bind(call.owner.workspace.bytes())
            .bind(call.owner.project.bytes())
            .bind(call.request.bytes())
            .bind(i64::from(call.place))
            .bind(i64::from(call.step))
            .bind(call.name)
            .bind(call.declared)
            .bind(call.outcome.as_str())
            .bind(signed(call.started_unix_ms))
            .bind(signed(call.duration_ms))
            .bind(signed(call.bytes_in))
            .bind(signed(call.bytes_out))
            .bind(i64::from(call.is_truncated))
            .run(writing.connection())
            .await?;
    }
    Ok(())
}

fn read_call(row: &Row) -> Result<ToolCallRecord, StoreError> {
    let fields = Fields::new(CALLS, row);
    let word = fields.text("outcome")?;
    let outcome = CallOutcome::ALL.into_iter().find(|outcome| outcome.as_str() == word);
    Ok(ToolCallRecord {
        owner: ObjectOwner { workspace: fields.id("workspace")?, project: fields.id("project")? },
        request: fields.id("request")?,
        step: fields.small("step")?,
        place: fields.small("place")?,
        name: fields.text("name")?,
        declared: fields.text("declared")?,
        started_unix_ms: fields.number("started_unix_ms")?,
        duration_ms: fields.number("duration_ms")?,
        outcome: outcome.ok_or_else(|| StoreError::corrupt(CALLS, format!("outcome is {word}")))?,
        bytes_in: fields.number("bytes_in")?,
        bytes_out: fields.number("bytes_out")?,
        is_truncated: fields.flag("is_truncated")?,
    })
}

impl Declared {
    pub fn of(store: &Store) -> Self {
        Self(store.database().clone())
    }

    /// Refused as `name_taken` and `too_many_tools`.
    pub fn create<K: Kind>(&self, row: DeclaredRow<K>, act: Act) -> StoreFuture<'_, ()> {
        Box::pin(self.0.note(move |writing| Box::pin(create(writing, row, act))))
    }

    pub fn get<K: Kind>(&self, workspace: WorkspaceId, id: K::Id) -> StoreFuture<'_, DeclaredRow<K>> {
        Box::pin(async move { find(&mut self.0.read().await?, workspace, id).await })
    }

    pub fn list<K: Kind>(
        &self,
        workspace: WorkspaceId,
        project: Option<ProjectId>,
        page: Page<K::Id>,
    ) -> StoreFuture<'_, Listed<DeclaredRow<K>, K::Id>> {
        Box::pin(async move { list(&mut self.0.read().await?, workspace, project, page).await })
    }

    /// Refused unless the row is at the expected version.
    pub fn replace<K: Kind>(
        &self,
        row: DeclaredRow<K>,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, DeclaredRow<K>> {
        Box::pin(self.0.note(move |writing| Box::pin(replace(writing, row, expected, act))))
    }

    pub fn delete<K: Kind>(
        &self,
        workspace: WorkspaceId,
        id: K::Id,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, ()> {
        Box::pin(self.0.note(move |writing| Box::pin(delete::<K>(writing, workspace, id, expected, act))))
    }

    /// What an app was at one of its older versions.
    pub fn app_version(
        &self,
        workspace: WorkspaceId,
        app: AppId,
        number: u64,
    ) -> StoreFuture<'_, Option<AppVersion>> {
        Box::pin(async move { app_versions::find(&mut self.0.read().await?, (workspace, app, number)).await })
    }

    /// The older versions of an app, newest first.
    pub fn app_versions(&self, workspace: WorkspaceId, app: AppId) -> StoreFuture<'_, Vec<AppVersion>> {
        Box::pin(async move { app_versions::list(&mut self.0.read().await?, (workspace, app)).await })
    }

    /// Those of a project that are switched on.
    pub fn enabled<K: Kind>(&self, owner: ObjectOwner) -> StoreFuture<'_, Vec<DeclaredRow<K>>> {
        Box::pin(async move { enabled(&mut self.0.read().await?, owner).await })
    }

    /// The one of a project with this name.
    pub fn named<K: Kind>(
        &self,
        owner: ObjectOwner,
        name: String,
    ) -> StoreFuture<'_, Option<DeclaredRow<K>>> {
        Box::pin(async move { named(&mut self.0.read().await?, owner, name).await })
    }

    pub fn note_state(&self, owner: ObjectOwner, id: McpServerId, state: McpState) -> StoreFuture<'_, ()> {
        Box::pin(self.0.note(move |writing| Box::pin(note_state(writing, owner, id, state))))
    }

    pub fn record(&self, calls: Vec<ToolCallRecord>) -> StoreFuture<'_, ()> {
        Box::pin(self.0.note(move |writing| Box::pin(record(writing, calls))))
    }

    /// The calls that were made for a request, in their order.
    pub fn calls(&self, workspace: WorkspaceId, request: TraceId) -> StoreFuture<'_, Vec<ToolCallRecord>> {
        Box::pin(async move {
            let query = sql("SELECT * FROM tool_calls WHERE workspace = $1 AND request = $2 ORDER BY place");
            let query = query.bind(workspace.bytes()).bind(request.bytes());
            query.rows(&mut self.0.read().await?).await?.iter().map(read_call).collect()
        })
    }

    /// Forgets older calls; returns how many.
    pub fn forget_calls(&self, before_unix_ms: u64) -> StoreFuture<'_, u64> {
        Box::pin(self.0.note(move |writing| {
            Box::pin(async move {
                let query =
                    sql("DELETE FROM tool_calls WHERE started_unix_ms < $1").bind(signed(before_unix_ms));
                query.run(writing.connection()).await
            })
        }))
    }
}
