//! Model lists in Gemini's format.

use bytes::Bytes;
use conversation::models::{ModelRow, document};
use domain::Modality;
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
    #[serde(skip_serializing_if = "Option::is_none")]
    input_token_limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_token_limit: Option<u64>,
    supported_generation_methods: &'static [&'static str],
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
        display_name: row.title(),
        input_token_limit: row.context_tokens,
        output_token_limit: row.output_tokens_max,
        supported_generation_methods: match row.modality {
            None | Some(Modality::Chat) => &["generateContent", "streamGenerateContent", "countTokens"],
            Some(Modality::Embedding) => &["embedContent", "batchEmbedContents"],
            Some(_) => &[],
        },
    }
}
