//! `tidegate data-path`: who saw metadata or content of requests, where, under whose key, and how long it is retained there.

use serde_json::{Value, json};

use super::request;
use crate::api::{Api, escape};
use crate::output::{self, Failure, Form};
use crate::shared::Shared;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only requests that began at this time or later; by default in the last 30 days.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only requests that began before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only this project's requests, by name or id.
    #[arg(long)]
    project: Option<String>,
    /// Only this key's requests, by name or id.
    #[arg(long)]
    key: Option<String>,
    /// Only requests that this provider answered.
    #[arg(long)]
    provider: Option<String>,
    /// Only requests for this model.
    #[arg(long)]
    model: Option<String>,
    /// A filter, as in the console: 'project:web provider:openai since:7d'.
    #[arg(long, allow_hyphen_values = true)]
    filter: Option<String>,
    /// Prints a file for a vendor review in this format.
    #[arg(long, value_enum, conflicts_with_all = ["json", "output"])]
    format: Option<Format>,
}

domain::words! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
    enum Format {
        Csv = "csv",
        Jsonl = "jsonl",
    }
}

const COLUMNS: [&str; 10] =
    ["party", "role", "purpose", "saw", "place", "key", "retention", "requests", "first_seen", "last_seen"];

pub fn run(shared: &Shared, options: &Options) -> Result<(), Failure> {
    let query = query(options)?;
    let api = Api::connect(shared)?;
    if let Some(format) = options.format {
        print!("{}", api.text(&format!("/v2/data-path?format={}{query}", format.as_str()))?);
        return Ok(());
    }
    let path = api.get(&format!("/v2/data-path?format=json{query}"))?;
    if shared.form() == Form::Json {
        println!("{path}");
        return Ok(());
    }
    let list = |name: &str| path.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let lines: Vec<Value> = list("data").iter().map(flat).collect();
    output::rows(shared, &lines, &COLUMNS, "No request matches.");
    if shared.form() == Form::Table {
        list("residency").iter().for_each(region);
        if path.get("truncated").and_then(Value::as_bool) == Some(true) {
            println!("Only the newest requests were read, from {} on.", output::cell(&path, "read_from"));
        }
    }
    Ok(())
}

fn query(options: &Options) -> Result<String, Failure> {
    let mut query = options.filter.as_deref().map(request::checked).transpose()?.unwrap_or_default();
    for (name, value) in [
        ("since", &options.since),
        ("until", &options.until),
        ("project_id", &options.project),
        ("key_id", &options.key),
        ("provider", &options.provider),
        ("model", &options.model),
    ] {
        if let Some(value) = value {
            query.push_str(&format!("&{name}={}", escape(value)));
        }
    }
    Ok(query)
}

/// With the retention in one cell.
fn flat(line: &Value) -> Value {
    let mut flat = line.clone();
    let retention = line.get("retention").cloned().unwrap_or_default();
    let text = |name: &str| retention.get(name).and_then(Value::as_str);
    let days = retention.get("days").and_then(Value::as_u64);
    let basis = text("basis").unwrap_or("unknown");
    let cell = match (days, text("until")) {
        (Some(days), _) => format!("{days} days, {basis}"),
        (None, Some(until)) => format!("until {until}, {basis}"),
        (None, None) => basis.to_owned(),
    };
    if let Some(fields) = flat.as_object_mut() {
        fields.insert("retention".to_owned(), json!(cell));
        let place = fields.get("place").filter(|place| place.is_string()).cloned();
        fields.insert("place".to_owned(), place.unwrap_or_else(|| json!("not stated")));
        let saw = fields.get("saw").filter(|saw| saw.is_string()).cloned();
        fields.insert("saw".to_owned(), saw.unwrap_or_else(|| json!("unknown")));
    }
    flat
}

fn region(region: &Value) {
    let part = |name: &str| output::printable(&output::cell(region, name));
    let place = region.get("region").and_then(Value::as_str).unwrap_or("not stated");
    println!(
        "region {}: {} requests, {} tokens in, {} out",
        output::printable(place),
        part("requests"),
        part("input_tokens"),
        part("output_tokens"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_is_one_cell_and_what_is_not_known_is_said() {
        for (retention, expected) in [
            (
                json!({"days": 30, "until": "2026-12-01T00:00:00Z", "basis": "published"}),
                "30 days, published",
            ),
            (
                json!({"days": null, "until": "2026-12-01T00:00:00Z", "basis": "ours"}),
                "until 2026-12-01T00:00:00Z, ours",
            ),
            (json!({"days": null, "until": null, "basis": "unknown"}), "unknown"),
        ] {
            let line = flat(&json!({"place": null, "saw": null, "retention": retention}));
            assert_eq!(line, json!({"place": "not stated", "saw": "unknown", "retention": expected}));
        }
    }
}
