//! What a node's tokens cost, and what a provider would have charged for the same ones.

use domain::money::round_half_even;
use domain::{Nanos, Rates};

use crate::hours::Counts;

const DAY_MS: i128 = 86_400_000;
const MILLION: i128 = 1_000_000;

/// What was served, added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    pub requests: u64,
    /// Whole prompts, what was cached included.
    pub input_tokens: u64,
    pub cached_tokens: u64,
    /// Whole answers, reasoning included.
    pub output_tokens: u64,
    /// The time that each request took, added up; zero if it is not known.
    pub took_ms: u64,
}

/// The part of some work whose prompts were so long that a provider charges more for all of it.
#[derive(Debug, Clone, Copy)]
pub struct LongWork<'r> {
    pub work: Work,
    pub rates: &'r Rates,
}

/// What a provider would have charged for some work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    pub cost: Nanos,
    pub per_million: Option<Nanos>,
    /// With as many tokens a day, in the same mix, the provider costs as much as the hardware does. `None` if the provider costs
    /// nothing.
    pub break_even_tokens_per_day: Option<u64>,
}

impl Work {
    pub const fn tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    pub fn plus(&mut self, other: &Self) {
        let add = |to: &mut u64, more: u64| *to = to.saturating_add(more);
        add(&mut self.requests, other.requests);
        add(&mut self.input_tokens, other.input_tokens);
        add(&mut self.cached_tokens, other.cached_tokens);
        add(&mut self.output_tokens, other.output_tokens);
        add(&mut self.took_ms, other.took_ms);
    }

    /// The same on average for each day.
    pub fn tokens_per_day(&self, period_ms: u64) -> Option<u64> {
        let tokens = i128::from(self.tokens()) * DAY_MS;
        whole(tokens.checked_div(i128::from(period_ms))?)
    }

    /// How many tokens the node would serve a day if it was always as busy as it was while it was busy.
    pub fn tokens_per_busy_day(&self, counts: &Counts) -> Option<u64> {
        whole((i128::from(self.tokens()) * DAY_MS).checked_div(i128::from(counts.busy_ms))?)
    }

    /// This work without a part of it.
    fn without(&self, part: &Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(part.requests),
            input_tokens: self.input_tokens.saturating_sub(part.input_tokens),
            cached_tokens: self.cached_tokens.saturating_sub(part.cached_tokens),
            output_tokens: self.output_tokens.saturating_sub(part.output_tokens),
            took_ms: self.took_ms.saturating_sub(part.took_ms),
        }
    }

    /// What it would have cost at these prices, with as much of it cached as was here.
    fn cost_at(&self, rates: &Rates) -> Nanos {
        let cached = self.cached_tokens.min(self.input_tokens);
        rates
            .input
            .of(self.input_tokens - cached)
            .plus(rates.cached_read.unwrap_or(rates.input).of(cached))
            .plus(rates.output.of(self.output_tokens))
    }
}

fn whole(value: i128) -> Option<u64> {
    u64::try_from(value).ok()
}

/// The cost of a million tokens, if there were any.
pub fn per_million(cost: Nanos, tokens: u64) -> Option<Nanos> {
    let rounded = (tokens > 0).then(|| round_half_even(i128::from(cost.0) * MILLION, tokens.into()))?;
    i64::try_from(rounded).ok().map(Nanos)
}

/// What the work would have cost at a provider, beside what the hardware cost over this period.
pub fn compare(
    hardware: Nanos,
    period_ms: u64,
    work: &Work,
    rates: &Rates,
    long: Option<LongWork<'_>>,
) -> Comparison {
    let cost = match long {
        Some(long) => work.without(&long.work).cost_at(rates).plus(long.work.cost_at(long.rates)),
        None => work.cost_at(rates),
    };
    let a_day = i128::from(hardware.0) * DAY_MS;
    let a_day = a_day.checked_div(i128::from(period_ms));
    let break_even = a_day.and_then(|a_day| {
        let tokens = a_day.checked_mul(i128::from(work.tokens()))?.checked_div(i128::from(cost.0))?;
        whole(tokens)
    });
    Comparison { cost, per_million: per_million(cost, work.tokens()), break_even_tokens_per_day: break_even }
}

/// A cost by shares; the sum stays the same. Without any weight the first has it all.
pub fn split(cost: Nanos, weights: &[u64]) -> Vec<Nanos> {
    let total: i128 = weights.iter().map(|weight| i128::from(*weight)).sum();
    // Where a product would have more bits than there are, the last bits of the weights are of no consequence.
    let most = i128::MAX / (i128::from(cost.0) + 1).max(1);
    let shift = (0..u64::BITS).find(|shift| total >> shift <= most).unwrap_or(0);
    let total: i128 = weights.iter().map(|weight| i128::from(*weight >> shift)).sum();
    let (mut weight_before, mut given) = (0_i128, 0_i128);
    let shares = weights.iter().enumerate().map(|(place, weight)| {
        weight_before += i128::from(*weight >> shift);
        let until = match (i128::from(cost.0) * weight_before).checked_div(total) {
            Some(until) => until,
            None if place == 0 => i128::from(cost.0),
            None => given,
        };
        let share = until - given;
        given = until;
        Nanos(i64::try_from(share).unwrap_or(i64::MAX))
    });
    shares.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Price;
    use proptest::prelude::*;

    const DAY: u64 = 86_400_000;

    fn rates(input: u64, cached_read: Option<u64>, output: u64) -> Rates {
        Rates {
            input: Price(input),
            output: Price(output),
            cached_read: cached_read.map(Price),
            ..Rates::default()
        }
    }

    fn work(input_tokens: u64, cached_tokens: u64, output_tokens: u64) -> Work {
        Work { requests: 1, input_tokens, cached_tokens, output_tokens, took_ms: 0 }
    }

    #[test]
    fn at_the_load_of_a_day_the_provider_and_the_break_even_are_known() {
        // Three million tokens a day on a machine of 6 USD a day: 2 USD a million.
        let load = work(2_000_000, 500_000, 1_000_000);
        let hardware = Nanos(6_000_000_000);
        assert_eq!(per_million(hardware, load.tokens()), Some(Nanos(2_000_000_000)));
        // 1.5 at 0.20, 0.5 at 0.10, 1 at 0.65 USD a million: 1 USD for three million tokens.
        let found = compare(hardware, DAY, &load, &rates(200_000, Some(100_000), 650_000), None);
        assert_eq!(found.cost, Nanos(1_000_000_000));
        assert_eq!(found.per_million, Some(Nanos(333_333_333)));
        assert_eq!(found.break_even_tokens_per_day, Some(18_000_000), "six times as many");
        let half =
            compare(Nanos(3_000_000_000), DAY / 2, &load, &rates(200_000, Some(100_000), 650_000), None);
        assert_eq!(half.break_even_tokens_per_day, Some(18_000_000), "the same within half a day");
    }

    #[test]
    fn long_prompts_cost_what_the_provider_charges_for_them_and_move_the_break_even() {
        let (load, short) = (work(2_000_000, 500_000, 1_000_000), rates(200_000, Some(100_000), 650_000));
        let dear = rates(400_000, Some(200_000), 1_300_000);
        let all = LongWork { work: load, rates: &dear };
        let found = compare(Nanos(6_000_000_000), DAY, &load, &short, Some(all));
        assert_eq!((found.cost, found.break_even_tokens_per_day), (Nanos(2_000_000_000), Some(9_000_000)));
        // Half of the prompts, and a tenth of the answers.
        let some = LongWork { work: work(1_000_000, 500_000, 100_000), rates: &dear };
        let found = compare(Nanos(6_000_000_000), DAY, &load, &short, Some(some));
        // 1 at 0.20 and 0.9 at 0.65; 0.5 at 0.40, 0.5 at 0.20 and 0.1 at 1.30.
        assert_eq!(found.cost, Nanos(200_000_000 + 585_000_000 + 200_000_000 + 100_000_000 + 130_000_000));
        let none = LongWork { work: Work::default(), rates: &dear };
        assert_eq!(
            compare(Nanos(5), DAY, &load, &short, Some(none)),
            compare(Nanos(5), DAY, &load, &short, None)
        );
        let more = LongWork { work: work(9_000_000, 9_000_000, 9_000_000), rates: &short };
        assert!(
            compare(Nanos(5), DAY, &load, &short, Some(more)).cost.0 > 0,
            "an hour that is rounded has no less than nothing"
        );
    }

    #[test]
    fn what_can_not_be_divided_is_not_told() {
        let nothing = compare(Nanos(5), DAY, &Work::default(), &rates(1, None, 1), None);
        assert_eq!(
            (nothing.cost, nothing.per_million, nothing.break_even_tokens_per_day),
            (Nanos::ZERO, None, None)
        );
        let free = compare(Nanos(5), DAY, &work(10, 0, 10), &rates(0, None, 0), None);
        assert_eq!(free.break_even_tokens_per_day, None);
        assert_eq!(
            compare(Nanos(5), 0, &work(10, 0, 10), &rates(1, None, 1), None).break_even_tokens_per_day,
            None
        );
        assert_eq!(work(1, 0, 1).tokens_per_busy_day(&Counts::default()), None);
        assert_eq!(
            work(1, 0, 1).tokens_per_busy_day(&Counts { busy_ms: DAY / 2, ..Counts::default() }),
            Some(4)
        );
        assert_eq!(work(6, 0, 1).tokens_per_day(DAY / 2), Some(14));
    }

    #[test]
    fn a_cost_without_weights_is_the_first_ones() {
        assert_eq!(split(Nanos(7), &[0, 0]), [Nanos(7), Nanos(0)]);
        assert_eq!(split(Nanos(7), &[]), []);
        assert_eq!(split(Nanos(10), &[1, 2, 1]), [Nanos(2), Nanos(5), Nanos(3)]);
        let half = Nanos(i64::MAX / 2);
        assert_eq!(split(Nanos(i64::MAX), &[u64::MAX, u64::MAX]), [half, Nanos(i64::MAX - half.0)]);
    }

    proptest! {
        #[test]
        fn shares_add_up(cost in 0_i64..=i64::MAX, weights in prop::collection::vec(0_u64..=u64::MAX, 1..20)) {
            let shares = split(Nanos(cost), &weights);
            prop_assert_eq!(shares.iter().map(|share| i128::from(share.0)).sum::<i128>(), i128::from(cost));
            prop_assert!(shares.iter().all(|share| share.0 >= 0));
        }

        #[test]
        fn at_the_break_even_both_cost_the_same(
            hardware in 1_i64..1_000_000_000_000,
            input in 1_u64..1_000_000_000,
            output in 1_u64..1_000_000_000,
            price in 1_000_u64..100_000_000,
        ) {
            let load = work(input, 0, output);
            let found = compare(Nanos(hardware), DAY, &load, &rates(price, None, price), None);
            let tokens = found.break_even_tokens_per_day.unwrap();
            let there = i128::from(price) * i128::from(tokens) / 1_000;
            // Rounding: one token less than exact, and half a nano of the provider's cost over the load.
            let slack = i128::from(price) / 1_000 + 1 + i128::from(tokens) / i128::from(load.tokens()).max(1);
            prop_assert!((there - i128::from(hardware)).abs() <= slack, "{} and {}", there, hardware);
        }
    }
}
