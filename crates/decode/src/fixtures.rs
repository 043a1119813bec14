//! Calls without a connection, for the tests of later stages.

use bytes::Bytes;
use domain::{Dialect, Fault, Operation, TraceId};
use http::HeaderMap;

use crate::{Call, Inbound, decode};

/// A chat call with one short message to `model`.
///
/// # Errors
/// The model's name is invalid.
pub fn chat_call(trace: TraceId, model: &str, stream: bool) -> Result<Call, Box<Fault>> {
    body_call(trace, chat::encode_request(model, &[("user", "Hello")], None, stream, &[]))
}

/// A chat call with a custom body.
///
/// # Errors
/// Those of `decode`.
pub fn body_call(trace: TraceId, body: Bytes) -> Result<Call, Box<Fault>> {
    let inbound = Inbound {
        trace,
        dialect: Dialect::Chat,
        operation: Operation::Chat,
        headers: HeaderMap::new(),
        addressed: None,
        body,
        form: None,
        received_us: 0,
        received_unix_ms: 0,
    };
    decode(inbound, 0)
}
