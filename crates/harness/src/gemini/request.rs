//! The typed form of a generate request, after names and types were checked.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::content::Content;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct GenerateRequest {
    pub(crate) model: Option<String>,
    pub(crate) contents: Vec<Content>,
    pub(crate) system_instruction: Option<Content>,
    pub(crate) tools: Vec<Tool>,
    pub(crate) tool_config: Option<ToolConfig>,
    pub(crate) safety_settings: Vec<SafetySetting>,
    pub(crate) generation_config: GenerationConfig,
    pub(crate) cached_content: Option<String>,
    pub(crate) service_tier: Option<String>,
    pub(crate) labels: Map<String, Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Tool {
    pub(crate) function_declarations: Vec<Declaration>,
    /// Gemini's server-side tools: accepted, counted, never used.
    #[serde(flatten)]
    pub(crate) server_side: Map<String, Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Declaration {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) parameters: Option<Value>,
    pub(crate) parameters_json_schema: Option<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ToolConfig {
    pub(crate) function_calling_config: CallingConfig,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CallingConfig {
    pub(crate) mode: Option<String>,
    pub(crate) allowed_function_names: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SafetySetting {
    pub(crate) category: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct GenerationConfig {
    pub(crate) temperature: Option<f64>,
    pub(crate) top_p: Option<f64>,
    pub(crate) top_k: Option<f64>,
    pub(crate) candidate_count: Option<i64>,
    pub(crate) max_output_tokens: Option<i64>,
    pub(crate) stop_sequences: Vec<String>,
    pub(crate) presence_penalty: Option<f64>,
    pub(crate) frequency_penalty: Option<f64>,
    pub(crate) response_logprobs: bool,
    pub(crate) logprobs: Option<i64>,
    pub(crate) response_mime_type: Option<String>,
    pub(crate) response_schema: Option<Value>,
    pub(crate) response_json_schema: Option<Value>,
    pub(crate) thinking_config: Option<ThinkingConfig>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ThinkingConfig {
    pub(crate) include_thoughts: bool,
    pub(crate) thinking_budget: Option<i64>,
    pub(crate) thinking_level: Option<String>,
}

impl GenerateRequest {
    pub(crate) fn declarations(&self) -> impl Iterator<Item = &Declaration> {
        self.tools.iter().flat_map(|tool| &tool.function_declarations)
    }

    /// The script that a request carries in its labels: `{"emulate": "chunks=5"}`.
    pub(crate) fn script(&self) -> Option<&str> {
        self.labels.get("emulate").and_then(Value::as_str)
    }

    pub(crate) fn include_thoughts(&self) -> bool {
        self.generation_config.thinking_config.as_ref().is_some_and(|thinking| thinking.include_thoughts)
    }
}

impl Declaration {
    /// The arguments' schema as lower-case JSON Schema, whichever form the request used.
    pub(crate) fn schema(&self) -> Value {
        match (&self.parameters_json_schema, &self.parameters) {
            (Some(schema), _) => schema.clone(),
            (None, Some(schema)) => json_schema(schema),
            (None, None) => Value::Null,
        }
    }
}

impl GenerationConfig {
    /// The response schema as lower-case JSON Schema.
    pub(crate) fn schema(&self) -> Option<Value> {
        self.response_json_schema.clone().or_else(|| self.response_schema.as_ref().map(json_schema))
    }

    pub(crate) fn wants_json(&self) -> bool {
        self.response_mime_type.as_deref() == Some("application/json")
    }

    pub(crate) fn wants_enum(&self) -> bool {
        self.response_mime_type.as_deref() == Some("text/x.enum")
    }
}

/// Gemini's type names are those of JSON Schema in capitals.
fn json_schema(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let lowered = fields.iter().map(|(key, value)| match (key.as_str(), value) {
                ("type", Value::String(kind)) => (key.clone(), Value::from(kind.to_ascii_lowercase())),
                ("enum" | "default" | "example", _) => (key.clone(), value.clone()),
                _ => (key.clone(), json_schema(value)),
            });
            Value::Object(lowered.collect())
        }
        Value::Array(list) => list.iter().map(json_schema).collect(),
        other => other.clone(),
    }
}
