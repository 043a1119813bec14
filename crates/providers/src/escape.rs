//! Percent-encoding of text in a URL or form. Everything except name characters is escaped, so that no text
//! can change the path.

use std::fmt::Write;

/// The characters that RFC 3986 leaves unescaped, besides letters and digits.
pub(crate) const UNRESERVED: &[u8] = b"-_.~";

/// Writes bytes, escaping all except letters, digits and the bytes in `plain`.
pub(crate) fn escape(bytes: &[u8], plain: &[u8], into: &mut String) {
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || plain.contains(byte) {
            into.push(char::from(*byte));
        } else {
            let _ = write!(into, "%{byte:02X}");
        }
    }
}
