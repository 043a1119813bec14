//! The input of a model app: its JSON Schema, and validation errors with JSON pointers.

use std::sync::LazyLock;

use domain::Fault;
use jsonschema::Validator;
use jsonschema::error::ValidationErrorKind;
use serde_json::{Value, json};

use crate::limits::INPUT_ERRORS_MAX;
use crate::refusal::Refusal;
use crate::request::sanitize;

/// One validation error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InputError {
    /// From the body's root.
    pub pointer: String,
    pub message: String,
}

/// What the model is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelInput {
    pub prompt: String,
    pub document: Option<DocumentInput>,
    pub system: Option<String>,
    pub max_tokens: Option<u64>,
}

/// Where a document is, and the client's own description of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct DocumentInput {
    pub uri: String,
    /// JSON pointer to `uri` in the body.
    pub pointer: &'static str,
    pub filename: Option<String>,
    pub content_type: Option<String>,
}

/// Compiled once. `None` only if the schema itself were invalid, which a test would show.
static SCHEMA: LazyLock<Option<Validator>> = LazyLock::new(|| jsonschema::validator_for(&schema()).ok());

fn schema() -> Value {
    let text = json!({"type": ["string", "null"]});
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "prompt": {"type": "string", "minLength": 1},
            "document": {
                "type": ["string", "object", "null"],
                "minLength": 1,
                "properties": {
                    "uri": {"type": "string", "minLength": 1},
                    "filename": text,
                    "content_type": text,
                    // File objects of client libraries carry these; they have no effect.
                    "path": text,
                    "size": {"type": ["integer", "null"]},
                },
                "required": ["uri"],
                "additionalProperties": false,
            },
            "system": text,
            "max_tokens": {"type": ["integer", "null"], "minimum": 1, "maximum": u32::MAX},
        },
        "required": ["prompt"],
        "additionalProperties": false,
    })
}

/// Reads and validates an input.
///
/// # Errors
/// It does not match the schema.
pub(crate) fn read(input: &Value) -> Result<ModelInput, Refusal> {
    let Some(schema) = SCHEMA.as_ref() else { return Err(Refusal::Fault(Box::new(Fault::internal()))) };
    let errors: Vec<InputError> =
        schema.iter_errors(input).flat_map(|error| input_errors(&error)).take(INPUT_ERRORS_MAX).collect();
    if !errors.is_empty() {
        return Err(Refusal::Input(errors));
    }
    let text = |name: &str| input.get(name).and_then(Value::as_str).map(str::to_owned);
    Ok(ModelInput {
        prompt: text("prompt").unwrap_or_default(),
        document: input.get("document").and_then(document),
        system: text("system").filter(|system| !system.is_empty()),
        max_tokens: input.get("max_tokens").and_then(count),
    })
}

fn document(value: &Value) -> Option<DocumentInput> {
    match value {
        Value::String(uri) => {
            Some(DocumentInput { uri: uri.clone(), pointer: "/input/document", ..DocumentInput::default() })
        }
        Value::Object(_) => {
            let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
            Some(DocumentInput {
                uri: text("uri").unwrap_or_default(),
                pointer: "/input/document/uri",
                filename: text("filename"),
                content_type: text("content_type"),
            })
        }
        _ => None,
    }
}

/// JSON Schema counts `5.0` as an integer too.
fn count(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| format!("{:.0}", value.as_f64()?).parse().ok())
}

/// Errors don't repeat the client's values: they may be large, or must not be logged.
fn input_errors(error: &jsonschema::ValidationError<'_>) -> Vec<InputError> {
    let base = format!("/input{}", error.instance_path().as_str());
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            vec![InputError { pointer: format!("{base}/{name}"), message: format!("\"{name}\" is required") }]
        }
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let unexpected = unexpected.iter().take(INPUT_ERRORS_MAX).map(|name| {
                let name = sanitize(name);
                let pointer = format!("{base}/{}", name.replace('~', "~0").replace('/', "~1"));
                let message = match base.as_str() {
                    "/input" => {
                        format!("\"{name}\" is no field of the input: prompt, document, system, max_tokens")
                    }
                    _ => format!("\"{name}\" is no field of a document: uri, filename, content_type"),
                };
                InputError { pointer, message }
            });
            unexpected.collect()
        }
        ValidationErrorKind::MinLength { .. } => {
            vec![InputError { pointer: base, message: "the value must not be empty".to_owned() }]
        }
        _ => vec![InputError { pointer: base, message: error.masked_with("the value").to_string() }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &Value) -> Result<ModelInput, Vec<InputError>> {
        read(input).map_err(|refusal| match refusal {
            Refusal::Input(errors) => errors,
            Refusal::Fault(fault) => panic!("{fault}"),
        })
    }

    #[test]
    fn what_fits_is_read() {
        let input =
            check(&json!({"prompt": "p", "system": "s", "max_tokens": 5.0, "document": null})).unwrap();
        assert_eq!((input.system.as_deref(), input.max_tokens, input.document), (Some("s"), Some(5), None));
        let input =
            check(&json!({"prompt": "p", "document": {"uri": "u", "filename": "f", "size": 3}})).unwrap();
        let document = input.document.unwrap();
        assert_eq!((document.uri.as_str(), document.filename.as_deref()), ("u", Some("f")));
        assert_eq!(document.pointer, "/input/document/uri");
    }

    #[test]
    fn what_does_not_fit_is_named_by_pointer() {
        let long = "x".repeat(100_000);
        let cases = [
            (json!(null), vec!["/input"]),
            (json!("text"), vec!["/input"]),
            (json!({}), vec!["/input/prompt"]),
            (json!({"prompt": ""}), vec!["/input/prompt"]),
            (json!({"prompt": 5}), vec!["/input/prompt"]),
            (json!({"prompt": ["a"], "max_tokens": 0}), vec!["/input/max_tokens", "/input/prompt"]),
            (json!({"prompt": "p", "max_tokens": "5"}), vec!["/input/max_tokens"]),
            (json!({"prompt": "p", "max_tokens": 1e30}), vec!["/input/max_tokens"]),
            (json!({"prompt": "p", "max_tokens": 1.5}), vec!["/input/max_tokens"]),
            (json!({"prompt": "p", "a/b~c": 1}), vec!["/input/a~1b~0c"]),
            (json!({"prompt": "p", "document": ""}), vec!["/input/document"]),
            (json!({"prompt": "p", "document": [long]}), vec!["/input/document"]),
            (json!({"prompt": "p", "document": {}}), vec!["/input/document/uri"]),
            (json!({"prompt": "p", "document": {"uri": 1}}), vec!["/input/document/uri"]),
            (json!({"prompt": "p", "document": {"uri": "u", "x": 1}}), vec!["/input/document/x"]),
        ];
        for (input, expected) in cases {
            let found = check(&input).unwrap_err();
            let mut named: Vec<&str> = found.iter().map(|error| error.pointer.as_str()).collect();
            named.sort_unstable();
            assert_eq!(named, expected, "{found:?}");
            let is_short = |error: &InputError| !error.message.is_empty() && error.message.len() < 200;
            assert!(found.iter().all(is_short), "{found:?}");
        }
        let many: serde_json::Map<String, Value> = (0..1000).map(|n| (format!("f{n}"), json!(1))).collect();
        assert_eq!(check(&Value::Object(many)).unwrap_err().len(), INPUT_ERRORS_MAX);
    }
}
