//! Parses addresses: those that name a model, a stored response or a stored object, as their dialect has them,
//! and those of uploads.

use conversation::request::Addressed;
use domain::{Dialect, Fault, Operation, StoredKind, StoredObjectKind};
use http::Method;

/// Parses an address that names the model and the operation.
///
/// # Errors
/// It names neither, or no operation of this gateway.
pub fn read_address(dialect: Dialect, rest: &str, query: &str) -> Result<(Addressed, Operation), Box<Fault>> {
    dialects::client_face(dialect).read_address(rest, query)
}

/// Parses an address that names a stored response.
///
/// # Errors
/// There is nothing at it, or no such operation.
pub fn read_response(
    dialect: Dialect,
    method: &Method,
    rest: &str,
    query: &str,
) -> Result<Addressed, Box<Fault>> {
    dialects::client_face(dialect).read_response_address(method, rest, query)
}

/// Parses an address that names a file, batch or video.
///
/// # Errors
/// There is nothing at it, or no such operation.
pub fn read_object(
    (dialect, kind): (Dialect, StoredKind),
    method: &Method,
    rest: &str,
    query: &str,
) -> Result<Addressed, Box<Fault>> {
    let objects = dialects::stored_objects(StoredObjectKind::of(dialect, kind));
    objects.ok_or_else(|| Box::new(Fault::internal()))?.read_address(method, rest, query)
}

/// The provider or model that an upload's address names.
#[must_use]
pub fn read_upload(query: &str) -> Addressed {
    let parameter = |name: &str| {
        let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let value = value.map(|value| percent_encoding::percent_decode_str(value).decode_utf8_lossy());
        value.map(std::borrow::Cow::into_owned).filter(|value| !value.is_empty())
    };
    Addressed {
        model: parameter("model").unwrap_or_default(),
        provider: parameter("provider"),
        ..Addressed::default()
    }
}
