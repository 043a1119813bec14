//! `POST /v2/routes/dry-run` and `POST /v2/model-aliases/{id}/dry-run`: what a change would have changed for stored requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, missing, not_found};
use api::request::{ApiRequest, patched};
use api::router::{Handled, Route};
use api::state::Control;
use domain::{AliasReleaseId, CanaryGates, Fault, RouteId};
use http::Method;
use reconcilers::of_store;
use reports::dry_run::{Rules, dry_run, with_sample};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use snapshot::{AliasEntry, CanaryEntry, ReleaseEntry, RouteEntry, WorkspaceEntry};
use store::{AliasRow, RouteRow};

use super::aliases::{ReleaseParts, TargetWire, new_release, release, spec_of as release_of};
use super::rules::{Wire, spec_of, wire_of};
use crate::policy_forms::ParameterForm;
use crate::resource::load;

pub fn routes() -> Vec<Route> {
    let of_route = Route::new(Method::POST, "/v2/routes/dry-run", Access::LOOK, try_route)
        .says("Shows what a new, changed or removed route would have changed for stored requests, without sending anything.")
        .takes::<RouteInput>()
        .refuses(409, "route_scope_taken")
        .refuses(409, "route_conditions_overlap");
    let of_alias =
        Route::new(Method::POST, "/v2/model-aliases/{id}/dry-run", Access::LOOK, try_release)
            .says("Shows what a release of an alias would have changed for stored requests that named the alias, without sending anything.")
            .takes::<ReleaseInput>();
    vec![with_sample(of_route), with_sample(of_alias)]
}

/// A change of the routes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RouteDryRun")]
struct RouteInput {
    /// The route that would be changed or removed; without one, `route` would be a new one.
    #[schemars(regex(pattern = RouteId::pattern()))]
    route_id: Option<String>,
    /// A new route as in `POST /v2/routes`; of a route that is named, the fields that would change, as in a `PATCH`.
    #[schemars(with = "Option<Wire>")]
    route: Option<Value>,
    /// Whether the named route would be removed.
    #[serde(default)]
    remove: bool,
}

/// A release as if it were active.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AliasDryRun")]
struct ReleaseInput {
    /// A release that is installed, in place of `targets`.
    #[schemars(regex(pattern = AliasReleaseId::pattern()))]
    release_id: Option<String>,
    split: Option<String>,
    #[serde(default)]
    targets: Vec<TargetWire>,
    #[serde(default)]
    parameters: BTreeMap<String, ParameterForm>,
    /// As a canary for this share of the callers; without it, for all of them.
    #[schemars(range(max = 100))]
    percent: Option<u8>,
}

/// The workspace as the snapshot has it.
fn current(control: &Control, request: &ApiRequest) -> Result<Current, Box<Fault>> {
    let snapshot = control.deps.keeper.current();
    let now = snapshot.workspace(request.workspace()).ok_or_else(|| Box::new(Fault::internal()))?;
    let now = Arc::clone(now);
    Ok(Current { snapshot, now })
}

struct Current {
    snapshot: Arc<snapshot::Snapshot>,
    now: Arc<WorkspaceEntry>,
}

impl Current {
    fn against<'a>(&'a self, changed: &'a WorkspaceEntry) -> Rules<'a> {
        Rules { snapshot: &self.snapshot, now: &self.now, changed }
    }
}

async fn try_route(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let input: RouteInput = request.json()?;
    let row = match &input.route_id {
        None => None,
        Some(text) => {
            let id = text.parse().map_err(|_| not_found("route", text))?;
            let found = control.deps.store.routes().get(request.workspace(), id).await;
            Some(found.map_err(of_store)?)
        }
    };
    let changed = changed_route(control, &request, row, &input).await?;
    let current = current(control, &request)?;
    let mut routes: Vec<Arc<RouteEntry>> = current.now.routes.clone();
    match changed {
        RouteChange::Removed(id) => routes.retain(|route| route.id != id),
        RouteChange::Set(entry) => {
            refuse_clash(&routes, &entry)?;
            routes.retain(|route| route.id != entry.id);
            routes.push(Arc::new(*entry));
        }
    }
    let changed = WorkspaceEntry { routes, ..(*current.now).clone() };
    dry_run(control, &request, None, current.against(&changed)).await
}

enum RouteChange {
    Removed(RouteId),
    Set(Box<RouteEntry>),
}

async fn changed_route(
    control: &Control,
    request: &ApiRequest,
    row: Option<RouteRow>,
    input: &RouteInput,
) -> Result<RouteChange, Box<Fault>> {
    if input.remove {
        let Some(row) = row else {
            return Err(missing("route_id", "Name the route that would be removed."));
        };
        if input.route.is_some() {
            let message = "A route that would be removed can't be changed as well.";
            return Err(invalid("route", message, "Leave out route, or remove."));
        }
        return Ok(RouteChange::Removed(row.id));
    }
    let Some(route) = &input.route else {
        let fix = "Give the route that would be added, as in POST /v2/routes, or the fields of the named one that would change.";
        return Err(missing("route", fix));
    };
    let (id, before) = match row {
        Some(row) => {
            (row.id, serde_json::to_value(wire_of(&row.spec)).map_err(|_| Box::new(Fault::internal()))?)
        }
        None => {
            let world = &control.deps.world;
            (RouteId::new(world.clock.unix_ms(), world.id_bytes()), Value::Object(serde_json::Map::new()))
        }
    };
    let wire: Wire = patched(before, route).map_err(within_route)?;
    let spec = spec_of(control, request, wire).await.map_err(within_route)?;
    Ok(RouteChange::Set(Box::new(RouteEntry { id, spec })))
}

/// The field that is wrong, as the body of a dry run has it.
fn within_route(fault: Box<Fault>) -> Box<Fault> {
    match fault.param.as_deref().map(|param| format!("route.{param}")) {
        Some(param) => Box::new(fault.param(param)),
        None => fault,
    }
}

/// A route that could not be saved beside the others is refused as its save would be.
fn refuse_clash(routes: &[Arc<RouteEntry>], entry: &RouteEntry) -> Result<(), Box<Fault>> {
    let others = routes.iter().filter(|other| other.id != entry.id);
    let clash = others.filter_map(|other| store::route_clash(&entry.spec, other.id, &other.spec)).next();
    clash.map_or(Ok(()), |clash| Err(of_store(clash)))
}

async fn try_release(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row: AliasRow = load(control, &request).await?;
    let input: ReleaseInput = request.json()?;
    if input.percent.is_some_and(|percent| percent > 100) {
        return Err(invalid("percent", "percent is above 100.", "Give 0 to 100, or leave it out."));
    }
    let tried = tried_release(control, &request, &row, &input).await?;
    let current = current(control, &request)?;
    let position = current.now.aliases.iter().position(|alias| alias.id == row.id);
    let position = position.ok_or_else(|| not_found("alias", &row.name))?;
    let mut aliases = current.now.aliases.clone();
    if let Some(alias) = aliases.get_mut(position) {
        *alias = Arc::new(with_release(alias, tried, input.percent));
    }
    let changed = WorkspaceEntry { aliases, ..(*current.now).clone() };
    dry_run(control, &request, Some(&row.name), current.against(&changed)).await
}

/// The release that is tried: one that is installed, or a new one.
async fn tried_release(
    control: &Control,
    request: &ApiRequest,
    row: &AliasRow,
    input: &ReleaseInput,
) -> Result<ReleaseEntry, Box<Fault>> {
    let found = match &input.release_id {
        Some(text) => {
            if !input.targets.is_empty() {
                let message = "A release that is installed has its targets.";
                return Err(invalid("targets", message, "Leave out targets, or release_id."));
            }
            release(control, row, text.parse().map_err(|_| not_found("release", text))?).await?
        }
        None => {
            let parts = ReleaseParts {
                split: input.split.as_deref(),
                targets: &input.targets,
                parameters: input.parameters.clone(),
                note: String::new(),
            };
            let spec = release_of(control, request, row.project, parts)?;
            new_release(control, row.workspace, row.id, spec)
        }
    };
    Ok(ReleaseEntry { id: found.id, number: found.number, spec: found.spec })
}

fn with_release(alias: &AliasEntry, release: ReleaseEntry, percent: Option<u8>) -> AliasEntry {
    let release = Arc::new(release);
    let mut changed = alias.clone();
    match percent {
        None => {
            changed.canary = changed.canary.filter(|canary| canary.release.id != release.id);
            changed.active = Arc::clone(&release);
        }
        Some(percent) => {
            let gates = CanaryGates {
                error_bps_max: None,
                latency_p95_ms_max: None,
                first_byte_p95_ms_max: None,
                requests_min: 1,
                window_s: 1,
            };
            let release = Arc::clone(&release);
            changed.canary = Some(CanaryEntry { release, percent, gates, started_unix_ms: 0 });
        }
    }
    if changed.releases.iter().all(|known| known.id != release.id) {
        changed.releases.push(release);
    }
    changed
}
