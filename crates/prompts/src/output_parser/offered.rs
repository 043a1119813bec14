//! The tools that a model may call, and the types that their schemas give to values written as bare text.

use std::collections::HashMap;

use domain::Prompt;
use domain::prompt::{ToolChoice, ToolKind};
use serde_json::Value;

use super::mend;
use crate::limits::SCHEMAS_MAX;

/// The tools that may be called, by name.
#[derive(Debug, Default)]
pub struct Offered {
    schemas: HashMap<String, Value>,
    /// The answer ends with its first call (no parallel calls).
    pub(super) is_one: bool,
}

/// The types of values that a parameter takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Kinds {
    text: bool,
    null: bool,
    boolean: bool,
    number: bool,
    nested: bool,
}

impl Offered {
    /// The tools of a request, without those that its `tool_choice` excludes.
    pub fn of(prompt: &Prompt) -> Self {
        let tools = prompt.tools.iter().filter_map(|tool| match &tool.kind {
            ToolKind::Function { name, schema, .. } if is_offered(prompt, name) => {
                let schema = schema.as_ref().and_then(|schema| serde_json::from_str(schema.as_str()).ok());
                Some((name.clone(), schema.unwrap_or_default()))
            }
            _ => None,
        });
        Self { schemas: tools.collect(), is_one: prompt.parallel_tools == Some(false) }
    }

    pub fn is_empty(&self) -> bool {
        self.schemas.is_empty()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.schemas.contains_key(name)
    }

    pub(super) fn has_parameter(&self, tool: &str, name: &str) -> bool {
        self.parameter(tool, name).is_some()
    }

    fn parameter(&self, tool: &str, name: &str) -> Option<(&Value, &Value)> {
        let schema = self.schemas.get(tool)?;
        Some((schema, schema.get("properties")?.get(name)?))
    }

    /// The types that a parameter takes; a string if its schema does not say.
    pub(super) fn kinds(&self, tool: &str, name: &str) -> Kinds {
        let mut kinds = Kinds::default();
        if let Some((root, schema)) = self.parameter(tool, name) {
            let mut left = SCHEMAS_MAX;
            kinds.add(root, schema, &mut left);
        }
        if kinds == Kinds::default() { Kinds { text: true, ..kinds } } else { kinds }
    }
}

/// Whether a request allows a tool that it declares to be called.
pub(crate) fn is_offered(prompt: &Prompt, name: &str) -> bool {
    match &prompt.tool_choice {
        Some(ToolChoice::None) => false,
        Some(ToolChoice::Allowed { names, .. }) => names.iter().any(|allowed| allowed == name),
        _ => true,
    }
}

impl Kinds {
    fn add(&mut self, root: &Value, schema: &Value, left: &mut usize) {
        let Some(fewer) = left.checked_sub(1) else { return };
        *left = fewer;
        match schema.get("type") {
            Some(Value::String(kind)) => self.add_named(kind),
            Some(Value::Array(kinds)) => {
                kinds.iter().filter_map(Value::as_str).for_each(|kind| self.add_named(kind))
            }
            _ => {
                let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
                listed.chain(schema.get("const")).for_each(|value| self.add_like(value));
            }
        }
        for word in ["anyOf", "oneOf", "allOf"] {
            let schemas = schema.get(word).and_then(Value::as_array).into_iter().flatten();
            schemas.for_each(|schema| self.add(root, schema, left));
        }
        let reference =
            schema.get("$ref").and_then(Value::as_str).and_then(|pointer| pointer.strip_prefix('#'));
        if let Some(schema) = reference.and_then(|pointer| root.pointer(pointer)) {
            self.add(root, schema, left);
        }
    }

    fn add_named(&mut self, kind: &str) {
        match kind {
            "null" => self.null = true,
            "boolean" => self.boolean = true,
            "integer" | "number" => self.number = true,
            "object" | "array" => self.nested = true,
            _ => self.text = true,
        }
    }

    fn add_like(&mut self, value: &Value) {
        match value {
            Value::Null => self.null = true,
            Value::Bool(_) => self.boolean = true,
            Value::Number(_) => self.number = true,
            Value::String(_) => self.text = true,
            Value::Array(_) | Value::Object(_) => self.nested = true,
        }
    }

    /// Whether it takes strings only, so that any text is a value as it is.
    pub(super) fn is_text(self) -> bool {
        self == Self { text: true, ..Self::default() }
    }

    /// Converts a value written as bare text to JSON. A value that fits no other type is a string.
    pub(super) fn read(self, text: &str) -> String {
        let bare = text.trim();
        match bare {
            "null" | "None" if self.null => return "null".to_owned(),
            "true" | "True" if self.boolean => return "true".to_owned(),
            "false" | "False" if self.boolean => return "false".to_owned(),
            _ if self.number && !self.text && mend::is_number(bare) => return bare.to_owned(),
            _ => {}
        }
        let nested = if self.nested && bare.starts_with(['{', '[']) { mend::repair(bare) } else { None };
        nested.unwrap_or_else(|| Value::from(text).to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn offered() -> Offered {
        let schema = json!({
            "properties": {
                "text": {"type": "string"}, "count": {"type": "integer"}, "ratio": {"type": ["number", "null"]},
                "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]}, "flag": {"type": "boolean"},
                "list": {"type": "array"}, "level": {"enum": [1, 2]}, "point": {"$ref": "#/$defs/Point"},
                "mixed": {"oneOf": [{"type": "string"}, {"type": "array"}]}, "any": {}, "round": {"$ref": "#/properties/round"},
            },
            "$defs": {"Point": {"type": "object"}},
        });
        Offered { schemas: HashMap::from([("f".to_owned(), schema)]), is_one: false }
    }

    #[test]
    fn values_are_of_the_kind_that_the_schema_says() {
        let offered = offered();
        for (parameter, written, read) in [
            ("text", "5", "\"5\""),
            ("text", " null ", "\" null \""),
            ("count", " 5\n", "5"),
            ("count", "five", "\"five\""),
            ("count", "05", "\"05\""),
            ("ratio", "1e3", "1e3"),
            ("ratio", "None", "null"),
            ("maybe", "null", "null"),
            ("maybe", "nullable", "\"nullable\""),
            ("flag", "True", "true"),
            ("flag", "yes", "\"yes\""),
            ("list", "['a', 1,]", "[\"a\", 1]"),
            ("list", "a, b", "\"a, b\""),
            ("level", "2", "2"),
            ("point", "{\"x\": 1", "{\"x\": 1}"),
            ("mixed", "[1]", "[1]"),
            ("mixed", "1", "\"1\""),
            ("any", "1", "\"1\""),
            ("round", "1", "\"1\""),
            ("unknown", "1", "\"1\""),
        ] {
            assert_eq!(offered.kinds("f", parameter).read(written), read, "{parameter}: {written}");
        }
        assert!(offered.kinds("f", "text").is_text() && offered.kinds("g", "text").is_text());
        assert!(!offered.kinds("f", "maybe").is_text());
    }
}
