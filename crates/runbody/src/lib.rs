//! Parses the body of a run: the app, its input, and the other fields that clients of this API send.

mod limits;

use std::borrow::Cow;
use std::collections::HashSet;

use domain::limits::MODEL_NAME_BYTES_MAX;
use domain::{Fault, FaultClass, TaskPriority};
use http::HeaderMap;
use json::{Cursor, Kind, Span};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::limits::{RUN_METADATA_BYTES_MAX, SESSION_SECONDS_MAX, WEBHOOK_BYTES_MAX};

/// A parsed run request.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRequest {
    pub app: String,
    pub input: Value,
    pub options: RunOptions,
}

/// When and how it runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunOptions {
    /// Whether the response comes when the task has ended; `None`: as its address usually does.
    pub wait: Option<bool>,
    /// Whether the client follows the task as a stream, where it usually waits for the answer.
    pub streams: bool,
    /// What is told of the end of a task that nobody waits for.
    pub webhook: Option<String>,
    pub run_at_unix_ms: Option<u64>,
    pub priority: TaskPriority,
    pub metadata: Value,
    /// How long its task is stored after its end, as its client wants it.
    pub ttl_seconds: Option<u64>,
    /// Whether the files of its output are stored; `None`: as its address usually does.
    pub stores_files: Option<bool>,
    /// What the addresses of stored files begin with, where its files are stored.
    pub files_at: Option<String>,
    pub session: WantedSession,
}

/// The warm session that a run is to belong to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum WantedSession {
    #[default]
    None,
    New {
        /// How long it may be idle.
        seconds: Option<u64>,
    },
    /// As its client names it.
    Named(String),
}

impl RunOptions {
    pub fn ttl_ms(&self) -> Option<u64> {
        self.ttl_seconds.map(|seconds| seconds.saturating_mul(1_000))
    }

    /// Whether the client waits for the answer, at an address where that is usual or not.
    ///
    /// # Errors
    /// It wants to wait, and what nobody can wait for.
    pub fn waits(&self, is_usual: bool) -> Result<bool, Box<Fault>> {
        let later = [("run_at", self.run_at_unix_ms.is_some()), ("webhook", self.webhook.is_some())];
        let later = later.into_iter().find(|(_, is_set)| *is_set);
        match (self.wait, later) {
            (Some(true), Some((name, _))) => {
                let message =
                    format!("\"wait\" is true, but \"{name}\" is only for a task that isn't waited for.");
                Err(refusal("invalid_value", message, format!("Leave \"wait\" or \"{name}\" out."), name))
            }
            (Some(waits), _) => Ok(waits),
            (None, Some(_)) => Ok(false),
            (None, None) => Ok(is_usual),
        }
    }
}

/// Fields that this release does not support, each with what applies instead. Empty values are accepted.
const UNSUPPORTED_FIELDS: &[(&str, &str)] = &[
    ("version_id", "a model has no versions to pin; name the one you want in \"app\""),
    ("setup", "a model has no setup"),
    ("workers", "the workspace's routes decide which node serves"),
    ("infra", "the workspace's routes decide where a model runs"),
    ("variant", "a model has no variants"),
    ("function", "a model has one function"),
];

/// Fields of the input, which clients easily put one level too high.
const INPUT_FIELDS: &[&str] = &["prompt", "document", "system", "max_tokens"];

/// Parses a body.
///
/// # Errors
/// It is not JSON, names no app, or requests something that would not be honoured.
pub fn read(headers: &HeaderMap, body: &[u8]) -> Result<RunRequest, Box<Fault>> {
    decode::check_content_type(headers)?;
    let (mut app, mut app_id, mut input) = (None, None, Value::Null);
    let (mut options, mut timeout) = (RunOptions::default(), None);
    for (name, span) in members(body, "")? {
        let bytes = span.of(body);
        if name == "input" {
            check_input(bytes)?;
        }
        let value: Value = serde_json::from_slice(bytes).map_err(|error| unreadable(&error))?;
        match name.as_str() {
            "app" => app = app_name("app", value)?,
            "app_id" => app_id = app_name("app_id", value)?,
            "input" => input = value,
            "wait" => options.wait = flag("wait", &value)?,
            "stream" => options.streams = flag("stream", &value)?.unwrap_or_default(),
            "webhook" => options.webhook = webhook(value)?,
            "run_at" => options.run_at_unix_ms = moment("run_at", &value)?,
            "priority" if !value.is_null() => options.priority = read_priority(&value)?,
            "metadata" => options.metadata = metadata(value)?,
            "session" => options.session = session(value)?,
            "session_timeout" => timeout = session_timeout(&value)?,
            "output_files" => options.stores_files = output_files(&value)?,
            "ttl_seconds" => options.ttl_seconds = seconds("ttl_seconds", &value)?,
            _ => check_beside(&name, &value)?,
        }
    }
    options.session = with_timeout(options.session, timeout)?;
    match (app, app_id) {
        (Some(app), Some(id)) if app != id => {
            let message = "\"app\" and \"app_id\" name different apps.";
            Err(refusal("invalid_value", message, "Send one of them.", "app_id"))
        }
        (Some(app), _) | (None, Some(app)) => Ok(RunRequest { app, input, options }),
        (None, None) => {
            let fix = "Send the model's name in \"app\", such as one that /v1/models lists.";
            Err(refusal("missing_required_parameter", "\"app\" is missing.", fix, "app"))
        }
    }
}

/// How long a session may be idle, of a body that names its session.
///
/// # Errors
/// A session that goes on keeps its time.
fn with_timeout(session: WantedSession, seconds: Option<u64>) -> Result<WantedSession, Box<Fault>> {
    match (session, seconds) {
        (WantedSession::New { .. }, seconds) => Ok(WantedSession::New { seconds }),
        (session, None) => Ok(session),
        (_, Some(_)) => Err(refusal(
            "invalid_value",
            "\"session_timeout\" is only for a new session.",
            "Send it only with \"session\": \"new\".",
            "session_timeout",
        )),
    }
}

/// The members of an object. Duplicate names are refused: parsers differ in which one counts.
pub fn members(bytes: &[u8], path: &str) -> Result<Vec<(String, Span)>, Box<Fault>> {
    let mut cursor = Cursor::new(bytes)?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        let fix = "Send a JSON object.";
        return Err(Box::new(bad("empty_body", "The request has no body.").fix(fix)));
    }
    let kind = cursor.kind()?;
    if kind != Kind::Object {
        cursor.skip()?;
        cursor.end()?;
        let message = format!("The body must be a JSON object, not {}.", kind.as_str());
        return Err(Box::new(bad("invalid_type", message).fix("Send a JSON object.")));
    }
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    cursor.object(|cursor, member| {
        let name = member.key.decode().into_owned();
        if !seen.insert(name.clone()) {
            let param = format!("{path}{}", sanitize(&name));
            let message = format!("\"{param}\" appears twice, and parsers differ in which one counts.");
            return Err(refusal("duplicate_field", message, "Send it once.", param));
        }
        found.push((name, cursor.skip()?));
        Ok::<(), Box<Fault>>(())
    })?;
    cursor.end()?;
    Ok(found)
}

/// Adds a member to an object that is being written, without its end.
pub fn push_member(object: &mut Vec<u8>, name: &str, value: &[u8]) {
    object.push(if object.is_empty() { b'{' } else { b',' });
    object.extend_from_slice(Value::from(name).to_string().as_bytes());
    object.push(b':');
    object.extend_from_slice(value);
}

/// The schema validates values only; duplicate names must be found in the bytes.
fn check_input(bytes: &[u8]) -> Result<(), Box<Fault>> {
    if Cursor::new(bytes)?.kind()? != Kind::Object {
        return Ok(());
    }
    for (name, span) in members(bytes, "input.")? {
        let inner = span.of(bytes);
        if name == "document" && Cursor::new(inner)?.kind()? == Kind::Object {
            members(inner, "input.document.")?;
        }
    }
    Ok(())
}

fn app_name(param: &'static str, value: Value) -> Result<Option<String>, Box<Fault>> {
    let fix = "Send the model's name, such as one that /v1/models lists.";
    match value {
        Value::Null => Ok(None),
        Value::String(name) if name.is_empty() || name.len() > MODEL_NAME_BYTES_MAX => {
            let message = format!("\"{param}\" must have from 1 to {MODEL_NAME_BYTES_MAX} bytes.");
            Err(refusal("invalid_value", message, fix, param))
        }
        Value::String(name) => Ok(Some(name)),
        _ => Err(refusal("invalid_type", format!("\"{param}\" must be a string."), fix, param)),
    }
}

/// A field besides app and input: it must either have no effect, or be refused.
fn check_beside(name: &str, value: &Value) -> Result<(), Box<Fault>> {
    if name == "priority" && value.is_null() {
        return Ok(());
    }
    let Some((_, instead)) = UNSUPPORTED_FIELDS.iter().find(|(later, _)| *later == name) else {
        return Err(unknown(name));
    };
    if is_default(name, value) {
        return Ok(());
    }
    let message = format!("\"{name}\" can't be honoured: {instead}.");
    let fault = Fault::new(FaultClass::Unsupported, "unsupported_field", message);
    Err(Box::new(fault.fix(format!("Leave \"{name}\" out.")).param(name.to_owned())))
}

/// Whether a field requests only the default. Clients in some languages send the empty value of every field.
fn is_default(name: &str, value: &Value) -> bool {
    match (name, value) {
        (_, Value::Null) => true,
        (_, Value::Bool(on)) => !*on,
        ("infra", Value::String(text)) => text.is_empty() || text == "cloud",
        ("function", Value::String(text)) => text.is_empty() || text == "run",
        ("variant", Value::String(text)) => text.is_empty() || text == "default",
        (_, Value::String(text)) => text.is_empty(),
        (_, Value::Number(number)) => number.as_u64() == Some(0),
        (_, Value::Array(list)) => list.is_empty(),
        (_, Value::Object(map)) => map.is_empty(),
    }
}

fn flag(name: &'static str, value: &Value) -> Result<Option<bool>, Box<Fault>> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(flag) => Ok(Some(*flag)),
        _ => Err(wrong_type(name)),
    }
}

/// An address that is told of the end. Whether it may be reached is decided when that is due.
fn webhook(value: Value) -> Result<Option<String>, Box<Fault>> {
    let wrong = || {
        let message =
            format!("\"webhook\" must be an http or https address of at most {WEBHOOK_BYTES_MAX} bytes.");
        refusal("invalid_value", message, "Correct it, or leave it out.", "webhook")
    };
    let url = match value {
        Value::Null => return Ok(None),
        Value::String(url) if url.is_empty() => return Ok(None),
        Value::String(url) => url,
        _ => return Err(wrong()),
    };
    let parsed = url.parse::<http::Uri>().ok().filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    if parsed.is_none() || url.len() > WEBHOOK_BYTES_MAX {
        return Err(wrong());
    }
    Ok(Some(url))
}

fn moment(name: &'static str, value: &Value) -> Result<Option<u64>, Box<Fault>> {
    let text = match value {
        Value::Null => return Ok(None),
        Value::String(text) if text.is_empty() => return Ok(None),
        value => value.as_str(),
    };
    let read = text.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    let unix_ms = read.and_then(|time| u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok());
    unix_ms.map(Some).ok_or_else(|| {
        let message = format!("\"{name}\" must be a time such as 2026-01-31T12:00:00Z.");
        refusal("invalid_value", message, "Correct it, or leave it out.", name)
    })
}

/// Whether so many seconds are possible is decided where they are used.
fn seconds(name: &'static str, value: &Value) -> Result<Option<u64>, Box<Fault>> {
    if value.is_null() {
        return Ok(None);
    }
    value.as_u64().map(Some).ok_or_else(|| {
        let message = format!("\"{name}\" must be a whole number of seconds.");
        refusal("invalid_type", message, "Correct it, or leave it out.", name)
    })
}

fn output_files(value: &Value) -> Result<Option<bool>, Box<Fault>> {
    match value {
        Value::Null => Ok(None),
        Value::String(word) if word == "stored" => Ok(Some(true)),
        Value::String(word) if word == "inline" => Ok(Some(false)),
        _ => {
            let message = "\"output_files\" must be \"stored\" or \"inline\".";
            Err(refusal("invalid_value", message, "Correct it, or leave it out.", "output_files"))
        }
    }
}

fn read_priority(value: &Value) -> Result<TaskPriority, Box<Fault>> {
    let known = value.as_str().and_then(TaskPriority::by_name);
    known.ok_or_else(|| {
        let message = "\"priority\" must be \"low\", \"normal\" or \"high\".";
        refusal("invalid_value", message, "Correct it, or leave it out.", "priority")
    })
}

fn metadata(value: Value) -> Result<Value, Box<Fault>> {
    let is_fit = value.is_null() || (value.is_object() && value.to_string().len() <= RUN_METADATA_BYTES_MAX);
    if is_fit {
        return Ok(value);
    }
    let message = format!("\"metadata\" must be an object of at most {RUN_METADATA_BYTES_MAX} bytes.");
    Err(refusal("invalid_value", message, "Correct it, or leave it out.", "metadata"))
}

fn wrong_type(name: &str) -> Box<Fault> {
    let message = format!("\"{name}\" must be true or false.");
    refusal("invalid_type", message, "Correct it, or leave it out.", name.to_owned())
}

fn session(value: Value) -> Result<WantedSession, Box<Fault>> {
    match value {
        Value::Null => Ok(WantedSession::None),
        Value::String(text) if text.is_empty() => Ok(WantedSession::None),
        Value::String(text) if text == "new" => Ok(WantedSession::New { seconds: None }),
        Value::String(text) => Ok(WantedSession::Named(text)),
        _ => {
            let message = "\"session\" must be \"new\", or the id of a session.";
            Err(refusal("invalid_type", message, "Correct it, or leave it out.", "session"))
        }
    }
}

/// Clients in some languages send zero where they mean none.
fn session_timeout(value: &Value) -> Result<Option<u64>, Box<Fault>> {
    match value.as_u64() {
        _ if value.is_null() => Ok(None),
        Some(0) => Ok(None),
        Some(seconds) if seconds <= SESSION_SECONDS_MAX => Ok(Some(seconds)),
        _ => {
            let message =
                format!("\"session_timeout\" must be a number of seconds up to {SESSION_SECONDS_MAX}.");
            Err(refusal("invalid_type", message, "Correct it, or leave it out.", "session_timeout"))
        }
    }
}

fn unknown(name: &str) -> Box<Fault> {
    let sanitized = sanitize(name);
    let message = format!("\"{sanitized}\" isn't a field of a run.");
    let fix = if INPUT_FIELDS.contains(&name) {
        format!("Put \"{sanitized}\" into \"input\".")
    } else {
        "Send \"app\" and \"input\"; fields for the app belong in \"input\".".to_owned()
    };
    refusal("unknown_field", message, fix, sanitized)
}

/// The text was validated before, so only a number out of range can fail.
fn unreadable(error: &serde_json::Error) -> Box<Fault> {
    let message = format!("The body is not valid JSON: {error}.");
    Box::new(bad("invalid_json", message).fix("Send one JSON object, as a JSON encoder writes it."))
}

fn bad(code: &'static str, message: impl Into<Cow<'static, str>>) -> Fault {
    Fault::new(FaultClass::BadRequest, code, message)
}

pub fn refusal(
    code: &'static str,
    message: impl Into<Cow<'static, str>>,
    fix: impl Into<Cow<'static, str>>,
    param: impl Into<Cow<'static, str>>,
) -> Box<Fault> {
    Box::new(bad(code, message).fix(fix).param(param))
}

/// A client's text in a message: truncated, and without control characters.
pub fn sanitize(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use http::header::CONTENT_TYPE;

    use super::*;

    fn check(body: &str) -> Result<RunRequest, (&'static str, String)> {
        read(&HeaderMap::new(), body.as_bytes())
            .map_err(|fault| (fault.code, fault.param.as_deref().unwrap_or_default().to_owned()))
    }

    #[test]
    fn app_and_input_are_read() {
        let read = check(r#"{"app":"p/m","input":{"prompt":"x"}}"#).unwrap();
        assert_eq!((read.app.as_str(), &read.input["prompt"]), ("p/m", &Value::from("x")));
        assert_eq!(
            check(r#"{"app_id":"p/m"}"#).unwrap(),
            RunRequest { app: "p/m".into(), input: Value::Null, options: RunOptions::default() }
        );
        assert_eq!(check(r#"{"app":null,"app_id":"p/m"}"#).unwrap().app, "p/m");
    }

    #[test]
    fn what_is_done_anyway_may_be_asked_for() {
        for field in [
            r#""wait":true"#,
            r#""wait":false"#,
            r#""session":"new","session_timeout":60"#,
            r#""wait":null"#,
            r#""stream":false"#,
            r#""metadata":{"a":1}"#,
            r#""infra":"cloud""#,
            r#""infra":"""#,
            r#""function":"run""#,
            r#""variant":"default""#,
            r#""setup":{}"#,
            r#""workers":[]"#,
            r#""webhook":null"#,
            r#""session_timeout":0"#,
            r#""version_id":"""#,
        ] {
            assert!(check(&format!(r#"{{"app":"m",{field}}}"#)).is_ok(), "{field}");
        }
    }

    #[test]
    fn a_stream_is_requested_in_the_body() {
        let streams = |field: &str| check(&format!(r#"{{"app":"m"{field}}}"#)).unwrap().options.streams;
        assert_eq!(
            [r#","stream":true"#, r#","stream":false"#, r#","stream":null"#, ""].map(streams),
            [true, false, false, false]
        );
    }

    #[test]
    fn what_would_change_the_meaning_is_named() {
        for (name, value) in [
            ("infra", r#""private""#),
            ("workers", r#"["w"]"#),
            ("setup", r#"{"a":1}"#),
            ("version_id", r#""v""#),
            ("function", r#""train""#),
        ] {
            let refused = check(&format!(r#"{{"app":"m","{name}":{value}}}"#));
            assert_eq!(refused, Err(("unsupported_field", name.to_owned())), "{name}");
        }
    }

    #[test]
    fn a_task_that_is_for_later_is_not_waited_for() {
        let waits = |fields: &str, is_usual| {
            let options = check(&format!(r#"{{"app":"a"{fields}}}"#)).unwrap().options;
            options.waits(is_usual).map_err(|fault| fault.param.unwrap_or_default().into_string())
        };
        assert_eq!((waits("", true), waits("", false)), (Ok(true), Ok(false)));
        assert_eq!((waits(r#","wait":true"#, false), waits(r#","wait":false"#, true)), (Ok(true), Ok(false)));
        let hook = r#","webhook":"https://x.example/y""#;
        assert_eq!(waits(hook, true), Ok(false));
        assert_eq!(waits(&format!(r#"{hook},"wait":true"#), true), Err("webhook".to_owned()));
        let at = r#","run_at":"2030-01-01T00:00:00Z""#;
        assert_eq!(waits(at, true), Ok(false));
        assert_eq!(waits(&format!(r#"{at},"wait":true"#), true), Err("run_at".to_owned()));
        let read = check(&format!(r#"{{"app":"a"{at},"priority":"high"}}"#)).unwrap().options;
        assert_eq!((read.run_at_unix_ms, read.priority), (Some(1_893_456_000_000), TaskPriority::High));
    }

    #[test]
    fn bad_bodies_are_told_apart() {
        for (body, code, param) in [
            ("", "empty_body", ""),
            (" \n", "empty_body", ""),
            ("{", "invalid_json", ""),
            ("[]", "invalid_type", ""),
            ("{}", "missing_required_parameter", "app"),
            (r#"{"app":5}"#, "invalid_type", "app"),
            (r#"{"app":""}"#, "invalid_value", "app"),
            (r#"{"app":"a","app_id":"b"}"#, "invalid_value", "app_id"),
            (r#"{"app":"a","app":"b"}"#, "duplicate_field", "app"),
            (r#"{"app":"a","input":{"prompt":"x","prompt":"y"}}"#, "duplicate_field", "input.prompt"),
            (
                r#"{"app":"a","input":{"document":{"uri":"x","uri":"y"}}}"#,
                "duplicate_field",
                "input.document.uri",
            ),
            (r#"{"app":"a","prompt":"x"}"#, "unknown_field", "prompt"),
            (r#"{"app":"a","temprature":1}"#, "unknown_field", "temprature"),
            (r#"{"app":"a","input":{"prompt":"\ud800"}}"#, "invalid_json", ""),
            (r#"{"app":"a"} x"#, "invalid_json", ""),
            (r#"{"app":"a","stream":"yes"}"#, "invalid_type", "stream"),
            (r#"{"app":"a","session_timeout":4000}"#, "invalid_type", "session_timeout"),
            (r#"{"app":"a","wait":1}"#, "invalid_type", "wait"),
            (r#"{"app":"a","webhook":"ftp://x"}"#, "invalid_value", "webhook"),
            (r#"{"app":"a","webhook":7}"#, "invalid_value", "webhook"),
            (r#"{"app":"a","run_at":"tomorrow"}"#, "invalid_value", "run_at"),
            (r#"{"app":"a","priority":"urgent"}"#, "invalid_value", "priority"),
            (r#"{"app":"a","metadata":[]}"#, "invalid_value", "metadata"),
        ] {
            assert_eq!(check(body), Err((code, param.to_owned())), "{body}");
        }
        let deep = format!(r#"{{"app":"a","input":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        assert_eq!(check(&deep), Err(("json_too_deep", String::new())));
        let huge = check(r#"{"app":"a","input":{"max_tokens":1e999}}"#);
        assert_eq!(huge, Err(("invalid_json", String::new())));
    }

    #[test]
    fn another_content_type_is_refused() {
        let mut headers = HeaderMap::new();
        for (value, accepted) in
            [("application/json; charset=utf-8", true), ("application/x-www-form-urlencoded", false)]
        {
            headers.insert(CONTENT_TYPE, value.parse().unwrap());
            let class = read(&headers, br#"{"app":"m"}"#).map_err(|fault| fault.class);
            assert_eq!(class.is_ok(), accepted, "{value}");
            assert!(accepted || class == Err(FaultClass::MediaType));
        }
    }
}
