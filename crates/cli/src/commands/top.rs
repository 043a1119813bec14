//! `tidegate top`: what is being served, by model or another dimension, refreshed until interrupted.

use std::cmp::Reverse;
use std::io::IsTerminal;
use std::time::Duration;

use serde_json::Value;

use super::adapters::rows_of;
use super::request;
use crate::api::{Api, escape};
use crate::limits::TOP_ROWS_MAX;
use crate::output::{self, Failure, Form};
use crate::people;
use crate::shared::Shared;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// What to group rows by: model, provider, credential, node, key, project, profile, mode, …
    #[arg(long, default_value = "model")]
    by: String,
    /// The number of minutes to sum up.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1_440))]
    minutes: u64,
    /// A filter, as in the console: 'model:gpt-4o* -status:ok key:ci'.
    #[arg(long, allow_hyphen_values = true)]
    filter: Option<String>,
    /// Prints the table once and exits, which is also what happens when the output is not a terminal.
    #[arg(long)]
    once: bool,
}

const REFRESH_EVERY: Duration = Duration::from_secs(2);
/// Moves the cursor home and clears what is below it.
const CLEAR: &str = "\u{1b}[H\u{1b}[J";

pub fn run(shared: &Shared, options: &Options) -> Result<(), Failure> {
    let filter = format!("{} since:{}m", options.filter.as_deref().unwrap_or_default(), options.minutes);
    let filter = request::checked(filter.trim())?;
    let path = format!("/v2/analytics?group_by={}{filter}", escape(&options.by));
    let api = Api::connect(shared)?;
    let is_live = shared.form() == Form::Table && std::io::stdout().is_terminal() && !options.once;
    loop {
        match api.get(&path) {
            Ok(page) if is_live => {
                print!("{CLEAR}");
                show(&page, options);
            }
            Ok(page) if shared.form() == Form::Table => show(&page, options),
            Ok(page) => output::list(shared, &page, &[options.by.as_str(), "requests", "spend_micros"], ""),
            // A gateway that restarts is polled again.
            Err(away) if is_live && away.code == output::UNAVAILABLE => eprintln!("{}", away.message),
            Err(refused) => return Err(refused),
        }
        if !is_live || !api.rest(REFRESH_EVERY) {
            return Ok(());
        }
    }
}

fn show(page: &Value, options: &Options) {
    let minutes = options.minutes;
    let mut rows: Vec<&Value> = rows_of(page, "data").iter().collect();
    rows.sort_by_key(|row| Reverse(all_requests(row)));
    let all: u64 = rows.iter().map(|row| all_requests(row)).sum();
    let unit = if minutes == 1 { "minute" } else { "minutes" };
    println!("{all} requests in the last {minutes} {unit}, {} a minute", a_minute(all, minutes));
    if rows.is_empty() {
        return;
    }
    let head =
        [options.by.as_str(), "req/min", "out tok/s", "failed", "p50", "p95", "first byte p95", "spend"];
    let cells: Vec<_> = rows.iter().take(TOP_ROWS_MAX).map(|row| cells(row, &options.by, minutes)).collect();
    output::table(&head, &cells);
    if let Some(left_out) = rows.len().checked_sub(TOP_ROWS_MAX).filter(|count| *count > 0) {
        println!("and {left_out} more: narrow them down by --filter");
    }
}

fn cells(row: &Value, by: &str, minutes: u64) -> Vec<String> {
    let took = |field: &str, percentile: &str| {
        row.get(field)
            .and_then(|all| all.get(percentile))
            .and_then(Value::as_u64)
            .map_or("-".to_owned(), people::duration)
    };
    let failed = (number(row, "failed_requests") * 100).checked_div(number(row, "requests"));
    vec![
        output::cell(row, by),
        a_minute(all_requests(row), minutes),
        (number(row, "output_tokens") / (minutes * 60)).to_string(),
        failed.map_or("-".to_owned(), |percent| format!("{percent} %")),
        took("latency_us", "p50"),
        took("latency_us", "p95"),
        took("time_to_first_byte_us", "p95"),
        output::spend(row.get("spend_micros").and_then(Value::as_i64).unwrap_or(0)),
    ]
}

/// The refused ones among them, as everywhere.
fn all_requests(row: &Value) -> u64 {
    number(row, "requests") + number(row, "unattempted_requests")
}

fn number(row: &Value, name: &str) -> u64 {
    row.get(name).and_then(Value::as_u64).unwrap_or(0)
}

/// To one decimal, as most models serve fewer than ten requests a minute.
fn a_minute(requests: u64, minutes: u64) -> String {
    let tenths = requests * 10 / minutes;
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_has_rates_times_and_money() {
        let row = json!({"model": "echo", "requests": 12, "failed_requests": 3, "output_tokens": 36_000,
            "latency_us": {"p50": 412_900, "p95": 12_340_000, "p99": 1}, "time_to_first_byte_us": null, "spend_micros": 1_250_000});
        let expected = ["echo", "2.4", "120", "25 %", "412 ms", "12.3 s", "-", "$1.25"];
        assert_eq!(cells(&row, "model", 5), expected);
        let refused = json!({"model": "echo", "requests": 0, "unattempted_requests": 12});
        assert_eq!(cells(&refused, "model", 5)[1..4], ["2.4", "0", "-"]);
        let nothing = json!({"model": null, "requests": 0});
        assert_eq!(cells(&nothing, "model", 1), ["-", "0.0", "0", "-", "-", "-", "-", "$0.00"]);
    }
}
