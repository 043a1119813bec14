//! Bedrock models for neither conversations nor embeddings, each called in its vendor's own format: image
//! generation and reranking.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::embeddings::{EmbeddingResult, malformed, only};
use super::error::Refusal;
use crate::openai::checks::{self, Shape, Shape::*};
use crate::openai::media::score;
use crate::openai::pictures::PIXEL;
use crate::openai::tokens;

const CANVAS: &str = "amazon.nova-canvas-v1:0";
const STABILITY: &str = "stability.stable-image-core-v1:1";
const COHERE: &str = "cohere.rerank-v3-5:0";
const AMAZON: &str = "amazon.rerank-v1:0";
/// A prompt with this is rejected before anything is generated.
const FORBIDDEN: &str = "forbidden";
/// A prompt with this yields no image.
const FILTERED: &str = "all filtered";
const DOCUMENTS_MAX: usize = 1_000;

const CONFIG: &[(&str, Shape)] = &[
    ("cfgScale", Decimal(1.1, 10.0)),
    ("height", Integer(320, 4_096)),
    ("numberOfImages", Integer(1, 5)),
    ("quality", OneOf(&["standard", "premium"])),
    ("seed", Integer(0, 858_993_459)),
    ("width", Integer(320, 4_096)),
];
const TEXT: &[(&str, Shape)] = &[("text", Text), ("negativeText", Text)];
const PROMPT: &[(&str, Shape)] = &[
    ("aspect_ratio", OneOf(&["16:9", "1:1", "21:9", "2:3", "3:2", "4:5", "5:4", "9:16", "9:21"])),
    ("mode", OneOf(&["text-to-image"])),
    ("negative_prompt", Text),
    ("output_format", OneOf(&["jpeg", "png"])),
    ("prompt", Text),
    ("seed", Integer(0, 4_294_967_295)),
];

/// Invokes the model; `None` if it is not one of these.
pub(super) fn make(model: &str, fields: &Map<String, Value>) -> Option<Result<EmbeddingResult, Refusal>> {
    match model.strip_prefix("us.").unwrap_or(model) {
        CANVAS => Some(task(fields)),
        STABILITY => Some(prompt(fields)),
        COHERE => Some(ranks(fields, true)),
        AMAZON => Some(ranks(fields, false)),
        _ => None,
    }
}

fn task(fields: &Map<String, Value>) -> Result<EmbeddingResult, Refusal> {
    only(fields, &["taskType", "textToImageParams", "imageGenerationConfig"])?;
    if fields.get("taskType") != Some(&json!("TEXT_IMAGE")) {
        return Err(malformed("#: required key [taskType] not found"));
    }
    let params = object(fields, "textToImageParams")?;
    let config = object(fields, "imageGenerationConfig")?;
    check_shapes(&params, TEXT)?;
    check_shapes(&config, CONFIG)?;
    let side = |name: &str| config.get(name).and_then(Value::as_u64).unwrap_or(1_024);
    if [side("width"), side("height")].iter().any(|side| side % 16 != 0) {
        return Err(malformed("#/imageGenerationConfig: sides are multiples of 16"));
    }
    let text = required_text(&params, "text")?;
    if text.contains(FORBIDDEN) {
        return Err(Refusal::invalid(
            "This request has been blocked by our content filters. Please adjust your text prompt to submit a new request.",
        ));
    }
    if text.contains(FILTERED) {
        let error = "All of the generated images have been blocked by our content filters.";
        return Ok(EmbeddingResult {
            body: json!({"images": [], "error": error}),
            tokens: 0,
            is_billable: false,
        });
    }
    let count = config.get("numberOfImages").and_then(Value::as_u64).unwrap_or(1);
    let images: Vec<String> = (0..count).map(|_| STANDARD.encode(PIXEL)).collect();
    Ok(EmbeddingResult { body: json!({"images": images, "error": null}), tokens: 0, is_billable: true })
}

fn prompt(fields: &Map<String, Value>) -> Result<EmbeddingResult, Refusal> {
    check_shapes(fields, PROMPT)?;
    let text = required_text(fields, "prompt")?;
    let seed = fields.get("seed").and_then(Value::as_u64).unwrap_or(2_130_420_379);
    let (reason, image) = if text.contains(FILTERED) {
        (json!("Filter reason: prompt"), Value::Null)
    } else {
        (Value::Null, json!(STANDARD.encode(PIXEL)))
    };
    let is_billable = reason.is_null();
    let body = json!({"seeds": [seed], "finish_reasons": [reason], "images": [image]});
    Ok(EmbeddingResult { body, tokens: 0, is_billable })
}

/// Reranks documents. Cohere's model requires `api_version`, Amazon's does not accept it.
fn ranks(fields: &Map<String, Value>, has_version: bool) -> Result<EmbeddingResult, Refusal> {
    if has_version {
        only(fields, &["query", "documents", "top_n", "api_version", "max_tokens_per_doc"])?
    } else {
        only(fields, &["query", "documents", "top_n"])?
    }
    if has_version && fields.get("api_version").and_then(Value::as_u64) != Some(2) {
        return Err(malformed("#/api_version: must be greater than or equal to 2"));
    }
    let query = required_text(fields, "query")?;
    let documents = fields.get("documents").and_then(Value::as_array);
    let documents = documents.filter(|documents| (1..=DOCUMENTS_MAX).contains(&documents.len()));
    let documents: Option<Vec<&str>> =
        documents.and_then(|documents| documents.iter().map(Value::as_str).collect());
    let documents = documents.ok_or_else(|| malformed("#/documents: expected 1 to 1000 texts"))?;
    let wanted = match fields.get("top_n").map(Value::as_u64) {
        None => documents.len(),
        Some(Some(count)) if count > 0 => usize::try_from(count).unwrap_or(usize::MAX),
        Some(_) => return Err(malformed("#/top_n: must be greater than or equal to 1")),
    };
    let mut ranks: Vec<(usize, f64)> = documents.iter().map(|text| score(query, text)).enumerate().collect();
    ranks.sort_by(|one, other| other.1.total_cmp(&one.1));
    ranks.truncate(wanted);
    let row = |(index, score): &(usize, f64)| json!({"index": index, "relevance_score": score});
    let tokens = documents.iter().map(|text| tokens::count(text) + tokens::count(query)).sum();
    let body = json!({"results": ranks.iter().map(row).collect::<Vec<_>>()});
    Ok(EmbeddingResult { body, tokens, is_billable: true })
}

fn object(fields: &Map<String, Value>, name: &str) -> Result<Map<String, Value>, Refusal> {
    match fields.get(name) {
        Some(Value::Object(fields)) => Ok(fields.clone()),
        _ => Err(malformed(&format!("#: required key [{name}] not found"))),
    }
}

fn required_text<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<&'a str, Refusal> {
    let text = fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    text.ok_or_else(|| malformed(&format!("#: required key [{name}] not found")))
}

fn check_shapes(fields: &Map<String, Value>, shapes: &[(&str, Shape)]) -> Result<(), Refusal> {
    for (name, value) in fields {
        let Some((_, shape)) = shapes.iter().find(|(known, _)| known == name) else {
            return Err(malformed(&format!("#: extraneous key [{name}] is not permitted")));
        };
        checks::shape(name, shape, value)
            .map_err(|error| malformed(&format!("#/{name}: {}", error.message)))?;
    }
    Ok(())
}
