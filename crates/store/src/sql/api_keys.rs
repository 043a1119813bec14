//! SQL for the API keys.

use domain::{KeyId, MemberId, ProjectId, Sealed, WorkspaceId};

use super::fields::{ColumnId, Fields, after};
use super::writing::{Writing, expect_version, signed};
use super::{Connection, Database, Row, events, names, projects, seals, sql};
use crate::events::EventKind;
use crate::feed::Part;
use crate::{Act, ApiKeyRow, ApiKeys, KeysOnLeave, Listed, Page, StoreError, StoreFuture, Written, stored};

const WHAT: &str = "API key";
/// How many of a member's keys are listed to the person who removes them.
const NAMED_MAX: usize = 10;

pub(super) fn read(row: &Row) -> Result<ApiKeyRow, StoreError> {
    let fields = Fields::new("api_keys", row);
    Ok(ApiKeyRow {
        id: fields.id("id")?,
        workspace: fields.id("workspace")?,
        project: fields.id("project")?,
        name: fields.text("name")?,
        digest: fields.digest("digest")?,
        last4: fields.text("last4")?,
        environment: fields.text("environment")?,
        scopes: stored::scopes_from_text(fields.get("scopes")?),
        expires_unix_ms: fields.maybe_number("expires_unix_ms")?,
        ip_allowlist: stored::networks_from_text(fields.get("ip_allowlist")?)?,
        revoked_unix_ms: fields.maybe_number("revoked_unix_ms")?,
        access_secret: fields.maybe_access_secret()?,
        created_by: fields.maybe_id("created_by")?,
        created_unix_ms: fields.number("created_unix_ms")?,
        version: fields.number("version")?,
    })
}

async fn find(
    connection: &mut Connection,
    workspace: WorkspaceId,
    id: KeyId,
) -> Result<ApiKeyRow, StoreError> {
    let query = sql("SELECT * FROM api_keys WHERE workspace = $1 AND id = $2");
    let row = query.bind(workspace.bytes()).bind(id.bytes()).row(connection).await?;
    row.as_ref().map_or(Err(StoreError::NotFound { what: WHAT }), read)
}

pub(super) async fn insert(writing: &mut Writing, row: &ApiKeyRow) -> Result<(), StoreError> {
    projects::require(writing, row.workspace, Some(row.project)).await?;
    put(writing, row).await?;
    writing.changed(Part::Key, Some(row.workspace), row.id);
    Ok(())
}

async fn put(writing: &mut Writing, row: &ApiKeyRow) -> Result<(), StoreError> {
    let version = signed(writing.version());
    let query = sql(
        "INSERT INTO api_keys (id, workspace, project, name, digest, last4, environment, scopes, expires_unix_ms,
             ip_allowlist, revoked_unix_ms, created_unix_ms, version, access_secret_version, access_secret_key_id, access_secret_sealed,
             created_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
    );
    query
        .bind(row.id.bytes())
        .bind(row.workspace.bytes())
        .bind(row.project.bytes())
        .bind(&row.name)
        .bind(row.digest.as_slice())
        .bind(&row.last4)
        .bind(&row.environment)
        .bind(stored::scopes_to_text(row.scopes))
        .bind(row.expires_unix_ms.map(signed))
        .bind(stored::networks_to_text(&row.ip_allowlist))
        .bind(row.revoked_unix_ms.map(signed))
        .bind(signed(row.created_unix_ms))
        .bind(version)
        .bind(row.access_secret.as_ref().map(|secret| i64::from(secret.version)))
        .bind(row.access_secret.as_ref().map(|secret| secret.key_id.clone()))
        .bind(row.access_secret.as_ref().map(|secret| secret.bytes.clone()))
        .bind(row.created_by.map(|id| id.bytes()))
        .run(writing.connection())
        .await?;
    Ok(())
}

/// Inserts many as one change of the feed: only a process that starts afterwards has them all.
#[cfg(feature = "fixtures")]
pub(crate) async fn put_many(database: &Database, rows: Vec<ApiKeyRow>) -> Result<(), StoreError> {
    let written = database.write(move |writing| {
        Box::pin(async move {
            for row in &rows {
                put(writing, row).await?;
            }
            if let Some(last) = rows.last() {
                writing.changed(Part::Key, Some(last.workspace), last.id);
            }
            Ok(())
        })
    });
    written.await.map(|_| ())
}

async fn create(
    writing: &mut Writing,
    mut row: ApiKeyRow,
    floor: Option<Sealed>,
    act: Act,
) -> Result<ApiKeyRow, StoreError> {
    row.created_by = maker(writing, row.workspace, &act.actor).await?;
    insert(writing, &row).await?;
    if let Some(floor) = floor {
        seals::put(writing, row.workspace, row.id, &floor).await?;
    }
    row.version = writing.version();
    let detail = format!("name {}, scopes {}", row.name, stored::scopes_to_text(row.scopes));
    writing.audit(&act, Some(row.workspace), "api_key.create", row.id, detail).await?;
    events::of_act(writing, &act, row.workspace, EventKind::KeyCreated, payload(&row)).await?;
    Ok(row)
}

/// The member recorded as a key's creator: the acting member or, if a key acts, its creator.
async fn maker(
    writing: &mut Writing,
    workspace: WorkspaceId,
    actor: &str,
) -> Result<Option<MemberId>, StoreError> {
    if let Ok(member) = actor.parse() {
        return Ok(Some(member));
    }
    let Ok(key) = actor.parse::<KeyId>() else { return Ok(None) };
    // Device keys recorded their person before keys had a creator.
    let query = sql("SELECT COALESCE(api_keys.created_by, device_keys.person) AS maker FROM api_keys
         LEFT JOIN device_keys ON device_keys.id = api_keys.id
         WHERE api_keys.workspace = $1 AND api_keys.id = $2");
    let row = query.bind(workspace.bytes()).bind(key.bytes()).row(writing.connection()).await?;
    row.map_or(Ok(None), |row| Fields::new("api_keys", &row).maybe_id("maker"))
}

async fn replace(
    writing: &mut Writing,
    row: ApiKeyRow,
    expected: Option<u64>,
    act: Act,
) -> Result<ApiKeyRow, StoreError> {
    let old = find(writing.connection(), row.workspace, row.id).await?;
    expect_version(WHAT, expected, old.version)?;
    let row = ApiKeyRow {
        name: row.name,
        scopes: row.scopes,
        expires_unix_ms: row.expires_unix_ms,
        ip_allowlist: row.ip_allowlist,
        version: writing.version(),
        ..old
    };
    let query = sql(
        "UPDATE api_keys SET name = $3, scopes = $4, expires_unix_ms = $5, ip_allowlist = $6, version = $7
         WHERE workspace = $1 AND id = $2",
    );
    query
        .bind(row.workspace.bytes())
        .bind(row.id.bytes())
        .bind(&row.name)
        .bind(stored::scopes_to_text(row.scopes))
        .bind(row.expires_unix_ms.map(signed))
        .bind(stored::networks_to_text(&row.ip_allowlist))
        .bind(signed(row.version))
        .run(writing.connection())
        .await?;
    writing.changed(Part::Key, Some(row.workspace), row.id);
    let detail = format!("name {}, scopes {}", row.name, stored::scopes_to_text(row.scopes));
    writing.audit(&act, Some(row.workspace), "api_key.update", row.id, detail).await?;
    Ok(row)
}

/// Emits the event of a key's revocation.
pub(super) async fn tell_revoked(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: KeyId,
    act: &Act,
) -> Result<(), StoreError> {
    let row = find(writing.connection(), workspace, id).await?;
    events::of_act(writing, act, workspace, EventKind::KeyRevoked, payload(&row)).await
}

fn payload(row: &ApiKeyRow) -> crate::Json {
    serde_json::json!({
        "id": row.id.to_string(),
        "name": row.name,
        "last4": row.last4,
        "project_id": row.project.to_string(),
    })
}

pub(super) async fn revoke(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: KeyId,
    expected: Option<u64>,
    act: Act,
) -> Result<ApiKeyRow, StoreError> {
    let mut row = find(writing.connection(), workspace, id).await?;
    expect_version(WHAT, expected, row.version)?;
    if row.revoked_unix_ms.is_some() {
        return Ok(row);
    }
    end(writing, &mut row, &act).await?;
    writing.audit(&act, Some(workspace), "api_key.revoke", id, format!("name {}", row.name)).await?;
    Ok(row)
}

/// Revokes a key and emits the event.
async fn end(writing: &mut Writing, row: &mut ApiKeyRow, act: &Act) -> Result<(), StoreError> {
    let (workspace, id) = (row.workspace, row.id);
    row.revoked_unix_ms = Some(act.unix_ms);
    row.version = writing.version();
    if row.access_secret.take().is_some() {
        seals::remove(writing, workspace, id).await?;
    }
    let query = sql(
        "UPDATE api_keys SET revoked_unix_ms = $3, version = $4, access_secret_version = NULL, access_secret_key_id = NULL,
             access_secret_sealed = NULL
         WHERE workspace = $1 AND id = $2",
    );
    query
        .bind(workspace.bytes())
        .bind(id.bytes())
        .bind(signed(act.unix_ms))
        .bind(signed(row.version))
        .run(writing.connection())
        .await?;
    writing.changed(Part::Key, Some(workspace), id);
    tell_revoked(writing, workspace, id, act).await
}

/// Handles the keys that a leaving member created; returns the detail for the audit.
///
/// # Errors
/// `member_has_keys`, if some of them work and `keys` does not decide about them.
pub(super) async fn after_leaving(
    writing: &mut Writing,
    workspace: WorkspaceId,
    member: MemberId,
    keys: KeysOnLeave,
    act: &Act,
) -> Result<String, StoreError> {
    let query = sql("SELECT * FROM api_keys
         WHERE workspace = $1 AND created_by = $2 AND revoked_unix_ms IS NULL ORDER BY id");
    let query = query.bind(workspace.bytes()).bind(member.bytes());
    let rows = query.rows(writing.connection()).await?;
    let made: Vec<ApiKeyRow> = rows.iter().map(read).collect::<Result<_, _>>()?;
    let works = |row: &&ApiKeyRow| row.expires_unix_ms.is_none_or(|at| at > act.unix_ms);
    let named: Vec<String> =
        made.iter().filter(works).map(|row| format!("{} ({})", row.name, row.id)).collect();
    match keys {
        KeysOnLeave::Ask if named.is_empty() => Ok(String::new()),
        KeysOnLeave::Ask => {
            let more = match named.len().saturating_sub(NAMED_MAX) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let names = named.get(..NAMED_MAX).unwrap_or(&named).join(", ");
            let detail = format!("API keys that they made still work: {names}{more}");
            Err(StoreError::conflict("member_has_keys", detail, None))
        }
        KeysOnLeave::Keep => Ok(format!(", {} keys that they made kept", named.len())),
        KeysOnLeave::Revoke => {
            for mut row in made {
                end(writing, &mut row, act).await?;
            }
            let which = if named.is_empty() { String::new() } else { format!(": {}", named.join(", ")) };
            Ok(format!(", {} keys that they made revoked{which}", named.len()))
        }
    }
}

impl ApiKeys for Database {
    fn create(&self, row: ApiKeyRow, floor: Option<Sealed>, act: Act) -> StoreFuture<'_, Written<ApiKeyRow>> {
        Box::pin(self.write(move |writing| Box::pin(create(writing, row, floor, act))))
    }

    fn get(&self, workspace: WorkspaceId, id: KeyId) -> StoreFuture<'_, ApiKeyRow> {
        Box::pin(async move { find(&mut self.read().await?, workspace, id).await })
    }

    fn list(
        &self,
        workspace: WorkspaceId,
        project: Option<ProjectId>,
        page: Page<KeyId>,
    ) -> StoreFuture<'_, Listed<ApiKeyRow, KeyId>> {
        Box::pin(async move {
            let wanted = page.rows_wanted();
            let query = sql(
                "SELECT * FROM api_keys WHERE workspace = $1 AND id > $2 AND ($3 IS NULL OR project = $3)
                 ORDER BY id LIMIT $4",
            );
            let rows = query
                .bind(workspace.bytes())
                .bind(after(page.after))
                .bind(project.map(|id| id.bytes()))
                .bind(signed(wanted as u64 + 1))
                .rows(&mut self.read().await?)
                .await?;
            let rows = rows.iter().map(read).collect::<Result<_, _>>()?;
            Ok(Listed::cut(rows, wanted, |row: &ApiKeyRow| row.id))
        })
    }

    fn named(&self, workspace: WorkspaceId, name: String, begins: bool) -> StoreFuture<'_, Vec<KeyId>> {
        Box::pin(async move {
            let query = sql(
                "SELECT id FROM api_keys WHERE workspace = $1 AND substr(name, 1, CAST($2 AS INTEGER)) = $3
                 ORDER BY id LIMIT $4",
            );
            names::ids(&mut self.read().await?, query, "api_keys", workspace, name, begins).await
        })
    }

    fn replace(
        &self,
        row: ApiKeyRow,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<ApiKeyRow>> {
        Box::pin(self.write(move |writing| Box::pin(replace(writing, row, expected, act))))
    }

    fn revoke(
        &self,
        workspace: WorkspaceId,
        id: KeyId,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<ApiKeyRow>> {
        Box::pin(self.write(move |writing| Box::pin(revoke(writing, workspace, id, expected, act))))
    }
}
