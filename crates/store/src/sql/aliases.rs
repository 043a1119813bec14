//! SQL for aliases and their releases.

use database::act::Act;
use database::connection::Connection;
use database::error::{StoreError, StoreFuture};
use database::fields::{self, ColumnId, Fields, signed};
use database::handle::Database;
use database::statement::{Row, sql};
use database::writing::Writing;
use domain::limits::{ALIASES_OF_WORKSPACE_MAX, RELEASES_OF_ALIAS_MAX};
use domain::{AliasId, AliasReleaseId, AliasReleaseSpec, Canary, CanaryGates, ProjectId, WorkspaceId};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::aliases::{AliasChange, AliasReleaseRow, AliasRow, Aliases, NewAlias, WithdrawnCanary};
use crate::events::EventKind;
use crate::sql::resource::{self, ColumnValues, Table};
use crate::sql::{events, projects};

const TABLE: &str = "aliases";
const RELEASES: &str = "alias_releases";

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct StoredState {
    description: String,
    previous: Option<String>,
    canary: Option<StoredCanary>,
    withdrawn: Option<StoredWithdrawal>,
}

#[derive(Serialize, Deserialize)]
struct StoredCanary {
    release: String,
    percent: u8,
    error_bps_max: Option<u32>,
    latency_p95_ms_max: Option<u64>,
    first_byte_p95_ms_max: Option<u64>,
    requests_min: u32,
    window_s: u32,
    started_unix_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct StoredWithdrawal {
    release: String,
    percent: u8,
    reason: String,
    is_automatic: bool,
    unix_ms: u64,
}

fn release_id(text: &str) -> Result<AliasReleaseId, StoreError> {
    text.parse().map_err(|_| StoreError::corrupt(TABLE, format!("{text} isn't a release")))
}

fn state_text(row: &AliasRow) -> Result<String, StoreError> {
    let canary = row.canary.map(|canary| StoredCanary {
        release: canary.release.to_string(),
        percent: canary.percent,
        error_bps_max: canary.gates.error_bps_max,
        latency_p95_ms_max: canary.gates.latency_p95_ms_max,
        first_byte_p95_ms_max: canary.gates.first_byte_p95_ms_max,
        requests_min: canary.gates.requests_min,
        window_s: canary.gates.window_s,
        started_unix_ms: canary.started_unix_ms,
    });
    let withdrawn = row.withdrawn.as_ref().map(|withdrawn| StoredWithdrawal {
        release: withdrawn.release.to_string(),
        percent: withdrawn.percent,
        reason: withdrawn.reason.clone(),
        is_automatic: withdrawn.is_automatic,
        unix_ms: withdrawn.unix_ms,
    });
    let previous = row.previous.map(|id| id.to_string());
    fields::to_text(TABLE, &StoredState { description: row.description.clone(), previous, canary, withdrawn })
}

fn canary(stored: &StoredCanary) -> Result<Canary, StoreError> {
    Ok(Canary {
        release: release_id(&stored.release)?,
        percent: stored.percent,
        gates: CanaryGates {
            error_bps_max: stored.error_bps_max,
            latency_p95_ms_max: stored.latency_p95_ms_max,
            first_byte_p95_ms_max: stored.first_byte_p95_ms_max,
            requests_min: stored.requests_min,
            window_s: stored.window_s,
        },
        started_unix_ms: stored.started_unix_ms,
    })
}

fn withdrawal(stored: StoredWithdrawal) -> Result<WithdrawnCanary, StoreError> {
    Ok(WithdrawnCanary {
        release: release_id(&stored.release)?,
        percent: stored.percent,
        reason: stored.reason,
        is_automatic: stored.is_automatic,
        unix_ms: stored.unix_ms,
    })
}

pub(super) fn read_release(row: &Row) -> Result<AliasReleaseRow, StoreError> {
    let fields = Fields::new(RELEASES, row);
    let (spec, manifest_revision) = columns::alias_release_from_text(fields.get("spec")?)?;
    Ok(AliasReleaseRow {
        id: fields.id("id")?,
        workspace: fields.id("workspace")?,
        alias: fields.id("alias")?,
        number: fields.small("number")?,
        spec,
        manifest_revision,
        created_unix_ms: fields.number("created_unix_ms")?,
    })
}

async fn refuse_taken(writing: &mut Writing, row: &AliasRow) -> Result<(), StoreError> {
    let query = sql("SELECT id, project FROM aliases WHERE workspace = $1 AND name = $2 AND id <> $3")
        .bind(row.workspace.bytes())
        .bind(&row.name)
        .bind(row.id.bytes());
    for other in &query.rows(writing.connection()).await? {
        let fields = Fields::new(TABLE, other);
        let (id, project): (AliasId, Option<ProjectId>) = (fields.id("id")?, fields.maybe_id("project")?);
        if project == row.project {
            let detail = format!("the alias {id} has the name \"{}\" already", row.name);
            return Err(StoreError::conflict("name_taken", detail, Some(id.to_string())));
        }
    }
    Ok(())
}

async fn held(connection: &mut Connection, workspace: WorkspaceId) -> Result<u64, StoreError> {
    let query = sql("SELECT COUNT(*) AS held FROM aliases WHERE workspace = $1").bind(workspace.bytes());
    Fields::new(TABLE, &query.one(connection).await?).number("held")
}

/// Writes a release under the next number of its alias.
async fn insert_release(writing: &mut Writing, release: &AliasReleaseRow) -> Result<(), StoreError> {
    let query = sql("SELECT COALESCE(MAX(number), 0) AS last, COUNT(*) AS held FROM alias_releases
         WHERE workspace = $1 AND alias = $2")
    .bind(release.workspace.bytes())
    .bind(release.alias.bytes());
    let row = query.one(writing.connection()).await?;
    let counted = Fields::new(RELEASES, &row);
    if counted.number("held")? >= RELEASES_OF_ALIAS_MAX as u64 {
        let detail = format!("an alias has at most {RELEASES_OF_ALIAS_MAX} releases");
        return Err(StoreError::conflict("too_many_releases", detail, None));
    }
    sql("INSERT INTO alias_releases (id, workspace, alias, number, spec, created_unix_ms)
         VALUES ($1, $2, $3, $4, $5, $6)")
    .bind(release.id.bytes())
    .bind(release.workspace.bytes())
    .bind(release.alias.bytes())
    .bind(signed(counted.number("last")? + 1))
    .bind(columns::alias_release_to_text(&release.spec, release.manifest_revision.as_deref())?)
    .bind(signed(release.created_unix_ms))
    .run(writing.connection())
    .await
    .map(|_| ())
}

/// Each release that an alias points at must be one of its own.
async fn require_own(writing: &mut Writing, row: &AliasRow) -> Result<(), StoreError> {
    let named = [Some(row.active), row.previous, row.canary.map(|canary| canary.release)];
    for release in named.into_iter().flatten() {
        let query = sql("SELECT id FROM alias_releases WHERE workspace = $1 AND alias = $2 AND id = $3")
            .bind(row.workspace.bytes())
            .bind(row.id.bytes())
            .bind(release.bytes());
        query.row(writing.connection()).await?.ok_or(StoreError::NotFound { what: "release" })?;
    }
    Ok(())
}

async fn load_active(connection: &mut Connection, row: &mut AliasRow) -> Result<(), StoreError> {
    let query = sql("SELECT * FROM alias_releases WHERE workspace = $1 AND id = $2")
        .bind(row.workspace.bytes())
        .bind(row.active.bytes());
    let found = read_release(&query.one(connection).await?)?;
    (row.number, row.spec) = (found.number, found.spec);
    Ok(())
}

async fn announce_withdrawal(
    writing: &mut Writing,
    row: &AliasRow,
    withdrawn: &WithdrawnCanary,
    act: &Act,
) -> Result<(), StoreError> {
    let payload = json!({
        "alias_id": row.id.to_string(),
        "name": row.name,
        "project_id": row.project.map(|id| id.to_string()),
        "release_id": withdrawn.release.to_string(),
        "active_release_id": row.active.to_string(),
        "percent": withdrawn.percent,
        "reason": withdrawn.reason,
    });
    events::of_act(writing, act, row.workspace, EventKind::CanaryWithdrawn, payload).await
}

impl Table for AliasRow {
    const NAME: &'static str = TABLE;
    const WHAT: &'static str = "alias";

    fn read(row: &Row) -> Result<Self, StoreError> {
        let fields = Fields::new(TABLE, row);
        let state: StoredState = fields::from_text(TABLE, fields.get("state")?)?;
        Ok(Self {
            id: fields.id("id")?,
            workspace: fields.id("workspace")?,
            project: fields.maybe_id("project")?,
            name: fields.text("name")?,
            description: state.description,
            active: fields.id("active")?,
            number: 0,
            spec: AliasReleaseSpec::default(),
            previous: state.previous.as_deref().map(release_id).transpose()?,
            canary: state.canary.as_ref().map(canary).transpose()?,
            withdrawn: state.withdrawn.map(withdrawal).transpose()?,
            created_unix_ms: fields.number("created_unix_ms")?,
            version: fields.number("version")?,
        })
    }

    fn columns(&self, columns: ColumnValues) -> Result<ColumnValues, StoreError> {
        Ok(columns
            .fix("id", self.id.bytes())
            .fix("workspace", self.workspace.bytes())
            .fix("project", self.project.map(|id| id.bytes()))
            .fix("name", &self.name)
            .set("active", self.active.bytes())
            .set("state", state_text(self)?)
            .fix("created_unix_ms", signed(self.created_unix_ms))
            .set("version", signed(self.version)))
    }

    /// The active releases are in another table.
    async fn load(connection: &mut Connection, rows: &mut [Self]) -> Result<(), StoreError> {
        for row in rows {
            load_active(connection, row).await?;
        }
        Ok(())
    }

    async fn prepare(writing: &mut Writing, new: &mut NewAlias, _: &Act) -> Result<(), StoreError> {
        let row = &new.0;
        projects::require(writing, row.workspace, row.project).await?;
        refuse_taken(writing, row).await?;
        if held(writing.connection(), row.workspace).await? >= ALIASES_OF_WORKSPACE_MAX as u64 {
            let detail = format!("a workspace has at most {ALIASES_OF_WORKSPACE_MAX} aliases");
            return Err(StoreError::conflict("too_many_aliases", detail, None));
        }
        Ok(())
    }

    async fn follow_creation(writing: &mut Writing, new: &NewAlias, _: &Act) -> Result<(), StoreError> {
        insert_release(writing, &new.1).await
    }

    async fn merge(writing: &mut Writing, old: &Self, change: AliasChange) -> Result<Self, StoreError> {
        if let Some(release) = &change.release {
            insert_release(writing, release).await?;
        }
        let mut row = Self {
            project: old.project,
            name: old.name.clone(),
            created_unix_ms: old.created_unix_ms,
            ..change.row
        };
        require_own(writing, &row).await?;
        load_active(writing.connection(), &mut row).await?;
        Ok(row)
    }

    async fn follow_change(
        writing: &mut Writing,
        old: &Self,
        row: &Self,
        act: &Act,
    ) -> Result<String, StoreError> {
        let withdrawn = row.withdrawn.as_ref().filter(|withdrawn| old.withdrawn.as_ref() != Some(withdrawn));
        let Some(withdrawn) = withdrawn else { return Ok(row.audit_detail()) };
        if withdrawn.is_automatic {
            announce_withdrawal(writing, row, withdrawn, act).await?;
        }
        Ok(format!("{}, canary {} withdrawn: {}", row.audit_detail(), withdrawn.release, withdrawn.reason))
    }

    async fn precede_deletion(writing: &mut Writing, old: &Self) -> Result<(), StoreError> {
        let query = sql("DELETE FROM alias_releases WHERE workspace = $1 AND alias = $2")
            .bind(old.workspace.bytes())
            .bind(old.id.bytes());
        query.run(writing.connection()).await.map(|_| ())
    }

    fn audit_verb(change: &AliasChange) -> &'static str {
        change.act.as_str()
    }

    fn audit_detail(&self) -> String {
        let canary = self.canary.map(|canary| format!(", canary {} at {} %", canary.release, canary.percent));
        format!("name {}, release {}{}", self.name, self.active, canary.unwrap_or_default())
    }
}

impl Aliases for Database {
    fn releases(&self, workspace: WorkspaceId, alias: AliasId) -> StoreFuture<'_, Vec<AliasReleaseRow>> {
        Box::pin(async move {
            let mut reader = self.read().await?;
            resource::require::<AliasRow>(&mut reader, workspace, alias).await?;
            let query = sql("SELECT * FROM alias_releases WHERE workspace = $1 AND alias = $2
                 ORDER BY number DESC")
            .bind(workspace.bytes())
            .bind(alias.bytes());
            query.rows(&mut reader).await?.iter().map(read_release).collect()
        })
    }
}
