//! The reuse waterfall of one exchange and of sums: tokens, evidence and money.

use domain::{CacheTier, InputCost, MeterRecord, Nanos, ReuseEvidence, Waterfall};
use schemars::JsonSchema;
use serde::Serialize;
use store::UsageSums;

/// How much of the prompts a cache could have served and did serve: `input >= eligible >= candidate >= realized`.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Reuse")]
struct FallView {
    /// The prompts as the provider counts them.
    input_tokens: u64,
    /// What the provider caches of prompts of this length, by its manifest.
    eligible_reuse_tokens: u64,
    /// What was sent before as the same prefix, within the lifetime of the provider's cache.
    candidate_reuse_tokens: u64,
    /// What the provider or node said came from its cache; never inferred.
    realized_reused_tokens: u64,
    /// Candidate minus realized.
    missed_opportunity_tokens: u64,
    /// Candidate by input.
    opportunity_ratio: Option<f64>,
    /// Realized by input.
    realized_ratio: Option<f64>,
    /// Realized by candidate.
    reuse_capture_rate: Option<f64>,
}

/// What the prompts cost at their provider: `gross - reuse_credit = processed`, exactly.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReuseMoney")]
struct MoneyView {
    /// If all of it had been fresh input, at the price of the service tier.
    gross_input_nanos: i64,
    /// What reuse saved, less the premium of cache writes; negative where more was written than read.
    reuse_credit_nanos: i64,
    /// The prompt's lines of the receipts.
    processed_input_nanos: i64,
    /// The part of `processed` that cache writes cost beyond fresh input.
    write_premium_nanos: i64,
    /// The receipts' other lines. With `processed` it is what the provider bills, `provider_cost_nanos`.
    other_nanos: i64,
}

/// The reuse of an exchange's prompt.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReuseOfRequest")]
pub struct ReuseView {
    #[serde(flatten)]
    fall: FallView,
    #[serde(flatten)]
    money: MoneyView,
    /// `response`, `provider`, or `unknown` where a node does not say where its cache is. Absent if nothing was reused.
    cache_tier: Option<&'static str>,
    /// Of what was realized: `provider_reported`, `runtime_confirmed`, `router_inferred`, `trace_estimated` or `unknown`.
    evidence: &'static str,
    /// Of what was eligible and a candidate: `router_inferred`, or `unknown` if the prompt was too short to be looked at, or the workspace
    /// wants it not to be.
    candidate_evidence: &'static str,
    /// The provider reused more than was eligible or a candidate by our estimate, and both were raised to its report.
    raised_to_report: bool,
    /// The answer came from the response cache, and what it used when it was made.
    response_cache: Option<HitView>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ResponseCacheHit")]
struct HitView {
    /// `exact`: the same request had it. `semantic`: one that means the same.
    #[serde(rename = "match")]
    #[schemars(extend("enum" = ["exact", "semantic"]))]
    matched: &'static str,
    /// Of a semantic hit: the cosine of both texts' embeddings in basis points.
    similarity_bps: Option<u16>,
    input_tokens: u64,
    output_tokens: u64,
    saved_nanos: i64,
}

/// The reuse of a sum of exchanges.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReuseOfSum")]
pub struct ReuseSumsView {
    #[serde(flatten)]
    fall: FallView,
    #[serde(flatten)]
    money: MoneyView,
    /// The weakest among the requests with a prompt; absent if there are none.
    evidence: Option<&'static str>,
    /// How many requests have which evidence.
    evidence_requests: EvidenceView,
    /// Requests whose estimates were raised to the provider's report.
    raised_requests: u64,
    /// Requests whose prompt was not looked at: of these a candidate is only what was realized.
    unseen_requests: u64,
    response_cache: HitsView,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EvidenceOfRequests")]
struct EvidenceView {
    provider_reported: u64,
    runtime_confirmed: u64,
    router_inferred: u64,
    trace_estimated: u64,
    unknown: u64,
}

/// What the response cache answered, with what the answers used when they were made.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ResponseCacheHits")]
struct HitsView {
    hits: u64,
    input_tokens: u64,
    output_tokens: u64,
    saved_nanos: i64,
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn show_fall(fall: Waterfall) -> FallView {
    FallView {
        input_tokens: fall.input,
        eligible_reuse_tokens: fall.eligible,
        candidate_reuse_tokens: fall.candidate,
        realized_reused_tokens: fall.realized,
        missed_opportunity_tokens: fall.missed(),
        opportunity_ratio: ratio(fall.candidate, fall.input),
        realized_ratio: ratio(fall.realized, fall.input),
        reuse_capture_rate: ratio(fall.realized, fall.candidate),
    }
}

const fn show_money(cost: InputCost, provider_cost: Nanos) -> MoneyView {
    MoneyView {
        gross_input_nanos: cost.gross.0,
        reuse_credit_nanos: cost.reuse_credit().0,
        processed_input_nanos: cost.processed.0,
        write_premium_nanos: cost.write_premium.0,
        other_nanos: provider_cost.0.saturating_sub(cost.processed.0),
    }
}

/// `None` where there was no prompt.
pub fn show(record: &MeterRecord) -> Option<ReuseView> {
    let fall = record.waterfall();
    let served = record.caching.and_then(|caching| caching.served);
    if fall.input == 0 && served.is_none() {
        return None;
    }
    let evidence = record.reuse_evidence();
    let candidate = if fall.is_unseen { ReuseEvidence::Unknown } else { ReuseEvidence::RouterInferred };
    Some(ReuseView {
        fall: show_fall(fall),
        money: show_money(record.input_cost(), record.charge.provider_cost),
        cache_tier: record.cache_tier().map(CacheTier::as_str),
        evidence: if served.is_some() { ReuseEvidence::RuntimeConfirmed } else { evidence }.as_str(),
        candidate_evidence: candidate.as_str(),
        raised_to_report: fall.is_raised && !fall.is_unseen,
        response_cache: served.map(|served| HitView {
            matched: if record.extras.semantic.is_some() { "semantic" } else { "exact" },
            similarity_bps: record.extras.semantic.and_then(|search| search.similarity_bps),
            input_tokens: served.input_tokens,
            output_tokens: served.output_tokens,
            saved_nanos: served.saved.0,
        }),
    })
}

pub fn show_sums(sums: &UsageSums) -> ReuseSumsView {
    let reuse = &sums.reuse;
    let fall = Waterfall {
        input: sums.input_tokens,
        eligible: reuse.eligible_tokens,
        candidate: reuse.candidate_tokens,
        realized: sums.realized_reused_tokens,
        ..Waterfall::default()
    };
    let [provider_reported, runtime_confirmed, router_inferred, trace_estimated, unknown] = reuse.evidence;
    ReuseSumsView {
        fall: show_fall(fall),
        money: show_money(reuse.cost, sums.provider_cost),
        evidence: reuse.weakest_evidence().map(ReuseEvidence::as_str),
        evidence_requests: EvidenceView {
            provider_reported,
            runtime_confirmed,
            router_inferred,
            trace_estimated,
            unknown,
        },
        raised_requests: reuse.raised,
        unseen_requests: reuse.unseen,
        response_cache: HitsView {
            hits: reuse.hits,
            input_tokens: reuse.hit_input_tokens,
            output_tokens: reuse.hit_output_tokens,
            saved_nanos: reuse.hit_saved.0,
        },
    }
}
