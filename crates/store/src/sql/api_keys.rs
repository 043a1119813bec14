//! SQL for the API keys.

use database::act::Act;
use database::error::{StoreError, StoreFuture};
use database::feed::Part;
use database::fields::{ColumnId, Fields, after, signed};
use database::handle::Database;
use database::page::{Listed, Page};
use database::statement::{Row, sql};
use database::writing::Writing;
use domain::{KeyId, MemberId, ProjectId, Sealed, WorkspaceId};

use crate::api_keys::{ApiKeyRow, ApiKeys};
use crate::events::EventKind;
use crate::limits::KEYS_NAMED_MAX;
use crate::people::KeysOnLeave;
use crate::resource::Json;
use crate::sql::resource::{self, ColumnValues, Table};
use crate::sql::{events, names, projects, seals};

const TABLE: &str = "api_keys";
const WHAT: &str = "API key";

impl Table for ApiKeyRow {
    const NAME: &'static str = TABLE;
    const WHAT: &'static str = WHAT;
    const NOUN: &'static str = "api_key";
    const PART: Part = Part::Key;

    fn read(row: &Row) -> Result<Self, StoreError> {
        let fields = Fields::new(TABLE, row);
        Ok(Self {
            id: fields.id("id")?,
            workspace: fields.id("workspace")?,
            project: fields.id("project")?,
            name: fields.text("name")?,
            digest: fields.digest("digest")?,
            last4: fields.text("last4")?,
            environment: fields.text("environment")?,
            scopes: columns::scopes_from_text(fields.get("scopes")?),
            expires_unix_ms: fields.maybe_number("expires_unix_ms")?,
            ip_allowlist: columns::networks_from_text(fields.get("ip_allowlist")?)?,
            origins: fields.text("origins")?,
            priority: priority(fields.maybe_number("priority")?)?,
            revoked_unix_ms: fields.maybe_number("revoked_unix_ms")?,
            access_secret: fields.maybe_access_secret()?,
            created_by: fields.maybe_id("created_by")?,
            created_unix_ms: fields.number("created_unix_ms")?,
            version: fields.number("version")?,
        })
    }

    fn columns(&self, columns: ColumnValues) -> Result<ColumnValues, StoreError> {
        let secret = self.access_secret.as_ref();
        Ok(columns
            .fix("id", self.id.bytes())
            .fix("workspace", self.workspace.bytes())
            .fix("project", self.project.bytes())
            .set("name", &self.name)
            .fix("digest", self.digest.as_slice())
            .fix("last4", &self.last4)
            .fix("environment", &self.environment)
            .set("scopes", columns::scopes_to_text(self.scopes))
            .set("expires_unix_ms", self.expires_unix_ms.map(signed))
            .set("ip_allowlist", columns::networks_to_text(&self.ip_allowlist))
            .set("origins", &self.origins)
            .set("priority", self.priority.map(i64::from))
            .fix("revoked_unix_ms", self.revoked_unix_ms.map(signed))
            .fix("created_unix_ms", signed(self.created_unix_ms))
            .set("version", signed(self.version))
            .fix("access_secret_version", secret.map(|secret| i64::from(secret.version)))
            .fix("access_secret_key_id", secret.map(|secret| &secret.key_id))
            .fix("access_secret_sealed", secret.map(|secret| &secret.bytes))
            .fix("created_by", self.created_by.map(|id| id.bytes())))
    }

    async fn prepare(
        writing: &mut Writing,
        (row, _): &mut (Self, Option<Sealed>),
        act: &Act,
    ) -> Result<(), StoreError> {
        row.created_by = maker(writing, row.workspace, &act.actor).await?;
        projects::require(writing, row.workspace, Some(row.project)).await?;
        refuse_taken_name(writing, row).await
    }

    async fn follow_creation(
        writing: &mut Writing,
        (row, floor): &(Self, Option<Sealed>),
        act: &Act,
    ) -> Result<(), StoreError> {
        if let Some(floor) = floor {
            seals::put(writing, row.workspace, row.id, floor).await?;
        }
        events::of_act(writing, act, row.workspace, EventKind::KeyCreated, payload(row)).await
    }

    async fn merge(writing: &mut Writing, old: &Self, row: Self) -> Result<Self, StoreError> {
        // Those that had one name before names were unique can still be changed.
        if old.name != row.name {
            refuse_taken_name(writing, &row).await?;
        }
        let Self { name, scopes, expires_unix_ms, ip_allowlist, origins, priority, .. } = row;
        Ok(Self { name, scopes, expires_unix_ms, ip_allowlist, origins, priority, ..old.clone() })
    }

    async fn end(writing: &mut Writing, mut row: Self, act: &Act) -> Result<Self, StoreError> {
        if row.revoked_unix_ms.is_some() {
            return Ok(row);
        }
        revoke(writing, &mut row, act).await?;
        let detail = format!("name {}", row.name);
        writing.audit(act, Some(row.workspace), "api_key.revoke", row.id, detail).await?;
        Ok(row)
    }

    fn audit_detail(&self) -> String {
        format!("name {}, scopes {}", self.name, columns::scopes_to_text(self.scopes))
    }
}

/// Refuses the name of another key of the project. A revoked one has given up its name.
async fn refuse_taken_name(writing: &mut Writing, row: &ApiKeyRow) -> Result<(), StoreError> {
    let query = sql("SELECT id FROM api_keys
         WHERE workspace = $1 AND project = $2 AND name = $3 AND id <> $4 AND revoked_unix_ms IS NULL");
    let query =
        query.bind(row.workspace.bytes()).bind(row.project.bytes()).bind(&*row.name).bind(row.id.bytes());
    resource::refuse_found::<ApiKeyRow>(writing, query, &row.name).await
}

fn priority(stored: Option<u64>) -> Result<Option<u8>, StoreError> {
    stored.map(u8::try_from).transpose().map_err(|error| StoreError::corrupt(TABLE, error))
}

pub(super) async fn insert(writing: &mut Writing, row: &ApiKeyRow) -> Result<(), StoreError> {
    projects::require(writing, row.workspace, Some(row.project)).await?;
    resource::add(writing, &ApiKeyRow { version: writing.version(), ..row.clone() }).await
}

/// Inserts many as one change of the feed: only a process that starts afterwards has them all.
#[cfg(feature = "fixtures")]
pub(crate) async fn put_many(database: &Database, rows: Vec<ApiKeyRow>) -> Result<(), StoreError> {
    let written = database.write(move |writing| {
        Box::pin(async move {
            for row in &rows {
                let row = ApiKeyRow { version: writing.version(), ..row.clone() };
                resource::insert(writing, &row).await?;
            }
            if let Some(last) = rows.last() {
                writing.announce(Part::Key, Some(last.workspace), last.id);
            }
            Ok(())
        })
    });
    written.await.map(|_| ())
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

/// Emits the event of a key's revocation.
pub(super) async fn tell_revoked(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: KeyId,
    act: &Act,
) -> Result<(), StoreError> {
    let row = resource::find::<ApiKeyRow>(writing.connection(), workspace, id).await?;
    events::of_act(writing, act, workspace, EventKind::KeyRevoked, payload(&row)).await
}

fn payload(row: &ApiKeyRow) -> Json {
    serde_json::json!({
        "id": row.id.to_string(),
        "name": row.name,
        "last4": row.last4,
        "project_id": row.project.to_string(),
    })
}

/// Revokes a key and emits the event.
async fn revoke(writing: &mut Writing, row: &mut ApiKeyRow, act: &Act) -> Result<(), StoreError> {
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
    writing.announce(Part::Key, Some(workspace), id);
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
    let made: Vec<ApiKeyRow> = rows.iter().map(ApiKeyRow::read).collect::<Result<_, _>>()?;
    let works = |row: &&ApiKeyRow| row.expires_unix_ms.is_none_or(|at| at > act.unix_ms);
    let named: Vec<String> =
        made.iter().filter(works).map(|row| format!("{} ({})", row.name, row.id)).collect();
    match keys {
        KeysOnLeave::Ask if named.is_empty() => Ok(String::new()),
        KeysOnLeave::Ask => {
            let more = match named.len().saturating_sub(KEYS_NAMED_MAX) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let names = named.get(..KEYS_NAMED_MAX).unwrap_or(&named).join(", ");
            let detail = format!("API keys that they made still work: {names}{more}");
            Err(StoreError::conflict("member_has_keys", detail, None))
        }
        KeysOnLeave::Keep => Ok(format!(", {} keys that they made kept", named.len())),
        KeysOnLeave::Revoke => {
            for mut row in made {
                revoke(writing, &mut row, act).await?;
            }
            let which = if named.is_empty() { String::new() } else { format!(": {}", named.join(", ")) };
            Ok(format!(", {} keys that they made revoked{which}", named.len()))
        }
    }
}

impl ApiKeys for Database {
    fn filter(
        &self,
        workspace: WorkspaceId,
        project: Option<ProjectId>,
        page: Page<KeyId>,
    ) -> StoreFuture<'_, Listed<ApiKeyRow, KeyId>> {
        Box::pin(async move {
            let query = sql(
                "SELECT * FROM api_keys WHERE workspace = $1 AND id > $2 AND ($3 IS NULL OR project = $3)
                 ORDER BY id LIMIT $4",
            );
            let query =
                query.bind(workspace.bytes()).bind(after(page.after)).bind(project.map(|id| id.bytes()));
            resource::page(&mut self.read().await?, query, &page).await
        })
    }

    fn ids_by_name(&self, workspace: WorkspaceId, name: String, begins: bool) -> StoreFuture<'_, Vec<KeyId>> {
        Box::pin(async move {
            names::ids::<ApiKeyRow>(&mut self.read().await?, "name", workspace, name, begins).await
        })
    }
}
