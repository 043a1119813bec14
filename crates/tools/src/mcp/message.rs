//! The messages of the protocol, JSON-RPC 2.0, as they arrive.

use serde_json::{Value, json};

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

/// The answer to a request, among whatever else a server sends.
pub(super) fn message_with(bytes: &[u8], id: u64) -> Option<Incoming> {
    let message: Incoming = serde_json::from_slice(bytes).ok()?;
    let is_its = message.method.is_none() && message.id.as_ref().and_then(Value::as_u64) == Some(id);
    (is_its && (message.result.is_some() || message.error.is_some())).then_some(message)
}

/// What a request of the server is answered with; `None` for a message that wants no answer.
pub(super) fn reply_to(bytes: &[u8]) -> Option<String> {
    let message: Incoming = serde_json::from_slice(bytes).ok()?;
    Some(reply(&message.id?, &message.method?))
}

/// This client offers servers nothing, and says that it is there.
pub(super) fn reply(id: &Value, method: &str) -> String {
    match method {
        "ping" => json!({"jsonrpc": "2.0", "id": id, "result": {}}),
        _ => json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32_601, "message": "Method not found"}}),
    }
    .to_string()
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

    #[test]
    fn a_server_that_asks_is_answered() {
        let read = |text: &str| {
            reply_to(text.as_bytes()).map(|reply| serde_json::from_str::<Value>(&reply).unwrap())
        };
        assert_eq!(
            read(r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#),
            Some(json!({"jsonrpc": "2.0", "id": 7, "result": {}}))
        );
        let refused =
            read(r#"{"jsonrpc":"2.0","id":"a","method":"elicitation/create","params":{}}"#).unwrap();
        assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!("a"), &json!(-32_601)));
        for other in [r#"{"jsonrpc":"2.0","id":7,"result":{}}"#, r#"{"method":"notifications/message"}"#, ""]
        {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
