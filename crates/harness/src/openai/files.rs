//! `/v1/files`: uploads, parsed strictly part by part, and the store of uploaded files.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::flavour::Flavour;
use super::forms;
use super::routes::OpenAiCall;
use crate::emulator::service::{self, Answer, json_answer, sliced, unix_seconds};
use crate::emulator::state::lock;

const PURPOSES: &[&str] = &["assistants", "batch", "evals", "fine-tune", "user_data", "vision"];
/// Purposes whose files OpenAI lets clients download.
const READABLE: &[&str] = &["batch", "batch_output", "evals", "fine-tune"];
const FIELDS: &[&str] = &["file", "purpose", "expires_after[anchor]", "expires_after[seconds]"];
/// The default lifetime of a batch's files.
const BATCH_FILE_S: u64 = 30 * 24 * 3_600;
const LISTED_MAX: usize = 10_000;

/// One file, owned by one key.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) key: String,
    pub(crate) id: String,
    pub(crate) filename: String,
    pub(crate) purpose: String,
    pub(crate) created: u64,
    pub(crate) expires: Option<u64>,
    pub(crate) content: Bytes,
}

/// All files by number; ids increase with time.
#[derive(Debug, Default)]
pub(crate) struct Files {
    kept: BTreeMap<String, File>,
}

impl Files {
    pub(crate) fn keep(&mut self, file: File) {
        self.kept.insert(file.id.clone(), file);
    }

    pub(crate) fn find(&self, key: &str, id: &str) -> Result<&File, ApiError> {
        let found = self.kept.get(id).filter(|file| file.key == key);
        found.ok_or_else(|| no_such("File", id))
    }
}

impl File {
    fn view(&self) -> Value {
        json!({
            "object": "file", "id": self.id, "purpose": self.purpose, "filename": self.filename,
            "bytes": self.content.len(), "created_at": self.created, "expires_at": self.expires,
            "status": "processed", "status_details": null,
        })
    }
}

/// OpenAI's error for an unknown id.
pub(crate) fn no_such(what: &str, id: &str) -> ApiError {
    ApiError::new(404, "invalid_request_error", format!("No such {what} object: {id}")).param("id")
}

/// Rejects a conversation that refers to a file which the key does not own.
pub(crate) fn check_named(call: &OpenAiCall<'_>, fields: &Map<String, Value>) -> Result<(), ApiError> {
    if call.flavour != Flavour::OpenAi {
        return Ok(());
    }
    let mut named = Vec::new();
    for name in ["messages", "input", "tools"] {
        if let Some(value) = fields.get(name) {
            find_named(name, value, &mut named);
        }
    }
    let files = lock(&call.shared.files);
    for (param, id) in named {
        if files.find(call.key, id).is_err() {
            let message = format!("No such File object: {id}");
            return Err(ApiError::new(404, "invalid_request_error", message).param(param));
        }
    }
    Ok(())
}

fn find_named<'v>(param: &str, value: &'v Value, named: &mut Vec<(String, &'v str)>) {
    match value {
        Value::Array(list) => {
            for (at, value) in list.iter().enumerate() {
                find_named(&format!("{param}[{at}]"), value, named);
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                let param = format!("{param}.{name}");
                match (name.as_str(), value) {
                    ("file_id", Value::String(id)) => named.push((param, id)),
                    ("file_ids", Value::Array(ids)) => {
                        let ids = ids.iter().filter_map(Value::as_str);
                        named.extend(ids.enumerate().map(|(at, id)| (format!("{param}[{at}]"), id)));
                    }
                    _ => find_named(&param, value, named),
                }
            }
        }
        _ => {}
    }
}

/// An id in OpenAI's format that increases with each call.
pub(crate) fn id(prefix: &str, number: u64, part: u32) -> String {
    format!("{prefix}{number:012x}{part:04x}emulated")
}

pub(crate) fn upload(call: &OpenAiCall<'_>) -> Result<Answer, ApiError> {
    let fields = forms::read(call, FIELDS)?;
    let text = |name: &str| {
        let field = fields.iter().find(|field| field.name == name)?;
        Some(String::from_utf8_lossy(&field.value).into_owned())
    };
    let purpose = text("purpose").ok_or_else(|| ApiError::missing("purpose"))?;
    if !PURPOSES.contains(&purpose.as_str()) {
        return Err(ApiError::wrong_value("purpose", &purpose, PURPOSES));
    }
    let file = fields.iter().find(|field| field.name == "file");
    let (content, filename) = file
        .and_then(|file| Some((file.value.clone(), file.filename.clone()?)))
        .ok_or_else(|| ApiError::missing("file"))?;
    if purpose == "batch" && !filename.ends_with(".jsonl") {
        let message = format!("Invalid file format for Batch API. Must be .jsonl, not {filename}");
        return Err(ApiError::bad(message));
    }
    let created = unix_seconds();
    let expires = match (text("expires_after[anchor]").as_deref(), text("expires_after[seconds]")) {
        (None, None) => (purpose == "batch").then_some(created + BATCH_FILE_S),
        (Some("created_at"), Some(seconds)) => match seconds.parse::<u64>() {
            Ok(seconds) if (3_600..=2_592_000).contains(&seconds) => Some(created + seconds),
            _ => return Err(ApiError::bad("Invalid expires_after.").param("expires_after.seconds")),
        },
        _ => return Err(ApiError::bad("Invalid expires_after.").param("expires_after")),
    };
    let id = id("file-", call.number(), 0);
    let file = File { key: call.key.to_owned(), id, filename, purpose, created, expires, content };
    let view = file.view();
    lock(&call.shared.files).keep(file);
    Ok(json_answer(200, Vec::new(), &view))
}

pub(crate) fn show(call: &OpenAiCall<'_>, id: &str) -> Result<Answer, ApiError> {
    Ok(json_answer(200, Vec::new(), &lock(&call.shared.files).find(call.key, id)?.view()))
}

/// A script's `interval` is the pause between slices of the content.
pub(crate) fn content(call: &OpenAiCall<'_>, id: &str) -> Result<Answer, ApiError> {
    let file = lock(&call.shared.files).find(call.key, id)?.clone();
    if !READABLE.contains(&file.purpose.as_str()) {
        return Err(ApiError::bad(format!("Not allowed to download files of purpose: {}", file.purpose)));
    }
    let behaviour = service::behaviour(call.shared, call.key, None)?;
    Ok(sliced("application/octet-stream", &file.content, behaviour.interval))
}

pub(crate) fn delete(call: &OpenAiCall<'_>, id: &str) -> Result<Answer, ApiError> {
    let mut files = lock(&call.shared.files);
    files.find(call.key, id)?;
    files.kept.remove(id);
    Ok(json_answer(200, Vec::new(), &json!({"object": "file", "id": id, "deleted": true})))
}

/// Newest first, unless requested otherwise.
pub(crate) fn list(call: &OpenAiCall<'_>) -> Result<Answer, ApiError> {
    let query = call.head.uri.query().unwrap_or_default();
    let query_param =
        |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let files = lock(&call.shared.files);
    let purpose = query_param("purpose");
    let own = files.kept.values().filter(|file| file.key == call.key);
    let own = own.filter(|file| purpose.is_none_or(|purpose| file.purpose == purpose));
    let mut rows: Vec<Value> = own.map(File::view).collect();
    if query_param("order") != Some("asc") {
        rows.reverse();
    }
    let limit = query_param("limit").map_or(Some(LISTED_MAX), |limit| limit.parse().ok());
    let limit = limit.filter(|limit| (1..=LISTED_MAX).contains(limit));
    let limit = limit.ok_or_else(|| ApiError::bad("Invalid limit.").param("limit"))?;
    Ok(json_answer(200, Vec::new(), &page(rows, query_param("after"), limit)))
}

/// A page of a list, in OpenAI's format.
pub(crate) fn page(mut rows: Vec<Value>, after: Option<&str>, limit: usize) -> Value {
    if let Some(after) = after {
        let at = rows.iter().position(|one| one.get("id").and_then(Value::as_str) == Some(after));
        rows.drain(..at.map_or(rows.len(), |at| at + 1));
    }
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let name = |one: Option<&Value>| one.and_then(|one| one.get("id")).cloned().unwrap_or_default();
    let (first, last) = (name(rows.first()), name(rows.last()));
    json!({"object": "list", "data": rows, "first_id": first, "last_id": last, "has_more": has_more})
}
