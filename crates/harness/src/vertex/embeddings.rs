//! Embeddings on Vertex AI: older models take a list of instances, newer ones a single content.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::emulator::service::{Answer, Call};
use crate::gemini::answering;
use crate::gemini::error::ApiError;
use crate::gemini::models;
use crate::gemini::service::Admitted;
use crate::members::put;
use crate::openai::embeddings::vector;
use crate::openai::tokens;

/// Models that Vertex AI serves in addition to the configured ones.
const MODELS: [&str; 3] = ["text-embedding-005", "gemini-embedding-001", "gemini-embedding-2"];
const VERSION: &str = "v1beta";
const DIMENSIONS: usize = 768;
/// The last model that takes instances although it has the newer kind of name.
const LAST_OF_INSTANCES: &str = "gemini-embedding-001";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Predict {
    instances: Vec<Instance>,
    parameters: Option<Parameters>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Instance {
    content: String,
    task_type: Option<String>,
    title: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct Parameters {
    output_dimensionality: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Embed {
    content: Content,
    embed_content_config: Option<Config>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    parts: Vec<Part>,
    role: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    text: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct Config {
    task_type: Option<String>,
    title: Option<String>,
    output_dimensionality: Option<usize>,
}

/// Computes embeddings; `None` where the model does not support this.
pub(super) async fn answer(
    call: &Call<'_>,
    key: &str,
    model: &str,
    verb: &str,
    body: &Bytes,
) -> Option<Result<Answer, ApiError>> {
    let Call { shared, control, guard, .. } = *call;
    let takes_content = model.contains("gemini") && model != LAST_OF_INSTANCES;
    let configured = &shared.config.models;
    if !MODELS.contains(&model) && models::find(configured, model, VERSION, "embedContent").is_err() {
        return None;
    }
    if takes_content != (verb == "embedContent") {
        return None;
    }
    guard.note(|entry| entry.model = Some(model.to_owned()));
    let admitted = Admitted { shared, control, guard, key: key.to_owned(), version: VERSION };
    Some(if takes_content { content(&admitted, body).await } else { instances(&admitted, body).await })
}

fn unread(error: &serde_json::Error) -> ApiError {
    ApiError::invalid(format!("Invalid JSON payload received. {error}"))
}

fn check(kind: Option<&str>, title: Option<&str>) -> Result<(), ApiError> {
    let known =
        ["RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT", "SEMANTIC_SIMILARITY", "CLASSIFICATION", "CLUSTERING"];
    if kind.is_some_and(|kind| !known.contains(&kind)) {
        return Err(ApiError::invalid("Unknown task type."));
    }
    match title {
        Some(_) if kind != Some("RETRIEVAL_DOCUMENT") => {
            Err(ApiError::invalid("title is only supported for RETRIEVAL_DOCUMENT."))
        }
        _ => Ok(()),
    }
}

async fn instances(call: &Admitted<'_>, body: &Bytes) -> Result<Answer, ApiError> {
    let request: Predict = serde_json::from_slice(body).map_err(|error| unread(&error))?;
    if request.instances.is_empty() || request.instances.iter().any(|instance| instance.content.is_empty()) {
        return Err(ApiError::invalid("The text content is empty."));
    }
    for instance in &request.instances {
        check(instance.task_type.as_deref(), instance.title.as_deref())?;
    }
    let parameters = request.parameters.unwrap_or_default();
    let dimensions = parameters.output_dimensionality.unwrap_or(DIMENSIONS);
    let total = request.instances.iter().map(|instance| tokens::count(&instance.content)).sum();
    answering::embed(call, total, |include_usage| {
        let prediction = |instance: &Instance| {
            let mut embeddings = json!({"values": vector(&instance.content, dimensions)});
            if include_usage {
                let count = tokens::count(&instance.content);
                put(&mut embeddings, "statistics", json!({"token_count": count, "truncated": false}));
            }
            json!({"embeddings": embeddings})
        };
        let predictions: Vec<Value> = request.instances.iter().map(prediction).collect();
        Ok(json!({"predictions": predictions, "metadata": {"billableCharacterCount": 1}}))
    })
    .await
}

async fn content(call: &Admitted<'_>, body: &Bytes) -> Result<Answer, ApiError> {
    let request: Embed = serde_json::from_slice(body).map_err(|error| unread(&error))?;
    let texts: Vec<&str> = request.content.parts.iter().map(|part| part.text.as_str()).collect();
    let text = texts.join("\n");
    if text.is_empty() || request.content.role.as_deref().is_some_and(|role| role != "user") {
        return Err(ApiError::invalid("The content is empty, or of an unknown role."));
    }
    let config = request.embed_content_config.unwrap_or_default();
    check(config.task_type.as_deref(), config.title.as_deref())?;
    let count = tokens::count(&text);
    answering::embed(call, count, |include_usage| {
        let values = vector(&text, config.output_dimensionality.unwrap_or(DIMENSIONS));
        let mut answer = json!({"embedding": {"values": values}, "truncated": false});
        if include_usage {
            let usage = json!({"promptTokenCount": count, "totalTokenCount": count});
            put(&mut answer, "usageMetadata", usage);
        }
        Ok(answer)
    })
    .await
}
