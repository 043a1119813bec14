//! Model lists in Anthropic's format.

use bytes::Bytes;
use conversation::models::{ModelRow, document, moment};
use serde::Serialize;

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
    #[serde(skip_serializing_if = "Option::is_none")]
    max_input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
}

pub(super) fn models_list(rows: &[ModelRow]) -> Bytes {
    document(&AnthropicList {
        data: rows.iter().map(anthropic).collect(),
        has_more: false,
        first_id: rows.first().map(|row| &*row.id),
        last_id: rows.last().map(|row| &*row.id),
    })
}

pub(super) fn model_object(row: &ModelRow) -> Bytes {
    document(&anthropic(row))
}

fn anthropic(row: &ModelRow) -> AnthropicModel<'_> {
    AnthropicModel {
        r#type: "model",
        id: &row.id,
        display_name: row.title(),
        created_at: moment(row.created),
        max_input_tokens: row.context_tokens,
        max_tokens: row.output_tokens_max,
    }
}
