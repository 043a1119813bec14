//! `tidegate request`: one request's timeline, plan, attempts and cost, or the latest, filtered and live.

use filter::Filter;
use serde_json::{Map, Value};

use super::tail::Tail;
use crate::api::{Api, at, escape};
use crate::output::{self, Failure, Form};
use crate::people::{duration, mode};
use crate::shared::Shared;
use terminal::paint::{Style, paint};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Options {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// The request id (`trc_…`); without it, lists the latest requests.
    #[arg(conflicts_with_all = ["filter", "follow"])]
    id: Option<String>,
    #[command(flatten)]
    latest: Latest,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Lists the latest requests, as the command does without an id.
    List(Latest),
    /// Shows one request, as the command does with its id.
    Show {
        /// The request id (`trc_…`).
        id: String,
    },
}

#[derive(Debug, clap::Args)]
pub struct Latest {
    /// A filter, as in the console: 'status:error model:gpt-4o* cost:>0.01 since:24h'.
    #[arg(long, allow_hyphen_values = true)]
    filter: Option<String>,
    /// The number to list.
    #[arg(long, default_value_t = 20, allow_negative_numbers = true)]
    limit: u32,
    /// Shows new requests as they settle, until interrupted.
    #[arg(long, short)]
    follow: bool,
}

impl Latest {
    /// The latest requests, then each as it settles.
    pub const fn followed(filter: Option<String>, limit: u32) -> Self {
        Self { filter, limit, follow: true }
    }
}

const COLUMNS: [&str; 11] = [
    "id",
    "started_at",
    "status",
    "outcome",
    "resolved_model",
    "profile",
    "provider",
    "input_tokens",
    "output_tokens",
    "spend_micros",
    "cost_micros",
];
/// Requests that settle this much later than they began are still seen.
const LOOK_BACK: &str = "15m";

pub fn run(shared: &Shared, options: &Options) -> Result<(), Failure> {
    match (&options.verb, &options.id) {
        (Some(Verb::Show { id }), _) | (None, Some(id)) => show(shared, id),
        (Some(Verb::List(latest)), _) => list(shared, latest),
        (None, None) => list(shared, &options.latest),
    }
}

fn show(shared: &Shared, id: &str) -> Result<(), Failure> {
    let request = Api::connect(shared)?.get(&at("/v2/requests", id))?;
    match shared.form() {
        Form::Table => explain(&request),
        _ => output::object(shared, &request),
    }
    Ok(())
}

/// Prints the latest requests, and with `--follow` each new one as it settles.
///
/// # Errors
/// The filter can't be read, or the gateway refuses or can't be reached.
pub fn list(shared: &Shared, latest: &Latest) -> Result<(), Failure> {
    let query = latest.filter.as_deref().map(checked).transpose()?.unwrap_or_default();
    let api = Api::connect(shared)?;
    if latest.follow {
        return follow(shared, &api, latest, &query);
    }
    let page = api.get(&format!("/v2/requests?limit={}{query}", latest.limit))?;
    let empty = if query.is_empty() { "No requests yet." } else { "No request matches." };
    output::list(shared, &page, &COLUMNS, empty);
    Ok(())
}

/// Checks a filter and encodes it for the query string. A mistake is shown at its position.
///
/// # Errors
/// The filter can't be read.
pub fn checked(filter: &str) -> Result<String, Failure> {
    match Filter::parse(filter) {
        Ok(_) => Ok(format!("&filter={}", escape(filter))),
        Err(error) => {
            let message =
                format!("{}\n  {}\n{}", error.message, error.fix, indented(&error.render_in(filter)));
            Err(Failure::new(output::USAGE, message))
        }
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// Prints the latest requests, then each as it settles, oldest first.
fn follow(shared: &Shared, api: &Api, latest: &Latest, query: &str) -> Result<(), Failure> {
    // A long request settles after others that started later, so polling looks further back.
    let since = if query.contains("since%3A") {
        query.to_owned()
    } else {
        with_since(query, latest.filter.as_deref())?
    };
    let tail = Tail {
        first: format!("/v2/requests?limit={}{query}", latest.limit),
        then: format!("/v2/requests?limit=200{since}"),
        columns: &COLUMNS,
        identity_fields: &["id"],
        line: &line,
    };
    tail.follow(shared, api)
}

fn with_since(query: &str, filter: Option<&str>) -> Result<String, Failure> {
    if filter.is_none() {
        return Ok(format!("&filter={}", escape(&format!("since:{LOOK_BACK}"))));
    }
    let text = format!("{} since:{LOOK_BACK}", filter.unwrap_or_default());
    checked(&text).or(Ok(query.to_owned()))
}

fn line(row: &Value) -> String {
    let part = |name: &str| output::printable(&output::cell(row, name));
    let status = row.get("status").and_then(Value::as_u64).unwrap_or(0);
    let cost = output::spend(row.get("spend_micros").and_then(Value::as_i64).unwrap_or(0));
    let status_text = if status >= 400 { paint(Style::Bad, &part("status")) } else { part("status") };
    let took = duration(row.get("latency_us").and_then(Value::as_u64).unwrap_or(0));
    format!(
        "{} {status_text} {} {} {} in {} out {} {cost} {took} {}",
        part("started_at"),
        part("resolved_model"),
        mode(&part("profile")),
        part("provider"),
        part("input_tokens"),
        part("output_tokens"),
        part("id"),
    )
}

fn reuse(reuse: &Value) {
    let part = |name: &str| output::printable(&output::cell(reuse, name));
    println!(
        "reuse     input {} eligible {} candidate {} realized {} missed {} ({})",
        part("input_tokens"),
        part("eligible_reuse_tokens"),
        part("candidate_reuse_tokens"),
        part("realized_reused_tokens"),
        part("missed_opportunity_tokens"),
        part("evidence"),
    );
    let money = |name: &str| output::money(reuse, name);
    println!(
        "          gross {} - credit {} = processed {}",
        money("gross_input_nanos"),
        money("reuse_credit_nanos"),
        money("processed_input_nanos"),
    );
}

/// Who answered.
fn served(request: &Value) {
    let field = |name: &str| output::printable(&output::cell(request, name));
    if let Some(profile) = request.get("profile").and_then(Value::as_str) {
        let by = match profile {
            "byoc" => "your own node".to_owned(),
            "byok" => format!("{} with your own credential", field("provider")),
            "subscription" => format!("{} with your own subscription", field("provider")),
            "managed_provider" => format!("{} with the operator's account", field("provider")),
            other => format!("{} {}", output::printable(other), field("provider")),
        };
        let label = if field("outcome") == "failed" { "last at  " } else { "served by" };
        println!("{label} {by} {}", field("principal"))
    } else if request.pointer("/reuse/response_cache").is_some_and(Value::is_object) {
        let hit = request.pointer("/reuse/response_cache");
        match hit.and_then(|hit| hit.get("similarity_bps")).and_then(Value::as_u64) {
            Some(bps) => {
                println!("served by the response cache: a text of the same meaning ({})", share(bps))
            }
            None => println!("served by the response cache"),
        }
    } else {
        println!("served by nothing: it was refused before an attempt")
    }
}

/// What it was made for, and what was made for it.
fn side_calls(request: &Value) {
    if let Some(made_for) = request.get("made_for").filter(|made_for| made_for.is_object()) {
        let part = |name: &str| output::printable(&output::cell(made_for, name));
        println!("made for  {} of {}", part("purpose"), part("request_id"));
    }
    if let Some(search) = request.get("semantic_cache").filter(|search| search.is_object()) {
        let part = |name: &str| output::printable(&output::cell(search, name));
        let similarity = search.get("similarity_bps").and_then(Value::as_u64);
        let at = similarity.map(|bps| format!(" at {}", share(bps))).unwrap_or_default();
        println!("meaning   {}{at}, embedded by {}", part("outcome"), part("embedding_request_id"));
    }
}

fn explain(request: &Value) {
    let field = |name: &str| output::printable(&output::cell(request, name));
    println!("{}  {}  {}  {}", field("id"), field("started_at"), field("status"), field("outcome"));
    if let Some(error) = request.get("error").filter(|error| error.is_object()) {
        failure(error);
    }
    let (requested, resolved) = (field("requested_model"), field("resolved_model"));
    match resolved.as_str() {
        "-" => println!("model     {requested}"),
        _ if resolved == requested => println!("model     {resolved}"),
        _ => println!("model     {requested} -> {resolved}"),
    }
    if let Some(alias) = request.get("alias").filter(|alias| alias.is_object()) {
        let part = |name: &str| output::printable(&output::cell(alias, name));
        println!("alias     {} at {} ({})", part("name"), part("release_id"), part("chosen"));
    }
    served(request);
    side_calls(request);
    println!(
        "tokens    {} in ({} cached), {} out{}",
        field("input_tokens"),
        field("cached_tokens"),
        field("output_tokens"),
        if request.get("estimated").and_then(Value::as_bool) == Some(true) { " (estimated)" } else { "" }
    );
    let amount = |name: &str| output::spend(request.get(name).and_then(Value::as_i64).unwrap_or(0));
    let billed = if output::is_own_bill(request, "profile") {
        format!(", {} billed by your provider", amount("provider_cost_micros"))
    } else {
        String::new()
    };
    println!("cost      {} owed{billed}", amount("cost_micros"));
    if let Some(caching) = request.get("caching").filter(|caching| caching.is_object()) {
        let part = |name: &str| output::printable(&output::cell(caching, name));
        println!(
            "caching   {} breakpoints {} key {} context cache {} refreshes {} saved {} ({})",
            part("state"),
            part("breakpoints"),
            part("key"),
            part("context_cache"),
            part("refreshes"),
            part("saved_tokens"),
            part("evidence")
        );
    }
    if let Some(reuse) = request.get("reuse").filter(|reuse| reuse.is_object()) {
        self::reuse(reuse);
    }
    if let Some(timeline) = request.get("timeline").and_then(Value::as_object) {
        println!("timeline  {}", steps(timeline));
    }
    for attempt in request.get("attempts").and_then(Value::as_array).map_or(&[][..], Vec::as_slice) {
        let part = |name: &str| output::printable(&output::cell(attempt, name));
        let took = duration(attempt.get("duration_us").and_then(Value::as_u64).unwrap_or(0));
        println!(
            "attempt {} {} {} {} after {took}",
            part("number"),
            part("principal"),
            part("provider"),
            ending(attempt)
        );
    }
    for rejected in request.pointer("/plan/rejected").and_then(Value::as_array).map_or(&[][..], Vec::as_slice)
    {
        let part = |name: &str| output::printable(&output::cell(rejected, name));
        println!("rejected  {} {}: {}", part("principal"), part("provider"), part("detail"));
    }
}

/// The steps that it came to, each with the time since it arrived.
fn steps(timeline: &Map<String, Value>) -> String {
    let step = |(name, us): (&String, &Value)| {
        let name = name.strip_suffix("_us").unwrap_or(name).replace('_', " ");
        let at = us.as_u64().filter(|us| *us > 0)?;
        Some(format!("{name} {}", duration(at)))
    };
    timeline.iter().filter_map(step).collect::<Vec<_>>().join(", ")
}

/// How an attempt ended.
fn ending(attempt: &Value) -> String {
    let status = attempt.get("status").and_then(Value::as_u64);
    let fault = attempt.get("fault").and_then(Value::as_str).map(|fault| fault.replace('_', " "));
    match (fault, status) {
        (None, None) => "ended".to_owned(),
        (None, Some(status)) => format!("answered {status}"),
        (Some(fault), None) => format!("failed ({})", output::printable(&fault)),
        (Some(fault), Some(status)) => format!("failed ({}, {status})", output::printable(&fault)),
    }
}

/// A share in basis points as a percentage.
fn share(bps: u64) -> String {
    format!("{}.{:02} %", bps / 100, bps % 100)
}

/// Prints why it failed or was cut off, the fix, and what in the configuration refused it.
fn failure(error: &Value) {
    let text = |name: &str| error.get(name).and_then(Value::as_str).map(output::printable);
    println!("{}     {}", paint(Style::Bad, "error"), text("message").unwrap_or_default());
    if let Some(fix) = text("fix") {
        println!("fix       {fix}");
    }
    if let Some(param) = text("param") {
        println!("field     {param}");
    }
    if let Some(by) = error.get("refused_by").filter(|by| by.is_object()) {
        let part = |name: &str| output::printable(&output::cell(by, name));
        println!("refused   by the {} {}", part("object"), part("id"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn steps_are_told_as_far_as_it_came() {
        let timeline =
            json!({"decoded_us": 178, "admitted_us": 1_024, "first_byte_us": 0, "settled_us": 12_345_678});
        assert_eq!(steps(timeline.as_object().unwrap()), "decoded 0.1 ms, admitted 1 ms, settled 12.3 s");
    }

    #[test]
    fn an_attempt_answered_or_failed() {
        for (attempt, expected) in [
            (json!({"status": 200, "fault": null}), "answered 200"),
            (json!({"status": 429, "fault": "rate_limited"}), "failed (rate limited, 429)"),
            (json!({"status": null, "fault": "timeout"}), "failed (timeout)"),
            (json!({"status": null, "fault": null}), "ended"),
        ] {
            assert_eq!(ending(&attempt), expected);
        }
        assert_eq!((share(10_000), share(9_705)), ("100.00 %".to_owned(), "97.05 %".to_owned()));
    }
}
