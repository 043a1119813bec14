//! SQL for what has to happen once: a consent that waits to be redeemed is a device that its person has approved already, and a
//! refresh token replaces the secret of the key that such a device was given.

use database::act::{Act, Written};
use database::error::StoreError;
use database::feed::Part;
use database::fields::{ColumnId as _, Fields, signed};
use database::statement::sql;
use database::writing::Writing;
use domain::{KeyId, MemberId, WorkspaceId};
use store::{Store, TokenDigest};

use crate::limits::{WAITING_MAX, WAITING_OF_PERSON_MAX};

/// A person's consent, until its client redeems it.
pub(crate) struct ConsentRow {
    pub digest: TokenDigest,
    /// Nobody types it: such a row is never looked for by it.
    pub user_code: TokenDigest,
    pub client_name: String,
    pub address: String,
    pub person: MemberId,
    pub workspace: WorkspaceId,
    pub created_unix_ms: u64,
    pub expires_unix_ms: u64,
}

/// A new secret of a key, in place of an earlier one.
pub(crate) struct Renewal {
    pub workspace: WorkspaceId,
    pub key: KeyId,
    /// The digest of the secret that it replaces.
    pub from: TokenDigest,
    pub digest: TokenDigest,
    pub last4: String,
    pub expires_unix_ms: u64,
}

/// Keeps a consent. Those that have expired are deleted first; refused as `too_many_devices` if too many wait.
pub(crate) async fn keep(store: &Store, consent: ConsentRow, act: Act) -> Result<(), StoreError> {
    let kept = store.database().write(move |writing| Box::pin(insert(writing, consent, act)));
    kept.await.map(|written| written.row)
}

/// Replaces a key's secret; `false` if it was replaced or revoked meanwhile, or is no such key.
pub(crate) async fn renew(store: &Store, renewal: Renewal, act: Act) -> Result<Written<bool>, StoreError> {
    store.database().write(move |writing| Box::pin(update(writing, renewal, act))).await
}

async fn insert(writing: &mut Writing, consent: ConsentRow, act: Act) -> Result<(), StoreError> {
    let over = sql("DELETE FROM devices WHERE expires_unix_ms <= $1").bind(signed(consent.created_unix_ms));
    over.run(writing.connection()).await?;
    let all = sql("SELECT COUNT(*) AS held FROM devices WHERE person IS NOT NULL");
    let of_person = sql("SELECT COUNT(*) AS held FROM devices WHERE person = $1");
    let of_person = of_person.bind(consent.person.bytes());
    for (held, most) in [(of_person, WAITING_OF_PERSON_MAX), (all, WAITING_MAX)] {
        let row = held.one(writing.connection()).await?;
        if Fields::new("devices", &row).number("held")? >= u64::from(most) {
            let detail = "too many programs already wait for their keys";
            return Err(StoreError::conflict("too_many_devices", detail, None));
        }
    }
    sql(
        "INSERT INTO devices
             (digest, user_code, client_name, address, denied, person, workspace, created_unix_ms, expires_unix_ms)
         VALUES ($1, $2, $3, $4, 0, $5, $6, $7, $8)",
    )
    .bind(consent.digest.to_vec())
    .bind(consent.user_code.to_vec())
    .bind(&consent.client_name)
    .bind(&consent.address)
    .bind(consent.person.bytes())
    .bind(consent.workspace.bytes())
    .bind(signed(consent.created_unix_ms))
    .bind(signed(consent.expires_unix_ms))
    .run(writing.connection())
    .await?;
    let detail = format!("consent at {}", consent.address);
    writing.audit(&act, Some(consent.workspace), "device.approve", &consent.client_name, detail).await
}

async fn update(writing: &mut Writing, renewal: Renewal, act: Act) -> Result<bool, StoreError> {
    let Renewal { workspace, key, from, digest, last4, expires_unix_ms } = renewal;
    let version = signed(writing.version());
    let renewed = sql("UPDATE api_keys SET digest = $4, last4 = $5, expires_unix_ms = $6, version = $7
         WHERE workspace = $1 AND id = $2 AND digest = $3 AND revoked_unix_ms IS NULL
           AND id IN (SELECT id FROM device_keys WHERE workspace = $1)")
    .bind(workspace.bytes())
    .bind(key.bytes())
    .bind(from.to_vec())
    .bind(digest.to_vec())
    .bind(last4)
    .bind(signed(expires_unix_ms))
    .bind(version)
    .run(writing.connection())
    .await?;
    if renewed == 0 {
        return Ok(false);
    }
    writing.announce(Part::Key, Some(workspace), key);
    writing.audit(&act, Some(workspace), "api_key.renew", key, "by its program".to_owned()).await?;
    Ok(true)
}
