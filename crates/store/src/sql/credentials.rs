//! SQL for the BYOK credentials.

use database::act::{Act, Written};
use database::connection::Connection;
use database::error::{StoreError, StoreFuture};
use database::fields::{ColumnId, Fields, after, signed, to_text};
use database::handle::Database;
use database::page::{Listed, Page};
use database::statement::{Row, sql};
use database::writing::{Writing, expect_version};
use domain::{CredentialId, Principal, ProbeResult, ServerFacts, Subscription, WorkspaceId};
use snapshot::CredentialState;

use crate::credentials::{
    CredentialFilter, CredentialRow, Credentials, NewSecret, SealedSecret, Verification,
};
use crate::events::EventKind;
use crate::sql::resource::{self, ColumnValues, Table};
use crate::sql::unbooked::refuse_while_open;
use crate::sql::{agreements, budgets, events, names, projects, seals};

const TABLE: &str = "credentials";
const WHAT: &str = "credential";

impl Table for CredentialRow {
    const NAME: &'static str = TABLE;
    const WHAT: &'static str = WHAT;
    const EXCEPT: &'static str = " AND credentials.subscription IS NULL";

    fn read(row: &Row) -> Result<Self, StoreError> {
        let fields = Fields::new(TABLE, row);
        Ok(Self {
            id: fields.id("id")?,
            workspace: fields.id("workspace")?,
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
            project: fields.maybe_id("project")?,
            environment: fields.maybe_text("environment")?,
            state: columns::state_from_text(fields.get("state")?)?,
            expires_unix_ms: fields.maybe_number("expires_unix_ms")?,
            last_verified_unix_ms: fields.maybe_number("last_verified_unix_ms")?,
            last_error: fields.maybe_text("last_error")?,
            server: columns::server_from_text(TABLE, fields.get("server")?)?,
            subscription: fields.maybe_json("subscription")?,
            created_unix_ms: fields.number("created_unix_ms")?,
            version: fields.number("version")?,
        })
    }

    fn columns(&self, columns: ColumnValues) -> Result<ColumnValues, StoreError> {
        let agreed = columns::agreement::texts(TABLE, &self.agreement)?;
        Ok(columns
            .set("id", self.id.bytes())
            .set("workspace", self.workspace.bytes())
            .set("provider", &self.provider)
            .set("display_name", &self.display_name)
            .set("auth", &self.auth)
            .secret(Some(&self.secret))
            .set("base_url", &self.base_url)
            .set("region", &self.region)
            .set("config", to_text(TABLE, &self.config)?)
            .set("pricing", columns::pricing_to_text(TABLE, &self.pricing)?)
            .set("limits", agreed.limits)
            .set("retention", agreed.retention)
            .set("commitment", agreed.commitment)
            .set("metadata", to_text(TABLE, &self.metadata)?)
            .set("project", self.project.map(|id| id.bytes()))
            .set("environment", &self.environment)
            .set("state", self.state.as_str())
            .set("expires_unix_ms", self.expires_unix_ms.map(signed))
            .set("last_verified_unix_ms", self.last_verified_unix_ms.map(signed))
            .set("last_error", &self.last_error)
            .set("server", columns::server_to_text(TABLE, &self.server)?)
            .set("created_unix_ms", signed(self.created_unix_ms))
            .set("version", signed(self.version))
            .set("compliance", agreed.compliance)
            .set("subscription", subscription_text(self.subscription.as_ref())?))
    }

    async fn load(connection: &mut Connection, rows: &mut [Self]) -> Result<(), StoreError> {
        for row in rows {
            row.secret.floor = seals::find(connection, row.workspace, row.id).await?;
        }
        Ok(())
    }

    async fn prepare(writing: &mut Writing, row: &mut Self, _: &Act) -> Result<(), StoreError> {
        projects::require(writing, row.workspace, row.project).await?;
        refuse_taken_name(writing, row).await
    }

    async fn follow_creation(writing: &mut Writing, row: &Self, act: &Act) -> Result<(), StoreError> {
        seals::put(writing, row.workspace, row.id, &row.secret.floor).await?;
        commit(writing, row, act).await?;
        events::announce_expiry(writing, row.workspace, row.id, row.expires_unix_ms, act.unix_ms).await
    }

    async fn merge(
        writing: &mut Writing,
        old: &Self,
        (row, secret): (Self, Option<NewSecret>),
    ) -> Result<Self, StoreError> {
        refuse_revoked(old)?;
        // Those that had one name before names were unique can still be changed.
        if old.display_name != row.display_name {
            refuse_taken_name(writing, &row).await?;
        }
        projects::require(writing, row.workspace, row.project).await?;
        let moves = old.base_url != row.base_url;
        seals::require_secret_for(WHAT, moves, secret.is_some())?;
        let probed = old.server.probed.clone().filter(|_| !moves);
        let mut row = Self {
            server: ServerFacts { probed, stated: row.server.stated },
            provider: old.provider.clone(),
            auth: if secret.is_some() { row.auth } else { old.auth.clone() },
            secret: old.secret.clone(),
            state: old.state,
            last_verified_unix_ms: old.last_verified_unix_ms,
            last_error: old.last_error.clone(),
            created_unix_ms: old.created_unix_ms,
            ..row
        };
        if let Some(secret) = secret {
            seals::require_next(WHAT, row.secret.sealed.version, &secret.sealed)?;
            seals::put(writing, row.workspace, row.id, &secret.floor).await?;
            row.secret = secret;
            row.last_verified_unix_ms = None;
            row.last_error = None;
            if row.state == CredentialState::Invalid {
                row.state = CredentialState::Active;
            }
        }
        Ok(row)
    }

    async fn overwrite(writing: &mut Writing, row: &Self) -> Result<(), StoreError> {
        resource::reinsert(writing, row).await
    }

    async fn follow_change(
        writing: &mut Writing,
        old: &Self,
        row: &Self,
        act: &Act,
    ) -> Result<String, StoreError> {
        if old.state != row.state {
            tell(writing, act, row).await?;
        }
        if (old.agreement.commitment, &old.display_name) != (row.agreement.commitment, &row.display_name) {
            commit(writing, row, act).await?;
        }
        events::announce_expiry(writing, row.workspace, row.id, row.expires_unix_ms, act.unix_ms).await?;
        let stated =
            agreements::change_detail((&old.agreement, &old.pricing), (&row.agreement, &row.pricing));
        let SealedSecret { sealed, fingerprint, .. } = &row.secret;
        Ok(format!("secret version {}, fingerprint {fingerprint}{stated}", sealed.version))
    }

    async fn precede_deletion(writing: &mut Writing, old: &Self) -> Result<(), StoreError> {
        // A revoked one reads nothing any more.
        if old.state != CredentialState::Revoked {
            let is_of = |_, maker: Principal| maker.own_credential() == Some(old.id);
            refuse_while_open(writing.connection(), (WHAT, Some(old.workspace)), is_of).await?;
        }
        let query = sql("DELETE FROM budgets WHERE id = $1").bind(old.id.bytes());
        query.run(writing.connection()).await?;
        seals::remove(writing, old.workspace, old.id).await
    }

    fn audit_verb((_, secret): &(Self, Option<NewSecret>)) -> &'static str {
        if secret.is_some() { "rotate" } else { "update" }
    }

    fn audit_detail(&self) -> String {
        format!("provider {}, fingerprint {}", self.provider, self.secret.fingerprint)
    }
}

/// Refuses the name of another credential of the workspace.
async fn refuse_taken_name(writing: &mut Writing, row: &CredentialRow) -> Result<(), StoreError> {
    let query = sql("SELECT id FROM credentials
         WHERE workspace = $1 AND display_name = $2 AND id <> $3 AND subscription IS NULL");
    let query = query.bind(row.workspace.bytes()).bind(&*row.display_name).bind(row.id.bytes());
    resource::refuse_found::<CredentialRow>(writing, query, &row.display_name).await
}

async fn commit(writing: &mut Writing, row: &CredentialRow, act: &Act) -> Result<(), StoreError> {
    let credential = (row.workspace, row.id, &*row.display_name);
    budgets::commit(writing, credential, row.agreement.commitment, act).await
}

fn subscription_text(subscription: Option<&Subscription>) -> Result<Option<String>, StoreError> {
    subscription.map(|subscription| to_text(TABLE, subscription)).transpose()
}

/// Emits the event of a credential's new state.
pub(super) async fn tell(writing: &mut Writing, act: &Act, row: &CredentialRow) -> Result<(), StoreError> {
    let kind = match row.state {
        CredentialState::Active => EventKind::CredentialActive,
        CredentialState::Unverified | CredentialState::Invalid => EventKind::CredentialInvalid,
        CredentialState::Disabled => EventKind::CredentialDisabled,
        CredentialState::Revoked => EventKind::CredentialRevoked,
    };
    let payload = serde_json::json!({
        "id": row.id.to_string(),
        "provider": row.provider,
        "display_name": row.display_name,
        "status": row.state.as_str(),
    });
    events::of_act(writing, act, row.workspace, kind, payload).await
}

pub(super) fn refuse_revoked(row: &CredentialRow) -> Result<(), StoreError> {
    if row.state == CredentialState::Revoked {
        let detail = "a revoked credential can't be restored; add a new one";
        return Err(StoreError::conflict("credential_revoked", detail, None));
    }
    Ok(())
}

async fn set_state(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: CredentialId,
    state: CredentialState,
    expected: Option<u64>,
    act: Act,
) -> Result<CredentialRow, StoreError> {
    let mut row = resource::find::<CredentialRow>(writing.connection(), workspace, id).await?;
    expect_version(WHAT, expected, row.version)?;
    if row.state == state {
        return Ok(row);
    }
    refuse_revoked(&row)?;
    row.state = state;
    row.version = writing.version();
    resource::put(writing, &row).await?;
    let detail = format!("state {}", state.as_str());
    writing.audit(&act, Some(workspace), "credential.state", id, detail).await?;
    tell(writing, &act, &row).await?;
    Ok(row)
}

async fn record_verification(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: CredentialId,
    found: Verification,
    act: Act,
) -> Result<CredentialRow, StoreError> {
    let mut row = resource::find::<CredentialRow>(writing.connection(), workspace, id).await?;
    if row.secret.sealed.version != found.secret_version {
        return Ok(row);
    }
    let old_state = row.state;
    row.state = match (row.state, found.accepted) {
        (state @ (CredentialState::Disabled | CredentialState::Revoked), _) | (state, None) => state,
        (_, Some(true)) => CredentialState::Active,
        (_, Some(false)) => CredentialState::Invalid,
    };
    // A call that was refused, or that never reached the provider, verified nothing.
    if found.accepted == Some(true) {
        row.last_verified_unix_ms = Some(found.unix_ms);
    }
    row.last_error = found.error;
    row.version = writing.version();
    resource::put(writing, &row).await?;
    let detail = format!("state {}", row.state.as_str());
    writing.audit(&act, Some(workspace), "credential.verify", id, detail).await?;
    if old_state != row.state {
        tell(writing, &act, &row).await?;
    }
    Ok(row)
}

async fn record_probe(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: CredentialId,
    base_url: Option<String>,
    found: ProbeResult,
    act: Act,
) -> Result<CredentialRow, StoreError> {
    let mut row = resource::find::<CredentialRow>(writing.connection(), workspace, id).await?;
    if row.base_url != base_url {
        return Ok(row);
    }
    let detail = format!("{} facts", found.findings.len());
    row.server.learn(found);
    row.version = writing.version();
    resource::put(writing, &row).await?;
    writing.audit(&act, Some(workspace), "credential.probe", id, detail).await?;
    Ok(row)
}

impl Credentials for Database {
    fn filter(
        &self,
        workspace: WorkspaceId,
        filter: CredentialFilter,
        page: Page<CredentialId>,
    ) -> StoreFuture<'_, Listed<CredentialRow, CredentialId>> {
        Box::pin(async move {
            let query = sql("SELECT * FROM credentials
                 WHERE workspace = $1 AND id > $2 AND subscription IS NULL AND ($3 IS NULL OR provider = $3)
                     AND ($4 IS NULL OR state = $4) AND ($5 IS NULL OR project = $5)
                 ORDER BY id LIMIT $6");
            let query = query
                .bind(workspace.bytes())
                .bind(after(page.after))
                .bind(filter.provider)
                .bind(filter.state.map(CredentialState::as_str))
                .bind(filter.project.map(|id| id.bytes()));
            resource::page(&mut self.read().await?, query, &page).await
        })
    }

    fn ids_by_name(
        &self,
        workspace: WorkspaceId,
        name: String,
        begins: bool,
    ) -> StoreFuture<'_, Vec<CredentialId>> {
        Box::pin(async move {
            let connection = &mut self.read().await?;
            names::ids::<CredentialRow>(connection, "display_name", workspace, name, begins).await
        })
    }

    fn set_state(
        &self,
        workspace: WorkspaceId,
        id: CredentialId,
        state: CredentialState,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<CredentialRow>> {
        Box::pin(self.write(move |writing| Box::pin(set_state(writing, workspace, id, state, expected, act))))
    }

    fn record_verification(
        &self,
        workspace: WorkspaceId,
        id: CredentialId,
        found: Verification,
        act: Act,
    ) -> StoreFuture<'_, Written<CredentialRow>> {
        Box::pin(self.write(move |writing| Box::pin(record_verification(writing, workspace, id, found, act))))
    }

    fn record_probe(
        &self,
        workspace: WorkspaceId,
        id: CredentialId,
        base_url: Option<String>,
        found: ProbeResult,
        act: Act,
    ) -> StoreFuture<'_, Written<CredentialRow>> {
        Box::pin(
            self.write(move |writing| Box::pin(record_probe(writing, workspace, id, base_url, found, act))),
        )
    }
}
