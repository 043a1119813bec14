//! SQL for key rotation.

use database::act::{Act, Written};
use database::connection::Connection;
use database::error::StoreError;
use database::feed::Part;
use database::fields::{ColumnId, Fields, signed};
use database::meta;
use database::statement::{Row, Statement, compose, sql};
use database::writing::Writing;
use domain::master_key::{self, wrapped_prefix};
use domain::{ContentKind, Sealed, WorkspaceId};
use snapshot::WrappedKey;

use crate::rotations::{
    ContentRow, KeyCursor, REKEYED_PREFIX, Resealing, Rewrapping, Rotations, SealedRow, SealedThing,
};
use crate::sql::{accounts, workspaces};

const MASTER: &str = "master key";

fn conflict<T>(what: &'static str, detail: impl Into<String>) -> Result<T, StoreError> {
    Err(StoreError::conflict(what, detail, None))
}

async fn fact(writing: &mut Writing, name: &'static str) -> Result<Option<String>, StoreError> {
    let found = meta::find(writing.connection(), name.to_owned()).await?;
    found
        .map(|value| String::from_utf8(value).map_err(|error| StoreError::corrupt("meta", error)))
        .transpose()
}

fn set(name: &str, value: impl Into<Vec<u8>>) -> (String, Vec<u8>) {
    (name.to_owned(), value.into())
}

async fn begin_master(writing: &mut Writing, next: String, act: Act) -> Result<(), StoreError> {
    if let Some(pending) = fact(writing, master_key::NEXT).await? {
        return conflict("rotation_under_way", format!("the master key is being replaced by {pending}"));
    }
    if let Some(previous) = fact(writing, master_key::PREVIOUS).await? {
        let detail =
            format!("the last change is not finalized: {previous} can still open keys; finalize it first");
        return conflict("rotation_not_finalized", detail);
    }
    let current = fact(writing, master_key::CURRENT).await?.unwrap_or_default();
    let retired = fact(writing, master_key::RETIRED).await?.unwrap_or_default();
    if current == next || retired.lines().any(|id| id == next) {
        return conflict("master_key_used", format!("the master key {next} is or was already in force"));
    }
    meta::put(writing, vec![set(master_key::NEXT, next.clone())]).await?;
    writing.announce(Part::Other, None, MASTER);
    let audited_in = audit_workspace(writing, accounts::OPERATOR).await?;
    writing.audit(&act, audited_in, "master_key.rotate", next, format!("in place of {current}")).await
}

fn read_keys(rows: &[Row]) -> Result<Vec<WrappedKey>, StoreError> {
    rows.iter().map(workspaces::read_key).collect()
}

async fn wrapped_otherwise(
    connection: &mut Connection,
    prefix: Vec<u8>,
    after: Option<KeyCursor>,
    rows_max: u32,
) -> Result<Vec<WrappedKey>, StoreError> {
    let (workspace, key_id) = after.map_or((Vec::new(), String::new()), |(id, key)| (id.bytes(), key));
    let query = sql("SELECT workspace, key_id, wrapped FROM workspace_keys
         WHERE (workspace, key_id) > ($2, $3) AND substr(wrapped, 1, length($1)) <> $1
         ORDER BY workspace, key_id LIMIT $4");
    let query = query.bind(prefix).bind(workspace).bind(key_id).bind(i64::from(rows_max));
    read_keys(&query.rows(connection).await?)
}

/// Whether every key is wrapped with this master key, except for the broken ones, which can't be opened.
async fn is_wrapped(
    writing: &mut Writing,
    master_key: &str,
    broken: &[KeyCursor],
) -> Result<bool, StoreError> {
    let rows_max = u32::try_from(broken.len() + 1).unwrap_or(u32::MAX);
    let prefix = wrapped_prefix(master_key);
    let left = wrapped_otherwise(writing.connection(), prefix, None, rows_max).await?;
    Ok(left.iter().all(|key| broken.iter().any(|(id, name)| *id == key.workspace && *name == key.key_id)))
}

/// On PostgreSQL a round trip costs more than the work, so all keys go in one statement; SQLite has no round
/// trip.
async fn rewrap(writing: &mut Writing, keys: Vec<Rewrapping>) -> Result<u64, StoreError> {
    if matches!(writing.connection(), Connection::Postgres(_)) {
        let row = |key: &Rewrapping| {
            let Rewrapping { old, new } = key;
            [hex(&old.workspace.bytes()), old.key_id.clone(), hex(&old.wrapped), hex(new)]
        };
        let rows = serde_json::Value::from_iter(keys.iter().map(|key| row(key).to_vec()));
        let query = sql(
            "UPDATE workspace_keys SET wrapped = decode(row->>3, 'hex') FROM json_array_elements($1::json) AS row
             WHERE workspace = decode(row->>0, 'hex') AND key_id = row->>1 AND wrapped = decode(row->>2, 'hex')",
        );
        return query.bind(rows.to_string()).run(writing.connection()).await;
    }
    let mut written = 0;
    for Rewrapping { old, new } in keys {
        let query = sql("UPDATE workspace_keys SET wrapped = $4
             WHERE workspace = $1 AND key_id = $2 AND wrapped = $3");
        let query = query.bind(old.workspace.bytes()).bind(old.key_id).bind(old.wrapped).bind(new);
        written += query.run(writing.connection()).await?;
    }
    Ok(written)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn switch_master(
    writing: &mut Writing,
    next: String,
    mut records: Vec<(String, Vec<u8>)>,
    broken: Vec<KeyCursor>,
    act: Act,
) -> Result<bool, StoreError> {
    if fact(writing, master_key::NEXT).await?.as_ref() != Some(&next)
        || !is_wrapped(writing, &next, &broken).await?
    {
        return Ok(false);
    }
    let current = fact(writing, master_key::CURRENT).await?.unwrap_or_default();
    records.push(set(master_key::PREVIOUS, current.clone()));
    meta::put(writing, records).await?;
    meta::remove(writing, master_key::NEXT).await?;
    writing.announce(Part::Other, None, MASTER);
    let detail = format!("{current} can still open keys; {} keys can't be opened at all", broken.len());
    let audited_in = audit_workspace(writing, accounts::OPERATOR).await?;
    writing.audit(&act, audited_in, "master_key.switch", next, detail).await?;
    Ok(true)
}

async fn retire_master(writing: &mut Writing, broken: Vec<KeyCursor>, act: Act) -> Result<bool, StoreError> {
    let Some(previous) = fact(writing, master_key::PREVIOUS).await? else {
        return conflict("nothing_to_finalize", "no master key is waiting to be retired");
    };
    let current = fact(writing, master_key::CURRENT).await?.unwrap_or_default();
    if !is_wrapped(writing, &current, &broken).await? {
        return Ok(false);
    }
    let mut retired = fact(writing, master_key::RETIRED).await?.unwrap_or_default();
    retired.push_str(&previous);
    retired.push('\n');
    meta::put(writing, vec![set(master_key::RETIRED, retired)]).await?;
    meta::remove(writing, master_key::PREVIOUS).await?;
    writing.announce(Part::Other, None, MASTER);
    let detail = format!("only {current} is in force");
    let audited_in = audit_workspace(writing, accounts::OPERATOR).await?;
    writing.audit(&act, audited_in, "master_key.finalize", previous, detail).await?;
    Ok(true)
}

fn rekeyed(workspace: WorkspaceId) -> String {
    format!("{REKEYED_PREFIX}{workspace}")
}

/// The workspace whose audit gets the entry. The operator's entries go to the oldest workspace, whose owners
/// run the installation.
async fn audit_workspace(
    writing: &mut Writing,
    workspace: WorkspaceId,
) -> Result<Option<WorkspaceId>, StoreError> {
    if workspace != accounts::OPERATOR {
        return Ok(Some(workspace));
    }
    let row = sql("SELECT id FROM workspaces ORDER BY id LIMIT 1").row(writing.connection()).await?;
    row.map(|row| Fields::new("workspaces", &row).id("id")).transpose()
}

fn announce_keys(writing: &mut Writing, workspace: WorkspaceId) {
    let part = if workspace == accounts::OPERATOR { Part::Accounts } else { Part::Workspace };
    writing.announce(part, Some(workspace), workspace);
}

async fn begin_workspace(writing: &mut Writing, key: WrappedKey, act: Act) -> Result<(), StoreError> {
    let name = rekeyed(key.workspace);
    if meta::find(writing.connection(), name.clone()).await?.is_some() {
        return conflict("rotation_under_way", "the workspace's key is being replaced already");
    }
    workspaces::insert_key(writing, &key).await?;
    meta::put(writing, vec![(name, key.key_id.clone().into_bytes())]).await?;
    let audited_in = audit_workspace(writing, key.workspace).await?;
    writing.audit(&act, audited_in, "workspace_key.rotate", &key.key_id, String::new()).await
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Credential,
    Node,
    Account,
    Webhook,
    Policy,
    AccessKey,
    Floor,
}

/// Selects the rows of a kind that another key seals.
fn otherwise(kind: Kind, workspace: WorkspaceId, key_id: &str) -> Statement {
    let of_workspace = |text| sql(text).bind(workspace.bytes()).bind(key_id);
    match kind {
        Kind::Credential => of_workspace(
            "SELECT id, secret_version AS version, secret_key_id AS key_id, secret_sealed AS sealed FROM credentials
             WHERE workspace = $1 AND secret_key_id <> $2 ORDER BY id",
        ),
        Kind::Node => of_workspace(
            "SELECT id, secret_version AS version, secret_key_id AS key_id, secret_sealed AS sealed FROM nodes
             WHERE workspace = $1 AND secret_key_id <> $2 ORDER BY id",
        ),
        Kind::Policy => of_workspace(
            "SELECT id, secret_version AS version, secret_key_id AS key_id, secret_sealed AS sealed FROM policies
             WHERE workspace = $1 AND secret_key_id <> $2 ORDER BY id",
        ),
        Kind::AccessKey => of_workspace(
            "SELECT id, access_secret_version AS version, access_secret_key_id AS key_id, access_secret_sealed AS sealed FROM api_keys
             WHERE workspace = $1 AND access_secret_key_id <> $2 ORDER BY id",
        ),
        Kind::Webhook => of_workspace(
            "SELECT webhook, generation, secret_version AS version, secret_key_id AS key_id, secret_sealed AS sealed
             FROM webhook_secrets JOIN webhooks ON webhooks.id = webhook
             WHERE workspace = $1 AND secret_key_id <> $2 ORDER BY webhook, generation",
        ),
        Kind::Floor => {
            of_workspace("SELECT * FROM seal_floors WHERE workspace = $1 AND key_id <> $2 ORDER BY object")
        }
        // All accounts are the operator's.
        Kind::Account => sql(
            "SELECT id, secret_version AS version, secret_key_id AS key_id, secret_sealed AS sealed FROM accounts
             WHERE secret_key_id <> $1 ORDER BY id",
        )
        .bind(key_id),
    }
}

fn read_sealed(kind: Kind, row: &Row) -> Result<SealedRow, StoreError> {
    let fields = Fields::new("sealed things", row);
    let thing = match kind {
        Kind::Credential => SealedThing::Credential(fields.id("id")?),
        Kind::Node => SealedThing::Node(fields.id("id")?),
        Kind::Account => SealedThing::Account(fields.id("id")?),
        Kind::Policy => SealedThing::Policy(fields.id("id")?),
        Kind::Webhook => SealedThing::Webhook(fields.id("webhook")?, fields.small("generation")?),
        Kind::AccessKey => SealedThing::AccessKey(fields.id("id")?),
        Kind::Floor => SealedThing::Floor(fields.text("object")?),
    };
    let sealed = Sealed {
        version: fields.small("version")?,
        key_id: fields.text("key_id")?,
        bytes: fields.get("sealed")?,
    };
    Ok(SealedRow { thing, sealed })
}

async fn sealed_otherwise(
    connection: &mut Connection,
    workspace: WorkspaceId,
    key_id: &str,
) -> Result<Vec<SealedRow>, StoreError> {
    let kinds = if workspace == accounts::OPERATOR {
        [Kind::Account, Kind::Floor].as_slice()
    } else {
        &[Kind::Credential, Kind::Node, Kind::Webhook, Kind::Policy, Kind::AccessKey, Kind::Floor]
    };
    let mut found = Vec::new();
    for kind in kinds {
        for row in &otherwise(*kind, workspace, key_id).rows(connection).await? {
            found.push(read_sealed(*kind, row)?);
        }
    }
    Ok(found)
}

/// The table of a kind of content.
const fn table_of(kept: ContentKind) -> &'static str {
    match kept {
        ContentKind::Answer => "kept_answers",
        ContentKind::Turn => "kept_turns",
        ContentKind::State => "state_contents",
        ContentKind::Batch => "batch_contents",
        ContentKind::Export => "data_export_parts",
        ContentKind::Request => "request_contents",
        ContentKind::Task => "run_contents",
        ContentKind::File => "files",
        ContentKind::Tool => "tool_secrets",
        ContentKind::Flow => "flow_contents",
    }
}

async fn kept_otherwise(
    connection: &mut Connection,
    kept: ContentKind,
    workspace: WorkspaceId,
    key_id: &str,
    after: Option<[u8; 32]>,
    rows_max: u32,
) -> Result<Vec<SealedRow>, StoreError> {
    let query = compose(format!(
        "SELECT digest, project, request, sealed_version, sealed_key_id, sealed FROM {}
         WHERE workspace = $1 AND sealed_key_id <> $2 AND digest > $3 ORDER BY digest LIMIT $4",
        table_of(kept)
    ));
    let after = after.map(|digest| digest.to_vec()).unwrap_or_default();
    let query = query.bind(workspace.bytes()).bind(key_id).bind(after).bind(i64::from(rows_max));
    let read = |row: &Row| {
        let fields = Fields::new("kept content", row);
        let content = ContentRow {
            kept,
            digest: fields.digest("digest")?,
            project: fields.id("project")?,
            request: fields.id("request")?,
        };
        Ok(SealedRow { thing: SealedThing::Content(content), sealed: fields.sealed()? })
    };
    query.rows(connection).await?.iter().map(read).collect()
}

/// Updates one row, if it is unchanged since it was read.
async fn reseal_one(
    writing: &mut Writing,
    workspace: WorkspaceId,
    Resealing { old, new }: Resealing,
) -> Result<u64, StoreError> {
    let statement = match &old.thing {
        SealedThing::Credential(_) => {
            "UPDATE credentials SET secret_key_id = $1, secret_sealed = $2
             WHERE secret_version = $3 AND secret_key_id = $4 AND id = $5"
        }
        SealedThing::Node(_) => {
            "UPDATE nodes SET secret_key_id = $1, secret_sealed = $2
             WHERE secret_version = $3 AND secret_key_id = $4 AND id = $5"
        }
        SealedThing::Account(_) => {
            "UPDATE accounts SET secret_key_id = $1, secret_sealed = $2
             WHERE secret_version = $3 AND secret_key_id = $4 AND id = $5"
        }
        SealedThing::AccessKey(_) => {
            "UPDATE api_keys SET access_secret_key_id = $1, access_secret_sealed = $2
             WHERE access_secret_version = $3 AND access_secret_key_id = $4 AND id = $5"
        }
        SealedThing::Policy(_) => {
            "UPDATE policies SET secret_key_id = $1, secret_sealed = $2
             WHERE secret_version = $3 AND secret_key_id = $4 AND id = $5"
        }
        SealedThing::Webhook(..) => {
            "UPDATE webhook_secrets SET secret_key_id = $1, secret_sealed = $2
             WHERE secret_version = $3 AND secret_key_id = $4 AND webhook = $5 AND generation = $6"
        }
        SealedThing::Content(ContentRow { kept, .. }) => &format!(
            "UPDATE {} SET sealed_key_id = $1, sealed = $2
             WHERE sealed_version = $3 AND sealed_key_id = $4 AND digest = $5 AND request = $6",
            table_of(*kept)
        ),
        SealedThing::Floor(_) => {
            "UPDATE seal_floors SET key_id = $1, sealed = $2
             WHERE version = $3 AND key_id = $4 AND object = $5 AND workspace = $6"
        }
    };
    let query = compose(statement.to_owned()).bind(new.key_id).bind(new.bytes);
    let query = query.bind(i64::from(old.sealed.version)).bind(old.sealed.key_id);
    let query = match old.thing {
        SealedThing::Credential(id) => query.bind(id.bytes()),
        SealedThing::Node(id) => query.bind(id.bytes()),
        SealedThing::Account(id) => query.bind(id.bytes()),
        SealedThing::AccessKey(id) => query.bind(id.bytes()),
        SealedThing::Policy(id) => query.bind(id.bytes()),
        SealedThing::Webhook(id, generation) => query.bind(id.bytes()).bind(i64::from(generation)),
        SealedThing::Content(content) => query.bind(content.digest.to_vec()).bind(content.request.bytes()),
        SealedThing::Floor(object) => query.bind(object).bind(workspace.bytes()),
    };
    query.run(writing.connection()).await
}

async fn reseal(
    writing: &mut Writing,
    workspace: WorkspaceId,
    rows: Vec<Resealing>,
) -> Result<u64, StoreError> {
    let (mut written, mut in_snapshot) = (0, false);
    for row in rows {
        let is_kept = matches!(row.old.thing, SealedThing::Content(_));
        let key = match &row.old.thing {
            SealedThing::AccessKey(id) => Some(*id),
            _ => None,
        };
        let touched = reseal_one(writing, workspace, row).await?;
        if let Some(id) = key.filter(|_| touched > 0) {
            writing.announce(Part::Key, Some(workspace), id);
        }
        in_snapshot |= touched > 0 && !is_kept;
        written += touched;
    }
    if in_snapshot {
        announce_keys(writing, workspace);
    }
    Ok(written)
}

async fn end_workspace(
    writing: &mut Writing,
    workspace: WorkspaceId,
    key_id: String,
    act: Act,
) -> Result<bool, StoreError> {
    let keys = sql("SELECT key_id FROM workspace_keys WHERE workspace = $1 ORDER BY ordinal DESC");
    let keys = keys.bind(workspace.bytes()).rows(writing.connection()).await?;
    let newest = keys.first().map(|row| Fields::new("workspace_keys", row).text("key_id")).transpose()?;
    if newest.is_none() {
        // The workspace was deleted, and everything that its key was to seal with it.
        meta::remove(writing, rekeyed(workspace)).await?;
        return Ok(true);
    }
    let mut is_used = !sealed_otherwise(writing.connection(), workspace, &key_id).await?.is_empty();
    for kept in ContentKind::ALL {
        let connection = writing.connection();
        is_used = is_used || !kept_otherwise(connection, kept, workspace, &key_id, None, 1).await?.is_empty();
    }
    if newest.as_ref() != Some(&key_id) || is_used {
        return Ok(false);
    }
    let query = sql("DELETE FROM workspace_keys WHERE workspace = $1 AND key_id <> $2");
    query.bind(workspace.bytes()).bind(&key_id).run(writing.connection()).await?;
    meta::remove(writing, rekeyed(workspace)).await?;
    announce_keys(writing, workspace);
    let dropped = signed(keys.len() as u64).saturating_sub(1);
    let detail = format!("{dropped} older keys were dropped");
    let audited_in = audit_workspace(writing, workspace).await?;
    writing.audit(&act, audited_in, "workspace_key.rotated", key_id, detail).await?;
    Ok(true)
}

/// `None` if a change could not be made yet.
fn completion(written: &Written<bool>) -> Option<Written<()>> {
    written.row.then_some(Written { version: written.version, row: () })
}

impl Rotations<'_> {
    /// Names the master key that is to replace the current one.
    pub async fn begin_master(self, next: String, act: Act) -> Result<Written<()>, StoreError> {
        self.0.write(move |writing| Box::pin(begin_master(writing, next, act))).await
    }

    /// Keys whose wrapping does not have this prefix, in order, from a cursor.
    pub async fn list_wrapped_otherwise(
        self,
        prefix: Vec<u8>,
        after: Option<KeyCursor>,
        rows_max: u32,
    ) -> Result<Vec<WrappedKey>, StoreError> {
        wrapped_otherwise(&mut self.0.read().await?, prefix, after, rows_max).await
    }

    /// How many there are.
    pub async fn count_wrapped_otherwise(self, prefix: Vec<u8>) -> Result<u64, StoreError> {
        let query =
            sql("SELECT COUNT(*) AS found FROM workspace_keys WHERE substr(wrapped, 1, length($1)) <> $1");
        let row = query.bind(prefix).one(&mut self.0.read().await?).await?;
        Fields::new("workspace_keys", &row).number("found")
    }

    /// Updates those that are unchanged since they were read; returns how many.
    pub async fn rewrap(self, keys: Vec<Rewrapping>) -> Result<u64, StoreError> {
        self.0.note(move |writing| Box::pin(rewrap(writing, keys))).await
    }

    /// Makes the next master key current, with the records sealed under it, once every key but the `broken`
    /// ones is wrapped with it. `None` if that is not so yet.
    pub async fn switch_master(
        self,
        next: String,
        records: Vec<(String, Vec<u8>)>,
        broken: Vec<KeyCursor>,
        act: Act,
    ) -> Result<Option<Written<()>>, StoreError> {
        let work = self.0.write(move |writing| Box::pin(switch_master(writing, next, records, broken, act)));
        work.await.map(|written| completion(&written))
    }

    /// Retires the previous master key, once only `broken` keys are wrapped with it.
    pub async fn retire_master(
        self,
        broken: Vec<KeyCursor>,
        act: Act,
    ) -> Result<Option<Written<()>>, StoreError> {
        let work = self.0.write(move |writing| Box::pin(retire_master(writing, broken, act)));
        work.await.map(|written| completion(&written))
    }

    /// Adds a newer key to a workspace, and the fact that everything is to be resealed with it.
    pub async fn begin_workspace(self, key: WrappedKey, act: Act) -> Result<Written<()>, StoreError> {
        self.0.write(move |writing| Box::pin(begin_workspace(writing, key, act))).await
    }

    /// Every row that another key than this one seals, except stored content.
    pub async fn list_sealed_otherwise(
        self,
        workspace: WorkspaceId,
        key_id: String,
    ) -> Result<Vec<SealedRow>, StoreError> {
        sealed_otherwise(&mut self.0.read().await?, workspace, &key_id).await
    }

    /// Stored content that another key than this one seals, in order, from a cursor.
    pub async fn list_content_sealed_otherwise(
        self,
        kept: ContentKind,
        workspace: WorkspaceId,
        key_id: String,
        after: Option<[u8; 32]>,
        rows_max: u32,
    ) -> Result<Vec<SealedRow>, StoreError> {
        kept_otherwise(&mut self.0.read().await?, kept, workspace, &key_id, after, rows_max).await
    }

    /// Updates those that are unchanged since they were read; returns how many.
    pub async fn reseal(
        self,
        workspace: WorkspaceId,
        rows: Vec<Resealing>,
    ) -> Result<Written<u64>, StoreError> {
        self.0.write(move |writing| Box::pin(reseal(writing, workspace, rows))).await
    }

    /// Deletes every key of a workspace but its newest, which must be this one, once nothing is sealed with
    /// another.
    pub async fn end_workspace(
        self,
        workspace: WorkspaceId,
        key_id: String,
        act: Act,
    ) -> Result<Option<Written<()>>, StoreError> {
        let work = self.0.write(move |writing| Box::pin(end_workspace(writing, workspace, key_id, act)));
        work.await.map(|written| completion(&written))
    }
}
