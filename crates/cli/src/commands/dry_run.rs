//! What `tidegate route try` and `tidegate alias try` have in common: which stored requests are compared, and the answer for
//! people.

use serde_json::Value;

use super::request::checked;
use crate::api::Api;
use crate::output::{self, Failure, Form};
use crate::shared::Shared;

#[derive(Debug, clap::Args)]
pub struct Sample {
    /// Compares requests since this time: a timestamp, or a duration such as 24h or 7d.
    #[arg(long, help_heading = "Requests")]
    since: Option<String>,
    /// A filter for the requests, as in the console: 'model:gpt-4o* project:web'.
    #[arg(long, help_heading = "Requests", allow_hyphen_values = true)]
    filter: Option<String>,
    /// The number of requests to compare, at most 10000, taken evenly from the newest 10000 that match.
    #[arg(long, help_heading = "Requests", default_value_t = 1000)]
    last: u32,
}

impl Sample {
    fn query(&self) -> Result<String, Failure> {
        let since = self.since.as_ref().map(|since| format!("since:{since}"));
        let terms: Vec<&str> = self.filter.iter().chain(&since).map(String::as_str).collect();
        let filter = if terms.is_empty() { String::new() } else { checked(&terms.join(" "))? };
        Ok(format!("?sample={}{filter}", self.last))
    }
}

/// Asks the gateway, and prints what would change.
pub fn run(shared: &Shared, api: &Api, path: &str, body: &Value, sample: &Sample) -> Result<(), Failure> {
    let answer = api.post(&format!("{path}{}", sample.query()?), body)?;
    match shared.form() {
        Form::Table => print(&answer),
        _ => output::object(shared, &answer),
    }
    Ok(())
}

fn part(of: &Value, path: &str) -> String {
    of.pointer(path).filter(|value| !value.is_null()).map_or_else(
        || "-".to_owned(),
        |value| output::printable(&value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
    )
}

fn money(of: &Value, path: &str) -> String {
    output::dollars(of.pointer(path).and_then(Value::as_i64).unwrap_or(0) / 1_000)
}

fn rows<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// What serves first, in one cell.
fn place(place: &Value) -> String {
    if place.get("error").is_some_and(|error| !error.is_null()) {
        return format!("error {}", part(place, "/error/code"));
    }
    let region = place.get("region").and_then(Value::as_str).map(|region| format!(" in {region}"));
    let words = ["/profile", "/provider", "/model", "/principal"].map(|path| part(place, path));
    format!("{}{}", words.join(" "), output::printable(&region.unwrap_or_default()))
}

fn print(answer: &Value) {
    let of = |path: &str| part(answer, path);
    let more = if answer.pointer("/requests/has_more") == Some(&Value::Bool(true)) { "+" } else { "" };
    println!("compared  {} of {}{more} requests", of("/requests/compared"), of("/requests/matched"));
    println!("changed   {}, unchanged {}, unknown {}", of("/changed"), of("/unchanged"), of("/unknown"));
    println!("refused   {} more, {} fewer", of("/refusals/new"), of("/refusals/gone"));
    println!(
        "cost      {} -> {} ({} requests, {} more without a known price)",
        money(answer, "/cost/before_nanos"),
        money(answer, "/cost/after_nanos"),
        of("/cost/requests"),
        of("/cost/unpriced"),
    );
    if answer.pointer("/latency/requests").and_then(Value::as_u64).unwrap_or(0) > 0 {
        println!(
            "latency   {} -> {} ms ({} requests)",
            of("/latency/before_ms"),
            of("/latency/after_ms"),
            of("/latency/requests"),
        );
    }
    for one in rows(answer, "not_replayed") {
        println!("unknown   {}: {}", part(one, "/requests"), part(one, "/detail"));
    }
    let moves = rows(answer, "moves");
    if !moves.is_empty() {
        println!();
        let line = |one: &Value| {
            let of = |name: &str| one.get(name).cloned().unwrap_or_default();
            vec![
                part(one, "/requests"),
                place(&of("from")),
                place(&of("to")),
                money(one, "/before_nanos"),
                money(one, "/after_nanos"),
                part(one, "/examples/0"),
            ]
        };
        let head = ["requests", "from", "to", "before", "after", "example"];
        output::table(&head, &moves.iter().map(line).collect::<Vec<_>>());
    }
}
