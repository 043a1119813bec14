//! Model lists (`/v1/models`) in OpenAI's format, which most dialects use.

use bytes::Bytes;
use domain::calendar::Civil;
use serde::Serialize;

/// One row of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRow {
    pub id: String,
    pub owned_by: String,
    /// Seconds of Unix time.
    pub created: u64,
}

#[derive(Serialize)]
struct ChatList<'a> {
    object: &'static str,
    data: Vec<ChatModel<'a>>,
}

#[derive(Serialize)]
struct ChatModel<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'a str,
}

/// A list of models.
#[must_use]
pub fn models_list(rows: &[ModelRow]) -> Bytes {
    document(&ChatList { object: "list", data: rows.iter().map(chat).collect() })
}

/// One model.
#[must_use]
pub fn model_object(row: &ModelRow) -> Bytes {
    document(&chat(row))
}

fn chat(row: &ModelRow) -> ChatModel<'_> {
    ChatModel { id: &row.id, object: "model", created: row.created, owned_by: &row.owned_by }
}

/// A time in RFC 3339 format.
pub fn moment(unix_s: u64) -> String {
    let Civil { year, month, day, hour, minute, second } = Civil::of(unix_s);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// A value as a document.
pub fn document(value: &impl Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec(value).unwrap_or_default())
}
