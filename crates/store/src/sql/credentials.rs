//! SQL for the BYOK credentials.

use domain::{CredentialId, ProbeResult, ServerFacts, WorkspaceId};
use snapshot::CredentialState;

use super::fields::{ColumnId, Fields, after};
use super::writing::{Writing, expect_version, signed};
use super::{Connection, Database, Row, agreements, events, names, projects, seals, sql};
use crate::events::EventKind;
use crate::feed::Part;
use crate::{
    Act, CredentialFilter, CredentialRow, Credentials, Listed, NewSecret, Page, SealedSecret, StoreError,
    StoreFuture, Verification, Written, stored,
};

const TABLE: &str = "credentials";
const WHAT: &str = "credential";

/// Everything but the anti-rollback record, which is in another table.
pub(super) fn read(row: &Row) -> Result<CredentialRow, StoreError> {
    let fields = Fields::new(TABLE, row);
    let no_floor = domain::Sealed { version: 0, key_id: String::new(), bytes: Vec::new() };
    Ok(CredentialRow {
        id: fields.id("id")?,
        workspace: fields.id("workspace")?,
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
        project: fields.maybe_id("project")?,
        environment: fields.maybe_text("environment")?,
        state: stored::state_from_text(fields.get("state")?)?,
        expires_unix_ms: fields.maybe_number("expires_unix_ms")?,
        last_verified_unix_ms: fields.maybe_number("last_verified_unix_ms")?,
        last_error: fields.maybe_text("last_error")?,
        server: stored::server_from_text(TABLE, fields.get("server")?)?,
        created_unix_ms: fields.number("created_unix_ms")?,
        version: fields.number("version")?,
    })
}

async fn find(
    connection: &mut Connection,
    workspace: WorkspaceId,
    id: CredentialId,
) -> Result<CredentialRow, StoreError> {
    let query = sql("SELECT * FROM credentials WHERE workspace = $1 AND id = $2");
    let query = query.bind(workspace.bytes()).bind(id.bytes());
    let row = query.row(connection).await?;
    let mut row = row.as_ref().map_or(Err(StoreError::NotFound { what: WHAT }), read)?;
    row.secret.floor = seals::find(connection, workspace, id).await?;
    Ok(row)
}

async fn insert(writing: &mut Writing, row: &CredentialRow) -> Result<(), StoreError> {
    let query = sql(
        "INSERT INTO credentials (id, workspace, provider, display_name, auth, secret_version, secret_key_id,
             secret_sealed, fingerprint, base_url, region, config, pricing, limits, retention, commitment, metadata,
             project, environment, state, expires_unix_ms, last_verified_unix_ms, last_error, server, created_unix_ms,
             version, compliance)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
             $23, $24, $25, $26, $27)",
    );
    let agreed = agreements::texts(TABLE, &row.agreement)?;
    query
        .bind(row.id.bytes())
        .bind(row.workspace.bytes())
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
        .bind(stored::pricing_to_text(TABLE, &row.pricing)?)
        .bind(agreed.limits)
        .bind(agreed.retention)
        .bind(agreed.commitment)
        .bind(stored::to_text(TABLE, &row.metadata)?)
        .bind(row.project.map(|id| id.bytes()))
        .bind(&row.environment)
        .bind(stored::state_to_text(row.state))
        .bind(row.expires_unix_ms.map(signed))
        .bind(row.last_verified_unix_ms.map(signed))
        .bind(&row.last_error)
        .bind(stored::server_to_text(TABLE, &row.server)?)
        .bind(signed(row.created_unix_ms))
        .bind(signed(row.version))
        .bind(agreed.compliance)
        .run(writing.connection())
        .await?;
    Ok(())
}

/// Replaces the whole row; `find` has shown that it belongs to this workspace.
async fn overwrite(writing: &mut Writing, row: &CredentialRow) -> Result<(), StoreError> {
    let query = sql("DELETE FROM credentials WHERE workspace = $1 AND id = $2");
    let query = query.bind(row.workspace.bytes()).bind(row.id.bytes());
    query.run(writing.connection()).await?;
    insert(writing, row).await?;
    writing.changed(Part::Workspace, Some(row.workspace), row.id);
    Ok(())
}

async fn create(
    writing: &mut Writing,
    mut row: CredentialRow,
    act: Act,
) -> Result<CredentialRow, StoreError> {
    projects::require(writing, row.workspace, row.project).await?;
    row.version = writing.version();
    insert(writing, &row).await?;
    seals::put(writing, row.workspace, row.id, &row.secret.floor).await?;
    writing.changed(Part::Workspace, Some(row.workspace), row.id);
    let detail = format!("provider {}, fingerprint {}", row.provider, row.secret.fingerprint);
    writing.audit(&act, Some(row.workspace), "credential.create", row.id, detail).await?;
    events::announce_expiry(writing, row.workspace, row.id, row.expires_unix_ms, act.unix_ms).await?;
    Ok(row)
}

async fn replace(
    writing: &mut Writing,
    row: CredentialRow,
    secret: Option<NewSecret>,
    expected: Option<u64>,
    act: Act,
) -> Result<CredentialRow, StoreError> {
    let old = find(writing.connection(), row.workspace, row.id).await?;
    expect_version(WHAT, expected, old.version)?;
    refuse_revoked(&old)?;
    projects::require(writing, row.workspace, row.project).await?;
    seals::require_secret_for(WHAT, old.base_url != row.base_url, secret.is_some())?;
    let old_state = old.state;
    let stated = agreements::change_detail((&old.agreement, &old.pricing), (&row.agreement, &row.pricing));
    let probed = old.server.probed.filter(|_| old.base_url == row.base_url);
    let mut row = CredentialRow {
        server: ServerFacts { probed, stated: row.server.stated },
        id: old.id,
        workspace: old.workspace,
        provider: old.provider,
        auth: if secret.is_some() { row.auth } else { old.auth },
        secret: old.secret,
        state: old.state,
        last_verified_unix_ms: old.last_verified_unix_ms,
        last_error: old.last_error,
        created_unix_ms: old.created_unix_ms,
        version: writing.version(),
        ..row
    };
    let action = if secret.is_some() { "credential.rotate" } else { "credential.update" };
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
    overwrite(writing, &row).await?;
    if old_state != row.state {
        tell(writing, &act, &row).await?;
    }
    events::announce_expiry(writing, row.workspace, row.id, row.expires_unix_ms, act.unix_ms).await?;
    let SealedSecret { sealed, fingerprint, .. } = &row.secret;
    let detail = format!("secret version {}, fingerprint {fingerprint}{stated}", sealed.version);
    writing.audit(&act, Some(row.workspace), action, row.id, detail).await?;
    Ok(row)
}

/// Emits the event of a credential's new state.
async fn tell(writing: &mut Writing, act: &Act, row: &CredentialRow) -> Result<(), StoreError> {
    let kind = match row.state {
        CredentialState::Active => EventKind::CredentialActive,
        CredentialState::Invalid => EventKind::CredentialInvalid,
        CredentialState::Disabled => EventKind::CredentialDisabled,
        CredentialState::Revoked => EventKind::CredentialRevoked,
    };
    let payload = serde_json::json!({
        "id": row.id.to_string(),
        "provider": row.provider,
        "display_name": row.display_name,
        "status": stored::state_to_text(row.state),
    });
    events::of_act(writing, act, row.workspace, kind, payload).await
}

fn refuse_revoked(row: &CredentialRow) -> Result<(), StoreError> {
    if row.state == CredentialState::Revoked {
        let detail = "the credential is revoked and stays so; add a new one";
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
    let mut row = find(writing.connection(), workspace, id).await?;
    expect_version(WHAT, expected, row.version)?;
    if row.state == state {
        return Ok(row);
    }
    refuse_revoked(&row)?;
    row.state = state;
    row.version = writing.version();
    overwrite(writing, &row).await?;
    let detail = format!("state {}", stored::state_to_text(state));
    writing.audit(&act, Some(workspace), "credential.state", id, detail).await?;
    tell(writing, &act, &row).await?;
    Ok(row)
}

async fn verified(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: CredentialId,
    found: Verification,
    act: Act,
) -> Result<CredentialRow, StoreError> {
    let mut row = find(writing.connection(), workspace, id).await?;
    if row.secret.sealed.version != found.secret_version {
        return Ok(row);
    }
    let old_state = row.state;
    row.state = match (row.state, found.accepted) {
        (CredentialState::Active | CredentialState::Invalid, Some(true)) => CredentialState::Active,
        (CredentialState::Active | CredentialState::Invalid, Some(false)) => CredentialState::Invalid,
        (state, _) => state,
    };
    row.last_verified_unix_ms = Some(found.unix_ms);
    row.last_error = found.error;
    row.version = writing.version();
    overwrite(writing, &row).await?;
    let detail = format!("state {}", stored::state_to_text(row.state));
    writing.audit(&act, Some(workspace), "credential.verify", id, detail).await?;
    if old_state != row.state {
        tell(writing, &act, &row).await?;
    }
    Ok(row)
}

async fn probed(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: CredentialId,
    base_url: Option<String>,
    found: ProbeResult,
    act: Act,
) -> Result<CredentialRow, StoreError> {
    let mut row = find(writing.connection(), workspace, id).await?;
    if row.base_url != base_url {
        return Ok(row);
    }
    let detail = format!("{} facts", found.findings.len());
    row.server.learn(found);
    row.version = writing.version();
    overwrite(writing, &row).await?;
    writing.audit(&act, Some(workspace), "credential.probe", id, detail).await?;
    Ok(row)
}

async fn delete(
    writing: &mut Writing,
    workspace: WorkspaceId,
    id: CredentialId,
    expected: Option<u64>,
    act: Act,
) -> Result<(), StoreError> {
    let old = find(writing.connection(), workspace, id).await?;
    expect_version(WHAT, expected, old.version)?;
    sql("DELETE FROM credentials WHERE workspace = $1 AND id = $2")
        .bind(workspace.bytes())
        .bind(id.bytes())
        .run(writing.connection())
        .await?;
    seals::remove(writing, workspace, id).await?;
    writing.changed(Part::Workspace, Some(workspace), id);
    let detail = format!("provider {}, fingerprint {}", old.provider, old.secret.fingerprint);
    writing.audit(&act, Some(workspace), "credential.delete", id, detail).await
}

async fn list(
    store: &Database,
    workspace: WorkspaceId,
    filter: CredentialFilter,
    page: Page<CredentialId>,
) -> Result<Listed<CredentialRow, CredentialId>, StoreError> {
    let wanted = page.rows_wanted();
    let query = sql("SELECT * FROM credentials
         WHERE workspace = $1 AND id > $2 AND ($3 IS NULL OR provider = $3) AND ($4 IS NULL OR state = $4)
             AND ($5 IS NULL OR project = $5)
         ORDER BY id LIMIT $6");
    let mut connection = store.read().await?;
    let rows = query
        .bind(workspace.bytes())
        .bind(after(page.after))
        .bind(filter.provider)
        .bind(filter.state.map(stored::state_to_text))
        .bind(filter.project.map(|id| id.bytes()))
        .bind(signed(wanted as u64 + 1))
        .rows(&mut connection)
        .await?;
    let mut rows: Vec<CredentialRow> = rows.iter().map(read).collect::<Result<_, _>>()?;
    for row in &mut rows {
        row.secret.floor = seals::find(&mut connection, workspace, row.id).await?;
    }
    Ok(Listed::cut(rows, wanted, |row: &CredentialRow| row.id))
}

impl Credentials for Database {
    fn create(&self, row: CredentialRow, act: Act) -> StoreFuture<'_, Written<CredentialRow>> {
        Box::pin(self.write(move |writing| Box::pin(create(writing, row, act))))
    }

    fn get(&self, workspace: WorkspaceId, id: CredentialId) -> StoreFuture<'_, CredentialRow> {
        Box::pin(async move { find(&mut self.read().await?, workspace, id).await })
    }

    fn list(
        &self,
        workspace: WorkspaceId,
        filter: CredentialFilter,
        page: Page<CredentialId>,
    ) -> StoreFuture<'_, Listed<CredentialRow, CredentialId>> {
        Box::pin(list(self, workspace, filter, page))
    }

    fn named(
        &self,
        workspace: WorkspaceId,
        name: String,
        begins: bool,
    ) -> StoreFuture<'_, Vec<CredentialId>> {
        Box::pin(async move {
            let query = sql("SELECT id FROM credentials WHERE workspace = $1
                 AND substr(display_name, 1, CAST($2 AS INTEGER)) = $3 ORDER BY id LIMIT $4");
            names::ids(&mut self.read().await?, query, "credentials", workspace, name, begins).await
        })
    }

    fn replace(
        &self,
        row: CredentialRow,
        secret: Option<NewSecret>,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<CredentialRow>> {
        Box::pin(self.write(move |writing| Box::pin(replace(writing, row, secret, expected, act))))
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

    fn verified(
        &self,
        workspace: WorkspaceId,
        id: CredentialId,
        found: Verification,
        act: Act,
    ) -> StoreFuture<'_, Written<CredentialRow>> {
        Box::pin(self.write(move |writing| Box::pin(verified(writing, workspace, id, found, act))))
    }

    fn probed(
        &self,
        workspace: WorkspaceId,
        id: CredentialId,
        base_url: Option<String>,
        found: ProbeResult,
        act: Act,
    ) -> StoreFuture<'_, Written<CredentialRow>> {
        Box::pin(self.write(move |writing| Box::pin(probed(writing, workspace, id, base_url, found, act))))
    }

    fn delete(
        &self,
        workspace: WorkspaceId,
        id: CredentialId,
        expected: Option<u64>,
        act: Act,
    ) -> StoreFuture<'_, Written<()>> {
        Box::pin(self.write(move |writing| Box::pin(delete(writing, workspace, id, expected, act))))
    }
}
