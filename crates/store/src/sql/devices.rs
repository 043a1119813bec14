//! SQL for the device flow: devices waiting for approval, and the keys issued to them.

use database::act::{Act, Written};
use database::connection::Connection;
use database::error::StoreError;
use database::feed::Part;
use database::fields::{ColumnId, Fields, signed};
use database::statement::{Row, sql};
use database::writing::Writing;
use domain::{KeyId, MemberId, Role, WorkspaceId};

use crate::api_keys::ApiKeyRow;
use crate::devices::{DeviceAnswer, DeviceRow, Devices};
use crate::people::MemberRow;
use crate::sign_ins::TokenDigest;
use crate::sql::api_keys;
use crate::sql::resource::{self, Table};

const WHAT: &str = "device";

fn read(row: &Row) -> Result<DeviceRow, StoreError> {
    let fields = Fields::new("devices", row);
    let answer = match (fields.flag("denied")?, fields.maybe_id("person")?, fields.maybe_id("workspace")?) {
        (true, ..) => Some(DeviceAnswer::Denied),
        (false, Some(person), Some(workspace)) => Some(DeviceAnswer::Approved { person, workspace }),
        (false, ..) => None,
    };
    Ok(DeviceRow {
        digest: fields.digest("digest")?,
        user_code: fields.digest("user_code")?,
        client_name: fields.text("client_name")?,
        address: fields.text("address")?,
        answer,
        polled_unix_ms: fields.maybe_number("polled_unix_ms")?,
        created_unix_ms: fields.number("created_unix_ms")?,
        expires_unix_ms: fields.number("expires_unix_ms")?,
    })
}

async fn waiting(
    connection: &mut Connection,
    user_code: TokenDigest,
    unix_ms: u64,
) -> Result<Option<DeviceRow>, StoreError> {
    let query = sql(
        "SELECT * FROM devices WHERE user_code = $1 AND expires_unix_ms > $2 AND denied = 0 AND person IS NULL",
    );
    let row = query.bind(user_code.to_vec()).bind(signed(unix_ms)).row(connection).await?;
    row.as_ref().map(read).transpose()
}

async fn find(
    connection: &mut Connection,
    digest: TokenDigest,
    unix_ms: u64,
) -> Result<Option<DeviceRow>, StoreError> {
    let query = sql("SELECT * FROM devices WHERE digest = $1 AND expires_unix_ms > $2");
    let row = query.bind(digest.to_vec()).bind(signed(unix_ms)).row(connection).await?;
    row.as_ref().map(read).transpose()
}

async fn ask(writing: &mut Writing, device: DeviceRow, waiting_max: u32) -> Result<(), StoreError> {
    let query = sql("DELETE FROM devices WHERE expires_unix_ms <= $1");
    let query = query.bind(signed(device.created_unix_ms));
    query.run(writing.connection()).await?;
    // Approved devices and consents have a person, and wait for no approval.
    let query = sql("SELECT COUNT(*) AS held FROM devices WHERE person IS NULL");
    let row = query.one(writing.connection()).await?;
    let count = Fields::new("devices", &row).number("held")?;
    if count >= u64::from(waiting_max) {
        let detail = "too many devices are waiting to be approved";
        return Err(StoreError::conflict("too_many_devices", detail, None));
    }
    let query = sql(
        "INSERT INTO devices (digest, user_code, client_name, address, denied, created_unix_ms, expires_unix_ms)
         VALUES ($1, $2, $3, $4, 0, $5, $6)",
    );
    query
        .bind(device.digest.to_vec())
        .bind(device.user_code.to_vec())
        .bind(device.client_name)
        .bind(device.address)
        .bind(signed(device.created_unix_ms))
        .bind(signed(device.expires_unix_ms))
        .run(writing.connection())
        .await?;
    Ok(())
}

async fn answer(
    writing: &mut Writing,
    user_code: TokenDigest,
    answer: DeviceAnswer,
    workspace: WorkspaceId,
    act: Act,
) -> Result<DeviceRow, StoreError> {
    let Some(device) = waiting(writing.connection(), user_code, act.unix_ms).await? else {
        return Err(StoreError::NotFound { what: WHAT });
    };
    let (person, approved, action) = match answer {
        DeviceAnswer::Denied => (None, None, "device.deny"),
        DeviceAnswer::Approved { person, workspace } => (Some(person), Some(workspace), "device.approve"),
    };
    sql("UPDATE devices SET denied = $2, person = $3, workspace = $4 WHERE digest = $1")
        .bind(device.digest.to_vec())
        .bind(i64::from(person.is_none()))
        .bind(person.map(|id| id.bytes()))
        .bind(approved.map(|id| id.bytes()))
        .run(writing.connection())
        .await?;
    let detail = format!("requested from {}", device.address);
    writing.audit(&act, Some(workspace), action, &device.client_name, detail).await?;
    Ok(DeviceRow { answer: Some(answer), ..device })
}

async fn poll(
    writing: &mut Writing,
    digest: TokenDigest,
    unix_ms: u64,
) -> Result<Option<DeviceRow>, StoreError> {
    let found = find(writing.connection(), digest, unix_ms).await?;
    if found.is_some() {
        let query = sql("UPDATE devices SET polled_unix_ms = $2 WHERE digest = $1");
        let query = query.bind(digest.to_vec()).bind(signed(unix_ms));
        query.run(writing.connection()).await?;
    }
    Ok(found)
}

async fn grant(
    writing: &mut Writing,
    digest: TokenDigest,
    role: Role,
    mut key: ApiKeyRow,
    act: Act,
) -> Result<ApiKeyRow, StoreError> {
    let gone = || StoreError::NotFound { what: WHAT };
    let device = find(writing.connection(), digest, act.unix_ms).await?.ok_or_else(gone)?;
    let Some(DeviceAnswer::Approved { person, workspace }) = device.answer else { return Err(gone()) };
    let member = resource::find::<MemberRow>(writing.connection(), workspace, person).await?;
    if member.role != role || member.accepted_unix_ms.is_none() || key.workspace != workspace {
        return Err(gone());
    }
    let query = sql("DELETE FROM devices WHERE digest = $1").bind(digest.to_vec());
    query.run(writing.connection()).await?;
    key.created_by = Some(person);
    api_keys::insert(writing, &key).await?;
    key.version = writing.version();
    sql("INSERT INTO device_keys (id, workspace, person) VALUES ($1, $2, $3)")
        .bind(key.id.bytes())
        .bind(workspace.bytes())
        .bind(person.bytes())
        .run(writing.connection())
        .await?;
    let detail = format!("a device of {person}, name {}", key.name);
    writing.audit(&act, Some(workspace), "api_key.create", key.id, detail).await?;
    Ok(key)
}

async fn give_back(
    writing: &mut Writing,
    workspace: WorkspaceId,
    key: KeyId,
    act: Act,
) -> Result<bool, StoreError> {
    let query = sql("SELECT id FROM device_keys WHERE id = $1 AND workspace = $2");
    let query = query.bind(key.bytes()).bind(workspace.bytes());
    if query.row(writing.connection()).await?.is_none() {
        return Ok(false);
    }
    let row = resource::find::<ApiKeyRow>(writing.connection(), workspace, key).await?;
    ApiKeyRow::end(writing, row, &act).await.map(|_| true)
}

/// Revokes the keys issued to a member's devices, and returns how many.
pub(super) async fn end_keys(
    writing: &mut Writing,
    workspace: WorkspaceId,
    person: MemberId,
    act: &Act,
) -> Result<usize, StoreError> {
    let query = sql("SELECT api_keys.id FROM device_keys JOIN api_keys ON api_keys.id = device_keys.id
         WHERE device_keys.workspace = $1 AND person = $2 AND revoked_unix_ms IS NULL");
    let query = query.bind(workspace.bytes()).bind(person.bytes());
    let rows = query.rows(writing.connection()).await?;
    let version = signed(writing.version());
    for row in &rows {
        let key: KeyId = Fields::new("device_keys", row).id("id")?;
        sql("UPDATE api_keys SET revoked_unix_ms = $2, version = $3 WHERE id = $1")
            .bind(key.bytes())
            .bind(signed(act.unix_ms))
            .bind(version)
            .run(writing.connection())
            .await?;
        writing.announce(Part::Key, Some(workspace), key);
        api_keys::tell_revoked(writing, workspace, key, act).await?;
    }
    Ok(rows.len())
}

impl Devices<'_> {
    /// Deletes expired devices first; refused as `too_many_devices` if `waiting_max` are waiting already.
    pub async fn create(self, device: DeviceRow, waiting_max: u32) -> Result<(), StoreError> {
        let work = self.0.write(move |writing| Box::pin(ask(writing, device, waiting_max)));
        work.await.map(|written| written.row)
    }

    /// The device with this user code, if it has neither been answered nor expired.
    pub async fn waiting(
        self,
        user_code: TokenDigest,
        unix_ms: u64,
    ) -> Result<Option<DeviceRow>, StoreError> {
        waiting(&mut self.0.read().await?, user_code, unix_ms).await
    }

    pub async fn answer(
        self,
        user_code: TokenDigest,
        device_answer: DeviceAnswer,
        workspace: WorkspaceId,
        act: Act,
    ) -> Result<DeviceRow, StoreError> {
        let work =
            self.0.write(move |writing| Box::pin(answer(writing, user_code, device_answer, workspace, act)));
        work.await.map(|written| written.row)
    }

    /// Returns the device as it was before this poll, and records the time of the poll.
    pub async fn poll(self, digest: TokenDigest, unix_ms: u64) -> Result<Option<DeviceRow>, StoreError> {
        let work = self.0.write(move |writing| Box::pin(poll(writing, digest, unix_ms)));
        work.await.map(|written| written.row)
    }

    /// Exchanges an approval for a key, as long as the approver still has this role in the workspace.
    pub async fn grant(
        self,
        digest: TokenDigest,
        role: Role,
        key: ApiKeyRow,
        act: Act,
    ) -> Result<Written<ApiKeyRow>, StoreError> {
        self.0.write(move |writing| Box::pin(grant(writing, digest, role, key, act))).await
    }

    /// Revokes a key that was issued to a device; `false` if it is another kind of key.
    pub async fn revoke_key(
        self,
        workspace: WorkspaceId,
        key: KeyId,
        act: Act,
    ) -> Result<Written<bool>, StoreError> {
        self.0.write(move |writing| Box::pin(give_back(writing, workspace, key, act))).await
    }
}
