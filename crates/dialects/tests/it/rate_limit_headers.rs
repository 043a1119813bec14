//! The tests of `dialects::rate_limit_headers`.

use dialects::{is_rate_limit_header, rate_limit_headers};
use domain::{Dialect, Grammar, RateLimitState, RateLimitStates};

#[test]
fn durations_are_written_as_the_vendor_does() {
    for (ms, text) in [
        (0, "0s"),
        (12, "12ms"),
        (1_000, "1s"),
        (1_500, "1.5s"),
        (59_999, "59.999s"),
        (360_000, "6m0s"),
        (61_020, "1m1.02s"),
    ] {
        let requests = Some(RateLimitState { limit: 1, remaining: 0, reset_ms: ms });
        let headers = rate_limit_headers(Dialect::Chat, &RateLimitStates { requests, tokens: None });
        let reset = headers.iter().find(|(name, _)| name == "x-ratelimit-reset-requests");
        assert_eq!(reset.unwrap().1, text);
    }
}

#[test]
fn a_clients_own_words_for_limits_are_known() {
    for (grammar, name, is_known) in [
        (Grammar::Chat, "X-RateLimit-Remaining-Tokens", true),
        (Grammar::Responses, "x-ratelimit-limit-requests", true),
        (Grammar::Chat, "anthropic-ratelimit-requests-limit", false),
        (Grammar::Anthropic, "anthropic-ratelimit-input-tokens-remaining", true),
        (Grammar::Anthropic, "x-ratelimit-limit-requests", false),
        (Grammar::Anthropic, "anthropic-organization-id", false),
        (Grammar::Gemini, "x-ratelimit-limit-requests", false),
    ] {
        assert_eq!(is_rate_limit_header(grammar, name.as_bytes()), is_known, "{grammar:?} {name}");
    }
}

#[test]
fn only_what_applies_is_told() {
    let requests = Some(RateLimitState { limit: 10, remaining: 3, reset_ms: 42_000 });
    let headers = rate_limit_headers(Dialect::Chat, &RateLimitStates { requests, tokens: None });
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!(
        headers,
        [
            ("x-ratelimit-limit-requests", "10"),
            ("x-ratelimit-remaining-requests", "3"),
            ("x-ratelimit-reset-requests", "42s"),
        ]
    );
    assert!(rate_limit_headers(Dialect::Run, &RateLimitStates::default()).is_empty());
}
