//! What was measured of both sides, and whether the candidate keeps to the gates.

use crate::agreement::Agreement;
use crate::gates::{GateName, GateResult, Gates, Verdict, bps};
use crate::statistics::{self, Bounds, percentile, percentile_bounds};
use crate::trace::Pair;

const PERCENT: u64 = 100;

/// A percentile, and where the true one lies with 95 % of confidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    pub percent: u64,
    pub value_us: u64,
    pub low_us: u64,
    pub high_us: u64,
}

/// The times of both sides, over the requests that both answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Times {
    pub requests: u64,
    pub baseline: Vec<Spread>,
    pub candidate: Vec<Spread>,
}

/// How much was to be carried, and how much was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// The tokens of the busiest minute of all requests that the set stands for.
    pub recorded_tokens_per_minute: u64,
    /// What the candidate answered in a minute: the least that it can carry.
    pub replayed_tokens_per_minute: u64,
}

/// Everything that a report tells of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    pub verdict: Verdict,
    pub gates: Vec<GateResult>,
    pub requests: u64,
    pub errors: u64,
    pub first_token: Times,
    pub total: Times,
    /// Of the requests whose price is known on both sides.
    pub priced: u64,
    pub baseline_cost_nanos: u64,
    pub candidate_cost_nanos: u64,
    pub baseline_output_tokens: u64,
    pub candidate_output_tokens: u64,
    pub baseline_prompt_tokens: u64,
    pub candidate_prompt_tokens: u64,
    /// Of the requests whose answers could be compared.
    pub compared: u64,
    pub same: u64,
    pub overlap_bps: Option<u64>,
    /// Of the requests whose answers were embedded.
    pub embedded: u64,
    pub similarity_bps: Option<u64>,
    /// Of the requests that a judge compared.
    pub judged: u64,
    pub as_good: u64,
    pub load: Load,
}

/// Judges what was measured. The same pairs and seed give the same judgement.
pub fn judge(pairs: &[Pair], load: Load, gates: &Gates, seed: u64) -> Judgement {
    let answered: Vec<&Pair> = pairs.iter().filter(|pair| !pair.candidate.is_error).collect();
    let sides = Sides::of(&answered);
    let (requests, errors) = (pairs.len() as u64, (pairs.len() - answered.len()) as u64);
    let results = results(pairs, &answered, &sides, load, gates, seed);
    let sum = |of: fn(&Pair) -> u64| answered.iter().map(|pair| of(pair)).sum();
    Judgement {
        verdict: verdict(&results),
        gates: results,
        requests,
        errors,
        first_token: times(&sides.first_token),
        total: times(&sides.total),
        priced: sides.cost.len() as u64,
        baseline_cost_nanos: sides.cost.iter().map(|(before, _)| before).sum(),
        candidate_cost_nanos: sides.cost.iter().map(|(_, after)| after).sum(),
        baseline_output_tokens: sum(|pair| pair.baseline.output_tokens),
        candidate_output_tokens: sum(|pair| pair.candidate.output_tokens),
        baseline_prompt_tokens: sum(|pair| pair.baseline.prompt_tokens),
        candidate_prompt_tokens: sum(|pair| pair.candidate.prompt_tokens),
        compared: sides.compared.len() as u64,
        same: sides.compared.iter().filter(|one| one.is_same).count() as u64,
        overlap_bps: mean(&sides.overlap()).map(bps),
        embedded: sides.similarity().len() as u64,
        similarity_bps: mean(&sides.similarity()).map(bps),
        judged: sides.judged().0,
        as_good: sides.judged().1,
        load,
    }
}

/// What is compared, with both sides of each request together.
struct Sides {
    first_token: Vec<(u64, u64)>,
    total: Vec<(u64, u64)>,
    cost: Vec<(u64, u64)>,
    output: Vec<(u64, u64)>,
    compared: Vec<Agreement>,
}

impl Sides {
    fn of(answered: &[&Pair]) -> Self {
        let first = |pair: &&Pair| pair.baseline.first_token_us.zip(pair.candidate.first_token_us);
        let nanos = |cost: i64| u64::try_from(cost).unwrap_or(0);
        let cost = |pair: &&Pair| {
            pair.baseline
                .cost_nanos
                .zip(pair.candidate.cost_nanos)
                .map(|(one, other)| (nanos(one), nanos(other)))
        };
        Self {
            first_token: answered.iter().filter_map(first).collect(),
            total: answered.iter().map(|pair| (pair.baseline.total_us, pair.candidate.total_us)).collect(),
            cost: answered.iter().filter_map(cost).collect(),
            output: answered
                .iter()
                .map(|pair| (pair.baseline.output_tokens, pair.candidate.output_tokens))
                .collect(),
            compared: answered.iter().filter_map(|pair| pair.agreement).collect(),
        }
    }

    /// Each beside all words.
    fn overlap(&self) -> Vec<(u64, u64)> {
        self.compared.iter().map(|one| (10_000, u64::from(one.overlap_bps))).collect()
    }

    fn similarity(&self) -> Vec<(u64, u64)> {
        let each = |one: &Agreement| Some((10_000, u64::from(one.similarity_bps?)));
        self.compared.iter().filter_map(each).collect()
    }

    /// How many a judge compared, and found at least as good.
    fn judged(&self) -> (u64, u64) {
        let judged = self.compared.iter().filter_map(|one| one.is_as_good);
        judged.fold((0, 0), |(all, good), is_as_good| (all + 1, good + u64::from(is_as_good)))
    }
}

fn results(
    pairs: &[Pair],
    answered: &[&Pair],
    sides: &Sides,
    load: Load,
    gates: &Gates,
    seed: u64,
) -> Vec<GateResult> {
    let limit = |percent: u32| u64::from(percent) * PERCENT;
    let mut results = vec![enough(answered.len() as u64, gates.requests_min)];
    // Where nothing streams, nobody waits for a first token.
    let streams = pairs.iter().any(|pair| pair.baseline.first_token_us.is_some());
    if let Some(percent) = gates.first_token_p95_percent_max.filter(|_| streams) {
        let bounds = of_enough(&sides.first_token, gates, |pairs| statistics::ratio_of_p95(pairs, seed));
        let why = "too few streams were answered on both sides";
        results.push(GateResult::at_most(GateName::FirstToken, limit(percent), bounds, why));
    }
    if let Some(percent) = gates.total_p95_percent_max {
        let bounds = of_enough(&sides.total, gates, |pairs| statistics::ratio_of_p95(pairs, seed));
        let why = "too few requests were answered";
        results.push(GateResult::at_most(GateName::Total, limit(percent), bounds, why));
    }
    if let Some(most) = gates.error_bps_max {
        let failed = (pairs.len() - answered.len()) as u64;
        let bounds = statistics::share(failed, pairs.len() as u64);
        results.push(GateResult::at_most(GateName::Errors, u64::from(most), bounds, "nothing was sent"));
    }
    if let Some(percent) = gates.cost_percent_max {
        let is_whole = sides.cost.len() == answered.len();
        let bounds = of_enough(&sides.cost, gates, |pairs| statistics::ratio_of_sums(pairs, seed));
        let why = "the price of some requests is not known: say what the hardware costs with candidate.cost_per_hour_micros, \
                   price the model, or leave out the gate";
        results.push(GateResult::at_most(GateName::Cost, limit(percent), bounds.filter(|_| is_whole), why));
    }
    if let Some(percent) = gates.agreement_percent_min {
        let bounds = of_enough(&sides.overlap(), gates, |pairs| statistics::ratio_of_sums(pairs, seed));
        let why = "too few answers are kept: a run of synthetic content tells nothing of agreement";
        results.push(GateResult::at_least(GateName::Agreement, limit(percent), bounds, why));
    }
    results.extend(compared_by_models(sides, gates, seed));
    // Embeddings are answers without a token.
    let writes = pairs.iter().any(|pair| pair.baseline.output_tokens > 0);
    if let Some(percent) = gates.output_percent_min.filter(|_| writes) {
        let bounds = of_enough(&sides.output, gates, |pairs| statistics::ratio_of_sums(pairs, seed));
        let why = "too few requests were answered";
        results.push(GateResult::at_least(GateName::Output, limit(percent), bounds, why));
    }
    results.extend(gates.headroom_percent_min.map(|percent| headroom(load, limit(percent))));
    results
}

/// What an embedding model and a judge say, where the gates want to know it.
fn compared_by_models(sides: &Sides, gates: &Gates, seed: u64) -> Vec<GateResult> {
    let mut results = Vec::new();
    if let Some(percent) = gates.similarity_percent_min {
        let bounds = of_enough(&sides.similarity(), gates, |pairs| statistics::ratio_of_sums(pairs, seed));
        let why = "too few answers were embedded: it needs kept content, and an embedding_model that answers";
        results.push(GateResult::at_least(GateName::Similarity, u64::from(percent) * PERCENT, bounds, why));
    }
    if let Some(percent) = gates.judged_percent_min {
        let (judged, good) = sides.judged();
        let is_enough = judged >= u64::from(gates.requests_min);
        let bounds = statistics::share(good, judged).filter(|_| is_enough);
        let why =
            "too few answers were judged: it needs kept content, and a judge_model that says which is better";
        results.push(GateResult::at_least(GateName::Judged, u64::from(percent) * PERCENT, bounds, why));
    }
    results
}

/// The bounds of a 95th percentile of a few requests say nothing.
fn of_enough(
    pairs: &[(u64, u64)],
    gates: &Gates,
    bounds: impl Fn(&[(u64, u64)]) -> Option<Bounds>,
) -> Option<Bounds> {
    if pairs.len() < gates.requests_min as usize { None } else { bounds(pairs) }
}

fn enough(answered: u64, least: u32) -> GateResult {
    let least = u64::from(least);
    let verdict = if answered >= least { Verdict::Passed } else { Verdict::Inconclusive };
    GateResult {
        gate: GateName::Requests,
        verdict,
        limit: least,
        measured: Some(answered),
        low: None,
        high: None,
        reason: format!("{answered} requests were answered, and {least} are needed"),
    }
}

/// What was carried is the least that can be, so that less than enough proves nothing against the candidate.
fn headroom(load: Load, limit: u64) -> GateResult {
    let Load { recorded_tokens_per_minute: recorded, replayed_tokens_per_minute: replayed } = load;
    let Some(measured) = replayed.saturating_mul(10_000).checked_div(recorded) else {
        return GateResult::unknown(GateName::Headroom, limit, "the recorded requests have no tokens");
    };
    let is_enough = measured >= limit;
    let found = format!("{replayed} tokens a minute were carried, and the busiest minute had {recorded}");
    GateResult {
        gate: GateName::Headroom,
        verdict: if is_enough { Verdict::Passed } else { Verdict::Inconclusive },
        limit,
        measured: Some(measured),
        low: Some(measured),
        high: None,
        reason: if is_enough { found } else { format!("{found}. Run it faster, or with more at once") },
    }
}

fn verdict(results: &[GateResult]) -> Verdict {
    let any = |verdict: Verdict| results.iter().any(|result| result.verdict == verdict);
    if any(Verdict::Failed) {
        Verdict::Failed
    } else if any(Verdict::Inconclusive) {
        Verdict::Inconclusive
    } else {
        Verdict::Passed
    }
}

fn times(pairs: &[(u64, u64)]) -> Times {
    let mut sides: (Vec<u64>, Vec<u64>) = pairs.iter().copied().unzip();
    sides.0.sort_unstable();
    sides.1.sort_unstable();
    Times { requests: pairs.len() as u64, baseline: spreads(&sides.0), candidate: spreads(&sides.1) }
}

fn spreads(sorted: &[u64]) -> Vec<Spread> {
    let spread = |percent: usize| {
        let (low_us, high_us) = percentile_bounds(sorted, percent)?;
        let value_us = percentile(sorted, percent)?;
        Some(Spread { percent: percent as u64, value_us, low_us, high_us })
    };
    [50, 95, 99].into_iter().filter_map(spread).collect()
}

#[expect(clippy::cast_precision_loss, reason = "hundredths of a per cent are small")]
fn mean(overlap: &[(u64, u64)]) -> Option<f64> {
    let (all, shared) = overlap.iter().fold((0_u64, 0_u64), |(all, sum), (of, one)| (all + of, sum + one));
    (all > 0).then(|| shared as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agreement::agreement;
    use crate::trace::Measured;

    fn side(first: u64, total: u64, cost: Option<i64>) -> Measured {
        Measured {
            first_token_us: Some(first),
            total_us: total,
            is_error: false,
            cost_nanos: cost,
            prompt_tokens: 10,
            output_tokens: 20,
        }
    }

    fn set(count: u64, candidate: impl Fn(u64) -> Measured) -> Vec<Pair> {
        let pair = |at| Pair {
            baseline: side(100_000 + at, 1_000_000 + at, Some(1_000)),
            candidate: candidate(at),
            agreement: None,
        };
        (0..count).map(pair).collect()
    }

    const LOAD: Load = Load { recorded_tokens_per_minute: 100, replayed_tokens_per_minute: 150 };

    fn verdict_of(judgement: &Judgement, gate: GateName) -> Option<Verdict> {
        judgement.gates.iter().find(|result| result.gate == gate).map(|result| result.verdict)
    }

    #[test]
    fn a_candidate_that_is_as_good_passes_every_gate() {
        let pairs = set(400, |at| side(90_000 + at, 900_000 + at, Some(500)));
        let judged = judge(&pairs, LOAD, &Gates::default(), 7);
        assert_eq!(judged.verdict, Verdict::Passed, "{:?}", judged.gates);
        assert_eq!((judged.requests, judged.errors, judged.priced), (400, 0, 400));
        assert_eq!((judged.baseline_cost_nanos, judged.candidate_cost_nanos), (400_000, 200_000));
        assert_eq!(judged.total.baseline[1].percent, 95);
        assert_eq!(judged, judge(&pairs, LOAD, &Gates::default(), 7), "it follows from the seed");
    }

    #[test]
    fn each_gate_refuses_what_it_is_about() {
        let good = |at| side(90_000 + at, 900_000 + at, Some(500));
        let least = Some(50);
        let gates = Gates {
            agreement_percent_min: least,
            similarity_percent_min: least,
            judged_percent_min: least,
            ..Gates::default()
        };
        let agreeing = |mut pairs: Vec<Pair>, overlap: u32| {
            let agreement = Agreement {
                overlap_bps: overlap,
                similarity_bps: Some(overlap),
                is_as_good: Some(overlap > 5_000),
                ..agreement("", "")
            };
            pairs.iter_mut().for_each(|pair| pair.agreement = Some(agreement));
            pairs
        };
        let check = |pairs: Vec<Pair>, load, gate, expected| {
            let judged = judge(&pairs, load, &gates, 7);
            assert_eq!(verdict_of(&judged, gate), Some(expected), "{:?}", judged.gates);
            assert_ne!(judged.verdict, Verdict::Passed);
        };
        let (failed, open) = (Verdict::Failed, Verdict::Inconclusive);
        let late = |at| side(900_000 + at, 900_000 + at, Some(500));
        check(agreeing(set(400, late), 9_000), LOAD, GateName::FirstToken, failed);
        let slow = |at| side(90_000 + at, 9_000_000 + at, Some(500));
        check(agreeing(set(400, slow), 9_000), LOAD, GateName::Total, failed);
        let dear = |at| side(90_000 + at, 900_000 + at, Some(5_000));
        check(agreeing(set(400, dear), 9_000), LOAD, GateName::Cost, failed);
        let unpriced = |at| side(90_000 + at, 900_000 + at, (at > 0).then_some(500));
        check(agreeing(set(400, unpriced), 9_000), LOAD, GateName::Cost, open);
        let broken = |at| Measured { is_error: at % 10 == 0, ..good(at) };
        check(agreeing(set(400, broken), 9_000), LOAD, GateName::Errors, failed);
        let terse = |at| Measured { output_tokens: 2, ..good(at) };
        check(agreeing(set(400, terse), 9_000), LOAD, GateName::Output, failed);
        for gate in [GateName::Agreement, GateName::Similarity, GateName::Judged] {
            check(agreeing(set(400, good), 1_000), LOAD, gate, failed);
            check(set(400, good), LOAD, gate, open);
        }
        let agreed = judge(&agreeing(set(400, good), 9_000), LOAD, &gates, 7);
        assert_eq!(agreed.verdict, Verdict::Passed, "{:?}", agreed.gates);
        assert_eq!((agreed.embedded, agreed.judged, agreed.as_good), (400, 400, 400));
        let small = Load { replayed_tokens_per_minute: 99, ..LOAD };
        check(agreeing(set(400, good), 9_000), small, GateName::Headroom, open);
        check(agreeing(set(150, good), 9_000), LOAD, GateName::Requests, open);
    }

    #[test]
    fn nothing_proves_nothing() {
        let judged = judge(&[], Load::default(), &Gates::default(), 7);
        assert_eq!(judged.verdict, Verdict::Inconclusive);
        assert!(judged.total.baseline.is_empty());
    }

    #[test]
    fn where_nothing_streams_nobody_waits_for_a_first_token() {
        let mut pairs = set(400, |at| side(0, 900_000 + at, Some(500)));
        for pair in &mut pairs {
            (pair.baseline.first_token_us, pair.candidate.first_token_us) = (None, None);
        }
        let judged = judge(&pairs, LOAD, &Gates::default(), 7);
        assert_eq!((judged.verdict, verdict_of(&judged, GateName::FirstToken)), (Verdict::Passed, None));
    }
}
