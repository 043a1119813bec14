//! The control plane's data planes: invited by a token, joined with it once, known by a credential, and revoked.

use database::act::{Act, Written};
use database::connection::Connection;
use database::error::StoreError;
use database::feed::Part;
use database::fields::{ColumnId, Fields, after, signed};
use database::handle::Database;
use database::page::{Listed, Page};
use database::statement::{Row, Statement, sql};
use database::writing::Writing;
use domain::{DataPlaneId, WorkspaceId};
use store::{Store, TokenDigest};

use crate::limits::VERSIONS_PASSED_MAX;
use crate::wire::Question;

const TABLE: &str = "data_planes";
const WHAT: &str = "data plane";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataPlaneRow {
    pub id: DataPlaneId,
    pub workspace: WorkspaceId,
    pub name: String,
    /// Its number among the replicas.
    pub replica: i64,
    pub token_digest: TokenDigest,
    pub token_expires_unix_ms: u64,
    pub joined_unix_ms: Option<u64>,
    /// What secrets are sealed for, and what its evidence is signed with; zeros before it has joined.
    pub sealed_for: [u8; 32],
    pub signing_key: [u8; 32],
    pub revoked_unix_ms: Option<u64>,
    pub seen_unix_ms: Option<u64>,
    /// The version of the configuration that it has said to have.
    pub applied_version: Option<u64>,
    /// Which history that version is of.
    pub applied_history: Option<String>,
    /// Up to which place of its outbox its records are here.
    pub delivered_place: Option<u64>,
    pub program: Option<String>,
    pub created_unix_ms: u64,
    pub version: u64,
}

domain::words! {
    /// Where a data plane stands.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum PlaneState {
        Invited = "invited",
        /// Its token was not used in time.
        Expired = "expired",
        Joined = "joined",
        Revoked = "revoked",
    }
}

domain::words! {
    /// How what a data plane has compares with what is configured.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Progress {
        Current = "current",
        /// There is something newer, which it is sent.
        Behind = "behind",
        /// It has something that the control plane does not know, and nothing is newer than that: the control plane was restored to
        /// an earlier state.
        Ahead = "ahead",
    }
}

/// What a data plane says when it joins.
#[derive(Debug, Clone)]
pub struct Joining {
    pub token: TokenDigest,
    pub credential: TokenDigest,
    pub sealed_for: [u8; 32],
    pub signing_key: [u8; 32],
    pub program: String,
}

impl DataPlaneRow {
    pub const fn state(&self, now_unix_ms: u64) -> PlaneState {
        match (self.revoked_unix_ms, self.joined_unix_ms) {
            (Some(_), _) => PlaneState::Revoked,
            (None, Some(_)) => PlaneState::Joined,
            (None, None) if self.token_expires_unix_ms <= now_unix_ms => PlaneState::Expired,
            (None, None) => PlaneState::Invited,
        }
    }
}

fn key(fields: &Fields<'_>, name: &'static str) -> Result<[u8; 32], StoreError> {
    let bytes: Option<Vec<u8>> = fields.get(name)?;
    bytes.map_or(Ok([0; 32]), |bytes| {
        bytes.try_into().map_err(|_| StoreError::corrupt(TABLE, "a key is not of 32 bytes"))
    })
}

fn read(row: &Row) -> Result<DataPlaneRow, StoreError> {
    let fields = Fields::new(TABLE, row);
    Ok(DataPlaneRow {
        id: fields.id("id")?,
        workspace: fields.id("workspace")?,
        name: fields.text("name")?,
        replica: fields.get("replica")?,
        token_digest: fields.digest("token_digest")?,
        token_expires_unix_ms: fields.number("token_expires_unix_ms")?,
        joined_unix_ms: fields.maybe_number("joined_unix_ms")?,
        sealed_for: key(&fields, "sealed_for")?,
        signing_key: key(&fields, "signing_key")?,
        revoked_unix_ms: fields.maybe_number("revoked_unix_ms")?,
        seen_unix_ms: fields.maybe_number("seen_unix_ms")?,
        applied_version: fields.maybe_number("applied_version")?,
        applied_history: fields.maybe_text("applied_history")?,
        delivered_place: fields.maybe_number("delivered_place")?,
        program: fields.maybe_text("program")?,
        created_unix_ms: fields.number("created_unix_ms")?,
        version: fields.number("version")?,
    })
}

async fn one(connection: &mut Connection, query: Statement) -> Result<Option<DataPlaneRow>, StoreError> {
    query.row(connection).await?.as_ref().map(read).transpose()
}

async fn find(
    connection: &mut Connection,
    workspace: WorkspaceId,
    id: DataPlaneId,
) -> Result<DataPlaneRow, StoreError> {
    let query = sql("SELECT * FROM data_planes WHERE workspace = $1 AND id = $2");
    let found = one(connection, query.bind(workspace.bytes()).bind(id.bytes())).await?;
    found.ok_or(StoreError::NotFound { what: WHAT })
}

/// The next number among the replicas of the database.
async fn next_replica(writing: &mut Writing, id: DataPlaneId) -> Result<i64, StoreError> {
    let query = match writing.connection() {
        Connection::Postgres(_) => {
            sql("INSERT INTO replicas (id) VALUES ($1) RETURNING number AS replica").bind(id.bytes())
        }
        _ => sql("SELECT COALESCE(MAX(replica), 0) + 1 AS replica FROM data_planes"),
    };
    let row = query.one(writing.connection()).await?;
    Fields::new(TABLE, &row).get("replica")
}

async fn invite(writing: &mut Writing, mut row: DataPlaneRow, act: Act) -> Result<DataPlaneRow, StoreError> {
    let query = sql("SELECT * FROM data_planes WHERE workspace = $1 AND name = $2");
    let named = one(writing.connection(), query.bind(row.workspace.bytes()).bind(&row.name)).await?;
    if let Some(named) = named {
        if matches!(named.state(act.unix_ms), PlaneState::Joined | PlaneState::Invited) {
            let detail = format!("the data plane {} has the name \"{}\"", named.id, named.name);
            return Err(StoreError::conflict("name_taken", detail, Some(named.id.to_string())));
        }
        // What is revoked stays, with its evidence, under a name that tells it from its successor.
        let query = sql("UPDATE data_planes SET name = $2 WHERE id = $1");
        let old = format!("{} ({})", named.name, named.id);
        query.bind(named.id.bytes()).bind(old).run(writing.connection()).await?;
    }
    row.replica = next_replica(writing, row.id).await?;
    row.version = writing.version();
    sql("INSERT INTO data_planes (id, workspace, name, replica, token_digest, token_expires_unix_ms, created_unix_ms, version)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
        .bind(row.id.bytes())
        .bind(row.workspace.bytes())
        .bind(&row.name)
        .bind(row.replica)
        .bind(row.token_digest.to_vec())
        .bind(signed(row.token_expires_unix_ms))
        .bind(signed(row.created_unix_ms))
        .bind(signed(row.version))
        .run(writing.connection())
        .await?;
    writing.announce(Part::Other, Some(row.workspace), row.id);
    writing
        .audit(&act, Some(row.workspace), "data_plane.invite", row.id, format!("name {}", row.name))
        .await?;
    Ok(row)
}

async fn join(writing: &mut Writing, joining: Joining, act: Act) -> Result<DataPlaneRow, StoreError> {
    let query = sql("SELECT * FROM data_planes WHERE token_digest = $1").bind(joining.token.to_vec());
    let held = one(writing.connection(), query).await?.ok_or(StoreError::NotFound { what: WHAT })?;
    match held.state(act.unix_ms) {
        PlaneState::Invited => {}
        PlaneState::Expired => {
            return Err(StoreError::conflict("data_plane_token_expired", "the token is too old", None));
        }
        PlaneState::Joined | PlaneState::Revoked => {
            return Err(StoreError::conflict("data_plane_token_used", "the token was used before", None));
        }
    }
    let version = writing.version();
    sql("UPDATE data_planes SET joined_unix_ms = $2, credential_digest = $3, sealed_for = $4, signing_key = $5,
         program = $6, version = $7 WHERE id = $1")
        .bind(held.id.bytes())
        .bind(signed(act.unix_ms))
        .bind(joining.credential.to_vec())
        .bind(joining.sealed_for.to_vec())
        .bind(joining.signing_key.to_vec())
        .bind(&joining.program)
        .bind(signed(version))
        .run(writing.connection())
        .await?;
    writing.announce(Part::Other, Some(held.workspace), held.id);
    writing
        .audit(&act, Some(held.workspace), "data_plane.join", held.id, format!("name {}", held.name))
        .await?;
    find(writing.connection(), held.workspace, held.id).await
}

async fn revoke(
    writing: &mut Writing,
    (workspace, id): (WorkspaceId, DataPlaneId),
    act: Act,
) -> Result<DataPlaneRow, StoreError> {
    let row = find(writing.connection(), workspace, id).await?;
    if row.revoked_unix_ms.is_some() {
        return Ok(row);
    }
    let version = writing.version();
    let query = sql("UPDATE data_planes SET revoked_unix_ms = $2, version = $3 WHERE id = $1");
    let query = query.bind(id.bytes()).bind(signed(act.unix_ms)).bind(signed(version));
    query.run(writing.connection()).await?;
    // What it holds of budgets is free for others: it spends nothing from its lease any more once it hears of this.
    let query = sql("DELETE FROM replica_lives WHERE replica = $1").bind(row.replica);
    query.run(writing.connection()).await?;
    writing.announce(Part::Other, Some(workspace), id);
    writing.audit(&act, Some(workspace), "data_plane.revoke", id, format!("name {}", row.name)).await?;
    find(writing.connection(), workspace, id).await
}

async fn supersede(
    writing: &mut Writing,
    (workspace, id): (WorkspaceId, DataPlaneId),
    act: Act,
) -> Result<DataPlaneRow, StoreError> {
    let row = find(writing.connection(), workspace, id).await?;
    let (before, applied) = (writing.version().saturating_sub(1), row.applied_version.unwrap_or_default());
    if applied.saturating_sub(before) > VERSIONS_PASSED_MAX {
        let detail =
            format!("it claims the version {applied}, which no installation at {before} can have had");
        return Err(StoreError::conflict("data_plane_too_far_ahead", detail, None));
    }
    writing.pass(applied);
    writing.announce(Part::Workspace, Some(workspace), workspace);
    let detail = format!("version {before} to {}, over {applied}", writing.version());
    writing.audit(&act, Some(workspace), "data_plane.supersede", id, detail).await?;
    Ok(row)
}

/// The data planes of an installation.
#[derive(Clone)]
pub struct DataPlanes(Database);

impl DataPlanes {
    pub fn of(store: &Store) -> Self {
        Self(store.database().clone())
    }

    /// Makes one that may join; its number and version are given here.
    ///
    /// # Errors
    /// `name_taken`, or of the database.
    pub async fn invite(&self, row: DataPlaneRow, act: Act) -> Result<Written<DataPlaneRow>, StoreError> {
        self.0.write(move |writing| Box::pin(invite(writing, row, act))).await
    }

    /// # Errors
    /// The token is unknown, used or too old, or of the database.
    pub async fn join(&self, joining: Joining, act: Act) -> Result<Written<DataPlaneRow>, StoreError> {
        self.0.write(move |writing| Box::pin(join(writing, joining, act))).await
    }

    pub async fn revoke(
        &self,
        workspace: WorkspaceId,
        id: DataPlaneId,
        act: Act,
    ) -> Result<Written<DataPlaneRow>, StoreError> {
        self.0.write(move |writing| Box::pin(revoke(writing, (workspace, id), act))).await
    }

    /// Makes what is configured newer than what a data plane has, so that it takes it.
    ///
    /// # Errors
    /// Not found, `data_plane_too_far_ahead`, or of the database.
    pub async fn supersede(
        &self,
        workspace: WorkspaceId,
        id: DataPlaneId,
        act: Act,
    ) -> Result<Written<DataPlaneRow>, StoreError> {
        self.0.write(move |writing| Box::pin(supersede(writing, (workspace, id), act))).await
    }

    pub async fn get(&self, workspace: WorkspaceId, id: DataPlaneId) -> Result<DataPlaneRow, StoreError> {
        find(&mut self.0.read().await?, workspace, id).await
    }

    pub async fn list(
        &self,
        workspace: WorkspaceId,
        page: Page<DataPlaneId>,
    ) -> Result<Listed<DataPlaneRow, DataPlaneId>, StoreError> {
        let wanted = page.rows_wanted();
        let query = sql("SELECT * FROM data_planes WHERE workspace = $1 AND id > $2 ORDER BY id LIMIT $3");
        let query = query.bind(workspace.bytes()).bind(after(page.after)).bind(signed(wanted as u64 + 1));
        let rows = query.rows(&mut self.0.read().await?).await?;
        let rows = rows.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Listed::cut(rows, wanted, |row: &DataPlaneRow| row.id))
    }

    /// The data plane with this credential, also where it is revoked.
    pub async fn of_credential(&self, credential: TokenDigest) -> Result<Option<DataPlaneRow>, StoreError> {
        let query = sql("SELECT * FROM data_planes WHERE credential_digest = $1").bind(credential.to_vec());
        one(&mut self.0.read().await?, query).await
    }

    /// Notes that it was heard, and what it has.
    pub async fn see(&self, id: DataPlaneId, unix_ms: u64, question: &Question) -> Result<(), StoreError> {
        let query = sql("UPDATE data_planes SET seen_unix_ms = $2, applied_version = $3, program = $4, applied_history = $5
             WHERE id = $1");
        let query = query
            .bind(id.bytes())
            .bind(signed(unix_ms))
            .bind(question.after.map(signed))
            .bind(&question.program)
            .bind(question.history.as_deref());
        self.0.note(move |writing| Box::pin(async move { query.run(writing.connection()).await })).await?;
        Ok(())
    }

    /// Notes up to which place of its outbox its records are here.
    pub async fn delivered(&self, id: DataPlaneId, place: u64) -> Result<(), StoreError> {
        let query = sql("UPDATE data_planes SET delivered_place = $2
             WHERE id = $1 AND (delivered_place IS NULL OR delivered_place < $2)");
        let query = query.bind(id.bytes()).bind(signed(place));
        self.0.note(move |writing| Box::pin(async move { query.run(writing.connection()).await })).await?;
        Ok(())
    }

    /// Whether all of these budgets are the workspace's, or are gone.
    pub async fn owns_budgets(
        &self,
        workspace: WorkspaceId,
        budgets: impl Iterator<Item = domain::BudgetId> + Send,
    ) -> Result<bool, StoreError> {
        let mut connection = self.0.read().await?;
        for budget in budgets {
            let query = sql("SELECT 1 AS other FROM budgets WHERE id = $1 AND workspace <> $2");
            if query.bind(budget.bytes()).bind(workspace.bytes()).row(&mut connection).await?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
