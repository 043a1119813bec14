//! Timestamps as the API and webhooks write them: RFC 3339 in UTC, to the millisecond.

use domain::{Fault, FaultClass, Period};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// `2026-11-20T08:00:00.000Z`.
pub fn write(unix_ms: u64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000)
        .ok()
        .and_then(|moment| moment.format(&format).ok())
        .unwrap_or_default()
}

/// Reads any RFC 3339 timestamp, or a bare date as its midnight in UTC.
///
/// # Errors
/// A 400 that names the field.
pub fn read(text: &str, field: &'static str) -> Result<u64, Box<Fault>> {
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    OffsetDateTime::parse(&whole, &Rfc3339)
        .ok()
        .and_then(|moment| u64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok())
        .ok_or_else(|| {
            Box::new(
                Fault::new(
                    FaultClass::BadRequest,
                    "invalid_value",
                    format!("{field} isn't a date or time: \"{text}\"."),
                )
                .param(field)
                .fix("Write it as 2026-11-20T08:00:00Z, or as 2026-11-20 for the start of that day in UTC."),
            )
        })
}

/// `90s`, `30m`, `24h`, `7d`, `2w` before now.
pub fn ago(text: &str, now_unix_ms: u64) -> Option<u64> {
    let units = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400), ("w", 7 * 86_400)];
    let seconds = units.into_iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(seconds)
    })?;
    Some(now_unix_ms.saturating_sub(seconds.checked_mul(1_000)?))
}

/// The start of the month (UTC) that contains `unix_ms`; budgets and invoices use the same months.
pub const fn month_start(unix_ms: u64) -> u64 {
    Period::Month.start(unix_ms)
}

/// The start of the following month.
pub fn next_month(month_start_unix_ms: u64) -> u64 {
    // 32 days on is always in the next month.
    month_start(month_start_unix_ms.saturating_add(32 * 86_400_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let text = write(1_763_625_600_123);
        assert_eq!(text, "2025-11-20T08:00:00.123Z");
        assert_eq!(read(&text, "since").unwrap(), 1_763_625_600_123);
        assert_eq!(read("2025-11-20", "since").unwrap(), 1_763_596_800_000);
        assert_eq!(read("yesterday", "since").unwrap_err().param.as_deref(), Some("since"));
    }

    #[test]
    fn a_time_ago_is_counted_from_now() {
        assert_eq!(
            (ago("24h", 90_000_000), ago("90s", 90_000), ago("1w", 5)),
            (Some(3_600_000), Some(0), Some(0))
        );
        assert_eq!((ago("24", 0), ago("-1h", 0), ago("99999999999999999999d", 0)), (None, None, None));
    }

    #[test]
    fn a_month_starts_on_its_first() {
        assert_eq!(write(month_start(1_763_625_600_123)), "2025-11-01T00:00:00.000Z");
    }
}
