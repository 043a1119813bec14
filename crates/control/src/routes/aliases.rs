//! `/v2/model-aliases`: model names of a workspace's or project's own, each of which points at one release.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::failure::{invalid, missing, not_found};
use api::moment::Moment;
use api::request::ApiRequest;
use api::router::Route;
use api::state::Control;
use domain::limits::{
    ALIAS_NAME_BYTES_MAX, ALIAS_NOTE_BYTES_MAX, ALIAS_TARGETS_MAX, ALIAS_WEIGHT_MAX, CANARY_REQUESTS_MAX,
    CANARY_WINDOW_S_MAX, MODEL_NAME_BYTES_MAX,
};
use domain::{
    AliasId, AliasPick, AliasReleaseId, AliasReleaseSpec, AliasSplit, AliasTarget, Canary, CanaryGates,
    Dialect, Fault, Modality, ProjectId, WorkspaceId,
};
use plan::PlanQuery;
use reconcilers::of_store;
use replayruns::{Checked, check_alias, check_new_alias, check_removed_alias, gated};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{AliasAct, AliasChange, AliasReleaseRow, AliasRow, NewAlias, WithdrawnCanary};

use super::conditions::printable;
use super::{alias_releases, known_names};
use crate::policy_forms::{ParameterForm, parameter_forms, parameters};
use crate::resource::{Resource, WritableResource, delete, get, list, patch, post, without};

/// The share of a canary's requests that may fail, unless its gates say otherwise: 5 %.
const ERROR_BPS: u32 = 500;
/// The requests before a canary is judged, unless its gates say otherwise.
const REQUESTS_MIN: u32 = 20;
/// How far back a canary is judged, unless its gates say otherwise.
const WINDOW_S: u32 = 600;
/// All of the requests, in hundredths of a per cent.
const ALL_BPS: u32 = 10_000;

pub fn routes() -> Vec<Route> {
    let mut routes = vec![
        gated(
            post::<AliasRow>(
                "Creates an alias: a model name that a workspace or a project defines. Its targets are its first release.",
            )
            .makes::<AliasView>()
            .refuses(409, "name_taken")
            .refuses(409, "too_many_aliases"),
        ),
        list::<AliasRow>("Lists the workspace's aliases."),
        get::<AliasRow>("Shows an alias, by its id or its name."),
        gated(patch::<AliasRow>(
            "Changes an alias. New targets are installed as a release and take effect immediately. `canary` starts or changes a \
             canary; null withdraws it.",
        )),
        gated(delete::<AliasRow>(
            "Removes an alias and its releases. Requests that name it are refused from then on.",
        )),
    ];
    routes.extend(alias_releases::routes());
    routes
}

/// A model that a release may resolve to.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AliasTarget")]
pub struct TargetWire {
    /// Any model name, with or without a pinned seller, but not an alias.
    #[schemars(length(min = 1, max = MODEL_NAME_BYTES_MAX))]
    model: String,
    /// Its share of the callers where the split is `weighted`; 0 gets none.
    #[serde(default = "one")]
    #[schemars(range(max = ALIAS_WEIGHT_MAX))]
    weight: u32,
}

const fn one() -> u32 {
    1
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ModelAlias")]
pub struct Input {
    #[schemars(required)]
    #[schemars(length(min = 1, max = ALIAS_NAME_BYTES_MAX))]
    name: Option<String>,
    /// If set, only this project's requests may use it; for them it wins over the workspace's of the same name.
    project_id: Option<String>,
    #[serde(default)]
    description: String,
    /// `weighted` (the default): each end user, else each request, is assigned to a target in proportion to the weights.
    /// `ordered`: the first target that something serves.
    #[schemars(extend("enum" = ["weighted", "ordered", null]))]
    split: Option<String>,
    #[serde(default)]
    #[schemars(required)]
    #[schemars(length(min = 1, max = ALIAS_TARGETS_MAX))]
    targets: Vec<TargetWire>,
    /// Ranges and defaults of numeric parameters, by their names in snake case, such as `temperature`. Part of the release.
    parameters: Option<BTreeMap<String, ParameterForm>>,
    /// What the release is for.
    #[serde(default)]
    note: String,
    canary: Option<CanaryInput>,
}

/// A release for a part of the callers, and the gates that it must keep to. Once it leaves them it is withdrawn.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Canary")]
struct CanaryInput {
    #[schemars(regex(pattern = AliasReleaseId::pattern()))]
    release_id: String,
    /// The share of the callers. A higher one only moves more of them to the canary.
    #[schemars(range(max = 100))]
    percent: u8,
    /// The highest share of requests that may fail, in hundredths of a per cent. By default 500; 10000 checks nothing.
    error_bps_max: Option<u32>,
    latency_p95_ms_max: Option<u64>,
    first_byte_p95_ms_max: Option<u64>,
    /// It is not judged before this many requests; by default 20.
    requests_min: Option<u32>,
    /// How far back requests count; by default 600.
    window_s: Option<u32>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "KeptCanary")]
struct CanaryView {
    release_id: String,
    percent: u8,
    error_bps_max: u32,
    latency_p95_ms_max: Option<u64>,
    first_byte_p95_ms_max: Option<u64>,
    requests_min: u32,
    window_s: u32,
    started_at: Moment,
}

#[derive(Serialize, JsonSchema)]
struct Withdrawal {
    release_id: String,
    percent: u8,
    reason: String,
    /// By the gateway itself, because it left its gates.
    automatic: bool,
    withdrawn_at: Moment,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "KeptModelAlias")]
pub struct AliasView {
    id: String,
    object: &'static str,
    name: String,
    project_id: Option<String>,
    description: String,
    split: &'static str,
    /// Of the active release.
    targets: Vec<TargetWire>,
    /// Says that no known model has a target's name; absent if all are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
    parameters: BTreeMap<String, ParameterForm>,
    note: String,
    release_id: String,
    release_number: u32,
    /// Where a rollback leads.
    previous_release_id: Option<String>,
    canary: Option<CanaryView>,
    /// The last canary that ended without being promoted, until another starts.
    withdrawn_canary: Option<Withdrawal>,
    created_at: Moment,
}

pub fn target_wires(spec: &AliasReleaseSpec) -> Vec<TargetWire> {
    let wire = |target: &AliasTarget| TargetWire { model: target.model.clone(), weight: target.weight };
    spec.targets.iter().map(wire).collect()
}

fn canary_view(canary: Canary) -> CanaryView {
    CanaryView {
        release_id: canary.release.to_string(),
        percent: canary.percent,
        error_bps_max: canary.gates.error_bps_max.unwrap_or(ALL_BPS),
        latency_p95_ms_max: canary.gates.latency_p95_ms_max,
        first_byte_p95_ms_max: canary.gates.first_byte_p95_ms_max,
        requests_min: canary.gates.requests_min,
        window_s: canary.gates.window_s,
        started_at: Moment(canary.started_unix_ms),
    }
}

fn withdrawal(withdrawn: &WithdrawnCanary) -> Withdrawal {
    Withdrawal {
        release_id: withdrawn.release.to_string(),
        percent: withdrawn.percent,
        reason: withdrawn.reason.clone(),
        automatic: withdrawn.is_automatic,
        withdrawn_at: Moment(withdrawn.unix_ms),
    }
}

fn show(control: &Control, row: &AliasRow) -> AliasView {
    let mut targets = row.spec.targets.iter();
    AliasView {
        warning: targets.find_map(|target| known_names::warning(control, row.workspace, &target.model)),
        id: row.id.to_string(),
        object: "model_alias",
        name: row.name.clone(),
        project_id: row.project.map(|id| id.to_string()),
        description: row.description.clone(),
        split: row.spec.split.as_str(),
        targets: target_wires(&row.spec),
        parameters: parameter_forms(&row.spec.parameters),
        note: row.spec.note.clone(),
        release_id: row.active.to_string(),
        release_number: row.number,
        previous_release_id: row.previous.map(|id| id.to_string()),
        canary: row.canary.map(canary_view),
        withdrawn_canary: row.withdrawn.as_ref().map(withdrawal),
        created_at: Moment(row.created_unix_ms),
    }
}

/// The release of an alias with this id.
pub async fn release(
    control: &Control,
    row: &AliasRow,
    id: AliasReleaseId,
) -> Result<AliasReleaseRow, Box<Fault>> {
    let releases = control.deps.store.aliases().releases(row.workspace, row.id).await.map_err(of_store)?;
    releases.into_iter().find(|release| release.id == id).ok_or_else(|| not_found("release", &id.to_string()))
}

/// A new release of an alias.
pub fn new_release(
    control: &Control,
    workspace: WorkspaceId,
    alias: AliasId,
    spec: AliasReleaseSpec,
) -> AliasReleaseRow {
    let now = control.deps.world.clock.unix_ms();
    let id = AliasReleaseId::new(now, control.deps.world.id_bytes());
    let manifest_revision =
        Some(control.deps.keeper.current().catalogue().capabilities().revision().to_owned());
    AliasReleaseRow { id, workspace, alias, number: 1, spec, manifest_revision, created_unix_ms: now }
}

/// The parts of a release.
pub struct ReleaseParts<'a> {
    pub split: Option<&'a str>,
    pub targets: &'a [TargetWire],
    pub parameters: BTreeMap<String, ParameterForm>,
    pub note: String,
}

/// What a release says, checked: each of its targets must resolve now.
pub fn spec_of(
    control: &Control,
    request: &ApiRequest,
    project: Option<ProjectId>,
    parts: ReleaseParts<'_>,
) -> Result<AliasReleaseSpec, Box<Fault>> {
    let ReleaseParts { split, targets, parameters: forms, note } = parts;
    let split = match split {
        None => AliasSplit::default(),
        Some(word) => AliasSplit::from_word(word).ok_or_else(|| {
            invalid("split", format!("\"{word}\" isn't a split."), "Use weighted or ordered.")
        })?,
    };
    if targets.is_empty() || targets.len() > ALIAS_TARGETS_MAX {
        let message =
            format!("A release has 1 to {ALIAS_TARGETS_MAX} targets, and this has {}.", targets.len());
        return Err(invalid(
            "targets",
            message,
            "Give a list of {\"model\": \"publisher/model\", \"weight\": 1}.",
        ));
    }
    if let Some(at) = targets.iter().position(|target| target.weight > ALIAS_WEIGHT_MAX) {
        let message = format!("targets[{at}].weight is above {ALIAS_WEIGHT_MAX}.");
        return Err(invalid(
            format!("targets[{at}].weight"),
            message,
            "Only the ratio of the weights counts.",
        ));
    }
    if split == AliasSplit::Weighted && targets.iter().all(|target| target.weight == 0) {
        return Err(invalid(
            "targets",
            "Every target has the weight 0.",
            "Give one of them a weight above 0.",
        ));
    }
    for (at, target) in targets.iter().enumerate() {
        checked_target(control, request, &target.model, project, &|| format!("targets[{at}].model"))?;
    }
    checked_note(&note, "note")?;
    let target = |target: &TargetWire| AliasTarget { model: target.model.clone(), weight: target.weight };
    let targets = targets.iter().map(target).collect();
    Ok(AliasReleaseSpec { split, targets, parameters: parameters(forms)?, note })
}

fn checked_note(text: &str, field: &'static str) -> Result<(), Box<Fault>> {
    if text.len() > ALIAS_NOTE_BYTES_MAX {
        let message = format!("{field} has {} bytes.", text.len());
        return Err(invalid(field, message, format!("Give at most {ALIAS_NOTE_BYTES_MAX}.")));
    }
    Ok(())
}

/// A model that a field names must be a name that resolves for the project's callers, and no alias.
pub(super) fn checked_target(
    control: &Control,
    request: &ApiRequest,
    model: &str,
    project: Option<ProjectId>,
    field: &dyn Fn() -> String,
) -> Result<(), Box<Fault>> {
    if model.is_empty() || model.len() > MODEL_NAME_BYTES_MAX {
        let message = format!("{} is empty or too long.", field());
        return Err(invalid(field(), message, format!("Give 1 to {MODEL_NAME_BYTES_MAX} bytes.")));
    }
    let snapshot = control.deps.keeper.current();
    let workspace = snapshot.workspace(request.workspace()).ok_or_else(|| Box::new(Fault::internal()))?;
    let own = project.or_else(|| request.caller.project().map(|project| project.id));
    let mut projects = workspace.projects.iter();
    let found = own.and_then(|id| workspace.projects.iter().find(|one| one.id == id));
    let Some(project) = found.or_else(|| projects.next()) else { return Ok(()) };
    let question = PlanQuery {
        model,
        workspace,
        project,
        environment: &project.environment,
        key: None,
        tag: None,
        split_key: 0,
        session_key: None,
        session_seat: None,
        modality: Modality::Chat,
        dialect: Dialect::Chat,
        terms: domain::PriceTerms::default(),
        size: plan::RequestSize::default(),
        needs: plan::RequestNeeds::default(),
        traits: None,
        prompt: None,
        hints: None,
    };
    let clock = &control.deps.world.clock;
    let (now_us, now_unix_ms) = (clock.monotonic_us(), clock.unix_ms());
    let plan = plan::explain(&question, None, &snapshot, &*control.deps.board, 0, now_us, now_unix_ms);
    if AliasPick::read(&plan.resolution).is_some() {
        let message = format!("\"{model}\" is an alias, and only a model can be used here.");
        return Err(invalid(field(), message, "Name a model, as publisher/model."));
    }
    match plan.fault.filter(|_| plan.resolved_model.is_none()) {
        Some(fault) => Err(Box::new((*fault).param(field()))),
        None => Ok(()),
    }
}

/// A name that no model has, and that is read as nothing else.
fn checked_name(control: &Control, name: Option<&str>) -> Result<String, Box<Fault>> {
    let name = name.ok_or_else(|| missing("name", "Name the alias, such as code.best."))?;
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    let is_of_form = name.len() <= ALIAS_NAME_BYTES_MAX
        && name.bytes().all(is_plain)
        && name.starts_with(|first: char| first.is_ascii_alphanumeric());
    if !is_of_form {
        let fix = format!(
            "Use at most {ALIAS_NAME_BYTES_MAX} small letters, digits, dots, dashes and underscores, with a letter or digit first; \
             \":\", \"/\" and \"@\" have a meaning in model names."
        );
        let message = format!("\"{}\" can't be the name of an alias.", printable(name));
        return Err(invalid("name", message, fix));
    }
    let is_id = name.parse::<AliasId>().is_ok() || name.parse::<AliasReleaseId>().is_ok();
    let catalogue = Arc::clone(control.deps.keeper.current().catalogue());
    let is_model = catalogue.model(name).is_some()
        || !catalogue.by_bare_name(name).is_empty()
        || catalogue.release(name).is_some();
    if is_id || is_model || catalogue.provider(name).is_some() {
        let message = format!("\"{name}\" is the name of a model, a provider or an id already.");
        return Err(invalid("name", message, "Choose a name of your own, such as code.best."));
    }
    Ok(name.to_owned())
}

fn gates_of(input: &CanaryInput) -> Result<CanaryGates, Box<Fault>> {
    let error_bps_max = input.error_bps_max.unwrap_or(ERROR_BPS);
    if error_bps_max > ALL_BPS {
        let message = format!("canary.error_bps_max is {error_bps_max}, and {ALL_BPS} are all requests.");
        return Err(invalid("canary.error_bps_max", message, "Give hundredths of a per cent: 500 is 5 %."));
    }
    let in_range = |value: u32, most: u32, field: &'static str| match (1..=most).contains(&value) {
        true => Ok(value),
        false => {
            Err(invalid(field, format!("{field} is {value}."), format!("Give a number from 1 to {most}.")))
        }
    };
    let latency = |ms: Option<u64>, field: &'static str| match ms {
        Some(0) => Err(invalid(field, format!("{field} is 0."), "Give milliseconds, or leave it out.")),
        other => Ok(other),
    };
    Ok(CanaryGates {
        error_bps_max: (error_bps_max < ALL_BPS).then_some(error_bps_max),
        latency_p95_ms_max: latency(input.latency_p95_ms_max, "canary.latency_p95_ms_max")?,
        first_byte_p95_ms_max: latency(input.first_byte_p95_ms_max, "canary.first_byte_p95_ms_max")?,
        requests_min: in_range(
            input.requests_min.unwrap_or(REQUESTS_MIN),
            CANARY_REQUESTS_MAX,
            "canary.requests_min",
        )?,
        window_s: in_range(input.window_s.unwrap_or(WINDOW_S), CANARY_WINDOW_S_MAX, "canary.window_s")?,
    })
}

async fn canary_of(control: &Control, row: &AliasRow, input: &CanaryInput) -> Result<Canary, Box<Fault>> {
    let id: AliasReleaseId = input.release_id.parse().map_err(|_| not_found("release", &input.release_id))?;
    release(control, row, id).await?;
    if id == row.active {
        let message = "The canary's release is the active one.";
        return Err(invalid("canary.release_id", message, "Install another release and name that."));
    }
    if input.percent > 100 {
        return Err(invalid("canary.percent", "canary.percent is above 100.", "Give 0 to 100."));
    }
    // A canary that goes on with the same release is measured from its start.
    let going = row.canary.filter(|canary| canary.release == id);
    let started_unix_ms = going.map_or_else(|| control.deps.world.clock.unix_ms(), |one| one.started_unix_ms);
    Ok(Canary { release: id, percent: input.percent, gates: gates_of(input)?, started_unix_ms })
}

/// The row with a release as its canary, within the usual gates.
pub fn with_canary(
    control: &Control,
    row: AliasRow,
    release: AliasReleaseId,
    percent: u8,
) -> Result<AliasRow, Box<Fault>> {
    if percent > 100 {
        return Err(invalid("canary_percent", "canary_percent is above 100.", "Give 0 to 100."));
    }
    let gates = CanaryGates {
        error_bps_max: Some(ERROR_BPS),
        latency_p95_ms_max: None,
        first_byte_p95_ms_max: None,
        requests_min: REQUESTS_MIN,
        window_s: WINDOW_S,
    };
    let started_unix_ms = control.deps.world.clock.unix_ms();
    Ok(AliasRow { canary: Some(Canary { release, percent, gates, started_unix_ms }), withdrawn: None, ..row })
}

/// The row without its canary, which was withdrawn by hand.
pub fn without_canary(control: &Control, row: AliasRow) -> AliasRow {
    let unix_ms = control.deps.world.clock.unix_ms();
    let withdrawn = row.canary.map(|canary| WithdrawnCanary {
        release: canary.release,
        percent: canary.percent,
        reason: "withdrawn by hand".to_owned(),
        is_automatic: false,
        unix_ms,
    });
    AliasRow { canary: None, withdrawn: withdrawn.or(row.withdrawn), ..row }
}

/// The row with another active release: the present one becomes the one before.
pub fn pointing_at(row: AliasRow, release: AliasReleaseId) -> AliasRow {
    let previous = if release == row.active { row.previous } else { Some(row.active) };
    let canary = row.canary.filter(|canary| canary.release != release);
    AliasRow { active: release, previous, canary, ..row }
}

impl Resource for AliasRow {
    const PATH: &'static str = "/v2/model-aliases";
    const ONE: &'static str = "/v2/model-aliases/{id}";
    const WHAT: &'static str = "alias";
    type View = AliasView;

    fn table(control: &Control) -> &dyn store::Resource<Self> {
        control.deps.store.aliases()
    }

    async fn view(&self, control: &Control) -> Result<AliasView, Box<Fault>> {
        Ok(show(control, self))
    }

    /// By id, or by name as the caller's own requests would find it; else any alias of the name.
    fn address(control: &Control, request: &ApiRequest) -> Result<(WorkspaceId, AliasId), Box<Fault>> {
        let workspace = request.workspace();
        let text = request.parameters.first().map_or("", String::as_str);
        if let Ok(id) = text.parse() {
            return Ok((workspace, id));
        }
        let snapshot = control.deps.keeper.current();
        let known = snapshot.workspace(workspace).map(|entry| entry.aliases.as_slice()).unwrap_or_default();
        let own = request.caller.project().map(|project| project.id);
        let mut named: Vec<_> = known.iter().filter(|alias| &*alias.name == text).collect();
        named.sort_by_key(|alias| (alias.project != own, alias.project.is_some()));
        let first = named.first().ok_or_else(|| not_found("alias", text))?;
        Ok((workspace, first.id))
    }

    async fn check_deletion(control: &Control, request: &ApiRequest, id: AliasId) -> Checked {
        check_removed_alias(control, request, id).await
    }
}

impl WritableResource for AliasRow {
    type Input = Input;
    type Update = Input;
    type Rest = ();

    /// Without the parts of the release: absent ones stay as they are in the active one.
    fn writable(&self, _: &Control) -> Result<Value, Box<Fault>> {
        let canary = self.canary.map(|canary| without(json!(canary_view(canary)), &["started_at"]));
        let project = self.project.map(|id| id.to_string());
        let fields = json!({
            "name": self.name,
            "project_id": project,
            "description": self.description,
            "canary": canary,
        });
        Ok(without(fields, &[]))
    }

    async fn new(
        control: &Control,
        request: &ApiRequest,
        input: Input,
    ) -> Result<(NewAlias, ()), Box<Fault>> {
        if input.canary.is_some() {
            let message = "An alias starts with one release, and so without a canary.";
            return Err(invalid(
                "canary",
                message,
                "Create the alias, install a release, and start the canary then.",
            ));
        }
        let name = checked_name(control, input.name.as_deref())?;
        checked_note(&input.description, "description")?;
        let project = match &input.project_id {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| not_found("project", text))?),
        };
        let parts = ReleaseParts {
            split: input.split.as_deref(),
            targets: &input.targets,
            parameters: input.parameters.unwrap_or_default(),
            note: input.note,
        };
        let spec = spec_of(control, request, project, parts)?;
        let now = control.deps.world.clock.unix_ms();
        let id = AliasId::new(now, control.deps.world.id_bytes());
        let workspace = request.workspace();
        let release = new_release(control, workspace, id, spec);
        let row = Self {
            id,
            workspace,
            project,
            name,
            description: input.description,
            active: release.id,
            number: release.number,
            spec: release.spec.clone(),
            previous: None,
            canary: None,
            withdrawn: None,
            created_unix_ms: now,
            version: 0,
        };
        Ok(((row, release), ()))
    }

    async fn change(
        self,
        control: &Control,
        request: &ApiRequest,
        input: Input,
    ) -> Result<(AliasChange, ()), Box<Fault>> {
        let own = self.project.map(|id| id.to_string());
        if input.name.as_ref() != Some(&self.name) || input.project_id != own {
            let field = if input.project_id == own { "name" } else { "project_id" };
            let fix = "Create another alias, and remove this one once it is no longer used.";
            return Err(invalid(field, format!("An alias keeps its {field}."), fix));
        }
        checked_note(&input.description, "description")?;
        let installed = changed_release(control, request, &self, &input)?;
        let mut act = AliasAct::Update;
        let mut row = Self { description: input.description, ..self };
        if let Some(release) = &installed {
            row = pointing_at(row, release.id);
            act = AliasAct::Install;
        }
        match &input.canary {
            None if row.canary.is_some() => {
                row = without_canary(control, row);
                act = AliasAct::WithdrawCanary;
            }
            None => {}
            Some(wanted) => {
                let canary = canary_of(control, &row, wanted).await?;
                if row.canary != Some(canary) {
                    row = Self { canary: Some(canary), withdrawn: None, ..row };
                    act = AliasAct::StartCanary;
                }
            }
        }
        Ok((AliasChange { row, release: installed, act }, ()))
    }

    async fn check_creation(control: &Control, request: &ApiRequest, (row, _): &NewAlias) -> Checked {
        check_new_alias(control, request, row).await
    }

    async fn check_change(control: &Control, request: &ApiRequest, change: &AliasChange) -> Checked {
        check_alias(control, request, change).await
    }
}

/// The release that a patch with other targets installs.
fn changed_release(
    control: &Control,
    request: &ApiRequest,
    row: &AliasRow,
    input: &Input,
) -> Result<Option<AliasReleaseRow>, Box<Fault>> {
    let active = &row.spec;
    let kept = target_wires(active);
    let targets = if input.targets.is_empty() { kept.as_slice() } else { input.targets.as_slice() };
    let is_same_list = targets.len() == active.targets.len()
        && targets
            .iter()
            .zip(&active.targets)
            .all(|(new, old)| new.model == old.model && new.weight == old.weight);
    let split = input.split.as_deref().unwrap_or(active.split.as_str());
    let forms = input.parameters.clone().unwrap_or_else(|| parameter_forms(&active.parameters));
    let note = if input.note.is_empty() { &active.note } else { &input.note };
    let parts = ReleaseParts { split: Some(split), targets, parameters: forms, note: input.note.clone() };
    let is_same = is_same_list && *note == active.note && split == active.split.as_str();
    if is_same && input.parameters.is_none() {
        return Ok(None);
    }
    let spec = spec_of(control, request, row.project, parts)?;
    if is_same && spec.parameters == active.parameters {
        return Ok(None);
    }
    Ok(Some(new_release(control, row.workspace, row.id, spec)))
}
