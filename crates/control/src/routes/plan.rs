//! `POST /v2/plan`: which attempts would serve a model and why, from the planner that would serve the
//! request, without sending anything.

use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, missing, not_found};
use api::limits::ENVIRONMENT_BYTES_MAX;
use api::openapi::bounds::ENVIRONMENT;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::record::Rejected;
use domain::{Dialect, Fault, Modality, Rates, RouteScope};
use http::Method;
use plan::{ExplainedAttempt, Explanation, PlanQuery};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::projects::checked_environment;
use crate::learned_limits;

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::POST, "/v2/plan", Access::LOOK, explain)
            .says("Explains what would serve a model and why, without sending anything.")
            .takes::<Input>()
            .returns_value::<Plan>(),
    ]
}

/// What a plan depends on.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Plan")]
struct Input {
    #[schemars(required)]
    model: Option<String>,
    /// The modality: `chat`, `embedding`, `image`, `audio`, `video`, `rerank`, `moderation` or `realtime`; by default the model's
    /// own.
    modality: Option<String>,
    /// The dialect of the request: `chat` (the default), `responses`, `anthropic`, `gemini`, `converse` or `run`. It decides
    /// where an unknown model name goes.
    dialect: Option<String>,
    #[schemars(regex(pattern = domain::ProjectId::pattern()))]
    project_id: Option<String>,
    #[schemars(length(min = 1, max = ENVIRONMENT_BYTES_MAX), regex(pattern = ENVIRONMENT))]
    environment: Option<String>,
    #[schemars(regex(pattern = domain::KeyId::pattern()))]
    key_id: Option<String>,
    tag: Option<String>,
}

fn explain(control: &Arc<Control>, request: ApiRequest) -> Handled<'_> {
    Box::pin(async move {
        let input: Input = request.json()?;
        let model = input
            .model
            .as_deref()
            .ok_or_else(|| missing("model", "Name a model, as publisher/model or as its seller names it."))?;
        let modality = input.modality.as_deref().map(modality).transpose()?;
        let dialect = input.dialect.as_deref().map_or(Ok(Dialect::Chat), dialect)?;
        let snapshot = control.deps.keeper.current();
        let workspace = snapshot.workspace(request.workspace()).ok_or_else(|| Box::new(Fault::internal()))?;
        let project = match &input.project_id {
            None => {
                let home = request.caller.project().ok_or_else(|| {
                    missing("project_id", "This workspace has no project yet: make one, and name it here.")
                })?;
                Arc::clone(home)
            }
            Some(text) => {
                let found = workspace.projects.iter().find(|project| project.id.to_string() == *text);
                Arc::clone(found.ok_or_else(|| not_found("project", text))?)
            }
        };
        let key = match &input.key_id {
            None => request.caller.key().cloned(),
            Some(text) => {
                let found = text
                    .parse()
                    .ok()
                    .and_then(|id| snapshot.key(id))
                    .filter(|key| key.workspace == workspace.id);
                Some(Arc::clone(found.ok_or_else(|| not_found("API key", text))?))
            }
        };
        // The requested environment; else the project's, if one is named; else the key's own.
        let own = if input.project_id.is_some() {
            None
        } else {
            key.as_ref().map(|key| key.environment.to_string())
        };
        let environment = match input.environment.as_deref() {
            Some(text) => checked_environment(text, "environment")?,
            None => own.unwrap_or_else(|| project.environment.to_string()),
        };
        let question = PlanQuery {
            model,
            workspace,
            project: &project,
            environment: &environment,
            key: key.as_ref().map(|key| key.id),
            tag: input.tag.as_deref(),
            modality: modality.unwrap_or(Modality::Chat),
            dialect,
            terms: domain::PriceTerms::default(),
        };
        let clock = &control.deps.world.clock;
        let random = control.deps.world.random.next_u64();
        let plan = plan::explain(
            &question,
            modality,
            &snapshot,
            &*control.deps.board,
            random,
            clock.monotonic_us(),
            clock.unix_ms(),
        );
        Reply::json(&Plan::show(model, &environment, plan, request.is_operator()))
    })
}

fn modality(word: &str) -> Result<Modality, Box<Fault>> {
    Modality::from_word(word).ok_or_else(|| one_of("modality", word, &Modality::ALL.map(Modality::as_str)))
}

fn dialect(word: &str) -> Result<Dialect, Box<Fault>> {
    let found = Dialect::ALL.into_iter().find(|dialect| dialect.as_str() == word);
    found.ok_or_else(|| one_of("dialect", word, &Dialect::ALL.map(Dialect::as_str)))
}

fn one_of(field: &'static str, word: &str, known: &[&str]) -> Box<Fault> {
    let truncated: String = word.chars().filter(|letter| !letter.is_control()).take(64).collect();
    invalid(field, format!("\"{truncated}\" is no {field}."), format!("Use one of {}.", known.join(", ")))
}

/// What would happen, as a plan.
#[derive(Serialize, JsonSchema)]
struct Plan {
    object: &'static str,
    requested_model: String,
    /// The request that the plan is for.
    modality: &'static str,
    environment: String,
    resolved_model: Option<String>,
    /// The rule that resolved the model's name.
    resolution: String,
    route: Option<WinningRoute>,
    chosen: Option<PlannedAttempt>,
    attempts: Vec<PlannedAttempt>,
    rejected: Vec<RejectedCandidate>,
    error: Option<PlanError>,
    snapshot_version: u64,
}

#[derive(Serialize, JsonSchema)]
struct WinningRoute {
    id: String,
    scope: Map<String, Value>,
    why: &'static str,
}

#[derive(Clone, Serialize, JsonSchema)]
struct PlannedAttempt {
    profile: &'static str,
    /// Its id; `managed` for an account of the operator, whose id only the operator sees.
    principal: String,
    display_name: Option<String>,
    provider: String,
    upstream_model: String,
    region: Option<String>,
    pricing: Option<PlannedPricing>,
    markup_bps: u32,
    fallback: bool,
    /// Made only if all attempts before it failed because their provider was unavailable.
    emergency: bool,
}

#[derive(Clone, Serialize, JsonSchema)]
struct PlannedPricing {
    input_micros_per_million: u64,
    output_micros_per_million: u64,
    cached_input_micros_per_million: Option<u64>,
}

/// A rejected candidate, as in plans and requests.
#[derive(Serialize, JsonSchema)]
pub struct RejectedCandidate {
    principal: String,
    profile: &'static str,
    provider: String,
    /// A stable word.
    reason: String,
    detail: String,
}

#[derive(Serialize, JsonSchema)]
struct PlanError {
    code: &'static str,
    detail: String,
}

impl Plan {
    fn show(model: &str, environment: &str, plan: Explanation, is_operator: bool) -> Self {
        let attempts: Vec<_> = plan.attempts.iter().map(|one| attempt(one, is_operator)).collect();
        Self {
            object: "plan",
            requested_model: model.to_owned(),
            modality: plan.modality.as_str(),
            environment: environment.to_owned(),
            resolved_model: plan.resolved_model,
            resolution: plan.resolution,
            route: plan.route.map(|route| WinningRoute {
                id: route.id.to_string(),
                scope: scope(&route.scope),
                why: route.why,
            }),
            chosen: attempts.first().cloned(),
            attempts,
            rejected: plan.rejected.iter().map(|one| rejected(one, is_operator)).collect(),
            error: plan.fault.map(|fault| PlanError { code: fault.code, detail: fault.to_string() }),
            snapshot_version: plan.snapshot_version,
        }
    }
}

fn attempt(attempt: &ExplainedAttempt, is_operator: bool) -> PlannedAttempt {
    PlannedAttempt {
        profile: attempt.profile.as_str(),
        principal: learned_limits::principal(attempt.principal, is_operator),
        display_name: attempt.display_name.clone(),
        provider: attempt.provider.to_string(),
        upstream_model: attempt.upstream_model.to_string(),
        region: attempt.region.as_ref().map(ToString::to_string),
        pricing: attempt.rates.map(pricing),
        markup_bps: attempt.markup_bps,
        fallback: attempt.is_fallback,
        emergency: attempt.is_emergency,
    }
}

fn pricing(rates: Rates) -> PlannedPricing {
    PlannedPricing {
        input_micros_per_million: rates.input.0,
        output_micros_per_million: rates.output.0,
        cached_input_micros_per_million: rates.cached_read.map(|price| price.0),
    }
}

pub fn rejected(rejected: &Rejected, is_operator: bool) -> RejectedCandidate {
    RejectedCandidate {
        principal: learned_limits::principal(rejected.principal, is_operator),
        profile: rejected.principal.profile().as_str(),
        provider: rejected.provider.clone(),
        reason: rejected.reason.clone(),
        detail: rejected.detail.clone(),
    }
}

fn scope(scope: &RouteScope) -> Map<String, Value> {
    let key = scope.key_id.map(|id| id.to_string());
    let project = scope.project_id.map(|id| id.to_string());
    let fields = [
        ("tag", &scope.tag),
        ("key_id", &key),
        ("project_id", &project),
        ("alias", &scope.alias),
        ("model", &scope.model),
        ("modality", &scope.modality),
        ("provider", &scope.provider),
        ("environment", &scope.environment),
    ];
    let set = fields
        .into_iter()
        .filter_map(|(name, value)| value.as_ref().map(|value| (name.to_owned(), json!(value))));
    set.collect()
}
