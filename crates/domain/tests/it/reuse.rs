//! The tests of `domain::reuse`.

use domain::{InputCost, Price, Profile, PromptReuse, Rates, Usage, UsageSource, Waterfall};
use proptest::prelude::*;

const LONG: PromptReuse = PromptReuse {
    prompt_bytes: 8_000,
    seen_bytes: 4_000,
    tokens_min: 1_024,
    tokens_step: 128,
    is_unreported: false,
};

fn usage(input: u64, cached_read: u64) -> Usage {
    Usage { input, cached_read, source: UsageSource::Provider, ..Usage::default() }
}

fn counts(fall: Waterfall) -> [u64; 5] {
    [fall.input, fall.eligible, fall.candidate, fall.realized, fall.missed()]
}

#[test]
fn a_waterfall_is_the_providers_count_times_what_was_seen() {
    let short = PromptReuse { seen_bytes: 800, ..LONG };
    let cases = [
        (usage(2_100, 0), Some(LONG), [2_100, 2_048, 1_024, 0, 1_024]),
        (usage(1_076, 1_024), Some(LONG), [2_100, 2_048, 1_024, 1_024, 0]),
        // Half of it came before, but that is less than the cache takes.
        (usage(2_000, 0), Some(LONG), [2_000, 1_920, 0, 0, 0]),
        (usage(900, 0), Some(LONG), [900, 0, 0, 0, 0]),
        (usage(2_100, 0), Some(short), [2_100, 2_048, 0, 0, 0]),
        // The provider reused more than we saw: its word counts.
        (usage(52, 2_048), Some(LONG), [2_100, 2_048, 2_048, 2_048, 0]),
        (usage(100, 40), None, [140, 40, 40, 40, 0]),
        (usage(100, 0), None, [100, 0, 0, 0, 0]),
    ];
    for (usage, reuse, expected) in cases {
        assert_eq!(counts(Waterfall::of(&usage, reuse.as_ref())), expected, "{usage:?} {reuse:?}");
    }
    let ours = Usage { source: UsageSource::Estimate, ..usage(100, 40) };
    assert_eq!(Waterfall::of(&ours, None).realized, 0, "an estimate isn't evidence");
    assert!(Waterfall::of(&usage(52, 2_048), Some(&LONG)).is_raised);
}

#[test]
fn golden_bills_of_prompts() {
    let plain = Rates { input: Price(3_000_000), output: Price(15_000_000), ..Rates::default() };
    let (cache_write, cache_write_long) = (Some(Price(3_750_000)), Some(Price(6_000_000)));
    let claude = Rates { cached_read: Some(Price(300_000)), cache_write, cache_write_long, ..plain };
    let cost = |rates: &Rates, usage: &Usage| {
        let cost = rates.input_cost(usage);
        assert_eq!(cost.gross.0 - cost.reuse_credit().0, cost.processed.0);
        assert_eq!(rates.cost(usage).0, cost.processed.0 + rates.output.of(usage.output).0, "the receipt");
        (cost.gross.0, cost.reuse_credit().0, cost.processed.0, cost.write_premium.0)
    };
    let reads = Usage { input: 100, cached_read: 10_000, output: 7, ..Usage::default() };
    assert_eq!(cost(&claude, &reads), (30_300_000, 27_000_000, 3_300_000, 0), "ninety per cent less");
    let writes = Usage { input: 100, cache_write: 10_000, ..Usage::default() };
    assert_eq!(cost(&claude, &writes), (30_300_000, -7_500_000, 37_800_000, 7_500_000), "a quarter more");
    let long = Usage { cache_write: 0, cache_write_long: 10_000, ..writes };
    assert_eq!(cost(&claude, &long), (30_300_000, -30_000_000, 60_300_000, 30_000_000), "twice");
    let flex = claude.percent(50);
    assert_eq!(cost(&flex, &reads), (15_150_000, 13_500_000, 1_650_000, 0), "at half the price");
    let plain = Rates { cached_read: None, ..claude };
    assert_eq!(cost(&plain, &reads).1, 0, "no price for reads, no credit");
    assert_eq!(InputCost::of(Profile::Byoc, Some(&claude), &reads), InputCost::default());
    assert_eq!(InputCost::of(Profile::Byok, None, &reads), InputCost::default());
}

proptest! {
    #[test]
    fn each_count_is_part_of_the_one_before_it(
        tokens in prop::array::uniform6(0_u64..1 << 40),
        known in prop::option::of((any::<u64>(), any::<u64>(), 0_u64..9_000, 0_u64..300)),
        source in 0_usize..3,
    ) {
        let usage = Usage {
            input: tokens[0], cached_read: tokens[1], cache_write: tokens[2], cache_write_long: tokens[3],
            output: tokens[4], reasoning: tokens[5],
            source: [UsageSource::Provider, UsageSource::Estimate, UsageSource::None][source],
            ..Usage::default()
        };
        let reuse = known.map(|(prompt_bytes, seen_bytes, tokens_min, tokens_step)| PromptReuse {
            prompt_bytes, seen_bytes, tokens_min, tokens_step, is_unreported: false,
        });
        let fall = Waterfall::of(&usage, reuse.as_ref());
        prop_assert!(fall.input >= fall.eligible, "{fall:?}");
        prop_assert!(fall.eligible >= fall.candidate, "{fall:?}");
        prop_assert!(fall.candidate >= fall.realized, "{fall:?}");
        prop_assert_eq!(fall.missed(), fall.candidate - fall.realized);
        let reported = usage.source == UsageSource::Provider;
        prop_assert_eq!(fall.realized, if reported { usage.cached_read } else { 0 });
    }

    #[test]
    fn money_adds_up_to_the_receipt(
        tokens in prop::array::uniform6(0_u64..1 << 30),
        prices in prop::array::uniform6(0_u64..1 << 30),
        percent in 1_u16..300,
    ) {
        let rates = Rates {
            input: Price(prices[0] + 1), output: Price(prices[1]), cached_read: Some(Price(prices[2])),
            cache_write: Some(Price(prices[3])), cache_write_long: Some(Price(prices[4])),
            reasoning: Some(Price(prices[5])),
            ..Rates::default()
        }.percent(percent);
        let usage = Usage {
            input: tokens[0], cached_read: tokens[1], cache_write: tokens[2], cache_write_long: tokens[3],
            output: tokens[4], reasoning: tokens[5], ..Usage::default()
        };
        let cost = rates.input_cost(&usage);
        let completion = Usage { input: 0, cached_read: 0, cache_write: 0, cache_write_long: 0, ..usage };
        prop_assert_eq!(cost.processed.plus(rates.cost(&completion)), rates.cost(&usage));
        prop_assert_eq!(cost.gross.0 - cost.reuse_credit().0, cost.processed.0);
    }
}
