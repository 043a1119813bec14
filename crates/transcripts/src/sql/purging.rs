//! SQL that purges what agents keep: by session, by artifact, and with the requests that wrote it.

use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed};
use database::holding;
use database::purging;
use database::statement::{Statement, compose, sql};
use database::writing::Writing;
use domain::purge::{PurgeScope, Purged};
use domain::{ArtifactId, SessionId};

use crate::StatePurges;
use crate::sql::sessions;

/// Tables whose rows are names as well, for scopes that are a whole workspace or project.
const NAMED: [&str; 3] = ["sessions", "artifacts", "bundles"];

/// What a legal hold covers is passed over.
fn unless_held(table: &str) -> String {
    format!(" AND NOT {}", holding::held(table))
}

/// The condition of a row in a whole workspace or project, with `tail` after it; `None` where the scope is neither.
fn of_owner(start: &str, table: &str, scope: &PurgeScope, tail: &str) -> Option<Statement> {
    let before = scope.before.unix_ms();
    let of = |more: &str| {
        let text = format!("{start} FROM {table} WHERE workspace = $1 AND created_unix_ms < $2{more}{tail}");
        compose(text).bind(scope.workspace.bytes()).bind(signed(before))
    };
    match &scope.what {
        Purged::Everything => Some(of("")),
        Purged::Project(project) => Some(of(" AND project = $3").bind(project.bytes())),
        Purged::From(_) | Purged::Requests(_) | Purged::Session(_) | Purged::Artifacts(_) => None,
    }
}

/// The artifacts that a scope names; what is no id names nothing.
fn artifacts(ids: &[String]) -> impl Iterator<Item = ArtifactId> {
    ids.iter().filter_map(|id| id.parse().ok())
}

async fn purge(writing: &mut Writing, scope: PurgeScope) -> Result<u64, StoreError> {
    let mut gone = 0;
    match &scope.what {
        Purged::Session(id) => {
            let Ok(id) = id.parse::<SessionId>() else { return Ok(0) };
            holding::refuse_object(writing.connection(), "sessions", id.bytes()).await?;
            gone += counted(writing.connection(), session(&scope, id)).await?;
            if gone > 0 {
                sessions::remove(writing, id).await?;
            }
        }
        Purged::Artifacts(ids) => {
            for id in artifacts(ids) {
                holding::refuse_object(writing.connection(), "artifacts", id.bytes()).await?;
                gone += revoke(writing, &scope, id).await?;
            }
        }
        Purged::Everything | Purged::Project(_) | Purged::From(_) | Purged::Requests(_) => {
            gone += purging::purge(writing, scope.clone(), "state_contents").await?;
            gone += remove_sessions(writing, &scope).await?;
            for table in NAMED {
                if let Some(statement) = of_owner("DELETE", table, &scope, &unless_held(table)) {
                    gone += statement.run(writing.connection()).await?;
                }
            }
        }
    }
    Ok(gone)
}

/// Removes the sessions of a whole workspace or project, with the contents of events that were appended since.
async fn remove_sessions(writing: &mut Writing, scope: &PurgeScope) -> Result<u64, StoreError> {
    let unless_held = unless_held("sessions");
    let Some(query) = of_owner("SELECT id", "sessions", scope, &unless_held) else { return Ok(0) };
    let rows = query.rows(writing.connection()).await?;
    for row in &rows {
        sessions::remove(writing, Fields::new("sessions", row).id("id")?).await?;
    }
    Ok(rows.len() as u64)
}

/// Deletes the content and the name of an artifact.
async fn revoke(writing: &mut Writing, scope: &PurgeScope, id: ArtifactId) -> Result<u64, StoreError> {
    sql("DELETE FROM state_contents WHERE digest IN
         (SELECT content FROM artifacts WHERE id = $1 AND workspace = $2)")
    .bind(id.bytes())
    .bind(scope.workspace.bytes())
    .run(writing.connection())
    .await?;
    let query =
        sql("UPDATE artifacts SET name = '', revoked_unix_ms = COALESCE(revoked_unix_ms, created_unix_ms)
         WHERE id = $1 AND workspace = $2 AND (name <> '' OR revoked_unix_ms IS NULL)");
    query.bind(id.bytes()).bind(scope.workspace.bytes()).run(writing.connection()).await
}

/// Counts a session with its events.
fn session(scope: &PurgeScope, id: SessionId) -> Statement {
    sql("SELECT (SELECT COUNT(*) FROM sessions WHERE id = $1 AND workspace = $2)
         + (SELECT COUNT(*) FROM session_events e JOIN session_branches b ON b.id = e.branch
            JOIN sessions s ON s.id = b.session WHERE s.id = $1 AND s.workspace = $2) AS found")
    .bind(id.bytes())
    .bind(scope.workspace.bytes())
}

async fn counted(connection: &mut Connection, query: Statement) -> Result<u64, StoreError> {
    let row = query.one(connection).await?;
    Fields::new("sessions", &row).number("found")
}

async fn remaining(connection: &mut Connection, scope: PurgeScope) -> Result<u64, StoreError> {
    let mut left = 0;
    match &scope.what {
        Purged::Session(id) => {
            let Ok(id) = id.parse::<SessionId>() else { return Ok(0) };
            left += counted(connection, session(&scope, id)).await?;
        }
        Purged::Artifacts(ids) => {
            for id in artifacts(ids) {
                let query = sql("SELECT COUNT(*) AS found FROM artifacts
                     WHERE id = $1 AND workspace = $2 AND (name <> '' OR revoked_unix_ms IS NULL)");
                left += counted(connection, query.bind(id.bytes()).bind(scope.workspace.bytes())).await?;
            }
        }
        Purged::Everything | Purged::Project(_) | Purged::From(_) | Purged::Requests(_) => {
            left += purging::remaining(connection, scope.clone(), "state_contents").await?;
            for table in NAMED {
                if let Some(query) = of_owner("SELECT COUNT(*) AS found", table, &scope, "") {
                    left += counted(connection, query).await?;
                }
            }
        }
    }
    Ok(left)
}

/// Whether there is what the scope names, purged or not.
async fn knows(connection: &mut Connection, scope: PurgeScope) -> Result<bool, StoreError> {
    let ids: Vec<(&str, Vec<u8>)> = match &scope.what {
        Purged::Session(id) => {
            id.parse::<SessionId>().ok().map(|id| ("sessions", id.bytes())).into_iter().collect()
        }
        Purged::Artifacts(ids) => artifacts(ids).map(|id| ("artifacts", id.bytes())).collect(),
        Purged::Everything | Purged::Project(_) | Purged::From(_) | Purged::Requests(_) => return Ok(true),
    };
    for (table, id) in &ids {
        let text = format!("SELECT COUNT(*) AS found FROM {table} WHERE id = $1 AND workspace = $2");
        let query = compose(text).bind(id.clone()).bind(scope.workspace.bytes());
        if counted(connection, query).await? > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

impl StatePurges<'_> {
    /// Returns how many things were removed: contents, and sessions, artifacts and bundles with their names.
    pub async fn purge(self, scope: PurgeScope) -> Result<u64, StoreError> {
        self.0.note(move |writing| Box::pin(purge(writing, scope))).await
    }

    /// How many are left.
    pub async fn remaining(self, scope: PurgeScope) -> Result<u64, StoreError> {
        remaining(&mut self.0.read().await?, scope).await
    }

    /// Whether there is, or was, what a scope of a session or of artifacts names.
    pub async fn knows(self, scope: PurgeScope) -> Result<bool, StoreError> {
        knows(&mut self.0.read().await?, scope).await
    }
}
