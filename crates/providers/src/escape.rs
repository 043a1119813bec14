//! Text as a part of an address or a form: what is not of a name is escaped, so that none leads elsewhere.

use std::fmt::Write;

/// What RFC 3986 leaves as it is, beside letters and digits.
pub(crate) const UNRESERVED: &[u8] = b"-_.~";

/// Writes bytes, of which letters, digits and these stay as they are.
pub(crate) fn escape(bytes: &[u8], plain: &[u8], into: &mut String) {
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || plain.contains(byte) {
            into.push(char::from(*byte));
        } else {
            let _ = write!(into, "%{byte:02X}");
        }
    }
}
