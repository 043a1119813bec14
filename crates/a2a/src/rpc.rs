//! JSON-RPC 2.0 as the protocol uses it: one request, and one answer or a stream of them.

use serde_json::{Map, Value, json};

use crate::errors::RpcError;
use crate::limits::ID_BYTES_MAX;

/// A request of a client.
#[derive(Debug, PartialEq)]
pub(crate) struct Request {
    pub id: Value,
    pub method: String,
    pub params: Value,
}

/// Why a body is not a request, with its id where that could be read.
#[derive(Debug, PartialEq)]
pub(crate) struct Unread {
    pub id: Value,
    /// Boxed, so that a `Result` with it stays small.
    pub error: Box<RpcError>,
}

impl Request {
    /// # Errors
    /// It is not a request of JSON-RPC.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Unread> {
        let nameless = |error| Unread { id: Value::Null, error: Box::new(error) };
        let sent: Value =
            serde_json::from_slice(body).map_err(|error| nameless(RpcError::parse(&error.to_string())))?;
        match sent {
            Value::Object(fields) => Self::of_fields(fields),
            Value::Array(_) => {
                Err(nameless(RpcError::request("the protocol has no batches. Send one request at a time.")))
            }
            _ => Err(nameless(RpcError::request("a request is a JSON object."))),
        }
    }

    fn of_fields(mut fields: Map<String, Value>) -> Result<Self, Unread> {
        let id = fields.remove("id").unwrap_or_default();
        let is_id = match &id {
            Value::String(text) => text.len() <= ID_BYTES_MAX,
            Value::Number(number) => number.is_i64() || number.is_u64(),
            _ => false,
        };
        let echoed = if is_id { id } else { Value::Null };
        let wrong = |detail: &str| Unread { id: echoed.clone(), error: Box::new(RpcError::request(detail)) };
        if fields.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return Err(wrong("\"jsonrpc\" must be \"2.0\"."));
        }
        let Some(Value::String(method)) = fields.remove("method") else {
            return Err(wrong("\"method\" is required, and must be a string."));
        };
        if !is_id {
            return Err(wrong(
                "\"id\" is required, and must be a string of at most 256 bytes or a whole number: each request is answered.",
            ));
        }
        let params = fields.remove("params").unwrap_or_else(|| json!({}));
        Ok(Self { id: echoed, method, params })
    }
}

/// What is sent for a request.
pub(crate) fn answer(id: &Value, outcome: Result<&Value, &RpcError>, request: &str) -> Value {
    match outcome {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(error) => json!({"jsonrpc": "2.0", "id": id, "error": error.document(request)}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_an_id_a_method_and_params() {
        let read = Request::read(br#"{"jsonrpc": "2.0", "id": 7, "method": "GetTask"}"#).unwrap();
        assert_eq!(read, Request { id: json!(7), method: "GetTask".to_owned(), params: json!({}) });
    }

    #[test]
    fn what_is_not_a_request_is_refused_under_its_id() {
        for (sent, code, id) in [
            ("{", -32_700, json!(null)),
            ("[]", -32_600, json!(null)),
            ("3", -32_600, json!(null)),
            (r#"{"jsonrpc": "1.0", "id": "a", "method": "m"}"#, -32_600, json!("a")),
            (r#"{"jsonrpc": "2.0", "id": "a"}"#, -32_600, json!("a")),
            (r#"{"jsonrpc": "2.0", "id": "a", "method": 3}"#, -32_600, json!("a")),
            (r#"{"jsonrpc": "2.0", "method": "m"}"#, -32_600, json!(null)),
            (r#"{"jsonrpc": "2.0", "id": {"a": 1}, "method": "m"}"#, -32_600, json!(null)),
            (r#"{"jsonrpc": "2.0", "id": 1.5, "method": "m"}"#, -32_600, json!(null)),
            (r#"{"jsonrpc": "2.0", "id": null, "method": "m"}"#, -32_600, json!(null)),
        ] {
            let unread = Request::read(sent.as_bytes()).unwrap_err();
            assert_eq!((unread.error.code, unread.id), (code, id), "{sent}");
        }
    }
}
