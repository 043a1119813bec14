//! The input of an app: compared with its JSON Schema, its errors as JSON pointers, and the files that it names.

use std::sync::LazyLock;

use ::schemas::{STORED_DEPTH_MAX, is_too_deep};
use domain::Fault;
use jsonschema::Validator;
use jsonschema::error::ValidationErrorKind;
pub(crate) use runs::DocumentInput;
use runs::{Kind, schemas};
use serde_json::Value;

use crate::limits::INPUT_ERRORS_MAX;
use crate::refusal::Refusal;
use runbody::sanitize;

/// One validation error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InputError {
    /// From the body's root.
    pub pointer: String,
    pub message: String,
}

impl InputError {
    pub(crate) fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into() }
    }
}

/// Checks what is stored as it comes: what is nested deeper could not be read again.
///
/// # Errors
/// One of the parts, which are named by their pointers, is nested too deep.
pub(crate) fn check_depth(parts: &[(&str, &Value)]) -> Result<(), Refusal> {
    let is_deep = |(_, value): &&(&str, &Value)| is_too_deep(value);
    let message = || format!("it is nested more than {STORED_DEPTH_MAX} levels deep");
    let errors = parts.iter().filter(is_deep).map(|(pointer, _)| InputError::new(*pointer, message()));
    let errors: Vec<InputError> = errors.collect();
    if errors.is_empty() { Ok(()) } else { Err(Refusal::Input(errors)) }
}

struct Checker {
    kind: Kind,
    schema: Value,
    validator: Option<Validator>,
}

/// Compiled once. A validator is `None` only if the schema itself were invalid, which a test would show.
static CHECKERS: LazyLock<Vec<Checker>> = LazyLock::new(|| {
    let checker = |kind| {
        let schema = schemas::input(kind);
        Checker { kind, validator: jsonschema::validator_for(&schema).ok(), schema }
    };
    Kind::ALL.into_iter().map(checker).collect()
});

/// Compares an input with the schema of its kind.
pub(crate) fn check(kind: Kind, input: &Value) -> Result<(), Refusal> {
    let checker = CHECKERS.iter().find(|checker| checker.kind == kind);
    let Some((schema, validator)) = checker.and_then(|one| Some((&one.schema, one.validator.as_ref()?)))
    else {
        return Err(Refusal::Fault(Box::new(Fault::internal())));
    };
    let errors = validator.iter_errors(input).flat_map(|error| input_errors(schema, &error));
    let errors: Vec<InputError> = errors.take(INPUT_ERRORS_MAX).collect();
    if errors.is_empty() { Ok(()) } else { Err(Refusal::Input(errors)) }
}

/// JSON Schema counts `5.0` as an integer too.
pub(crate) fn count(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| format!("{:.0}", value.as_f64()?).parse().ok())
}

/// Errors don't repeat the client's values: they may be large, or must not be logged.
fn input_errors(schema: &Value, error: &jsonschema::ValidationError<'_>) -> Vec<InputError> {
    let base = format!("/input{}", error.instance_path().as_str());
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            vec![InputError::new(format!("{base}/{name}"), format!("\"{name}\" is required"))]
        }
        // Only a field that has several names is required so.
        ValidationErrorKind::AnyOf { .. } => {
            let first = schema.pointer("/anyOf/0/required/0").and_then(Value::as_str).unwrap_or_default();
            vec![InputError::new(format!("{base}/{first}"), format!("\"{first}\" is required"))]
        }
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let known = known_fields(schema, error.schema_path().as_str());
            let unexpected = unexpected.iter().take(INPUT_ERRORS_MAX).map(|name| {
                let name = sanitize(name);
                let pointer = format!("{base}/{}", name.replace('~', "~0").replace('/', "~1"));
                InputError::new(pointer, format!("\"{name}\" isn't a field here; these are: {known}"))
            });
            unexpected.collect()
        }
        ValidationErrorKind::MinLength { .. } => {
            vec![InputError::new(base, "the value must not be empty")]
        }
        _ => vec![InputError::new(base, error.masked_with("the value").to_string())],
    }
}

/// The fields of the object whose schema an error is about.
fn known_fields(schema: &Value, schema_path: &str) -> String {
    let object = schema_path.strip_suffix("/additionalProperties").unwrap_or_default();
    let fields = schema.pointer(&format!("{object}/properties")).and_then(Value::as_object);
    let names: Vec<&str> = fields.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(kind: Kind, input: &Value) -> Vec<InputError> {
        match check(kind, input) {
            Err(Refusal::Input(errors)) => errors,
            Err(refusal) => panic!("{}", refusal.into_fault()),
            Ok(()) => panic!("accepted: {input}"),
        }
    }

    #[test]
    fn every_schema_is_one() {
        for kind in Kind::ALL {
            assert!(jsonschema::meta::is_valid(&schemas::input(kind)), "{kind:?}");
            assert!(jsonschema::meta::is_valid(&schemas::output(kind)), "{kind:?}");
            assert!(CHECKERS.iter().any(|one| one.kind == kind && one.validator.is_some()), "{kind:?}");
        }
    }

    #[test]
    fn what_fits_is_accepted() {
        for (kind, input) in [
            (Kind::Text, json!({"prompt": "p", "system": "s", "max_tokens": 5.0, "document": null})),
            (Kind::Text, json!({"prompt": "p", "document": {"uri": "u", "filename": "f", "size": 3}})),
            (Kind::Text, json!({"text": "p", "system_prompt": "s", "images": ["u"], "temperature": 0.5})),
            (Kind::Text, json!({"context": [{"role": "user", "text": "a"}]})),
            (Kind::Embedding, json!({"texts": ["a", "b"], "dimensions": 8})),
            (Kind::Rerank, json!({"query": "q", "documents": ["a", {"text": "b"}]})),
            (Kind::Video, json!({"prompt": "p", "seconds": "8"})),
        ] {
            assert!(check(kind, &input).is_ok(), "{input}");
        }
        let files = DocumentInput::all(&json!({"images": ["a", {"uri": "b"}]}), "images", "/input");
        let places: Vec<&str> = files.iter().map(|file| file.pointer.as_str()).collect();
        assert_eq!(places, ["/input/images/0", "/input/images/1/uri"]);
    }

    #[test]
    fn what_does_not_fit_is_named_by_pointer() {
        let long = "x".repeat(100_000);
        let cases = [
            (Kind::Text, json!(null), vec!["/input"]),
            (Kind::Text, json!("text"), vec!["/input"]),
            (Kind::Text, json!({}), vec!["/input/prompt"]),
            (Kind::Text, json!({"prompt": ""}), vec!["/input/prompt"]),
            (Kind::Text, json!({"prompt": 5}), vec!["/input/prompt"]),
            (
                Kind::Text,
                json!({"prompt": ["a"], "max_tokens": 0}),
                vec!["/input/max_tokens", "/input/prompt"],
            ),
            (Kind::Text, json!({"prompt": "p", "max_tokens": "5"}), vec!["/input/max_tokens"]),
            (Kind::Text, json!({"prompt": "p", "max_tokens": 1e30}), vec!["/input/max_tokens"]),
            (Kind::Text, json!({"prompt": "p", "max_tokens": 1.5}), vec!["/input/max_tokens"]),
            (Kind::Text, json!({"prompt": "p", "a/b~c": 1}), vec!["/input/a~1b~0c"]),
            (Kind::Text, json!({"prompt": "p", "document": ""}), vec!["/input/document"]),
            (Kind::Text, json!({"prompt": "p", "document": [long]}), vec!["/input/document"]),
            (Kind::Text, json!({"prompt": "p", "document": {}}), vec!["/input/document/uri"]),
            (Kind::Text, json!({"prompt": "p", "document": {"uri": 1}}), vec!["/input/document/uri"]),
            (Kind::Text, json!({"prompt": "p", "document": {"uri": "u", "x": 1}}), vec!["/input/document/x"]),
            (Kind::Text, json!({"prompt": "p", "images": ["u", 3]}), vec!["/input/images/1"]),
            (Kind::Embedding, json!({}), vec!["/input/text"]),
            (Kind::Embedding, json!({"text": ["a", ""]}), vec!["/input/text/1"]),
            (Kind::Rerank, json!({"query": "q"}), vec!["/input/documents"]),
            (Kind::Rerank, json!({"query": "q", "documents": [{}]}), vec!["/input/documents/0/text"]),
            (Kind::Speech, json!({"text": "t"}), vec!["/input/voice"]),
            (Kind::Transcription, json!({"audio": null}), vec!["/input/audio"]),
            (Kind::Image, json!({"prompt": "p", "n": 0}), vec!["/input/n"]),
            (Kind::Video, json!({"prompt": "p", "seconds": 0}), vec!["/input/seconds"]),
        ];
        for (kind, input, expected) in cases {
            let found = refused(kind, &input);
            let mut named: Vec<&str> = found.iter().map(|error| error.pointer.as_str()).collect();
            named.sort_unstable();
            assert_eq!(named, expected, "{found:?}");
            let is_short = |error: &InputError| !error.message.is_empty() && error.message.len() < 500;
            assert!(found.iter().all(is_short), "{found:?}");
        }
        let many: serde_json::Map<String, Value> = (0..1000).map(|n| (format!("f{n}"), json!(1))).collect();
        assert_eq!(refused(Kind::Text, &Value::Object(many)).len(), INPUT_ERRORS_MAX);
        let error = refused(Kind::Speech, &json!({"text": "t", "voice": "v", "tone": "x"}));
        assert!(error[0].message.contains("text, voice, instructions"), "{error:?}");
    }
}
