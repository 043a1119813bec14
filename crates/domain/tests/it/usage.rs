//! The tests of `domain::usage`.

use domain::{Tier, Units, Usage, UsageSource};

fn again(usage: Usage) -> Usage {
    serde_json::from_value(serde_json::to_value(usage).unwrap()).unwrap()
}

#[test]
fn a_tier_and_hosted_calls_are_kept_and_nothing_is_written_where_there_are_none() {
    let plain = Usage { input: 7, source: UsageSource::Provider, ..Usage::default() };
    assert_eq!(serde_json::to_value(plain).unwrap()["source"], "Provider");
    assert_eq!(again(plain), plain);
    let searches = Units { web_searches: 2, file_searches: 3, ..Units::default() };
    let units = Units { hosted_calls: 4, cache_token_hours: 5, ..searches };
    for tier in Tier::ALL {
        for units in [Units::default(), units] {
            let usage = Usage { units, tier: Some(tier), ..plain };
            assert_eq!(again(usage), usage);
        }
    }
}

#[test]
fn stored_tokens_are_counted_by_the_hour_and_rounded_up() {
    let (hour, most) = (3_600_000, u64::MAX);
    let cases =
        [(4_096, hour, 4_096), (4_096, 300_000, 342), (1, 1, 1), (0, hour, 0), (9, 0, 0), (most, most, most)];
    for (tokens, duration_ms, expected) in cases {
        let counted = Units::stored(tokens, duration_ms).cache_token_hours;
        assert_eq!(counted, expected, "{tokens} {duration_ms}");
    }
}

#[test]
fn a_tier_of_a_newer_version_is_one_without_a_price() {
    let known = Usage { tier: Some(Tier::Flex), source: UsageSource::Provider, ..Usage::default() };
    let mut stored = serde_json::to_value(known).unwrap();
    let number = &mut stored["source"]["ProviderAnd"][1][0][1];
    assert!(number.is_number(), "{number}");
    *number = 200.into();
    assert_eq!(serde_json::from_value::<Usage>(stored).unwrap().tier, Some(Tier::Other));
}
