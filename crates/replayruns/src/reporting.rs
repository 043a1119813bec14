//! The signed report of a run. Every number is whole, so that anybody can write the bytes that were signed.

use std::collections::BTreeMap;

use api::moment::Moment;
use domain::{MeterRecord, Principal, TraceId};
use proof::Digest;
use reconcilers::Deps;
use replay::{GateResult, Gates, Judgement, Load, Measured, Pair, ReplayKind, Spread, Times, Verdict, judge};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::StoreError;

use crate::drawing::measured;
use crate::hour_cost::{HOUR_MS, HourCost, NANOS_PER_MICRO, hour_of};
use crate::rows::{EndedTrace, ReplayRunRow};

const FORMAT: u32 = 1;
const DAY_MS: u64 = 24 * HOUR_MS;
const MINUTE_MS: u64 = 60_000;

/// What came of making a report.
pub enum Made {
    /// Some answers have no meter record yet.
    NotBooked,
    Unsigned,
    Report(MadeReport),
}

pub struct MadeReport {
    pub verdict: Verdict,
    pub document: String,
    pub expires_unix_ms: u64,
}

/// A report on a replay run, as it was signed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReplayReport")]
pub struct ReportView {
    id: String,
    object: &'static str,
    format: u32,
    workspace_id: String,
    created_at: Moment,
    expires_at: Moment,
    expires_unix_ms: u64,
    #[schemars(extend("enum" = Verdict::WORDS))]
    verdict: &'static str,
    set: SetView,
    candidate: CandidateView,
    /// The gates of the run.
    gates: GatesForm,
    results: Vec<GateView>,
    requests: CountsView,
    first_token: TimesView,
    total: TimesView,
    cost: CostView,
    tokens: TokensView,
    agreement: AgreementView,
    headroom: HeadroomView,
    /// SHA-256 over what was measured of each request, in the form that is signed.
    evidence_digest: String,
    /// Of the made-up content and of the bounds, in hexadecimal digits.
    seed: String,
}

/// A report with its signature.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SignedReplayReport")]
pub struct SignedReport {
    #[serde(flatten)]
    report: ReportView,
    /// Ed25519, 64 hexadecimal digits.
    public_key: String,
    fingerprint: String,
    signature: String,
}

/// The gates that a candidate must keep to. `null` takes one away.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "ReplayGates")]
pub struct GatesForm {
    /// The fewest answered requests that say enough: 20 at least, 200 by default.
    #[schemars(range(min = 20))]
    requests_min: u32,
    /// 150 by default: the 95th percentile of the time to the first token may be half as much again.
    first_token_p95_percent_max: Option<u32>,
    /// 150 by default.
    total_p95_percent_max: Option<u32>,
    /// In hundredths of a per cent, 200 by default.
    error_bps_max: Option<u32>,
    /// 100 by default.
    cost_percent_max: Option<u32>,
    /// None by default; it needs kept content.
    #[schemars(range(max = 100))]
    agreement_percent_min: Option<u32>,
    /// None by default; it needs kept content and `comparison.embedding_model`.
    similarity_percent_min: Option<u32>,
    /// None by default; it needs kept content and `comparison.judge_model`.
    judged_percent_min: Option<u32>,
    /// 50 by default.
    output_percent_min: Option<u32>,
    /// 100 by default.
    headroom_percent_min: Option<u32>,
}

impl Default for GatesForm {
    fn default() -> Self {
        Self::of(&Gates::default())
    }
}

impl GatesForm {
    pub const fn of(gates: &Gates) -> Self {
        Self {
            requests_min: gates.requests_min,
            first_token_p95_percent_max: gates.first_token_p95_percent_max,
            total_p95_percent_max: gates.total_p95_percent_max,
            error_bps_max: gates.error_bps_max,
            cost_percent_max: gates.cost_percent_max,
            agreement_percent_min: gates.agreement_percent_min,
            similarity_percent_min: gates.similarity_percent_min,
            judged_percent_min: gates.judged_percent_min,
            output_percent_min: gates.output_percent_min,
            headroom_percent_min: gates.headroom_percent_min,
        }
    }

    pub const fn gates(&self) -> Gates {
        Gates {
            requests_min: self.requests_min,
            first_token_p95_percent_max: self.first_token_p95_percent_max,
            total_p95_percent_max: self.total_p95_percent_max,
            error_bps_max: self.error_bps_max,
            cost_percent_max: self.cost_percent_max,
            agreement_percent_min: self.agreement_percent_min,
            similarity_percent_min: self.similarity_percent_min,
            judged_percent_min: self.judged_percent_min,
            output_percent_min: self.output_percent_min,
            headroom_percent_min: self.headroom_percent_min,
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReplaySet")]
struct SetView {
    /// Requests that matched, and those that were replayed.
    matched: u64,
    taken: u64,
    span_ms: u64,
    #[schemars(extend("enum" = ReplayKind::WORDS))]
    operation: &'static str,
    /// How many of those that were replayed had been served as which model.
    models: BTreeMap<String, u64>,
    kept_content: u64,
    synthetic_content: u64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReplayServed")]
struct CandidateView {
    model: String,
    node_id: Option<String>,
    /// What an hour of the hardware costs, idle times included.
    cost_per_hour_micros: Option<u64>,
    /// `nodes` by what those that answered cost their owner and count of their hours and energy, `run` as the run states it.
    #[schemars(extend("enum" = ["nodes", "run", null]))]
    cost_per_hour_by: Option<&'static str>,
    /// What answered, with how many requests each.
    served_by: Vec<ServedBy>,
}

#[derive(Serialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord, Clone)]
#[schemars(rename = "ReplayServedBy")]
struct ServedBy {
    principal: String,
    upstream_model: String,
    requests: u64,
}

/// Shares and ratios are in hundredths of a per cent.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReplayGateResult")]
struct GateView {
    #[schemars(extend("enum" = replay::GateName::WORDS))]
    gate: &'static str,
    #[schemars(extend("enum" = Verdict::WORDS))]
    verdict: &'static str,
    limit: u64,
    measured: Option<u64>,
    /// The truth is below `low`, or above `high`, with one per cent of chance each.
    low: Option<u64>,
    high: Option<u64>,
    reason: String,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReplayCounts")]
struct CountsView {
    sent: u64,
    errors: u64,
}

/// The same requests on both sides: those that the candidate answered.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReplayTimes")]
struct TimesView {
    requests: u64,
    baseline: Vec<SpreadView>,
    candidate: Vec<SpreadView>,
}

/// A percentile, and between which values the true one is with 95 % of confidence.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReplayPercentile")]
struct SpreadView {
    percent: u64,
    value_us: u64,
    low_us: u64,
    high_us: u64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReplayCost")]
struct CostView {
    /// Requests whose price is known on both sides.
    requests: u64,
    baseline_nanos: u64,
    candidate_nanos: u64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReplayTokens")]
struct TokensView {
    baseline_prompt: u64,
    candidate_prompt: u64,
    baseline_output: u64,
    candidate_output: u64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReplayAgreement")]
struct AgreementView {
    /// Requests of which both answers are known.
    compared: u64,
    /// Word for word the same.
    same: u64,
    /// Words that both have, in hundredths of a per cent.
    overlap_bps: Option<u64>,
    embedding_model: Option<String>,
    /// Requests whose two answers were embedded, and the mean cosine in hundredths of a per cent.
    embedded: u64,
    similarity_bps: Option<u64>,
    judge_model: Option<String>,
    /// Requests whose two answers a judge compared, and those where the candidate's was at least as good.
    judged: u64,
    as_good: u64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReplayHeadroom")]
struct HeadroomView {
    /// In the busiest minute of all requests that matched.
    recorded_tokens_per_minute: u64,
    /// The least that the candidate can carry.
    replayed_tokens_per_minute: u64,
}

/// Makes the report once every answer has its meter record, or cannot be waited for any longer.
pub async fn make(
    deps: &Deps,
    run: &ReplayRunRow,
    results: &[EndedTrace],
    may_wait: bool,
) -> Result<Made, StoreError> {
    let mut measurements = Vec::with_capacity(results.len());
    for one in results {
        let record = record_of(deps, run, one).await?;
        // A request that never came to an exchange has a status of 0.
        if record.is_none() && one.result.status != 0 && may_wait {
            return Ok(Made::NotBooked);
        }
        measurements.push((one, record));
    }
    let hour = hour_of(deps, run, measurements.iter().filter_map(|(_, record)| record.as_ref())).await?;
    Ok(sign(deps, run, &measurements, hour).map_or(Made::Unsigned, Made::Report))
}

async fn record_of(
    deps: &Deps,
    run: &ReplayRunRow,
    one: &EndedTrace,
) -> Result<Option<MeterRecord>, StoreError> {
    let Ok(exchange) = one.result.exchange.parse::<TraceId>() else { return Ok(None) };
    match deps.store.records().request(run.workspace, exchange).await {
        Ok(record) => Ok(Some(record)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

type Measurements<'a> = [(&'a EndedTrace, Option<MeterRecord>)];

fn sign(
    deps: &Deps,
    run: &ReplayRunRow,
    measurements: &Measurements<'_>,
    hour: Option<HourCost>,
) -> Option<MadeReport> {
    let hardware_nanos = hardware_nanos(run, hour, measurements.len() as u64);
    let pairs: Vec<Pair> =
        measurements.iter().map(|(one, record)| pair(one, record.as_ref(), hardware_nanos)).collect();
    let load = Load {
        recorded_tokens_per_minute: run.drawn.map_or(0, |drawn| drawn.busiest_tokens_per_minute),
        replayed_tokens_per_minute: carried(measurements),
    };
    let judgement = judge(&pairs, load, &run.spec.gates, run.spec.seed);
    let created_unix_ms = deps.world.clock.unix_ms();
    let expires_unix_ms = created_unix_ms.saturating_add(u64::from(run.spec.valid_days) * DAY_MS);
    let view = ReportView {
        id: run.id.to_string(),
        object: "replay_report",
        format: FORMAT,
        workspace_id: run.workspace.to_string(),
        created_at: Moment(created_unix_ms),
        expires_at: Moment(expires_unix_ms),
        expires_unix_ms,
        verdict: judgement.verdict.as_str(),
        set: set_view(run, measurements),
        candidate: candidate_view(run, measurements, hour),
        gates: GatesForm::of(&run.spec.gates),
        results: judgement.gates.iter().map(gate_view).collect(),
        requests: CountsView { sent: judgement.requests, errors: judgement.errors },
        first_token: times_view(&judgement.first_token),
        total: times_view(&judgement.total),
        cost: CostView {
            requests: judgement.priced,
            baseline_nanos: judgement.baseline_cost_nanos,
            candidate_nanos: judgement.candidate_cost_nanos,
        },
        tokens: tokens_view(&judgement),
        agreement: agreement_view(run, &judgement),
        headroom: HeadroomView {
            recorded_tokens_per_minute: load.recorded_tokens_per_minute,
            replayed_tokens_per_minute: load.replayed_tokens_per_minute,
        },
        evidence_digest: evidence_digest(measurements, &pairs)?,
        seed: format!("{:016x}", run.spec.seed),
    };
    let Ok(Value::Object(fields)) = serde_json::to_value(&view) else { return None };
    let document = deps.auditor.sign(fields).ok()?;
    let document = serde_json::to_string(&document).ok()?;
    Some(MadeReport { verdict: judgement.verdict, document, expires_unix_ms })
}

/// What the hardware costs for each replayed request: as long as the recorded ones came in, idle times included.
fn hardware_nanos(run: &ReplayRunRow, hour: Option<HourCost>, requests: u64) -> Option<i64> {
    let drawn = run.drawn?;
    let span_ms = u128::from(drawn.span_ms.max(MINUTE_MS));
    let all = u128::from(hour?.nanos) * span_ms / u128::from(HOUR_MS);
    // The set stands for more requests than were replayed.
    let each = all / u128::from(drawn.matched.max(requests).max(1));
    i64::try_from(each).ok()
}

fn pair(one: &EndedTrace, record: Option<&MeterRecord>, hardware_nanos: Option<i64>) -> Pair {
    let baseline = one.trace.baseline;
    let missing = Measured { is_error: true, ..Measured::default() };
    let mut candidate = record.map_or(missing, measured);
    // An answer without a word is none where there was one.
    candidate.is_error |= candidate.output_tokens == 0 && baseline.output_tokens > 0;
    if let Some(nanos) = hardware_nanos {
        candidate.cost_nanos = Some(candidate.cost_nanos.unwrap_or(0).saturating_add(nanos));
    }
    Pair { baseline, candidate, agreement: one.result.agreement }
}

/// The tokens that were answered in a minute of the time in which something was answered at all.
fn carried(measurements: &Measurements<'_>) -> u64 {
    let mut busy: Vec<(u64, u64)> = Vec::new();
    let mut tokens = 0_u64;
    for (one, record) in measurements {
        let Some(record) = record.as_ref().filter(|record| record.status < 400) else { continue };
        tokens = tokens
            .saturating_add(record.usage.prompt_total())
            .saturating_add(record.usage.completion_total());
        busy.push((one.result.started_unix_ms, one.result.ended_unix_ms));
    }
    tokens.saturating_mul(MINUTE_MS) / together_ms(busy).max(1)
}

/// How long at least one of some spans lasted.
fn together_ms(mut spans: Vec<(u64, u64)>) -> u64 {
    spans.sort_unstable();
    let (mut sum, mut until) = (0_u64, 0_u64);
    for (start, end) in spans {
        sum = sum.saturating_add(end.saturating_sub(start.max(until)));
        until = until.max(end);
    }
    sum
}

fn set_view(run: &ReplayRunRow, measurements: &Measurements<'_>) -> SetView {
    let drawn = run.drawn.unwrap_or_default();
    let mut models: BTreeMap<String, u64> = BTreeMap::new();
    for (one, _) in measurements {
        *models.entry(one.trace.served_model.clone()).or_default() += 1;
    }
    let kept = measurements.iter().filter(|(one, _)| one.result.is_kept_content).count() as u64;
    SetView {
        matched: drawn.matched,
        taken: drawn.taken,
        span_ms: drawn.span_ms,
        operation: run.spec.set.kind.as_str(),
        models,
        kept_content: kept,
        synthetic_content: measurements.len() as u64 - kept,
    }
}

fn candidate_view(
    run: &ReplayRunRow,
    measurements: &Measurements<'_>,
    hour: Option<HourCost>,
) -> CandidateView {
    let mut served: BTreeMap<(String, String), u64> = BTreeMap::new();
    for record in measurements.iter().filter_map(|(_, record)| record.as_ref()) {
        let last = record.attempts.last().filter(|_| record.status < 400);
        if let (Some(principal), Some(last)) = (record.principal, last) {
            *served.entry((name_of(principal), last.upstream_model.clone())).or_default() += 1;
        }
    }
    let candidate = &run.spec.candidate;
    CandidateView {
        model: candidate.model.clone(),
        node_id: candidate.node.map(|id| id.to_string()),
        cost_per_hour_micros: hour.map(|hour| hour.nanos / NANOS_PER_MICRO),
        cost_per_hour_by: hour.map(|hour| hour.by),
        served_by: served
            .into_iter()
            .map(|((principal, upstream_model), requests)| ServedBy { principal, upstream_model, requests })
            .collect(),
    }
}

/// Whoever answered, without naming accounts of the operator's.
fn name_of(principal: Principal) -> String {
    match principal {
        Principal::Account(_) => "managed".to_owned(),
        own => own.to_string(),
    }
}

fn gate_view(result: &GateResult) -> GateView {
    GateView {
        gate: result.gate.as_str(),
        verdict: result.verdict.as_str(),
        limit: result.limit,
        measured: result.measured,
        low: result.low,
        high: result.high,
        reason: result.reason.clone(),
    }
}

fn times_view(times: &Times) -> TimesView {
    let spread = |one: &Spread| SpreadView {
        percent: one.percent,
        value_us: one.value_us,
        low_us: one.low_us,
        high_us: one.high_us,
    };
    TimesView {
        requests: times.requests,
        baseline: times.baseline.iter().map(spread).collect(),
        candidate: times.candidate.iter().map(spread).collect(),
    }
}

const fn tokens_view(judgement: &Judgement) -> TokensView {
    TokensView {
        baseline_prompt: judgement.baseline_prompt_tokens,
        candidate_prompt: judgement.candidate_prompt_tokens,
        baseline_output: judgement.baseline_output_tokens,
        candidate_output: judgement.candidate_output_tokens,
    }
}

fn agreement_view(run: &ReplayRunRow, judgement: &Judgement) -> AgreementView {
    AgreementView {
        compared: judgement.compared,
        same: judgement.same,
        overlap_bps: judgement.overlap_bps,
        embedding_model: run.spec.comparison.embedding_model.clone(),
        embedded: judgement.embedded,
        similarity_bps: judgement.similarity_bps,
        judge_model: run.spec.comparison.judge_model.clone(),
        judged: judgement.judged,
        as_good: judgement.as_good,
    }
}

/// Over the ids of both exchanges and what was measured of them, in the order of the set.
fn evidence_digest(measurements: &Measurements<'_>, pairs: &[Pair]) -> Option<String> {
    let lines = measurements.iter().zip(pairs).map(|((one, _), pair)| {
        serde_json::json!({
            "request": one.trace.request,
            "exchange": one.result.exchange,
            "baseline": pair.baseline,
            "candidate": pair.candidate,
            "agreement": pair.agreement,
        })
    });
    let mut document = serde_json::Map::new();
    document.insert("pairs".to_owned(), lines.collect());
    let bytes = proof::document::canonical(&document).ok()?;
    Some(Digest::of(&[&bytes]).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_counted_once_where_they_overlap() {
        for (spans, expected) in [
            (vec![], 0),
            (vec![(10, 20)], 10),
            (vec![(10, 20), (15, 25), (40, 41)], 16),
            (vec![(0, 100), (10, 20), (90, 110)], 110),
        ] {
            assert_eq!(together_ms(spans.clone()), expected, "{spans:?}");
        }
    }
}
