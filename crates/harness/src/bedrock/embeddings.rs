//! Bedrock's embedding models, each called in its vendor's own format.

use serde_json::{Map, Value, json};

use super::error::Refusal;
use crate::openai::embeddings::vector;
use crate::openai::tokens;

const TITAN: &str = "amazon.titan-embed-text-v2:0";
const COHERE_OLD: &str = "cohere.embed-english-v3";
const COHERE: &str = "cohere.embed-v4:0";
const TEXTS_MAX: usize = 96;

pub(super) struct EmbeddingResult {
    pub(super) body: Value,
    pub(super) tokens: u64,
    pub(super) is_billable: bool,
}

pub(super) fn make(model: &str, fields: &Map<String, Value>) -> Result<EmbeddingResult, Refusal> {
    match model.strip_prefix("us.").unwrap_or(model) {
        TITAN => titan(fields),
        COHERE_OLD => cohere(fields, false),
        COHERE => cohere(fields, true),
        _ => Err(Refusal::invalid("The provided model identifier is invalid.")),
    }
}

pub(super) fn malformed(what: &str) -> Refusal {
    Refusal::invalid(format!("Malformed input request: {what}, please reformat your input and try again."))
}

pub(super) fn only(fields: &Map<String, Value>, known: &[&str]) -> Result<(), Refusal> {
    match fields.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(malformed(&format!("#: extraneous key [{name}] is not permitted"))),
        None => Ok(()),
    }
}

/// The requested number of dimensions, one of `known`; the last is the default.
fn length(value: Option<&Value>, known: &[u64]) -> Result<usize, Refusal> {
    let wanted = match value {
        None => known.last().copied(),
        Some(value) => value.as_u64().filter(|wanted| known.contains(wanted)),
    };
    wanted
        .and_then(|wanted| usize::try_from(wanted).ok())
        .ok_or_else(|| malformed("#/dimensions: it is no valid value"))
}

fn titan(fields: &Map<String, Value>) -> Result<EmbeddingResult, Refusal> {
    only(fields, &["inputText", "dimensions", "normalize", "embeddingTypes"])?;
    let text = fields.get("inputText").and_then(Value::as_str).filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| malformed("#: required key [inputText] not found"))?;
    let vector = vector(text, length(fields.get("dimensions"), &[256, 512, 1_024])?);
    let tokens = tokens::count(text);
    let body = json!({
        "embedding": vector, "embeddingsByType": {"float": vector}, "inputTextTokenCount": tokens,
    });
    Ok(EmbeddingResult { body, tokens, is_billable: true })
}

/// Cohere's embeddings; the older models have a fixed number of dimensions.
fn cohere(fields: &Map<String, Value>, is_sized: bool) -> Result<EmbeddingResult, Refusal> {
    let (always, newer) = (&["texts", "input_type", "embedding_types", "truncate"], "output_dimension");
    if is_sized {
        only(fields, &[&always[..], &[newer]].concat())?
    } else {
        only(fields, always)?
    }
    let purposes = ["search_document", "search_query", "classification", "clustering"];
    if !fields.get("input_type").and_then(Value::as_str).is_some_and(|purpose| purposes.contains(&purpose)) {
        return Err(malformed("#: required key [input_type] not found"));
    }
    let texts =
        fields.get("texts").and_then(Value::as_array).filter(|texts| (1..=TEXTS_MAX).contains(&texts.len()));
    let texts: Option<Vec<&str>> = texts.and_then(|texts| texts.iter().map(Value::as_str).collect());
    let texts = texts.ok_or_else(|| malformed("#/texts: expected 1 to 96 texts"))?;
    let length =
        if is_sized { length(fields.get("output_dimension"), &[256, 512, 1_024, 1_536])? } else { 1_024 };
    let vectors: Vec<Vec<f32>> = texts.iter().map(|text| vector(text, length)).collect();
    let typed = fields.contains_key("embedding_types");
    let tokens = texts.iter().map(|text| tokens::count(text)).sum();
    let body = if typed {
        json!({"id": "e-1", "response_type": "embeddings_by_type", "embeddings": {"float": vectors}, "texts": texts})
    } else {
        json!({"id": "e-1", "response_type": "embeddings_floats", "embeddings": vectors, "texts": texts})
    };
    Ok(EmbeddingResult { body, tokens, is_billable: true })
}
