//! `tidegate reconcile`: reads a provider's exports here, sends what they count, and prints what the gateway found.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use catalogue::Catalogue;
use cli::api::{Api, at};
use cli::output::{self, Failure, Form};
use cli::shared::Shared;
use reconciliation::{Condensed, Line, write_plain};
use serde_json::{Value, json};

use crate::limits::{DIFFERENCES_PRINTED_MAX, RECONCILE_TIME_MAX, RECONCILED_BYTES_MAX};

/// Without a command of its own it compares files.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Reconcile {
    #[command(subcommand)]
    stored: Option<Stored>,
    #[command(flatten)]
    options: Option<Options>,
}

#[derive(Debug, clap::Subcommand)]
enum Stored {
    /// Lists the stored reports.
    List,
    /// Shows a stored report.
    Show {
        /// The report's id (`rcn_…`).
        id: String,
    },
    /// Lists the formats that a provider's exports may have.
    Formats {
        /// The provider.
        provider: String,
    },
}

#[derive(Debug, clap::Args)]
pub struct Options {
    /// The provider that exported the files: openai, anthropic, bedrock and others.
    #[arg(long)]
    provider: String,
    /// The exports: usage, costs or both. Only their counts are sent, not the files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The format of the files; by default detected from their columns or fields.
    #[arg(long)]
    format: Option<String>,
    /// The start of the period that the exports cover; by default the time of their first row.
    #[arg(long)]
    from: Option<String>,
    /// The end of the period that the exports cover; by default that of their last row.
    #[arg(long)]
    until: Option<String>,
    /// Only rows of this project, key or account of the provider's.
    #[arg(long)]
    account: Option<String>,
    /// Only requests that used this credential, or account of the operator, by name or id.
    #[arg(long)]
    principal: Option<String>,
    /// Compares the operator's accounts over all workspaces, not the workspace's own credentials.
    #[arg(long)]
    accounts: bool,
    /// The difference that may stay unexplained, in percent.
    #[arg(long, default_value = "0.1", value_parser = ppm, allow_negative_numbers = true)]
    tolerance: u32,
}

/// Percent as millionths.
fn ppm(text: &str) -> Result<u32, String> {
    let wrong = || format!("\"{text}\" isn't a percentage from 0 to 100 with at most four decimals");
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || part.len() > 4 || !is_number(whole) || !is_number(part) {
        return Err(wrong());
    }
    let digits = format!("{whole}{part:0<4}");
    digits.parse().ok().filter(|ppm| *ppm <= 1_000_000).ok_or_else(wrong)
}

pub fn run(shared: &Shared, reconcile: &Reconcile) -> Result<(), Failure> {
    match (&reconcile.stored, &reconcile.options) {
        (Some(Stored::List), _) => list(shared),
        (Some(Stored::Show { id }), _) => show(shared, id),
        (Some(Stored::Formats { provider }), _) => formats(shared, provider),
        (None, Some(options)) => compare(shared, options),
        (None, None) => Err(Failure::new(output::USAGE, "Give --provider and the files that it exported.")),
    }
}

const LISTED: [&str; 8] =
    ["id", "created_at", "provider", "scope", "from", "until", "unexplained_ppm", "reconciled"];

fn list(shared: &Shared) -> Result<(), Failure> {
    let rows = Api::connect(shared)?.get_all("/v2/reconciliations")?;
    output::rows(
        shared,
        &rows,
        &LISTED,
        "Nothing was reconciled yet. `tidegate reconcile --provider P FILE` does.",
    );
    Ok(())
}

fn show(shared: &Shared, id: &str) -> Result<(), Failure> {
    let report = Api::connect(shared)?.get(&at("/v2/reconciliations", id))?;
    print(shared, &report);
    Ok(())
}

/// The canonical name of a provider that the built-in catalogue knows.
fn canonical(provider: &str) -> Result<String, Failure> {
    let catalogue = Catalogue::embedded().map_err(|error| Failure::new(output::FAILED, error.to_string()))?;
    Ok(catalogue.provider(provider).map_or_else(|| provider.to_owned(), |facts| facts.slug.clone()))
}

fn formats(shared: &Shared, provider: &str) -> Result<(), Failure> {
    let provider = canonical(provider)?;
    let row = |export: &reconciliation::Format| json!({"format": export.name, "source": export.source});
    let rows: Vec<Value> = reconciliation::formats(&provider).iter().map(row).collect();
    output::rows(shared, &rows, &["format", "source"], "There is none.");
    Ok(())
}

fn compare(shared: &Shared, options: &Options) -> Result<(), Failure> {
    let provider = canonical(&options.provider)?;
    let api = Api::connect(shared)?;
    let (mut files, mut covered, mut bytes) = (Vec::new(), None, 0);
    for path in &options.files {
        let read = read(path, &provider, options)?;
        bytes += read.text.len();
        covered = match (covered, read.covered) {
            (Some((from, until)), Some((first, last))) => {
                Some((u64::min(from, first), u64::max(until, last)))
            }
            (one, two) => one.or(two),
        };
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        files.push(json!({"name": name, "format": "tidegate", "text": read.text}));
    }
    if bytes > RECONCILED_BYTES_MAX {
        let message = "The exports count more than a gateway takes at once. Split them by day or month.";
        return Err(Failure::new(output::USAGE, message));
    }
    let moment = |unix_s: u64| reconcilers::moment::write(unix_s.saturating_mul(1_000));
    let body = json!({
        "provider": provider,
        "files": files,
        "from": options.from.clone().or_else(|| covered.map(|(from, _)| moment(from))),
        "until": options.until.clone().or_else(|| covered.map(|(_, until)| moment(until))),
        "account": options.account,
        "principal_id": options.principal,
        "scope": if options.accounts { "accounts" } else { "workspace" },
        "tolerance_ppm": options.tolerance,
    });
    let report = api.post_within("/v2/reconciliations", &body, RECONCILE_TIME_MAX)?;
    print(shared, &report);
    if report.get("reconciled").and_then(Value::as_bool) == Some(true) {
        return Ok(());
    }
    let share = share(&report, "unexplained_ppm");
    Err(Failure::new(output::FINDINGS, format!("{share} of what the exports count is not explained.")))
}

/// Whether anything is known of this provider's exports, besides Tidegate's own format, which fits every provider.
fn has_formats(provider: &str) -> bool {
    reconciliation::formats(provider).len() > 1
}

/// Says which providers' exports can be read, where this one's are unknown.
fn known_exporters(provider: &str) -> String {
    let catalogue = Catalogue::embedded().ok();
    let slugs = catalogue.iter().flat_map(Catalogue::providers).map(|facts| facts.slug.as_str());
    let known: Vec<&str> = slugs.filter(|slug| has_formats(slug)).collect();
    let meant = output::did_you_mean(provider, known.iter().copied());
    format!(
        "No format of {}'s exports is known, so it was read in Tidegate's own. Known are those of {}.{}",
        output::printable(provider),
        known.join(", "),
        meant.map(|meant| format!(" {meant}")).unwrap_or_default(),
    )
}

/// What a file counts, in Tidegate's own format.
struct ReadFile {
    text: String,
    covered: Option<(u64, u64)>,
}

/// Reads a file here: it may be of gigabytes, and have content that no gateway needs.
fn read(path: &Path, provider: &str, options: &Options) -> Result<ReadFile, Failure> {
    let name = path.display();
    let failed = |error: &dyn std::fmt::Display| Failure::new(output::USAGE, format!("{name}: {error}"));
    let mut file = BufReader::new(File::open(path).map_err(|error| failed(&error))?);
    let mut condensed = Condensed::default();
    let mut sink = |line: Line| condensed.take(line);
    let read = reconciliation::read_export(provider, options.format.as_deref(), &mut file, &mut sink)
        .map_err(|error| {
            let failure = failed(&error);
            if has_formats(provider) { failure } else { failure.fix(known_exporters(provider)) }
        })?;
    let (lines, without_ids) = condensed.finish();
    if without_ids {
        eprintln!(
            "{name}: too many requests to compare one by one: they are compared by the hour. Split the file to have them by id."
        );
    }
    if read.skipped > 0 {
        eprintln!("{name}: {} rows are of something else.", read.skipped);
    }
    Ok(ReadFile { text: write_plain(&lines), covered: read.covered })
}

/// Millionths as percent.
fn share(report: &Value, field: &str) -> String {
    let ppm = report.get(field).and_then(Value::as_u64).unwrap_or(0);
    format!("{}.{:04} %", ppm / 10_000, ppm % 10_000)
}

const KINDS: [&str; 4] = ["kind", "lines", "quantity", "cost"];
const DIFFERENCES: [&str; 8] = ["kind", "from", "model", "measure", "theirs", "ours", "worth", "prices"];

fn print(shared: &Shared, report: &Value) {
    if shared.form() != Form::Table {
        return output::object(shared, report);
    }
    let text = |field: &str| output::cell(report, field);
    let side = |name: &str| {
        let side = report.get(name).cloned().unwrap_or_default();
        format!(
            "{} lines, {} units, {}",
            output::cell(&side, "lines"),
            output::cell(&side, "quantity"),
            output::money(&side, "cost_micros")
        )
    };
    println!("{}  {}, {} to {}", text("id"), text("provider"), text("from"), text("until"));
    println!("  theirs: {}", side("theirs"));
    println!("  ours:   {}\n", side("ours"));
    let kinds: Vec<Value> = list_of(report, "kinds").iter().map(kind_row).collect();
    output::rows(shared, &kinds, &KINDS, "");
    let verdict =
        if report.get("reconciled").and_then(Value::as_bool) == Some(true) { "within" } else { "over" };
    println!(
        "\n{} unexplained, {verdict} {}",
        share(report, "unexplained_ppm"),
        share(report, "tolerance_ppm")
    );
    let differences = list_of(report, "differences");
    if differences.is_empty() {
        return;
    }
    println!();
    let rows: Vec<Value> = differences.iter().take(DIFFERENCES_PRINTED_MAX).map(difference_row).collect();
    output::rows(shared, &rows, &DIFFERENCES, "");
    println!("\nThe requests of the largest:");
    let mut printed = Vec::new();
    for difference in differences.iter().take(3) {
        let filter = output::printable(&output::cell(difference, "requests_filter"));
        // Measures of one model have their requests in common.
        if !printed.contains(&filter) {
            println!("  tidegate requests --filter '{filter}'");
            printed.push(filter);
        }
    }
}

fn list_of<'r>(report: &'r Value, field: &str) -> &'r [Value] {
    report.get(field).and_then(Value::as_array).map_or(&[][..], Vec::as_slice)
}

fn kind_row(kind: &Value) -> Value {
    json!({
        "kind": kind.get("kind"),
        "lines": kind.get("lines"),
        "quantity": kind.get("quantity"),
        "cost": output::money(kind, "cost_micros"),
    })
}

fn difference_row(difference: &Value) -> Value {
    let price = |field: &str| difference.get(field).and_then(Value::as_i64).map(output::dollars);
    let prices = match (price("their_price_micros_per_million"), price("our_price_micros_per_million")) {
        (Some(theirs), Some(ours)) if theirs != ours => format!("{theirs} and ours {ours} a million"),
        _ => "-".to_owned(),
    };
    let of_money = |quantity: &str, cost: &str| match difference.get(quantity).and_then(Value::as_i64) {
        Some(quantity) => quantity.to_string(),
        None => output::money(difference, cost),
    };
    json!({
        "kind": difference.get("kind"),
        "from": difference.get("from"),
        "model": difference.get("model"),
        "measure": difference.get("measure"),
        "theirs": of_money("their_quantity", "their_cost_micros"),
        "ours": of_money("our_quantity", "our_cost_micros"),
        "worth": output::money(difference, "cost_micros"),
        "prices": prices,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tolerance_is_a_percentage() {
        for (text, expected) in
            [("0.1", Some(1_000)), ("0", Some(0)), ("100", Some(1_000_000)), ("0.0001", Some(1))]
        {
            assert_eq!(ppm(text).ok(), expected, "{text}");
        }
        for wrong in ["", "-1", "101", "0.00001", "a", "1e3", "."] {
            assert!(ppm(wrong).is_err(), "{wrong}");
        }
    }
}
