//! The protocol's errors: a code, a sentence that says how to mend it, and the same for programs.

use domain::{Fault, FaultClass};
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::limits::EXCERPT_CHARS_MAX;

const INFO_TYPE: &str = "type.googleapis.com/google.rpc.ErrorInfo";
const VIOLATIONS_TYPE: &str = "type.googleapis.com/google.rpc.BadRequest";
/// Whose reasons the protocol's own errors have.
const DOMAIN: &str = "a2a-protocol.org";

/// An error of JSON-RPC.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RpcError {
    pub code: i64,
    pub message: String,
    reason: &'static str,
    /// Where it is wrong, as a path in the params.
    field: Option<String>,
    /// Boxed, so that every `Result` with an error stays small.
    facts: Box<Map<String, Value>>,
}

impl RpcError {
    fn new(code: i64, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), reason, field: None, facts: Box::default() }
    }

    pub(crate) fn parse(detail: &str) -> Self {
        let message =
            format!("Invalid JSON payload: {detail}. Send one JSON object, as a JSON encoder writes it.");
        Self::new(-32_700, "PARSE_ERROR", message)
    }

    pub(crate) fn request(detail: &str) -> Self {
        Self::new(-32_600, "INVALID_REQUEST", format!("Request payload validation error: {detail}"))
    }

    pub(crate) fn method(method: &str) -> Self {
        let message = format!(
            "Method not found: \"{}\". This is A2A 1.0, whose methods are SendMessage, SendStreamingMessage, GetTask, ListTasks, \
             CancelTask, SubscribeToTask and GetExtendedAgentCard.",
            excerpt(method)
        );
        Self::new(-32_601, "METHOD_NOT_FOUND", message).with("method", &excerpt(method))
    }

    pub(crate) fn params(field: &str, detail: impl AsRef<str>) -> Self {
        let message = format!("Invalid parameters: {field}: {}", detail.as_ref());
        Self { field: Some(field.to_owned()), ..Self::new(-32_602, "INVALID_PARAMS", message) }
    }

    pub(crate) fn task_not_found(id: &str) -> Self {
        let message = format!(
            "Task not found: this agent has no task \"{}\" that this key can read. Use the id of a task that SendMessage answered with; \
             ListTasks has them.",
            excerpt(id)
        );
        Self::new(-32_001, "TASK_NOT_FOUND", message).with("taskId", &excerpt(id))
    }

    pub(crate) fn not_cancelable(id: &str, state: &str) -> Self {
        let message = format!("Task cannot be canceled: it has ended with {state}. GetTask reads it.");
        Self::new(-32_002, "TASK_NOT_CANCELABLE", message).with("taskId", id).with("state", state)
    }

    pub(crate) fn no_push() -> Self {
        let message = "Push Notification is not supported: follow the task with SubscribeToTask, or poll it with GetTask.";
        Self::new(-32_003, "PUSH_NOTIFICATION_NOT_SUPPORTED", message)
    }

    pub(crate) fn unsupported(detail: &str) -> Self {
        Self::new(-32_004, "UNSUPPORTED_OPERATION", format!("This operation is not supported: {detail}"))
    }

    pub(crate) fn content_type(field: &str, detail: &str) -> Self {
        let message = format!("Incompatible content types: {field}: {detail}");
        Self { field: Some(field.to_owned()), ..Self::new(-32_005, "CONTENT_TYPE_NOT_SUPPORTED", message) }
    }

    pub(crate) fn version(wanted: &str) -> Self {
        let message = format!(
            "Version not supported: the A2A-Version \"{}\" is not served here. Send A2A-Version: 1.0.",
            excerpt(wanted)
        );
        let error = Self::new(-32_009, "VERSION_NOT_SUPPORTED", message);
        error.with("requestedVersion", &excerpt(wanted)).with("supportedVersions", "1.0")
    }

    fn internal(message: impl Into<String>) -> Self {
        Self::new(-32_603, "INTERNAL_ERROR", message)
    }

    pub(crate) fn store_away() -> Self {
        Self::internal("Internal error: the tasks can't be read now. Send the request again in a moment.")
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.facts.insert(name.to_owned(), json!(value));
        self
    }

    /// Of a call of the API that was refused with a problem document.
    pub(crate) fn of_problem(status: StatusCode, problem: &Value) -> Self {
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let detail = text(problem, "detail").unwrap_or_else(|| "It was refused.".to_owned());
        let first = problem.get("errors").and_then(Value::as_array).and_then(|errors| errors.first());
        let first =
            first.and_then(|error| Some(format!("{} {}.", text(error, "pointer")?, text(error, "message")?)));
        let code = text(problem, "code").unwrap_or_default();
        let sentences: Vec<_> = [Some(detail), first, text(problem, "fix")].into_iter().flatten().collect();
        let sentence = sentences.join(" ");
        let error = match code.as_str() {
            "chat_not_found" => Self::params("message.contextId", sentence),
            _ if status == StatusCode::TOO_MANY_REQUESTS || !status.is_client_error() => {
                Self::internal(format!("Internal error: {sentence}"))
            }
            _ => Self::params("message", sentence),
        };
        error.with("code", &code)
    }

    pub(crate) fn of_fault(fault: &Fault) -> Self {
        let fix = fault.fix.as_deref().unwrap_or_default();
        let message = format!("{} {fix}", fault.message);
        let error = match fault.class {
            FaultClass::BadRequest | FaultClass::TooLarge | FaultClass::Conflict => {
                Self::params("params", message)
            }
            _ => Self::internal(format!("Internal error: {message}")),
        };
        error.with("code", fault.code)
    }

    /// As it is sent, with the id by which the request is found.
    pub(crate) fn document(&self, request: &str) -> Value {
        let mut facts = (*self.facts).clone();
        facts.insert("requestId".to_owned(), json!(request));
        let mut details = vec![json!({
            "@type": INFO_TYPE, "reason": self.reason, "domain": DOMAIN, "metadata": facts,
        })];
        if let Some(field) = &self.field {
            let violation = json!({"field": field, "description": self.message});
            details.push(json!({"@type": VIOLATIONS_TYPE, "fieldViolations": [violation]}));
        }
        json!({"code": self.code, "message": self.message, "data": details})
    }
}

/// Text of a client as an error repeats it.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(EXCERPT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_its_code_and_names_its_request() {
        for (error, code, reason) in [
            (RpcError::parse("x"), -32_700, "PARSE_ERROR"),
            (RpcError::request("x"), -32_600, "INVALID_REQUEST"),
            (RpcError::method("x"), -32_601, "METHOD_NOT_FOUND"),
            (RpcError::params("message", "x"), -32_602, "INVALID_PARAMS"),
            (RpcError::task_not_found("x"), -32_001, "TASK_NOT_FOUND"),
            (RpcError::not_cancelable("x", "y"), -32_002, "TASK_NOT_CANCELABLE"),
            (RpcError::no_push(), -32_003, "PUSH_NOTIFICATION_NOT_SUPPORTED"),
            (RpcError::unsupported("x"), -32_004, "UNSUPPORTED_OPERATION"),
            (RpcError::content_type("a", "x"), -32_005, "CONTENT_TYPE_NOT_SUPPORTED"),
            (RpcError::version("0.3"), -32_009, "VERSION_NOT_SUPPORTED"),
        ] {
            let document = error.document("trc_1");
            assert_eq!((&document["code"], &document["data"][0]["reason"]), (&json!(code), &json!(reason)));
            assert_eq!(document["data"][0]["metadata"]["requestId"], "trc_1");
        }
        assert_eq!(excerpt("a\nb"), "ab");
    }

    #[test]
    fn what_the_api_refused_is_the_clients_or_ours() {
        let of = |status: StatusCode, code: &str| {
            RpcError::of_problem(status, &json!({"code": code, "detail": "No."}))
        };
        assert_eq!(of(StatusCode::NOT_FOUND, "chat_not_found").code, -32_602);
        assert_eq!(of(StatusCode::UNPROCESSABLE_ENTITY, "validation_error").code, -32_602);
        assert_eq!(of(StatusCode::TOO_MANY_REQUESTS, "tasks_waiting").code, -32_603);
        assert_eq!(of(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable").code, -32_603);
    }
}
