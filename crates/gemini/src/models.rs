//! Model lists in Gemini's format.

use bytes::Bytes;
use conversation::models::{ModelRow, document};
use serde::Serialize;

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

pub(super) fn models_list(rows: &[ModelRow]) -> Bytes {
    document(&GeminiList { models: rows.iter().map(gemini).collect() })
}

pub(super) fn model_object(row: &ModelRow) -> Bytes {
    document(&gemini(row))
}

fn gemini(row: &ModelRow) -> GeminiModel<'_> {
    GeminiModel {
        name: format!("models/{}", row.id),
        display_name: &row.id,
        supported_generation_methods: ["generateContent", "streamGenerateContent", "countTokens"],
    }
}
