//! How the JSON of a constrained answer is written: its white space and its escapes.

use serde_json::{Value as Json, json};

/// The white space allowed between JSON tokens: one space, or a line break and the indentation of the next
/// line. It is bounded because a model that derails otherwise emits nothing but white space.
const SPACE: &str = r"(?: |\n[ ]{0,32}|\n\t{0,16})";
/// The allowed string escapes. Each character has only one escape, so a property name can't be written in
/// another way to evade those that a schema declares.
const ESCAPES: &str = "nrbtf\\\"";

/// Sets how the JSON of a schema is to be written.
pub(super) fn with_spelling(mut schema: Json) -> Json {
    if let Some(schema) = schema.as_object_mut() {
        let spelling = json!({"whitespace_pattern": SPACE, "json_allowed_escapes": ESCAPES});
        schema.insert("x-guidance".to_owned(), spelling);
    }
    schema
}
