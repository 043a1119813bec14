//! What changes of routes and aliases would move onto nodes: the gate's question, asked by everyone who writes one.

use std::sync::Arc;

use api::request::ApiRequest;
use api::state::Control;
use domain::{
    AliasId, AliasReleaseId, AliasReleaseSpec, AliasSplit, AliasTarget, Fault, RouteId, RouteScope, RouteSpec,
};
use replayruns::{Moving, check_move};
use snapshot::{AliasEntry, ReleaseEntry, RouteEntry, WorkspaceEntry};
use store::{AliasChange, AliasRow, RequestFilter};

/// Refuses a route that would move requests onto a node without evidence; a removal is one without a rule.
///
/// # Errors
/// 409, naming what would move.
pub async fn check_route(
    control: &Control,
    request: &ApiRequest,
    id: RouteId,
    spec: Option<&RouteSpec>,
) -> Result<(), Box<Fault>> {
    let snapshot = control.deps.keeper.current();
    let Some(before) = snapshot.workspace(request.workspace()) else { return Ok(()) };
    let old = before.routes.iter().find(|one| one.id == id).map(|one| &one.spec);
    let mut concerned: Vec<RequestFilter> =
        old.into_iter().chain(spec).flat_map(|spec| in_scope(&spec.scope)).collect();
    concerned.dedup();
    let mut routes: Vec<Arc<RouteEntry>> = before.routes.iter().filter(|one| one.id != id).cloned().collect();
    routes.extend(spec.map(|spec| Arc::new(RouteEntry { id, spec: spec.clone() })));
    let after = WorkspaceEntry { routes, ..(**before).clone() };
    let object = id.to_string();
    let moving = Moving { snapshot: &snapshot, before, after: vec![after], concerned, object: &object };
    check_move(control, request, &moving).await
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
pub async fn check_alias(
    control: &Control,
    request: &ApiRequest,
    change: &AliasChange,
) -> Result<(), Box<Fault>> {
    let snapshot = control.deps.keeper.current();
    let Some(before) = snapshot.workspace(request.workspace()) else { return Ok(()) };
    // What is not in force yet has no requests.
    let Some(alias) = before.aliases.iter().find(|alias| alias.id == change.row.id) else { return Ok(()) };
    let served: Vec<AliasReleaseSpec> = newly_served(alias, change)
        .filter_map(|id| spec_of(alias, change, id))
        .flat_map(|spec| parts(&spec))
        .collect();
    let after = served.into_iter().map(|spec| with_release(before, alias, spec)).collect();
    let (object, concerned) = (alias.id.to_string(), vec![of_alias(&alias.name)]);
    let moving = Moving { snapshot: &snapshot, before, after, concerned, object: &object };
    check_move(control, request, &moving).await
}

/// Refuses a new alias that would move requests onto a node without evidence: those that name it already, because another alias,
/// or a model that no catalogue has, has the same name.
///
/// # Errors
/// 409, naming what would move.
pub async fn check_new_alias(
    control: &Control,
    request: &ApiRequest,
    row: &AliasRow,
) -> Result<(), Box<Fault>> {
    let snapshot = control.deps.keeper.current();
    let Some(before) = snapshot.workspace(request.workspace()) else { return Ok(()) };
    let with_alias = |spec: AliasReleaseSpec| {
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
        WorkspaceEntry { aliases, ..(**before).clone() }
    };
    let after = parts(&row.spec).into_iter().map(with_alias).collect();
    let named = RequestFilter { model: Some(row.name.clone()), ..RequestFilter::default() };
    let (object, concerned) = (row.id.to_string(), vec![of_alias(&row.name), named]);
    let moving = Moving { snapshot: &snapshot, before, after, concerned, object: &object };
    check_move(control, request, &moving).await
}

/// Refuses to remove an alias whose requests another of the same name would move onto a node without evidence.
///
/// # Errors
/// 409, naming what would move.
pub async fn check_removed_alias(
    control: &Control,
    request: &ApiRequest,
    id: AliasId,
) -> Result<(), Box<Fault>> {
    let snapshot = control.deps.keeper.current();
    let Some(before) = snapshot.workspace(request.workspace()) else { return Ok(()) };
    let Some(alias) = before.aliases.iter().find(|alias| alias.id == id) else { return Ok(()) };
    let aliases = before.aliases.iter().filter(|one| one.id != id).cloned().collect();
    let after = vec![WorkspaceEntry { aliases, ..(**before).clone() }];
    let (object, concerned) = (id.to_string(), vec![of_alias(&alias.name)]);
    let moving = Moving { snapshot: &snapshot, before, after, concerned, object: &object };
    check_move(control, request, &moving).await
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

fn with_release(before: &WorkspaceEntry, alias: &Arc<AliasEntry>, spec: AliasReleaseSpec) -> WorkspaceEntry {
    let active = Arc::new(ReleaseEntry { id: alias.active.id, number: alias.active.number, spec });
    let changed = Arc::new(AliasEntry { active, canary: None, ..(**alias).clone() });
    let aliases = before
        .aliases
        .iter()
        .map(|one| if one.id == alias.id { Arc::clone(&changed) } else { Arc::clone(one) });
    WorkspaceEntry { aliases: aliases.collect(), ..before.clone() }
}
