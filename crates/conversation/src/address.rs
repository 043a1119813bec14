//! Resolves the percent escapes of request paths and queries.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Resolves percent escapes and leaves invalid ones as they are. Returns `None` if the result is not UTF-8.
pub fn unescape(text: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(text).decode_utf8().ok()
}

/// The same, where what is not UTF-8 is replaced.
pub fn unescape_lossy(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}
