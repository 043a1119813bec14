//! Patterns of names, emails and environments, defined once for the checks and for the OpenAPI document. Where
//! the two can't express the same rule the document is the stricter one: the checks trim spaces around a name
//! first.

use serde_json::{Value, json};

/// At least one visible character, and no control characters.
pub const NAME: &str = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$";

pub const EMAIL: &str = r"^\s*[^@\s\x00-\x1f\x7f-\x9f]+@[^@\s\x00-\x1f\x7f-\x9f]+\s*$";

pub const ENVIRONMENT: &str = r"^[a-z0-9_-]+$";

/// A date, or a time with its offset from UTC, from 1971 on. Leap days are read, and are not in the pattern.
pub const MOMENT: &str = concat!(
    r"^(19[789][1-9]|19[89]0|[2-9]\d{3})-((0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)",
    r"(T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d))?$"
);

/// The names of agents and tools: letters, digits, `_` and `-`.
pub const WORD: &str = r"^[A-Za-z0-9_-]+$";

/// The alternatives of a form that names exactly one of these fields: a flag, a list of ids, or a text.
pub fn exactly_one(fields: &[&str]) -> Vec<Value> {
    let form = |field: &str, is_given: bool| match (field, is_given) {
        ("workspace", _) => json!({"const": is_given}),
        (list, true) if list.ends_with("_ids") => json!({"minItems": 1}),
        (list, false) if list.ends_with("_ids") => json!({"maxItems": 0}),
        (_, true) => json!({"type": "string", "minLength": 1}),
        (_, false) => json!({"type": "null"}),
    };
    let alternative = |given: &&str| {
        let properties = fields.iter().map(|field| ((*field).to_owned(), form(field, field == given)));
        json!({"required": [given], "properties": Value::Object(properties.collect()), "additionalProperties": true})
    };
    fields.iter().map(alternative).collect()
}

/// The alternatives of a form that needs at least one of these fields.
pub fn at_least_one(fields: &[&str]) -> Vec<Value> {
    let given = json!({"not": {"type": "null"}});
    let alternative = |field: &&str| json!({"required": [field], "properties": {*field: given}, "additionalProperties": true});
    fields.iter().map(alternative).collect()
}
