//! JSON-RPC 2.0 as the protocol uses it: messages of clients, and what is answered.

use rmcp::model::{ErrorCode, ErrorData, ProgressToken, RequestId};
use serde_json::{Map, Value, json};

use crate::limits::{EXCERPT_CHARS_MAX, ID_BYTES_MAX};

/// A message of a client.
#[derive(Debug, PartialEq)]
pub(crate) enum Message {
    Request(Request),
    Notification {
        method: String,
        params: Value,
    },
    /// An answer to a request of the server's, which sends none.
    Answer,
}

/// A request that is to be answered.
#[derive(Debug, PartialEq)]
pub(crate) struct Request {
    pub id: RequestId,
    pub method: String,
    pub params: Value,
}

impl Message {
    /// # Errors
    /// It is not a message of the protocol.
    pub(crate) fn read(value: Value) -> Result<Self, ErrorData> {
        let Value::Object(mut fields) = value else { return Err(invalid("A message is a JSON object.")) };
        if fields.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return Err(invalid("\"jsonrpc\" must be \"2.0\"."));
        }
        let id = fields.remove("id");
        let Some(method) = fields.remove("method") else {
            let is_answer = fields.contains_key("result") || fields.contains_key("error");
            return if is_answer && id.is_some() {
                Ok(Self::Answer)
            } else {
                Err(invalid("\"method\" is missing."))
            };
        };
        let Value::String(method) = method else { return Err(invalid("\"method\" must be a string.")) };
        let params = fields.remove("params").unwrap_or_else(|| json!({}));
        if !params.is_object() {
            return Err(invalid("\"params\" must be an object."));
        }
        match id {
            None => Ok(Self::Notification { method, params }),
            Some(id) => Ok(Self::Request(Request { id: read_id(id)?, method, params })),
        }
    }
}

impl Request {
    /// The token by which its client wants to be notified of progress.
    pub(crate) fn progress_token(&self) -> Option<ProgressToken> {
        let token = self.params.get("_meta")?.get("progressToken")?.clone();
        read_id(token).ok().map(ProgressToken)
    }
}

fn read_id(id: Value) -> Result<RequestId, ErrorData> {
    if id.as_str().is_some_and(|text| text.len() > ID_BYTES_MAX) {
        return Err(invalid("\"id\" is too long."));
    }
    serde_json::from_value(id).map_err(|_| invalid("\"id\" must be a string or a whole number."))
}

pub(crate) fn invalid(message: &'static str) -> ErrorData {
    ErrorData::new(ErrorCode::INVALID_REQUEST, message, None)
}

pub(crate) fn bad_params(message: impl Into<String>) -> ErrorData {
    ErrorData::new(ErrorCode::INVALID_PARAMS, message.into(), None)
}

/// Params in their own type.
///
/// # Errors
/// They are others.
pub(crate) fn params<T: serde::de::DeserializeOwned>(params: Value) -> Result<T, ErrorData> {
    serde_json::from_value(params).map_err(|error| bad_params(format!("The params are invalid: {error}.")))
}

/// What is sent for a request.
pub(crate) fn answer(id: &RequestId, outcome: Result<Value, ErrorData>) -> Value {
    match outcome {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(error) => json!({"jsonrpc": "2.0", "id": id, "error": error}),
    }
}

/// What is sent where no request could be read.
pub(crate) fn nameless(error: &ErrorData) -> Value {
    json!({"jsonrpc": "2.0", "id": null, "error": error})
}

pub(crate) fn notification(method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "method": method, "params": params})
}

/// Text of a client as an error repeats it.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(EXCERPT_CHARS_MAX).collect()
}

/// A text argument; empty ones count as left out.
pub(crate) fn text<'a>(arguments: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    arguments.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_a_request_a_notification_or_an_answer() {
        let read = |value: Value| Message::read(value);
        let request = read(json!({"jsonrpc": "2.0", "id": 7, "method": "ping"})).unwrap();
        let expected = Request { id: RequestId::Number(7), method: "ping".to_owned(), params: json!({}) };
        assert_eq!(request, Message::Request(expected));
        let cancelled =
            json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "a"}});
        assert!(matches!(read(cancelled), Ok(Message::Notification { .. })));
        assert_eq!(read(json!({"jsonrpc": "2.0", "id": "x", "result": {}})), Ok(Message::Answer));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for wrong in [
            json!([]),
            json!({"id": 1, "method": "ping"}),
            json!({"jsonrpc": "1.0", "id": 1, "method": "ping"}),
            json!({"jsonrpc": "2.0", "id": null, "method": "ping"}),
            json!({"jsonrpc": "2.0", "id": 1.5, "method": "ping"}),
            json!({"jsonrpc": "2.0", "id": "x".repeat(ID_BYTES_MAX + 1), "method": "ping"}),
            json!({"jsonrpc": "2.0", "id": 1, "method": 7}),
            json!({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}),
            json!({"jsonrpc": "2.0", "id": 1}),
        ] {
            assert_eq!(Message::read(wrong.clone()).unwrap_err().code, ErrorCode::INVALID_REQUEST, "{wrong}");
        }
    }

    #[test]
    fn a_progress_token_is_a_string_or_a_number() {
        let token = |token: Value| {
            let params = json!({"_meta": {"progressToken": token}});
            Request { id: RequestId::Number(1), method: "m".to_owned(), params }.progress_token()
        };
        assert_eq!(token(json!(3)), Some(ProgressToken(RequestId::Number(3))));
        assert_eq!(token(json!("a")), Some(ProgressToken(RequestId::String("a".into()))));
        assert_eq!(token(json!(null)), None);
    }
}
