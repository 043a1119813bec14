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
    priority: Option<String>,
}

/// How much a request's client minds waiting. Under overload the last are refused first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Priority {
    /// A person waits for the answer.
    Interactive,
    #[default]
    Standard,
    /// Nobody waits for it: `background` or `batch`.
    Background,
}

impl Priority {
    fn named(word: &str) -> Option<Self> {
        match word {
            "interactive" => Some(Self::Interactive),
            "standard" => Some(Self::Standard),
            "background" | "batch" => Some(Self::Background),
            _ => None,
        }
    }
}

/// The priority that a request's hints state. Hints that can't be read are refused later, with their reason.
#[must_use]
pub fn priority(headers: &HeaderMap) -> Priority {
    let hints = headers.get(HINTS).and_then(|value| read(value.as_bytes()).ok());
    hints.flatten().and_then(|wire| Priority::named(&wire.priority?)).unwrap_or_default()
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
    let Some(wire) = read(value)? else { return Ok(None) };
    if wire.priority.as_deref().is_some_and(|word| Priority::named(word).is_none()) {
        return Err("its priority is none of interactive, standard, background, batch");
    }
    let Some(tag) = wire.tag else { return Ok(None) };
    if tag.is_empty() || tag.len() > TAG_BYTES_MAX || tag.chars().any(char::is_control) {
        return Err("its tag is empty, too long, or has control characters");
    }
    Ok(Some(tag))
}

fn read(value: &[u8]) -> Result<Option<Wire>, &'static str> {
    let value = value.trim_ascii();
    if value.is_empty() {
        return Ok(None);
    }
    if value.len() > HINTS_BYTES_MAX {
        return Err("it is longer than hints may be");
    }
    let json = URL_SAFE_NO_PAD.decode(value).or_else(|_| URL_SAFE.decode(value));
    let json = json.map_err(|_| "it is not base64url")?;
    serde_json::from_slice(&json).map(Some).map_err(|_| "it is not a JSON object with a text as tag")
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
    fn a_priority_is_one_of_its_words_and_standard_where_none_is_stated() {
        for (json, expected) in [
            (r#"{"priority":"interactive"}"#, Priority::Interactive),
            (r#"{"priority":"standard"}"#, Priority::Standard),
            (r#"{"priority":"background","tag":"x"}"#, Priority::Background),
            (r#"{"priority":"batch"}"#, Priority::Background),
            (r#"{"priority":"urgent"}"#, Priority::Standard),
            (r#"{"tag":"x"}"#, Priority::Standard),
            ("{", Priority::Standard),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HINTS, URL_SAFE_NO_PAD.encode(json).parse().unwrap());
            assert_eq!(priority(&headers), expected, "{json}");
        }
        assert_eq!(priority(&HeaderMap::new()), Priority::Standard);
        let urgent = URL_SAFE_NO_PAD.encode(r#"{"priority":"urgent"}"#);
        assert!(read_tag(urgent.as_bytes()).is_err_and(|what| what.contains("priority")));
    }

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
