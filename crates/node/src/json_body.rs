//! JSON bodies of a node's management API, in both directions.

use bytes::Bytes;
use decode::check_content_type;
use domain::{Fault, FaultClass};
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::body::NodeBody;

/// Refuses a body without a JSON content type: web pages may send other types cross-origin without a
/// preflight.
///
/// # Errors
/// 415.
pub(crate) fn check_json(headers: &HeaderMap, body: &Bytes) -> Result<(), Box<Fault>> {
    if body.is_empty() {
        return Ok(());
    }
    if headers.contains_key(CONTENT_TYPE) {
        return check_content_type(headers);
    }
    let message = "This path takes application/json, and the body came without a type.";
    let fault = Fault::new(FaultClass::MediaType, "unsupported_media_type", message);
    Err(Box::new(fault.fix("Send the header \"content-type: application/json\".")))
}

/// Parses a body; unknown fields are refused by name.
pub(crate) fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Box<Fault>> {
    serde_json::from_slice(body).map_err(|error| {
        let message = format!("The body can't be read: {error}.");
        let fault = Fault::new(FaultClass::BadRequest, "invalid_body", message);
        Box::new(fault.fix("Send the object that docs/node.md describes for this path."))
    })
}

/// # Errors
/// A bug in Tidegate.
pub(crate) fn json_response(
    status: StatusCode,
    value: &impl Serialize,
) -> Result<Response<NodeBody>, Box<Fault>> {
    let body = serde_json::to_vec(value).map_err(|_| Box::new(Fault::internal()))?;
    let mut answer = json(body.into());
    *answer.status_mut() = status;
    Ok(answer)
}

pub(crate) fn json(body: Bytes) -> Response<NodeBody> {
    typed_response("application/json", NodeBody::whole(body))
}

pub(crate) fn typed_response(media_type: &'static str, body: NodeBody) -> Response<NodeBody> {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}
