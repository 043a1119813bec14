//! `tidegate diagnostics`: reports on how well a workload is reused, and their verification without a gateway.

use std::path::{Path, PathBuf};

use cli::api::{Api, at};
use cli::output::{self, Failure, Form, cell, dollars, printable};
use cli::shared::Shared;
use serde_json::{Value, json};

use crate::commands::trusted_key::trusted_key;

const PATH: &str = "/v2/diagnostics";
const COLUMNS: [&str; 8] =
    ["id", "created_at", "source", "points", "band", "traces", "findings", "spent_micros"];
const BAR_WIDTH: u64 = 20;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Creates a report on the workspace's requests, or on traces without content from a file.
    Run(RunOptions),
    /// Shows a report; by default the newest.
    Show {
        /// The report's id.
        id: Option<String>,
    },
    /// Lists the reports, newest first.
    List,
    /// Checks a report's signature and score offline.
    Verify(VerifyOptions),
}

#[derive(Debug, clap::Args)]
pub struct RunOptions {
    /// 24h, 7d (default), 30d or month.
    #[arg(long)]
    window: Option<String>,
    /// The start of the window, instead of --window.
    #[arg(long, conflicts_with = "window")]
    start: Option<String>,
    /// The end of the window; by default now.
    #[arg(long)]
    end: Option<String>,
    /// Only this project's requests, by name or id.
    #[arg(long)]
    project: Option<String>,
    /// Only this model's requests.
    #[arg(long)]
    model: Option<String>,
    /// A JSON file with traces, as `{"traces": […]}` or as the list alone, instead of the workspace's requests.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["window", "start", "end", "project", "model"])]
    traces: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct VerifyOptions {
    /// The report, as `show --json` or the console's download gives it.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The trusted public key, as printed by `tidegate audit key`, or a file with it; without it, the key inside the report is printed.
    #[arg(long)]
    key: Option<String>,
    /// The traces that were uploaded: their digest and score must be the report's.
    #[arg(long, value_name = "FILE")]
    traces: Option<PathBuf>,
}

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(options) => {
            let body = body(&options)?;
            print(shared, &Api::connect(shared)?.post(PATH, &body)?);
        }
        Command::Show { id } => {
            let api = Api::connect(shared)?;
            let id = id.map_or_else(|| newest(&api), Ok)?;
            print(shared, &api.get(&at(PATH, &id))?);
        }
        Command::List => {
            let rows = Api::connect(shared)?.get_all(PATH)?;
            output::rows(
                shared,
                &rows,
                &COLUMNS,
                "There is no report yet. `tidegate diagnostics run` makes one.",
            );
        }
        Command::Verify(options) => verify(shared, &options)?,
    }
    Ok(())
}

fn wrong(message: String) -> Failure {
    Failure::new(output::USAGE, message)
}

fn newest(api: &Api) -> Result<String, Failure> {
    let page = api.get(&format!("{PATH}?limit=1"))?;
    let id = page.pointer("/data/0/id").and_then(Value::as_str).map(str::to_owned);
    id.ok_or_else(|| {
        Failure::new(output::NOT_FOUND, "There is no report yet. `tidegate diagnostics run` makes one.")
    })
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|error| wrong(format!("{} can't be read: {error}.", file.display())))
}

/// A file of traces as a body: some write the list alone.
fn traces_of(file: &Path) -> Result<Value, Failure> {
    let value: Value = serde_json::from_slice(&read(file)?)
        .map_err(|error| wrong(format!("{} is not JSON: {error}.", file.display())))?;
    Ok(if value.is_array() { json!({"traces": value}) } else { value })
}

fn body(options: &RunOptions) -> Result<Value, Failure> {
    if let Some(file) = &options.traces {
        return traces_of(file);
    }
    let fields = [
        ("window", &options.window),
        ("start", &options.start),
        ("end", &options.end),
        ("project_id", &options.project),
        ("model", &options.model),
    ];
    let given = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?.into())));
    Ok(Value::Object(given.collect()))
}

fn verify(shared: &Shared, options: &VerifyOptions) -> Result<(), Failure> {
    let trusted = trusted_key(options.key.as_deref())?;
    // As a receipt is read: a name that is there twice would be verified as one value and shown as another.
    let report = proof::document::read(&read(&options.file)?)
        .map_err(|error| wrong(format!("{} isn't a report: {error}.", options.file.display())))?;
    let broken = |why: String| Failure::new(output::FINDINGS, format!("The report does not hold: {why}."));
    let key = proof::document::verify(&report, trusted).map_err(|error| broken(error.to_string()))?;
    let found = diagnostics::recompute(&report)
        .ok_or_else(|| broken("its score is not what its own ratios come to".to_owned()))?;
    if let Some(file) = &options.traces {
        let (digest, points) =
            reports::diagnostics::recompute_upload(traces_of(file)?.to_string().as_bytes())
                .map_err(|fault| wrong(fault.message.to_string()))?;
        if report.get("evidence_digest").and_then(Value::as_str) != Some(digest.as_str())
            || points != found.points
        {
            return Err(broken(format!("the traces have the digest {digest} and {points} points")));
        }
    }
    let trust = if trusted.is_some() { "given" } else { "inside" };
    if shared.json {
        let answer = json!({
            "ok": true, "id": report.get("id"), "points": found.points, "band": found.band.as_str(),
            "evidence_digest": report.get("evidence_digest"), "public_key": key.to_string(),
            "fingerprint": key.fingerprint(), "trusted": trust, "traces": options.traces.is_some(),
        });
        println!("{answer}");
        return Ok(());
    }
    let report = Value::Object(report);
    println!("The report {} holds: {} points, {}.", cell(&report, "id"), found.points, found.band.as_str());
    println!("  signed by  {key} ({})", key.fingerprint());
    println!("  evidence   {}", cell(&report, "evidence_digest"));
    match trusted {
        Some(_) => println!("  trusted    the key that was given"),
        None => println!("  trusted    the key inside: compare it with `tidegate audit key`, or give --key"),
    }
    if options.traces.is_some() {
        println!("  traces     have the report's digest and its points");
    }
    Ok(())
}

fn text<'a>(of: &'a Value, path: &str) -> &'a str {
    of.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn number(of: &Value, path: &str) -> u64 {
    of.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}

fn rows<'a>(of: &'a Value, path: &str) -> &'a [Value] {
    of.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn bar(points: u64, points_max: u64) -> String {
    let filled = (points * BAR_WIDTH).checked_div(points_max).unwrap_or(0).min(BAR_WIDTH);
    let repeat = |sign: &str, count: u64| sign.repeat(usize::try_from(count).unwrap_or(0));
    format!("{}{}", repeat("█", filled), repeat("·", BAR_WIDTH - filled))
}

fn print(shared: &Shared, report: &Value) {
    if shared.form() != Form::Table {
        println!("{report}");
        return;
    }
    println!(
        "{}  {} of 100, {}",
        text(report, "/id"),
        number(report, "/score/points"),
        text(report, "/score/band")
    );
    let sampled =
        if report.pointer("/sample/is_sampled") == Some(&Value::Bool(true)) { ", a sample" } else { "" };
    let small = if report.pointer("/sample/is_small") == Some(&Value::Bool(true)) {
        "; so few that more may change it"
    } else {
        ""
    };
    println!("of {} requests{sampled}{small}", number(report, "/sample/traces"));
    println!();
    for part in rows(report, "/score/parts") {
        let (points, most) = (number(part, "/points"), number(part, "/points_max"));
        let name = text(part, "/part").replace('_', " ");
        println!(
            "  {name:<20} {} {points:>3} of {most:<3} {}",
            bar(points, most),
            printable(text(part, "/sentence"))
        );
    }
    println!();
    println!(
        "profile  {}: {}",
        text(report, "/recommendation/profile"),
        printable(text(report, "/recommendation/reason"))
    );
    for finding in rows(report, "/findings") {
        print_finding(finding);
    }
    if rows(report, "/findings").is_empty() {
        println!("\nNothing was found that costs more than it must.");
    }
}

fn print_finding(finding: &Value) {
    let micros = finding.get("money_micros").and_then(Value::as_i64).unwrap_or(0);
    let money = match text(finding, "/money_meaning") {
        "none" => format!("{} ms", number(finding, "/waited_ms")),
        meaning => format!("{} {}", dollars(micros), meaning.replace('_', " ")),
    };
    println!();
    println!(
        "{}  {money}  {}",
        text(finding, "/kind").replace('_', " "),
        printable(text(finding, "/subject"))
    );
    println!("  {}", printable(text(finding, "/sentence")));
    println!("  mend: {}", printable(text(finding, "/mend/sentence")));
    if let Some(command) = finding.pointer("/mend/command").and_then(Value::as_str) {
        println!("        {}", printable(command));
    }
    if let Some(filter) = finding.get("filter").and_then(Value::as_str) {
        println!("  rows: tidegate requests --filter '{}'", printable(filter));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_part() {
        let filled = |points, most| bar(points, most).chars().filter(|sign| *sign == '█').count();
        assert_eq!(
            [filled(0, 30), filled(15, 30), filled(30, 30), filled(40, 30), filled(1, 0)],
            [0, 10, 20, 20, 0]
        );
        assert_eq!(bar(7, 30).chars().count(), 20);
    }
}
