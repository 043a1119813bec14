//! Reads bodies of requests without a core, for the fuzz targets.

use domain::Fault;
use http::HeaderMap;

use crate::state_fields::StateFields;

/// How many files a body makes, and how many a page that it asks for has.
pub fn read_files(headers: &HeaderMap, body: &[u8]) -> (Result<usize, Box<Fault>>, Result<u32, Box<Fault>>) {
    crate::files::read_body(headers, body)
}

/// Whether the fields of a body that concern what is stored can be read.
pub fn has_state_fields(body: &[u8]) -> bool {
    StateFields::read(body).is_some()
}
