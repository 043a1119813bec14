//! `/v2/policies`: what a project's requests may reach, whatever its routes say.

use std::sync::Arc;

use api::failure::{invalid, missing, not_found};
use api::moment::Moment;
use api::request::ApiRequest;
use api::router::Route;
use api::state::Control;
use domain::{Fault, ModelPattern, PolicyId, PolicySpec, Profile};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::PolicyRow;

use crate::agreement::{self, RetentionForm};
use crate::limits::{POLICY_NAME_BYTES_MAX, POLICY_NAMES_MAX};
use crate::resource::{Resource, WritableResource, delete, get, list, patch, post, put, without};

pub fn routes() -> Vec<Route> {
    vec![
        post::<PolicyRow>(
            "Creates the policy of a project: which targets its requests may reach, whatever a route says.",
        )
        .makes::<PolicyView>(),
        list::<PolicyRow>("Lists the policies of the workspace's projects."),
        get::<PolicyRow>("Shows a policy."),
        patch::<PolicyRow>("Changes fields of a policy. Its project can't change."),
        put::<PolicyRow>("Replaces a policy. Its project can't change."),
        delete::<PolicyRow>("Deletes a policy. Only routes then decide where its project's requests go."),
    ]
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Policy")]
pub struct Input {
    #[schemars(required)]
    #[schemars(regex(pattern = domain::ProjectId::pattern()))]
    project_id: Option<String>,
    /// Sellers; `byoc` stands for the workspace's own nodes. Empty allows all.
    #[serde(default)]
    allowed_providers: Vec<String>,
    /// Full names of models. A name is exact, unless it ends in `*` or `/`: then it matches every name with that prefix
    /// (`openai/gpt-4o*`, `anthropic/`). Empty allows all.
    #[serde(default)]
    allowed_models: Vec<String>,
    /// Regions, as credentials, accounts and the node label `region=` name them; empty allows all. A target of unknown region is
    /// not allowed.
    #[serde(default)]
    allowed_regions: Vec<String>,
    /// Values of `Agent-Execution-Profile`; empty allows all.
    #[serde(default)]
    profiles: Vec<String>,
    /// The longest time that a provider may retain requests, by its agreement: `"zero"` or `{"days": 1 to 3650}`.
    /// The workspace's own nodes retain nothing elsewhere.
    #[serde(default)]
    #[schemars(with = "Option<RetentionForm>")]
    retention: Value,
    /// Tags that the credential or account must all have. The workspace's own nodes need none.
    #[serde(default)]
    compliance: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "KeptPolicy")]
pub struct PolicyView {
    id: String,
    object: &'static str,
    project_id: String,
    allowed_providers: Vec<String>,
    allowed_models: Vec<String>,
    allowed_regions: Vec<String>,
    profiles: Vec<&'static str>,
    retention: Option<RetentionForm>,
    compliance: Vec<String>,
    created_at: Moment,
}

fn show(row: &PolicyRow) -> PolicyView {
    PolicyView {
        id: row.id.to_string(),
        object: "policy",
        project_id: row.project.to_string(),
        allowed_providers: row.spec.providers.clone(),
        allowed_models: row.spec.models.clone(),
        allowed_regions: row.spec.regions.clone(),
        profiles: row.spec.profiles.iter().map(|profile| profile.as_str()).collect(),
        retention: agreement::show_retention(row.spec.retention),
        compliance: row.spec.compliance.clone(),
        created_at: Moment(row.created_unix_ms),
    }
}

fn spec_of(control: &Control, input: Input) -> Result<PolicySpec, Box<Fault>> {
    let profile = |name: &String| {
        let profile = name.parse::<Profile>().map_err(|error| invalid("profiles", error, "Correct it."))?;
        match profile {
            Profile::Subscription => Err(invalid(
                "profiles",
                "The subscription profile is switched off in this version.",
                "Leave it out.",
            )),
            profile => Ok(profile),
        }
    };
    let catalogue = Arc::clone(control.deps.keeper.current().catalogue());
    let canonical = |name: String| catalogue.provider(&name).map_or(name, |facts| facts.slug.clone());
    let pattern = |name: String| ModelPattern::read(&name).as_text().into_owned();
    Ok(PolicySpec {
        providers: names(input.allowed_providers, "allowed_providers", canonical)?,
        models: names(input.allowed_models, "allowed_models", pattern)?,
        regions: names(input.allowed_regions, "allowed_regions", |name| name)?,
        profiles: input.profiles.iter().map(profile).collect::<Result<_, _>>()?,
        retention: agreement::retention(&input.retention)?,
        compliance: agreement::compliance(&input.compliance)?,
    })
}

fn names(
    given: Vec<String>,
    field: &'static str,
    read: impl Fn(String) -> String,
) -> Result<Vec<String>, Box<Fault>> {
    if given.len() > POLICY_NAMES_MAX {
        let message = format!("{field} has {} names.", given.len());
        return Err(invalid(field, message, format!("Give at most {POLICY_NAMES_MAX}.")));
    }
    let read: Vec<String> = given.into_iter().map(read).collect();
    match read.iter().position(|name| name.trim().is_empty() || name.len() > POLICY_NAME_BYTES_MAX) {
        Some(at) => Err(invalid(
            format!("{field}[{at}]"),
            format!("{field}[{at}] is empty or too long."),
            format!("Give 1 to {POLICY_NAME_BYTES_MAX} bytes; an empty list allows all."),
        )),
        None => Ok(read),
    }
}

impl Resource for PolicyRow {
    const PATH: &'static str = "/v2/policies";
    const ONE: &'static str = "/v2/policies/{id}";
    const WHAT: &'static str = "policy";
    type View = PolicyView;

    fn table(control: &Control) -> &dyn store::Resource<Self> {
        control.deps.store.policies()
    }

    async fn view(&self, _: &Control) -> Result<PolicyView, Box<Fault>> {
        Ok(show(self))
    }
}

impl WritableResource for PolicyRow {
    type Input = Input;
    type Update = Input;
    type Rest = ();

    fn writable(&self, _: &Control) -> Result<Value, Box<Fault>> {
        Ok(without(json!(show(self)), &["id", "object", "created_at"]))
    }

    async fn new(control: &Control, request: &ApiRequest, input: Input) -> Result<(Self, ()), Box<Fault>> {
        let Some(project) = &input.project_id else {
            return Err(missing(
                "project_id",
                "A policy is a project's: name it. GET /v2/projects lists them.",
            ));
        };
        let project = project.parse().map_err(|_| not_found("project", project))?;
        let now = control.deps.world.clock.unix_ms();
        let id = PolicyId::new(now, control.deps.world.id_bytes());
        let spec = spec_of(control, input)?;
        let workspace = request.workspace();
        Ok((Self { id, workspace, project, spec, created_unix_ms: now, version: 0 }, ()))
    }

    async fn change(self, control: &Control, _: &ApiRequest, input: Input) -> Result<(Self, ()), Box<Fault>> {
        let own = self.project.to_string();
        if input.project_id.as_ref() != Some(&own) {
            let message = "A policy stays with its project.";
            return Err(invalid("project_id", message, format!("Give {own}, or make another policy.")));
        }
        Ok((Self { spec: spec_of(control, input)?, ..self }, ()))
    }
}
