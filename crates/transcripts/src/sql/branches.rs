//! SQL for branches: where each leaves another, and who owns which part of a history.

use database::act::Act;
use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, after, signed};
use database::page::{Listed, Page};
use database::statement::{Row, sql};
use database::writing::Writing;
use domain::{BranchId, SessionId, WorkspaceId};

use crate::limits::{BRANCH_DEPTH_MAX, SESSION_BRANCHES_MAX};
use crate::sessions::{BranchRow, ForkPoint};

const TABLE: &str = "session_branches";

pub(super) fn read(row: &Row) -> Result<BranchRow, StoreError> {
    let fields = Fields::new(TABLE, row);
    let version = fields.number("forked_at")?;
    let forked_from = fields.maybe_id("forked_from")?.map(|branch| ForkPoint { branch, version });
    Ok(BranchRow {
        id: fields.id("id")?,
        session: fields.id("session")?,
        name: fields.text("name")?,
        forked_from,
        version: fields.number("version")?,
        head: fields.maybe_id("head")?,
        created_unix_ms: fields.number("created_unix_ms")?,
    })
}

pub(super) async fn insert(writing: &mut Writing, row: &BranchRow) -> Result<(), StoreError> {
    let query = sql("INSERT INTO session_branches
         (id, session, name, forked_from, forked_at, version, head, created_unix_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)");
    query
        .bind(row.id.bytes())
        .bind(row.session.bytes())
        .bind(&row.name)
        .bind(row.forked_from.map(|from| from.branch.bytes()))
        .bind(signed(row.forked_from.map_or(0, |from| from.version)))
        .bind(signed(row.version))
        .bind(row.head.map(|head| head.bytes()))
        .bind(signed(row.created_unix_ms))
        .run(writing.connection())
        .await?;
    Ok(())
}

pub(super) async fn find(
    connection: &mut Connection,
    workspace: WorkspaceId,
    session: SessionId,
    id: BranchId,
) -> Result<BranchRow, StoreError> {
    let query = sql("SELECT b.* FROM session_branches b JOIN sessions s ON s.id = b.session
         WHERE b.id = $1 AND b.session = $2 AND s.workspace = $3");
    let row = query.bind(id.bytes()).bind(session.bytes()).bind(workspace.bytes()).row(connection).await?;
    row.as_ref().map(read).transpose()?.ok_or(StoreError::NotFound { what: "branch" })
}

pub(super) async fn list(
    connection: &mut Connection,
    workspace: WorkspaceId,
    session: SessionId,
    page: Page<BranchId>,
) -> Result<Listed<BranchRow, BranchId>, StoreError> {
    let wanted = page.rows_wanted();
    let query = sql("SELECT b.* FROM session_branches b JOIN sessions s ON s.id = b.session
         WHERE b.session = $1 AND s.workspace = $2 AND b.id > $3 ORDER BY b.id LIMIT $4");
    let query = query.bind(session.bytes()).bind(workspace.bytes()).bind(after(page.after));
    let rows = query.bind(signed(wanted as u64 + 1)).rows(connection).await?;
    let rows = rows.iter().map(read).collect::<Result<_, _>>()?;
    Ok(Listed::cut(rows, wanted, |row: &BranchRow| row.id))
}

/// The parts of a branch's history, oldest first: each is the events of one branch after a version, up to another.
pub(super) async fn parts(
    connection: &mut Connection,
    workspace: WorkspaceId,
    branch: &BranchRow,
) -> Result<Vec<(BranchId, u64, u64)>, StoreError> {
    let (mut parts, mut at, mut end) = (Vec::new(), branch.clone(), branch.version);
    for _ in 0..=BRANCH_DEPTH_MAX {
        let start = at.forked_from.map_or(0, |from| from.version);
        if start < end {
            parts.push((at.id, start, end));
        }
        let Some(from) = at.forked_from else {
            parts.reverse();
            return Ok(parts);
        };
        end = end.min(from.version);
        at = find(connection, workspace, at.session, from.branch).await?;
    }
    Err(StoreError::corrupt(TABLE, format!("{} has too many levels of forks", branch.id)))
}

/// Makes a branch that shares another one's history up to a version.
pub(super) async fn fork(
    writing: &mut Writing,
    workspace: WorkspaceId,
    mut new: BranchRow,
    act: Act,
) -> Result<BranchRow, StoreError> {
    let count = sql("SELECT COUNT(*) AS found FROM session_branches WHERE session = $1");
    let count = count.bind(new.session.bytes()).one(writing.connection()).await?;
    if Fields::new(TABLE, &count).number("found")? >= u64::from(SESSION_BRANCHES_MAX) {
        let detail = format!("a session has at most {SESSION_BRANCHES_MAX} branches");
        return Err(StoreError::conflict("too_many_branches", detail, None));
    }
    let Some(ForkPoint { branch, version }) = new.forked_from else {
        return Err(StoreError::corrupt(TABLE, "a fork has no origin"));
    };
    let origin = find(writing.connection(), workspace, new.session, branch).await?;
    if version > origin.version {
        let detail = format!("the branch {branch} is at version {}", origin.version);
        return Err(StoreError::conflict("fork_beyond_branch", detail, None));
    }
    let parts = parts(writing.connection(), workspace, &origin).await?;
    if parts.len() >= BRANCH_DEPTH_MAX as usize {
        let detail = format!("a branch is at most {BRANCH_DEPTH_MAX} forks away from the first one");
        return Err(StoreError::conflict("forked_too_often", detail, None));
    }
    // The branch that has the last shared event: a fork of a fork doesn't depend on one that it shares nothing of.
    let owner = parts.iter().find(|(_, start, end)| *start < version && version <= *end);
    let (owner, version) = owner.map_or((branch, version), |(owner, ..)| (*owner, version));
    let head = sql("SELECT id FROM session_events WHERE branch = $1 AND version = $2");
    let head = head.bind(owner.bytes()).bind(signed(version)).row(writing.connection()).await?;
    new.head = head.map(|row| Fields::new("session_events", &row).id("id")).transpose()?;
    new.forked_from = Some(ForkPoint { branch: owner, version });
    new.version = version;
    insert(writing, &new).await?;
    writing.audit(&act, Some(workspace), "session.fork", new.session, new.id.to_string()).await?;
    Ok(new)
}
