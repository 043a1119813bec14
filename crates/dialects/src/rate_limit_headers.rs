//! Rate limit headers in each dialect's own names: limit, remaining, reset.

use std::fmt::Write;

use crate::registry::client_face;
use crate::registry::face;
use domain::{Dialect, Grammar, RateLimitState, RateLimitStates};
use http::header::{HeaderName, HeaderValue};

/// The headers of the limits that apply; none where no limit does.
pub fn rate_limit_headers(dialect: Dialect, standings: &RateLimitStates) -> Vec<(HeaderName, HeaderValue)> {
    let names = client_face(dialect).facts().rate_limits;
    let mut headers = Vec::new();
    let mut tell = |names: &[HeaderName; 3], standing: Option<RateLimitState>, has_reset: bool| {
        let Some(standing) = standing else { return };
        let reset = has_reset.then(|| duration(standing.reset_ms));
        let values = [
            Some(HeaderValue::from(standing.limit)),
            Some(HeaderValue::from(standing.remaining)),
            reset.and_then(|reset| HeaderValue::try_from(reset).ok()),
        ];
        headers.extend(names.iter().zip(values).filter_map(|(name, value)| Some((name.clone(), value?))));
    };
    tell(names.requests, standings.requests, names.has_reset);
    tell(names.tokens, standings.tokens, names.has_reset);
    headers
}

/// Whether this is a provider's rate limit header in the names that clients of the dialect look for.
pub fn is_rate_limit_header(grammar: Grammar, name: &[u8]) -> bool {
    let Some(prefix) = face(grammar).facts().rate_limits.upstream else { return false };
    name.get(..prefix.len()).is_some_and(|begins| begins.eq_ignore_ascii_case(prefix))
}

/// A duration in Go's format: `12ms`, `1.5s`, `6m0s`.
fn duration(ms: u64) -> String {
    let mut text = String::new();
    let (minutes, rest) = (ms / 60_000, ms % 60_000);
    if ms > 0 && ms < 1_000 {
        return format!("{ms}ms");
    }
    if minutes > 0 {
        let _ = write!(text, "{minutes}m");
    }
    let _ = write!(text, "{}", rest / 1_000);
    if !rest.is_multiple_of(1_000) {
        let fraction = format!("{:03}", rest % 1_000);
        let _ = write!(text, ".{}", fraction.trim_end_matches('0'));
    }
    text.push('s');
    text
}
