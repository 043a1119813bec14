//! A plan as `/v2/plan` shows it.

use api::planner::status;
use domain::record::Rejected;
use domain::{AliasPick, Dialect, Fault, Profile, Rates, RouteScope};
use line::{AppPlan, AttemptPreview, BatchExecution, CallExplanation, ParameterChange, Quote};
use plan::{ExplainedAttempt, ExplainedFallback, Explanation, OtherCandidate};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::hooks::PlannedHook;
use crate::learned_limits;
use crate::limits::PLANNED_OTHERS_MAX;
use crate::plan_app::PlannedApp;

const US_PER_MS: u64 = 1_000;

/// What would happen, as a plan.
#[derive(Serialize, JsonSchema)]
pub struct Plan {
    object: &'static str,
    requested_model: String,
    /// The request that the plan is for.
    modality: &'static str,
    /// What the request performs; `null` without a request.
    operation: Option<&'static str>,
    environment: String,
    resolved_model: Option<String>,
    /// The rule that resolved the model's name.
    resolution: String,
    /// The alias that was named, and what it points at for this caller.
    alias: Option<AliasView>,
    /// The parameters that the release of the alias sets or moves.
    alias_parameters: Vec<PlannedParameter>,
    route: Option<WinningRoute>,
    chosen: Option<PlannedAttempt>,
    attempts: Vec<PlannedAttempt>,
    rejected: Vec<RejectedCandidate>,
    /// The other models that the request goes on with after a stated failure (`model_fallbacks` of the route), in order.
    model_fallbacks: Vec<PlannedModelFallback>,
    /// Why the request continues with another model immediately: its prompt is longer than this one's context.
    too_long: Option<String>,
    /// Who would process a new batch, and at what share of the usual price; `null` for everything else.
    batch: Option<PlannedBatch>,
    /// What a run of an app that isn't a model would do. For an agent, the rest of the plan is for its model. `null` for a model.
    app: Option<PlannedApp>,
    /// The hooks of policies that the request and its answer would be shown to. A plan calls none.
    hooks: Vec<PlannedHook>,
    /// Candidates that the policy allows and that would cost less than the chosen one, the cheapest first; `null`
    /// without a request, since its tokens decide.
    cheaper: Option<OtherCandidates>,
    /// Candidates whose first byte came sooner than the chosen one's, as measured lately.
    faster: OtherCandidates,
    error: Option<PlanError>,
    snapshot_version: u64,
    /// The revision of the capability manifest that it was planned by; `null` where nothing was planned.
    capability_manifest_revision: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct PlannedModelFallback {
    model: String,
    /// `context_length`, `content_policy` or `outage`.
    on: Vec<&'static str>,
    attempts: Vec<PlannedAttempt>,
    /// Why there are none.
    error: Option<PlanError>,
}

#[derive(Serialize, JsonSchema)]
struct PlannedBatch {
    /// `provider`, or `gateway`: item by item, at the price of the same request sent alone.
    #[schemars(extend("enum" = ["gateway", "provider"]))]
    execution: &'static str,
    /// Why no provider takes it as a whole: a stable word, and a sentence.
    reason: Option<&'static str>,
    why: Option<String>,
    /// Its models at the provider. Empty where the gateway works through it, and for a file that its provider has.
    models: Vec<PlannedBatchModel>,
}

#[derive(Serialize, JsonSchema)]
struct PlannedBatchModel {
    upstream_model: String,
    /// What a request costs in the batch, in per cent of its usual price; `null` where the provider publishes none, so
    /// that its requests are booked without a price.
    price_percent: Option<u16>,
}

#[derive(Serialize, JsonSchema)]
struct WinningRoute {
    id: String,
    scope: Map<String, Value>,
    why: &'static str,
    strategy: &'static str,
    /// What put the attempts in their order; `null` without a strategy.
    order: Option<String>,
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
    /// What the plan found that lets the request begin with this fallback; absent where an attempt finds out.
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback_on: Option<&'static str>,
    /// Made only for what exceeds the workspace's own capacity (`committed_exhausted` or `rate_limited`), never
    /// after a failure; absent for every other attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    overflow: Option<&'static str>,
    /// Made only if all attempts before it failed because their provider was unavailable.
    emergency: bool,
    /// The most that this request would cost; `null` without a request, or where that is not known beforehand.
    price: Option<PlannedPrice>,
    /// How long its first byte took lately; `null` if that was not measured.
    first_byte_ms: Option<u64>,
    /// What is expected of a node that was chosen among several; absent for every other attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    placement: Option<PlannedPlacement>,
    /// The request's parameters that this provider would not be sent, as `Agent-Dropped-Params` would list them.
    dropped_params: Vec<String>,
    /// Why the request would end here: this provider can't be asked for it.
    error: Option<PlanError>,
}

/// The time to the first token that is expected of a node.
#[derive(Clone, Serialize, JsonSchema)]
struct PlannedPlacement {
    expected_ms: u64,
    /// Waiting for the requests that are ahead, and beside those that are answered.
    queue_ms: u64,
    /// Computing the uncached part of the prompt.
    prefill_ms: u64,
    /// What a full KV cache costs.
    pressure_ms: u64,
    /// Loading the adapter, where others have it in memory.
    adapter_ms: u64,
    /// How much of the prompt it was sent before, in thousandths.
    cached_permille: u64,
    /// The use of its KV cache that it reported, in thousandths; `null` if it didn't.
    kv_permille: Option<u16>,
}

#[derive(Clone, Serialize, JsonSchema)]
struct PlannedPricing {
    input_micros_per_million: u64,
    output_micros_per_million: u64,
    cached_input_micros_per_million: Option<u64>,
}

/// A price in billionths of a USD, computed before anything is sent.
#[derive(Clone, Serialize, JsonSchema)]
struct PlannedPrice {
    total_nanos: i64,
    input_nanos: i64,
    /// Of the longest answer that the request allows.
    output_nanos: i64,
    input_tokens: u64,
    output_tokens: u64,
    /// The tokens of the prompt are estimated, and those of the answer are the most that it can have.
    estimated: bool,
    /// Who asks for it: the `operator`, the `provider`, or `nobody`.
    #[schemars(extend("enum" = ["operator", "provider", "nobody"]))]
    billed_by: &'static str,
}

/// What could have served as well.
#[derive(Serialize, JsonSchema)]
struct OtherCandidates {
    data: Vec<PlannedCandidate>,
    /// Why there are none, or why not all can be compared.
    note: Option<&'static str>,
}

#[derive(Serialize, JsonSchema)]
struct PlannedCandidate {
    profile: &'static str,
    principal: String,
    display_name: Option<String>,
    provider: String,
    upstream_model: String,
    region: Option<String>,
    price: Option<PlannedPrice>,
    first_byte_ms: Option<u64>,
    /// The rule why it isn't chosen, as in `rejected`; `later_in_order` for a later attempt.
    reason: &'static str,
    detail: String,
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

/// The error that the client would get.
#[derive(Clone, Serialize, JsonSchema)]
struct PlanError {
    code: &'static str,
    /// The status of the response.
    status: u16,
    /// The field of the request that is at fault.
    field: Option<String>,
    detail: String,
    fix: Option<String>,
}

impl Plan {
    /// Of a model's name alone.
    pub fn of_model(model: &str, environment: &str, plan: Explanation, is_operator: bool) -> Self {
        let previews = vec![AttemptPreview::default(); plan.attempts.len()];
        Self {
            cheaper: None,
            ..Self::show(
                model,
                environment,
                plan,
                Previews { attempts: &previews, ..Previews::default() },
                is_operator,
                Dialect::Native,
            )
        }
    }

    /// Of a whole request.
    pub fn of_call(environment: &str, explained: CallExplanation, is_operator: bool) -> Self {
        let CallExplanation { dialect, operation, requested_model, refusal, alias_parameters, plan, .. } =
            explained;
        let planned = match plan {
            Some(plan) => {
                let previews = Previews {
                    attempts: &plan.attempts,
                    others: &plan.other_prices,
                    fallbacks: &plan.fallbacks,
                };
                let too_long = plan.too_long.map(line::TooLong::sentence);
                let batch = plan.batch.map(planned_batch);
                let plan = Self::show(
                    &requested_model,
                    environment,
                    plan.explanation,
                    previews,
                    is_operator,
                    dialect,
                );
                let error = plan.error.or_else(|| plan.chosen.as_ref()?.error.clone());
                Self { too_long, batch, error, ..plan }
            }
            None => Self::refused(requested_model, environment),
        };
        let error = refusal.map(|fault| PlanError::of(&fault, dialect)).or(planned.error);
        let modality = operation.map_or(planned.modality, |operation| operation.modality().as_str());
        let alias_parameters = alias_parameters.into_iter().map(planned_parameter).collect();
        let operation = operation.map(domain::Operation::as_str);
        Self { modality, operation, alias_parameters, error, ..planned }
    }

    /// Of an app that asks no model itself.
    pub fn of_app(name: &str, environment: &str) -> Self {
        let none =
            || OtherCandidates { data: Vec::new(), note: Some("The app is called by its name alone.") };
        Self {
            resolution: "app".to_owned(),
            cheaper: Some(none()),
            faster: none(),
            ..Self::refused(name.to_owned(), environment)
        }
    }

    /// The same as the plan of an app, with what its run would be refused with.
    pub fn with_app(self, plan: &AppPlan) -> Self {
        let refused = plan.fault.as_deref().map(|fault| {
            // As `/v1/run` answers them.
            let status = match fault.code {
                "validation_error" => 422,
                "requirements_not_met" => 412,
                _ => status(fault, Dialect::Run),
            };
            PlanError { status, ..PlanError::of(fault, Dialect::Run) }
        });
        let (app, error) = (Some(PlannedApp::from(plan)), refused.or(self.error));
        Self { requested_model: plan.name.clone(), app, error, ..self }
    }

    /// The same with the hooks that would be called.
    pub fn with_hooks(self, hooks: Vec<PlannedHook>) -> Self {
        Self { hooks, ..self }
    }

    fn show(
        model: &str,
        environment: &str,
        plan: Explanation,
        previews: Previews<'_>,
        is_operator: bool,
        dialect: Dialect,
    ) -> Self {
        let Previews { attempts: previews, others: other_prices, fallbacks } = previews;
        let previewed = plan.attempts.iter().zip(previews);
        let attempts: Vec<_> =
            previewed.map(|(one, preview)| attempt(one, preview, is_operator, dialect)).collect();
        let padded = other_prices.iter().copied().chain(std::iter::repeat(None));
        let others: Vec<_> = plan.others.iter().zip(padded).collect();
        let chosen = plan.attempts.first().zip(previews.first().map(|preview| preview.price));
        let (cheaper, faster) = (cheaper(chosen, &others, is_operator), faster(chosen, &others, is_operator));
        Self {
            object: "plan",
            requested_model: model.to_owned(),
            modality: plan.modality.as_str(),
            operation: None,
            environment: environment.to_owned(),
            resolved_model: plan.resolved_model,
            alias: alias(&plan.resolution),
            alias_parameters: Vec::new(),
            resolution: resolution(&plan.resolution),
            route: plan.route.map(|route| WinningRoute {
                id: route.id.to_string(),
                scope: scope(&route.scope),
                why: route.why,
                strategy: route.strategy.as_str(),
                order: route.order,
            }),
            chosen: attempts.first().cloned(),
            attempts,
            rejected: plan.rejected.iter().map(|one| rejected(one, is_operator)).collect(),
            model_fallbacks: model_fallbacks(plan.fallbacks, fallbacks, is_operator, dialect),
            too_long: None,
            batch: None,
            app: None,
            hooks: Vec::new(),
            cheaper: Some(cheaper),
            faster,
            error: plan.fault.map(|fault| PlanError::of(&fault, dialect)),
            snapshot_version: plan.snapshot_version,
            capability_manifest_revision: Some(plan.manifest_revision.clone()),
        }
    }

    /// Nothing was planned: the request itself is refused.
    fn refused(requested_model: String, environment: &str) -> Self {
        let none = || OtherCandidates {
            data: Vec::new(),
            note: Some("The request is refused before it is planned."),
        };
        Self {
            object: "plan",
            requested_model,
            modality: "chat",
            operation: None,
            environment: environment.to_owned(),
            resolved_model: None,
            resolution: String::new(),
            alias: None,
            alias_parameters: Vec::new(),
            route: None,
            chosen: None,
            attempts: Vec::new(),
            rejected: Vec::new(),
            model_fallbacks: Vec::new(),
            too_long: None,
            batch: None,
            app: None,
            hooks: Vec::new(),
            cheaper: Some(none()),
            faster: none(),
            error: None,
            snapshot_version: 0,
            capability_manifest_revision: None,
        }
    }
}

impl PlanError {
    fn of(fault: &Fault, dialect: Dialect) -> Self {
        Self {
            code: fault.code,
            status: status(fault, dialect),
            field: fault.param.as_deref().map(str::to_owned),
            detail: fault.to_string(),
            fix: fault.fix.as_deref().map(str::to_owned),
        }
    }
}

/// What is known of a plan's candidates beforehand, each in its order.
#[derive(Default, Clone, Copy)]
struct Previews<'a> {
    attempts: &'a [AttemptPreview],
    others: &'a [Option<Quote>],
    fallbacks: &'a [Vec<AttemptPreview>],
}

fn model_fallbacks(
    fallbacks: Vec<ExplainedFallback>,
    previews: &[Vec<AttemptPreview>],
    is_operator: bool,
    dialect: Dialect,
) -> Vec<PlannedModelFallback> {
    let unknown = AttemptPreview::default();
    let previewed = previews.iter().map(Vec::as_slice).chain(std::iter::repeat(&[][..]));
    let planned = |(fallback, previews): (ExplainedFallback, &[AttemptPreview])| {
        let previews = previews.iter().chain(std::iter::repeat(&unknown));
        let attempts = fallback.attempts.iter().zip(previews);
        PlannedModelFallback {
            model: fallback.model,
            on: fallback.on.iter().map(|class| class.as_str()).collect(),
            attempts: attempts.map(|(one, preview)| attempt(one, preview, is_operator, dialect)).collect(),
            error: fallback.fault.map(|fault| PlanError::of(&fault, dialect)),
        }
    };
    fallbacks.into_iter().zip(previewed).map(planned).collect()
}

fn planned_batch(batch: BatchExecution) -> PlannedBatch {
    match batch {
        BatchExecution::Gateway { why } => {
            let (reason, why) = (Some(why.code), Some(why.message.to_string()));
            PlannedBatch { execution: "gateway", reason, why, models: Vec::new() }
        }
        BatchExecution::Provider { percents } => {
            let of = |(upstream_model, price_percent)| PlannedBatchModel { upstream_model, price_percent };
            let models = percents.into_iter().map(of).collect();
            PlannedBatch { execution: "provider", reason: None, why: None, models }
        }
    }
}

type Chosen<'a> = Option<(&'a ExplainedAttempt, Option<Quote>)>;
type Others<'a> = [(&'a OtherCandidate, Option<Quote>)];

fn cheaper(chosen: Chosen<'_>, others: &Others<'_>, is_operator: bool) -> OtherCandidates {
    let Some((_, price)) = chosen else { return none("Nothing serves this request.") };
    let Some(price) = price else {
        return none("The cost of the chosen candidate isn't known in advance.");
    };
    let mut found: Vec<_> =
        others.iter().filter(|(_, other)| other.is_some_and(|other| other.total < price.total)).collect();
    found.sort_by_key(|(_, other)| other.map(|other| other.total));
    let note = match (others.is_empty(), others.iter().any(|(_, price)| price.is_none())) {
        (true, _) => Some("No other candidate could serve this request."),
        (false, true) => Some("Some candidates have no known price, and are left out."),
        (false, false) => None,
    };
    let data = found
        .into_iter()
        .take(PLANNED_OTHERS_MAX)
        .map(|(other, price)| candidate(other, *price, is_operator));
    OtherCandidates { data: data.collect(), note }
}

fn faster(chosen: Chosen<'_>, others: &Others<'_>, is_operator: bool) -> OtherCandidates {
    let Some((chosen, _)) = chosen else { return none("Nothing serves this request.") };
    let Some(own_us) = chosen.first_byte_us else {
        return none(
            "The chosen candidate's time to the first byte was not measured lately: nothing can be compared.",
        );
    };
    let measured = |other: &OtherCandidate| other.candidate.first_byte_us;
    let mut found: Vec<_> = others
        .iter()
        .filter(|(other, _)| measured(other).is_some_and(|other_us| other_us < own_us))
        .collect();
    found.sort_by_key(|(other, _)| measured(other));
    let note = match (others.is_empty(), others.iter().any(|(other, _)| measured(other).is_none())) {
        (true, _) => Some("No other candidate could serve this request."),
        (false, true) => Some("Some candidates were not measured lately, and are left out."),
        (false, false) => None,
    };
    let data = found
        .into_iter()
        .take(PLANNED_OTHERS_MAX)
        .map(|(other, price)| candidate(other, *price, is_operator));
    OtherCandidates { data: data.collect(), note }
}

const fn none(note: &'static str) -> OtherCandidates {
    OtherCandidates { data: Vec::new(), note: Some(note) }
}

/// A parameter that a release sets or moves.
#[derive(Serialize, JsonSchema)]
struct PlannedParameter {
    /// As the request's dialect spells it.
    name: String,
    /// What the request says; `null` where it sets none.
    before: Option<String>,
    after: String,
}

fn planned_parameter(change: ParameterChange) -> PlannedParameter {
    let ParameterChange { name, before, after } = change;
    PlannedParameter { name, before, after }
}

/// How an alias was resolved.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ResolvedAlias")]
pub struct AliasView {
    name: String,
    release_id: String,
    /// Why this release: `active`, `canary`, or `pinned` by the request.
    chosen: &'static str,
    /// The place of the target in the release, from 1, and how many targets it has.
    target: usize,
    targets: usize,
}

/// The alias that a record's or plan's resolution names.
pub fn alias(resolution: &str) -> Option<AliasView> {
    let pick = AliasPick::read(resolution)?;
    Some(AliasView {
        name: pick.alias.to_owned(),
        release_id: pick.release.to_string(),
        chosen: pick.choice.as_str(),
        target: pick.target,
        targets: pick.targets,
    })
}

/// The word for what resolved the model's name.
pub fn resolution(resolution: &str) -> String {
    if AliasPick::read(resolution).is_some() { "alias".to_owned() } else { resolution.to_owned() }
}

fn attempt(
    attempt: &ExplainedAttempt,
    preview: &AttemptPreview,
    is_operator: bool,
    dialect: Dialect,
) -> PlannedAttempt {
    PlannedAttempt {
        profile: attempt.profile.as_str(),
        principal: learned_limits::principal(attempt.principal, is_operator),
        display_name: attempt.display_name.clone(),
        provider: attempt.provider.clone(),
        upstream_model: attempt.upstream_model.clone(),
        region: attempt.region.clone(),
        pricing: attempt.rates.map(pricing),
        markup_bps: attempt.markup_bps,
        fallback: attempt.is_fallback,
        fallback_on: attempt.fallback_on.map(domain::FallbackClass::as_str),
        overflow: attempt.overflow.map(domain::OverflowReason::as_str),
        emergency: attempt.is_emergency,
        price: preview.price.map(|quote| planned_price(attempt.profile, quote)),
        first_byte_ms: attempt.first_byte_us.map(first_byte_ms),
        placement: attempt.placement.map(planned_placement),
        dropped_params: preview.dropped.clone(),
        error: preview.refusal.as_deref().map(|fault| PlanError::of(fault, dialect)),
    }
}

const fn planned_placement(placement: plan::Placement) -> PlannedPlacement {
    let expected = placement.expected;
    PlannedPlacement {
        expected_ms: first_byte_ms(expected.total_us()),
        queue_ms: first_byte_ms(expected.queue_us),
        prefill_ms: first_byte_ms(expected.prefill_us),
        pressure_ms: first_byte_ms(expected.pressure_us),
        adapter_ms: first_byte_ms(expected.adapter_us),
        cached_permille: placement.cached_permille,
        kv_permille: placement.kv_permille,
    }
}

const fn first_byte_ms(us: u64) -> u64 {
    us.div_ceil(US_PER_MS)
}

fn candidate(other: &OtherCandidate, price: Option<Quote>, is_operator: bool) -> PlannedCandidate {
    let one = &other.candidate;
    PlannedCandidate {
        profile: one.profile.as_str(),
        principal: learned_limits::principal(one.principal, is_operator),
        display_name: one.display_name.clone(),
        provider: one.provider.clone(),
        upstream_model: one.upstream_model.clone(),
        region: one.region.clone(),
        price: price.map(|quote| planned_price(one.profile, quote)),
        first_byte_ms: one.first_byte_us.map(first_byte_ms),
        reason: other.reason,
        detail: other.detail.clone(),
    }
}

fn planned_price(profile: Profile, quote: Quote) -> PlannedPrice {
    PlannedPrice {
        total_nanos: quote.total.0,
        input_nanos: quote.input.0,
        output_nanos: quote.total.0.saturating_sub(quote.input.0),
        input_tokens: quote.usage.input,
        output_tokens: quote.usage.output,
        estimated: true,
        billed_by: match profile {
            Profile::ManagedProvider => "operator",
            Profile::Byok | Profile::Subscription => "provider",
            Profile::Byoc => "nobody",
        },
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
