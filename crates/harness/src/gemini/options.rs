//! Gemini's checks of a request's options: ranges, combinations, tools and their schemas.

use serde_json::Value;

use super::error::ApiError;
use super::models::Abilities;
use super::request::{Declaration, GenerateRequest, GenerationConfig, ThinkingConfig};

const STOPS_MAX: usize = 5;
const CANDIDATES_MAX: i64 = 8;
const FUNCTION_NAME_MAX: usize = 64;
const MEDIA_TYPES: &[&str] =
    &["text/plain", "application/json", "application/xml", "application/yaml", "text/x.enum"];

/// Refuses options that the real provider refuses for a model of these abilities.
pub(crate) fn check(request: &GenerateRequest, abilities: Abilities) -> Result<(), ApiError> {
    let config = &request.generation_config;
    sampling(config)?;
    format(config)?;
    thinking(config.thinking_config.as_ref(), abilities)?;
    tools(request)?;
    if !abilities.signs && config.wants_json() && request.declarations().next().is_some() {
        return Err(ApiError::invalid(
            "Function calling with a response mime type: 'application/json' is unsupported",
        ));
    }
    let mut seen = Vec::new();
    for (at, setting) in request.safety_settings.iter().enumerate() {
        let Some(category) = setting.category.as_deref().filter(|category| !seen.contains(category)) else {
            return Err(ApiError::at(
                &format!("safety_settings[{at}]"),
                "a category is needed, and one setting for each",
            ));
        };
        seen.push(category);
    }
    Ok(())
}

fn sampling(config: &GenerationConfig) -> Result<(), ApiError> {
    let bad = |name: &str, why: &str| Err(ApiError::at(&format!("generation_config.{name}"), why));
    let outside =
        |value: Option<f64>, low: f64, high: f64| value.is_some_and(|value| !(low..=high).contains(&value));
    if outside(config.temperature, 0.0, 2.0) {
        return bad("temperature", "temperature must be in the range [0.0, 2.0].");
    }
    if outside(config.top_p, 0.0, 1.0) {
        return bad("top_p", "top_p must be in the range [0.0, 1.0].");
    }
    if outside(config.top_k, 1.0, f64::MAX) {
        return bad("top_k", "top_k must be positive.");
    }
    for (name, penalty) in
        [("presence_penalty", config.presence_penalty), ("frequency_penalty", config.frequency_penalty)]
    {
        if penalty.is_some_and(|penalty| !(-2.0..2.0).contains(&penalty)) {
            return bad(name, "penalty must be in the range [-2.0, 2.0).");
        }
    }
    if config.candidate_count.is_some_and(|count| !(1..=CANDIDATES_MAX).contains(&count)) {
        return bad("candidate_count", "candidate_count must be in the range [1, 8].");
    }
    if config.max_output_tokens.is_some_and(|tokens| tokens < 1) {
        return bad("max_output_tokens", "max_output_tokens must be positive.");
    }
    if config.stop_sequences.len() > STOPS_MAX {
        return bad("stop_sequences", "at most 5 stop sequences are allowed.");
    }
    if config.stop_sequences.iter().any(String::is_empty) {
        return bad("stop_sequences", "a stop sequence must not be empty.");
    }
    if config.logprobs.is_some() && !config.response_logprobs {
        return bad("logprobs", "logprobs needs response_logprobs to be true.");
    }
    if config.logprobs.is_some_and(|logprobs| !(0..=20).contains(&logprobs)) {
        return bad("logprobs", "logprobs must be in the range [0, 20].");
    }
    Ok(())
}

fn format(config: &GenerationConfig) -> Result<(), ApiError> {
    let bad = |name: &str, why: &str| Err(ApiError::at(&format!("generation_config.{name}"), why));
    if config.response_mime_type.as_deref().is_some_and(|media| !MEDIA_TYPES.contains(&media)) {
        return bad(
            "response_mime_type",
            "allowed mimetypes are text/plain, application/json and text/x.enum.",
        );
    }
    let schemas = [&config.response_schema, &config.response_json_schema];
    if schemas.iter().all(|schema| schema.is_some()) {
        return bad("response_json_schema", "response_schema must not be set beside it.");
    }
    if schemas.iter().any(|schema| schema.is_some()) && !config.wants_json() && !config.wants_enum() {
        return bad(
            "response_schema",
            "only allowed with a response_mime_type of application/json or text/x.enum.",
        );
    }
    match (&config.response_schema, &config.response_json_schema) {
        (Some(schema), _) => self::schema("generation_config.response_schema", schema),
        (None, Some(schema)) => json_schema("generation_config.response_json_schema", schema),
        (None, None) => Ok(()),
    }
}

fn thinking(config: Option<&ThinkingConfig>, abilities: Abilities) -> Result<(), ApiError> {
    let Some(config) = config else { return Ok(()) };
    if !abilities.thinks {
        return Err(ApiError::invalid("Thinking is not enabled for this model."));
    }
    if config.thinking_budget.is_some() && config.thinking_level.is_some() {
        return Err(ApiError::invalid("You can set only one of thinking budget and thinking level."));
    }
    if config.thinking_level.is_some() && !abilities.signs {
        return Err(ApiError::invalid("Thinking level is not supported for this model."));
    }
    if config.thinking_budget.is_some_and(|budget| budget < -1) {
        return Err(ApiError::invalid("The thinking budget must be -1, 0 or positive."));
    }
    if let (Some(budget), Some(budgets)) = (config.thinking_budget, abilities.budgets)
        && !budgets.take(budget)
    {
        return Err(ApiError::invalid(match budget {
            0 => "Budget 0 is invalid. This model only works in thinking mode.".to_owned(),
            budget => format!(
                "The thinking budget {budget} is invalid. Please choose a value between {} and {}.",
                budgets.low, budgets.high
            ),
        }));
    }
    if config.include_thoughts && config.thinking_budget == Some(0) {
        return Err(ApiError::invalid(
            "Thinking_config.include_thoughts is only enabled when thinking is enabled.",
        ));
    }
    Ok(())
}

fn tools(request: &GenerateRequest) -> Result<(), ApiError> {
    let mut seen: Vec<&str> = Vec::new();
    for (at, tool) in request.tools.iter().enumerate() {
        for (index, declaration) in tool.function_declarations.iter().enumerate() {
            check_declaration(&format!("tools[{at}].function_declarations[{index}]"), declaration)?;
            if seen.contains(&declaration.name.as_str()) {
                return Err(ApiError::invalid(format!(
                    "Duplicate function declaration found: {}",
                    declaration.name
                )));
            }
            seen.push(&declaration.name);
        }
        if tool.function_declarations.is_empty() && tool.server_side.is_empty() {
            return Err(ApiError::at(&format!("tools[{at}]"), "a tool must have one initialized field"));
        }
    }
    let Some(config) = &request.tool_config else { return Ok(()) };
    let config = &config.function_calling_config;
    let path = "tool_config.function_calling_config";
    let mode = config.mode.as_deref();
    if !config.allowed_function_names.is_empty() && !matches!(mode, Some("ANY" | "VALIDATED")) {
        return Err(ApiError::at(
            &format!("{path}.allowed_function_names"),
            "allowed_function_names should only be set when the mode is ANY or VALIDATED",
        ));
    }
    if let Some(name) = config.allowed_function_names.iter().find(|name| !seen.contains(&name.as_str())) {
        return Err(ApiError::at(
            &format!("{path}.allowed_function_names"),
            &format!("{name} is no declared function"),
        ));
    }
    if mode == Some("ANY") && seen.is_empty() {
        return Err(ApiError::at(path, "Function calling mode ANY needs function_declarations."));
    }
    Ok(())
}

fn check_declaration(path: &str, declaration: &Declaration) -> Result<(), ApiError> {
    let name = &declaration.name;
    let first = name.chars().next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    let legal = |character: char| character.is_ascii_alphanumeric() || "_.:-".contains(character);
    if !first || name.len() > FUNCTION_NAME_MAX || !name.chars().all(legal) {
        return Err(ApiError::at(
            &format!("{path}.name"),
            "Invalid function name. It must start with a letter or an underscore, and have letters, digits, _, ., : \
             and - only, 64 at most.",
        ));
    }
    match (&declaration.parameters, &declaration.parameters_json_schema) {
        (Some(_), Some(_)) => Err(ApiError::at(
            &format!("{path}.parameters"),
            "parameters_json_schema must not be set beside it",
        )),
        (Some(parameters), None) => schema(&format!("{path}.parameters"), parameters),
        (None, Some(schema)) => json_schema(&format!("{path}.parameters_json_schema"), schema),
        _ => Ok(()),
    }
}

/// Checks a field that takes JSON Schema.
fn json_schema(path: &str, schema: &Value) -> Result<(), ApiError> {
    if !schema.is_object() {
        return Err(ApiError::at(path, "schema must be an object"));
    }
    if jsonschema::draft202012::meta::is_valid(schema) {
        Ok(())
    } else {
        Err(ApiError::at(path, "schema is not valid JSON Schema"))
    }
}

/// Checks Gemini's own schema format.
fn schema(path: &str, schema: &Value) -> Result<(), ApiError> {
    let properties = schema.get("properties").and_then(Value::as_object);
    match schema.get("type").and_then(Value::as_str) {
        Some("OBJECT") if properties.is_none_or(serde_json::Map::is_empty) => {
            return Err(ApiError::at(&format!("{path}.properties"), "should be non-empty for OBJECT type"));
        }
        Some("ARRAY") if schema.get("items").is_none() => {
            return Err(ApiError::at(&format!("{path}.items"), "missing field."));
        }
        None if schema.get("anyOf").is_none() => {
            return Err(ApiError::at(&format!("{path}.type"), "must be specified"));
        }
        _ => {}
    }
    for (at, name) in texts(schema, "required").enumerate() {
        if !properties.is_some_and(|properties| properties.contains_key(name)) {
            return Err(ApiError::at(&format!("{path}.required[{at}]"), "property is not defined"));
        }
    }
    for (name, inner) in properties.into_iter().flatten() {
        self::schema(&format!("{path}.properties[{name}]"), inner)?;
    }
    if let Some(items) = schema.get("items") {
        self::schema(&format!("{path}.items"), items)?;
    }
    let any_of = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    for (at, inner) in any_of.enumerate() {
        self::schema(&format!("{path}.any_of[{at}]"), inner)?;
    }
    Ok(())
}

fn texts<'a>(schema: &'a Value, name: &str) -> impl Iterator<Item = &'a str> {
    schema.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "JSON reads best by value")]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gemini::models::abilities;
    use crate::gemini::protojson;
    use crate::gemini::schema::GENERATE;

    fn check(model: &str, request: Value, refused: Option<&str>) {
        let read: GenerateRequest = protojson::read(request.to_string().as_bytes(), &GENERATE).unwrap();
        match (super::check(&read, abilities(model)), refused) {
            (Ok(()), None) => {}
            (Err(error), Some(why)) => assert!(error.message.contains(why), "{request}: {}", error.message),
            (result, _) => panic!("{request}: {result:?}"),
        }
    }

    fn configured(model: &str, config: Value, refused: Option<&str>) {
        check(model, json!({"generationConfig": config}), refused);
    }

    #[test]
    fn sampling_and_format() {
        let model = "gemini-2.5-flash";
        for (config, path) in [
            (json!({"temperature": 2.1}), "generation_config.temperature"),
            (json!({"topP": -0.1}), "generation_config.top_p"),
            (json!({"topK": 0}), "generation_config.top_k"),
            (json!({"presencePenalty": 2}), "generation_config.presence_penalty"),
            (json!({"candidateCount": 0}), "generation_config.candidate_count"),
            (json!({"candidateCount": 9}), "generation_config.candidate_count"),
            (json!({"maxOutputTokens": 0}), "generation_config.max_output_tokens"),
            (json!({"stopSequences": ["a", "b", "c", "d", "e", "f"]}), "generation_config.stop_sequences"),
            (json!({"stopSequences": [""]}), "generation_config.stop_sequences"),
            (json!({"logprobs": 3}), "generation_config.logprobs"),
            (json!({"responseLogprobs": true, "logprobs": 21}), "generation_config.logprobs"),
            (json!({"responseMimeType": "text/html"}), "generation_config.response_mime_type"),
            (json!({"responseSchema": {"type": "STRING"}}), "generation_config.response_schema"),
            (
                json!({"responseMimeType": "application/json", "responseSchema": {"type": "ARRAY"}}),
                "generation_config.response_schema.items: missing field",
            ),
            (
                json!({"responseMimeType": "application/json", "responseSchema": {"type": "STRING"}, "responseJsonSchema": {}}),
                "generation_config.response_json_schema",
            ),
        ] {
            configured(model, config, Some(path));
        }
        let stops = json!(["a", "b", "c", "d", "e"]);
        configured(
            model,
            json!({"stopSequences": stops, "temperature": 2, "topK": 40, "candidateCount": 8}),
            None,
        );
    }

    #[test]
    fn thinking_by_model() {
        let with = |config: Value| json!({"thinkingConfig": config});
        let (old, middle, new) = ("gemini-2.0-flash", "gemini-2.5-flash", "gemini-3-pro-preview");
        configured(old, with(json!({"includeThoughts": true})), Some("not enabled"));
        configured(middle, with(json!({"thinkingLevel": "LOW"})), Some("not supported"));
        configured(
            middle,
            with(json!({"thinkingBudget": 0, "includeThoughts": true})),
            Some("include_thoughts"),
        );
        configured(middle, with(json!({"thinkingBudget": -2})), Some("budget"));
        configured(middle, with(json!({"thinkingBudget": -1, "includeThoughts": true})), None);
        configured(middle, with(json!({"thinkingBudget": 24_577})), Some("between 1 and 24576"));
        configured("gemini-2.5-pro", with(json!({"thinkingBudget": 0})), Some("only works in thinking mode"));
        configured("gemini-2.5-pro", with(json!({"thinkingBudget": 127})), Some("between 128 and 32768"));
        configured(
            "gemini-2.5-flash-lite",
            with(json!({"thinkingBudget": 511})),
            Some("between 512 and 24576"),
        );
        configured("gemini-2.5-flash-lite", with(json!({"thinkingBudget": 0})), None);
        check(middle, json!({"labels": {"team": "sea"}}), None);
        let format =
            |schema: Value| json!({"responseMimeType": "application/json", "responseJsonSchema": schema});
        configured(middle, format(json!({"type": "object", "required": 1})), Some("not valid JSON Schema"));
        configured(middle, format(json!({"type": "object"})), None);
        configured(new, with(json!({"thinkingLevel": "low", "thinkingBudget": 5})), Some("only one"));
        configured(new, with(json!({"thinkingLevel": "low", "includeThoughts": true})), None);
    }

    #[test]
    fn tools_and_their_choice() {
        let model = "gemini-2.5-flash";
        let declare = |declaration: Value| json!({"tools": [{"functionDeclarations": [declaration]}]});
        let with = |parameters: Value| declare(json!({"name": "f", "parameters": parameters}));
        check(model, declare(json!({"name": "1f"})), Some("Invalid function name"));
        check(model, declare(json!({"name": "f f"})), Some("Invalid function name"));
        check(model, declare(json!({"name": "a.b:c-d_1"})), None);
        check(model, with(json!({"type": "object"})), Some("parameters.properties: should be non-empty"));
        check(model, with(json!({"description": "x"})), Some("parameters.type: must be specified"));
        check(
            model,
            with(json!({"type": "OBJECT", "properties": {"a": {"type": "ARRAY"}}})),
            Some("parameters.properties[a].items: missing field"),
        );
        check(
            model,
            with(json!({"type": "OBJECT", "properties": {"a": {"type": "STRING"}}, "required": ["b"]})),
            Some("required[0]: property is not defined"),
        );
        check(
            model,
            declare(json!({"name": "f", "parameters": {"type": "STRING"}, "parameters_json_schema": {}})),
            Some("must not be set beside it"),
        );
        let twice = json!({"tools": [{"functionDeclarations": [{"name": "f"}, {"name": "f"}]}]});
        check(model, twice, Some("Duplicate function declaration"));
        check(model, json!({"tools": [{}]}), Some("tools[0]"));
        check(model, json!({"tools": [{"googleSearch": {}}, {"code_execution": {}}]}), None);
        let mut choice = declare(json!({"name": "f"}));
        for (config, refused) in [
            (
                json!({"mode": "AUTO", "allowedFunctionNames": ["f"]}),
                Some("only be set when the mode is ANY"),
            ),
            (json!({"mode": "any", "allowed_function_names": ["g"]}), Some("g is no declared function")),
            (json!({"mode": "ANY", "allowedFunctionNames": ["f"]}), None),
        ] {
            choice["toolConfig"] = json!({"functionCallingConfig": config});
            check(model, choice.clone(), refused);
        }
        check(
            model,
            json!({"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}),
            Some("needs function"),
        );
        let mut json_mode = declare(json!({"name": "f"}));
        json_mode["generationConfig"] = json!({"responseMimeType": "application/json"});
        check(model, json_mode.clone(), Some("is unsupported"));
        check("gemini-3-pro-preview", json_mode, None);
    }

    #[test]
    fn one_safety_setting_for_each_category() {
        let setting = json!({"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"});
        check("gemini-2.5-flash", json!({"safetySettings": [setting]}), None);
        check("gemini-2.5-flash", json!({"safetySettings": [setting, setting]}), Some("safety_settings[1]"));
    }
}
