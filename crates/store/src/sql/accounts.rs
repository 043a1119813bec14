//! SQL for the operator's provider accounts, whose secrets are sealed under the nil workspace.

use database::act::{Act, Written};
use database::connection::Connection;
use database::error::{StoreError, StoreFuture};
use database::feed::Part;
use database::fields::{ColumnId, Fields, signed, to_text};
use database::handle::Database;
use database::statement::Row;
use database::writing::Writing;
use domain::{AccountId, Principal, WorkspaceId};

use crate::accounts::{AccountRow, Accounts};
use crate::credentials::{NewSecret, SealedSecret, Verification};
use crate::sql::resource::{self, ColumnValues, Table};
use crate::sql::unbooked::refuse_while_open;
use crate::sql::{agreements, seals};

const TABLE: &str = "accounts";
const WHAT: &str = "account";
pub(super) const OPERATOR: WorkspaceId = WorkspaceId::from_uuid(uuid::Uuid::nil());

impl Table for AccountRow {
    const NAME: &'static str = TABLE;
    const WHAT: &'static str = WHAT;
    const PART: Part = Part::Accounts;

    fn read(row: &Row) -> Result<Self, StoreError> {
        let fields = Fields::new(TABLE, row);
        Ok(Self {
            id: fields.id("id")?,
            provider: fields.text("provider")?,
            display_name: fields.text("display_name")?,
            auth: fields.text("auth")?,
            secret: seals::secret(&fields)?,
            base_url: fields.maybe_text("base_url")?,
            region: fields.maybe_text("region")?,
            config: fields.json("config")?,
            pricing: columns::pricing_from_text(TABLE, fields.get("pricing")?)?,
            agreement: columns::agreement::read(&fields)?,
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

    fn columns(&self, columns: ColumnValues) -> Result<ColumnValues, StoreError> {
        let agreed = columns::agreement::texts(TABLE, &self.agreement)?;
        Ok(columns
            .set("id", self.id.bytes())
            .set("provider", &self.provider)
            .set("display_name", &self.display_name)
            .set("auth", &self.auth)
            .secret(Some(&self.secret))
            .set("base_url", &self.base_url)
            .set("region", &self.region)
            .set("config", to_text(TABLE, &self.config)?)
            .set("limits", agreed.limits)
            .set("metadata", to_text(TABLE, &self.metadata)?)
            .set("models", to_text(TABLE, &self.models)?)
            .set("weight", i64::from(self.weight))
            .set("markup_bps", i64::from(self.markup_bps))
            .set("allow_unpriced", i64::from(self.allow_unpriced))
            .set("disabled", i64::from(self.disabled))
            .set("last_verified_unix_ms", self.last_verified_unix_ms.map(signed))
            .set("last_error", &self.last_error)
            .set("created_unix_ms", signed(self.created_unix_ms))
            .set("version", signed(self.version))
            .set("pricing", columns::pricing_to_text(TABLE, &self.pricing)?)
            .set("retention", agreed.retention)
            .set("commitment", agreed.commitment)
            .set("compliance", agreed.compliance))
    }

    async fn load(connection: &mut Connection, rows: &mut [Self]) -> Result<(), StoreError> {
        for row in rows {
            row.secret.floor = seals::find(connection, OPERATOR, row.id).await?;
        }
        Ok(())
    }

    async fn follow_creation(writing: &mut Writing, row: &Self, _: &Act) -> Result<(), StoreError> {
        seals::put(writing, OPERATOR, row.id, &row.secret.floor).await
    }

    async fn merge(
        writing: &mut Writing,
        old: &Self,
        (row, secret): (Self, Option<NewSecret>),
    ) -> Result<Self, StoreError> {
        seals::require_secret_for(WHAT, old.base_url != row.base_url, secret.is_some())?;
        let mut row = Self {
            provider: old.provider.clone(),
            auth: if secret.is_some() { row.auth } else { old.auth.clone() },
            secret: old.secret.clone(),
            last_verified_unix_ms: old.last_verified_unix_ms,
            last_error: old.last_error.clone(),
            created_unix_ms: old.created_unix_ms,
            ..row
        };
        if let Some(secret) = secret {
            seals::require_next(WHAT, row.secret.sealed.version, &secret.sealed)?;
            seals::put(writing, OPERATOR, row.id, &secret.floor).await?;
            row.secret = secret;
            row.last_verified_unix_ms = None;
            row.last_error = None;
        }
        Ok(row)
    }

    async fn overwrite(writing: &mut Writing, row: &Self) -> Result<(), StoreError> {
        resource::reinsert(writing, row).await
    }

    async fn precede_deletion(writing: &mut Writing, old: &Self) -> Result<(), StoreError> {
        let is_of = |_, maker| maker == Principal::Account(old.id);
        refuse_while_open(writing.connection(), (WHAT, None), is_of).await?;
        seals::remove(writing, OPERATOR, old.id).await
    }

    fn audit_verb((_, secret): &(Self, Option<NewSecret>)) -> &'static str {
        if secret.is_some() { "rotate" } else { "update" }
    }

    fn audit_detail(&self) -> String {
        format!("provider {}, fingerprint {}", self.provider, self.secret.fingerprint)
    }

    async fn follow_change(_: &mut Writing, old: &Self, row: &Self, _: &Act) -> Result<String, StoreError> {
        let stated =
            agreements::change_detail((&old.agreement, &old.pricing), (&row.agreement, &row.pricing));
        let SealedSecret { sealed, fingerprint, .. } = &row.secret;
        Ok(format!("secret version {}, fingerprint {fingerprint}{stated}", sealed.version))
    }
}

async fn record_verification(
    writing: &mut Writing,
    id: AccountId,
    found: Verification,
    act: Act,
) -> Result<AccountRow, StoreError> {
    let mut row = resource::find::<AccountRow>(writing.connection(), (), id).await?;
    if row.secret.sealed.version != found.secret_version {
        return Ok(row);
    }
    // A call that was refused, or that never reached the provider, verified nothing.
    if found.accepted == Some(true) {
        row.last_verified_unix_ms = Some(found.unix_ms);
    }
    row.last_error = found.error;
    row.version = writing.version();
    resource::put(writing, &row).await?;
    let detail = if row.last_error.is_some() { "failed" } else { "accepted" };
    writing.audit(&act, None, "account.verify", id, detail.to_owned()).await?;
    Ok(row)
}

impl Accounts for Database {
    fn record_verification(
        &self,
        id: AccountId,
        found: Verification,
        act: Act,
    ) -> StoreFuture<'_, Written<AccountRow>> {
        Box::pin(self.write(move |writing| Box::pin(record_verification(writing, id, found, act))))
    }
}
