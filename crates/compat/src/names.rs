//! Headers as text.

use http::HeaderMap;

/// The first value of a header, as text.
pub fn text_of(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?.trim();
    (!value.is_empty()).then(|| value.to_owned())
}
