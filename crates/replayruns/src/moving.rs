//! What each kind of change would move onto nodes: routes, aliases, nodes, policies and credentials, as they would be.

use std::fmt::Display;
use std::sync::Arc;

use api::request::ApiRequest;
use api::state::Control;
use domain::{
    AliasId, AliasReleaseId, AliasReleaseSpec, AliasSplit, AliasTarget, CredentialId, Fault, Policies,
    Policy, PolicyId, ProjectId, RouteId, RouteScope, RouteSpec,
};
use reconcilers::of_store;
use snapshot::{
    AliasEntry, CredentialEntry, NodeEntry, ProjectEntry, ReleaseEntry, RouteEntry, Snapshot, WorkspaceEntry,
};
use store::{AliasChange, AliasRow, NodeRow, PolicyRow, Premise, RequestFilter, node_entry};

use crate::gate::{Moving, check_move};

/// What a checked change is written on top of; `None` where nothing could move.
pub type Checked = Result<Option<Premise>, Box<Fault>>;

/// The rules as the database has them now: a check must not miss what another replica wrote, or this one a moment ago.
async fn rules(control: &Control) -> Result<Arc<Snapshot>, Box<Fault>> {
    let version = control.deps.store.feed().version().await.map_err(of_store)?;
    // Where this process does not take it up in time, the write finds that the rules changed.
    control.deps.await_published(version).await.ok();
    Ok(control.deps.keeper.current())
}

/// The rules as a change would leave them, several where it divides requests, and which requests it can be about.
type Changed = (Vec<WorkspaceEntry>, Vec<RequestFilter>);

/// Refuses a change of an object that would move requests onto a node without evidence. `change` makes the rules as they would be;
/// `None` where it changes nothing that requests are planned by.
async fn check(
    control: &Control,
    request: &ApiRequest,
    object: impl Display + Send,
    change: impl FnOnce(&WorkspaceEntry) -> Option<Changed> + Send,
) -> Checked {
    let snapshot = rules(control).await?;
    let Some(before) = snapshot.workspace(request.workspace()) else { return Ok(None) };
    let Some((after, concerned)) = change(before) else { return Ok(None) };
    let object = object.to_string();
    let moving = Moving { snapshot: &snapshot, before, after, concerned, object: &object };
    check_move(control, request, &moving).await.map(Some)
}

/// Refuses a route that would move requests onto a node without evidence; a removal is one without a rule.
///
/// # Errors
/// 409, naming what would move.
pub async fn check_route(
    control: &Control,
    request: &ApiRequest,
    id: RouteId,
    spec: Option<&RouteSpec>,
) -> Checked {
    let change = |before: &WorkspaceEntry| {
        let old = before.routes.iter().find(|one| one.id == id).map(|one| &one.spec);
        let mut concerned: Vec<RequestFilter> =
            old.into_iter().chain(spec).flat_map(|spec| in_scope(&spec.scope)).collect();
        concerned.dedup();
        let others = before.routes.iter().filter(|one| one.id != id).cloned();
        let new = spec.map(|spec| Arc::new(RouteEntry { id, spec: spec.clone() }));
        let routes = others.chain(new).collect();
        Some((vec![WorkspaceEntry { routes, ..before.clone() }], concerned))
    };
    check(control, request, id, change).await
}

/// The requests that a route can be about, as far as records keep what its scope names; those of its model for themselves, too,
/// since a model may be too rare to be looked at among all.
fn in_scope(scope: &RouteScope) -> impl Iterator<Item = RequestFilter> {
    let all = RequestFilter {
        key: scope.key_id,
        project: scope.project_id,
        tag: scope.tag.clone(),
        environment: scope.environment.clone(),
        alias: scope.alias.clone(),
        ..RequestFilter::default()
    };
    let model = scope.model.clone().filter(|model| !model.ends_with(['*', '/']));
    let of_model = model.map(|model| RequestFilter { model: Some(model), ..all.clone() });
    [all].into_iter().chain(of_model)
}

/// Refuses a change of an alias that would move requests onto a node without evidence: by its active release, or by its canary.
///
/// # Errors
/// 409, naming what would move.
pub async fn check_alias(control: &Control, request: &ApiRequest, change: &AliasChange) -> Checked {
    let id = change.row.id;
    let changed = |before: &WorkspaceEntry| {
        // What is not in force yet has no requests.
        let alias = before.aliases.iter().find(|alias| alias.id == id)?;
        let served = newly_served(alias, change).filter_map(|id| spec_of(alias, change, id));
        let parts = served.flat_map(|spec| parts(&spec));
        let after = parts.map(|spec| with_release(before, alias, spec)).collect();
        Some((after, vec![of_alias(&alias.name)]))
    };
    check(control, request, id, changed).await
}

/// Refuses a new alias that would move requests onto a node without evidence: those that name it already, because another alias,
/// or a model that no catalogue has, has the same name.
///
/// # Errors
/// 409, naming what would move.
pub async fn check_new_alias(control: &Control, request: &ApiRequest, row: &AliasRow) -> Checked {
    let change = |before: &WorkspaceEntry| {
        let after = parts(&row.spec).into_iter().map(|spec| with_alias(before, row, spec)).collect();
        let named = RequestFilter { model: Some(row.name.clone()), ..RequestFilter::default() };
        Some((after, vec![of_alias(&row.name), named]))
    };
    check(control, request, row.id, change).await
}

/// Refuses to remove an alias whose requests another of the same name would move onto a node without evidence.
///
/// # Errors
/// 409, naming what would move.
pub async fn check_removed_alias(control: &Control, request: &ApiRequest, id: AliasId) -> Checked {
    let change = |before: &WorkspaceEntry| {
        let alias = before.aliases.iter().find(|alias| alias.id == id)?;
        let aliases = before.aliases.iter().filter(|one| one.id != id).cloned().collect();
        Some((vec![WorkspaceEntry { aliases, ..before.clone() }], vec![of_alias(&alias.name)]))
    };
    check(control, request, id, change).await
}

/// Refuses a new or changed node that would be sent requests of others without evidence: by its models, its labels, what its server
/// takes, or what it costs.
///
/// # Errors
/// 409, naming what would move.
pub async fn check_node(control: &Control, request: &ApiRequest, row: &NodeRow) -> Checked {
    let change = |before: &WorkspaceEntry| {
        let node = Arc::new(node_entry(row.clone()));
        let what_is_chosen_by =
            |one: &NodeEntry| (Arc::clone(&one.models), Arc::clone(&one.labels), one.quirks, one.hour_nanos);
        let mut nodes = before.nodes.clone();
        match nodes.iter_mut().find(|one| one.id == node.id) {
            Some(old) if what_is_chosen_by(old) == what_is_chosen_by(&node) => return None,
            Some(old) => *old = node,
            None => nodes.push(node),
        }
        Some((vec![WorkspaceEntry { nodes, ..before.clone() }], vec![RequestFilter::default()]))
    };
    check(control, request, row.id, change).await
}

/// Refuses a policy that would leave nothing but a node to requests of others; a removal is one without a policy.
///
/// # Errors
/// 409, naming what would move.
pub async fn check_policy(
    control: &Control,
    request: &ApiRequest,
    id: PolicyId,
    row: Option<&PolicyRow>,
) -> Checked {
    let change = |before: &WorkspaceEntry| {
        let in_force = before.projects.iter().filter_map(|project| project.policy.as_ref());
        let old = in_force.flat_map(|policies| policies.each()).find(|policy| policy.id == id);
        if old.map(|old| &old.spec) == row.map(|row| &row.spec) {
            return None;
        }
        let project = row.map_or_else(|| old.and_then(|old| old.project), |row| row.project);
        let new =
            row.map(|row| Policy { id, project, spec: row.spec.clone(), hook_secret: None }).map(Arc::new);
        let with_policy = |entry: &Arc<ProjectEntry>| {
            let [wide, own] = [None, Some(entry.id)].map(|owner| {
                let mut others = entry.policy.iter().flat_map(|policies| policies.each());
                let other = others.find(|policy| policy.project == owner && policy.id != id);
                new.as_ref().filter(|new| new.project == owner).or(other).cloned()
            });
            Arc::new(ProjectEntry { policy: Policies::of(wide, own), ..(**entry).clone() })
        };
        let projects = before.projects.iter().map(with_policy).collect();
        Some((vec![WorkspaceEntry { projects, ..before.clone() }], vec![of_project(project)]))
    };
    check(control, request, id, change).await
}

/// Refuses a change of a credential that would leave its requests to a node without evidence; a removal is one without a credential.
///
/// # Errors
/// 409, naming what would move.
pub async fn check_credential(
    control: &Control,
    request: &ApiRequest,
    id: CredentialId,
    entry: Option<CredentialEntry>,
) -> Checked {
    let change = |before: &WorkspaceEntry| {
        let at = before.credentials.iter().position(|one| one.id == id)?;
        let mut credentials = before.credentials.clone();
        let old = credentials.remove(at);
        let concerned = vec![of_project(old.project)];
        if let Some(entry) = entry {
            // Neither another secret nor another name changes what it serves.
            let (sealed, display_name) = (Arc::clone(&old.sealed), Arc::clone(&old.display_name));
            let entry = CredentialEntry { sealed, display_name, ..entry };
            if entry == *old {
                return None;
            }
            credentials.insert(at, Arc::new(entry));
        }
        Some((vec![WorkspaceEntry { credentials, ..before.clone() }], concerned))
    };
    check(control, request, id, change).await
}

fn of_project(project: Option<ProjectId>) -> RequestFilter {
    RequestFilter { project, ..RequestFilter::default() }
}

fn of_alias(name: &str) -> RequestFilter {
    RequestFilter { alias: Some(name.to_owned()), ..RequestFilter::default() }
}

/// The releases to which more requests come than before: another active one, and a canary that is new or gets more.
fn newly_served(alias: &AliasEntry, change: &AliasChange) -> impl Iterator<Item = AliasReleaseId> {
    let active = Some(change.row.active).filter(|id| *id != alias.active.id);
    let percent_of =
        |id| alias.canary.as_ref().filter(|one| one.release.id == id).map_or(0, |one| one.percent);
    let canary = change.row.canary.filter(|canary| canary.percent > percent_of(canary.release));
    active.into_iter().chain(canary.map(|canary| canary.release))
}

fn spec_of(alias: &AliasEntry, change: &AliasChange, id: AliasReleaseId) -> Option<AliasReleaseSpec> {
    let new = change.release.as_ref().filter(|release| release.id == id).map(|release| release.spec.clone());
    new.or_else(|| alias.releases.iter().find(|release| release.id == id).map(|release| release.spec.clone()))
}

/// A release that divides requests, by its targets: however few come to one, each is looked at.
fn parts(spec: &AliasReleaseSpec) -> Vec<AliasReleaseSpec> {
    if spec.split == AliasSplit::Ordered {
        return vec![spec.clone()];
    }
    let alone = |target: &AliasTarget| AliasReleaseSpec { targets: vec![target.clone()], ..spec.clone() };
    spec.targets.iter().filter(|target| target.weight > 0).map(alone).collect()
}

fn with_alias(before: &WorkspaceEntry, row: &AliasRow, spec: AliasReleaseSpec) -> WorkspaceEntry {
    let active = Arc::new(ReleaseEntry { id: row.active, number: row.number, spec });
    let added = AliasEntry {
        id: row.id,
        name: row.name.as_str().into(),
        project: row.project,
        releases: vec![Arc::clone(&active)],
        active,
        canary: None,
        fits_parameters: false,
        created_unix_ms: row.created_unix_ms,
    };
    let mut aliases: Vec<_> = before.aliases.iter().cloned().chain([Arc::new(added)]).collect();
    aliases.sort_by(|one, other| one.order().cmp(&other.order()));
    WorkspaceEntry { aliases, ..before.clone() }
}

fn with_release(before: &WorkspaceEntry, alias: &Arc<AliasEntry>, spec: AliasReleaseSpec) -> WorkspaceEntry {
    let active = Arc::new(ReleaseEntry { id: alias.active.id, number: alias.active.number, spec });
    let changed = Arc::new(AliasEntry { active, canary: None, ..(**alias).clone() });
    let aliases = before
        .aliases
        .iter()
        .map(|one| if one.id == alias.id { Arc::clone(&changed) } else { Arc::clone(one) });
    WorkspaceEntry { aliases: aliases.collect(), ..before.clone() }
}
