//! Reads what strangers send without a server, for the fuzz targets.

use domain::Fault;
use serde_json::Value;

pub use crate::cursor::CursorSeal;

/// # Errors
/// The body isn't one JSON document.
pub fn read_body(body: &[u8]) -> Result<Value, Box<Fault>> {
    crate::body::read(body)
}
