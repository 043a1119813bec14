//! SQL for the anti-rollback records of sealed objects, and the rule that a secret's version increases by
//! one.

use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId, Fields};
use database::seals::require_key;
use database::statement::{Row, sql};
use database::writing::Writing;
use domain::{Sealed, WorkspaceId};
use snapshot::MinimumVersion;

use crate::credentials::SealedSecret;

pub(super) fn read(row: &Row) -> Result<MinimumVersion, StoreError> {
    let fields = Fields::new("seal_floors", row);
    let sealed = Sealed {
        version: fields.small("version")?,
        key_id: fields.text("key_id")?,
        bytes: fields.get("sealed")?,
    };
    Ok(MinimumVersion { workspace: fields.id("workspace")?, object: fields.text("object")?, sealed })
}

/// An object whose record is missing gets an empty one, which opens nothing: the object can still be listed.
pub(super) async fn find(
    connection: &mut Connection,
    workspace: WorkspaceId,
    object: impl ToString,
) -> Result<Sealed, StoreError> {
    let query = sql("SELECT * FROM seal_floors WHERE workspace = $1 AND object = $2");
    let row = query.bind(workspace.bytes()).bind(object.to_string()).row(connection).await?;
    let missing = || Sealed { version: 0, key_id: String::new(), bytes: Vec::new() };
    row.map_or_else(|| Ok(missing()), |row| read(&row).map(|floor| floor.sealed))
}

pub(super) async fn put(
    writing: &mut Writing,
    workspace: WorkspaceId,
    object: impl ToString,
    floor: &Sealed,
) -> Result<(), StoreError> {
    require_key(writing, workspace, &floor.key_id).await?;
    let query = sql(
        "INSERT INTO seal_floors (workspace, object, version, key_id, sealed) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (workspace, object) DO UPDATE SET version = $3, key_id = $4, sealed = $5",
    );
    query
        .bind(workspace.bytes())
        .bind(object.to_string())
        .bind(i64::from(floor.version))
        .bind(&floor.key_id)
        .bind(&floor.bytes)
        .run(writing.connection())
        .await?;
    Ok(())
}

pub(super) async fn remove(
    writing: &mut Writing,
    workspace: WorkspaceId,
    object: impl ToString,
) -> Result<(), StoreError> {
    sql("DELETE FROM seal_floors WHERE workspace = $1 AND object = $2")
        .bind(workspace.bytes())
        .bind(object.to_string())
        .run(writing.connection())
        .await?;
    Ok(())
}

/// Two concurrent rotations both seal the same next version; the later one gets this error.
pub(super) fn require_next(what: &'static str, current: u32, next: &Sealed) -> Result<(), StoreError> {
    if current.checked_add(1) == Some(next.version) {
        return Ok(());
    }
    let detail =
        format!("the {what}'s secret is at version {current}; another rotation came first, read it again");
    Err(StoreError::conflict("secret_version", detail, None))
}

/// A secret is bound to the host that it was given for.
pub(super) fn require_secret_for(
    what: &'static str,
    address_changed: bool,
    secret: bool,
) -> Result<(), StoreError> {
    if !address_changed || secret {
        return Ok(());
    }
    let detail = format!(
        "another base_url for the {what} needs its secret again: a secret is sent only where it was meant to go"
    );
    Err(StoreError::conflict("base_url_needs_secret", detail, None))
}

/// The columns of `sealed` and `fingerprint`. The anti-rollback record is in another table: without it, nothing opens.
pub(super) fn secret(fields: &Fields<'_>) -> Result<SealedSecret, StoreError> {
    let floor = Sealed { version: 0, key_id: String::new(), bytes: Vec::new() };
    Ok(SealedSecret { sealed: fields.secret()?, floor, fingerprint: fields.text("fingerprint")? })
}
