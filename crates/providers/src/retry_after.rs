//! Parses the headers that say when an upstream may be retried.

use std::time::UNIX_EPOCH;

use domain::calendar::Civil;
use domain::limits::UPSTREAM_WAIT_MS_MAX;
use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

/// The wait in `retry-after-ms` or `retry-after`, which is in seconds or a date. A date is relative to
/// `now_unix_ms`, or to the answer's own `date`, which comes from the same clock.
pub fn retry_after_ms(headers: &HeaderMap, now_unix_ms: Option<u64>) -> Option<u64> {
    if let Some(wait) = text(headers, "retry-after-ms").and_then(|value| parse_ms(value, 1.0)) {
        return Some(wait);
    }
    let value = text(headers, RETRY_AFTER.as_str())?;
    if let Some(wait) = parse_ms(value, 1000.0) {
        return Some(wait);
    }
    let now = now_unix_ms.or_else(|| text(headers, DATE.as_str()).and_then(date_unix_ms))?;
    Some(date_unix_ms(value)?.saturating_sub(now).min(UPSTREAM_WAIT_MS_MAX))
}

/// The time until the exhausted limits reset: the longer of those with nothing remaining.
pub(crate) fn reset_ms(headers: &HeaderMap) -> Option<u64> {
    ["requests", "tokens"]
        .iter()
        .filter(|what| text(headers, &format!("x-ratelimit-remaining-{what}")) == Some("0"))
        .filter_map(|what| text(headers, &format!("x-ratelimit-reset-{what}")).and_then(duration_ms))
        .max()
}

/// The time until a header's RFC 3339 timestamp, by the answer's own clock.
pub(crate) fn until_ms(headers: &HeaderMap, name: &str) -> Option<u64> {
    let now = text(headers, DATE.as_str()).and_then(date_unix_ms)?;
    Some(moment_unix_ms(text(headers, name)?)?.saturating_sub(now).min(UPSTREAM_WAIT_MS_MAX))
}

/// Parses `2026-11-20T09:19:17Z`, with or without a fraction. No provider writes another time zone.
pub(crate) fn moment_unix_ms(text: &str) -> Option<u64> {
    let (day, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut day = day.split('-').map(str::parse::<u64>);
    let mut time = time.split('.').next()?.split(':').map(str::parse::<u64>);
    let next = |parts: &mut dyn Iterator<Item = Result<u64, _>>| parts.next().and_then(Result::ok);
    let (year, month, day) = (next(&mut day)?, next(&mut day)?, next(&mut day)?);
    let (hour, minute, second) = (next(&mut time)?, next(&mut time)?, next(&mut time)?);
    Some(Civil { year, month, day, hour, minute, second }.unix_s()? * 1_000)
}

/// Parses a duration such as `34.07s`, as some providers write it in a body.
pub(crate) fn delay_ms(text: &str) -> Option<u64> {
    duration_ms(text)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// A decimal number of units, as whole milliseconds, rounded up.
fn parse_ms(value: &str, unit_ms: f64) -> Option<u64> {
    if !value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let wait = (value.parse::<f64>().ok()? * unit_ms).ceil();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded on both sides just here"
    )]
    let wait = wait.clamp(0.0, 30.0 * 24.0 * 3600.0 * 1000.0) as u64;
    Some(wait)
}

/// Parses a duration such as `6m0s`, `12ms` or `1h2m3.5s`.
fn duration_ms(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit)?;
        let unit_ms = match unit {
            "h" => 3_600_000.0,
            "m" => 60_000.0,
            "s" => 1000.0,
            "ms" => 1.0,
            "us" | "µs" => 0.001,
            "ns" => 0.000_001,
            _ => return None,
        };
        total = total.saturating_add(parse_ms(number, unit_ms)?);
        rest = tail;
    }
    (!text.is_empty()).then_some(total.min(UPSTREAM_WAIT_MS_MAX))
}

/// Parses an HTTP date, such as `Fri, 20 Nov 2026 09:18:47 GMT`.
fn date_unix_ms(text: &str) -> Option<u64> {
    let since_1970 = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since_1970.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| ((*name).parse().expect("a name"), HeaderValue::from_static(value)))
            .collect()
    }

    fn check(pairs: &[(&'static str, &'static str)], expected: Option<u64>) {
        assert_eq!(retry_after_ms(&headers(pairs), None), expected, "{pairs:?}");
    }

    #[test]
    fn seconds_milliseconds_and_dates() {
        check(&[], None);
        check(&[("retry-after", "20")], Some(20_000));
        check(&[("retry-after", " 0.5 ")], Some(500));
        check(&[("retry-after", "20"), ("retry-after-ms", "150")], Some(150));
        check(&[("retry-after", "99999999999999999999")], Some(UPSTREAM_WAIT_MS_MAX));
        for wrong in ["", "-1", "soon", "1e9", "Fri, 99 Nov 2026 09:18:47 GMT", "Fri, 20 Nov 2026 09:18:47"] {
            let mut headers = headers(&[("date", "Fri, 20 Nov 2026 09:18:47 GMT")]);
            headers.insert("retry-after", HeaderValue::from_str(wrong).expect("a value"));
            assert_eq!(retry_after_ms(&headers, None), None, "{wrong}");
        }
    }

    #[test]
    fn a_date_counts_from_the_answers_own_clock() {
        let later = ("retry-after", "Fri, 20 Nov 2026 09:19:17 GMT");
        check(&[later, ("date", "Fri, 20 Nov 2026 09:18:47 GMT")], Some(30_000));
        check(&[later, ("date", "Fri, 20 Nov 2026 09:20:00 GMT")], Some(0));
        check(&[later], None);
        assert_eq!(retry_after_ms(&headers(&[later]), Some(1_795_166_356_000)), Some(1000));
    }

    #[test]
    fn known_dates() {
        assert_eq!(date_unix_ms("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(date_unix_ms("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777_000));
        assert_eq!(date_unix_ms("Thu, 29 Feb 2024 23:59:59 GMT"), Some(1_709_251_199_000));
    }

    #[test]
    fn resets_count_where_nothing_remains() {
        let used_up = headers(&[
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "6m0s"),
            ("x-ratelimit-remaining-tokens", "12"),
            ("x-ratelimit-reset-tokens", "1h"),
        ]);
        assert_eq!(reset_ms(&used_up), Some(360_000));
        assert_eq!(reset_ms(&headers(&[("x-ratelimit-reset-requests", "6m0s")])), None);
        assert_eq!(duration_ms("12ms"), Some(12));
        assert_eq!(duration_ms("1h2m3.5s"), Some(3_723_500));
        assert_eq!(duration_ms("34.07s"), Some(34_070));
        for wrong in ["", "s", "5", "5x", "-1", "m5"] {
            assert_eq!(duration_ms(wrong), None, "{wrong}");
        }
    }
}
