//! Responses of `/v2` before their headers: JSON objects with an ETag, lists and exports, and empty
//! responses.

use std::sync::Arc;

use bytes::Bytes;
use domain::Fault;
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::export;
use crate::failure::invalid;
use crate::tunnels::TunnelEntrance;

/// The media type of archives.
pub(crate) const ARCHIVE: &str = "application/x-tar";
const JSON_LINES: &str = "application/x-ndjson";
const CSV: &str = "text/csv; charset=utf-8";

/// A response, before its headers.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub body: Bytes,
    pub content_type: &'static str,
    /// The next page's cursor, for formats that have no place for it in the body.
    pub next_cursor: Option<String>,
    /// The object's version, which becomes its ETag.
    pub version: Option<u64>,
    pub location: Option<String>,
    pub set_cookie: Option<String>,
    /// The methods that the path allows.
    pub allow: Option<String>,
    /// Whether this was a rehearsal: nothing was stored.
    pub is_rehearsed: bool,
    /// What takes the connection over behind the response's head.
    pub entrance: Option<Arc<TunnelEntrance>>,
}

impl Reply {
    fn of(status: StatusCode, body: Bytes, content_type: &'static str) -> Self {
        Self {
            status,
            body,
            content_type,
            next_cursor: None,
            version: None,
            location: None,
            set_cookie: None,
            allow: None,
            is_rehearsed: false,
            entrance: None,
        }
    }

    /// A list in the requested `format`: JSON with its cursor, or JSON lines or CSV as a file, with the
    /// cursor in the `x-next-cursor` header.
    ///
    /// # Errors
    /// 400 for an unknown format.
    pub fn list<T: Serialize>(format: Option<&str>, page: &Page<T>) -> Result<Self, Box<Fault>> {
        let rows = || page.data.iter().map(|row| json!(row)).collect::<Vec<_>>();
        let (body, content_type) = match format {
            None | Some("json") => return Self::json(page),
            Some("jsonl") => (export::json_lines(&rows()), JSON_LINES),
            Some("csv") => (export::csv(&rows()), CSV),
            Some(other) => {
                return Err(invalid(
                    "format",
                    format!("\"{other}\" isn't a format."),
                    "Use json, jsonl or csv.",
                ));
            }
        };
        let mut reply = Self::of(StatusCode::OK, body.into(), content_type);
        reply.next_cursor.clone_from(&page.next_cursor);
        Ok(reply)
    }

    /// # Errors
    /// 500 where a value can't be serialised.
    pub fn json(value: &impl Serialize) -> Result<Self, Box<Fault>> {
        let body = serde_json::to_vec(value).map_err(|error| {
            tracing::error!(%error, "an answer could not be written as JSON");
            Box::new(Fault::internal())
        })?;
        Ok(Self::of(StatusCode::OK, body.into(), "application/json"))
    }

    /// JSON that is already serialised.
    pub fn verbatim(body: Bytes) -> Self {
        Self::of(StatusCode::OK, body, "application/json")
    }

    /// Bytes of an archive.
    pub fn archive(body: Bytes) -> Self {
        Self::of(StatusCode::OK, body, ARCHIVE)
    }

    /// Whether it is a list as a file.
    pub(crate) fn is_file(&self) -> bool {
        [JSON_LINES, CSV].contains(&self.content_type)
    }

    pub fn version(mut self, version: u64) -> Self {
        self.version = Some(version);
        self
    }

    pub fn as_created(mut self, location: String) -> Self {
        self.status = StatusCode::CREATED;
        self.location = Some(location);
        self
    }

    pub fn cookie(mut self, cookie: String) -> Self {
        self.set_cookie = Some(cookie);
        self
    }

    /// 204 with the methods that a path allows.
    pub fn allows(methods: Vec<Method>) -> Self {
        Self { allow: Some(allow_list(methods)), ..Self::no_content() }
    }

    /// A rehearsal stored nothing, so there is no location, version or session to return.
    pub fn as_rehearsal(self) -> Self {
        Self { is_rehearsed: true, version: None, location: None, set_cookie: None, ..self }
    }

    /// 101: the connection becomes a tunnel.
    pub fn switching(entrance: TunnelEntrance) -> Self {
        let reply = Self::of(StatusCode::SWITCHING_PROTOCOLS, Bytes::new(), "application/json");
        Self { entrance: Some(Arc::new(entrance)), ..reply }
    }

    pub fn no_content() -> Self {
        Self::of(StatusCode::NO_CONTENT, Bytes::new(), "application/json")
    }
}

/// The methods for `Allow`: every GET route takes HEAD too.
pub fn allow_list(mut allowed: Vec<Method>) -> String {
    if allowed.contains(&Method::GET) {
        allowed.push(Method::HEAD);
    }
    allowed.push(Method::OPTIONS);
    allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
}

/// One page of a list.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}List")]
pub struct Page<T> {
    pub data: Vec<T>,
    pub next_cursor: Option<String>,
    pub has_more: bool,
}

impl<T> Page<T> {
    /// A list that is short by nature and is always returned whole.
    pub fn whole(data: Vec<T>) -> Self {
        Self { data, next_cursor: None, has_more: false }
    }
}

/// Applies a merge patch (RFC 7396) to a document.
pub fn merge_patch(target: &mut serde_json::Value, patch: &serde_json::Value) {
    let Some(changes) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = serde_json::Value::Object(serde_json::Map::new());
    }
    let Some(object) = target.as_object_mut() else { return };
    for (name, change) in changes {
        if change.is_null() {
            object.remove(name);
        } else {
            merge_patch(object.entry(name.clone()).or_insert(serde_json::Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_patch_replaces_removes_and_descends() {
        let mut target = json!({"a": "b", "c": {"d": 1, "e": 2}, "f": [1]});
        merge_patch(&mut target, &json!({"a": null, "c": {"d": 3}, "f": [2, 3], "g": true}));
        assert_eq!(target, json!({"c": {"d": 3, "e": 2}, "f": [2, 3], "g": true}));
    }
}
