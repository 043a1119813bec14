//! OpenAI's checks of JSON schemas: for functions, and for strict structured outputs.

use serde_json::Value;

use crate::openai::error::ApiError;

/// Rejects a schema that is not an object's with named properties, as a function's arguments must be.
pub(crate) fn of_object(param: &str, owner: &str, schema: &Value) -> Result<(), ApiError> {
    let wrong = |what: String| {
        Err(ApiError::bad(format!("Invalid schema for {owner}: {what}"))
            .at(param, "invalid_function_parameters"))
    };
    let Some(fields) = schema.as_object() else {
        return Err(ApiError::wrong_type(param, "an object", schema));
    };
    match fields.get("type").and_then(Value::as_str) {
        Some("object") => {}
        kind => {
            let kind = kind.unwrap_or("None");
            return wrong(format!(
                "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."
            ));
        }
    }
    if !fields.contains_key("properties") {
        return wrong("In context=(), object schema missing properties.".to_owned());
    }
    if !jsonschema::draft202012::meta::is_valid(schema) {
        return wrong("it is not valid under any of the given schemas.".to_owned());
    }
    Ok(())
}

/// Rejects a strict schema that allows additional properties or has optional ones.
pub(crate) fn strict(param: &str, owner: &str, schema: &Value) -> Result<(), ApiError> {
    let mut path = Vec::new();
    match fault(schema, &mut path) {
        None => Ok(()),
        Some(fault) => {
            let context = path.iter().map(|step| format!("'{step}'")).collect::<Vec<_>>().join(", ");
            Err(ApiError::bad(format!("Invalid schema for {owner}: In context=({context}), {fault}")).at(
                param,
                if owner.starts_with("function") {
                    "invalid_function_parameters"
                } else {
                    "invalid_json_schema"
                },
            ))
        }
    }
}

/// The first error; `path` is left pointing to it.
fn fault(schema: &Value, path: &mut Vec<String>) -> Option<String> {
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        if schema.get("additionalProperties") != Some(&Value::Bool(false)) {
            return Some("'additionalProperties' is required to be supplied and to be false.".to_owned());
        }
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if let Some(missing) = properties.keys().find(|name| !required.contains(&name.as_str())) {
            return Some(format!(
                "'required' is required to be supplied and to be an array including every key in properties. Missing \
                 '{missing}'."
            ));
        }
    }
    for (step, inner) in inner(schema) {
        path.extend(step);
        if let Some(fault) = fault(inner, path) {
            return Some(fault);
        }
        path.truncate(path.len().saturating_sub(2));
    }
    None
}

/// Every direct subschema, with the two names that lead to it.
fn inner(schema: &Value) -> Vec<([String; 2], &Value)> {
    let mut list = Vec::new();
    for name in ["properties", "$defs", "definitions"] {
        for (key, value) in schema.get(name).and_then(Value::as_object).into_iter().flatten() {
            list.push(([name.to_owned(), key.clone()], value));
        }
    }
    for (at, value) in schema.get("anyOf").and_then(Value::as_array).into_iter().flatten().enumerate() {
        list.push((["anyOf".to_owned(), at.to_string()], value));
    }
    if let Some(items) = schema.get("items") {
        list.push((["items".to_owned(), "0".to_owned()], items));
    }
    list
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: &Value, expected: Option<&str>) {
        let refused = strict("tools[0]", "function 'f'", schema).err().map(|error| error.message);
        assert_eq!(refused.is_some(), expected.is_some(), "{schema}: {refused:?}");
        if let (Some(message), Some(expected)) = (refused, expected) {
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_strict_schema_leaves_no_room() {
        let inner = json!({"type": "object", "properties": {"b": {"type": "string"}}});
        check(&json!({"type": "object"}), None);
        check(
            &json!({"type": "object", "properties": {"a": {"type": "string"}}}),
            Some("context=(), 'additional"),
        );
        check(
            &json!({"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a"], "additionalProperties": false}),
            Some("Missing 'b'"),
        );
        check(
            &json!({"properties": {"a": inner}, "required": ["a"], "additionalProperties": false}),
            Some("context=('properties', 'a'), 'additional"),
        );
        check(&json!({"type": "array", "items": {"anyOf": [{"type": "null"}, inner]}}), Some("'anyOf', '1'"));
        check(
            &json!({"properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false}),
            None,
        );
    }
}
