//! Dear models for short answers to short prompts. It is a hint alone: nobody read the answers, and only a trial says whether a smaller
//! model gives as good ones.

use std::collections::BTreeMap;

use domain::money::with_markup;
use domain::{Nanos, Rates, Usage};

use crate::finding::{Finding, FindingKind, Gathered, Mend, Place, filter_of, place};
use crate::trace::Trace;

const INPUT_TOKENS_EASY: u64 = 2_000;
const OUTPUT_TOKENS_EASY: u64 = 64;
/// Output that costs this much in micro-USD a million tokens is dear: 5 USD.
const DEAR_OUTPUT_PRICE: u64 = 5_000_000;
/// The other model costs at most a third, or it is not worth a trial.
const CHEAPER_PART: i64 = 3;
/// Requests from which it is worth one.
const REQUESTS_MIN: u64 = 10;

fn usage(trace: &Trace) -> Usage {
    Usage { input: trace.input_tokens, output: trace.output_tokens, ..Usage::default() }
}

fn cost(rates: &Rates, trace: &Trace) -> Nanos {
    with_markup(rates.cost(&usage(trace)), trace.markup_bps)
}

/// What a request of ordinary shape costs, to compare models by.
fn weight(rates: &Rates) -> u64 {
    rates.input.0.saturating_mul(4).saturating_add(rates.output.0)
}

fn is_easy(trace: &Trace) -> bool {
    let has_tools = trace.booked.as_ref().and_then(|booked| booked.has_tools) == Some(true);
    !has_tools
        && (1..=INPUT_TOKENS_EASY).contains(&trace.input_tokens)
        && (1..=OUTPUT_TOKENS_EASY).contains(&trace.output_tokens)
}

/// Compares each dear model with the cheapest other one that the same workload uses already.
pub(super) fn dear(traces: &[Trace]) -> Vec<Finding> {
    let mut models: BTreeMap<&str, &Rates> = BTreeMap::new();
    for trace in traces.iter().filter(|trace| trace.output_tokens > 0) {
        if let Some(rates) = trace.rates.as_ref().filter(|rates| rates.input.0 > 0 && rates.output.0 > 0) {
            models.entry(&trace.target).or_insert(rates);
        }
    }
    let Some((cheapest, cheap)) = models.iter().min_by_key(|(name, rates)| (weight(rates), **name)) else {
        return Vec::new();
    };
    let mut places: BTreeMap<Place<'_>, Gathered> = BTreeMap::new();
    for trace in traces.iter().filter(|trace| is_easy(trace) && trace.target != **cheapest) {
        let Some(rates) = trace.rates.as_ref().filter(|rates| rates.output.0 >= DEAR_OUTPUT_PRICE) else {
            continue;
        };
        let (now, then) = (cost(rates, trace), cost(cheap, trace));
        if then.0.saturating_mul(CHEAPER_PART) <= now.0 {
            places.entry(place(trace)).or_default().add(trace, Nanos(now.0.saturating_sub(then.0)), 0, 0);
        }
    }
    let found = places.into_iter().filter(|(_, gathered)| gathered.count() >= REQUESTS_MIN);
    found.map(|(place, gathered)| finding(place, cheapest, gathered)).collect()
}

fn finding(place: Place<'_>, cheapest: &str, gathered: Gathered) -> Finding {
    let filter = format!("input:<={INPUT_TOKENS_EASY} output:<={OUTPUT_TOKENS_EASY}");
    Finding {
        kind: FindingKind::ModelSize,
        subject: place.1.to_owned(),
        sentence: format!(
            "{} short requests without tools got answers of at most {OUTPUT_TOKENS_EASY} tokens from {}. If {cheapest} answers them as well, which only a trial shows, they cost this much less.",
            gathered.count(),
            place.1
        ),
        money: gathered.money,
        waited_ms: 0,
        requests: gathered.count(),
        filter: filter_of(place, &filter),
        mend: Mend {
            sentence: format!(
                "Have these requests name an alias that sends a tenth of them to {cheapest}, and compare the answers."
            ),
            page: "/aliases".to_owned(),
            command: Some(format!("tidegate alias add NAME --target {}=9 --target {cheapest}=1", place.1)),
        },
        examples: gathered.examples(),
    }
}

#[cfg(test)]
mod tests {
    use domain::Price;

    use super::*;

    fn rates(input: u64, output: u64) -> Rates {
        Rates { input: Price(input), output: Price(output), ..Rates::default() }
    }

    fn traces(count: u64, output_tokens: u64) -> Vec<Trace> {
        let one = |number: u64, target: &str, rates: Rates| Trace {
            id: format!("{target}{number}"),
            target: target.into(),
            input_tokens: 1_000,
            output_tokens,
            rates: Some(rates),
            ..Trace::default()
        };
        let dear = (0..count).map(|number| one(number, "dear", rates(5_000_000, 25_000_000)));
        dear.chain([one(0, "small", rates(250_000, 2_000_000))]).collect()
    }

    #[test]
    fn a_dear_model_is_compared_with_the_cheapest_in_use() {
        let found = dear(&traces(10, 20));
        let [finding] = found.as_slice() else { panic!("{found:?}") };
        // (1,000 × 5 + 20 × 25) − (1,000 × 0.25 + 20 × 2) = 5,210 micro-USD each.
        assert_eq!((finding.money.micros(), finding.requests), (52_100, 10));
        assert!(finding.sentence.contains("small") && finding.sentence.contains("trial"));
        assert_eq!(dear(&traces(9, 20)), [], "too few");
        assert_eq!(dear(&traces(10, 65)), [], "long answers");
        let mut alone = traces(10, 20);
        alone.pop();
        assert_eq!(dear(&alone), [], "nothing to compare with");
    }
}
