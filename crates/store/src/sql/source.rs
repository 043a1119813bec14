//! Reads the parts of a snapshot, in one transaction so that they are consistent.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use database::connection::Connection;
use database::error::StoreError;
use database::feed::{self, Part};
use database::fields::{ColumnId, Fields};
use database::handle::Database;
use database::statement::{Row, sql};
use domain::ports::PortFuture;
use domain::{
    AliasId, AliasReleaseId, AuthKind, ContentRetention, HookSecret, Hosting, KeyId, LegalHoldId, NodeId,
    Policies, Policy, ProjectId, Terms, WorkspaceId,
};
use serde_json::Value;
use snapshot::{
    AccountEntry, AliasEntry, CanaryEntry, CapabilityEntry, Change, CredentialEntry, HintsEntry, KeyChange,
    KeyEntry, MinimumVersion, NodeChange, NodeEntry, ProjectEntry, ReleaseEntry, RouteEntry, Source,
    SourceError, WorkspaceEntry,
};
use transcripts::profiles;

use crate::accounts::AccountRow;
use crate::agent_hints::AgentHintsRow;
use crate::aliases::AliasRow;
use crate::api_keys::ApiKeyRow;
use crate::budgets::{BudgetRow, LimitsOf};
use crate::credentials::CredentialRow;
use crate::policies::PolicyRow;
use crate::projects::ProjectRow;
use crate::routes::RouteRow;
use crate::sql::resource::Table;
use crate::sql::{accounts, aliases, budgets, capabilities, nodes, seals, workspaces};
use crate::workspaces::WorkspaceRow;

/// The rows of one workspace or, as `None`, of all.
type Whose = Option<WorkspaceId>;
/// By workspace, and by project where they do not hold all of it.
type HoldsInForce = BTreeMap<(WorkspaceId, Option<ProjectId>), LegalHoldId>;

fn key_change(row: ApiKeyRow) -> KeyChange {
    let entry = KeyEntry {
        id: row.id,
        workspace: row.workspace,
        project: row.project,
        environment: row.environment.into(),
        scopes: row.scopes,
        expires_unix_ms: row.expires_unix_ms,
        revoked: row.revoked_unix_ms.is_some(),
        ip_allowlist: row.ip_allowlist,
        origins: row.origins.into(),
        priority: row.priority,
        access_secret: row.access_secret.map(Arc::new),
    };
    KeyChange::Set(row.digest, Arc::new(entry))
}

/// A credential as requests read it.
pub fn credential_entry(row: CredentialRow) -> CredentialEntry {
    CredentialEntry {
        id: row.id,
        workspace: row.workspace,
        provider: row.provider.into(),
        display_name: row.display_name.into(),
        base_url: row.base_url.map(Into::into),
        hosting: Arc::new(hosting(row.config, row.region.as_ref(), &row.auth)),
        region: row.region.map(Into::into),
        sealed: Arc::new(row.secret.sealed),
        state: row.state,
        expires_unix_ms: row.expires_unix_ms,
        project: row.project,
        environment: row.environment.map(Into::into),
        pricing: Arc::new(row.pricing),
        quirks: row.server.missing_features(),
        agreement: Arc::new(row.agreement),
        subscription: row.subscription.map(Arc::new),
        created_unix_ms: row.created_unix_ms,
    }
}

/// Unknown fields are ignored, and an unreadable config counts as empty: it was checked when it was written,
/// or is its owner's own.
fn hosting(config: Value, region: Option<&String>, auth: &str) -> Hosting {
    let parsed: Hosting = serde_json::from_value(config).unwrap_or_default();
    Hosting { region: region.cloned(), auth: AuthKind::from_name(auth).unwrap_or_default(), ..parsed }
}

pub fn account_entry(row: AccountRow) -> AccountEntry {
    AccountEntry {
        id: row.id,
        provider: row.provider.into(),
        display_name: row.display_name.into(),
        base_url: row.base_url.map(Into::into),
        hosting: Arc::new(hosting(row.config, row.region.as_ref(), &row.auth)),
        region: row.region.map(Into::into),
        sealed: Arc::new(row.secret.sealed),
        disabled: row.disabled,
        models: row.models.map(Arc::new),
        weight: row.weight,
        markup_bps: row.markup_bps,
        allow_unpriced: row.allow_unpriced,
        pricing: Arc::new(row.pricing),
        agreement: Arc::new(row.agreement),
        created_unix_ms: row.created_unix_ms,
    }
}

/// A node as requests read it.
pub fn node_entry(row: crate::nodes::NodeRow) -> NodeEntry {
    let (state, models) = (row.state(), Arc::new(row.models().to_vec()));
    NodeEntry {
        id: row.id,
        workspace: row.workspace,
        name: row.name.into(),
        base_url: row.base_url.into(),
        sealed: row.secret.map(|secret| Arc::new(secret.sealed)),
        state,
        models,
        labels: Arc::new(row.labels),
        quirks: row.server.missing_features(),
        hour_nanos: row.cost.map_or(0, |cost| cost.busy_hour().0.unsigned_abs()),
        created_unix_ms: row.created_unix_ms,
    }
}

fn project_entry(
    row: ProjectRow,
    policy: Option<Arc<Policies>>,
    holds: &HoldsInForce,
    retention: Option<ContentRetention>,
) -> ProjectEntry {
    let of = |project| holds.get(&(row.workspace, project)).copied();
    ProjectEntry {
        id: row.id,
        workspace: row.workspace,
        name: row.name.into(),
        environment: row.environment.into(),
        origins: row.origins.into(),
        caching: row.caching,
        policy,
        legal_hold: of(None).or_else(|| of(Some(row.id))),
        retention,
    }
}

async fn rows(
    connection: &mut Connection,
    everybodys: &'static str,
    ones: &'static str,
    whose: Whose,
) -> Result<Vec<Row>, StoreError> {
    let query = match whose {
        Some(workspace) => sql(ones).bind(workspace.bytes()),
        None => sql(everybodys),
    };
    query.rows(connection).await
}

macro_rules! rows_of {
    ($connection:expr, $table:literal, $column:literal, $order:literal, $whose:expr) => {
        rows(
            $connection,
            concat!("SELECT * FROM ", $table, " ORDER BY ", $order),
            concat!("SELECT * FROM ", $table, " WHERE ", $column, " = $1 ORDER BY ", $order),
            $whose,
        )
        .await?
    };
}

async fn read_workspaces(
    connection: &mut Connection,
    whose: Whose,
    change: &mut Change,
) -> Result<(), StoreError> {
    let mut found: BTreeMap<WorkspaceId, WorkspaceEntry> = BTreeMap::new();
    for row in &rows_of!(connection, "workspaces", "id", "id", whose) {
        let row = WorkspaceRow::read(row)?;
        let entry = WorkspaceEntry {
            id: row.id,
            name: row.name.into(),
            projects: Vec::new(),
            credentials: Vec::new(),
            nodes: Vec::new(),
            routes: Vec::new(),
            aliases: Vec::new(),
            hints: Vec::new(),
            terms: None,
            caching: row.caching,
        };
        found.insert(row.id, entry);
    }
    let mut policies = read_policies(connection, whose).await?;
    let holds = read_holds(connection, whose).await?;
    let mut retention = HashMap::new();
    for row in &rows_of!(connection, "retention_profiles", "workspace", "project", whose) {
        let fields = Fields::new("retention_profiles", row);
        retention.insert(fields.id::<ProjectId>("project")?, profiles::retention(&fields)?);
    }
    for row in &rows_of!(connection, "projects", "workspace", "id", whose) {
        let row = ProjectRow::read(row)?;
        let wide = policies.get(&(row.workspace, None)).cloned();
        let policy = Policies::of(wide, policies.remove(&(row.workspace, Some(row.id))));
        let kept = retention.remove(&row.id);
        let entry = project_entry(row, policy, &holds, kept);
        if let Some(workspace) = found.get_mut(&entry.workspace) {
            workspace.projects.push(Arc::new(entry));
        }
    }
    for row in &rows_of!(connection, "credentials", "workspace", "created_unix_ms, id", whose) {
        let entry = credential_entry(CredentialRow::read(row)?);
        if let Some(workspace) = found.get_mut(&entry.workspace) {
            workspace.credentials.push(Arc::new(entry));
        }
    }
    for row in &rows_of!(connection, "nodes", "workspace", "created_unix_ms, id", whose) {
        let entry = node_entry(nodes::read(row)?);
        if let Some(workspace) = found.get_mut(&entry.workspace) {
            workspace.nodes.push(Arc::new(entry));
        }
    }
    for row in &rows_of!(connection, "routes", "workspace", "id", whose) {
        let row = RouteRow::read(row)?;
        if let Some(workspace) = found.get_mut(&row.workspace) {
            workspace.routes.push(Arc::new(RouteEntry { id: row.id, spec: row.spec }));
        }
    }
    for (workspace, alias) in read_aliases(connection, whose).await? {
        if let Some(entry) = found.get_mut(&workspace) {
            entry.aliases.push(Arc::new(alias));
        }
    }
    read_hints(connection, whose, &mut found).await?;
    for (workspace, terms) in read_terms(connection, whose).await? {
        if let Some(entry) = found.get_mut(&workspace) {
            entry.terms = Some(Arc::new(terms));
        }
    }
    if let Some(id) = whose.filter(|id| !found.contains_key(id)) {
        change.workspaces.push((id, None));
    }
    change.workspaces.extend(found.into_iter().map(|(id, entry)| (id, Some(Arc::new(entry)))));
    read_seals(connection, whose, change).await
}

/// The legal holds of whole workspaces and projects. Those of sessions are asked for where sessions are deleted.
async fn read_holds(connection: &mut Connection, whose: Whose) -> Result<HoldsInForce, StoreError> {
    let mut holds = HoldsInForce::new();
    for row in &rows_of!(connection, "legal_holds", "workspace", "id", whose) {
        let fields = Fields::new("legal_holds", row);
        let is_released = fields.maybe_number("released_unix_ms")?.is_some();
        if !is_released && fields.text("scope")? != "sessions" {
            holds.insert((fields.id("workspace")?, fields.maybe_id("project")?), fields.id("id")?);
        }
    }
    Ok(holds)
}

/// The policies by whom they are of.
async fn read_policies(
    connection: &mut Connection,
    whose: Whose,
) -> Result<BTreeMap<(WorkspaceId, Option<ProjectId>), Arc<Policy>>, StoreError> {
    let mut policies = BTreeMap::new();
    for row in &rows_of!(connection, "policies", "workspace", "id", whose) {
        let PolicyRow { id, workspace, project, spec, hook_secret, .. } = PolicyRow::read(row)?;
        let hook_secret =
            hook_secret.map(|own| HookSecret { sealed: own.secret.sealed, made_unix_ms: own.made_unix_ms });
        policies.insert((workspace, project), Arc::new(Policy { id, project, spec, hook_secret }));
    }
    Ok(policies)
}

/// Adds the stored hints of workspaces, by id. Those that can't be read are an error: they may forbid more than is
/// understood.
async fn read_hints(
    connection: &mut Connection,
    whose: Whose,
    found: &mut BTreeMap<WorkspaceId, WorkspaceEntry>,
) -> Result<(), StoreError> {
    for row in &rows_of!(connection, "agent_hints", "workspace", "id", whose) {
        let row = AgentHintsRow::read(row)?;
        let read = serde_json::from_value(row.hints);
        let read = read.map_err(|error| StoreError::corrupt(AgentHintsRow::NAME, error))?;
        if let Some(workspace) = found.get_mut(&row.workspace) {
            workspace.hints.push(Arc::new(HintsEntry { id: row.id, read }));
        }
    }
    Ok(())
}

/// The aliases of workspaces, in the order in which they are looked up: by name, the projects' own first.
async fn read_aliases(
    connection: &mut Connection,
    whose: Whose,
) -> Result<Vec<(WorkspaceId, AliasEntry)>, StoreError> {
    let mut rows = Vec::new();
    for row in &rows_of!(connection, "aliases", "workspace", "id", whose) {
        rows.push(AliasRow::read(row)?);
    }
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut releases: HashMap<AliasId, Vec<Arc<ReleaseEntry>>> = HashMap::new();
    for row in &rows_of!(connection, "alias_releases", "workspace", "number", whose) {
        let row = aliases::read_release(row)?;
        let entry = ReleaseEntry { id: row.id, number: row.number, spec: row.spec };
        releases.entry(row.alias).or_default().push(Arc::new(entry));
    }
    let entries = rows.into_iter().map(|row| {
        let releases = releases.remove(&row.id).unwrap_or_default();
        Ok((row.workspace, alias_entry(row, releases)?))
    });
    let mut entries = entries.collect::<Result<Vec<_>, StoreError>>()?;
    entries.sort_by(|(_, one), (_, other)| one.order().cmp(&other.order()));
    Ok(entries)
}

fn alias_entry(row: AliasRow, releases: Vec<Arc<ReleaseEntry>>) -> Result<AliasEntry, StoreError> {
    let find = |id: AliasReleaseId| {
        let found = releases.iter().find(|release| release.id == id).map(Arc::clone);
        found.ok_or_else(|| StoreError::corrupt("aliases", format!("{} has no release {id}", row.id)))
    };
    let canary = row.canary.map(|canary| {
        let release = find(canary.release)?;
        Ok(CanaryEntry {
            release,
            percent: canary.percent,
            gates: canary.gates,
            started_unix_ms: canary.started_unix_ms,
        })
    });
    Ok(AliasEntry {
        id: row.id,
        active: find(row.active)?,
        canary: canary.transpose()?,
        name: row.name.into(),
        project: row.project,
        fits_parameters: releases.iter().any(|release| !release.spec.parameters.is_empty()),
        releases,
        created_unix_ms: row.created_unix_ms,
    })
}

/// The budgets and rate limits of workspaces; a workspace without any has no entry.
async fn read_terms(
    connection: &mut Connection,
    whose: Whose,
) -> Result<BTreeMap<WorkspaceId, Terms>, StoreError> {
    let mut found: BTreeMap<WorkspaceId, Terms> = BTreeMap::new();
    for row in &rows_of!(connection, "limits", "workspace", "workspace", whose) {
        let (workspace, of, limits) = budgets::read_limits(row)?;
        let terms = found.entry(workspace).or_default();
        match of {
            LimitsOf::Subject(subject) => drop(terms.limits.insert(subject, limits)),
            LimitsOf::EveryEndUser => terms.end_user_limits = limits,
        }
    }
    for row in &rows_of!(connection, "budgets", "workspace", "id", whose) {
        if let Some(commitment) = budgets::read_commitment(row)? {
            let terms = found.entry(commitment.workspace).or_default();
            terms.commitments.push(Arc::new(commitment));
            continue;
        }
        let budget = Arc::new(BudgetRow::read(row)?.compile());
        let terms = found.entry(budget.workspace).or_default();
        terms.budgets.entry(budget.subject.clone()).or_default().push(budget);
    }
    Ok(found)
}

async fn read_seals(
    connection: &mut Connection,
    whose: Whose,
    change: &mut Change,
) -> Result<(), StoreError> {
    for row in &rows_of!(connection, "workspace_keys", "workspace", "workspace, ordinal", whose) {
        change.wrapped_keys.push(workspaces::read_key(row)?);
    }
    for row in &rows_of!(connection, "seal_floors", "workspace", "object", whose) {
        change.minimum_versions.push(seals::read(row)?);
    }
    Ok(())
}

async fn read_accounts(connection: &mut Connection, change: &mut Change) -> Result<(), StoreError> {
    let query = sql("SELECT * FROM accounts ORDER BY created_unix_ms, id");
    let rows = query.rows(connection).await?;
    let entries = rows.iter().map(|row| AccountRow::read(row).map(|row| Arc::new(account_entry(row))));
    change.accounts = Some(entries.collect::<Result<_, _>>()?);
    Ok(())
}

async fn read_capabilities(connection: &mut Connection, change: &mut Change) -> Result<(), StoreError> {
    let entries = capabilities::all(connection).await?.into_iter().map(|row| CapabilityEntry {
        provider: row.provider.into(),
        facts: row.facts.into(),
        day: row.day.into(),
    });
    change.capabilities = Some(entries.collect());
    Ok(())
}

async fn read_node(
    connection: &mut Connection,
    workspace: WorkspaceId,
    id: NodeId,
    change: &mut Change,
) -> Result<(), StoreError> {
    let query = sql("SELECT * FROM nodes WHERE workspace = $1 AND id = $2");
    let Some(row) = query.bind(workspace.bytes()).bind(id.bytes()).row(connection).await? else {
        change.nodes.push(NodeChange::Gone(workspace, id));
        return Ok(());
    };
    let entry = node_entry(nodes::read(&row)?);
    if entry.sealed.is_some() {
        change.minimum_versions.push(read_minimum_version(connection, workspace, id).await?);
    }
    change.nodes.push(NodeChange::Set(Arc::new(entry)));
    Ok(())
}

async fn read_minimum_version(
    connection: &mut Connection,
    workspace: WorkspaceId,
    object: impl ToString,
) -> Result<MinimumVersion, StoreError> {
    let object = object.to_string();
    let sealed = seals::find(connection, workspace, &object).await?;
    Ok(MinimumVersion { workspace, object, sealed })
}

async fn read_key(connection: &mut Connection, id: KeyId, change: &mut Change) -> Result<(), StoreError> {
    let query = sql("SELECT * FROM api_keys WHERE id = $1").bind(id.bytes());
    let row = query.row(connection).await?;
    let read = row.as_ref().map(ApiKeyRow::read).transpose()?;
    if let Some(row) = read.as_ref().filter(|row| row.access_secret.is_some()) {
        change.minimum_versions.push(read_minimum_version(connection, row.workspace, row.id).await?);
    }
    change.keys.push(read.map_or(KeyChange::Gone(id), key_change));
    Ok(())
}

async fn read_version(connection: &mut Connection) -> Result<u64, StoreError> {
    let row = sql("SELECT version FROM head").one(connection).await?;
    Fields::new("head", &row).number("version")
}

async fn load(connection: &mut Connection) -> Result<Change, StoreError> {
    let mut change = Change { version: read_version(connection).await?, whole: true, ..Change::default() };
    read_workspaces(connection, None, &mut change).await?;
    read_accounts(connection, &mut change).await?;
    read_capabilities(connection, &mut change).await?;
    let query = sql("SELECT * FROM api_keys");
    let keys = query.rows(connection).await?;
    for row in &keys {
        change.keys.push(key_change(ApiKeyRow::read(row)?));
    }
    Ok(change)
}

/// Reads what the feed names, each object once. A change of a key or a node reads it and nothing else.
async fn changes_since(connection: &mut Connection, version: u64) -> Result<Change, StoreError> {
    let mut change = Change { version: read_version(connection).await?, ..Change::default() };
    if change.version <= version {
        return Ok(change);
    }
    let Some(feed) = feed::read_feed(connection, version).await? else { return load(connection).await };
    let (mut touched, mut nodes) = (BTreeSet::new(), BTreeSet::new());
    let (mut keys, mut of_accounts) = (BTreeSet::new(), false);
    for line in feed {
        match (line.part, line.workspace) {
            (Part::Workspace, Some(workspace)) => match line.object.parse::<NodeId>() {
                Ok(node) => drop(nodes.insert((workspace, node))),
                Err(_) => drop(touched.insert(workspace)),
            },
            (Part::Key, _) => {
                let id: KeyId = line.object.parse().map_err(|error| StoreError::corrupt("changes", error))?;
                keys.insert(id);
            }
            (Part::Accounts, _) => of_accounts = true,
            (Part::Workspace, None) | (Part::Other, _) => {}
        }
    }
    nodes.retain(|(workspace, _)| !touched.contains(workspace));
    for workspace in touched {
        read_workspaces(connection, Some(workspace), &mut change).await?;
    }
    for (workspace, node) in nodes {
        read_node(connection, workspace, node, &mut change).await?;
    }
    for key in keys {
        read_key(connection, key, &mut change).await?;
    }
    if of_accounts {
        read_accounts(connection, &mut change).await?;
        read_capabilities(connection, &mut change).await?;
        read_seals(connection, Some(accounts::OPERATOR), &mut change).await?;
    }
    Ok(change)
}

/// The database as the source that the snapshot's keeper follows.
pub(crate) struct SnapshotSource(pub(crate) Database);

impl Source for SnapshotSource {
    fn load(&self) -> PortFuture<'_, Result<Change, SourceError>> {
        Box::pin(async move {
            let mut reading = self.0.snapshot().await.map_err(|error| SourceError(error.with_causes()))?;
            let loaded = load(&mut reading).await.map_err(|error| SourceError(error.with_causes()))?;
            reading.roll_back().await;
            Ok(loaded)
        })
    }

    fn changes_since(&self, version: u64) -> PortFuture<'_, Result<Change, SourceError>> {
        Box::pin(async move {
            let mut reading = self.0.snapshot().await.map_err(|error| SourceError(error.with_causes()))?;
            let change = changes_since(&mut reading, version).await;
            let change = change.map_err(|error| SourceError(error.with_causes()))?;
            reading.roll_back().await;
            Ok(change)
        })
    }

    fn subscribe(&self) -> tokio::sync::watch::Receiver<u64> {
        self.0.watch()
    }
}
