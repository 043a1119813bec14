//! The rate limits that a provider reports in an answer's headers. The header names are few and shared by
//! many providers, so they are read for all of them.

use domain::{RateLimitState, RateLimitStates};

use crate::retry_after::{delay_ms, moment_unix_ms};

const COMMON: &[u8] = b"x-ratelimit-";
/// Anthropic's prefix: the limited quantity comes first in the name, and resets are timestamps instead of
/// durations.
const BY_MOMENT: &[u8] = b"anthropic-ratelimit-";
/// The longest known name, without its prefix, fits.
const NAME_BYTES: usize = 24;

/// What is known so far about one limit.
#[derive(Default)]
struct PartialLimit {
    limit: Option<u64>,
    remaining: Option<u64>,
    reset_ms: u64,
}

impl PartialLimit {
    /// Some providers send zeros and negative numbers where they know nothing.
    fn standing(&self) -> Option<RateLimitState> {
        let (limit, remaining) = (self.limit.filter(|limit| *limit > 0)?, self.remaining?);
        Some(RateLimitState { limit, remaining: remaining.min(limit), reset_ms: self.reset_ms })
    }
}

/// The rest of a header name after the prefix, in lower case.
fn below<'r>(name: &[u8], prefix: &[u8], buffer: &'r mut [u8; NAME_BYTES]) -> Option<&'r [u8]> {
    let rest = name.get(prefix.len()..)?;
    let begins = name.get(..prefix.len())?.eq_ignore_ascii_case(prefix);
    let buffer = buffer.get_mut(..rest.len()).filter(|_| begins)?;
    buffer.copy_from_slice(rest);
    buffer.make_ascii_lowercase();
    Some(buffer)
}

/// Reads an answer's headers in one pass.
pub fn read_rate_limits<'h>(
    headers: impl Iterator<Item = (&'h [u8], &'h [u8])>,
    unix_ms: impl Fn() -> u64,
) -> RateLimitStates {
    let (mut requests, mut tokens) = (PartialLimit::default(), PartialLimit::default());
    for (name, value) in headers {
        // The first byte rules out most headers.
        if !matches!(name.first(), Some(b'x' | b'X' | b'a' | b'A')) {
            continue;
        }
        let mut lowered = [0; NAME_BYTES];
        let Ok(value) = std::str::from_utf8(value) else { continue };
        if let Some(rest) = below(name, COMMON, &mut lowered) {
            match rest {
                b"limit-requests" => requests.limit = value.parse().ok(),
                b"remaining-requests" => requests.remaining = value.parse().ok(),
                b"reset-requests" => requests.reset_ms = delay_ms(value).unwrap_or_default(),
                b"limit-tokens" => tokens.limit = value.parse().ok(),
                b"remaining-tokens" => tokens.remaining = value.parse().ok(),
                b"reset-tokens" => tokens.reset_ms = delay_ms(value).unwrap_or_default(),
                _ => {}
            }
        } else if let Some(rest) = below(name, BY_MOMENT, &mut lowered) {
            let left = || moment_unix_ms(value).map_or(0, |moment| moment.saturating_sub(unix_ms()));
            match rest {
                b"requests-limit" => requests.limit = value.parse().ok(),
                b"requests-remaining" => requests.remaining = value.parse().ok(),
                b"requests-reset" => requests.reset_ms = left(),
                b"tokens-limit" => tokens.limit = value.parse().ok(),
                b"tokens-remaining" => tokens.remaining = value.parse().ok(),
                b"tokens-reset" => tokens.reset_ms = left(),
                _ => {}
            }
        }
    }
    RateLimitStates { requests: requests.standing(), tokens: tokens.standing() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(headers: &[(&str, &str)]) -> RateLimitStates {
        let headers = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        read_rate_limits(headers, || 1_795_166_357_000)
    }

    #[test]
    fn both_ways_of_telling_are_read() {
        let common = limits(&[
            ("content-type", "application/json"),
            ("X-RateLimit-Limit-Requests", "60"),
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-limit-tokens", "150000"),
            ("x-ratelimit-remaining-tokens", "149984"),
            ("x-ratelimit-reset-tokens", "6m0s"),
        ]);
        assert_eq!(common.requests, Some(RateLimitState { limit: 60, remaining: 59, reset_ms: 1_000 }));
        assert_eq!(
            common.tokens,
            Some(RateLimitState { limit: 150_000, remaining: 149_984, reset_ms: 360_000 })
        );
        let by_moment = limits(&[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "0"),
            ("anthropic-ratelimit-requests-reset", "2026-11-20T09:19:47Z"),
            ("anthropic-ratelimit-input-tokens-limit", "30000"),
        ]);
        assert_eq!(by_moment.requests, Some(RateLimitState { limit: 50, remaining: 0, reset_ms: 30_000 }));
        assert_eq!(by_moment.tokens, None);
    }

    #[test]
    fn what_tells_nothing_teaches_nothing() {
        for headers in [
            &[("x-ratelimit-limit-requests", "0"), ("x-ratelimit-remaining-requests", "0")][..],
            &[("x-ratelimit-limit-requests", "-1"), ("x-ratelimit-remaining-requests", "-1")],
            &[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "60s")],
            &[("x-ratelimit-limit-requests", "60")],
            &[("x-request-id", "req_1"), ("age", "0")],
        ] {
            assert_eq!(limits(headers), RateLimitStates::default(), "{headers:?}");
        }
    }
}
