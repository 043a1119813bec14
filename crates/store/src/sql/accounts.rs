//! SQL for the operator's provider accounts, whose secrets are sealed under the nil workspace.

use domain::{AccountId, WorkspaceId};

use super::fields::{ColumnId, Fields, after};
use super::writing::{Writing, expect_version, signed};
use super::{Connection, Database, Row, agreements, seals, sql};
use crate::feed::Part;
use crate::{
    AccountRow, Accounts, Act, Listed, NewSecret, Page, SealedSecret, StoreError, StoreFuture, Verification,
    Written, stored,
};

const TABLE: &str = "accounts";
const WHAT: &str = "account";
pub(super) const OPERATOR: WorkspaceId = WorkspaceId::from_uuid(uuid::Uuid::nil());

/// Everything but the anti-rollback record, which is in another table.
pub(super) fn read(row: &Row) -> Result<AccountRow, StoreError> {
    let fields = Fields::new(TABLE, row);
    let no_floor = domain::Sealed { version: 0, key_id: String::new(), bytes: Vec::new() };
    Ok(AccountRow {
        id: fields.id("id")?,
        provider: fields.text("provider")?,
        display_name: fields.text("display_name")?,
        auth: fields.text("auth")?,
        secret: SealedSecret {
            sealed: fields.sealed()?,
            floor: no_floor,
            fingerprint: fields.text("fingerprint")?,
        },
        base_url: fields.maybe_text("base_url")?,
        region: fields.maybe_text("region")?,
        config: fields.json("config")?,
        pricing: stored::pricing_from_text(TABLE, fields.get("pricing")?)?,
        agreement: agreements::read(&fields)?,
        metadata: fields.json("metadata")?,
        models: fields.json("models")?,
        weight: fields.small("weight")?,
        markup_bps: fields.small("markup_bps")?,
        allow_unpriced: fields.flag("allow_unpriced")?,
        disabled: fields.flag("disabled")?,
        last_verified_unix_ms: fields.maybe_number("last_verified_unix_ms")?,
        last_error: fields.maybe_text("last_error")?,
        created_unix_ms: fields.number("created_unix_ms")?,
        version: fields.number("version")?,
    })
}

async fn find(connection: &mut Connection, id: AccountId) -> Result<AccountRow, StoreError> {
    let query = sql("SELECT * FROM accounts WHERE id = $1").bind(id.bytes());
    let row = query.row(connection).await?;
    let mut row = row.as_ref().map_or(Err(StoreError::NotFound { what: WHAT }), read)?;
    row.secret.floor = seals::find(connection, OPERATOR, id).await?;
    Ok(row)
}

async fn insert(writing: &mut Writing, row: &AccountRow) -> Result<(), StoreError> {
    let query = sql(
        "INSERT INTO accounts (id, provider, display_name, auth, secret_version, secret_key_id, secret_sealed,
             fingerprint, base_url, region, config, limits, metadata, models, weight, markup_bps, allow_unpriced,
             disabled, last_verified_unix_ms, last_error, created_unix_ms, version, pricing, retention, commitment,
             compliance)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
             $23, $24, $25, $26)",
    );
    let agreed = agreements::texts(TABLE, &row.agreement)?;
    query
        .bind(row.id.bytes())
        .bind(&row.provider)
        .bind(&row.display_name)
        .bind(&row.auth)
        .bind(i64::from(row.secret.sealed.version))
        .bind(&row.secret.sealed.key_id)
        .bind(&row.secret.sealed.bytes)
        .bind(&row.secret.fingerprint)
        .bind(&row.base_url)
        .bind(&row.region)
        .bind(stored::to_text(TABLE, &row.config)?)
        .bind(agreed.limits)
        .bind(stored::to_text(TABLE, &row.metadata)?)
        .bind(stored::to_text(TABLE, &row.models)?)
        .bind(i64::from(row.weight))
        .bind(i64::from(row.markup_bps))
        .bind(i64::from(row.allow_unpriced))
        .bind(i64::from(row.disabled))
        .bind(row.last_verified_unix_ms.map(signed))
        .bind(&row.last_error)
        .bind(signed(row.created_unix_ms))
        .bind(signed(row.version))
        .bind(stored::pricing_to_text(TABLE, &row.pricing)?)
        .bind(agreed.retention)
        .bind(agreed.commitment)
        .bind(agreed.compliance)
        .run(writing.connection())
        .await?;
    writing.changed(Part::Accounts, None, row.id);
    Ok(())
}

async fn overwrite(writing: &mut Writing, row: &AccountRow) -> Result<(), StoreError> {
    let query = sql("DELETE FROM accounts WHERE id = $1").bind(row.id.bytes());
    query.run(writing.connection()).await?;
    insert(writing, row).await
}

async fn create(writing: &mut Writing, mut row: AccountRow, act: Act) -> Result<AccountRow, StoreError> {
    row.version = writing.version();
    insert(writing, &row).await?;
    seals::put(writing, OPERATOR, row.id, &row.secret.floor).await?;
    let detail = format!("provider {}, fingerprint {}", row.provider, row.secret.fingerprint);
    writing.audit(&act, None, "account.create", row.id, detail).await?;
    Ok(row)
}

async fn replace(
    writing: &mut Writing,
    row: AccountRow,
    secret: Option<NewSecret>,
    expected: Option<u64>,
    act: Act,
) -> Result<AccountRow, StoreError> {
    let old = find(writing.connection(), row.id).await?;
    expect_version(WHAT, expected, old.version)?;
    seals::require_secret_for(WHAT, old.base_url != row.base_url, secret.is_some())?;
    let stated = agreements::change_detail((&old.agreement, &old.pricing), (&row.agreement, &row.pricing));
    let mut row = AccountRow {
        id: old.id,
        provider: old.provider,
        auth: if secret.is_some() { row.auth } else { old.auth },
        secret: old.secret,
        last_verified_unix_ms: old.last_verified_unix_ms,
        last_error: old.last_error,
        created_unix_ms: old.created_unix_ms,
        version: writing.version(),
        ..row
    };
    let action = if secret.is_some() { "account.rotate" } else { "account.update" };
    if let Some(secret) = secret {
        seals::require_next(WHAT, row.secret.sealed.version, &secret.sealed)?;
        seals::put(writing, OPERATOR, row.id, &secret.floor).await?;
        row.secret = secret;
        row.last_verified_unix_ms = None;
        row.last_error = None;
    }
    overwrite(writing, &row).await?;
    let SealedSecret { sealed, fingerprint, .. } = &row.secret;
    let detail = format!("secret version {}, fingerprint {fingerprint}{stated}", sealed.version);
    writing.audit(&act, None, action, row.id, detail).await?;
    Ok(row)
}

async fn verified(
    writing: &mut Writing,
    id: AccountId,
    found: Verification,
    act: Act,
) -> Result<AccountRow, StoreError> {
    let mut row = find(writing.connection(), id).await?;
    if row.secret.sealed.version != found.secret_version {
        return Ok(row);
    }
    row.last_verified_unix_ms = Some(found.unix_ms);
    row.last_error = found.error;
    row.version = writing.version();
    overwrite(writing, &row).await?;
    let detail = if row.last_error.is_some() { "failed" } else { "accepted" };
    writing.audit(&act, None, "account.verify", id, detail.to_owned()).await?;
    Ok(row)
}

async fn delete(
    writing: &mut Writing,
    id: AccountId,
    expected: Option<u64>,
    act: Act,
) -> Result<(), StoreError> {
    let old = find(writing.connection(), id).await?;
    expect_version(WHAT, expected, old.version)?;
    let query = sql("DELETE FROM accounts WHERE id = $1").bind(id.bytes());
    query.run(writing.connection()).await?;
    seals::remove(writing, OPERATOR, id).await?;
    writing.changed(Part::Accounts, None, id);
    let detail = format!("provider {}, fingerprint {}", old.provider, old.secret.fingerprint);
    writing.audit(&act, None, "account.delete", id, detail).await
}

async fn list(store: &Database, page: Page<AccountId>) -> Result<Listed<AccountRow, AccountId>, StoreError> {
    let wanted = page.rows_wanted();
    let mut connection = store.read().await?;
    let rows = sql("SELECT * FROM accounts WHERE id > $1 ORDER BY id LIMIT $2")
        .bind(after(page.after))
        .bind(signed(wanted as u64 + 1))
        .rows(&mut connection)
        .await?;
    let mut rows: Vec<AccountRow> = rows.iter().map(read).collect::<Result<_, _>>()?;
    for row in &mut rows {
        row.secret.floor = seals::find(&mut connection, OPERATOR, row.id).await?;
    }
    Ok(Listed::cut(rows, wanted, |row: &AccountRow| row.id))
}

impl Accounts for Database {
    fn create(&self, row: AccountRow, act: Act) -> StoreFuture<'_, Written<AccountRow>> {
        Box::pin(self.write(move |writing| Box::pin(create(writing, row, act))))
    }

    fn get(&self, id: AccountId) -> StoreFuture<'_, AccountRow> {
        Box::pin(async move { find(&mut self.read().await?, id).await })
    }

    fn list(&self, page: Page<AccountId>) -> StoreFuture<'_, Listed<AccountRow, AccountId>> {
        Box::pin(list(self, page))
    }

    fn replace(
        &self,
        row: AccountRow,
        secret: Option<NewSecret>,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<AccountRow>> {
        Box::pin(self.write(move |writing| Box::pin(replace(writing, row, secret, expected, act))))
    }

    fn verified(&self, id: AccountId, found: Verification, act: Act) -> StoreFuture<'_, Written<AccountRow>> {
        Box::pin(self.write(move |writing| Box::pin(verified(writing, id, found, act))))
    }

    fn delete(&self, id: AccountId, expected: Option<u64>, act: Act) -> StoreFuture<'_, Written<()>> {
        Box::pin(self.write(move |writing| Box::pin(delete(writing, id, expected, act))))
    }
}
