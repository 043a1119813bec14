//! Moments as exports write them, in UTC: of RFC 3339 and without its zone, days alone, and Unix seconds.

use domain::calendar::Civil;

/// A moment in Unix seconds; fractions of a second are cut off.
pub fn read(text: &str) -> Option<u64> {
    let text = text.trim();
    if text.len() >= 9 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|seconds| *seconds < 253_402_300_800);
    }
    let (date, rest) = match text.find(['T', ' ']) {
        Some(at) => (text.get(..at)?, text.get(at + 1..)?),
        None => (text, ""),
    };
    let (year, month, day) = date_of(date)?;
    let (hour, minute, second, offset_s) = time_of(rest)?;
    let unix_s = Civil { year, month, day, hour, minute, second }.unix_s()?;
    unix_s.checked_add_signed(-offset_s)
}

fn number(text: &str) -> Option<u64> {
    if text.is_empty() || text.len() > 4 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// `2026-01-31` or, as tables of the United States have it, `01/31/2026`.
fn date_of(text: &str) -> Option<(u64, u64, u64)> {
    let mut parts = text.split(['-', '/']).map(number);
    let (first, second, third) = (parts.next()??, parts.next()??, parts.next()??);
    let ends = parts.next().is_none();
    let date = if text.contains('/') { (third, first, second) } else { (first, second, third) };
    ends.then_some(date)
}

/// The time of day with the seconds that its zone is ahead of UTC.
fn time_of(text: &str) -> Option<(u64, u64, u64, i64)> {
    if text.is_empty() {
        return Some((0, 0, 0, 0));
    }
    let text = text.strip_suffix("UTC").unwrap_or(text).trim_end();
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (clock, offset_s) = match text.rfind(['+', '-']) {
        Some(at) => (text.get(..at)?, offset_of(text.get(at..)?)?),
        None => (text, 0),
    };
    let clock = clock.split('.').next()?;
    let mut parts = clock.split(':').map(number);
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    parts.next().is_none().then_some((hour, minute, second, offset_s))
}

fn offset_of(text: &str) -> Option<i64> {
    let (sign, rest) = (if text.starts_with('-') { -1 } else { 1 }, text.get(1..)?);
    let digits: String = rest.chars().filter(|c| *c != ':').collect();
    let hours = number(digits.get(..2)?)?;
    let minutes = if digits.len() > 2 { number(digits.get(2..)?)? } else { 0 };
    i64::try_from(hours * 3_600 + minutes * 60).ok().filter(|s| *s <= 86_400).map(|s| s * sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_in_utc() {
        for (text, expected) in [
            ("1767225600", Some(1_767_225_600)),
            ("2026-01-01", Some(1_767_225_600)),
            ("01/01/2026", Some(1_767_225_600)),
            ("2026-01-01T00:00:00Z", Some(1_767_225_600)),
            ("2026-01-01T01:00:00+01:00", Some(1_767_225_600)),
            ("2025-12-31 16:00:00-0800", Some(1_767_225_600)),
            ("2026-01-01 00:00:00 UTC", Some(1_767_225_600)),
            ("2026-01-01T00:00:00.999999Z", Some(1_767_225_600)),
            ("2026-01-01 00:00", Some(1_767_225_600)),
            ("2026-02-30", None),
            ("2026-01-01T25:00:00Z", None),
            ("yesterday", None),
            ("2026", None),
            ("", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
