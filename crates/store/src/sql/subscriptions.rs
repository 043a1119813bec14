//! SQL for subscription credentials, which are rows of the credentials' table.

use database::act::{Act, Written};
use database::connection::Connection;
use database::error::{StoreError, StoreFuture};
use database::handle::Database;
use database::statement::Row;
use database::writing::Writing;
use domain::{SubscriptionId, WorkspaceId};
use snapshot::CredentialState;

use crate::credentials::{CredentialRow, NewSecret};
use crate::sql::credentials::{refuse_revoked, tell};
use crate::sql::resource::{self, ColumnValues, Table};
use crate::sql::{projects, seals};
use crate::subscriptions::{Renewal, SubscriptionRow, Subscriptions};

const WHAT: &str = "subscription";

impl Table for SubscriptionRow {
    const NAME: &'static str = CredentialRow::NAME;
    const WHAT: &'static str = WHAT;
    const EXCEPT: &'static str = " AND credentials.subscription IS NOT NULL";

    fn read(row: &Row) -> Result<Self, StoreError> {
        CredentialRow::read(row).map(Self)
    }

    fn columns(&self, columns: ColumnValues) -> Result<ColumnValues, StoreError> {
        self.0.columns(columns)
    }

    async fn load(connection: &mut Connection, rows: &mut [Self]) -> Result<(), StoreError> {
        for Self(row) in rows {
            row.secret.floor = seals::find(connection, row.workspace, row.id).await?;
        }
        Ok(())
    }

    async fn prepare(writing: &mut Writing, Self(row): &mut Self, _: &Act) -> Result<(), StoreError> {
        projects::require(writing, row.workspace, row.project).await
    }

    async fn follow_creation(writing: &mut Writing, Self(row): &Self, _: &Act) -> Result<(), StoreError> {
        seals::put(writing, row.workspace, row.id, &row.secret.floor).await
    }

    async fn merge(
        writing: &mut Writing,
        Self(old): &Self,
        (Self(row), secret): (Self, Option<NewSecret>),
    ) -> Result<Self, StoreError> {
        let wanted = row.state;
        let project = old.project;
        let merged = CredentialRow::merge(writing, old, (CredentialRow { project, ..row }, secret)).await?;
        let state = if wanted == old.state { merged.state } else { wanted };
        Ok(Self(CredentialRow { state, ..merged }))
    }

    async fn overwrite(writing: &mut Writing, row: &Self) -> Result<(), StoreError> {
        resource::reinsert(writing, row).await
    }

    async fn follow_change(
        writing: &mut Writing,
        Self(old): &Self,
        Self(row): &Self,
        act: &Act,
    ) -> Result<String, StoreError> {
        if old.state != row.state {
            tell(writing, act, row).await?;
        }
        Ok(format!("secret version {}, fingerprint {}", row.secret.sealed.version, row.secret.fingerprint))
    }

    async fn precede_deletion(writing: &mut Writing, Self(old): &Self) -> Result<(), StoreError> {
        seals::remove(writing, old.workspace, old.id).await
    }

    fn audit_verb((_, secret): &(Self, Option<NewSecret>)) -> &'static str {
        if secret.is_some() { "rotate" } else { "update" }
    }

    fn audit_detail(&self) -> String {
        self.0.audit_detail()
    }
}

async fn record_renewal(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: SubscriptionId,
    secret_version: u32,
    renewal: Renewal,
    act: Act,
) -> Result<SubscriptionRow, StoreError> {
    let found = resource::find::<SubscriptionRow>(writing.connection(), workspace, id).await?;
    if found.0.secret.sealed.version != secret_version {
        return Ok(found);
    }
    let SubscriptionRow(mut row) = found;
    refuse_revoked(&row)?;
    let old_state = row.state;
    let (verb, detail) = match renewal {
        Renewal::Renewed { secret, expires_unix_ms } => {
            seals::require_next(WHAT, secret_version, &secret.sealed)?;
            seals::put(writing, workspace, row.id, &secret.floor).await?;
            row.secret = secret;
            row.expires_unix_ms = Some(expires_unix_ms);
            row.last_error = None;
            ("renew", format!("secret version {}", row.secret.sealed.version))
        }
        Renewal::Refused(why) => {
            if row.state == CredentialState::Active {
                row.state = CredentialState::Invalid;
            }
            row.last_error = Some(why);
            ("refuse_renewal", "state invalid".to_owned())
        }
    };
    row.last_verified_unix_ms = Some(act.unix_ms);
    row.version = writing.version();
    let row = SubscriptionRow(row);
    resource::put(writing, &row).await?;
    writing.audit(&act, Some(workspace), format!("{WHAT}.{verb}"), id, detail).await?;
    if old_state != row.0.state {
        tell(writing, &act, &row.0).await?;
    }
    Ok(row)
}

impl Subscriptions for Database {
    fn record_renewal(
        &self,
        workspace: WorkspaceId,
        id: SubscriptionId,
        secret_version: u32,
        renewal: Renewal,
        act: Act,
    ) -> StoreFuture<'_, Written<SubscriptionRow>> {
        Box::pin(self.write(move |writing| {
            Box::pin(record_renewal(writing, workspace, id, secret_version, renewal, act))
        }))
    }
}
