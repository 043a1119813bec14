//! Anthropic's checks of JSON schemas for structured outputs.

use serde_json::{Map, Value};

use super::error::Refusal;

const NUMBER: &[&str] = &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"];
const TEXT: &[&str] = &["minLength", "maxLength"];
const ARRAY: &[&str] = &["maxItems", "uniqueItems"];

/// Rejects, at any depth, open objects and bounds that structured outputs do not support.
pub(crate) fn check(path: &str, schema: &Value) -> Result<(), Refusal> {
    match schema {
        Value::Object(fields) => {
            node(path, fields)?;
            fields
                .iter()
                .filter(|(name, _)| !matches!(name.as_str(), "properties" | "$defs" | "definitions"))
                .filter(|(name, _)| !matches!(name.as_str(), "enum" | "const" | "default" | "examples"))
                .try_for_each(|(_, inner)| check(path, inner))?;
            ["properties", "$defs", "definitions"]
                .iter()
                .filter_map(|name| fields.get(*name)?.as_object())
                .flat_map(Map::values)
                .try_for_each(|inner| check(path, inner))
        }
        Value::Array(list) => list.iter().try_for_each(|inner| check(path, inner)),
        _ => Ok(()),
    }
}

fn node(path: &str, fields: &Map<String, Value>) -> Result<(), Refusal> {
    let kind = fields.get("type").and_then(Value::as_str).unwrap_or_default();
    let refused = match kind {
        "object" if fields.get("additionalProperties") != Some(&Value::Bool(false)) => {
            return Err(Refusal::at(
                path,
                "For 'object' type, 'additionalProperties' must be explicitly set to false",
            ));
        }
        "integer" | "number" => NUMBER,
        "string" => TEXT,
        "array" => ARRAY,
        _ => return Ok(()),
    };
    let found: Vec<&str> = refused.iter().filter(|name| fields.contains_key(**name)).copied().collect();
    if found.is_empty() {
        return Ok(());
    }
    Err(Refusal::at(path, format!("For '{kind}' type, properties {} are not supported", found.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(schema: &Value, taken: bool) {
        assert_eq!(super::check("x", schema).is_ok(), taken, "{schema}");
    }

    #[test]
    fn open_objects_and_bounds_are_refused_at_any_depth() {
        let closed = json!({"type": "object", "properties": {"type": {"type": "string"}}, "additionalProperties": false});
        check(&closed, true);
        check(&json!({"type": "object"}), false);
        check(&json!({"type": "array", "items": {"type": "object"}}), false);
        check(&json!({"anyOf": [closed, {"type": "integer", "minimum": 1}]}), false);
        check(&json!({"$defs": {"a": {"type": "string", "maxLength": 3}}, "$ref": "#/$defs/a"}), false);
        check(&json!({"enum": [{"type": "object"}]}), true);
        check(&json!({"type": "array", "items": closed}), true);
    }
}
