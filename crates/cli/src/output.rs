//! What a command prints: a table, CSV or a sentence for people, JSON for programs, and failures with an exit
//! code.

use std::borrow::Cow;
use std::fmt;
use std::process::ExitCode;

use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::limits::{EDITS_FORGIVEN, LEVELS_MAX};
use crate::people;
pub use crate::people::{dollars, is_own_bill, money, nano_dollars, spend};
use crate::shared::Shared;
use terminal::paint::{Style, paint, paint_error};

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// For people.
    Table,
    /// One object a line.
    Json,
    /// For spreadsheets.
    Csv,
}

/// Why a command failed; scripts branch on the code.
#[derive(Debug)]
pub struct Failure {
    pub code: u8,
    pub message: String,
    /// The server's problem document, for `--json`.
    pub document: Option<Value>,
    /// What to do about it, where the server has no part in it.
    pub fix: Option<Box<str>>,
    pub json: bool,
}

pub const FAILED: u8 = 1;
pub const USAGE: u8 = 2;
pub const NOT_FOUND: u8 = 3;
pub const AUTHENTICATION: u8 = 4;
pub const FORBIDDEN: u8 = 5;
pub const CONFLICT: u8 = 6;
pub const RATE_LIMITED: u8 = 7;
pub const BUDGET: u8 = 8;
pub const UPSTREAM: u8 = 9;
pub const UNAVAILABLE: u8 = 10;
pub const FINDINGS: u8 = 11;
pub const CANCELLED: u8 = 12;
/// That of a program which Ctrl-C ends: 128 and the signal's number.
pub const INTERRUPTED: u8 = 130;

impl Failure {
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), document: None, fix: None, json: false }
    }

    pub fn fix(mut self, fix: impl Into<Box<str>>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// What to do about it: the gateway's advice, or this program's.
    pub fn fix_text(&self) -> Option<&str> {
        let sent = self.document.as_ref().and_then(|document| document.get("fix")?.as_str());
        self.fix.as_deref().or(sent)
    }

    /// The code of the gateway's problem document, if it sent one.
    pub fn problem(&self) -> Option<&str> {
        self.document.as_ref()?.get("code")?.as_str()
    }

    /// Prints what went wrong, how to fix it, and the id by which the server's operator finds it.
    fn print_error(&self) {
        eprintln!("{} {}", paint_error(Style::Bad, "error:"), printable(&self.message));
        let text = |name: &str| self.document.as_ref().and_then(|document| document.get(name)?.as_str());
        let option = |param: &str| OPTIONS.iter().find(|(field, _)| param.starts_with(field));
        let option = text("param").and_then(option).map(|(_, option)| format!("Give {option}. "));
        if let Some(fix) = self.fix_text().filter(|fix| !self.message.contains(fix)) {
            eprintln!("  fix: {}{}", option.unwrap_or_default(), printable(&in_commands(fix)));
        }
        if let Some(id) = text("request_id").filter(|id| !self.message.contains(id)) {
            eprintln!("  Tidegate request id: {}", printable(id));
        }
    }

    /// Prints the failure and returns the process's exit code.
    pub fn report(&self) -> ExitCode {
        match &self.document {
            Some(document) if self.json => println!("{document}"),
            _ if self.json => {
                let mut error = Map::from_iter([("message".to_owned(), self.message.clone().into())]);
                error.extend(self.fix.as_deref().map(|fix| ("fix".to_owned(), fix.into())));
                println!("{}", serde_json::json!({"error": error}));
            }
            _ => self.print_error(),
        }
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let is_denied = error.chain().any(|cause| {
            let cause = cause.downcast_ref::<std::io::Error>();
            cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::PermissionDenied)
        });
        let failure = Self::new(FAILED, format!("{error:#}"));
        if is_denied { failure.fix(DENIED) } else { failure }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        anyhow::Error::from(error).into()
    }
}

/// Advice about a file that this user may not use.
const DENIED: &str = "Run the command as the user who owns the file or directory (`ls -ld` names it), give it to this user with \
                      chown, or name another one; --data-dir names a data directory.";

/// The options of the fields that a refusal names, where they are called otherwise.
static OPTIONS: [(&str, &str); 3] = [
    ("config.deployments", "--deployment MODEL=NAME"),
    ("config.", "--config NAME=TEXT"),
    ("base_url", "--base-url URL"),
];

/// The nouns whose `list` shows what is at a path.
static LISTS: [(&str, &str); 22] = [
    ("/v2/accounts", "account"),
    ("/v2/agents", "agent"),
    ("/v2/alert-rules", "alert"),
    ("/v2/api-keys", "key"),
    ("/v2/batches", "batch"),
    ("/v2/budgets", "budget"),
    ("/v2/byoc/nodes", "nodes"),
    ("/v2/data-planes", "data-planes"),
    ("/v2/files", "file"),
    ("/v2/flows", "flow"),
    ("/v2/mcp-servers", "mcp-server"),
    ("/v2/members", "member"),
    ("/v2/model-aliases", "alias"),
    ("/v2/policies", "policy"),
    ("/v2/projects", "project"),
    ("/v2/provider-credentials", "credential"),
    ("/v2/requests", "request"),
    ("/v2/routes", "route"),
    ("/v2/sessions", "session"),
    ("/v2/tasks", "task"),
    ("/v2/tools", "tool"),
    ("/v2/webhooks", "webhook"),
];

/// The gateway's advice as people at a terminal follow it: they type commands, not calls.
fn in_commands(fix: &str) -> Cow<'_, str> {
    let path = fix.strip_prefix("GET ").and_then(|call| call.strip_suffix(" lists what is there."));
    match path.and_then(|path| LISTS.iter().find(|(listed, _)| *listed == path)) {
        Some((_, noun)) => format!("`tidegate {noun} list` lists what is there.").into(),
        None => fix.into(),
    }
}

/// The exit code of an error response: its code distinguishes a budget from a rate limit, which share a
/// status.
pub fn code_of(status: u16, problem: Option<&str>) -> u8 {
    if matches!(problem, Some("quota_exceeded" | "credits_required")) {
        return BUDGET;
    }
    // The request is right: it is the provider that says no.
    if problem == Some("secret_not_accepted") {
        return UPSTREAM;
    }
    match status {
        400 | 422 => USAGE,
        401 => AUTHENTICATION,
        402 => BUDGET,
        403 => FORBIDDEN,
        404 => NOT_FOUND,
        409 | 412 => CONFLICT,
        429 => RATE_LIMITED,
        502 | 504 => UPSTREAM,
        503 => UNAVAILABLE,
        _ => FAILED,
    }
}

/// Makes text from outside safe for a terminal: control characters, and so escape sequences, are shown and
/// not executed.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            '\u{1b}' => '␛',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// Prints rows under a header, each column as wide as its widest cell.
pub fn table(head: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(head.get(column).map(|h| h.chars().count())).max().unwrap_or(0)
    };
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<_> =
            cells.enumerate().map(|(i, cell)| format!("{cell:<width$}", width = width(i))).collect();
        padded.join("  ").trim_end().to_owned()
    };
    println!("{}", paint(Style::Head, &line(&mut head.iter().copied())));
    for row in rows {
        let cells: Vec<_> = row.iter().map(|cell| printable(cell)).collect();
        println!("{}", line(&mut cells.iter().map(String::as_str)));
    }
}

/// A line of CSV. A cell that begins like a formula is quoted as text, so that no spreadsheet executes it.
pub fn csv_line(cells: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let cell = |text: &str| {
        let defused = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) && text.parse::<f64>().is_err() {
            format!("'{text}")
        } else {
            text.to_owned()
        };
        if defused.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", defused.replace('"', "\"\""))
        } else {
            defused
        }
    };
    let mut line = cells.into_iter().map(|text| cell(text.as_ref())).collect::<Vec<_>>().join(",");
    line.push_str("\r\n");
    line
}

/// An object's fields as a line of CSV; an absent one is an empty cell.
fn csv_row(object: &Value, columns: &[impl AsRef<str>]) -> String {
    csv_line(columns.iter().map(|column| field(object, column.as_ref()).unwrap_or_default()))
}

/// A field of a JSON object for display; a dash if it is empty.
pub fn cell(object: &Value, name: &str) -> String {
    field(object, name).unwrap_or_else(|| "-".to_owned())
}

/// A field as text; `None` if it is empty.
fn field(object: &Value, name: &str) -> Option<String> {
    match object.get(name)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let texts: Vec<_> =
                items.iter().map(|i| i.as_str().map_or_else(|| i.to_string(), str::to_owned)).collect();
            (!texts.is_empty()).then(|| texts.join(","))
        }
        other => Some(other.to_string()),
    }
}

/// The name that a mistyped one stands for, as advice.
pub fn did_you_mean<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let near = names.map(|name| (strsim::damerau_levenshtein(name, typed), name)).min();
    let (_, name) = near.filter(|(edits, name)| *edits <= EDITS_FORGIVEN && edits * 2 < name.len())?;
    Some(format!("Did you mean {name}?"))
}

/// A file that can't be read.
pub fn unreadable(path: impl std::fmt::Display, error: &std::io::Error) -> Failure {
    Failure::new(USAGE, format!("{path} can't be read: {error}."))
        .fix("Check the path, and that this account may read it.")
}

/// A human-readable size.
pub fn bytes(bytes: u64) -> String {
    for (unit, size) in
        [("TB", 1_000_000_000_000_u64), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)]
    {
        if bytes >= size {
            return format!("{}.{} {unit}", bytes / size, bytes % size / (size / 10));
        }
    }
    format!("{bytes} B")
}

/// Prints a list: NDJSON for programs, CSV, or a table for people.
pub fn list(shared: &Shared, page: &Value, columns: &[&str], empty: &str) {
    rows(shared, page.get("data").and_then(Value::as_array).map_or(&[][..], Vec::as_slice), columns, empty);
}

/// Like `list`, for rows at hand.
pub fn rows(shared: &Shared, rows: &[Value], columns: &[&str], empty: &str) {
    match shared.form() {
        Form::Json => rows.iter().for_each(|row| println!("{row}")),
        Form::Csv => {
            print!("{}", csv_line(columns));
            rows.iter().for_each(|row| print!("{}", csv_row(row, columns)));
        }
        Form::Table if rows.is_empty() => println!("{empty}"),
        Form::Table => {
            let now = OffsetDateTime::now_utc();
            let text = |row, column| people::cell(row, column, now).unwrap_or_else(|| cell(row, column));
            let cells = |row| columns.iter().map(|column| text(row, column)).collect();
            let heads: Vec<_> = columns.iter().map(|column| people::head(column)).collect();
            let heads: Vec<_> = heads.iter().map(String::as_str).collect();
            table(&heads, &rows.iter().map(cells).collect::<Vec<_>>());
        }
    }
}

/// Prints one object: JSON for programs, one line for each field for people.
pub fn object(shared: &Shared, value: &Value) {
    if shared.json {
        println!("{value}");
        return;
    }
    let Some(fields) = value.as_object() else {
        println!("{value}");
        return;
    };
    if shared.form() == Form::Csv {
        let names: Vec<_> = fields.keys().collect();
        print!("{}{}", csv_line(&names), csv_row(value, &names));
        return;
    }
    let mut lines = Vec::new();
    fields.iter().for_each(|(name, field)| add_lines("", name, field, &mut lines));
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, text) in lines {
        println!("{name:<width$}  {text}");
    }
}

/// A field's name and value; an amount is in dollars. What an object has is one line each, as `limits.max_cost`; what is
/// deeper than [`LEVELS_MAX`], such as a schema, stays JSON.
fn add_lines(of: &str, name: &str, field: &Value, lines: &mut Vec<(String, String)>) {
    let is_shallow = of.matches('.').count() < LEVELS_MAX;
    if let Some(fields) = field.as_object().filter(|fields| is_shallow && !fields.is_empty()) {
        let below = format!("{of}{name}.");
        return fields.iter().for_each(|(name, field)| add_lines(&below, name, field, lines));
    }
    let text = match field {
        Value::String(text) => printable(text),
        Value::Null => "-".into(),
        Value::Array(items)
            if !items.is_empty() && !items.iter().any(|item| item.is_array() || item.is_object()) =>
        {
            let text = |item: &Value| item.as_str().map_or_else(|| item.to_string(), printable);
            items.iter().map(text).collect::<Vec<_>>().join(", ")
        }
        other => printable(&other.to_string()),
    };
    let (name, text) = people::amount(name, field).unwrap_or((name.into(), text));
    lines.push((format!("{of}{}", printable(&name)), text));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_that_may_not_be_used_comes_with_advice() {
        let denied = || std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let causes = [Failure::from(denied()), anyhow::Error::from(denied()).context("can't open x").into()];
        for failure in causes {
            assert!(failure.fix_text().is_some_and(|fix| fix.contains("owns")), "{failure}");
        }
        assert_eq!(Failure::from(std::io::Error::other("x")).fix_text(), None);
    }

    #[test]
    fn an_escape_sequence_is_shown_and_not_obeyed() {
        assert_eq!(printable("a\u{1b}[31mb\r"), "a␛[31mb\u{fffd}");
    }

    #[test]
    fn cells_are_quoted_and_formulas_defused() {
        assert_eq!(
            csv_line(["a,b", "say \"hi\"", "=1+1", "-5", ""]),
            "\"a,b\",\"say \"\"hi\"\"\",'=1+1,-5,\r\n"
        );
    }

    #[test]
    fn what_is_absent_is_an_empty_cell_for_programs_and_a_dash_for_people() {
        let row = json!({"tag": null, "models": [], "name": "-x", "count": 0});
        let columns = ["tag", "models", "name", "count", "missing"];
        assert_eq!(csv_row(&row, &columns), ",,'-x,0,\r\n");
        assert_eq!(columns.map(|column| cell(&row, column)), ["-", "-", "-x", "0", "-"]);
    }

    #[test]
    fn amounts_of_an_object_are_in_dollars() {
        for (name, field, expected) in [
            ("limit_micros", json!(25_000_000), vec![("limit", "$25.00")]),
            ("cost_nano_usd", json!(1_500), vec![("cost", "$0.0000015")]),
            ("forecast_micros", json!(null), vec![("forecast", "-")]),
            ("beyond_micros", json!([]), vec![("beyond_micros", "[]")]),
            ("nano_usd_per_hour", json!(1_200_000_000), vec![("per_hour", "$1.20")]),
            ("input_micros_per_million", json!(150_000), vec![("input_per_million", "$0.15")]),
            ("requests", json!(3), vec![("requests", "3")]),
            ("models", json!(["a", "b\u{1b}[31m"]), vec![("models", "a, b␛[31m")]),
            ("limits", json!({}), vec![("limits", "{}")]),
            (
                "limits",
                json!({"max_cost_micros": 20_000, "in": {"regions": ["eu"], "days": [1, 2], "at": {"hour": 1}}}),
                vec![
                    ("limits.max_cost", "$0.02"),
                    ("limits.in.regions", "eu"),
                    ("limits.in.days", "1, 2"),
                    ("limits.in.at", "{\"hour\":1}"),
                ],
            ),
        ] {
            let mut lines = Vec::new();
            add_lines("", name, &field, &mut lines);
            lines.sort_unstable();
            let mut expected: Vec<_> =
                expected.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
            expected.sort_unstable();
            assert_eq!(lines, expected, "{name}");
        }
    }

    #[test]
    fn advice_names_the_command_that_lists() {
        for (fix, expected) in [
            ("GET /v2/requests lists what is there.", "`tidegate request list` lists what is there."),
            ("GET /v2/nowhere lists what is there.", "GET /v2/nowhere lists what is there."),
            ("Send a name.", "Send a name."),
        ] {
            assert_eq!(in_commands(fix), expected);
        }
    }

    #[test]
    fn a_mistyped_name_is_near_and_not_just_as_short() {
        let known = || ["openai", "xai", "claude-code"].into_iter();
        let meant = |typed| did_you_mean(typed, known());
        assert_eq!(meant("opneai").as_deref(), Some("Did you mean openai?"));
        assert_eq!(meant("xia").as_deref(), Some("Did you mean xai?"));
        assert_eq!(meant("claudecod").as_deref(), Some("Did you mean claude-code?"));
        assert_eq!((meant("abc"), meant("gemini")), (None, None));
    }

    #[test]
    fn an_exit_code_says_whose_limit_it_was() {
        let cases = [
            (429, Some("rate_limit_exceeded"), RATE_LIMITED),
            (429, Some("quota_exceeded"), BUDGET),
            (402, Some("credits_required"), BUDGET),
            (402, None, BUDGET),
            (400, Some("invalid_value"), USAGE),
            (422, None, USAGE),
            (418, None, FAILED),
        ];
        for (status, code, expected) in cases {
            assert_eq!(code_of(status, code), expected, "{status} {code:?}");
        }
    }

    #[test]
    fn dollars_keep_every_micro() {
        assert_eq!(dollars(1_234_567), "$1.234567");
        assert_eq!(dollars(-5), "-$0.000005");
    }

    #[test]
    fn spend_has_cents_and_what_is_less_than_a_dollar_its_digits() {
        for (micros, text) in [
            (0, "$0.00"),
            (400_000, "$0.40"),
            (12_300, "$0.0123"),
            (1, "$0.000001"),
            (1_000_000, "$1.00"),
            (12_345_678, "$12.35"),
            (-1_234_567, "-$1.23"),
        ] {
            assert_eq!(spend(micros), text, "{micros}");
        }
    }

    #[test]
    fn sizes_are_short() {
        for (size, text) in
            [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (1_960, "1.9 kB"), (1_503_300_328, "1.5 GB")]
        {
            assert_eq!(bytes(size), text);
        }
    }
}
