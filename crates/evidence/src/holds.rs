//! Legal holds: what is held, by whom and why, and since when not any more.

use database::connection::Connection;
use database::error::StoreError;
use database::feed::Part;
use database::fields::{ColumnId, Fields, before, signed};
use database::handle::Database;
use database::holding;
use database::statement::{Row, sql};
use database::writing::{Writing, expect_version};
use domain::purge::PurgeScope;
use domain::{ArtifactId, BundleId, LegalHoldId, ProjectId, SessionId, WorkspaceId};
use serde::Deserialize;
use store::{Act, Listed, Page, Store, Written};

const TABLE: &str = "legal_holds";
const WHAT: &str = "legal hold";

/// What a hold covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldScope {
    Workspace,
    Project(ProjectId),
    /// With their events, bundles and artifacts.
    Sessions(Vec<SessionId>),
}

impl HoldScope {
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Workspace => "workspace",
            Self::Project(_) => "project",
            Self::Sessions(_) => "sessions",
        }
    }

    const fn project(&self) -> Option<ProjectId> {
        match self {
            Self::Project(project) => Some(*project),
            Self::Workspace | Self::Sessions(_) => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegalHoldRow {
    pub id: LegalHoldId,
    pub workspace: WorkspaceId,
    pub scope: HoldScope,
    pub reason: String,
    /// A key or a person.
    pub created_by: String,
    pub created_unix_ms: u64,
    /// By whom and when; `None` while it is in force.
    pub released: Option<(String, u64)>,
}

impl LegalHoldRow {
    /// It changes once, when it is released.
    pub fn version(&self) -> u64 {
        if self.released.is_some() { 2 } else { 1 }
    }
}

/// Legal holds in the database.
#[derive(Clone)]
pub struct Holds(Database);

impl Holds {
    pub fn of(store: &Store) -> Self {
        Self(store.database().clone())
    }

    /// # Errors
    /// Not found, for a session that is not the workspace's, or of the database.
    pub async fn create(&self, row: LegalHoldRow, act: Act) -> Result<Written<()>, StoreError> {
        self.0.write(move |writing| Box::pin(create(writing, row, act))).await
    }

    pub async fn get(&self, workspace: WorkspaceId, id: LegalHoldId) -> Result<LegalHoldRow, StoreError> {
        let mut connection = self.0.read().await?;
        find(&mut connection, workspace, id).await
    }

    /// Newest first, released ones too.
    pub async fn list(
        &self,
        workspace: WorkspaceId,
        page: Page<LegalHoldId>,
    ) -> Result<Listed<LegalHoldRow, LegalHoldId>, StoreError> {
        let wanted = page.rows_wanted();
        let query =
            sql("SELECT * FROM legal_holds WHERE workspace = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
        let query = query.bind(workspace.bytes()).bind(before(page.after)).bind(signed(wanted as u64 + 1));
        let mut connection = self.0.read().await?;
        let mut rows = Vec::new();
        for row in &query.rows(&mut connection).await? {
            rows.push(read(&mut connection, row).await?);
        }
        Ok(Listed::cut(rows, wanted, |row: &LegalHoldRow| row.id))
    }

    /// Ends a hold; its row stays. One that is over stays as it is.
    ///
    /// # Errors
    /// Not found, at another version than was expected, or of the database.
    pub async fn release(
        &self,
        workspace: WorkspaceId,
        id: LegalHoldId,
        expected: Option<u64>,
        act: Act,
    ) -> Result<Written<()>, StoreError> {
        self.0.write(move |writing| Box::pin(release(writing, workspace, id, expected, act))).await
    }

    /// Whether any hold of the installation is in force.
    pub async fn any(&self) -> Result<bool, StoreError> {
        let query = sql("SELECT id FROM legal_holds WHERE released_unix_ms IS NULL LIMIT 1");
        query.row(&mut self.0.read().await?).await.map(|row| row.is_some())
    }

    /// Whether any hold of a workspace is in force.
    pub async fn any_of(&self, workspace: WorkspaceId) -> Result<bool, StoreError> {
        let query =
            sql("SELECT id FROM legal_holds WHERE workspace = $1 AND released_unix_ms IS NULL LIMIT 1");
        let query = query.bind(workspace.bytes());
        query.row(&mut self.0.read().await?).await.map(|row| row.is_some())
    }

    /// Refuses a purge that would delete something that is held.
    ///
    /// # Errors
    /// The conflict `legal_hold`, which names the hold, or of the database.
    pub async fn refuse_purge(
        &self,
        workspace: WorkspaceId,
        scopes: &[PurgeScope],
    ) -> Result<(), StoreError> {
        // Most workspaces have none, and each scope is looked for in several tables.
        if !self.any_of(workspace).await? {
            return Ok(());
        }
        let mut connection = self.0.read().await?;
        for scope in scopes {
            holding::refuse_purge(&mut connection, scope).await?;
        }
        Ok(())
    }
}

async fn find(
    connection: &mut Connection,
    workspace: WorkspaceId,
    id: LegalHoldId,
) -> Result<LegalHoldRow, StoreError> {
    let query = sql("SELECT * FROM legal_holds WHERE id = $1 AND workspace = $2");
    let row = query.bind(id.bytes()).bind(workspace.bytes()).row(connection).await?;
    read(connection, &row.ok_or(StoreError::NotFound { what: WHAT })?).await
}

async fn read(connection: &mut Connection, row: &Row) -> Result<LegalHoldRow, StoreError> {
    let fields = Fields::new(TABLE, row);
    let id: LegalHoldId = fields.id("id")?;
    let scope = match fields.text("scope")?.as_str() {
        "workspace" => HoldScope::Workspace,
        "project" => HoldScope::Project(fields.id("project")?),
        _ => HoldScope::Sessions(sessions(connection, id).await?),
    };
    let released_by = fields.maybe_text("released_by")?;
    Ok(LegalHoldRow {
        id,
        workspace: fields.id("workspace")?,
        scope,
        reason: fields.text("reason")?,
        created_by: fields.text("created_by")?,
        created_unix_ms: fields.number("created_unix_ms")?,
        released: released_by.zip(fields.maybe_number("released_unix_ms")?),
    })
}

async fn sessions(connection: &mut Connection, hold: LegalHoldId) -> Result<Vec<SessionId>, StoreError> {
    let query =
        sql("SELECT object FROM legal_hold_objects WHERE hold = $1 AND kind = 'session' ORDER BY object");
    let rows = query.bind(hold.bytes()).rows(connection).await?;
    rows.iter().map(|row| Fields::new("legal_hold_objects", row).id("object")).collect()
}

async fn create(writing: &mut Writing, row: LegalHoldRow, act: Act) -> Result<(), StoreError> {
    let query =
        sql("INSERT INTO legal_holds (id, workspace, scope, project, reason, created_by, created_unix_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7)");
    query
        .bind(row.id.bytes())
        .bind(row.workspace.bytes())
        .bind(row.scope.as_str())
        .bind(row.scope.project().map(|id| id.bytes()))
        .bind(&row.reason)
        .bind(&row.created_by)
        .bind(signed(row.created_unix_ms))
        .run(writing.connection())
        .await?;
    if let HoldScope::Sessions(sessions) = &row.scope {
        for session in sessions {
            hold_session(writing, &row, *session).await?;
        }
    }
    writing.announce(Part::Workspace, Some(row.workspace), row.workspace);
    let detail = row.scope.as_str().to_owned();
    writing.audit(&act, Some(row.workspace), "legal_hold.create", row.id, detail).await
}

/// An item of a bundle, as far as a hold needs it.
#[derive(Deserialize)]
struct HeldItem {
    artifact: ArtifactId,
}

/// Holds a session with its bundles and their artifacts, which can't change any more.
async fn hold_session(
    writing: &mut Writing,
    row: &LegalHoldRow,
    session: SessionId,
) -> Result<(), StoreError> {
    let query = sql("SELECT bundles FROM sessions WHERE id = $1 AND workspace = $2");
    let found = query.bind(session.bytes()).bind(row.workspace.bytes()).row(writing.connection()).await?;
    let found = found.ok_or(StoreError::NotFound { what: "session" })?;
    let bundles: Vec<BundleId> = Fields::new("sessions", &found).json("bundles")?;
    hold_object(writing, row.id, session.bytes(), "session").await?;
    for bundle in bundles {
        hold_object(writing, row.id, bundle.bytes(), "bundle").await?;
        let query = sql("SELECT items FROM bundles WHERE id = $1").bind(bundle.bytes());
        let Some(found) = query.row(writing.connection()).await? else { continue };
        let items: Vec<HeldItem> = Fields::new("bundles", &found).json("items")?;
        for item in items {
            hold_object(writing, row.id, item.artifact.bytes(), "artifact").await?;
        }
    }
    Ok(())
}

async fn hold_object(
    writing: &mut Writing,
    hold: LegalHoldId,
    object: Vec<u8>,
    kind: &'static str,
) -> Result<(), StoreError> {
    let query = sql("INSERT INTO legal_hold_objects (hold, object, kind) VALUES ($1, $2, $3)
         ON CONFLICT DO NOTHING");
    query.bind(hold.bytes()).bind(object).bind(kind).run(writing.connection()).await.map(drop)
}

async fn release(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: LegalHoldId,
    expected: Option<u64>,
    act: Act,
) -> Result<(), StoreError> {
    let row = find(writing.connection(), workspace, id).await?;
    expect_version(WHAT, expected, row.version())?;
    if row.released.is_some() {
        return Ok(());
    }
    let query = sql("UPDATE legal_holds SET released_by = $2, released_unix_ms = $3 WHERE id = $1");
    let query = query.bind(id.bytes()).bind(&act.actor).bind(signed(act.unix_ms));
    query.run(writing.connection()).await?;
    writing.announce(Part::Workspace, Some(workspace), workspace);
    writing.audit(&act, Some(workspace), "legal_hold.release", id, row.scope.as_str().to_owned()).await
}
