//! The `Agent-Hints` header: the client's hints about its request, as a JSON object in base64url; and
//! `Agent-Hints-Ref`, which names stored ones in their place.

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use domain::limits::HINTS_BYTES_MAX;
use domain::{Hints, Qos, ReadHints};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

/// The headers of hints, as they are written.
pub const HINTS: &str = "Agent-Hints";
pub const HINTS_REF: &str = "Agent-Hints-Ref";
const HINTS_NAME: HeaderName = HeaderName::from_static("agent-hints");
const REF_NAME: HeaderName = HeaderName::from_static("agent-hints-ref");

/// The hints of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestHints {
    pub hints: Hints,
    /// The stored hints that take their place, as the client wrote it.
    pub reference: Option<String>,
}

/// The name of the stored hints that a request refers to.
pub fn reference(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(REF_NAME)?;
    Some(value.to_str().unwrap_or_default().trim())
}

/// The hints of a request's headers; `None` where it has none. What has no effect is added to `unheeded`: the header
/// as a whole where it can't be read or stored hints take its place, else its fields.
pub(crate) fn read(headers: &HeaderMap, unheeded: &mut Vec<String>) -> Option<Box<RequestHints>> {
    let inline = headers.get(HINTS_NAME).filter(|value| !value.as_bytes().trim_ascii().is_empty());
    if let Some(reference) = reference(headers) {
        if inline.is_some() {
            unheeded.push(HINTS.to_owned());
        }
        return Some(Box::new(RequestHints {
            reference: Some(reference.to_owned()),
            ..RequestHints::default()
        }));
    }
    let Some(read) = read_value(inline?.as_bytes()) else {
        unheeded.push(HINTS.to_owned());
        return None;
    };
    unheeded.extend(named(HINTS, &read));
    Some(Box::new(RequestHints { hints: read.hints, reference: None }))
}

/// The fields that have no effect, behind the name of their header.
pub(crate) fn named<'r>(header: &'r str, read: &'r ReadHints) -> impl Iterator<Item = String> + 'r {
    read.passed_over.iter().map(move |one| format!("{header}.{}", one.path))
}

/// Reads the value of the header. `None` for what is not base64url of a JSON object, is too long or too deep.
pub fn read_value(value: &[u8]) -> Option<ReadHints> {
    serde_json::from_slice(&decoded(value)?).ok()
}

fn decoded(value: &[u8]) -> Option<Vec<u8>> {
    let value = value.trim_ascii();
    if value.len() > HINTS_BYTES_MAX {
        return None;
    }
    URL_SAFE_NO_PAD.decode(value).or_else(|_| URL_SAFE.decode(value)).ok()
}

/// Where a quality of service was stated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatedInHints {
    /// It joined the request's hints.
    Alone,
    /// The request's own hints can't be read, and it took their place.
    InPlaceOfUnread,
    /// The request's own hints may state another.
    Twice,
}

/// The quality of service that the hints in the header state.
pub fn stated_qos(headers: &HeaderMap) -> Qos {
    let read = headers.get(HINTS_NAME).and_then(|value| read_value(value.as_bytes()));
    read.map(|read| read.hints.qos).unwrap_or_default()
}

/// Adds a quality of service to the hints of a request.
pub fn state_qos(headers: &mut HeaderMap, qos: &Value) -> StatedInHints {
    if headers.contains_key(REF_NAME) {
        return StatedInHints::Twice;
    }
    let (mut hints, mut stated) = (Map::new(), StatedInHints::Alone);
    if let Some(value) = headers.get(HINTS_NAME).filter(|value| !value.as_bytes().trim_ascii().is_empty()) {
        let is_read = read_value(value.as_bytes()).is_some();
        match decoded(value.as_bytes())
            .filter(|_| is_read)
            .and_then(|json| serde_json::from_slice(&json).ok())
        {
            Some(read) => hints = read,
            None => stated = StatedInHints::InPlaceOfUnread,
        }
    }
    if hints.contains_key("qos") || hints.contains_key("priority") {
        return StatedInHints::Twice;
    }
    hints.insert("qos".to_owned(), qos.clone());
    headers.insert(HINTS_NAME, hints_of(&Value::Object(hints)));
    stated
}

/// The header that states a tag.
pub fn tag_hints(tag: &str) -> HeaderValue {
    hints_of(&serde_json::json!({"tag": tag}))
}

/// The header with these hints.
pub fn hints_of(hints: &Value) -> HeaderValue {
    let text = URL_SAFE_NO_PAD.encode(hints.to_string());
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use domain::{DataBoundary, PolicySpec, Profile, QosClass, RegionPolicy};

    use super::*;

    fn headers(json: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HINTS_NAME, URL_SAFE_NO_PAD.encode(json).parse().unwrap());
        headers
    }

    fn check(json: &str) -> (Hints, Vec<String>) {
        let mut unheeded = Vec::new();
        let read = read(&headers(json), &mut unheeded);
        (read.map(|read| read.hints).unwrap_or_default(), unheeded)
    }

    #[test]
    fn a_class_is_one_of_its_words_and_none_where_none_is_stated() {
        for (json, expected) in [
            (r#"{"priority":"interactive"}"#, Some(QosClass::Interactive)),
            (r#"{"priority":"standard"}"#, Some(QosClass::Standard)),
            (r#"{"priority":"background","tag":"x"}"#, Some(QosClass::Background)),
            (r#"{"priority":"batch"}"#, Some(QosClass::Batch)),
            (r#"{"qos":{"class":"interactive"}}"#, Some(QosClass::Interactive)),
            (r#"{"qos":{"class":"batch"},"priority":"interactive"}"#, Some(QosClass::Batch)),
            (r#"{"priority":"urgent"}"#, None),
            (r#"{"tag":"x"}"#, None),
            ("{", None),
        ] {
            assert_eq!(stated_qos(&headers(json)).class, expected, "{json}");
        }
        assert_eq!(stated_qos(&HeaderMap::new()), Qos::default());
    }

    #[test]
    fn hints_are_read_with_and_without_padding() {
        let tag = |encoded: String| read_value(encoded.as_bytes()).and_then(|read| read.hints.tag);
        assert_eq!(tag(URL_SAFE_NO_PAD.encode(r#"{"tag":"nightly"}"#)).as_deref(), Some("nightly"));
        assert_eq!(tag(URL_SAFE.encode(r#"{"tag":"ab"}"#)).as_deref(), Some("ab"));
    }

    #[test]
    fn each_field_is_read_or_named() {
        let (hints, unheeded) = check(
            r#"{"tag":"t","qos":{"class":"interactive","target_ttft_ms":5,"deadline_ms":6,"degrade_policy":"forbid","priority":7},
                "reuse":{"preference":"bypass","scope":"session","retention_preference":"short"},
                "routing":{"region_policy":"eu_only","execution_profiles":["byok","byoc_dynamo"],"data_boundary":"strict"},
                "state":{},"session":null,"safety":5,"a b":[1]}"#,
        );
        let qos = Qos {
            class: Some(QosClass::Interactive),
            target_ttft_ms: Some(5),
            deadline_ms: Some(6),
            priority: Some(7),
            forbids_degrading: true,
        };
        let placement = PolicySpec {
            profiles: vec![Profile::Byok],
            region_policy: RegionPolicy::EuOnly,
            data_boundary: DataBoundary::Strict,
            ..PolicySpec::default()
        };
        let expected =
            Hints { tag: Some("t".into()), qos, bypasses_reuse: true, placement: Some(Box::new(placement)) };
        assert_eq!(hints, expected);
        let named = [
            "reuse.scope",
            "reuse.retention_preference",
            "routing.execution_profiles",
            "state",
            "safety",
            "a?b",
        ];
        assert_eq!(unheeded, named.map(|name| format!("Agent-Hints.{name}")));
    }

    #[test]
    fn a_field_of_the_wrong_type_is_named_and_the_others_hold() {
        for (json, named) in [
            (r#"{"tag":"t","qos":5}"#, "qos"),
            (r#"{"tag":"t","qos":[1]}"#, "qos"),
            (r#"{"tag":"t","qos":{"deadline_ms":"5"}}"#, "qos.deadline_ms"),
            (r#"{"tag":"t","qos":{"deadline_ms":0}}"#, "qos.deadline_ms"),
            (r#"{"tag":"t","qos":{"deadline_ms":1.5}}"#, "qos.deadline_ms"),
            (r#"{"tag":"t","qos":{"deadline_ms":-1}}"#, "qos.deadline_ms"),
            (r#"{"tag":"t","qos":{"deadline_ms":99999999999999999999}}"#, "qos.deadline_ms"),
            (r#"{"tag":"t","qos":{"priority":256}}"#, "qos.priority"),
            (r#"{"tag":"t","routing":{"execution_profiles":"byok"}}"#, "routing.execution_profiles"),
            (r#"{"tag":"t","priority":"urgent"}"#, "priority"),
        ] {
            let (hints, unheeded) = check(json);
            assert_eq!(hints, Hints { tag: Some("t".into()), ..Hints::default() }, "{json}");
            assert_eq!(unheeded, [format!("Agent-Hints.{named}")], "{json}");
        }
        for json in [r#"{"tag":5}"#, r#"{"tag":""}"#, "{\"tag\":\"a\\nb\"}"] {
            assert_eq!(check(json), (Hints::default(), vec!["Agent-Hints.tag".to_owned()]), "{json}");
        }
    }

    #[test]
    fn what_can_not_be_read_is_named_as_a_whole() {
        let deep = format!(r#"{{"qos":{}{}}}"#, "[".repeat(500), "]".repeat(500));
        let twice = r#"{"tag":"a","tag":"b"}"#;
        for json in ["{", "[]", "5", &deep, twice, &format!(r#"{{"x":"{}"}}"#, "x".repeat(HINTS_BYTES_MAX))] {
            assert_eq!(check(json), (Hints::default(), vec![HINTS.to_owned()]), "{json}");
        }
        for plain in ["{\"tag\":\"plain\"}", "é"] {
            let mut headers = HeaderMap::new();
            headers.insert(HINTS_NAME, HeaderValue::from_bytes(plain.as_bytes()).unwrap());
            let mut unheeded = Vec::new();
            assert_eq!((read(&headers, &mut unheeded), unheeded), (None, vec![HINTS.to_owned()]));
        }
    }

    #[test]
    fn a_reference_wins_and_what_it_replaces_is_named() {
        let mut headers = headers(r#"{"tag":"t"}"#);
        headers.insert(REF_NAME, HeaderValue::from_static("ah_1"));
        let mut unheeded = Vec::new();
        let read = read(&headers, &mut unheeded).unwrap();
        assert_eq!((read.reference.as_deref(), &read.hints), (Some("ah_1"), &Hints::default()));
        assert_eq!(unheeded, [HINTS]);
    }
}
