//! What a candidate must keep to, and whether it does.

use serde::{Deserialize, Serialize};

use crate::limits::REPLAY_REQUESTS_MIN;
use crate::statistics::Bounds;

/// The gates of a workspace, or of one run. What is `None` is not judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gates {
    /// Fewer answered requests say too little.
    pub requests_min: u32,
    /// The most that the 95th percentile of the time to the first token may be, in per cent of the recorded one.
    pub first_token_p95_percent_max: Option<u32>,
    /// The same of the whole answer.
    pub total_p95_percent_max: Option<u32>,
    /// The highest share of requests that may fail, in hundredths of a per cent.
    pub error_bps_max: Option<u32>,
    /// The most that the requests may cost, in per cent of what they did.
    pub cost_percent_max: Option<u32>,
    /// The least that answers have in common with the kept ones, in per cent of their words.
    pub agreement_percent_min: Option<u32>,
    /// The least that their embeddings are alike.
    pub similarity_percent_min: Option<u32>,
    /// The smallest share of answers that a judge finds at least as good as the kept ones.
    pub judged_percent_min: Option<u32>,
    /// The fewest tokens of answers, in per cent of the recorded ones: one that says little is quick, too.
    pub output_percent_min: Option<u32>,
    /// The least that the candidate must have carried, in per cent of the busiest minute.
    pub headroom_percent_min: Option<u32>,
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            requests_min: 200,
            first_token_p95_percent_max: Some(150),
            total_p95_percent_max: Some(150),
            error_bps_max: Some(200),
            cost_percent_max: Some(100),
            agreement_percent_min: None,
            similarity_percent_min: None,
            judged_percent_min: None,
            output_percent_min: Some(50),
            headroom_percent_min: Some(100),
        }
    }
}

impl Gates {
    /// Whether whoever keeps to these keeps to the others, too.
    pub fn are_as_strict_as(&self, others: &Self) -> bool {
        let most = |mine: Option<u32>, other: Option<u32>| {
            other.is_none_or(|other| mine.is_some_and(|mine| mine <= other))
        };
        let least = |mine: Option<u32>, other: Option<u32>| {
            other.is_none_or(|other| mine.is_some_and(|mine| mine >= other))
        };
        self.requests_min >= others.requests_min
            && most(self.first_token_p95_percent_max, others.first_token_p95_percent_max)
            && most(self.total_p95_percent_max, others.total_p95_percent_max)
            && most(self.error_bps_max, others.error_bps_max)
            && most(self.cost_percent_max, others.cost_percent_max)
            && least(self.agreement_percent_min, others.agreement_percent_min)
            && least(self.similarity_percent_min, others.similarity_percent_min)
            && least(self.judged_percent_min, others.judged_percent_min)
            && least(self.output_percent_min, others.output_percent_min)
            && least(self.headroom_percent_min, others.headroom_percent_min)
    }

    /// What is wrong with them, by the field.
    ///
    /// # Errors
    /// The field, and the sentence about it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if self.requests_min < REPLAY_REQUESTS_MIN {
            let message =
                format!("requests_min is {}, and the fewest are {REPLAY_REQUESTS_MIN}.", self.requests_min);
            return Err(("requests_min", message));
        }
        let shares = [
            ("error_bps_max", self.error_bps_max, 10_000),
            ("agreement_percent_min", self.agreement_percent_min, 100),
            ("similarity_percent_min", self.similarity_percent_min, 100),
            ("judged_percent_min", self.judged_percent_min, 100),
        ];
        for (field, given, most) in shares {
            if let Some(given) = given.filter(|given| *given > most) {
                return Err((field, format!("{field} is {given}, and {most} is all of them.")));
            }
        }
        Ok(())
    }
}

/// What one gate is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateName {
    Requests,
    FirstToken,
    Total,
    Errors,
    Cost,
    Agreement,
    Similarity,
    Judged,
    Output,
    Headroom,
}

impl GateName {
    pub const WORDS: [&str; 10] = [
        "requests_min",
        "first_token_p95_percent_max",
        "total_p95_percent_max",
        "error_bps_max",
        "cost_percent_max",
        "agreement_percent_min",
        "similarity_percent_min",
        "judged_percent_min",
        "output_percent_min",
        "headroom_percent_min",
    ];

    pub const fn as_str(self) -> &'static str {
        let [requests, first, total, errors, cost, agreement, similarity, judged, output, headroom] =
            Self::WORDS;
        match self {
            Self::Requests => requests,
            Self::FirstToken => first,
            Self::Total => total,
            Self::Errors => errors,
            Self::Cost => cost,
            Self::Agreement => agreement,
            Self::Similarity => similarity,
            Self::Judged => judged,
            Self::Output => output,
            Self::Headroom => headroom,
        }
    }
}

/// What came of a gate, or of all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed,
    /// Too little was measured to say.
    Inconclusive,
}

impl Verdict {
    pub const WORDS: [&str; 3] = ["passed", "failed", "inconclusive"];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// A gate, what was measured for it, and why it came out so. Shares and ratios are in hundredths of a per cent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateResult {
    pub gate: GateName,
    pub verdict: Verdict,
    /// The gate itself.
    pub limit: u64,
    pub measured: Option<u64>,
    /// The truth lies between, with 99 % of confidence on either side.
    pub low: Option<u64>,
    pub high: Option<u64>,
    pub reason: String,
}

/// Bounds in hundredths of a per cent.
pub(crate) fn in_bps(bounds: Bounds) -> (u64, u64, u64) {
    (bps(bounds.value), bps(bounds.low), bps(bounds.high))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a ratio is positive; what is too large is cut"
)]
pub(crate) fn bps(ratio: f64) -> u64 {
    (ratio * 10_000.0).round().max(0.0) as u64
}

impl GateResult {
    /// A gate that what is measured must not exceed. Passed, once the truth hardly exceeds it; failed, once it hardly keeps to it.
    pub(crate) fn at_most(gate: GateName, limit_bps: u64, bounds: Option<Bounds>, unknown: &str) -> Self {
        let Some(bounds) = bounds else { return Self::unknown(gate, limit_bps, unknown) };
        let (measured, low, high) = in_bps(bounds);
        let verdict = if high <= limit_bps {
            Verdict::Passed
        } else if low > limit_bps {
            Verdict::Failed
        } else {
            Verdict::Inconclusive
        };
        Self::measured(gate, verdict, limit_bps, (measured, low, high))
    }

    pub(crate) fn at_least(gate: GateName, limit_bps: u64, bounds: Option<Bounds>, unknown: &str) -> Self {
        let Some(bounds) = bounds else { return Self::unknown(gate, limit_bps, unknown) };
        let (measured, low, high) = in_bps(bounds);
        let verdict = if low >= limit_bps {
            Verdict::Passed
        } else if high < limit_bps {
            Verdict::Failed
        } else {
            Verdict::Inconclusive
        };
        Self::measured(gate, verdict, limit_bps, (measured, low, high))
    }

    fn measured(
        gate: GateName,
        verdict: Verdict,
        limit: u64,
        (measured, low, high): (u64, u64, u64),
    ) -> Self {
        let found = format!(
            "{}, between {} and {}; the gate is {}",
            percent(measured),
            percent(low),
            percent(high),
            percent(limit)
        );
        let reason = match verdict {
            Verdict::Passed | Verdict::Failed => found,
            Verdict::Inconclusive => format!("{found}. More requests narrow the bounds"),
        };
        Self { gate, verdict, limit, measured: Some(measured), low: Some(low), high: Some(high), reason }
    }

    pub(crate) fn unknown(gate: GateName, limit: u64, why: &str) -> Self {
        Self {
            gate,
            verdict: Verdict::Inconclusive,
            limit,
            measured: None,
            low: None,
            high: None,
            reason: why.to_owned(),
        }
    }
}

fn percent(bps: u64) -> String {
    format!("{}.{:02} %", bps / 100, bps % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_passes_or_fails_only_beyond_doubt() {
        let of = |low, value, high| Some(Bounds { value, low, high });
        for (bounds, at_most, at_least) in [
            (of(1.0, 1.1, 1.2), Verdict::Passed, Verdict::Failed),
            (of(1.0, 1.1, 1.5), Verdict::Passed, Verdict::Inconclusive),
            (of(1.4, 1.45, 1.6), Verdict::Inconclusive, Verdict::Inconclusive),
            (of(1.6, 1.7, 1.8), Verdict::Failed, Verdict::Passed),
            (None, Verdict::Inconclusive, Verdict::Inconclusive),
        ] {
            let most = GateResult::at_most(GateName::Total, 15_000, bounds, "nothing");
            let least = GateResult::at_least(GateName::Output, 15_000, bounds, "nothing");
            assert_eq!((most.verdict, least.verdict), (at_most, at_least), "{bounds:?}");
        }
        let advice = GateResult::at_most(GateName::Total, 15_000, of(1.6, 1.7, 1.8), "");
        assert_eq!(advice.reason, "170.00 %, between 160.00 % and 180.00 %; the gate is 150.00 %");
    }

    #[test]
    fn looser_gates_do_not_stand_for_stricter_ones() {
        let own = Gates::default();
        let check = |gates: Gates, expected| assert_eq!(gates.are_as_strict_as(&own), expected, "{gates:?}");
        check(own, true);
        check(Gates { requests_min: 100, ..own }, false);
        check(Gates { error_bps_max: None, ..own }, false);
        check(Gates { error_bps_max: Some(201), ..own }, false);
        check(Gates { error_bps_max: Some(10), agreement_percent_min: Some(90), ..own }, true);
        check(Gates { headroom_percent_min: Some(99), ..own }, false);
        let judged = Gates { judged_percent_min: Some(90), similarity_percent_min: Some(80), ..own };
        check(judged, true);
        assert!(!own.are_as_strict_as(&judged), "what is not judged is looser");
        let without = Gates { cost_percent_max: None, ..own };
        assert!(own.are_as_strict_as(&without), "a gate that others lack is stricter");
    }

    #[test]
    fn gates_that_judge_nothing_are_refused() {
        let own = Gates::default();
        let field = |gates: Gates| gates.check().map_err(|(field, _)| field);
        assert_eq!(field(own), Ok(()));
        assert_eq!(field(Gates { requests_min: 19, ..own }), Err("requests_min"));
        assert_eq!(field(Gates { error_bps_max: Some(10_001), ..own }), Err("error_bps_max"));
        assert_eq!(field(Gates { agreement_percent_min: Some(101), ..own }), Err("agreement_percent_min"));
    }
}
