//! Legal holds: what of the stored content is held, for the statements that would delete it.

use domain::purge::{PurgeScope, Purged};
use domain::{ArtifactId, LegalHoldId, ProjectId, SessionId, WorkspaceId};

use crate::connection::Connection;
use crate::error::StoreError;
use crate::fields::{ColumnId, Fields};
use crate::purging;
use crate::statement::{Row, Statement, compose, sql};

/// The tables with a project and a request in each row, which purges of requests delete from.
const OF_REQUESTS: [&str; 13] = [
    "state_contents",
    "kept_answers",
    "kept_turns",
    "kept_objects",
    "stored_responses",
    "batch_contents",
    "batches",
    "request_contents",
    "run_contents",
    "run_tasks",
    "flow_contents",
    "flow_runs",
    "files",
];

/// What the holds in force name themselves: sessions, their bundles, and the artifacts of those.
const NAMED: &str = "SELECT o.object FROM legal_hold_objects o JOIN legal_holds h ON h.id = o.hold
     WHERE h.released_unix_ms IS NULL";

/// Events of held sessions, with one of their columns.
fn of_events(column: &str) -> String {
    format!(
        "SELECT e.{column} FROM legal_holds h JOIN legal_hold_objects o ON o.hold = h.id
         JOIN session_branches b ON b.session = o.object JOIN session_events e ON e.branch = b.id
         WHERE h.released_unix_ms IS NULL AND e.{column} IS NOT NULL"
    )
}

/// The condition under which a row of a table with the columns `workspace` and `project` is held. It costs a look into the
/// holds in force, which are few.
pub fn held(table: &str) -> String {
    let of_owner = format!(
        "EXISTS (SELECT 1 FROM legal_holds h WHERE h.released_unix_ms IS NULL AND h.workspace = {table}.workspace
         AND (h.scope = 'workspace' OR h.project = {table}.project))"
    );
    let artifacts = |id: &str| format!("{id} IN ({NAMED}) OR {id} IN ({})", of_events("artifact"));
    let itself = match table {
        "sessions" | "bundles" => format!("{table}.id IN ({NAMED})"),
        "artifacts" => artifacts("artifacts.id"),
        "state_contents" => format!(
            "state_contents.digest IN ({}) OR state_contents.digest IN
             (SELECT a.content FROM artifacts a WHERE {})",
            of_events("content"),
            artifacts("a.id")
        ),
        _ => return format!("({of_owner})"),
    };
    format!("({of_owner} OR {itself})")
}

/// What a deletion that a hold forbids is answered with.
fn refused(row: &Row) -> Result<StoreError, StoreError> {
    let hold: LegalHoldId = Fields::new("legal_holds", row).id("id")?;
    let detail = format!("the legal hold {hold} keeps it from being deleted");
    Ok(StoreError::conflict("legal_hold", detail, Some(hold.to_string())))
}

async fn refuse_by(query: Statement, connection: &mut Connection) -> Result<(), StoreError> {
    match query.row(connection).await? {
        Some(row) => Err(refused(&row)?),
        None => Ok(()),
    }
}

/// Refuses to delete a held session, bundle or artifact.
///
/// # Errors
/// The hold as a conflict, or of the database.
pub async fn refuse_object(
    connection: &mut Connection,
    table: &'static str,
    id: Vec<u8>,
) -> Result<(), StoreError> {
    let query = compose(format!(
        "SELECT h.id FROM legal_holds h JOIN {table} t ON t.workspace = h.workspace
         WHERE t.id = $1 AND h.released_unix_ms IS NULL AND (h.scope = 'workspace' OR h.project = t.project
         OR EXISTS (SELECT 1 FROM legal_hold_objects o WHERE o.hold = h.id AND (o.object = t.id OR o.object IN
             (SELECT b.session FROM session_events e JOIN session_branches b ON b.id = e.branch
              WHERE e.artifact = t.id))))
         ORDER BY h.id LIMIT 1"
    ));
    refuse_by(query.bind(id), connection).await
}

/// Refuses to delete a project of which something is held, or a workspace, given as `None`.
///
/// # Errors
/// The hold as a conflict, or of the database.
pub async fn refuse_owner(
    connection: &mut Connection,
    workspace: WorkspaceId,
    project: Option<ProjectId>,
) -> Result<(), StoreError> {
    const OF_WORKSPACE: &str = "SELECT id FROM legal_holds WHERE workspace = $1 AND released_unix_ms IS NULL
         ORDER BY id LIMIT 1";
    const OF_PROJECT: &str =
        "SELECT h.id FROM legal_holds h WHERE h.workspace = $1 AND h.released_unix_ms IS NULL
         AND (h.scope = 'workspace' OR h.project = $2 OR EXISTS (SELECT 1 FROM legal_hold_objects o
              JOIN sessions s ON s.id = o.object WHERE o.hold = h.id AND s.project = $2))
         ORDER BY h.id LIMIT 1";
    let query = match project {
        None => sql(OF_WORKSPACE).bind(workspace.bytes()),
        Some(project) => sql(OF_PROJECT).bind(workspace.bytes()).bind(project.bytes()),
    };
    refuse_by(query, connection).await
}

/// Refuses a purge that would delete something that is held.
///
/// # Errors
/// The hold as a conflict, or of the database.
pub async fn refuse_purge(connection: &mut Connection, scope: &PurgeScope) -> Result<(), StoreError> {
    match &scope.what {
        Purged::Everything => refuse_owner(connection, scope.workspace, None).await,
        Purged::Project(project) => refuse_owner(connection, scope.workspace, Some(*project)).await,
        Purged::Session(id) => match id.parse::<SessionId>() {
            Ok(id) => refuse_object(connection, "sessions", id.bytes()).await,
            Err(_) => Ok(()),
        },
        Purged::Artifacts(ids) => {
            for id in ids.iter().filter_map(|id| id.parse::<ArtifactId>().ok()) {
                refuse_object(connection, "artifacts", id.bytes()).await?;
            }
            Ok(())
        }
        Purged::From(_) | Purged::Requests(_) => refuse_requests(connection, scope).await,
    }
}

async fn refuse_requests(connection: &mut Connection, scope: &PurgeScope) -> Result<(), StoreError> {
    for table in OF_REQUESTS {
        let tail = format!(" AND {} LIMIT 1", held(table));
        let found = purging::rows(connection, scope, &format!("SELECT project FROM {table}"), &tail).await?;
        if let Some(row) = found.first() {
            let project = Fields::new(table, row).id("project")?;
            refuse_owner(connection, scope.workspace, Some(project)).await?;
        }
    }
    Ok(())
}
