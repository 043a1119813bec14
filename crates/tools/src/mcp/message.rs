//! The messages of the protocol, JSON-RPC 2.0, as they arrive.

use serde_json::Value;

use crate::answer::CallFailure;

/// A message of the server.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Incoming {
    pub id: Option<Value>,
    pub result: Option<Value>,
    pub error: Option<RpcError>,
    pub method: Option<String>,
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct RpcError {
    pub code: i64,
    #[serde(default)]
    pub message: String,
}

pub(super) fn broken(what: &str) -> CallFailure {
    CallFailure::unreachable(format!("The MCP server answers with {what}."))
}

/// The answer to a request. Requests and notifications of the server are passed over: this client offers it nothing.
pub(super) fn message_with(bytes: &[u8], id: u64) -> Option<Incoming> {
    let message: Incoming = serde_json::from_slice(bytes).ok()?;
    let is_its = message.method.is_none() && message.id.as_ref().and_then(Value::as_u64) == Some(id);
    (is_its && (message.result.is_some() || message.error.is_some())).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_the_request_counts() {
        for (text, is_it) in [
            (r#"{"jsonrpc":"2.0","id":7,"result":{}}"#, true),
            (r#"{"jsonrpc":"2.0","id":7,"error":{"code":-1,"message":"no"}}"#, true),
            (r#"{"jsonrpc":"2.0","id":8,"result":{}}"#, false),
            (r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#, false),
            (r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#, false),
            ("", false),
        ] {
            assert_eq!(message_with(text.as_bytes(), 7).is_some(), is_it, "{text}");
        }
    }
}
