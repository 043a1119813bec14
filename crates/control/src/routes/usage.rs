//! `/v2/usage` and `/v2/analytics`: sums over a window, grouped; the same columns as the billing snapshot.

use std::sync::Arc;

use domain::{Fault, Mode};
use http::Method;
use serde_json::{Map, Value, json};
use store::{Dimension, Interval, Percentiles, UsageFilter, UsageQuery, UsageRow, UsageSums, Window};

use crate::access::Access;
use crate::failure::{invalid, of_store};
use crate::filter::{self, Asked, Of};
use crate::reply::Page;
use crate::request::Ask;
use crate::router::{Handled, Route};
use crate::{Control, Reply, moment};

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v2/usage", Access::LOOK, usage),
        Route::new(Method::GET, "/v2/analytics", Access::LOOK, analytics),
    ]
}

const QUERY: &[&str] = &[
    "window",
    "start",
    "end",
    "group_by",
    "interval",
    "project_id",
    "key_id",
    "model",
    "provider",
    "profile",
    "mode",
    "environment",
    "tag",
    "filter",
    "format",
];

/// The columns that every sum has, wherever it is shown.
pub fn columns(sums: &UsageSums) -> Map<String, Value> {
    let columns = json!({
        "requests": sums.requests,
        "input_tokens": sums.input_tokens,
        "output_tokens": sums.output_tokens,
        "cached_tokens": sums.cached_tokens,
        "cost_micros": sums.cost.micros(),
        "provider_cost_micros": sums.provider_cost.micros(),
    });
    columns.as_object().cloned().unwrap_or_default()
}

fn whole_row(row: &UsageRow) -> Map<String, Value> {
    let mut fields = Map::new();
    if let Some(bucket) = row.bucket_unix_ms {
        fields.insert("start".into(), json!(moment::write(bucket)));
    }
    for (dimension, value) in &row.groups {
        fields.insert(dimension.as_str().into(), json!(value));
    }
    fields.extend(columns(&row.sums));
    let sums = &row.sums;
    for (name, count) in [
        ("reasoning_tokens", sums.reasoning_tokens),
        ("cache_write_tokens", sums.cache_write_tokens),
        ("realized_reused_tokens", sums.realized_reused_tokens),
        ("failed_requests", sums.failed),
        ("unattempted_requests", sums.unattempted),
        ("estimated_requests", sums.estimated),
        ("unpriced_requests", sums.unpriced),
        ("attempts", sums.attempts),
    ] {
        fields.insert(name.into(), json!(count));
    }
    fields
}

fn usage(control: &Arc<Control>, ask: Ask) -> Handled<'_> {
    Box::pin(async move {
        let (query, rows) = read(control, &ask).await?;
        let data: Vec<_> = rows.iter().map(|row| Value::Object(whole_row(row))).collect();
        answer(&ask, &query, data)
    })
}

/// Usage, and how fast and how reliably it was served.
fn analytics(control: &Arc<Control>, ask: Ask) -> Handled<'_> {
    Box::pin(async move {
        let (query, rows) = read(control, &ask).await?;
        let data = rows.iter().map(|row| {
            let mut fields = whole_row(row);
            let completed = row.sums.requests.saturating_sub(row.sums.failed);
            let rate = if row.sums.requests == 0 {
                Value::Null
            } else {
                json!(completed as f64 / row.sums.requests as f64)
            };
            fields.insert("success_rate".into(), rate);
            fields.insert("latency_us".into(), percentiles(row.latency));
            fields.insert("time_to_first_byte_us".into(), percentiles(row.first_byte));
            Value::Object(fields)
        });
        answer(&ask, &query, data.collect())
    })
}

fn percentiles(found: Option<Percentiles>) -> Value {
    found.map_or(Value::Null, |p| json!({"p50": p.p50_us, "p95": p.p95_us, "p99": p.p99_us}))
}

fn answer(ask: &Ask, query: &UsageQuery, data: Vec<Value>) -> Result<Reply, Box<Fault>> {
    let page = Page::whole(data);
    let format = ask.query.get("format").map(String::as_str);
    if format.is_some_and(|format| format != "json") {
        return Reply::list(format, &page);
    }
    Reply::json(&json!({
        "object": "usage",
        "start": moment::write(query.window.start_unix_ms),
        "end": moment::write(query.window.end_unix_ms),
        "data": page.data,
        "next_cursor": page.next_cursor,
        "has_more": page.has_more,
    }))
}

async fn read(control: &Control, ask: &Ask) -> Result<(UsageQuery, Vec<UsageRow>), Box<Fault>> {
    ask.only_query(QUERY)?;
    let (group_by, grouped_interval) = groups(ask)?;
    let interval = match ask.query.get("interval").map(String::as_str) {
        None => grouped_interval,
        Some("minute") => Some(Interval::Minute),
        Some("hour") => Some(Interval::Hour),
        Some("day") => Some(Interval::Day),
        Some(other) => {
            let message = format!("\"{other}\" is no interval.");
            return Err(invalid("interval", message, "Use minute, hour or day."));
        }
    };
    let asked = filter::read(control, ask, Of::Sums).await?;
    let window = within(ask, window(ask, control.world.clock.unix_ms())?, &asked);
    if interval == Some(Interval::Minute) && window.end_unix_ms - window.start_unix_ms > BY_MINUTE_MS_MAX {
        let message = "That is too long a window for minutes.";
        return Err(invalid("interval", message, "Ask for a day at most, or use hour or day."));
    }
    let query =
        UsageQuery { workspace: ask.workspace(), window, group_by, interval, filter: filter(ask, asked)? };
    let rows = control.store.records().usage(query.clone()).await.map_err(of_store)?;
    Ok((query, rows))
}

/// `group_by=model,day`: dimensions, and the interval that `day`, `hour` and `minute` stand for.
fn groups(ask: &Ask) -> Result<(Vec<Dimension>, Option<Interval>), Box<Fault>> {
    let mut interval = None;
    let mut dimensions = Vec::new();
    let wanted = ask.query.get("group_by").map_or("", String::as_str);
    for name in wanted.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        match name {
            "day" => interval = Some(Interval::Day),
            "hour" => interval = Some(Interval::Hour),
            "minute" => interval = Some(Interval::Minute),
            _ => match Dimension::from_name(name) {
                Some(dimension) => dimensions.push(dimension),
                None => {
                    let known: Vec<_> =
                        Dimension::ALL.iter().map(|d| d.as_str()).chain(["day", "hour", "minute"]).collect();
                    return Err(invalid(
                        "group_by",
                        format!("\"{name}\" is nothing to group by."),
                        format!("Use {}.", known.join(", ")),
                    ));
                }
            },
        }
    }
    if dimensions.len() > store::usage::GROUPS_MAX {
        let fix =
            format!("Group by at most {} of them at once, beside an interval.", store::usage::GROUPS_MAX);
        return Err(invalid("group_by", "That is too many dimensions.", fix));
    }
    Ok((dimensions, interval))
}

const HOUR_MS: u64 = 3_600_000;
/// A day, and the moment past now that a window ends at.
const BY_MINUTE_MS_MAX: u64 = 25 * HOUR_MS;

/// `start` and `end`, or `window`: hours, days, or the running month. A window ends a moment after now, so that what
/// just ended is in it.
fn window(ask: &Ask, now_unix_ms: u64) -> Result<Window, Box<Fault>> {
    let end_unix_ms = match ask.query.get("end") {
        Some(text) => moment::read(text, "end")?,
        None => now_unix_ms + HOUR_MS,
    };
    let start_unix_ms = match (ask.query.get("start"), ask.query.get("window").map(String::as_str)) {
        (Some(_), Some(_)) => {
            return Err(invalid("window", "window and start are both given.", "Give one of them."));
        }
        (Some(text), None) => moment::read(text, "start")?,
        (None, Some("month")) => moment::month_start(now_unix_ms),
        (None, named) => now_unix_ms.saturating_sub(length(named.unwrap_or("30d"))?),
    };
    if start_unix_ms >= end_unix_ms {
        return Err(invalid("start", "The window ends before it starts.", "Give a start before the end."));
    }
    Ok(Window { start_unix_ms, end_unix_ms })
}

/// The part of a window that the filter's own span leaves, empty where they don't meet; where no window is named, the
/// filter says when it begins.
fn within(ask: &Ask, window: Window, asked: &Asked) -> Window {
    let is_named = ["window", "start"].iter().any(|name| ask.query.contains_key(*name));
    let end_unix_ms = filter::earlier(Some(window.end_unix_ms), asked.until_unix_ms).unwrap_or(0);
    let start_unix_ms = match asked.since_unix_ms {
        Some(since) if is_named => since.max(window.start_unix_ms),
        Some(since) => since,
        None => window.start_unix_ms,
    };
    Window { start_unix_ms: start_unix_ms.min(end_unix_ms), end_unix_ms }
}

fn length(window: &str) -> Result<u64, Box<Fault>> {
    let hours = window.strip_suffix('h').map(|n| (n, HOUR_MS));
    let days = window.strip_suffix('d').map(|n| (n, 24 * HOUR_MS));
    hours
        .or(days)
        .and_then(|(number, unit)| {
            number.parse::<u64>().ok().filter(|n| (1..=10_000).contains(n)).map(|n| n * unit)
        })
        .ok_or_else(|| invalid("window", format!("\"{window}\" is no window."), "Use 24h, 7d, 30d or month."))
}

fn filter(ask: &Ask, asked: Asked) -> Result<UsageFilter, Box<Fault>> {
    let text = |name: &str| ask.query.get(name).cloned();
    let mode = match ask.query.get("mode") {
        None => None,
        Some(name) => Some(
            Mode::ALL
                .into_iter()
                .find(|mode| mode.as_str() == name)
                .ok_or_else(|| invalid("mode", format!("\"{name}\" is no mode."), "Use mi, byok or byoc."))?,
        ),
    };
    Ok(UsageFilter {
        project: parsed(ask, "project_id")?,
        key: parsed(ask, "key_id")?,
        model: text("model"),
        provider: text("provider"),
        profile: text("profile"),
        mode,
        environment: text("environment"),
        tag: text("tag"),
        terms: asked.terms,
    })
}

/// A query parameter that is an id.
pub fn parsed<T: std::str::FromStr>(ask: &Ask, name: &'static str) -> Result<Option<T>, Box<Fault>> {
    match ask.query.get(name) {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            invalid(name, format!("\"{text}\" is no id of this kind."), "Copy it from the list.")
        }),
    }
}
