//! Runs of HTTP apps: the input is compared with the app's schema, its server is called, and the output is compared in turn.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::{CallOutcome, ReadyApp, Secret, WorkspaceId};
use egress::Client;
use jsonschema::error::ValidationErrorKind;
use schemas::Schema;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use crate::answer::{CallFailure, quoted};
use crate::http_call::{HttpAnswer, exchange};
use crate::limits::{CALL_TIME_MAX, SCHEMA_ERRORS_MAX};

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What a run of an app made.
#[derive(Debug, Clone, PartialEq)]
pub struct AppAnswer {
    pub output: Value,
    pub bytes: u64,
}

/// Why a run made nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppFailure {
    pub failure: CallFailure,
    /// The server answered, and what it sent does not fit the app's schema.
    pub is_output: bool,
    /// The same call may succeed later.
    pub may_retry: bool,
}

/// Places of a value that do not fit a schema: each a JSON pointer with the reason. Values are not repeated.
pub fn misfits(schema: &Value, value: &Value) -> Vec<(String, String)> {
    let schema = match Schema::compile(schema) {
        Ok(schema) => schema,
        Err(_) => return vec![(String::new(), "the schema itself can't be used".to_owned())],
    };
    let errors = match schema.errors(value, SCHEMA_ERRORS_MAX) {
        Ok(errors) => errors,
        Err(error) => return vec![(String::new(), error.to_string())],
    };
    let found = errors.iter().map(|error| {
        let place = error.instance_path().as_str().to_owned();
        match error.kind() {
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                (
                    format!("{place}/{}", name.replace('~', "~0").replace('/', "~1")),
                    format!("\"{name}\" is required"),
                )
            }
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let names: Vec<String> =
                    unexpected.iter().take(SCHEMA_ERRORS_MAX).map(|name| quoted(name)).collect();
                (place, format!("these fields aren't known here: {}", names.join(", ")))
            }
            _ => (place, error.masked_with("the value").to_string()),
        }
    });
    found.collect()
}

/// Whether this is a JSON Schema that values can be compared with.
pub fn is_schema(schema: &Value) -> bool {
    Schema::compile(schema).is_ok()
}

/// Runs an app. The server learns of a repeated call by `key`, which is the same for each try of a task.
///
/// # Errors
/// The server can't be reached, or answers with an error or with what does not fit.
pub async fn run_app(
    client: &Client,
    owner: WorkspaceId,
    ready: &ReadyApp,
    input: &Map<String, Value>,
    key: &str,
) -> Result<AppAnswer, AppFailure> {
    let definition = &ready.app.definition;
    let mut headers = ready.headers.clone();
    if !definition.secrets.iter().any(|secret| secret.header.eq_ignore_ascii_case(IDEMPOTENCY_KEY)) {
        headers.push((IDEMPOTENCY_KEY.to_owned(), Arc::new(Secret::from_text(key.to_owned()))));
    }
    let calling = exchange(client, owner, &definition.http, &headers, input);
    let answer = match timeout(CALL_TIME_MAX, calling).await {
        Ok(answer) => answer.map_err(failed)?,
        Err(_) => {
            let text = "The app's server did not answer in time.";
            return Err(failed(CallFailure::new(CallOutcome::Timeout, text)));
        }
    };
    let bytes = answer.body.len() as u64;
    let status = answer.status;
    if !status.is_success() {
        let reply = quoted(&String::from_utf8_lossy(&answer.body));
        let text = format!("The app's server answered with HTTP status {}: {reply}", status.as_u16());
        let may_retry = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
        let failure = CallFailure::new(CallOutcome::Failed, text);
        return Err(AppFailure { failure, is_output: false, may_retry });
    }
    let output = output_of(&answer).map_err(|why| unfit(&why))?;
    let schema: Value = serde_json::from_str(&definition.output_schema).unwrap_or(Value::Bool(true));
    if let Some((place, why)) = misfits(&schema, &output).into_iter().next() {
        return Err(unfit(&format!("at \"{place}\", {why}")));
    }
    Ok(AppAnswer { output, bytes })
}

fn failed(failure: CallFailure) -> AppFailure {
    let may_retry = matches!(failure.outcome, CallOutcome::Timeout | CallOutcome::Unreachable);
    AppFailure { failure, is_output: false, may_retry }
}

fn unfit(why: &str) -> AppFailure {
    let text = format!("The answer of the app's server does not fit its output schema: {why}.");
    AppFailure { failure: CallFailure::new(CallOutcome::Failed, text), is_output: true, may_retry: false }
}

/// JSON as it is, a text as a string, and any other file as a data URI.
fn output_of(answer: &HttpAnswer) -> Result<Value, String> {
    let essence = answer.content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || essence.ends_with("+json") {
        return serde_json::from_slice(&answer.body).map_err(|_| "it is not JSON".to_owned());
    }
    if essence.is_empty() || essence.starts_with("text/") {
        let text = String::from_utf8(answer.body.to_vec()).map_err(|_| "it is not UTF-8".to_owned())?;
        return Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)));
    }
    let uri = format!("data:{essence};base64,{}", STANDARD.encode(&answer.body));
    Ok(json!({"uri": uri, "content_type": essence}))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;

    use super::*;

    fn check(content_type: &str, body: &'static [u8]) -> Result<Value, String> {
        let body = Bytes::from_static(body);
        output_of(&HttpAnswer { status: StatusCode::OK, content_type: content_type.to_owned(), body })
    }

    #[test]
    fn an_output_is_what_its_type_says() {
        for (content_type, body, output) in [
            ("application/json; charset=utf-8", &b"{\"a\":1}"[..], Some(json!({"a": 1}))),
            ("application/problem+json", b"[]", Some(json!([]))),
            ("application/json", b"{", None),
            ("text/plain", b"hello", Some(json!("hello"))),
            ("", b"3", Some(json!(3))),
            ("text/plain", b"\xff", None),
            (
                "Image/PNG",
                b"\xff",
                Some(json!({"uri": "data:image/png;base64,/w==", "content_type": "image/png"})),
            ),
        ] {
            assert_eq!(check(content_type, body).ok(), output, "{content_type}");
        }
    }

    #[test]
    fn what_does_not_fit_is_told_by_its_place_alone() {
        let schema = json!({
            "type": "object", "additionalProperties": false, "required": ["to"],
            "properties": {"to": {"type": "string"}, "lines": {"type": "array", "items": {"type": "integer"}}},
        });
        let places = |value: &Value| -> Vec<String> {
            misfits(&schema, value).into_iter().map(|(place, _)| place).collect()
        };
        assert_eq!(places(&json!({"to": "a", "lines": [1, 2]})), Vec::<String>::new());
        assert_eq!(places(&json!({"lines": [1, "secret"]})), ["/lines/1", "/to"]);
        let told = misfits(&schema, &json!({"to": "a", "lines": ["secret"], "from": "b"}));
        assert!(told.iter().all(|(_, why)| !why.contains("secret")), "{told:?}");
    }
}
