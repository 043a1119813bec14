//! The report as it is signed and as lists show it. Every number is whole, so that anybody can write the bytes that were signed.

use std::collections::BTreeMap;

use api::moment::Moment;
use diagnostics::{Finding, Mend, Part, Recommendation, Score, ScoredPart, Trace};
use domain::{DiagnosticsId, WorkspaceId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Below it, a few requests more may change the score much.
const TRACES_FEW: usize = 100;
const FORMAT: u32 = 1;
const FULL_SCORE: u64 = 100;

/// A report on how well a workload is reused, and what it costs that it is not.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DiagnosticsReport")]
pub(super) struct SignedReport {
    #[serde(flatten)]
    report: Report,
    /// Ed25519, 64 hexadecimal digits.
    public_key: String,
    fingerprint: String,
    /// Over everything else in this object, in the form that `docs/diagnostics.md` describes.
    signature: String,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Report {
    id: String,
    object: &'static str,
    format: u32,
    created_at: Moment,
    workspace_id: String,
    #[schemars(extend("enum" = ["records", "traces"]))]
    source: &'static str,
    scope: ScopeView,
    sample: SampleView,
    /// SHA-256 over the input, in the form that is signed: the same traces have the same digest.
    evidence_digest: String,
    reuse: ReuseCounts,
    score: ScoreView,
    recommendation: RecommendationView,
    /// Largest amounts of money first.
    findings: Vec<FindingView>,
}

/// Which of the workspace's own requests were looked at; empty for an upload.
#[derive(Serialize, JsonSchema, Default)]
#[schemars(rename = "DiagnosticsScope")]
pub(super) struct ScopeView {
    pub start: Option<Moment>,
    pub end: Option<Moment>,
    pub project_id: Option<String>,
    pub model: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DiagnosticsSample")]
struct SampleView {
    traces: u64,
    /// There were more than a report looks at: of each twentieth of the window, these are the newest.
    is_sampled: bool,
    /// Whether there are so few that some more may change the score considerably.
    is_small: bool,
    /// How many traces were recorded in each way.
    privacy_modes: BTreeMap<&'static str, u64>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DiagnosticsReuse")]
struct ReuseCounts {
    input_tokens: u64,
    candidate_reuse_tokens: u64,
    realized_reused_tokens: u64,
    missed_opportunity_tokens: u64,
}

/// The Workload Reuse Score: the sum of its parts.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WorkloadReuseScore")]
struct ScoreView {
    /// 0 to 100.
    points: u64,
    points_max: u64,
    #[schemars(extend("enum" = ["strong", "good", "limited", "low"]))]
    band: &'static str,
    parts: Vec<PartView>,
}

/// `points` is `points_max` times `numerator` by `denominator`, by the full ratio, rounded down; from the full ratio on it is
/// `points_max`.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WorkloadReusePart")]
struct PartView {
    #[schemars(extend("enum" = ["opportunity_ratio", "recurrence", "retention_locality", "ttft_sensitivity", "session_continuity", "payload_redundancy"]))]
    part: &'static str,
    points: u64,
    points_max: u64,
    numerator: u64,
    denominator: u64,
    ratio_bps: u64,
    /// The ratio that gives all points, in basis points.
    full_ratio_bps: u64,
    sentence: String,
}

/// The profile that serves the workload at the least effort.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DiagnosticsRecommendation")]
struct RecommendationView {
    profile: &'static str,
    reason: String,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DiagnosticsFinding")]
struct FindingView {
    #[schemars(extend("enum" = ["missed_cache", "unstable_prefix", "retries", "idle_tail", "model_size", "budget_at_risk"]))]
    kind: &'static str,
    /// A model, a credential or a budget.
    subject: String,
    sentence: String,
    money_micros: i64,
    /// `spent` in the window; `at_most` what a change could save; `at_risk` by the end of a period; `none` where only time was lost.
    #[schemars(extend("enum" = ["spent", "at_most", "at_risk", "none"]))]
    money_meaning: &'static str,
    waited_ms: u64,
    requests: u64,
    /// The ids of some of them, most expensive first.
    request_ids: Vec<String>,
    /// The filter of `/v2/requests` that lists them within the report's window.
    filter: Option<String>,
    mend: MendView,
}

/// The one change that mends a finding.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DiagnosticsMend")]
struct MendView {
    sentence: String,
    /// The page of the console.
    page: String,
    command: Option<String>,
}

/// A report in a list.
#[derive(Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DiagnosticsSummary")]
pub(super) struct SummaryView {
    pub id: String,
    pub object: String,
    pub created_at: String,
    pub source: String,
    pub project_id: Option<String>,
    pub model: Option<String>,
    pub traces: u64,
    pub points: u64,
    pub band: String,
    pub findings: u64,
    /// Of what was spent: missed caches and retries.
    pub spent_micros: i64,
    pub evidence_digest: String,
}

/// What a report is made of.
pub(super) struct Made<'a> {
    pub id: DiagnosticsId,
    pub workspace: WorkspaceId,
    pub created_unix_ms: u64,
    pub source: &'static str,
    pub scope: ScopeView,
    pub traces: &'a [Trace],
    pub is_sampled: bool,
    pub evidence_digest: String,
    pub score: &'a Score,
    pub recommendation: Recommendation,
    pub findings: Vec<Finding>,
}

impl Report {
    pub(super) fn of(made: Made<'_>) -> Self {
        let mut privacy_modes = BTreeMap::new();
        for trace in made.traces {
            *privacy_modes.entry(trace.privacy.as_str()).or_default() += 1;
        }
        Self {
            id: made.id.to_string(),
            object: "diagnostics_report",
            format: FORMAT,
            created_at: Moment(made.created_unix_ms),
            workspace_id: made.workspace.to_string(),
            source: made.source,
            scope: made.scope,
            sample: SampleView {
                traces: made.traces.len() as u64,
                is_sampled: made.is_sampled,
                is_small: made.traces.len() < TRACES_FEW,
                privacy_modes,
            },
            evidence_digest: made.evidence_digest,
            reuse: reuse(made.traces),
            score: show_score(made.score),
            recommendation: RecommendationView {
                profile: made.recommendation.profile.as_str(),
                reason: made.recommendation.reason,
            },
            findings: made.findings.into_iter().map(show_finding).collect(),
        }
    }

    pub(super) fn summary(&self) -> SummaryView {
        let spent = self.findings.iter().filter(|finding| finding.money_meaning == "spent");
        SummaryView {
            id: self.id.clone(),
            object: self.object.to_owned(),
            created_at: reconcilers::moment::write(self.created_at.0),
            source: self.source.to_owned(),
            project_id: self.scope.project_id.clone(),
            model: self.scope.model.clone(),
            traces: self.sample.traces,
            points: self.score.points,
            band: self.score.band.to_owned(),
            findings: self.findings.len() as u64,
            spent_micros: spent.map(|finding| finding.money_micros).fold(0, i64::saturating_add),
            evidence_digest: self.evidence_digest.clone(),
        }
    }
}

fn reuse(traces: &[Trace]) -> ReuseCounts {
    let sum = |count: fn(&Trace) -> u64| traces.iter().map(count).fold(0, u64::saturating_add);
    ReuseCounts {
        input_tokens: sum(|trace| trace.input_tokens),
        candidate_reuse_tokens: sum(|trace| trace.candidate_tokens),
        realized_reused_tokens: sum(|trace| trace.realized_tokens),
        missed_opportunity_tokens: sum(|trace| trace.candidate_tokens.saturating_sub(trace.realized_tokens)),
    }
}

fn show_score(score: &Score) -> ScoreView {
    ScoreView {
        points: score.points,
        points_max: FULL_SCORE,
        band: score.band.as_str(),
        parts: score.parts.iter().map(show_part).collect(),
    }
}

fn show_part(scored: &ScoredPart) -> PartView {
    let part: Part = scored.part;
    PartView {
        part: part.as_str(),
        points: scored.points,
        points_max: part.points_max(),
        numerator: scored.numerator,
        denominator: scored.denominator,
        ratio_bps: scored.ratio_bps(),
        full_ratio_bps: part.full_bps(),
        sentence: scored.sentence(),
    }
}

fn show_finding(finding: Finding) -> FindingView {
    let Mend { sentence, page, command } = finding.mend;
    FindingView {
        kind: finding.kind.as_str(),
        money_meaning: finding.kind.money_meaning(),
        subject: finding.subject,
        sentence: finding.sentence,
        money_micros: finding.money.micros(),
        waited_ms: finding.waited_ms,
        requests: finding.requests,
        request_ids: finding.examples,
        filter: finding.filter,
        mend: MendView { sentence, page, command },
    }
}
