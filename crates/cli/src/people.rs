//! Columns as people read them: money in dollars, times as how long ago they were, durations in a fitting unit. CSV and
//! JSON have the fields as the API sends them.

use std::borrow::Cow;

use domain::Nanos;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// What is further away than this is a date.
const COUNTED: u64 = 90 * DAY;

/// The end of a field's name is its unit.
#[derive(Clone, Copy)]
enum Unit {
    MicroDollars,
    NanoDollars,
    Moment,
    Microseconds,
    Milliseconds,
    /// 0 to 1.
    Share,
    /// A number of which one digit after the point is enough.
    Rate,
}

const UNITS: [(&str, Unit); 6] = [
    ("_micros", Unit::MicroDollars),
    ("_nanos", Unit::NanoDollars),
    ("_nano_usd", Unit::NanoDollars),
    ("_at", Unit::Moment),
    ("_us", Unit::Microseconds),
    ("_ms", Unit::Milliseconds),
];

/// Columns whose whole name says their unit.
const NAMED: [(&str, Unit); 4] = [
    ("success_rate", Unit::Share),
    ("uptime", Unit::Share),
    ("reuse_capture_rate", Unit::Share),
    ("tokens_per_second", Unit::Rate),
];

/// Amounts for something else, as `input_micros_per_million` has it.
const RATES: [(&str, Unit); 2] = [("micros_per_", Unit::MicroDollars), ("nano_usd_per_", Unit::NanoDollars)];

/// Who serves, as people say it: the API's words for the operator's accounts are older.
pub fn mode(word: &str) -> &str {
    match word {
        "managed_provider" | "mi" => "managed",
        other => other,
    }
}

/// A column's name without its unit, and the unit.
fn unit_of(column: &str) -> Option<(Cow<'_, str>, Unit)> {
    if let Some((_, unit)) = NAMED.iter().find(|(name, _)| *name == column) {
        return Some((column.into(), *unit));
    }
    for (end, unit) in UNITS {
        if let Some(name) = column.strip_suffix(end) {
            return Some((name.into(), unit));
        }
    }
    RATES.iter().find_map(|(rate, unit)| {
        let (before, per) = column.split_once(rate)?;
        Some((format!("{before}per_{per}").into(), *unit))
    })
}

/// A column's head: the field's name without its unit.
pub fn head(column: &str) -> String {
    unit_of(column).map_or(column.into(), |(name, _)| name).replace('_', " ")
}

/// A field's value in words of its unit; `None` where it has another form than its name promises.
pub fn cell(row: &Value, column: &str, now: OffsetDateTime) -> Option<String> {
    let value = row.get(column)?;
    match column {
        "profile" | "mode" => return value.as_str().map(|word| mode(word).to_owned()),
        "profiles" => {
            let words = value.as_array()?.iter().filter_map(Value::as_str).map(mode).collect::<Vec<_>>();
            return (!words.is_empty()).then(|| words.join(","));
        }
        _ => {}
    }
    let (_, unit) = unit_of(column)?;
    match unit {
        Unit::MicroDollars => value.as_i64().map(spend),
        Unit::NanoDollars => value.as_i64().map(spend_nanos),
        Unit::Moment => ago(value.as_str()?, now),
        Unit::Microseconds => value.as_u64().map(duration).or_else(|| percentiles(value)),
        Unit::Milliseconds => value.as_u64().map(|millis| duration(millis.saturating_mul(1_000))),
        Unit::Share => value.as_f64().map(percent),
        Unit::Rate => value.as_f64().map(|rate| format!("{rate:.1}")),
    }
}

/// A field that is an amount: its name without the unit, and dollars.
pub fn amount<'a>(name: &'a str, value: &Value) -> Option<(Cow<'a, str>, String)> {
    let (bare, unit) = unit_of(name)?;
    let write = match unit {
        Unit::MicroDollars => spend,
        Unit::NanoDollars => spend_nanos,
        _ => return None,
    };
    let text = if value.is_null() { "-".to_owned() } else { write(value.as_i64()?) };
    Some((bare, text))
}

fn percentiles(value: &Value) -> Option<String> {
    let text = |(name, micros): (&String, &Value)| Some(format!("{name} {}", duration(micros.as_u64()?)));
    Some(value.as_object()?.iter().filter_map(text).collect::<Vec<_>>().join(", "))
}

/// Two digits after the point where there is something to tell: 99.95 % is not all.
fn percent(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// The date and time of a moment, to the minute.
pub fn minute(moment: &str) -> String {
    moment.get(..16).unwrap_or(moment).replace('T', " ")
}

/// The calendar month of a moment, such as November 2026.
pub fn month(moment: &str) -> String {
    let at = OffsetDateTime::parse(moment, &Rfc3339);
    at.map_or_else(|_| moment.to_owned(), |at| format!("{} {}", at.month(), at.year()))
}

/// "3m ago", "in 2d", or the date where that is far away.
fn ago(moment: &str, now: OffsetDateTime) -> Option<String> {
    let at = OffsetDateTime::parse(moment, &Rfc3339).ok()?;
    let away = (now - at).whole_seconds();
    let text = match away.unsigned_abs() {
        seconds @ ..MINUTE => format!("{seconds}s"),
        seconds @ ..HOUR => format!("{}m", seconds / MINUTE),
        seconds @ ..DAY => format!("{}h", seconds / HOUR),
        seconds @ ..COUNTED => format!("{}d", seconds / DAY),
        _ => return Some(at.date().to_string()),
    };
    Some(if away < 0 { format!("in {text}") } else { format!("{text} ago") })
}

/// Microseconds as milliseconds, or as seconds where these are many.
pub fn duration(micros: u64) -> String {
    match micros / 1_000 {
        0 if micros > 0 => format!("0.{} ms", micros / 100),
        millis @ ..10_000 => format!("{millis} ms"),
        millis => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
    }
}

/// Micro-USD as dollars.
pub fn dollars(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let size = micros.unsigned_abs();
    format!("{sign}${}.{:06}", size / 1_000_000, size % 1_000_000)
}

/// Micro-USD for people: cents, and what is less than a dollar as exactly as it is known.
pub fn spend(micros: i64) -> String {
    Nanos(micros.saturating_mul(1_000)).to_string()
}

/// Like `spend`, for nano-USD.
fn spend_nanos(nanos: i64) -> String {
    if nanos.unsigned_abs() < 1_000_000_000 { nano_dollars(nanos) } else { spend(nanos / 1_000) }
}

/// Whether the provider's cost is the workspace's to pay, by the row's profile or mode: the operator pays for accounts.
pub fn is_own_bill(row: &Value, of: &str) -> bool {
    matches!(row.get(of).and_then(Value::as_str), Some("byok" | "subscription"))
}

/// An amount of an object, exactly, in the unit that its name ends with; a dash where there is none.
pub fn money(of: &Value, field: &str) -> String {
    let write = if field.ends_with("_nanos") { nano_dollars } else { dollars };
    of.get(field).and_then(Value::as_i64).map_or_else(|| "-".to_owned(), write)
}

/// Nano-USD as dollars, exactly.
pub fn nano_dollars(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let size = nanos.unsigned_abs();
    with_cents(&format!("{sign}${}.{:09}", size / 1_000_000_000, size % 1_000_000_000))
}

/// Without zeros at the end, but with two digits after the point.
fn with_cents(text: &str) -> String {
    let kept = text.trim_end_matches('0');
    let digits = kept.rsplit('.').next().map_or(0, str::len);
    format!("{kept}{}", "0".repeat(2_usize.saturating_sub(digits)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nano_dollars_keep_every_billionth() {
        for (nanos, text) in
            [(0, "$0.00"), (1, "$0.000000001"), (12_345_678_901, "$12.345678901"), (-500_000_000, "-$0.50")]
        {
            assert_eq!(nano_dollars(nanos), text, "{nanos}");
        }
    }

    #[test]
    fn a_month_is_named() {
        assert_eq!(month("2026-11-01T00:00:00Z"), "November 2026");
        assert_eq!(month("soon"), "soon");
    }

    #[test]
    fn heads_are_names_without_units() {
        for (column, expected) in [
            ("cost_micros", "cost"),
            ("created_at", "created"),
            ("input_tokens", "input tokens"),
            ("tokens_per_second", "tokens per second"),
            ("id", "id"),
        ] {
            assert_eq!(head(column), expected);
        }
    }

    #[test]
    fn cells_are_in_words_of_their_unit() {
        let now = OffsetDateTime::parse("2026-11-28T12:00:00Z", &Rfc3339).unwrap();
        let row = json!({"cost_micros": 1_250_000, "reuse_nanos": 12_345_000, "small_nanos": -1_500, "large_nano_usd": 12_345_678_901_i64, "latency_us": 412_900, "wait_ms": 61_500, "round_trip_us": 340,
            "created_at": "2026-11-28T11:57:10.123Z", "expires_at": "2026-12-07T12:00:00Z", "began_at": "2025-01-02T03:04:05Z", "ended_at": null,
            "seen_at": "soon", "first_us": {"p50": 2_100, "p95": 12_000_000}, "name": "x", "success_rate": 1.0, "uptime": 0.99951, "tokens_per_second": 71.25,
            "profile": "managed_provider", "mode": "mi", "profiles": ["byok", "managed_provider"]});
        for (column, expected) in [
            ("cost_micros", "$1.25"),
            ("reuse_nanos", "$0.012345"),
            ("small_nanos", "-$0.0000015"),
            ("large_nano_usd", "$12.35"),
            ("latency_us", "412 ms"),
            ("wait_ms", "61.5 s"),
            ("round_trip_us", "0.3 ms"),
            ("created_at", "2m ago"),
            ("expires_at", "in 9d"),
            ("began_at", "2025-01-02"),
            ("first_us", "p50 2 ms, p95 12.0 s"),
            ("success_rate", "100 %"),
            ("uptime", "99.95 %"),
            ("tokens_per_second", "71.2"),
            ("profile", "managed"),
            ("mode", "managed"),
            ("profiles", "byok,managed"),
        ] {
            assert_eq!(cell(&row, column, now).as_deref(), Some(expected), "{column}");
        }
        for column in ["ended_at", "seen_at", "name", "absent_at"] {
            assert_eq!(cell(&row, column, now), None, "{column}");
        }
    }
}
