//! `/v2/model-aliases/{id}/releases`, promoting and rolling back, and what was measured of the releases.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, not_found};
use api::moment::Moment;
use api::reply::{Page, Reply};
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::{AliasReleaseId, AliasReleaseSpec, AliasSplit, Fault, FaultClass};
use http::Method;
use reconcilers::canaries::{self, Measured};
use reconcilers::of_store;
use replayruns::gated;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{AliasAct, AliasChange, AliasReleaseRow, AliasRow};

use super::aliases::{
    AliasView, ReleaseParts, TargetWire, new_release, pointing_at, release, spec_of, target_wires,
    with_canary, without_canary,
};
use super::field_changes::{FieldChange, differences};
use crate::policy_forms::{ParameterForm, parameter_forms};
use crate::resource::{load, replace_row, reply_written};

const RELEASES: &str = "/v2/model-aliases/{id}/releases";
const RELEASE: &str = "/v2/model-aliases/{id}/releases/{release_id}";

pub fn routes() -> Vec<Route> {
    vec![
        gated(
            Route::new(Method::POST, RELEASES, Access::MANAGE, install)
            .says("Installs a release of an alias. It takes effect when it is promoted or becomes the canary, or immediately with `activate`.")
            .takes::<ReleaseInput>()
            .makes::<ReleaseView>()
            .refuses(409, "too_many_releases")
        ),
        Route::new(Method::GET, RELEASES, Access::LOOK, list)
            .says("Lists the releases of an alias, newest first.")
            .lists::<ReleaseView>(),
        Route::new(Method::GET, RELEASE, Access::LOOK, show)
            .says("Shows a release.")
            .returns_value::<ReleaseView>(),
        Route::new(Method::GET, "/v2/model-aliases/{id}/diff", Access::LOOK, diff)
            .says("Shows what differs between two releases of an alias.")
            .returns_value::<ReleaseDiff>()
            .query("from", "A release (`alr_…`); by default the one that was active before the active one, else the one before `to`.")
            .query("to", "Another release; by default the active one."),
        Route::new(Method::PUT, RELEASE, Access::MANAGE, immutable)
            .says("Is refused: a release never changes.")
            .takes_nothing()
            .returns_value::<ReleaseView>()
            .refuses(409, "release_immutable"),
        Route::new(Method::PATCH, RELEASE, Access::MANAGE, immutable)
            .says("Is refused: a release never changes.")
            .takes_nothing()
            .returns_value::<ReleaseView>()
            .refuses(409, "release_immutable"),
        gated(
            Route::new(Method::POST, "/v2/model-aliases/{id}/promote", Access::MANAGE, promote)
            .says("Makes a release active: the named one, else the canary's, else the newest.")
            .takes::<PromoteInput>()
            .returns::<AliasView>()
            .refuses(409, "nothing_to_promote")
        ),
        gated(
            Route::new(Method::POST, "/v2/model-aliases/{id}/rollback", Access::MANAGE, roll_back)
            .says("Withdraws the canary or, without one, makes the release before the active one active again.")
            .takes_nothing()
            .returns::<AliasView>()
            .refuses(409, "nothing_to_roll_back")
        ),
        Route::new(Method::GET, "/v2/model-aliases/{id}/measurements", Access::LOOK, measurements)
            .says("Shows the measurements of the alias's releases within the canary's window, or the last ten minutes.")
            .lists::<MeasuredView>(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AliasRelease")]
struct ReleaseInput {
    split: Option<String>,
    #[serde(default)]
    #[schemars(required)]
    targets: Vec<TargetWire>,
    /// Ranges and defaults of numeric parameters, by their names in snake case, such as `temperature`.
    #[serde(default)]
    parameters: BTreeMap<String, ParameterForm>,
    #[serde(default)]
    note: String,
    /// Makes it the active release immediately.
    #[serde(default)]
    activate: bool,
    /// Makes it the canary immediately, for this share of the callers and with the usual gates.
    #[schemars(range(max = 100))]
    canary_percent: Option<u8>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Promotion")]
struct PromoteInput {
    #[schemars(regex(pattern = AliasReleaseId::pattern()))]
    release_id: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "KeptAliasRelease")]
struct ReleaseView {
    id: String,
    object: &'static str,
    alias_id: String,
    /// From 1 for each alias.
    number: u32,
    /// `active`, `canary` or `retired`; a retired release can still be pinned by its id.
    status: &'static str,
    split: &'static str,
    targets: Vec<TargetWire>,
    parameters: BTreeMap<String, ParameterForm>,
    note: String,
    /// The revision of the capability manifest that was in force when it was made; `null` for those of earlier versions.
    capability_manifest_revision: Option<String>,
    created_at: Moment,
}

fn view(alias: &AliasRow, release: &AliasReleaseRow) -> ReleaseView {
    let status = if release.id == alias.active {
        "active"
    } else if alias.canary.is_some_and(|canary| canary.release == release.id) {
        "canary"
    } else {
        "retired"
    };
    ReleaseView {
        id: release.id.to_string(),
        object: "alias_release",
        alias_id: release.alias.to_string(),
        number: release.number,
        status,
        split: release.spec.split.as_str(),
        targets: target_wires(&release.spec),
        parameters: parameter_forms(&release.spec.parameters),
        note: release.spec.note.clone(),
        capability_manifest_revision: release.manifest_revision.clone(),
        created_at: Moment(release.created_unix_ms),
    }
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row: AliasRow = load(control, &request).await?;
    let releases = control.deps.store.aliases().releases(row.workspace, row.id).await.map_err(of_store)?;
    // Bounded by RELEASES_OF_ALIAS_MAX, so that one page has them all.
    let data = releases.iter().map(|release| view(&row, release)).collect();
    Reply::json(&Page { data, next_cursor: None, has_more: false })
}

/// The release that the path names.
async fn named(
    control: &Control,
    request: &ApiRequest,
    row: &AliasRow,
) -> Result<AliasReleaseRow, Box<Fault>> {
    let text = request.parameters.get(1).map_or("", String::as_str);
    release(control, row, text.parse().map_err(|_| not_found("release", text))?).await
}

async fn show(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row: AliasRow = load(control, &request).await?;
    Reply::json(&view(&row, &named(control, &request, &row).await?))
}

/// What differs between two releases.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AliasReleaseDiff")]
struct ReleaseDiff {
    object: &'static str,
    from: String,
    to: String,
    /// The split, the parameters, the note and the revision of the capability manifest, where they differ.
    changes: Vec<FieldChange>,
    /// The targets that differ, in the order of `to`, and then those that it doesn't have.
    targets: Vec<TargetChange>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AliasTargetChange")]
struct TargetChange {
    model: String,
    /// `added`, `removed`, `reweighted`, or `moved`: the same at another place of an ordered release.
    change: &'static str,
    /// The weight; `null` where it isn't a target.
    before: Option<u32>,
    after: Option<u32>,
}

async fn diff(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row: AliasRow = load(control, &request).await?;
    let releases = control.deps.store.aliases().releases(row.workspace, row.id).await.map_err(of_store)?;
    let named = |name: &'static str| match request.query.get(name) {
        None => Ok(None),
        Some(text) => {
            let id: Option<AliasReleaseId> = text.parse().ok();
            let found = releases.iter().find(|release| Some(release.id) == id);
            found.map(Some).ok_or_else(|| Box::new(not_found("release", text).param(name)))
        }
    };
    let of = |id: Option<AliasReleaseId>| releases.iter().find(|release| Some(release.id) == id);
    let to = named("to")?.or_else(|| of(Some(row.active))).ok_or_else(|| Box::new(Fault::internal()))?;
    // Newest first: the next one is the one before.
    let before = || releases.iter().find(|release| release.number < to.number).unwrap_or(to);
    let previous = || of(row.previous).filter(|_| to.id == row.active).unwrap_or_else(before);
    let from = named("from")?.unwrap_or_else(previous);
    Reply::json(&difference(from, to))
}

fn difference(from: &AliasReleaseRow, to: &AliasReleaseRow) -> ReleaseDiff {
    let fields = |release: &AliasReleaseRow| {
        let forms = parameter_forms(&release.spec.parameters);
        serde_json::json!({
            "split": release.spec.split.as_str(), "parameters": forms, "note": release.spec.note,
            "capability_manifest_revision": release.manifest_revision,
        })
    };
    ReleaseDiff {
        object: "alias_release_diff",
        from: from.id.to_string(),
        to: to.id.to_string(),
        changes: differences(&fields(from), &fields(to)),
        targets: target_changes(&from.spec, &to.spec),
    }
}

fn target_changes(from: &AliasReleaseSpec, to: &AliasReleaseSpec) -> Vec<TargetChange> {
    let place = |spec: &AliasReleaseSpec, model: &str| spec.targets.iter().position(|one| one.model == model);
    let weight = |spec: &AliasReleaseSpec, at: Option<usize>| spec.targets.get(at?).map(|one| one.weight);
    let is_ordered = to.split == AliasSplit::Ordered;
    let gone = from.targets.iter().filter(|one| place(to, &one.model).is_none());
    let models = to.targets.iter().chain(gone).map(|one| one.model.as_str());
    let changes = models.filter_map(|model| {
        let (old, new) = (place(from, model), place(to, model));
        let (before, after) = (weight(from, old), weight(to, new));
        let change = match (before, after) {
            (None, _) => "added",
            (_, None) => "removed",
            (Some(before), Some(after)) if before != after => "reweighted",
            _ if is_ordered && old != new => "moved",
            _ => return None,
        };
        Some(TargetChange { model: model.to_owned(), change, before, after })
    });
    changes.collect()
}

async fn immutable(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row: AliasRow = load(control, &request).await?;
    let release = named(control, &request, &row).await?;
    let message = format!("The release {} never changes.", release.id);
    let fault = Fault::new(FaultClass::Conflict, "release_immutable", message);
    Err(Box::new(fault.fix("Install another release with POST …/releases, and promote that.")))
}

async fn install(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row: AliasRow = load(control, &request).await?;
    let input: ReleaseInput = request.json()?;
    let parts = ReleaseParts {
        split: input.split.as_deref(),
        targets: &input.targets,
        parameters: input.parameters,
        note: input.note,
    };
    let spec = spec_of(control, &request, row.project, parts)?;
    let releases = control.deps.store.aliases().releases(row.workspace, row.id).await.map_err(of_store)?;
    // The store numbers it the same, since it takes no change of a later row.
    let number = releases.first().map_or(0, |release| release.number) + 1;
    let installed = AliasReleaseRow { number, ..new_release(control, row.workspace, row.id, spec) };
    let (id, kept) = (installed.id, installed.clone());
    let row = match (input.activate, input.canary_percent) {
        (true, Some(_)) => {
            let message = "A release is either active or the canary.";
            return Err(invalid("canary_percent", message, "Leave out activate, or canary_percent."));
        }
        (true, None) => pointing_at(row, id),
        (false, Some(percent)) => with_canary(control, row, id, percent)?,
        (false, None) => row,
    };
    let change = AliasChange { row, release: Some(installed), act: AliasAct::Install };
    let written = replace(control, &request, change).await?;
    control.deps.await_published(written.version).await?;
    let location = format!("/v2/model-aliases/{}/releases/{id}", written.row.id);
    Ok(Reply::json(&view(&written.row, &kept))?.as_created(location))
}

/// Writes a change of the row that was read, and of no later one.
async fn replace(
    control: &Control,
    request: &ApiRequest,
    change: AliasChange,
) -> Result<store::Written<AliasRow>, Box<Fault>> {
    let expected = request.if_match()?.or(Some(change.row.version));
    replace_row::<AliasRow>(control, request, change, expected).await
}

async fn promote(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row: AliasRow = load(control, &request).await?;
    let input: PromoteInput = request.json()?;
    let id = match &input.release_id {
        Some(text) => {
            let id = text
                .parse()
                .map_err(|_| invalid("release_id", "This isn't a release.", "Give an alr_ id."))?;
            release(control, &row, id).await?.id
        }
        None => next_release(control, &row).await?,
    };
    let row = AliasRow { withdrawn: None, ..pointing_at(row, id) };
    let change = AliasChange { row, release: None, act: AliasAct::Promote };
    reply_written(control, replace(control, &request, change).await?).await
}

/// The canary's release, else the newest.
async fn next_release(control: &Control, row: &AliasRow) -> Result<AliasReleaseId, Box<Fault>> {
    if let Some(canary) = row.canary {
        return Ok(canary.release);
    }
    let releases = control.deps.store.aliases().releases(row.workspace, row.id).await.map_err(of_store)?;
    let newest = releases.first().map(|release| release.id).filter(|id| *id != row.active);
    newest.ok_or_else(|| {
        let message = "The newest release is active already, and there is no canary.";
        let fault = Fault::new(FaultClass::Conflict, "nothing_to_promote", message);
        Box::new(fault.fix("Install a release first, or name one in release_id."))
    })
}

async fn roll_back(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row: AliasRow = load(control, &request).await?;
    let row = match (row.canary, row.previous) {
        (Some(_), _) => without_canary(control, row),
        (None, Some(previous)) => pointing_at(row, previous),
        (None, None) => {
            let message = "The alias has no canary, and never had another active release.";
            let fault = Fault::new(FaultClass::Conflict, "nothing_to_roll_back", message);
            return Err(Box::new(fault.fix("Name a release with POST …/promote instead.")));
        }
    };
    let change = AliasChange { row, release: None, act: AliasAct::RollBack };
    reply_written(control, replace(control, &request, change).await?).await
}

/// What was measured of a release within a window: of requests that named the alias and no release.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Measurement")]
struct MeasuredView {
    object: &'static str,
    release_id: String,
    status: &'static str,
    /// The newest 5000 of the alias at most.
    requests: u32,
    /// Those that failed for a reason other than the client's own or a limit of the workspace.
    errors: u32,
    error_bps: u32,
    latency_p95_ms: Option<u64>,
    first_byte_p95_ms: Option<u64>,
    since: Moment,
}

async fn measurements(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let row: AliasRow = load(control, &request).await?;
    let window_ms = u64::from(canaries::window_s(row.canary.as_ref().map(|canary| &canary.gates))) * 1_000;
    let started = row.canary.map_or(0, |canary| canary.started_unix_ms);
    let since = control.deps.world.clock.unix_ms().saturating_sub(window_ms).max(started);
    let measured =
        canaries::measure(&control.deps, row.workspace, &row.name, since).await.map_err(of_store)?;
    let releases = control.deps.store.aliases().releases(row.workspace, row.id).await.map_err(of_store)?;
    let data = releases.iter().filter_map(|release| {
        let found = measured.get(&release.id);
        let release = view(&row, release);
        // Those without requests are listed only where a choice depends on them.
        (found.is_some() || release.status != "retired").then(|| {
            let found = found.cloned().unwrap_or_default();
            measured_view(release, &found, since)
        })
    });
    Reply::json(&Page { data: data.collect(), next_cursor: None, has_more: false })
}

fn measured_view(release: ReleaseView, measured: &Measured, since: u64) -> MeasuredView {
    MeasuredView {
        object: "measurement",
        release_id: release.id,
        status: release.status,
        requests: measured.requests,
        errors: measured.errors,
        error_bps: measured.error_bps(),
        latency_p95_ms: measured.latency_p95_ms(),
        first_byte_p95_ms: measured.first_byte_p95_ms(),
        since: Moment(since),
    }
}
