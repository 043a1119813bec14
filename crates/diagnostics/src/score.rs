//! The Workload Reuse Score: how much of a workload could be reused, from 0 to 100, in six parts. The weights are ours; no standard
//! defines them.

use std::collections::BTreeMap;

use crate::trace::Trace;

/// The shortest lifetime of a provider's prompt cache that is widely offered: what comes back within it needs nothing.
pub(crate) const SHORT_LIFETIME_MS: u64 = 5 * 60_000;
/// The longest that is widely offered, at a price.
const LONG_LIFETIME_MS: u64 = 60 * 60_000;
/// Requests of a family without a session are taken as one session up to this pause.
const SESSION_PAUSE_MS: u64 = 30 * 60_000;
const BASIS: u128 = 10_000;

domain::words! {
    /// One of the six parts.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Part by from_name {
        OpportunityRatio = "opportunity_ratio",
        Recurrence = "recurrence",
        RetentionLocality = "retention_locality",
        TtftSensitivity = "ttft_sensitivity",
        SessionContinuity = "session_continuity",
        PayloadRedundancy = "payload_redundancy",
    }
}

/// What a part is worth: its most points, and the ratio from which it has them, in basis points.
struct Weight {
    points_max: u64,
    full_bps: u64,
}

impl Part {
    const fn weight(self) -> Weight {
        let (points_max, full_bps) = match self {
            Self::OpportunityRatio => (30, 6_000),
            Self::Recurrence => (20, 8_000),
            Self::RetentionLocality => (15, 10_000),
            Self::TtftSensitivity => (15, 5_000),
            Self::SessionContinuity => (10, 7_500),
            Self::PayloadRedundancy => (10, 8_000),
        };
        Weight { points_max, full_bps }
    }

    /// The most points that it gives.
    pub const fn points_max(self) -> u64 {
        self.weight().points_max
    }

    /// The ratio from which it gives them, in basis points.
    pub const fn full_bps(self) -> u64 {
        self.weight().full_bps
    }

    /// The points of a ratio: linear up to the full ratio, rounded down.
    pub fn points(self, numerator: u64, denominator: u64) -> u64 {
        let Weight { points_max, full_bps } = self.weight();
        if denominator == 0 {
            return 0;
        }
        // One division, so that no step in between is rounded.
        let full = u128::from(full_bps) * u128::from(denominator);
        let reached = (u128::from(numerator) * BASIS).min(full);
        u64::try_from(u128::from(points_max) * reached / full).unwrap_or(points_max)
    }
}

/// A part with what it was computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScoredPart {
    pub part: Part,
    pub numerator: u64,
    pub denominator: u64,
    pub points: u64,
}

impl ScoredPart {
    fn of(part: Part, (numerator, denominator): (u64, u64)) -> Self {
        Self { part, numerator, denominator, points: part.points(numerator, denominator) }
    }

    /// In basis points, rounded down.
    pub fn ratio_bps(&self) -> u64 {
        let ratio = (u128::from(self.numerator) * BASIS).checked_div(u128::from(self.denominator));
        u64::try_from(ratio.unwrap_or(0)).unwrap_or(u64::MAX)
    }

    /// What the two numbers are, for people.
    pub fn sentence(&self) -> String {
        let Self { numerator, denominator, .. } = self;
        if *denominator == 0 {
            return match self.part {
                Part::OpportunityRatio => "No prompt was counted.".to_owned(),
                Part::RetentionLocality => "No prefix came back.".to_owned(),
                Part::TtftSensitivity => "No stream says when its first token came.".to_owned(),
                _ => "There is no request with a prompt.".to_owned(),
            };
        }
        match self.part {
            Part::OpportunityRatio => {
                format!("{numerator} of {denominator} prompt tokens had been sent before.")
            }
            Part::Recurrence => {
                format!("{numerator} of {denominator} requests began like one before them.")
            }
            Part::RetentionLocality => format!(
                "Returns of a prefix count 2 within five minutes, 1 within an hour, and 0 after that: {numerator} of {denominator}."
            ),
            Part::TtftSensitivity => {
                format!("{numerator} of {denominator} ms of streams were spent until the first token.")
            }
            Part::SessionContinuity => format!("{numerator} of {denominator} requests continued a session."),
            Part::PayloadRedundancy => {
                format!("Of {numerator} of {denominator} requests, at least half had been sent before.")
            }
        }
    }
}

domain::words! {
    /// The range that a score is in.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Band {
        /// 0 to 19.
        Low = "low",
        /// 20 to 44.
        Limited = "limited",
        /// 45 to 69.
        Good = "good",
        /// 70 and above.
        Strong = "strong",
    }
}

impl Band {
    pub const fn of(points: u64) -> Self {
        match points {
            0..=19 => Self::Low,
            20..=44 => Self::Limited,
            45..=69 => Self::Good,
            _ => Self::Strong,
        }
    }
}

/// A workload's score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Score {
    /// 0 to 100.
    pub points: u64,
    pub band: Band,
    pub parts: [ScoredPart; 6],
}

/// The score of these traces, in whatever order they are. Traces without a prompt have no part in it, and neither has what was
/// realized: the score is of the workload, not of how well it is served.
pub fn score(traces: &[Trace]) -> Score {
    let mut prompts: Vec<&Trace> = traces.iter().filter(|trace| trace.input_tokens > 0).collect();
    prompts.sort_by_key(|trace| (trace.arrival_ms, &trace.id));
    let count = prompts.len() as u64;
    let times = ReturnTimes::of(&prompts);
    let candidate = prompts.iter().map(|trace| trace.candidate()).fold(0, u64::saturating_add);
    let input = prompts.iter().map(|trace| trace.input_tokens).fold(0, u64::saturating_add);
    let redundant =
        prompts.iter().filter(|trace| trace.candidate() >= trace.input_tokens.div_ceil(2)).count();
    let parts = [
        ScoredPart::of(Part::OpportunityRatio, (candidate, input)),
        ScoredPart::of(Part::Recurrence, (times.returns, count)),
        ScoredPart::of(Part::RetentionLocality, (times.locality, times.returns.saturating_mul(2))),
        ScoredPart::of(Part::TtftSensitivity, waiting(&prompts)),
        ScoredPart::of(Part::SessionContinuity, (continued(&prompts), count)),
        ScoredPart::of(Part::PayloadRedundancy, (redundant as u64, count)),
    ];
    let points = parts.iter().map(|part| part.points).sum();
    Score { points, band: Band::of(points), parts }
}

/// How often prefixes came back, and how soon.
#[derive(Default)]
struct ReturnTimes {
    returns: u64,
    locality: u64,
}

impl ReturnTimes {
    /// Of traces in the order of their arrival.
    fn of(prompts: &[&Trace]) -> Self {
        let mut last: BTreeMap<(bool, &str), u64> = BTreeMap::new();
        let mut times = Self::default();
        for trace in prompts {
            if let Some(before) = last.insert(trace.family_key(), trace.arrival_ms) {
                times.returns += 1;
                times.locality += match trace.arrival_ms.saturating_sub(before) {
                    pause if pause <= SHORT_LIFETIME_MS => 2,
                    pause if pause <= LONG_LIFETIME_MS => 1,
                    _ => 0,
                };
            }
        }
        times
    }
}

/// Of streams: the time until the first token, and the whole.
fn waiting(prompts: &[&Trace]) -> (u64, u64) {
    let streams =
        prompts.iter().filter_map(|trace| Some((trace.ttft_ms?.min(trace.latency_ms), trace.latency_ms)));
    streams.fold((0, 0), |(waited, whole), (ttft, latency)| {
        (u64::saturating_add(waited, ttft), u64::saturating_add(whole, latency))
    })
}

/// How many traces, in the order of their arrival, continue a session. Where none is stated, a family's requests are one as long as
/// they follow each other.
fn continued(prompts: &[&Trace]) -> u64 {
    let mut last: BTreeMap<(bool, (bool, &str)), u64> = BTreeMap::new();
    let mut count = 0;
    for trace in prompts {
        let (is_stated, key) = match &trace.session {
            Some(session) => (true, (true, session.as_str())),
            None => (false, trace.family_key()),
        };
        if let Some(before) = last.insert((is_stated, key), trace.arrival_ms) {
            count += u64::from(is_stated || trace.arrival_ms.saturating_sub(before) <= SESSION_PAUSE_MS);
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: u64 = 60_000;

    fn trace(number: u64, arrival_ms: u64, family: Option<&str>, (input, candidate): (u64, u64)) -> Trace {
        Trace {
            id: format!("t{number}"),
            family: family.map(str::to_owned),
            arrival_ms,
            input_tokens: input,
            candidate_tokens: candidate,
            latency_ms: 1_000,
            ..Trace::default()
        }
    }

    /// So many requests of one family, at equal pauses, of which all but the first repeat a part of the input.
    fn family(count: u64, pause_ms: u64, repeated: u64) -> Vec<Trace> {
        let one = |number| {
            trace(number, number * pause_ms, Some("a"), (1_000, if number > 0 { repeated } else { 0 }))
        };
        (0..count).map(one).collect()
    }

    fn points(traces: &[Trace]) -> (u64, [u64; 6]) {
        let score = score(traces);
        (score.points, score.parts.map(|part| part.points))
    }

    #[test]
    fn golden_scores() {
        let alone: Vec<Trace> = (0..10).map(|n| trace(n, n * MINUTE, None, (1_000, 0))).collect();
        let streams = |traces: Vec<Trace>, ttft: u64| -> Vec<Trace> {
            traces.into_iter().map(|trace| Trace { ttft_ms: Some(ttft), ..trace }).collect()
        };
        let in_sessions: Vec<Trace> = family(10, 120 * MINUTE, 900)
            .into_iter()
            .map(|trace| Trace { session: Some("s".into()), ..trace })
            .collect();
        let cases: [(&str, Vec<Trace>, u64, [u64; 6]); 9] = [
            ("nothing", vec![], 0, [0; 6]),
            ("no prompt", vec![trace(1, 0, Some("a"), (0, 0))], 0, [0; 6]),
            ("nothing comes back", alone, 0, [0; 6]),
            ("an agent's loop", streams(family(10, MINUTE, 900), 600), 100, [30, 20, 15, 15, 10, 10]),
            ("the same, not streamed", family(10, MINUTE, 900), 85, [30, 20, 15, 0, 10, 10]),
            ("once an hour", family(10, 60 * MINUTE, 900), 67, [30, 20, 7, 0, 0, 10]),
            ("once in two hours", family(10, 120 * MINUTE, 900), 60, [30, 20, 0, 0, 0, 10]),
            ("the same in one session", in_sessions, 70, [30, 20, 0, 0, 10, 10]),
            ("a short prefix", streams(family(4, MINUTE, 200), 100), 53, [7, 18, 15, 3, 10, 0]),
        ];
        for (what, traces, whole, parts) in cases {
            assert_eq!(points(&traces), (whole, parts), "{what}");
        }
    }

    #[test]
    fn weights_add_up_to_a_hundred_and_bands_meet() {
        assert_eq!(Part::ALL.into_iter().map(Part::points_max).sum::<u64>(), 100);
        let bands: Vec<_> = [0, 19, 20, 44, 45, 69, 70, 100].map(|points| Band::of(points).as_str()).into();
        assert_eq!(bands, ["low", "low", "limited", "limited", "good", "good", "strong", "strong"]);
        for part in Part::ALL {
            assert_eq!(Part::from_name(part.as_str()), Some(part));
            assert_eq!(part.points(1, 0), 0);
            assert_eq!(part.points(u64::MAX, 1), part.points_max());
            assert_eq!(part.points(u64::MAX, u64::MAX), part.points_max());
        }
    }

    /// Family, arrival, input, candidate, first token, end, session and what was realized.
    type Drawn = (u64, u64, u64, u64, Option<u64>, u64, Option<u64>, u64);

    fn traces() -> impl Strategy<Value = Vec<Trace>> {
        let one = (
            0_u64..8,
            0_u64..10_000_000,
            0_u64..50_000,
            0_u64..60_000,
            prop::option::of(0_u64..20_000),
            0_u64..20_000,
            prop::option::of(0_u64..4),
            0_u64..70_000,
        );
        prop::collection::vec(one, 0..60).prop_map(|all| {
            let made = |(number, one): (usize, Drawn)| {
                let (
                    family,
                    arrival_ms,
                    input_tokens,
                    candidate_tokens,
                    ttft_ms,
                    latency_ms,
                    session,
                    realized_tokens,
                ) = one;
                Trace {
                    id: format!("t{number}"),
                    family: (family < 6).then(|| format!("f{family}")),
                    session: session.map(|session| format!("s{session}")),
                    arrival_ms,
                    input_tokens,
                    candidate_tokens,
                    ttft_ms,
                    latency_ms,
                    realized_tokens,
                    ..Trace::default()
                }
            };
            all.into_iter().enumerate().map(made).collect()
        })
    }

    proptest! {
        #[test]
        fn a_score_is_within_its_range_whatever_comes(traces in traces()) {
            let score = score(&traces);
            prop_assert!(score.points <= 100);
            prop_assert_eq!(score.band, Band::of(score.points));
            for part in score.parts {
                prop_assert!(part.points <= part.part.points_max());
                prop_assert!(part.numerator <= part.denominator, "{part:?}");
            }
        }

        #[test]
        fn the_order_of_traces_does_not_matter(traces in traces(), seed in any::<u64>()) {
            let mut other = traces.clone();
            other.sort_by_key(|trace| {
                trace.id.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
            });
            prop_assert_eq!(score(&other), score(&traces));
        }

        #[test]
        fn more_that_was_sent_before_never_lowers_it(traces in traces(), at in any::<prop::sample::Index>(), more in 0_u64..50_000) {
            prop_assume!(!traces.is_empty());
            let before = score(&traces);
            let mut traces = traces;
            let at = at.index(traces.len());
            traces[at].candidate_tokens += more;
            prop_assert!(score(&traces).points >= before.points);
        }

        #[test]
        fn what_was_realized_and_paid_changes_nothing(traces in traces(), realized in 0_u64..50_000) {
            let before = score(&traces);
            let other: Vec<_> = traces.into_iter().map(|trace| Trace { realized_tokens: realized, attempts: 9, ..trace }).collect();
            prop_assert_eq!(score(&other), before);
        }
    }
}
