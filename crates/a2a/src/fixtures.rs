//! Reads a request without a core, for the fuzz targets.

use serde_json::{Value, json};

use crate::errors::RpcError;
use crate::message::ClientMessage;
use crate::params::Fields;
use crate::rpc::{Request, Unread, answer};

/// The input that a client's message is made to, or the answer that refuses it.
///
/// # Errors
/// That answer.
pub fn input_of(body: &[u8]) -> Result<Value, Value> {
    let refused = |id: &Value, error: &RpcError| answer(id, Err(error), "");
    let Request { id, params, .. } = match Request::read(body) {
        Ok(request) => request,
        Err(Unread { id, error }) => return Err(refused(&id, &error)),
    };
    let message = Fields::of(&params, "").and_then(|fields| {
        fields.history()?;
        ClientMessage::read(&fields)
    });
    let message = message.map_err(|error| refused(&id, &error))?;
    Ok(json!({"id": id, "input": message.input(), "data": message.data.len()}))
}
