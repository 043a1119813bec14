//! SQL for sessions and their snapshots.

use database::act::Act;
use database::connection::Connection;
use database::error::{StoreError, StoreFuture};
use database::fields::{ColumnId, Fields, after, signed, to_text};
use database::holding;
use database::page::{Listed, Page};
use database::statement::{Row, Statement, Value, compose, sql};
use database::writing::{Writing, expect_version};
use domain::ports::WarmEvent;
use domain::{BranchId, ObjectOwner, ProjectId, SessionEventId, SessionId, SnapshotId, WorkspaceId};

use crate::artifacts::SealedContent;
use crate::sessions::{
    Appended, BranchRow, Expected, NewEvent, NewSession, SessionChange, SessionEventRow, SessionFilter,
    SessionRow, SessionSnapshotRow, SessionStatus, Sessions,
};
use crate::sql::{artifacts, branches, events, warm};

const SESSIONS: &str = "sessions";
const SNAPSHOTS: &str = "session_snapshots";

pub(super) fn read(row: &Row) -> Result<SessionRow, StoreError> {
    let fields = Fields::new(SESSIONS, row);
    let status: &str = fields.get("status")?;
    let wrong = || StoreError::corrupt(SESSIONS, format!("{status} isn't a status"));
    Ok(SessionRow {
        id: fields.id("id")?,
        workspace: fields.id("workspace")?,
        project: fields.id("project")?,
        name: fields.text("name")?,
        end_user: fields.maybe_text("end_user")?,
        metadata: fields.json("metadata")?,
        bundles: fields.json("bundles")?,
        status: SessionStatus::of(status).ok_or_else(wrong)?,
        default_branch: fields.id("default_branch")?,
        version: fields.number("version")?,
        ttl_ms: fields.maybe_number("ttl_ms")?,
        created_unix_ms: fields.number("created_unix_ms")?,
        used_unix_ms: fields.number("used_unix_ms")?,
        until_unix_ms: fields.maybe_number("until_unix_ms")?,
        warm: warm::read(&fields)?,
    })
}

async fn create(writing: &mut Writing, new: NewSession, act: Act) -> Result<(), StoreError> {
    let NewSession { session, branch } = new;
    let (id, workspace) = (session.id, session.workspace);
    for bundle in &session.bundles {
        let found = artifacts::find_bundle(writing.connection(), session.workspace, *bundle).await?;
        if found.project != session.project {
            return Err(StoreError::NotFound { what: "bundle" });
        }
    }
    let query = sql("INSERT INTO sessions
         (id, workspace, project, name, end_user, metadata, bundles, status, default_branch, version, ttl_ms,
          created_unix_ms, used_unix_ms, until_unix_ms, warm_app, warm_idle_ms, warm_until_unix_ms, warm_calls)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)");
    let warm = session.warm;
    query
        .bind(session.id.bytes())
        .bind(session.workspace.bytes())
        .bind(session.project.bytes())
        .bind(session.name)
        .bind(session.end_user)
        .bind(to_text(SESSIONS, &session.metadata)?)
        .bind(to_text(SESSIONS, &session.bundles)?)
        .bind(session.status.as_str())
        .bind(session.default_branch.bytes())
        .bind(signed(session.version))
        .bind(session.ttl_ms.map(signed))
        .bind(signed(session.created_unix_ms))
        .bind(signed(session.used_unix_ms))
        .bind(session.until_unix_ms.map(signed))
        .bind(warm.as_ref().map(|warm| warm.app.clone()))
        .bind(warm.as_ref().map(|warm| signed(warm.idle_ms)))
        .bind(warm.as_ref().map(|warm| signed(warm.expires_unix_ms)))
        .bind(warm.as_ref().map(|warm| signed(warm.calls)))
        .run(writing.connection())
        .await?;
    branches::insert(writing, &branch).await?;
    writing.audit(&act, Some(workspace), "session.create", id, String::new()).await
}

pub(super) async fn find(
    connection: &mut Connection,
    workspace: WorkspaceId,
    id: SessionId,
    now_unix_ms: u64,
) -> Result<SessionRow, StoreError> {
    let query = sql("SELECT * FROM sessions WHERE id = $1 AND workspace = $2
         AND (until_unix_ms IS NULL OR until_unix_ms > $3)");
    let row =
        query.bind(id.bytes()).bind(workspace.bytes()).bind(signed(now_unix_ms)).row(connection).await?;
    row.as_ref().map(read).transpose()?.ok_or(StoreError::NotFound { what: "session" })
}

async fn list(
    connection: &mut Connection,
    workspace: WorkspaceId,
    filter: SessionFilter,
    now_unix_ms: u64,
    page: Page<SessionId>,
) -> Result<Listed<SessionRow, SessionId>, StoreError> {
    let wanted = page.rows_wanted();
    let mut text = "SELECT * FROM sessions WHERE workspace = $1 AND id > $2
         AND (until_unix_ms IS NULL OR until_unix_ms > $3)"
        .to_owned();
    let mut further = Vec::new();
    let conditions = [
        ("project", filter.project.map(|id| Value::from(id.bytes()))),
        ("end_user", filter.end_user.map(Value::from)),
        ("status", filter.status.map(|status| Value::from(status.as_str()))),
    ];
    for (column, value) in conditions {
        if let Some(value) = value {
            further.push(value);
            text.push_str(&format!(" AND {column} = ${}", 4 + further.len()));
        }
    }
    match filter.is_warm {
        Some(true) => text.push_str(" AND warm_app IS NOT NULL"),
        Some(false) => text.push_str(" AND warm_app IS NULL"),
        None => {}
    }
    text.push_str(" ORDER BY id LIMIT $4");
    let query = compose(text)
        .bind(workspace.bytes())
        .bind(after(page.after))
        .bind(signed(now_unix_ms))
        .bind(signed(wanted as u64 + 1));
    let query = further.into_iter().fold(query, Statement::bind);
    let rows = query.rows(connection).await?.iter().map(read).collect::<Result<_, _>>()?;
    Ok(Listed::cut(rows, wanted, |row: &SessionRow| row.id))
}

async fn change(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: SessionId,
    change: SessionChange,
    expected: Option<u64>,
    act: Act,
) -> Result<SessionRow, StoreError> {
    let now_unix_ms = act.unix_ms;
    let old = find(writing.connection(), workspace, id, now_unix_ms).await?;
    expect_version("session", expected, old.version)?;
    branches::find(writing.connection(), workspace, id, change.default_branch).await?;
    let until_unix_ms = change.ttl_ms.map(|ttl_ms| now_unix_ms.saturating_add(ttl_ms));
    let query =
        sql("UPDATE sessions SET name = $1, end_user = $2, metadata = $3, status = $4, default_branch = $5,
         ttl_ms = $6, until_unix_ms = $7, version = $8 WHERE id = $9");
    query
        .bind(&change.name)
        .bind(&change.end_user)
        .bind(to_text(SESSIONS, &change.metadata)?)
        .bind(change.status.as_str())
        .bind(change.default_branch.bytes())
        .bind(change.ttl_ms.map(signed))
        .bind(until_unix_ms.map(signed))
        .bind(signed(old.version + 1))
        .bind(id.bytes())
        .run(writing.connection())
        .await?;
    writing.audit(&act, Some(workspace), "session.update", id, String::new()).await?;
    let version = old.version + 1;
    let SessionChange { name, end_user, metadata, status, default_branch, ttl_ms } = change;
    Ok(SessionRow { name, end_user, metadata, status, default_branch, ttl_ms, until_unix_ms, version, ..old })
}

/// Notes an event of a warm session, and reads the session as it is then.
async fn warm(
    writing: &mut Writing,
    (owner, id): (ObjectOwner, SessionId),
    (event, now_unix_ms): (WarmEvent, u64),
    act: Option<Act>,
) -> Result<SessionRow, StoreError> {
    let is_changed = warm::note(writing, (owner, id), event, now_unix_ms).await?;
    let row = find(writing.connection(), owner.workspace, id, now_unix_ms).await?;
    if row.project != owner.project || row.warm.is_none() {
        return Err(StoreError::NotFound { what: "session" });
    }
    if let Some(act) = act.filter(|_| is_changed) {
        writing.audit(&act, Some(owner.workspace), "session.update", id, String::new()).await?;
    }
    Ok(row)
}

/// Deletes a session with the contents of its events.
pub(super) async fn remove(writing: &mut Writing, id: SessionId) -> Result<(), StoreError> {
    sql("DELETE FROM state_contents WHERE digest IN (SELECT e.content FROM session_events e
         JOIN session_branches b ON b.id = e.branch WHERE b.session = $1 AND e.content IS NOT NULL)")
    .bind(id.bytes())
    .run(writing.connection())
    .await?;
    sql("DELETE FROM sessions WHERE id = $1").bind(id.bytes()).run(writing.connection()).await?;
    Ok(())
}

async fn delete(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: SessionId,
    expected: Option<u64>,
    act: Act,
) -> Result<(), StoreError> {
    let old = find(writing.connection(), workspace, id, 0).await?;
    expect_version("session", expected, old.version)?;
    holding::refuse_object(writing.connection(), SESSIONS, id.bytes()).await?;
    remove(writing, id).await?;
    writing.audit(&act, Some(workspace), "session.delete", id, String::new()).await
}

fn read_snapshot(row: &Row) -> Result<SessionSnapshotRow, StoreError> {
    let fields = Fields::new(SNAPSHOTS, row);
    Ok(SessionSnapshotRow {
        id: fields.id("id")?,
        session: fields.id("session")?,
        branch: fields.id("branch")?,
        version: fields.number("version")?,
        compiler: fields.text("compiler")?,
        manifest: fields.text("manifest")?,
        manifest_hash: fields.digest("manifest_hash")?,
        created_unix_ms: fields.number("created_unix_ms")?,
    })
}

async fn keep_snapshot(
    writing: &mut Writing,
    workspace: WorkspaceId,
    row: SessionSnapshotRow,
    act: Act,
) -> Result<(), StoreError> {
    let (session, detail) = (row.session, row.id.to_string());
    branches::find(writing.connection(), workspace, row.session, row.branch).await?;
    let query = sql("INSERT INTO session_snapshots
         (id, session, branch, version, compiler, manifest, manifest_hash, created_unix_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)");
    query
        .bind(row.id.bytes())
        .bind(row.session.bytes())
        .bind(row.branch.bytes())
        .bind(signed(row.version))
        .bind(row.compiler)
        .bind(row.manifest)
        .bind(row.manifest_hash.to_vec())
        .bind(signed(row.created_unix_ms))
        .run(writing.connection())
        .await?;
    writing.audit(&act, Some(workspace), "session.snapshot", session, detail).await
}

async fn find_snapshot(
    connection: &mut Connection,
    workspace: WorkspaceId,
    session: SessionId,
    id: SnapshotId,
) -> Result<SessionSnapshotRow, StoreError> {
    let query = sql("SELECT n.* FROM session_snapshots n JOIN sessions s ON s.id = n.session
         WHERE n.id = $1 AND n.session = $2 AND s.workspace = $3");
    let row = query.bind(id.bytes()).bind(session.bytes()).bind(workspace.bytes()).row(connection).await?;
    row.as_ref().map(read_snapshot).transpose()?.ok_or(StoreError::NotFound { what: "snapshot" })
}

async fn list_snapshots(
    connection: &mut Connection,
    workspace: WorkspaceId,
    session: SessionId,
    page: Page<SnapshotId>,
) -> Result<Listed<SessionSnapshotRow, SnapshotId>, StoreError> {
    let wanted = page.rows_wanted();
    let query = sql("SELECT n.* FROM session_snapshots n JOIN sessions s ON s.id = n.session
         WHERE n.session = $1 AND s.workspace = $2 AND n.id > $3 ORDER BY n.id LIMIT $4");
    let query = query.bind(session.bytes()).bind(workspace.bytes()).bind(after(page.after));
    let rows = query.bind(signed(wanted as u64 + 1)).rows(connection).await?;
    let rows = rows.iter().map(read_snapshot).collect::<Result<_, _>>()?;
    Ok(Listed::cut(rows, wanted, |row: &SessionSnapshotRow| row.id))
}

impl<'a> Sessions<'a> {
    /// # Errors
    /// If its project is gone, or a bundle is not there.
    pub async fn create(self, new: NewSession, act: Act) -> Result<(), StoreError> {
        self.0.note(move |writing| Box::pin(create(writing, new, act))).await
    }

    pub async fn get(
        self,
        workspace: WorkspaceId,
        id: SessionId,
        now_unix_ms: u64,
    ) -> Result<SessionRow, StoreError> {
        find(&mut self.0.read().await?, workspace, id, now_unix_ms).await
    }

    pub async fn list(
        self,
        workspace: WorkspaceId,
        filter: SessionFilter,
        now_unix_ms: u64,
        page: Page<SessionId>,
    ) -> Result<Listed<SessionRow, SessionId>, StoreError> {
        list(&mut self.0.read().await?, workspace, filter, now_unix_ms, page).await
    }

    pub async fn change(
        self,
        workspace: WorkspaceId,
        id: SessionId,
        fields: SessionChange,
        expected: Option<u64>,
        act: Act,
    ) -> Result<SessionRow, StoreError> {
        self.0.note(move |writing| Box::pin(change(writing, workspace, id, fields, expected, act))).await
    }

    /// Deletes it with everything in it.
    pub async fn delete(
        self,
        workspace: WorkspaceId,
        id: SessionId,
        expected: Option<u64>,
        act: Act,
    ) -> Result<(), StoreError> {
        self.0.note(move |writing| Box::pin(delete(writing, workspace, id, expected, act))).await
    }

    /// A warm session of a project after an event, which changes one that is active alone.
    pub async fn warm(
        self,
        owner: ObjectOwner,
        id: SessionId,
        event: WarmEvent,
        now_unix_ms: u64,
        act: Option<Act>,
    ) -> Result<SessionRow, StoreError> {
        self.0.note(move |writing| Box::pin(warm(writing, (owner, id), (event, now_unix_ms), act))).await
    }

    /// # Errors
    /// If the session has no such branch, or too many, or the fork is too deep or beyond that branch's end.
    pub async fn fork(
        self,
        workspace: WorkspaceId,
        branch: BranchRow,
        act: Act,
    ) -> Result<BranchRow, StoreError> {
        self.0.note(move |writing| Box::pin(branches::fork(writing, workspace, branch, act))).await
    }

    pub async fn branch(
        self,
        workspace: WorkspaceId,
        session: SessionId,
        id: BranchId,
    ) -> Result<BranchRow, StoreError> {
        branches::find(&mut self.0.read().await?, workspace, session, id).await
    }

    pub async fn branches(
        self,
        workspace: WorkspaceId,
        session: SessionId,
        page: Page<BranchId>,
    ) -> Result<Listed<BranchRow, BranchId>, StoreError> {
        branches::list(&mut self.0.read().await?, workspace, session, page).await
    }

    /// Appends all events or none: compare and swap on the branch's version and last event.
    ///
    /// # Errors
    /// If an artifact is not there or was deleted, or the branch is full.
    pub fn append(
        self,
        workspace: WorkspaceId,
        session: SessionId,
        branch: BranchId,
        expected: Expected,
        new: Vec<NewEvent>,
    ) -> StoreFuture<'a, Appended> {
        let to = events::Target { workspace, session, branch };
        Box::pin(self.0.note(move |writing| Box::pin(events::append(writing, to, expected, new))))
    }

    /// Events of a branch and its history, in order, after a version and up to another.
    pub async fn events(
        self,
        workspace: WorkspaceId,
        branch: BranchRow,
        after_version: u64,
        rows_max: u32,
    ) -> Result<Vec<SessionEventRow>, StoreError> {
        let mut snapshot = self.0.snapshot().await?;
        let found = events::history(&mut snapshot, workspace, &branch, after_version, rows_max).await;
        snapshot.roll_back().await;
        found
    }

    /// The same with their contents, each `None` where it was deleted.
    pub async fn events_with_contents(
        self,
        workspace: WorkspaceId,
        branch: BranchRow,
        after_version: u64,
        rows_max: u32,
    ) -> Result<Vec<(SessionEventRow, Option<SealedContent>)>, StoreError> {
        let mut snapshot = self.0.snapshot().await?;
        let found = events::with_contents(&mut snapshot, workspace, &branch, after_version, rows_max).await;
        snapshot.roll_back().await;
        found
    }

    /// An event of any session of a project that is not over, with its content; `None` where that was deleted.
    pub async fn event(
        self,
        workspace: WorkspaceId,
        project: ProjectId,
        id: SessionEventId,
        now_unix_ms: u64,
    ) -> Result<(SessionEventRow, Option<SealedContent>), StoreError> {
        let mut snapshot = self.0.snapshot().await?;
        let found = events::find(&mut snapshot, workspace, project, id, now_unix_ms).await;
        snapshot.roll_back().await;
        found
    }

    /// Deletes what an event holds; `false` where an artifact holds what it says. The event stays as a place in its history, which later ones and forks go on from.
    ///
    /// # Errors
    /// If the session has no such event, or is held.
    pub async fn empty_event(
        self,
        workspace: WorkspaceId,
        session: SessionId,
        id: SessionEventId,
        act: Act,
    ) -> Result<bool, StoreError> {
        self.0.note(move |writing| Box::pin(events::empty(writing, (workspace, session), id, act))).await
    }

    pub async fn keep_snapshot(
        self,
        workspace: WorkspaceId,
        snapshot: SessionSnapshotRow,
        act: Act,
    ) -> Result<(), StoreError> {
        self.0.note(move |writing| Box::pin(keep_snapshot(writing, workspace, snapshot, act))).await
    }

    pub async fn snapshot(
        self,
        workspace: WorkspaceId,
        session: SessionId,
        id: SnapshotId,
    ) -> Result<SessionSnapshotRow, StoreError> {
        find_snapshot(&mut self.0.read().await?, workspace, session, id).await
    }

    pub async fn snapshots(
        self,
        workspace: WorkspaceId,
        session: SessionId,
        page: Page<SnapshotId>,
    ) -> Result<Listed<SessionSnapshotRow, SnapshotId>, StoreError> {
        list_snapshots(&mut self.0.read().await?, workspace, session, page).await
    }
}
