//! How a response of this API is wrapped.

use std::borrow::Cow;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::Value;

const VERSION: HeaderName = HeaderName::from_static("x-api-version");

/// The headers of a call that is made on behalf of a request in another protocol: those that apply to what it makes (hints, tags,
/// the session of an agent), and the envelope that is the object alone.
pub fn call_headers(of: &HeaderMap) -> HeaderMap {
    let kept = of.iter().filter(|(name, _)| {
        let name = name.as_str();
        name.starts_with("agent-") && !name.starts_with("agent-tool")
    });
    let mut headers: HeaderMap = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(VERSION, HeaderValue::from_static("2"));
    headers
}

/// The response envelope, which clients choose with `X-API-Version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Envelope {
    /// Also where none is stated, as by the Python client's agents, which read `success` of it.
    Newest,
    /// Version 2: the task alone.
    Bare,
    /// Version 1.
    Success,
}

#[derive(Serialize)]
struct Enveloped<'a> {
    success: bool,
    status: u16,
    data: &'a Value,
    /// Version 1 has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<&'a [Message]>,
}

/// A message besides the task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Message {
    pub level: &'static str,
    pub code: &'static str,
    pub message: Cow<'static, str>,
    pub meta: Option<Value>,
}

impl Message {
    pub(crate) fn warning(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { level: "warning", code, message: message.into(), meta: None }
    }
}

impl Envelope {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        Self::of(headers.get(VERSION).and_then(|version| version.to_str().ok()))
    }

    /// An unknown version gets the newest envelope.
    pub(crate) fn of(version: Option<&str>) -> Self {
        match version.map(str::trim) {
            Some("1") => Self::Success,
            Some("2") => Self::Bare,
            _ => Self::Newest,
        }
    }

    pub(crate) fn wrap(self, task: &Value, messages: &[Message]) -> Vec<u8> {
        let messages = (self == Self::Newest).then_some(messages);
        let written = match self {
            Self::Bare => serde_json::to_vec(task),
            _ => serde_json::to_vec(&Enveloped { success: true, status: 200, data: task, messages }),
        };
        // Serialising these types can't fail.
        written.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_version_gets_its_envelope() {
        let task = json!({"id": "tsk_1"});
        let wrapped =
            |version| serde_json::from_slice::<Value>(&Envelope::of(version).wrap(&task, &[])).unwrap();
        assert_eq!(wrapped(Some("2")), task);
        let newest = json!({"success": true, "status": 200, "data": task, "messages": []});
        assert_eq!((wrapped(None), wrapped(Some("9"))), (newest.clone(), newest));
        assert_eq!(wrapped(Some(" 1")), json!({"success": true, "status": 200, "data": task}));
    }
}
