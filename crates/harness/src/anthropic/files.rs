//! `/v1/files`: uploads, parsed strictly part by part, and the files that messages name.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::error::Refusal;
use crate::emulator::service::{Answer, Call, json_answer, moment, query_pairs};
use crate::emulator::state::lock;
use crate::openai::forms;

pub(crate) const PATH: &str = "/v1/files";

const FIELDS: &[&str] = &["file", "expires_in_seconds"];
const EXPIRES_S: RangeInclusive<i64> = 3_600..=7_776_000;
const LIST_DEFAULT: usize = 20;
const LIST_MAX: usize = 1_000;

/// An operation on files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    Upload,
    List,
    Show(String),
    Content(String),
    Delete(String),
}

/// One file, owned by one key.
#[derive(Debug)]
struct File {
    key: String,
    id: String,
    name: String,
    media: String,
    bytes: usize,
    created: OffsetDateTime,
    expires: Option<OffsetDateTime>,
}

/// All files by id; ids increase with time.
#[derive(Debug, Default)]
pub(crate) struct MessageFiles {
    kept: BTreeMap<String, File>,
}

impl MessageFiles {
    fn find(&self, key: &str, id: &str) -> Result<&File, Refusal> {
        let found = self.kept.get(id).filter(|file| file.key == key);
        found.ok_or_else(|| Refusal::not_found(format!("File not found: {id}")))
    }

    /// Rejects a value that names a file of another key.
    pub(crate) fn check_named(&self, key: &str, value: &Value) -> Result<(), Refusal> {
        match value {
            Value::Array(list) => list.iter().try_for_each(|value| self.check_named(key, value)),
            Value::Object(members) => members.iter().try_for_each(|(name, value)| match value {
                Value::String(id) if name == "file_id" => {
                    self.find(key, id)?;
                    Ok(())
                }
                value => self.check_named(key, value),
            }),
            _ => Ok(()),
        }
    }
}

/// The operation that a path below `/v1/files` denotes.
pub(crate) fn route(method: &Method, path: &str) -> Result<Act, Refusal> {
    let rest = path.strip_prefix(PATH).unwrap_or_default().trim_start_matches('/');
    let (id, below) = rest.split_once('/').unwrap_or((rest, ""));
    let id = id.to_owned();
    match (method.as_str(), id.is_empty(), below) {
        ("POST", true, "") => Ok(Act::Upload),
        ("GET", true, "") => Ok(Act::List),
        ("GET", false, "") => Ok(Act::Show(id)),
        ("DELETE", false, "") => Ok(Act::Delete(id)),
        ("GET", false, "content") => Ok(Act::Content(id)),
        (_, _, "" | "content") => Err(Refusal::new(405, "invalid_request_error", "Method Not Allowed")),
        _ => Err(Refusal::not_found("Not Found")),
    }
}

pub(crate) fn answer(call: &Call<'_>, key: &str, act: &Act, body: &Bytes) -> Result<Answer, Refusal> {
    let mut files = lock(&call.shared.message_files);
    let view = match act {
        Act::Upload => {
            let file = read(call, key, body)?;
            let view = file.view();
            files.kept.insert(file.id.clone(), file);
            view
        }
        Act::List => list(call, key, &files)?,
        Act::Show(id) => files.find(key, id)?.view(),
        // Only files that tools generate can be downloaded.
        Act::Content(id) => {
            files.find(key, id)?;
            return Err(Refusal::not_downloadable(id));
        }
        Act::Delete(id) => {
            files.find(key, id)?;
            files.kept.remove(id);
            json!({"id": id, "type": "file_deleted"})
        }
    };
    Ok(json_answer(200, Vec::new(), &view))
}

fn read(call: &Call<'_>, key: &str, body: &Bytes) -> Result<File, Refusal> {
    let boundary = call.content_type().strip_prefix("multipart/form-data; boundary=");
    let fields = boundary.and_then(|boundary| forms::fields(body, boundary.trim_matches('"')));
    let fields = fields.ok_or_else(|| Refusal::bad("Could not parse multipart form"))?;
    for (at, field) in fields.iter().enumerate() {
        let is_again = fields.iter().take(at).any(|other| other.name == field.name);
        if is_again || !FIELDS.contains(&field.name.as_str()) {
            return Err(Refusal::at(&field.name, "Extra inputs are not permitted"));
        }
    }
    let part = |name: &str| fields.iter().find(|field| field.name == name);
    let file = part("file").ok_or_else(|| Refusal::at("file", "Field required"))?;
    let created = OffsetDateTime::now_utc();
    let expires = part("expires_in_seconds").map(|field| {
        let seconds = std::str::from_utf8(&field.value).ok().and_then(|text| text.parse::<i64>().ok());
        let seconds = seconds.filter(|seconds| EXPIRES_S.contains(seconds));
        let wrong = || Refusal::at("expires_in_seconds", "Input should be from 3600 to 7776000");
        seconds.map(|seconds| created + time::Duration::seconds(seconds)).ok_or_else(wrong)
    });
    Ok(File {
        key: key.to_owned(),
        id: format!("file_{:012x}emulated", call.number),
        name: file.filename.clone().unwrap_or_else(|| "unnamed".to_owned()),
        media: file.media.clone().unwrap_or_else(|| "application/octet-stream".to_owned()),
        bytes: file.value.len(),
        created,
        expires: expires.transpose()?,
    })
}

impl File {
    fn view(&self) -> Value {
        json!({
            "id": self.id, "type": "file", "filename": self.name, "mime_type": self.media,
            "size_bytes": self.bytes, "created_at": moment(self.created),
            "expires_at": self.expires.map(moment), "downloadable": false,
        })
    }
}

/// Newest first; older clients name the last id in place of a token.
fn list(call: &Call<'_>, key: &str, files: &MessageFiles) -> Result<Value, Refusal> {
    let mut own: Vec<&File> = files.kept.values().rev().filter(|file| file.key == key).collect();
    let mut limit = LIST_DEFAULT;
    for (name, value) in query_pairs(&call.head.uri) {
        let last = value.strip_prefix("page_").unwrap_or(value);
        match (name, own.iter().position(|file| file.id == last)) {
            ("limit", _) => {
                let read = value.parse().ok().filter(|limit| (1..=LIST_MAX).contains(limit));
                limit = read.ok_or_else(|| Refusal::at("limit", "Input should be from 1 to 1000"))?;
            }
            ("page" | "after_id", Some(at)) => drop(own.drain(..=at)),
            ("page" | "after_id", None) => {
                return Err(Refusal::at(name, format!("Invalid cursor: {value}")));
            }
            _ => return Err(Refusal::at(name, "Extra inputs are not permitted")),
        }
    }
    let has_more = own.len() > limit;
    own.truncate(limit);
    let last = own.last().filter(|_| has_more);
    Ok(json!({
        "data": own.iter().map(|file| file.view()).collect::<Vec<_>>(), "has_more": has_more,
        "first_id": own.first().map(|file| &file.id), "last_id": own.last().map(|file| &file.id),
        "next_page": last.map(|file| format!("page_{}", file.id)),
    }))
}
