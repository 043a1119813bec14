//! `Agent-Hints`: what a client would like to be known of its request; base64url of a JSON object.

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use domain::limits::{HINTS_BYTES_MAX, TAG_BYTES_MAX};
use http::HeaderMap;
use http::header::HeaderName;
use serde::Deserialize;

const HINTS: HeaderName = HeaderName::from_static("agent-hints");

/// The hints as they travel. Fields that later rooms don't read yet are passed over.
#[derive(Deserialize)]
struct Wire {
    tag: Option<String>,
}

/// The request's tag. A hint is no command: one that can't be read is ignored.
#[must_use]
pub fn tag(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(HINTS)?.as_bytes();
    read_tag(value.get(..value.len().min(HINTS_BYTES_MAX + 1))?)
}

/// The tag in a header's value.
#[must_use]
pub fn read_tag(value: &[u8]) -> Option<String> {
    let value = value.trim_ascii();
    if value.is_empty() || value.len() > HINTS_BYTES_MAX {
        return None;
    }
    let json = URL_SAFE_NO_PAD.decode(value).or_else(|_| URL_SAFE.decode(value)).ok()?;
    let wire: Wire = serde_json::from_slice(&json).ok()?;
    wire.tag.filter(|tag| !tag.is_empty() && tag.len() <= TAG_BYTES_MAX && !tag.chars().any(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_read_with_and_without_padding() {
        assert_eq!(
            read_tag(URL_SAFE_NO_PAD.encode(r#"{"tag":"nightly"}"#).as_bytes()).as_deref(),
            Some("nightly")
        );
        assert_eq!(read_tag(URL_SAFE.encode(r#"{"tag":"ab","x":[1]}"#).as_bytes()).as_deref(), Some("ab"));
    }

    #[test]
    fn what_can_not_be_read_is_ignored() {
        for json in ["", "{", "[]", "{}", r#"{"tag":5}"#, r#"{"tag":""}"#, "{\"tag\":\"a\\nb\"}"] {
            assert_eq!(read_tag(URL_SAFE_NO_PAD.encode(json).as_bytes()), None, "{json}");
        }
        assert_eq!(read_tag(b"{\"tag\":\"plain\"}"), None);
        assert_eq!(read_tag(&[0xFF; 10]), None);
        assert_eq!(
            read_tag(URL_SAFE_NO_PAD.encode(format!(r#"{{"tag":"{}"}}"#, "x".repeat(129))).as_bytes()),
            None
        );
    }
}
