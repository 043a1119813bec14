//! The `Agent-Hints` header: the client's hints about its request, as a JSON object in base64url.

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use domain::limits::{HINTS_BYTES_MAX, TAG_BYTES_MAX};
use domain::{Fault, FaultClass};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use serde::Deserialize;

const HINTS: HeaderName = HeaderName::from_static("agent-hints");

/// The header's JSON. Unknown fields are ignored.
#[derive(Deserialize)]
struct Wire {
    tag: Option<String>,
}

/// The request's tag. Invalid hints are refused: a tag selects routes, and a silently ignored one would be
/// hard to debug.
///
/// # Errors
/// 400.
pub fn tag(headers: &HeaderMap) -> Result<Option<String>, Box<Fault>> {
    let Some(value) = headers.get(HINTS) else { return Ok(None) };
    read_tag(value.as_bytes()).map_err(|what| {
        let message = format!("Agent-Hints can't be read: {what}.");
        let fix = "Send base64url of a JSON object: eyJ0YWciOiJuaWdodGx5In0 is {\"tag\":\"nightly\"}.";
        Box::new(Fault::new(FaultClass::BadRequest, "invalid_hints", message).param("Agent-Hints").fix(fix))
    })
}

/// Parses the tag from a header value.
///
/// # Errors
/// What is wrong with it.
pub fn read_tag(value: &[u8]) -> Result<Option<String>, &'static str> {
    let value = value.trim_ascii();
    if value.is_empty() {
        return Ok(None);
    }
    if value.len() > HINTS_BYTES_MAX {
        return Err("it is longer than hints may be");
    }
    let json = URL_SAFE_NO_PAD.decode(value).or_else(|_| URL_SAFE.decode(value));
    let json = json.map_err(|_| "it is not base64url")?;
    let wire: Wire =
        serde_json::from_slice(&json).map_err(|_| "it is not a JSON object with a text as tag")?;
    let Some(tag) = wire.tag else { return Ok(None) };
    if tag.is_empty() || tag.len() > TAG_BYTES_MAX || tag.chars().any(char::is_control) {
        return Err("its tag is empty, too long, or has control characters");
    }
    Ok(Some(tag))
}

/// The header that states a tag. What a tag must not have is refused where the header is read.
#[must_use]
pub fn tag_hints(tag: &str) -> HeaderValue {
    let json = serde_json::json!({"tag": tag}).to_string();
    HeaderValue::from_str(&URL_SAFE_NO_PAD.encode(json)).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_read_with_and_without_padding() {
        let read = |encoded: String| read_tag(encoded.as_bytes()).unwrap();
        assert_eq!(read(URL_SAFE_NO_PAD.encode(r#"{"tag":"nightly"}"#)).as_deref(), Some("nightly"));
        assert_eq!(read(URL_SAFE.encode(r#"{"tag":"ab","x":[1]}"#)).as_deref(), Some("ab"));
        assert_eq!(read(String::new()), None);
        assert_eq!(read(URL_SAFE_NO_PAD.encode("{}")), None);
    }

    #[test]
    fn what_can_not_be_read_is_refused() {
        for json in ["{", "[]", "5", r#"{"tag":5}"#, r#"{"tag":""}"#, "{\"tag\":\"a\\nb\"}"] {
            assert!(read_tag(URL_SAFE_NO_PAD.encode(json).as_bytes()).is_err(), "{json}");
        }
        assert_eq!(read_tag(b"{\"tag\":\"plain\"}"), Err("it is not base64url"));
        assert!(read_tag(&[0xFF; 10]).is_err());
        assert!(read_tag(&vec![b'e'; HINTS_BYTES_MAX + 1]).is_err());
        let long = URL_SAFE_NO_PAD.encode(format!(r#"{{"tag":"{}"}}"#, "x".repeat(129)));
        assert!(read_tag(long.as_bytes()).is_err());
    }
}
