//! Anthropic's models on Vertex AI: Anthropic's body with the API version inside, and the model in the path.

use bytes::Bytes;
use serde_json::Value;

use super::{Fields, SharedRef};
use crate::anthropic::error::Refusal;
use crate::anthropic::request::{self, Betas, Edition};
use crate::anthropic::service::{count_tokens, messages};
use crate::emulator::service::{Answer, Call};

const COUNTER: &str = "count-tokens";

/// The response to a request; `None` where the model does not exist.
pub(super) async fn answer(
    call: &Call<'_>,
    key: &str,
    model: &str,
    verb: &str,
    body: &Bytes,
) -> Option<Answer> {
    let is_count = model == COUNTER && verb == "rawPredict";
    let id = if is_count { None } else { Some(served_id(call.shared, model)?) };
    if !["rawPredict", "streamRawPredict"].contains(&verb) {
        return None;
    }
    let answered = match read(body, call.shared, id) {
        Ok((fields, edition)) if is_count => count_tokens(call, key, &fields, edition).await,
        Ok((fields, edition)) => {
            let streams = fields.get("stream") == Some(&Value::Bool(true));
            if streams == (verb == "streamRawPredict") {
                messages(call, key, &fields, edition).await
            } else {
                Err(Refusal::at("stream", "it is not what the address says"))
            }
        }
        Err(refusal) => Err(refusal),
    };
    Some(answered.unwrap_or_else(|refusal| refusal.answer(call)))
}

/// Anthropic's own name of a model, whose version follows an `@` on Vertex AI.
fn served_id(shared: SharedRef<'_>, model: &str) -> Option<String> {
    let (name, version) = model.split_once('@').unwrap_or((model, ""));
    let dated = format!("{name}-{version}");
    let has = |id: &str| shared.config.claude_models.iter().any(|model| model.id == id);
    [dated.as_str(), name].into_iter().find(|id| has(id)).map(str::to_owned)
}

/// Anthropic's fields, and the settings that headers determine in its own API.
fn read(body: &Bytes, shared: SharedRef<'_>, model: Option<String>) -> Result<(Fields, Edition), Refusal> {
    let mut fields = request::object(body)?;
    let newer = match fields.remove("anthropic_version").as_ref().and_then(Value::as_str) {
        Some("vertex-2023-10-16") => false,
        Some("2026-10-21") => true,
        Some(version) => {
            return Err(Refusal::at("anthropic_version", format!("\"{version}\" is not a valid version")));
        }
        None => return Err(Refusal::at("anthropic_version", "Field required")),
    };
    let betas = match fields.remove("anthropic_beta") {
        None => Betas::NONE,
        Some(Value::Array(betas)) if betas.iter().all(Value::is_string) => {
            Betas::of(betas.iter().filter_map(Value::as_str))
        }
        Some(_) => return Err(Refusal::at("anthropic_beta", "Input should be a valid list")),
    };
    match (model, fields.get("model").and_then(Value::as_str)) {
        (Some(_), Some(_)) => return Err(Refusal::at("model", "Extra inputs are not permitted")),
        (Some(model), None) => drop(fields.insert("model".to_owned(), model.into())),
        // The token counter takes the model in the body.
        (None, Some(named)) => {
            let model = served_id(shared, named).ok_or_else(|| Refusal::model_not_found(named))?;
            fields.insert("model".to_owned(), model.into());
        }
        (None, None) => return Err(Refusal::at("model", "Field required")),
    }
    Ok((fields, Edition { newer, betas }))
}
