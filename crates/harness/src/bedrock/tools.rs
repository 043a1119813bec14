//! Checks of a conversation's tools: rejects duplicate names, schemas that are not an object's, and a choice
//! of an unknown tool.

use std::collections::BTreeSet;

use serde_json::Value;

use super::error::Refusal;

pub(super) fn check(tools: &[Value], choice: Option<&Value>) -> Result<(), Refusal> {
    let mut names = BTreeSet::new();
    for (at, tool) in tools.iter().enumerate() {
        let path = format!("toolConfig.tools.{at}");
        if let Some(schema) = tool.pointer("/toolSpec/inputSchema/json") {
            self::schema(&format!("{path}.toolSpec.inputSchema.json"), schema)?;
        }
        let name = tool.pointer("/toolSpec/name").or_else(|| tool.pointer("/systemTool/name"));
        if let Some(name) = name.and_then(Value::as_str).filter(|name| !names.insert(*name)) {
            return Err(Refusal::invalid(format!(
                "The toolConfig.tools contains duplicate names: {name}. Provide unique names and try again."
            )));
        }
    }
    match choice.and_then(|choice| choice.pointer("/tool/name")).and_then(Value::as_str) {
        Some(name) if !names.contains(name) => {
            Err(Refusal::at("tool_choice", format!("Tool '{name}' not found in provided tools")))
        }
        _ => Ok(()),
    }
}

fn schema(path: &str, schema: &Value) -> Result<(), Refusal> {
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        return Err(Refusal::invalid(format!(
            "The value at {path}.type must be one of the following: object."
        )));
    }
    if !jsonschema::draft202012::meta::is_valid(schema) {
        return Err(Refusal::invalid(format!(
            "The model returned the following errors: {path}: JSON schema is invalid. It must match JSON Schema draft \
             2020-12 (https://json-schema.org/draft/2020-12)."
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tools_are_looked_into() {
        let tool =
            |name: &str, schema: Value| json!({"toolSpec": {"name": name, "inputSchema": {"json": schema}}});
        let (object, none) = (json!({"type": "object"}), Value::Null);
        let named = |name: &str| json!({"tool": {"name": name}});
        for (tools, choice, expected) in [
            (vec![tool("a", object.clone())], &none, None),
            (vec![tool("a", object.clone())], &named("a"), None),
            (vec![tool("a", object.clone())], &named("b"), Some("'b' not found")),
            (vec![tool("a", object.clone()), tool("a", object)], &none, Some("duplicate names: a")),
            (vec![tool("a", json!({}))], &none, Some("must be one of the following: object")),
            (
                vec![tool("a", json!({"type": "object", "required": 1}))],
                &none,
                Some("JSON schema is invalid"),
            ),
        ] {
            let refused = check(&tools, Some(choice)).err().map(|refusal| refusal.message);
            assert_eq!(refused.is_some(), expected.is_some(), "{tools:?}: {refused:?}");
            assert!(refused.unwrap_or_default().contains(expected.unwrap_or_default()), "{expected:?}");
        }
    }
}
