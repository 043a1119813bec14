//! `additionalModelRequestFields`: model parameters in the vendor's own format, which differ by vendor.

use serde_json::{Map, Value, json};

use super::error::Refusal;
use super::models::Served;
use crate::anthropic::thinking::{self, Thinking};

/// Claude's additional fields: those of Anthropic's own API that Converse has no equivalent for.
const CLAUDE: &[&str] = &["anthropic_beta", "thinking", "tool_choice", "tools", "top_k"];
/// Nova accepts `topK` in this range, inside an object of its own.
const NOVA_TOP_K: (u64, u64) = (0, 128);

/// Rejects fields that the model does not accept, and returns its thinking settings.
pub(super) fn check(fields: &Map<String, Value>, served: &Served) -> Result<Thinking, Refusal> {
    let none = Map::new();
    let additional = match fields.get("additionalModelRequestFields") {
        None => &none,
        Some(Value::Object(additional)) => additional,
        Some(_) => {
            return Err(Refusal::at("additionalModelRequestFields", "Input should be a valid dictionary"));
        }
    };
    let effort = fields.get("outputConfig").and_then(|config| config.get("effort"));
    if effort.is_some() && !served.takes_effort() {
        return Err(Refusal::at("output_config", "This model does not support the effort parameter."));
    }
    if served.is_claude() {
        return claude(additional, fields, served);
    }
    let known = if served.is_nova() { "inferenceConfig" } else { "" };
    if let Some(name) = additional.keys().find(|name| *name != known) {
        return Err(extraneous("#", name));
    }
    match additional.get(known) {
        None => Ok(Thinking::default()),
        Some(config) => nova(config),
    }
}

fn claude(
    additional: &Map<String, Value>,
    fields: &Map<String, Value>,
    served: &Served,
) -> Result<Thinking, Refusal> {
    if let Some(name) = additional.keys().find(|name| !CLAUDE.contains(&name.as_str())) {
        return Err(Refusal::at(name, "Extra inputs are not permitted"));
    }
    if additional.get("top_k").is_some_and(|top_k| top_k.as_u64().is_none()) {
        return Err(Refusal::at("top_k", "Input should be a valid integer"));
    }
    let sampling = |name: &str| fields.get("inferenceConfig").and_then(|config| config.get(name));
    if sampling("temperature").is_some() && sampling("topP").is_some() {
        return Err(model_error(
            "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
        ));
    }
    let Some(thinking) = additional.get("thinking") else { return Ok(Thinking::default()) };
    // Anthropic's own check of `thinking`, with the related fields translated.
    let tokens_max = fields.get("inferenceConfig").and_then(|config| config.get("maxTokens"));
    let choice = fields.get("toolConfig").and_then(|config| config.get("toolChoice"));
    let kind = choice.and_then(Value::as_object).and_then(|choice| choice.keys().next());
    let request = json!({
        "thinking": thinking,
        "max_tokens": tokens_max.cloned().unwrap_or_else(|| served.output_tokens_max.into()),
        "tool_choice": {"type": kind},
    });
    let parsed = thinking::read(request.as_object().unwrap_or(additional), served.thinks, &[]);
    let parsed = parsed.map_err(|refusal| model_error(&refusal.message))?;
    if parsed.on && additional.contains_key("top_k") {
        return Err(model_error("`top_k` must be unset when thinking is enabled."));
    }
    Ok(parsed)
}

fn nova(config: &Value) -> Result<Thinking, Refusal> {
    let path = "#/inferenceConfig";
    let Some(config) = config.as_object() else {
        return Err(Refusal::invalid(format!("Malformed input request: {path}: expected type: JSONObject")));
    };
    if let Some(name) = config.keys().find(|name| *name != "topK") {
        return Err(extraneous(path, name));
    }
    let (low, high) = NOVA_TOP_K;
    match config.get("topK").map(Value::as_u64) {
        Some(Some(top_k)) if (low..=high).contains(&top_k) => Ok(Thinking::default()),
        None => Ok(Thinking::default()),
        Some(_) => Err(Refusal::invalid(format!(
            "Malformed input request: {path}/topK: expected a number from {low} to {high}"
        ))),
    }
}

fn model_error(message: &str) -> Refusal {
    Refusal::invalid(format!("The model returned the following errors: {message}"))
}

fn extraneous(path: &str, name: &str) -> Refusal {
    Refusal::invalid(format!(
        "Malformed input request: {path}: extraneous key [{name}] is not permitted, please reformat your input and try \
         again."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bedrock::models;

    const HAIKU: &str = "anthropic.claude-haiku-4-5-20251001-v1:0";
    const OLD: &str = "anthropic.claude-3-haiku-20240307-v1:0";
    const NOVA: &str = "amazon.nova-lite-v1:0";
    const LLAMA: &str = "meta.llama3-3-70b-instruct-v1:0";

    fn check_one(model: &str, additional: &Value, more: &Value, expected: Result<bool, &str>) {
        let mut body = json!({"additionalModelRequestFields": additional});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let result = check(body.as_object().unwrap(), models::base(model).unwrap());
        match (result, expected) {
            (Ok(thinking), Ok(is_on)) => assert_eq!(thinking.on, is_on, "{model}: {body}"),
            (Err(refusal), Err(words)) => assert!(refusal.message.contains(words), "{}", refusal.message),
            (result, _) => panic!("{model}: {body}: {result:?}"),
        }
    }

    #[test]
    fn each_makers_models_take_their_own() {
        let thinking = |budget: u64| json!({"thinking": {"type": "enabled", "budget_tokens": budget}});
        let none = json!({});
        check_one(HAIKU, &json!({}), &none, Ok(false));
        check_one(HAIKU, &json!({"top_k": 5}), &none, Ok(false));
        check_one(HAIKU, &thinking(2_000), &none, Ok(true));
        check_one(HAIKU, &json!({"thinking": {"type": "disabled"}}), &none, Ok(false));
        check_one(HAIKU, &thinking(1_000), &none, Err("greater than or equal to 1024"));
        check_one(
            HAIKU,
            &json!({"thinking": {"type": "adaptive"}}),
            &none,
            Err("not supported on this model"),
        );
        check_one(HAIKU, &json!({"topK": 5}), &none, Err("topK: Extra inputs"));
        check_one(
            HAIKU,
            &thinking(2_000),
            &json!({"inferenceConfig": {"maxTokens": 2_000}}),
            Err("must be greater"),
        );
        let both = json!({"inferenceConfig": {"temperature": 0.5, "topP": 0.9}});
        check_one(HAIKU, &none, &both, Err("cannot both be specified"));
        check_one(NOVA, &none, &both, Ok(false));
        let forced = json!({"toolConfig": {"toolChoice": {"any": {}}}});
        check_one(HAIKU, &thinking(2_000), &forced, Err("forces tool use"));
        check_one(HAIKU, &json!({}), &json!({"outputConfig": {"effort": "low"}}), Err("effort"));
        check_one(OLD, &thinking(2_000), &none, Err("not supported"));
        check_one(NOVA, &json!({"inferenceConfig": {"topK": 20}}), &none, Ok(false));
        check_one(NOVA, &json!({"inferenceConfig": {"topK": 200}}), &none, Err("from 0 to 128"));
        check_one(NOVA, &json!({"top_k": 20}), &none, Err("extraneous key [top_k]"));
        check_one(LLAMA, &json!({"top_k": 20}), &none, Err("extraneous key [top_k]"));
        check_one(LLAMA, &json!({"inferenceConfig": {}}), &none, Err("extraneous key [inferenceConfig]"));
    }
}
