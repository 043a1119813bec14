//! The tests of `domain::subscription`.

use domain::{UsageWindow, WindowUse};

const HOUR_MS: u64 = 3_600_000;

#[test]
fn spans_follow_each_other_from_the_stated_start() {
    let window = UsageWindow { hours: 5, starts_unix_ms: 1_000, requests: Some(2), tokens: None };
    for (now, start) in [
        (0, 1_000),
        (1_000, 1_000),
        (1_000 + 5 * HOUR_MS - 1, 1_000),
        (1_000 + 5 * HOUR_MS, 1_000 + 5 * HOUR_MS),
        (1_000 + 17 * HOUR_MS, 1_000 + 15 * HOUR_MS),
    ] {
        assert_eq!((window.start(now), window.end(now)), (start, start + 5 * HOUR_MS), "{now}");
    }
    let used = |requests, tokens| WindowUse { requests, tokens };
    assert!(!window.is_used_up(used(1, u64::MAX)) && window.is_used_up(used(2, 0)));
    let of_tokens = UsageWindow { requests: None, tokens: Some(10), ..window };
    assert!(!of_tokens.is_used_up(used(9, 9)) && of_tokens.is_used_up(used(0, 10)));
}
