//! `/v2/routes`: a workspace's routing rules, which decide what serves which requests.

use std::sync::Arc;

use api::failure::{invalid, not_found, not_there};
use api::moment::Moment;
use api::names::checked_environment;
use api::request::ApiRequest;
use api::router::Route;
use api::state::Control;
use domain::limits::MODEL_FALLBACKS_MAX;
use domain::{
    ByokFallback, CredentialId, FallbackClass, Fault, Modality, ModelFallback, ModelFallbackClass,
    ModelPattern, Profile, RouteId, RouteScope, RouteSpec, Strategy,
};
use replayruns::{Checked, check_route, gated};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::RouteRow;

use super::aliases::checked_target;
use super::conditions::{ConditionsWire, printable};
use super::known_names;
use crate::resource::{Resource, WritableResource, delete, get, list, patch, post, put};

/// The words of `overflow`.
const MANAGED: &str = "managed";
const OWN_PREFIX: &str = "own:";

pub fn routes() -> Vec<Route> {
    vec![
        gated(
            post::<RouteRow>("Creates a route: a rule for what serves which requests.").makes::<RouteView>(),
        ),
        list::<RouteRow>("Lists the workspace's routes."),
        get::<RouteRow>("Shows a route."),
        gated(patch::<RouteRow>("Changes fields of a route.")),
        gated(put::<RouteRow>("Replaces a route.")),
        gated(delete::<RouteRow>("Deletes a route.")),
    ]
}

#[derive(Serialize, Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "RouteScope")]
struct ScopeWire {
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alias: Option<String>,
    /// A model's full name, or its name without the publisher. It is exact, unless it ends in `*` or `/`: then it matches every
    /// name with that prefix (`openai/gpt-4o*`, `openai/`).
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modality: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<String>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Route")]
pub struct Wire {
    #[serde(default)]
    scope: ScopeWire,
    /// Facts of a request that must hold, too. A route with conditions is stronger than one of the same scope without.
    #[serde(default, skip_serializing_if = "ConditionsWire::is_empty")]
    when: ConditionsWire,
    /// How what the route allows is ordered: `none` (the default: as listed, else the oldest first), `committed_first`, `cheapest`,
    /// `fastest`, `balanced`, `local_first` or `byok_strict`.
    #[serde(default = "no_strategy")]
    strategy: String,
    #[serde(default)]
    profiles: Vec<String>,
    #[serde(default)]
    providers: Vec<String>,
    #[serde(default)]
    credential_ids: Vec<String>,
    #[serde(default)]
    regions: Vec<String>,
    #[serde(default)]
    node_labels: Vec<String>,
    #[serde(default = "never")]
    byok_fallback: String,
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    fallback_on: Vec<FallbackClass>,
    /// Other models that a request goes on with after a stated failure, under the same rule, in the order in which
    /// they are considered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    model_fallbacks: Vec<ModelFallbackWire>,
    /// Where requests go that exceed the capacity of the workspace's own credentials: `managed`, or
    /// `own:<credential id>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^(managed|own:.+)$"))]
    overflow: Option<String>,
    /// `allowed` lets the operator's emergency account serve when all other accounts of the pool have failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["allowed", null]))]
    emergency: Option<String>,
    /// `drop` drops and reports a provider's own tools (`web_search`, `file_search`, …) that the target lacks. By default, such
    /// a request is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["drop", null]))]
    hosted_tools: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    head_wait_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    first_byte_timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    idle_timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    deadline_ms: Option<u64>,
    /// How long the first attempt may be silent before a second one starts alongside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    hedge_after_ms: Option<u64>,
    /// The most that the priority of its requests can be under overload, from 0 (refused first) to 255.
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ModelFallback")]
struct ModelFallbackWire {
    /// `context_length` (the prompt is longer than the model's context), `content_policy` (the provider refuses the
    /// content) and `outage` (all that could serve the model failed in a way that may pass).
    #[schemars(with = "Vec<String>")]
    on: Vec<ModelFallbackClass>,
    /// The other model's name, not an alias.
    model: String,
}

fn no_strategy() -> String {
    Strategy::None.as_str().into()
}

fn never() -> String {
    ByokFallback::Never.as_str().into()
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "KeptRoute")]
pub struct RouteView {
    id: String,
    object: &'static str,
    #[serde(flatten)]
    rule: Wire,
    /// Says that no known model matches `scope.model`, or that a provider is unknown; otherwise absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
    created_at: Moment,
}

pub fn wire_of(spec: &RouteSpec) -> Wire {
    Wire {
        scope: ScopeWire {
            tag: spec.scope.tag.clone(),
            key_id: spec.scope.key_id.map(|id| id.to_string()),
            project_id: spec.scope.project_id.map(|id| id.to_string()),
            alias: spec.scope.alias.clone(),
            model: spec.scope.model.clone(),
            modality: spec.scope.modality.clone(),
            provider: spec.scope.provider.clone(),
            environment: spec.scope.environment.clone(),
        },
        when: ConditionsWire::of(&spec.when),
        strategy: spec.strategy.as_str().to_owned(),
        profiles: spec.profiles.iter().map(|profile| profile.as_str().to_owned()).collect(),
        providers: spec.providers.clone(),
        credential_ids: spec.credential_ids.iter().map(ToString::to_string).collect(),
        regions: spec.regions.clone(),
        node_labels: spec.node_labels.clone(),
        byok_fallback: spec.byok_fallback.as_str().to_owned(),
        fallback_on: spec.fallback_on.clone(),
        model_fallbacks: spec
            .model_fallbacks
            .iter()
            .map(|one| ModelFallbackWire { on: one.on.clone(), model: one.model.clone() })
            .collect(),
        overflow: match spec.overflow_own {
            Some(id) => Some(format!("{OWN_PREFIX}{id}")),
            None => spec.overflow_managed.then(|| MANAGED.to_owned()),
        },
        emergency: spec.emergency_allowed.then(|| "allowed".to_owned()),
        hosted_tools: spec.drops_hosted_tools.then(|| "drop".to_owned()),
        head_wait_ms: spec.head_wait_ms,
        first_byte_timeout_ms: spec.first_byte_timeout_ms,
        idle_timeout_ms: spec.idle_timeout_ms,
        deadline_ms: spec.deadline_ms,
        hedge_after_ms: spec.hedge_after_ms,
        priority: spec.priority,
    }
}

/// The rule that a wire form says, checked.
pub async fn spec_of(control: &Control, request: &ApiRequest, wire: Wire) -> Result<RouteSpec, Box<Fault>> {
    let profiles = wire
        .profiles
        .iter()
        .map(|name| {
            name.parse::<Profile>().map_err(|error| {
                invalid(
                    "profiles",
                    error,
                    "Use byok for your keys, byoc for your nodes, managed or subscription.",
                )
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let byok_fallback = ByokFallback::from_word(&wire.byok_fallback).ok_or_else(|| {
        let message = format!("\"{}\" isn't a fallback.", wire.byok_fallback);
        invalid("byok_fallback", message, "Use never or managed.")
    })?;
    let (overflow_managed, overflow_own) = overflow_of(control, request, wire.overflow.as_deref()).await?;
    let emergency_allowed = only_word(wire.emergency.as_deref(), "emergency", "allowed")?;
    let drops_hosted_tools = only_word(wire.hosted_tools.as_deref(), "hosted_tools", "drop")?;
    let strategy = strategy_of(&wire)?;
    let catalogue = Arc::clone(control.deps.keeper.current().catalogue());
    let canonical = |name: String| catalogue.provider(&name).map_or(name.clone(), |facts| facts.slug.clone());
    Ok(RouteSpec {
        scope: scope_of(control, request, wire.scope, &canonical).await?,
        when: wire.when.read()?,
        strategy,
        profiles,
        providers: wire.providers.into_iter().map(canonical).collect(),
        credential_ids: own_credentials(control, request, &wire.credential_ids).await?,
        regions: wire.regions,
        node_labels: wire.node_labels,
        byok_fallback,
        fallback_on: wire.fallback_on,
        model_fallbacks: model_fallbacks(control, request, wire.model_fallbacks)?,
        overflow_managed,
        overflow_own,
        emergency_allowed,
        drops_hosted_tools,
        head_wait_ms: positive(wire.head_wait_ms, "head_wait_ms")?,
        first_byte_timeout_ms: positive(wire.first_byte_timeout_ms, "first_byte_timeout_ms")?,
        idle_timeout_ms: positive(wire.idle_timeout_ms, "idle_timeout_ms")?,
        deadline_ms: positive(wire.deadline_ms, "deadline_ms")?,
        hedge_after_ms: positive(wire.hedge_after_ms, "hedge_after_ms")?,
        priority: wire.priority,
    })
}

/// The other models, each of which must mean something.
fn model_fallbacks(
    control: &Control,
    request: &ApiRequest,
    wires: Vec<ModelFallbackWire>,
) -> Result<Vec<ModelFallback>, Box<Fault>> {
    if wires.len() > MODEL_FALLBACKS_MAX {
        let message = format!("A route has at most {MODEL_FALLBACKS_MAX} model fallbacks.");
        return Err(invalid("model_fallbacks", message, "Leave out those that are considered last."));
    }
    let mut fallbacks = Vec::with_capacity(wires.len());
    for (at, ModelFallbackWire { mut on, model }) in wires.into_iter().enumerate() {
        if on.is_empty() {
            let words = ModelFallbackClass::ALL.map(ModelFallbackClass::as_str).join(", ");
            let message = "A model fallback must state which failures lead to it.";
            return Err(invalid(
                format!("model_fallbacks[{at}].on"),
                message,
                format!("Use one or more of {words}."),
            ));
        }
        on.sort_by_key(|class| class.as_str());
        on.dedup();
        checked_target(control, request, &model, None, &|| format!("model_fallbacks[{at}].model"))?;
        fallbacks.push(ModelFallback { on, model });
    }
    Ok(fallbacks)
}

/// The strategy, which must not contradict the rest of the rule.
fn strategy_of(wire: &Wire) -> Result<Strategy, Box<Fault>> {
    let Some(strategy) = Strategy::named(&wire.strategy) else {
        let message = format!("\"{}\" isn't a strategy.", printable(&wire.strategy));
        let words = Strategy::ALL.map(Strategy::as_str).join(", ");
        return Err(invalid("strategy", message, format!("Use one of {words}.")));
    };
    let name = strategy.as_str();
    if matches!(strategy, Strategy::LocalFirst | Strategy::ByokStrict) && !wire.profiles.is_empty() {
        let message = format!(
            "The strategy {name} says which profiles serve, and in which order; profiles says it, too."
        );
        return Err(invalid("profiles", message, "Leave out profiles, or use another strategy."));
    }
    let leaves = [
        ("byok_fallback", wire.byok_fallback == ByokFallback::Managed.as_str()),
        ("overflow", wire.overflow.as_deref() == Some("managed")),
        ("emergency", wire.emergency.is_some()),
    ];
    match leaves.into_iter().find(|(_, leaves)| *leaves).filter(|_| strategy == Strategy::ByokStrict) {
        Some((field, _)) => {
            let message = format!(
                "The strategy {name} never leaves the workspace's own credentials, and {field} lets it."
            );
            Err(invalid(field, message, format!("Leave out {field}, or use another strategy.")))
        }
        None => Ok(strategy),
    }
}

/// `managed`, or an own credential.
async fn overflow_of(
    control: &Control,
    request: &ApiRequest,
    word: Option<&str>,
) -> Result<(bool, Option<CredentialId>), Box<Fault>> {
    let Some(word) = word else { return Ok((false, None)) };
    if word == MANAGED {
        return Ok((true, None));
    }
    let Some(named) = word.strip_prefix(OWN_PREFIX) else {
        let message = format!("\"{word}\" isn't an overflow.");
        return Err(invalid("overflow", message, "Use managed or own:<credential id>, or leave it out."));
    };
    let found = own_credentials(control, request, &[named.to_owned()]).await;
    let found = found.map_err(|fault| Box::new(fault.param("overflow")))?;
    Ok((false, found.first().copied()))
}

/// A field that is either absent or one fixed word.
fn only_word(value: Option<&str>, field: &'static str, word: &str) -> Result<bool, Box<Fault>> {
    match value {
        None => Ok(false),
        Some(value) if value == word => Ok(true),
        Some(other) => {
            let message = format!("Unknown {field} \"{other}\".");
            Err(invalid(field, message, format!("Use {word}, or leave it out.")))
        }
    }
}

async fn scope_of(
    control: &Control,
    request: &ApiRequest,
    wire: ScopeWire,
    canonical: &impl Fn(String) -> String,
) -> Result<RouteScope, Box<Fault>> {
    let key_id = match &wire.key_id {
        None => None,
        Some(text) => {
            let id = text.parse().map_err(|_| not_found("API key", text))?;
            let found = control.deps.store.api_keys().get(request.workspace(), id).await;
            Some(found.map_err(|error| not_there(error, "API key", text))?.id)
        }
    };
    let project_id = match &wire.project_id {
        None => None,
        Some(text) => {
            let id = text.parse().map_err(|_| not_found("project", text))?;
            let found = control.deps.store.projects().get(request.workspace(), id).await;
            Some(found.map_err(|error| not_there(error, "project", text))?.id)
        }
    };
    if let Some(name) = &wire.alias {
        let snapshot = control.deps.keeper.current();
        let known = snapshot.workspace(request.workspace()).map(|entry| entry.aliases.as_slice());
        if !known.unwrap_or_default().iter().any(|alias| *alias.name == **name) {
            let fix = "Create it with POST /v2/model-aliases, or name a model in scope.model.";
            let message = format!("The workspace has no alias \"{}\".", printable(name));
            return Err(invalid("scope.alias", message, fix));
        }
    }
    if wire.model.as_deref().is_some_and(|model| model.trim_end_matches('*').is_empty()) {
        return Err(invalid(
            "scope.model",
            "An empty model matches everything.",
            "Leave it out for the workspace's default.",
        ));
    }
    if wire.model.as_deref().is_some_and(|model| model.trim_end_matches('*').contains('*')) {
        return Err(invalid(
            "scope.model",
            "A * stands only at the end of a model's name.",
            "Write a prefix, such as gpt-4o*, or one route for each name.",
        ));
    }
    if let Some(word) = wire.modality.as_deref().filter(|word| Modality::from_word(word).is_none()) {
        let message = format!("\"{}\" isn't a modality.", printable(word));
        let fix = format!("Use {}.", Modality::ALL.map(Modality::as_str).join(", "));
        return Err(invalid("scope.modality", message, fix));
    }
    let environment = match &wire.environment {
        None => None,
        Some(text) => Some(checked_environment(text, "scope.environment")?),
    };
    Ok(RouteScope {
        tag: wire.tag,
        key_id,
        project_id,
        alias: wire.alias,
        model: wire.model.map(|model| ModelPattern::read(&model).as_text().into_owned()),
        modality: wire.modality,
        provider: wire.provider.map(canonical),
        environment,
    })
}

async fn own_credentials(
    control: &Control,
    request: &ApiRequest,
    ids: &[String],
) -> Result<Vec<CredentialId>, Box<Fault>> {
    let mut found = Vec::with_capacity(ids.len());
    for text in ids {
        let id = text.parse().map_err(|_| not_found("credential", text))?;
        let row = control.deps.store.credentials().get(request.workspace(), id).await;
        found.push(row.map_err(|error| not_there(error, "credential", text))?.id);
    }
    Ok(found)
}

fn positive(ms: Option<u64>, field: &'static str) -> Result<Option<u64>, Box<Fault>> {
    match ms {
        Some(0) => {
            Err(invalid(field, format!("{field} is 0."), "Give a number of milliseconds, or leave it out."))
        }
        other => Ok(other),
    }
}

impl Resource for RouteRow {
    const PATH: &'static str = "/v2/routes";
    const ONE: &'static str = "/v2/routes/{id}";
    const WHAT: &'static str = "route";
    type View = RouteView;

    fn table(control: &Control) -> &dyn store::Resource<Self> {
        control.deps.store.routes()
    }

    async fn view(&self, control: &Control) -> Result<RouteView, Box<Fault>> {
        let model = self.spec.scope.model.as_deref();
        Ok(RouteView {
            warning: model
                .and_then(|model| known_names::warning(control, self.workspace, model))
                .or_else(|| known_names::provider_warning(control, self.workspace, &self.spec)),
            id: self.id.to_string(),
            object: "route",
            rule: wire_of(&self.spec),
            created_at: Moment(self.created_unix_ms),
        })
    }

    async fn check_deletion(control: &Control, request: &ApiRequest, id: RouteId) -> Checked {
        check_route(control, request, id, None).await
    }
}

impl WritableResource for RouteRow {
    type Input = Wire;
    type Update = Wire;
    type Rest = ();

    fn writable(&self, _: &Control) -> Result<Value, Box<Fault>> {
        serde_json::to_value(wire_of(&self.spec)).map_err(|_| Box::new(Fault::internal()))
    }

    async fn new(control: &Control, request: &ApiRequest, wire: Wire) -> Result<(Self, ()), Box<Fault>> {
        let spec = spec_of(control, request, wire).await?;
        let now = control.deps.world.clock.unix_ms();
        let id = RouteId::new(now, control.deps.world.id_bytes());
        Ok((Self { id, workspace: request.workspace(), spec, created_unix_ms: now, version: 0 }, ()))
    }

    async fn change(
        self,
        control: &Control,
        request: &ApiRequest,
        wire: Wire,
    ) -> Result<(Self, ()), Box<Fault>> {
        let spec = spec_of(control, request, wire).await?;
        Ok((Self { spec, ..self }, ()))
    }

    async fn check_creation(control: &Control, request: &ApiRequest, new: &Self) -> Checked {
        check_route(control, request, new.id, Some(&new.spec)).await
    }

    async fn check_change(control: &Control, request: &ApiRequest, change: &Self) -> Checked {
        check_route(control, request, change.id, Some(&change.spec)).await
    }
}
