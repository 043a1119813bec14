//! SQL for events: compare-and-swap appends, and histories over forks.

use database::act::Act;
use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed};
use database::holding;
use database::statement::{Row, sql};
use database::writing::Writing;
use domain::{BranchId, ProjectId, SessionEventId, SessionId, WorkspaceId};

use crate::artifacts::SealedContent;
use crate::limits::HISTORY_EVENTS_MAX;
use crate::sessions::{
    Appended, BranchRow, EventContent, Expected, NewEvent, SessionEventRow, SessionStatus,
};
use crate::sql::{artifacts, branches, contents};

const TABLE: &str = "session_events";

/// Locks the branch, so that of writers at once each sees what the one before wrote.
const TARGET: &str = "SELECT b.*, s.project AS in_project, s.status AS session_status, s.ttl_ms AS session_ttl_ms
    FROM session_branches b JOIN sessions s ON s.id = b.session
    WHERE b.id = $1 AND b.session = $2 AND s.workspace = $3 AND (s.until_unix_ms IS NULL OR s.until_unix_ms > $4)
    FOR UPDATE OF b";
const TARGET_ON_SQLITE: &str = "SELECT b.*, s.project AS in_project, s.status AS session_status, s.ttl_ms AS session_ttl_ms
    FROM session_branches b JOIN sessions s ON s.id = b.session
    WHERE b.id = $1 AND b.session = $2 AND s.workspace = $3 AND (s.until_unix_ms IS NULL OR s.until_unix_ms > $4)";

/// Where events are appended.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub workspace: WorkspaceId,
    pub session: SessionId,
    pub branch: BranchId,
}

fn read(row: &Row) -> Result<SessionEventRow, StoreError> {
    let fields = Fields::new(TABLE, row);
    let content = match fields.maybe_number("content_bytes")? {
        Some(bytes) => Some(EventContent {
            bytes,
            hash: fields.digest("content_hash")?,
            digest: fields.digest("content")?,
        }),
        None => None,
    };
    Ok(SessionEventRow {
        id: fields.id("id")?,
        branch: fields.id("branch")?,
        version: fields.number("version")?,
        parent: fields.maybe_id("parent")?,
        kind: fields.text("kind")?,
        artifact: fields.maybe_id("artifact")?,
        content,
        request: fields.id("request")?,
        created_unix_ms: fields.number("created_unix_ms")?,
    })
}

pub(super) async fn append(
    writing: &mut Writing,
    to: Target,
    expected: Expected,
    events: Vec<NewEvent>,
) -> Result<Appended, StoreError> {
    let now_unix_ms = events.first().map_or(0, |event| event.created_unix_ms);
    let query = sql(writing.connection().either(TARGET, TARGET_ON_SQLITE))
        .bind(to.branch.bytes())
        .bind(to.session.bytes())
        .bind(to.workspace.bytes())
        .bind(signed(now_unix_ms));
    let row = query.row(writing.connection()).await?.ok_or(StoreError::NotFound { what: "branch" })?;
    let fields = Fields::new("sessions", &row);
    if fields.text("session_status")? != SessionStatus::Active.as_str() {
        return Ok(Appended::Archived);
    }
    let (project, ttl_ms) = (fields.id("in_project")?, fields.maybe_number("session_ttl_ms")?);
    let mut branch = branches::read(&row)?;
    let is_other_version = expected.version.is_some_and(|version| version != branch.version);
    if is_other_version || expected.head.is_some_and(|head| head != branch.head) {
        return Ok(Appended::Conflict(branch));
    }
    if branch.version.saturating_add(events.len() as u64) > HISTORY_EVENTS_MAX {
        let detail = format!("a branch has at most {HISTORY_EVENTS_MAX} events");
        return Err(StoreError::conflict("branch_full", detail, None));
    }
    let parent = branch.head;
    for event in events {
        insert(writing, to, project, &mut branch, event).await?;
    }
    advance(writing, &branch, ttl_ms, now_unix_ms).await?;
    Ok(Appended::Done(branch, parent))
}

/// Inserts an event as the next of a branch.
async fn insert(
    writing: &mut Writing,
    to: Target,
    project: ProjectId,
    branch: &mut BranchRow,
    event: NewEvent,
) -> Result<(), StoreError> {
    if let Some(artifact) = event.artifact {
        artifacts::require(writing, to.workspace, project, artifact).await?;
    }
    let (about, sealed) = event.content.unzip();
    if let Some(sealed) = sealed {
        contents::put(writing, to.workspace, sealed).await?;
    }
    let version = branch.version + 1;
    let query = sql("INSERT INTO session_events
         (branch, version, id, parent, kind, artifact, content_bytes, content_hash, content, request, created_unix_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)");
    query
        .bind(branch.id.bytes())
        .bind(signed(version))
        .bind(event.id.bytes())
        .bind(branch.head.map(|head| head.bytes()))
        .bind(event.kind)
        .bind(event.artifact.map(|artifact| artifact.bytes()))
        .bind(about.map(|content| signed(content.bytes)))
        .bind(about.map(|content| content.hash.to_vec()))
        .bind(about.map(|content| content.digest.to_vec()))
        .bind(event.request.bytes())
        .bind(signed(event.created_unix_ms))
        .run(writing.connection())
        .await?;
    (branch.version, branch.head) = (version, Some(event.id));
    Ok(())
}

async fn advance(
    writing: &mut Writing,
    branch: &BranchRow,
    ttl_ms: Option<u64>,
    now_unix_ms: u64,
) -> Result<(), StoreError> {
    sql("UPDATE session_branches SET version = $1, head = $2 WHERE id = $3")
        .bind(signed(branch.version))
        .bind(branch.head.map(|head| head.bytes()))
        .bind(branch.id.bytes())
        .run(writing.connection())
        .await?;
    let until_unix_ms = ttl_ms.map(|ttl_ms| now_unix_ms.saturating_add(ttl_ms));
    sql("UPDATE sessions SET used_unix_ms = $1, until_unix_ms = $2 WHERE id = $3")
        .bind(signed(now_unix_ms))
        .bind(until_unix_ms.map(signed))
        .bind(branch.session.bytes())
        .run(writing.connection())
        .await?;
    Ok(())
}

/// Events of a branch with its history, oldest first, after a version.
pub(super) async fn history(
    connection: &mut Connection,
    workspace: WorkspaceId,
    branch: &BranchRow,
    after_version: u64,
    rows_max: u32,
) -> Result<Vec<SessionEventRow>, StoreError> {
    let mut found = Vec::new();
    for (owner, start, end) in branches::parts(connection, workspace, branch).await? {
        let wanted = u64::from(rows_max).saturating_sub(found.len() as u64);
        if end <= after_version || wanted == 0 {
            continue;
        }
        let query = sql("SELECT * FROM session_events
             WHERE branch = $1 AND version > $2 AND version <= $3 ORDER BY version LIMIT $4");
        let query = query.bind(owner.bytes()).bind(signed(start.max(after_version))).bind(signed(end));
        for row in &query.bind(signed(wanted)).rows(connection).await? {
            found.push(read(row)?);
        }
    }
    Ok(found)
}

/// The same events with their contents, whether they or an artifact hold them.
pub(super) async fn with_contents(
    connection: &mut Connection,
    workspace: WorkspaceId,
    branch: &BranchRow,
    after_version: u64,
    rows_max: u32,
) -> Result<Vec<(SessionEventRow, Option<SealedContent>)>, StoreError> {
    let events = history(connection, workspace, branch, after_version, rows_max).await?;
    let mut found = Vec::with_capacity(events.len());
    for event in events {
        let content = content_of(connection, workspace, &event).await?;
        found.push((event, content));
    }
    Ok(found)
}

async fn content_of(
    connection: &mut Connection,
    workspace: WorkspaceId,
    event: &SessionEventRow,
) -> Result<Option<SealedContent>, StoreError> {
    let digest = match (event.content, event.artifact) {
        (Some(content), _) => Some(content.digest),
        (None, Some(artifact)) => match artifacts::find(connection, workspace, artifact).await {
            Ok(artifact) => Some(artifact.content),
            Err(StoreError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        },
        (None, None) => None,
    };
    match digest {
        Some(digest) => contents::find(connection, workspace, digest).await,
        None => Ok(None),
    }
}

/// An event of any session of a project, with its content.
pub(super) async fn find(
    connection: &mut Connection,
    workspace: WorkspaceId,
    project: ProjectId,
    id: SessionEventId,
    now_unix_ms: u64,
) -> Result<(SessionEventRow, Option<SealedContent>), StoreError> {
    let query = sql("SELECT e.* FROM session_events e JOIN session_branches b ON b.id = e.branch
         JOIN sessions s ON s.id = b.session WHERE e.id = $1 AND s.workspace = $2 AND s.project = $3
         AND (s.until_unix_ms IS NULL OR s.until_unix_ms > $4)");
    let query =
        query.bind(id.bytes()).bind(workspace.bytes()).bind(project.bytes()).bind(signed(now_unix_ms));
    let row = query.row(connection).await?.ok_or(StoreError::NotFound { what: "event" })?;
    let event = read(&row)?;
    let content = content_of(connection, workspace, &event).await?;
    Ok((event, content))
}

/// Deletes the content of an event; `false` where an artifact holds it. The hash of it stays, so that snapshots of the history are the same.
pub(super) async fn empty(
    writing: &mut Writing,
    (workspace, session): (WorkspaceId, SessionId),
    id: SessionEventId,
    act: Act,
) -> Result<bool, StoreError> {
    let query = sql("SELECT e.* FROM session_events e JOIN session_branches b ON b.id = e.branch
         JOIN sessions s ON s.id = b.session WHERE e.id = $1 AND s.id = $2 AND s.workspace = $3");
    let query = query.bind(id.bytes()).bind(session.bytes()).bind(workspace.bytes());
    let row = query.row(writing.connection()).await?.ok_or(StoreError::NotFound { what: "event" })?;
    let Some(content) = read(&row)?.content else { return Ok(false) };
    holding::refuse_object(writing.connection(), "sessions", session.bytes()).await?;
    sql("DELETE FROM state_contents WHERE digest = $1 AND workspace = $2")
        .bind(content.digest.to_vec())
        .bind(workspace.bytes())
        .run(writing.connection())
        .await?;
    writing.audit(&act, Some(workspace), "session.delete_event", session, id.to_string()).await?;
    Ok(true)
}
