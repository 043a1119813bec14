//! `tidegate usage`: tokens and money over a window, grouped, filtered, and as a plot in the terminal.

use serde_json::{Value, json};

use super::request;
use crate::api::{self, Api};
use crate::output::{self, Failure, Form};
use crate::people;
use crate::shared::Shared;
use terminal::plot;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// 24h, 7d, 30d, month.
    #[arg(long, default_value = "30d")]
    window: String,
    /// What to group by: provider, model, mode, profile, key, project, environment, agent, adapter, task, `end_user`, `cache_tier`, day, hour, …
    #[arg(long = "by", value_delimiter = ',')]
    group_by: Vec<String>,
    /// A filter, as in the console: 'model:gpt-4o* -status:ok key:ci'.
    #[arg(long, allow_hyphen_values = true)]
    filter: Option<String>,
    /// Also shows speed and reliability.
    #[arg(long)]
    latency: bool,
    /// Shows the reuse of prompts instead: input, eligible, candidate, realized and missed tokens, and what they cost.
    #[arg(long)]
    reuse: bool,
    /// The column to plot over time: requests, `failed_requests`, `input_tokens`, `output_tokens`, `cost_micros`, ….
    #[arg(long, value_name = "COLUMN", num_args = 0..=1, default_missing_value = "requests")]
    plot: Option<String>,
}

/// All requests, the refused ones among them, and money that adds up: the spend is the cost that is owed and the bill of own
/// providers.
const SUMS: [&str; 8] = [
    "requests",
    "refused",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "spend_micros",
    "cost_micros",
    "your_providers_bill_micros",
];

/// The columns of the waterfall, from `reuse`.
const REUSE: [&str; 11] = [
    "requests",
    "input_tokens",
    "eligible_reuse_tokens",
    "candidate_reuse_tokens",
    "realized_reused_tokens",
    "missed_opportunity_tokens",
    "reuse_capture_rate",
    "gross_input_nanos",
    "reuse_credit_nanos",
    "processed_input_nanos",
    "evidence",
];

/// The rows with the columns of their reuse beside their own.
fn reuse_of(mut usage: Value) -> Value {
    for row in usage.get_mut("data").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(Value::Object(reuse)) = row.get_mut("reuse").map(Value::take) else { continue };
        if let Some(row) = row.as_object_mut() {
            row.extend(reuse);
        }
    }
    usage
}

/// The rows with the columns that are shown of sums beside their own.
fn sums_of(mut usage: Value) -> Value {
    for row in usage.get_mut("data").and_then(Value::as_array_mut).into_iter().flatten() {
        let number = |name: &str| row.get(name).and_then(Value::as_i64).unwrap_or(0);
        let (refused, bill) =
            (number("unattempted_requests"), number("spend_micros") - number("cost_micros"));
        let requests = number("requests") + refused;
        if let Some(row) = row.as_object_mut() {
            row.insert("requests".to_owned(), requests.into());
            row.insert("refused".to_owned(), refused.into());
            row.insert("your_providers_bill_micros".to_owned(), bill.into());
        }
    }
    usage
}

pub fn run(shared: &Shared, options: &Options) -> Result<(), Failure> {
    let filter = options.filter.as_deref().map(request::checked).transpose()?.unwrap_or_default();
    let noun = if options.latency { "analytics" } else { "usage" };
    let path = format!("/v2/{noun}?window={}{filter}", api::escape(&options.window));
    let groups = |names: &[String]| {
        if names.is_empty() { String::new() } else { format!("&group_by={}", api::escape(&names.join(","))) }
    };
    let api = Api::connect(shared)?;
    let usage = api.get(&format!("{path}{}", groups(&options.group_by)))?;
    let mut columns: Vec<&str> = options.group_by.iter().map(|name| column_of(name)).collect();
    columns.extend(if options.reuse { &REUSE[..] } else { &SUMS[..] });
    if options.latency {
        columns.extend([
            "success_rate",
            "uptime",
            "tokens_per_second",
            "latency_us",
            "time_to_first_byte_us",
        ]);
    }
    if shared.json {
        println!("{usage}");
        return Ok(());
    }
    let columns_of = if options.reuse { reuse_of } else { sums_of };
    let usage = columns_of(usage);
    output::list(shared, &usage, &columns, "Nothing was used in this window.");
    let Some(column) = options.plot.as_deref().filter(|_| shared.form() == Form::Table) else {
        return Ok(());
    };
    let dimensions: Vec<String> =
        options.group_by.iter().filter(|name| column_of(name) == name.as_str()).cloned().collect();
    // End users are summed by the day.
    let by_end_user = dimensions.iter().any(|name| name == "end_user");
    let interval = if is_short(&options.window) && !by_end_user { "hour" } else { "day" };
    let over_time = api.get(&format!("{path}{}&interval={interval}", groups(&dimensions)))?;
    draw(&columns_of(over_time), &dimensions, column, interval)
}

/// Time intervals are in the column of their start.
fn column_of(name: &str) -> &str {
    if matches!(name, "day" | "hour" | "minute") { "start" } else { name }
}

fn is_short(window: &str) -> bool {
    let hours = window.strip_suffix('h').and_then(|hours| hours.parse::<u32>().ok());
    let days = window.strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
    hours.is_some_and(|hours| hours <= 96) || days.is_some_and(|days| days <= 4)
}

fn draw(usage: &Value, dimensions: &[String], column: &str, interval: &str) -> Result<(), Failure> {
    let rows = usage.get("data").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let fields = rows.first().and_then(Value::as_object).into_iter().flatten();
    let numbers: Vec<&str> =
        fields.filter(|(_, value)| value.is_number()).map(|(name, _)| name.as_str()).collect();
    // The table's heads have no units.
    let is_meant = |name: &&&str| **name == column || people::head(name) == column.replace('_', " ");
    let found = numbers.iter().find(is_meant).copied();
    if found.is_none() && !rows.is_empty() {
        let message = format!("There is no column {column} to draw. Name one of {}.", numbers.join(", "));
        return Err(Failure::new(output::USAGE, message));
    }
    let column = found.unwrap_or(column);
    let text = |row: &Value, name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let points = rows.iter().map(|row| plot::Point {
        name: dimensions.iter().map(|dimension| output::cell(row, dimension)).collect::<Vec<_>>().join(" "),
        start: text(row, "start"),
        value: row.get(column).and_then(Value::as_i64).unwrap_or(0),
    });
    let span = [text(usage, "start"), text(usage, "end")];
    let write = |value: i64| {
        let cell = people::cell(&json!({column: value}), column, time::OffsetDateTime::UNIX_EPOCH);
        cell.unwrap_or_else(|| value.to_string())
    };
    for line in plot::lines(points.collect(), &span, interval, write) {
        println!("{}", output::printable(&line));
    }
    println!(
        "{} by {interval}, {} to {}, UTC",
        people::head(column),
        people::minute(&span[0]),
        people::minute(&span[1])
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_drawn_by_its_field_or_its_head() {
        let row =
            json!({"start": "2026-11-01T00:00:00Z", "requests": 3, "spend_micros": 9, "input_tokens": 1});
        let usage = json!({"start": "2026-11-01T00:00:00Z", "end": "2026-11-02T00:00:00Z", "data": [row]});
        for column in ["requests", "spend_micros", "spend", "input_tokens", "input tokens"] {
            assert!(draw(&usage, &[], column, "day").is_ok(), "{column}");
        }
        let message = draw(&usage, &[], "spent", "day").unwrap_err().message;
        assert!(message.contains("no column spent") && message.contains("spend_micros"), "{message}");
    }

    #[test]
    fn what_is_shown_of_sums_adds_up() {
        let row = json!({"requests": 663, "unattempted_requests": 29, "spend_micros": 2_498, "cost_micros": 920, "provider_cost_micros": 2_490});
        let table = sums_of(json!({"data": [row]}));
        let cells = SUMS.map(|name| table["data"][0].get(name).and_then(Value::as_i64));
        assert_eq!(cells, [Some(692), Some(29), None, None, None, Some(2_498), Some(920), Some(1_578)]);
    }
}
