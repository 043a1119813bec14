//! What changes of routes and aliases would move onto nodes: the gate's question, asked by everyone who writes one.

use std::sync::Arc;

use api::request::ApiRequest;
use api::state::Control;
use domain::{AliasReleaseId, AliasReleaseSpec, AliasSplit, AliasTarget, Fault, RouteId, RouteSpec};
use replayruns::{Moving, check_move};
use snapshot::{AliasEntry, ReleaseEntry, RouteEntry, WorkspaceEntry};
use store::AliasChange;

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
    let mut routes: Vec<Arc<RouteEntry>> = before.routes.iter().filter(|one| one.id != id).cloned().collect();
    routes.extend(spec.map(|spec| Arc::new(RouteEntry { id, spec: spec.clone() })));
    let after = WorkspaceEntry { routes, ..(**before).clone() };
    let object = id.to_string();
    let moving = Moving { snapshot: &snapshot, before, after: vec![after], alias: None, object: &object };
    check_move(control, request, &moving).await
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
    let object = alias.id.to_string();
    let moving = Moving { snapshot: &snapshot, before, after, alias: Some(&*alias.name), object: &object };
    check_move(control, request, &moving).await
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
