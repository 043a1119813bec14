//! `/v2/requests`: the settled exchanges, newest first, and the details of one: timeline, plan, attempts,
//! cost. `/v2/records`: all of them in full.

use std::sync::Arc;

use api::access::Access;
use api::failure::{invalid, not_there};
use api::filter::{self, FilteredList};
use api::moment::Moment;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use domain::record::Reason;
use domain::{
    AttemptRecord, Charge, Counts, MeterRecord, Nanos, Outcome, PolicyRule, Priced, Principal, Profile,
    QosClass, ReuseEvidence, Tier, Units, Usage,
};
use http::Method;
use reconcilers::{moment, of_store};
use schemars::JsonSchema;
use serde::Serialize;
use store::{RequestFilter, RequestRow};

use crate::caching::{self, CachingView};
use crate::data_path::{self, PartyView};
use crate::hooks::{self, HookCallView};
use crate::learned_limits;
use crate::plan_answer::{AliasView, RejectedCandidate, alias, rejected, resolution};
use crate::qos::{self, QosOutcomeView};
use crate::reuse::{self, ReuseView};
use crate::scores::{self, ScoreView};
use crate::semantic::{self, SemanticSearchView, SideCallView};
use crate::tool_calls::{self, ToolCallView};
use crate::usage::{FILTER, FORMAT, Spent, columns, parse_class, parse_param};

pub fn routes() -> Vec<Route> {
    vec![
        with_filters(Route::new(Method::GET, "/v2/requests", Access::LOOK, list))
            .says("Lists settled exchanges, newest first.")
            .lists::<RequestView>()
            .query(FORMAT.0, FORMAT.1),
        Route::new(Method::GET, "/v2/requests/{id}", Access::LOOK, get)
            .says("Shows one exchange with its timeline, plan, attempts and cost.")
            .returns_value::<Exchange>(),
        Route::new(Method::GET, "/v2/records", Access::LOOK, records)
            .says("Lists settled exchanges with all details, oldest first.")
            .lists::<Exchange>()
            .query(FORMAT.0, FORMAT.1),
    ]
}

/// Describes the parameters of `filter`.
pub fn with_filters(route: Route) -> Route {
    let parameters = [
        ("model", "Only this model's."),
        ("provider", "Only this provider's."),
        ("profile", "Only this profile's."),
        ("key_id", "Only this key's."),
        ("project_id", "Only this project's."),
        ("environment", "Only this environment's."),
        ("status", "Only those answered with this HTTP status."),
        (
            "outcome",
            "`completed`, `cut` by a budget, `failed`, `client_cancelled`, `interrupted` or `deadline`.",
        ),
        ("tag", "Only those with this tag."),
        ("qos_class", "Only those whose hints stated this class."),
        ("alias", "Only those that named this alias, or got this release of one."),
        ("since", "Only those that started at or after this time."),
        ("until", "Only those that started before this time."),
        FILTER,
    ];
    let route =
        parameters.into_iter().fold(route, |route, (name, description)| route.query(name, description));
    route
        .one_of("outcome", &["completed", "cut", "failed", "client_cancelled", "interrupted", "deadline"])
        .one_of("qos_class", &QosClass::WORDS)
}

async fn list(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let filter = filter(control, &request).await?;
    let listed = control
        .deps
        .store
        .records()
        .requests(request.workspace(), filter, request.page()?)
        .await
        .map_err(of_store)?;
    Reply::list(
        request.query.get("format").map(String::as_str),
        &request.page_of(listed, |one| row(one, request.is_operator())),
    )
}

/// The filter in a request's query.
pub async fn filter(control: &Control, request: &ApiRequest) -> Result<RequestFilter, Box<domain::Fault>> {
    let parsed_filter = filter::read(control, request, FilteredList::Requests).await?;
    let text = |name: &str| request.query.get(name).cloned();
    let moment_of =
        |name: &'static str| request.query.get(name).map(|text| moment::read(text, name)).transpose();
    let outcome = match request.query.get("outcome") {
        None => None,
        Some(name) => {
            Some(Outcome::ALL.into_iter().find(|outcome| outcome.as_str() == name).ok_or_else(|| {
                let known: Vec<_> = Outcome::ALL.iter().map(|outcome| outcome.as_str()).collect();
                invalid(
                    "outcome",
                    format!("\"{name}\" isn't an outcome."),
                    format!("Use {}.", known.join(", ")),
                )
            })?)
        }
    };
    Ok(RequestFilter {
        model: text("model"),
        provider: text("provider"),
        profile: text("profile"),
        key: parse_param(request, "key_id")?,
        project: parse_param(request, "project_id")?,
        environment: text("environment"),
        status: parse_param(request, "status")?,
        outcome,
        tag: text("tag"),
        qos_class: parse_class(request)?,
        alias: text("alias"),
        since_unix_ms: filter::later(moment_of("since")?, parsed_filter.since_unix_ms),
        until_unix_ms: filter::earlier(moment_of("until")?, parsed_filter.until_unix_ms),
        terms: parsed_filter.terms,
    })
}

/// An exchange in a list.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Request")]
struct RequestView {
    id: String,
    object: &'static str,
    started_at: Moment,
    finished_at: Moment,
    project_id: String,
    key_id: Option<String>,
    environment: String,
    operation: String,
    dialect: String,
    stream: bool,
    requested_model: String,
    resolved_model: String,
    /// The alias that was named, and the release that it pointed at.
    alias: Option<AliasView>,
    outcome: String,
    status: u16,
    error_code: Option<String>,
    /// The id of the budget, policy or route that refused it.
    refused_by: Option<String>,
    profile: Option<String>,
    principal: Option<String>,
    provider: Option<String>,
    region: Option<String>,
    attempts: u32,
    fallback_used: bool,
    tag: Option<String>,
    /// The class that its hints stated.
    qos_class: Option<&'static str>,
    /// The agent's session that it named.
    session_id: Option<String>,
    /// The end user that it named, as a keyed hash of the name.
    end_user_id: Option<String>,
    latency_us: u64,
    time_to_first_byte_us: Option<u64>,
    bytes_out: u64,
    #[serde(flatten)]
    spent: Spent,
    /// What the workspace pays in total: what it owes the operator, and what its own providers bill it.
    spend_micros: i64,
    estimated: bool,
    unpriced: bool,
}

fn spend(profile: Option<Profile>, cost: Nanos, provider_cost: Nanos) -> Nanos {
    let charge = Charge { cost, provider_cost, ..Charge::default() };
    profile.map_or(cost, |profile| Counts::All.of(profile, &charge))
}

pub(crate) fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn row(row: &RequestRow, is_operator: bool) -> RequestView {
    RequestView {
        id: row.trace.to_string(),
        object: "request",
        started_at: Moment(row.started_unix_ms),
        finished_at: Moment(row.finished_unix_ms),
        project_id: row.project.to_string(),
        key_id: row.key.map(|id| id.to_string()),
        environment: row.environment.clone(),
        operation: row.operation.clone(),
        dialect: row.dialect.clone(),
        stream: row.stream,
        requested_model: row.requested_model.clone(),
        resolved_model: row.resolved_model.clone(),
        alias: alias(&row.resolution),
        outcome: row.outcome.clone(),
        status: row.status,
        error_code: row.fault_code.clone(),
        refused_by: row.refused_by.map(|by| by.id()),
        profile: non_empty(&row.profile),
        principal: row.principal.map(|principal| learned_limits::principal(principal, is_operator)),
        provider: non_empty(&row.provider),
        region: row.region.clone(),
        attempts: row.attempts,
        fallback_used: row.fallback_used,
        tag: row.tag.clone(),
        qos_class: row.qos_class.map(QosClass::as_str),
        session_id: row.session.map(|session| session.to_string()),
        end_user_id: row.end_user.map(|end_user| end_user.to_string()),
        latency_us: row.latency_us,
        time_to_first_byte_us: row.first_byte_us,
        bytes_out: row.bytes_out,
        spent: columns(&row.sums).spent,
        spend_micros: spend(row.profile.parse().ok(), row.sums.cost, row.sums.provider_cost)
            .micros_beside(row.sums.cost),
        estimated: row.sums.estimated > 0,
        unpriced: row.sums.unpriced > 0,
    }
}

async fn get(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let id = request.id("request")?;
    let record = control.deps.store.records().request(request.workspace(), id).await;
    let record = record.map_err(|error| not_there(error, "request", &id))?;
    let data_path = data_path::of_request(control, &record, request.is_operator()).await?;
    let exchange = show_exchange(&record, request.is_operator());
    let scores = scores::of_request(control, &record).await?;
    let tool_calls = Some(tool_calls::of_request(control, &record).await?);
    Reply::json(&Exchange { data_path: Some(data_path), scores: Some(scores), tool_calls, ..exchange })
}

/// Every exchange in full, oldest first, for export to other systems.
async fn records(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let page = request.page()?;
    let listed =
        control.deps.store.records().every_record(request.workspace(), page).await.map_err(of_store)?;
    Reply::list(
        request.query.get("format").map(String::as_str),
        &request.page_of(listed, |one| show_exchange(one, request.is_operator())),
    )
}

/// An exchange with all its details.
#[derive(Serialize, JsonSchema)]
struct Exchange {
    id: String,
    object: &'static str,
    started_at: Moment,
    finished_at: Moment,
    workspace_id: String,
    project_id: String,
    key_id: Option<String>,
    environment: String,
    operation: &'static str,
    /// What kind of model it asked for.
    modality: &'static str,
    dialect: &'static str,
    stream: bool,
    requested_model: String,
    resolved_model: Option<String>,
    /// The alias that was named, and the release that it pointed at.
    alias: Option<AliasView>,
    outcome: &'static str,
    status: u16,
    error_class: Option<&'static str>,
    error_code: Option<String>,
    /// Why it failed or was cut; absent if it did not, and for requests that an earlier version served.
    error: Option<ReasonView>,
    /// What the checks of policies found.
    checks: Vec<CheckView>,
    /// The calls of the hooks of policies.
    hooks: Vec<HookCallView>,
    profile: Option<&'static str>,
    mode: Option<&'static str>,
    principal: Option<String>,
    provider: Option<String>,
    fallback_used: bool,
    /// The failure after which the request continued with another model of its route, and why; `null` if it didn't.
    model_fallback: Option<ModelFallbackView>,
    /// The failure after which the request left the nodes of its route for another profile, and why; `null` if it didn't.
    left_nodes: Option<LeftNodesView>,
    tag: Option<String>,
    /// The agent's session that it named.
    session_id: Option<String>,
    /// The end user that it named, as a keyed hash of the name.
    end_user_id: Option<String>,
    /// The task that it was made for, and the agent whose turn that is.
    task_id: Option<String>,
    agent: Option<String>,
    /// The adapter with which a node answered.
    adapter: Option<String>,
    /// The class that its hints stated.
    qos_class: Option<&'static str>,
    /// How well it was served; `null` where it stated no class, target or deadline and is none of `/v2/responses`.
    qos_outcome: Option<QosOutcomeView>,
    bytes_out: u64,
    timeline: TimelineView,
    plan: PlanView,
    attempts: Vec<AttemptView>,
    /// Absent if there was nothing to do for a cache.
    caching: Option<CachingView>,
    /// What was drawn on the commitment of a credential; absent if on none.
    #[serde(skip_serializing_if = "Option::is_none")]
    commitment: Option<CommitmentDrawView>,
    /// Absent if there was no prompt.
    reuse: Option<ReuseView>,
    /// How the search for an answer to a request of the same meaning ended; absent if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    semantic_cache: Option<SemanticSearchView>,
    /// What it was made for; absent if a client asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    made_for: Option<SideCallView>,
    /// Who saw it, in order; absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_path: Option<Vec<PartyView>>,
    /// The scores of its answer; absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    scores: Option<Vec<ScoreView>>,
    /// The tools that the gateway called for it, in order; absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<Vec<ToolCallView>>,
    #[serde(flatten)]
    metered: Metered,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CommitmentDraw")]
struct CommitmentDrawView {
    credential_id: String,
    amount_micros: i64,
    /// The commitment was used up, and the route has no overflow: this was spent beyond it.
    beyond: bool,
}

/// The error that the client received, without a provider's message about a wrong request, which may quote that request.
/// How often a check of a policy matched; what it matched is not kept.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CheckCount")]
struct CheckView {
    detect: String,
    action: &'static str,
    /// `input` or `output`.
    direction: &'static str,
    count: u64,
}

fn check_view(count: &domain::CheckCount) -> CheckView {
    CheckView {
        detect: count.check.to_string(),
        action: count.action.as_str(),
        direction: if count.is_input { "input" } else { "output" },
        count: count.count,
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Reason")]
struct ReasonView {
    message: String,
    fix: Option<String>,
    /// The field that is wrong.
    param: Option<String>,
    /// The budget, credit, policy or route that refused the request, if one did.
    refused_by: Option<RefuserView>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Refuser")]
struct RefuserView {
    /// `budget`, `credit`, `policy` or `route`.
    object: &'static str,
    id: String,
    /// The rule of the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_rule: Option<&'static str>,
}

/// When each step was reached, relative to the exchange's first byte.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Timeline")]
struct TimelineView {
    decoded_us: u64,
    admitted_us: u64,
    planned_us: u64,
    intent_us: u64,
    upstream_head_us: u64,
    first_byte_us: u64,
    settled_us: u64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "KeptPlan")]
struct PlanView {
    resolution: String,
    route_id: Option<String>,
    candidates: Vec<String>,
    /// How the first of its nodes compared, where there were several: the time to the first token that was expected of each, and
    /// its parts in milliseconds. Absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    placement: Option<String>,
    rejected: Vec<RejectedCandidate>,
    snapshot_version: u64,
    /// The revision of the capability manifest, where it kept the request from a candidate.
    capability_manifest_revision: Option<String>,
}

/// How a request came to another model than its own.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UsedModelFallback")]
struct ModelFallbackView {
    /// `context_length`, `content_policy` or `outage`.
    on: &'static str,
    detail: String,
}

/// How a request came to be served by another profile than its route's nodes.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "LeftNodes")]
struct LeftNodesView {
    /// `auth`, `quota`, `rate_limit`, `overloaded`, `upstream` or `timeout`.
    on: &'static str,
    detail: String,
}

/// One attempt upstream.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Attempt")]
struct AttemptView {
    number: u32,
    profile: &'static str,
    principal: String,
    provider: String,
    upstream_model: String,
    region: Option<String>,
    started_us: u64,
    duration_us: u64,
    status: Option<u16>,
    fault: Option<&'static str>,
    /// It ran beside another one (`hedge_after_ms` of the route): the first that answered served.
    hedged: bool,
    upstream_request_id: Option<String>,
    markup_bps: u32,
    receipt: Option<Vec<ReceiptLine>>,
    #[serde(flatten)]
    metered: Metered,
}

#[derive(Serialize, JsonSchema)]
struct ReceiptLine {
    class: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<u64>,
    /// In the place of tokens, of what is not counted in them.
    #[serde(skip_serializing_if = "Option::is_none")]
    units: Option<u64>,
    price_micros_per_million: u64,
    nanos: i64,
}

#[derive(Serialize, JsonSchema)]
struct Metered {
    input_tokens: u64,
    output_tokens: u64,
    cached_tokens: u64,
    cache_write_tokens: u64,
    reasoning_tokens: u64,
    /// Usage other than text tokens, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    units: Option<UnitsView>,
    /// The service tier, if it was not the standard one.
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'static str>,
    estimated: bool,
    /// Who counted: `provider_reported`, `runtime_confirmed` for a node, `router_inferred` or `unknown`.
    evidence: &'static str,
    cost_micros: i64,
    cost_nanos: i64,
    provider_cost_micros: i64,
    provider_cost_nanos: i64,
    unpriced: bool,
}

/// Audio and image tokens are included in the totals.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Units")]
struct UnitsView {
    audio_input_tokens: u64,
    audio_output_tokens: u64,
    image_input_tokens: u64,
    image_output_tokens: u64,
    /// Images that were generated.
    images: u64,
    /// Milliseconds of audio that were transcribed.
    audio_ms: u64,
    searches: u64,
    /// Characters that were spoken.
    characters: u64,
    /// Millionths of the unit that the provider itself bills the model by.
    billed_micro_units: u64,
    /// Milliseconds of video that were generated.
    video_ms: u64,
    /// Web searches by the provider for the answer, searches of stored files, and calls of its other tools.
    web_searches: u64,
    file_searches: u64,
    hosted_tool_calls: u64,
    /// Tokens that the provider caches by name, times hours.
    cache_token_hours: u64,
}

fn show_exchange(record: &MeterRecord, is_operator: bool) -> Exchange {
    let named = |principal: &Principal| learned_limits::principal(*principal, is_operator);
    Exchange {
        id: record.trace.to_string(),
        object: "request",
        started_at: Moment(record.started_unix_ms),
        finished_at: Moment(record.finished_unix_ms),
        workspace_id: record.workspace.to_string(),
        project_id: record.project.to_string(),
        key_id: record.key.map(|id| id.to_string()),
        environment: record.environment.clone(),
        operation: record.operation.as_str(),
        modality: record.operation.modality().as_str(),
        dialect: record.dialect.as_str(),
        stream: record.stream,
        requested_model: record.requested_model.clone(),
        resolved_model: non_empty(&record.resolved_model),
        alias: alias(&record.plan.resolution),
        outcome: record.outcome.as_str(),
        status: record.status,
        error_class: record.fault.map(domain::FaultClass::as_str),
        error_code: record.fault_code.clone(),
        error: record.reason.as_ref().map(reason),
        checks: record.extras.checks.iter().map(check_view).collect(),
        hooks: hooks::calls(&record.extras.hooks),
        semantic_cache: record.extras.semantic.map(semantic::search),
        made_for: record.extras.side_call.map(semantic::side_call),
        profile: record.profile().map(domain::Profile::as_str),
        mode: record.profile().map(|profile| profile.mode().as_str()),
        principal: record.principal.as_ref().map(named),
        provider: non_empty(&record.provider),
        fallback_used: record.fallback_used,
        model_fallback: model_fallback(record),
        left_nodes: left_nodes(record),
        tag: record.tag.clone(),
        session_id: record.extras.session.map(|session| session.to_string()),
        end_user_id: record.extras.end_user.map(|end_user| end_user.to_string()),
        task_id: record.extras.task.map(|task| task.to_string()),
        agent: record.extras.agent.clone(),
        adapter: record.extras.adapter.clone(),
        qos_class: record.extras.qos_class.map(QosClass::as_str),
        qos_outcome: qos::outcome(record),
        bytes_out: record.bytes_out,
        timeline: timeline_view(&record.timeline),
        plan: PlanView {
            resolution: resolution(&record.plan.resolution),
            route_id: non_empty(&record.plan.route),
            candidates: record.plan.candidates.iter().map(named).collect(),
            placement: record.plan.rejected.iter().find_map(plan::placed).map(str::to_owned),
            rejected: all_rejected(record, is_operator),
            snapshot_version: record.plan.snapshot_version,
            capability_manifest_revision: record.extras.manifest_revision.clone(),
        },
        attempts: record.attempts.iter().map(|one| attempt(one, &record.attempts, is_operator)).collect(),
        caching: caching::show(record),
        commitment: commitment_draw(record),
        reuse: reuse::show(record),
        data_path: None,
        scores: None,
        tool_calls: None,
        metered: show_metered(&record.usage, &record.charge, record.profile()),
    }
}

const fn timeline_view(timeline: &domain::Timeline) -> TimelineView {
    TimelineView {
        decoded_us: timeline.decoded_us,
        admitted_us: timeline.admitted_us,
        planned_us: timeline.planned_us,
        intent_us: timeline.intent_us,
        upstream_head_us: timeline.upstream_head_us,
        first_byte_us: timeline.first_byte_us,
        settled_us: timeline.settled_us,
    }
}

fn all_rejected(record: &MeterRecord, is_operator: bool) -> Vec<RejectedCandidate> {
    let candidates = record.plan.rejected.iter().filter(|one| plan::placed(one).is_none());
    candidates.map(|one| rejected(one, is_operator)).collect()
}

fn left_nodes(record: &MeterRecord) -> Option<LeftNodesView> {
    record.plan.rejected.iter().find_map(|row| {
        let on = plan::nodes_left_on(&row.reason)?.as_str();
        Some(LeftNodesView { on, detail: row.detail.clone() })
    })
}

/// The last time that the request went on with another model.
fn model_fallback(record: &MeterRecord) -> Option<ModelFallbackView> {
    record.plan.rejected.iter().rev().find_map(|row| {
        let on = plan::left_on(&row.reason)?.as_str();
        Some(ModelFallbackView { on, detail: row.detail.clone() })
    })
}

fn commitment_draw(record: &MeterRecord) -> Option<CommitmentDrawView> {
    record.attempts.iter().rev().find_map(|attempt| {
        let drawn = record.drawn.iter().find(|drawn| drawn.budget.is_commitment_of(attempt.principal))?;
        Some(CommitmentDrawView {
            credential_id: attempt.principal.to_string(),
            amount_micros: drawn.amount.micros(),
            beyond: drawn.is_beyond(),
        })
    })
}

fn reason(reason: &Reason) -> ReasonView {
    ReasonView {
        message: reason.message.clone(),
        fix: reason.fix.clone(),
        param: reason.param.clone(),
        refused_by: reason.refused_by.map(|by| RefuserView {
            object: by.kind(),
            id: by.id(),
            policy_rule: by.policy_rule().map(PolicyRule::as_str),
        }),
    }
}

/// Attempts follow one another, unless the second was made beside the first.
fn is_hedged(attempt: &AttemptRecord, all: &[AttemptRecord]) -> bool {
    let end = |one: &AttemptRecord| one.started_us.saturating_add(one.duration_us);
    let overlaps = |other: &AttemptRecord| other.started_us < end(attempt) && attempt.started_us < end(other);
    all.iter().any(|other| other.number != attempt.number && overlaps(other))
}

fn attempt(attempt: &AttemptRecord, all: &[AttemptRecord], is_operator: bool) -> AttemptView {
    let receipt = attempt.rates.map(|rates| {
        let lines = rates.lines(&attempt.usage);
        let receipt_lines = lines.iter().map(|line| ReceiptLine {
            class: line.class,
            tokens: (!line.is_unit).then_some(line.units),
            units: line.is_unit.then_some(line.units),
            price_micros_per_million: line.price.0,
            nanos: line.nanos.0,
        });
        receipt_lines.collect()
    });
    AttemptView {
        number: attempt.number,
        profile: attempt.profile().as_str(),
        principal: learned_limits::principal(attempt.principal, is_operator),
        provider: attempt.provider.clone(),
        upstream_model: attempt.upstream_model.clone(),
        region: attempt.region.clone(),
        started_us: attempt.started_us,
        duration_us: attempt.duration_us,
        status: attempt.status,
        fault: attempt.fault.map(domain::FaultClass::as_str),
        hedged: is_hedged(attempt, all),
        upstream_request_id: attempt.upstream_request_id.clone(),
        markup_bps: attempt.markup_bps,
        receipt,
        metered: show_metered(&attempt.usage, &attempt.charge, Some(attempt.principal.profile())),
    }
}

const fn units(units: &Units) -> UnitsView {
    UnitsView {
        audio_input_tokens: units.audio_in,
        audio_output_tokens: units.audio_out,
        image_input_tokens: units.image_in,
        image_output_tokens: units.image_out,
        images: units.images,
        audio_ms: units.audio_ms,
        searches: units.searches,
        characters: units.characters,
        billed_micro_units: units.billed,
        video_ms: units.video_ms,
        web_searches: units.web_searches,
        file_searches: units.file_searches,
        hosted_tool_calls: units.hosted_calls,
        cache_token_hours: units.cache_token_hours,
    }
}

fn show_metered(usage: &Usage, charge: &Charge, profile: Option<Profile>) -> Metered {
    Metered {
        input_tokens: usage.prompt_total(),
        output_tokens: usage.completion_total(),
        cached_tokens: usage.cached_read,
        cache_write_tokens: usage.cache_write + usage.cache_write_long,
        reasoning_tokens: usage.reasoning,
        units: (!usage.units.is_none()).then(|| units(&usage.units)),
        service_tier: usage.tier.map(Tier::as_str),
        estimated: usage.is_estimated(),
        evidence: ReuseEvidence::of(usage.source, profile).as_str(),
        cost_micros: charge.cost.micros(),
        cost_nanos: charge.cost.0,
        provider_cost_micros: charge.provider_cost.micros(),
        provider_cost_nanos: charge.provider_cost.0,
        unpriced: charge.priced == Priced::Unpriced,
    }
}
