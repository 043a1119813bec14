//! `tidegate export`: a workspace's configuration and data as files, for whoever wants to move away; secrets
//! are never included.

use std::collections::HashSet;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::apply;
use crate::kinds::{KINDS, SecretNeed};
use crate::live;
use crate::parts::{Part, Parts};
use cli::api::{Api, escape, field};
use cli::output::{self, Failure};
use cli::shared::Shared;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// The directory to write to. Without it the configuration goes to standard output.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Writes only these parts: configuration, requests, ledger, usage, audit.
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<ExportKind>,
    /// The format of rows.
    #[arg(long, value_enum, default_value = "csv")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ExportKind {
    Configuration,
    Requests,
    Ledger,
    Usage,
    Audit,
}

domain::words! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
    enum Format {
        Csv = "csv",
        Jsonl = "jsonl",
    }
}

impl Format {
    fn row(self, row: &Value, columns: &[&str]) -> String {
        match self {
            Self::Jsonl => format!("{row}\n"),
            Self::Csv => output::csv_line(columns.iter().map(|column| match row.get(*column) {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            })),
        }
    }

    fn head(self, columns: &[&str]) -> String {
        if self == Self::Csv { output::csv_line(columns) } else { String::new() }
    }
}

const REQUEST_COLUMNS: [&str; 29] = [
    "id",
    "started_at",
    "finished_at",
    "project_id",
    "key_id",
    "environment",
    "operation",
    "dialect",
    "stream",
    "requested_model",
    "resolved_model",
    "outcome",
    "status",
    "error_code",
    "profile",
    "principal",
    "provider",
    "fallback_used",
    "tag",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "estimated",
    "unpriced",
    "cost_nanos",
    "provider_cost_nanos",
    "end_user_id",
    "refused_by",
];
const LEDGER_COLUMNS: [&str; 18] = [
    "request_id",
    "attempt",
    "started_at",
    "profile",
    "principal",
    "provider",
    "upstream_model",
    "upstream_request_id",
    "status",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "estimated",
    "unpriced",
    "markup_bps",
    "cost_nanos",
    "provider_cost_nanos",
];
const AUDIT_COLUMNS: [&str; 7] = ["id", "at", "actor", "action", "target", "detail", "request_id"];
const USAGE_COLUMNS: [&str; 23] = [
    "start",
    "model",
    "provider",
    "profile",
    "requests",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cost_micros",
    "provider_cost_micros",
    "reasoning_tokens",
    "cache_write_tokens",
    "failed_requests",
    "unattempted_requests",
    "estimated_requests",
    "unpriced_requests",
    "attempts",
    "images",
    "audio_ms",
    "searches",
    "characters",
    "billed_micro_units",
    "video_ms",
];
const ROWS_AT_ONCE: u32 = 500;
const DAYS_AT_ONCE: i64 = 7;

pub fn run(shared: &Shared, options: &Options) -> Result<(), Failure> {
    let api = Api::connect(shared)?;
    let Some(directory) = &options.to else {
        if options.only.iter().any(|what| *what != ExportKind::Configuration) {
            return Err(Failure::new(output::USAGE, "Rows go to files: name a directory with --to."));
        }
        print!("{}", configuration(&api, shared.json)?);
        return Ok(());
    };
    std::fs::create_dir_all(directory).map_err(|error| {
        Failure::new(output::USAGE, format!("{} can't be used: {error}.", directory.display()))
    })?;
    let wants = |what: ExportKind| options.only.is_empty() || options.only.contains(&what);
    let mut files = Vec::new();
    if wants(ExportKind::Configuration) {
        let name = if shared.json { "configuration.json" } else { "configuration.toml" };
        write_whole(&directory.join(name), &configuration(&api, shared.json)?)?;
        files.push(json!({"file": name}));
    }
    if wants(ExportKind::Requests) || wants(ExportKind::Ledger) {
        files.extend(exchanges(
            &api,
            directory,
            options,
            wants(ExportKind::Requests),
            wants(ExportKind::Ledger),
        )?);
    }
    if wants(ExportKind::Usage) {
        files.push(usage(&api, directory, options.format)?);
    }
    if wants(ExportKind::Audit) {
        files.push(audit(&api, directory, options.format)?);
    }
    output::rows(shared, &files, &["file", "rows"], "Nothing was written.");
    Ok(())
}

/// Drops objects that refer to a key which no document contains, such as a revoked one or that of a signed-in
/// machine.
fn leave_out_the_orphaned(workspace: &mut live::Workspace) {
    let keys = workspace.objects.iter().filter(|live| live.kind.noun == "key");
    let keys: HashSet<String> = keys.map(|live| live.label.clone()).collect();
    workspace.objects.retain(|live| {
        let of_key = live.fields.get("key").or_else(|| live.fields.get("scope")?.get("key"));
        let lacking = of_key.and_then(Value::as_str).filter(|key| !keys.contains(*key));
        if let Some(key) = lacking {
            eprintln!(
                "The {} {} is left out: it is of the key {key}, which is in no document.",
                live.kind.noun, live.label
            );
        }
        lacking.is_none()
    });
}

fn configuration(api: &Api, as_json: bool) -> Result<String, Failure> {
    let mut workspace = live::read(api)?;
    for noun in &workspace.unseen {
        eprintln!("{noun}s are the operator's and are left out: this key may not see them.");
    }
    workspace.objects.retain(|live| !apply::is_personal(live));
    leave_out_the_orphaned(&mut workspace);
    // Sorted by name: the same workspace gives the same text, in whatever order its objects were created.
    let order = |noun: &str| KINDS.iter().position(|kind| kind.noun == noun);
    workspace.objects.sort_by_key(|live| (order(live.kind.noun), live.label.clone()));
    let mut seen = HashSet::new();
    for live in &workspace.objects {
        if !seen.insert((live.kind.noun, live.label.clone())) {
            eprintln!(
                "Two objects are the {} {}: `tidegate apply` needs names that differ.",
                live.kind.noun, live.label
            );
        }
    }
    let variables = apply::variables(&workspace);
    let variable =
        |live: &live::Live| variables.get(&(live.kind.noun, live.label.clone())).cloned().unwrap_or_default();
    if as_json {
        let document = apply::write_json(&workspace, &variable);
        return Ok(format!("{}\n", serde_json::to_string_pretty(&document).map_err(anyhow::Error::from)?));
    }
    let needs: Vec<_> =
        workspace.objects.iter().filter(|live| live.kind.secret == SecretNeed::Needed).collect();
    let mut head =
        String::from("# `tidegate apply -f FILE` makes a workspace what this says. No secret is in it");
    head.push_str(if needs.is_empty() {
        ".\n"
    } else {
        ":\n# a new credential or account takes its own from the variable that it names.\n"
    });
    Ok(head + &apply::write_toml(&workspace, &variable)?)
}

/// Writes a file completely or not at all.
fn write_whole(path: &Path, text: &str) -> Result<(), Failure> {
    let part = path.with_extension("part");
    let mut file = std::fs::File::create(&part)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&part, path)?;
    Ok(())
}

/// Exports requests and the cost of each attempt in one pass over the records; resumes where an earlier run
/// stopped.
fn exchanges(
    api: &Api,
    directory: &Path,
    options: &Options,
    requests: bool,
    ledger: bool,
) -> Result<Vec<Value>, Failure> {
    let format = options.format;
    let mut wanted = Vec::new();
    if requests {
        wanted.push(Part {
            name: format!("requests.{}", format.as_str()),
            head: format.head(&REQUEST_COLUMNS),
        });
    }
    if ledger {
        wanted.push(Part { name: format!("ledger.{}", format.as_str()), head: format.head(&LEDGER_COLUMNS) });
    }
    let mut parts = Parts::open(directory, "records", &wanted)?;
    let mut progress = Progress::new("requests", parts.rows());
    loop {
        let cursor = parts.cursor().map(|cursor| format!("&cursor={}", escape(cursor))).unwrap_or_default();
        let page = api.get(&format!("/v2/records?limit={ROWS_AT_ONCE}{cursor}"))?;
        let rows = page.get("data").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let of_requests: String = rows.iter().map(|row| format.row(row, &REQUEST_COLUMNS)).collect();
        let of_ledger: String =
            rows.iter().flat_map(lines).map(|line| format.row(&line, &LEDGER_COLUMNS)).collect();
        let texts = [(requests, of_requests), (ledger, of_ledger)];
        let texts: Vec<_> = texts.into_iter().filter(|(wanted, _)| *wanted).map(|(_, text)| text).collect();
        let next = page.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
        parts.add(&texts, rows.len() as u64, next.clone())?;
        progress.at(parts.rows());
        if next.is_none() {
            break;
        }
    }
    progress.end();
    let rows = parts.rows();
    let files = parts.finish()?;
    Ok(files.into_iter().map(|file| json!({"file": file, "rows": rows})).collect())
}

/// The ledger lines of a request: one for each attempt.
fn lines(request: &Value) -> Vec<Value> {
    let attempts = request.get("attempts").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let line = |attempt: &Value| {
        let mut line = attempt.as_object().cloned().unwrap_or_default();
        let number = line.remove("number").unwrap_or_default();
        line.insert("attempt".into(), number);
        line.insert("request_id".into(), request.get("id").cloned().unwrap_or_default());
        line.insert("started_at".into(), request.get("started_at").cloned().unwrap_or_default());
        Value::Object(line)
    };
    attempts.iter().map(line).collect()
}

/// Exports usage by day, in windows short enough that no response is truncated.
fn usage(api: &Api, directory: &Path, format: Format) -> Result<Value, Failure> {
    let name = format!("usage.{}", format.as_str());
    let first = api.get("/v2/records?limit=1")?;
    let first = first.pointer("/data/0/started_at").and_then(Value::as_str).unwrap_or_default().to_owned();
    let rfc3339 = &time::format_description::well_known::Rfc3339;
    let mut text = format.head(&USAGE_COLUMNS);
    let mut rows = 0_u64;
    let now = time::OffsetDateTime::now_utc();
    let started = time::OffsetDateTime::parse(&first, rfc3339).map_or(now, |moment| moment);
    let mut start = started.date().midnight().assume_utc();
    while start < now {
        let end = start + Duration::from_secs(86_400) * u32::try_from(DAYS_AT_ONCE).unwrap_or(1);
        let moment = |at: time::OffsetDateTime| {
            at.format(rfc3339).map(|text| escape(&text)).map_err(anyhow::Error::from)
        };
        let query = format!(
            "start={}&end={}&interval=day&group_by=model,provider,profile",
            moment(start)?,
            moment(end)?
        );
        let answer = api.get(&format!("/v2/usage?{query}"))?;
        let found = answer.get("data").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        found.iter().for_each(|row| text.push_str(&format.row(row, &USAGE_COLUMNS)));
        rows += found.len() as u64;
        start = end;
    }
    write_whole(&directory.join(&name), &text)?;
    Ok(json!({"file": name, "rows": rows}))
}

fn audit(api: &Api, directory: &Path, format: Format) -> Result<Value, Failure> {
    let name = format!("audit.{}", format.as_str());
    let part = Part { name: name.clone(), head: format.head(&AUDIT_COLUMNS) };
    // This list is resumed separately from the records.
    let mut parts = Parts::open(directory, "audit", &[part])?;
    let mut progress = Progress::new("audit entries", parts.rows());
    loop {
        let cursor = parts.cursor().map(|cursor| format!("&cursor={}", escape(cursor))).unwrap_or_default();
        let page = match api.get(&format!("/v2/audit?limit={ROWS_AT_ONCE}{cursor}")) {
            Err(refused) if refused.code == output::FORBIDDEN => {
                eprintln!("The audit log is left out: {}", refused.message);
                parts.discard()?;
                return Ok(json!({"file": name, "rows": "not yours to see"}));
            }
            page => page?,
        };
        let rows = page.get("data").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let text = rows.iter().map(|row| format.row(row, &AUDIT_COLUMNS)).collect();
        let next = Some(field(&page, "next_cursor")).filter(|cursor| !cursor.is_empty());
        parts.add(&[text], rows.len() as u64, next.clone())?;
        progress.at(parts.rows());
        if next.is_none() {
            break;
        }
    }
    progress.end();
    let rows = parts.rows();
    parts.finish()?;
    Ok(json!({"file": name, "rows": rows}))
}

/// How far it is: redrawn in a terminal, and logged from time to time otherwise.
struct Progress {
    what: &'static str,
    reported_at: Instant,
    is_terminal: bool,
    rows: u64,
}

const REDRAW_EVERY: Duration = Duration::from_millis(100);
const REPORT_EVERY: Duration = Duration::from_secs(10);

impl Progress {
    fn new(what: &'static str, rows: u64) -> Self {
        if rows > 0 {
            eprintln!("Going on after {rows} {what}.");
        }
        Self { what, reported_at: Instant::now(), is_terminal: std::io::stderr().is_terminal(), rows }
    }

    fn at(&mut self, rows: u64) {
        self.rows = rows;
        let every = if self.is_terminal { REDRAW_EVERY } else { REPORT_EVERY };
        if self.reported_at.elapsed() < every {
            return;
        }
        self.reported_at = Instant::now();
        if self.is_terminal {
            eprint!("\r{rows} {}", self.what);
        } else {
            eprintln!("{rows} {}", self.what);
        }
    }

    fn end(&self) {
        if self.is_terminal {
            eprintln!("\r{} {}", self.rows, self.what);
        }
    }
}
