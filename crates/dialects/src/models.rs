//! Model lists (`/v1/models`), in each dialect's format.

use bytes::Bytes;
use domain::Dialect;
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

#[derive(Serialize)]
struct AnthropicList<'a> {
    data: Vec<AnthropicModel<'a>>,
    has_more: bool,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
}

#[derive(Serialize)]
struct AnthropicModel<'a> {
    r#type: &'static str,
    id: &'a str,
    display_name: &'a str,
    created_at: String,
}

#[derive(Serialize)]
struct GeminiList<'a> {
    models: Vec<GeminiModel<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GeminiModel<'a> {
    name: String,
    display_name: &'a str,
    supported_generation_methods: [&'static str; 3],
}

/// The body of a list.
#[must_use]
pub fn models_list(dialect: Dialect, rows: &[ModelRow]) -> Bytes {
    match dialect {
        Dialect::Anthropic => json(&AnthropicList {
            data: rows.iter().map(anthropic).collect(),
            has_more: false,
            first_id: rows.first().map(|row| &*row.id),
            last_id: rows.last().map(|row| &*row.id),
        }),
        Dialect::Gemini => json(&GeminiList { models: rows.iter().map(gemini).collect() }),
        _ => json(&ChatList { object: "list", data: rows.iter().map(chat).collect() }),
    }
}

/// The body of one model.
#[must_use]
pub fn model_object(dialect: Dialect, row: &ModelRow) -> Bytes {
    match dialect {
        Dialect::Anthropic => json(&anthropic(row)),
        Dialect::Gemini => json(&gemini(row)),
        _ => json(&chat(row)),
    }
}

fn chat(row: &ModelRow) -> ChatModel<'_> {
    ChatModel { id: &row.id, object: "model", created: row.created, owned_by: &row.owned_by }
}

fn anthropic(row: &ModelRow) -> AnthropicModel<'_> {
    AnthropicModel { r#type: "model", id: &row.id, display_name: &row.id, created_at: moment(row.created) }
}

fn gemini(row: &ModelRow) -> GeminiModel<'_> {
    GeminiModel {
        name: format!("models/{}", row.id),
        display_name: &row.id,
        supported_generation_methods: ["generateContent", "streamGenerateContent", "countTokens"],
    }
}

/// A time in RFC 3339 format.
pub(crate) fn moment(unix_s: u64) -> String {
    let Civil { year, month, day, hour, minute, second } = Civil::of(unix_s);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// These types hold nothing that JSON can't represent, so there is no failure to report.
fn json(value: &impl Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> ModelRow {
        ModelRow { id: "a/b".into(), owned_by: "a".into(), created: 1_795_132_800 }
    }

    #[test]
    fn each_grammar_has_its_list() {
        let text = |dialect| String::from_utf8(models_list(dialect, &[row()]).to_vec()).unwrap();
        assert_eq!(
            text(Dialect::Chat),
            r#"{"object":"list","data":[{"id":"a/b","object":"model","created":1795132800,"owned_by":"a"}]}"#
        );
        assert_eq!(
            text(Dialect::Anthropic),
            r#"{"data":[{"type":"model","id":"a/b","display_name":"a/b","created_at":"2026-11-20T00:00:00Z"}],"has_more":false,"first_id":"a/b","last_id":"a/b"}"#
        );
        assert!(text(Dialect::Gemini).starts_with(r#"{"models":[{"name":"models/a/b","displayName":"a/b","#));
    }

    #[test]
    fn moments_are_of_the_calendar() {
        for (unix_s, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (784_111_777, "1994-11-06T08:49:37Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
        ] {
            assert_eq!(moment(unix_s), text);
        }
    }
}
