//! Tables of known fields, the required types of their values, and Anthropic's messages for invalid ones.

use serde_json::{Map, Value};

use super::error::Refusal;

/// The allowed values of a field.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    Text,
    Flag,
    /// An integer with this minimum.
    Integer(i64),
    Decimal(f64, f64),
    List,
    Object,
    OneOf(&'static [&'static str]),
    TextOrList,
    TextOrObject,
    /// Not checked.
    Any,
}

/// Whether a field is required, optional, or nullable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Required,
    Optional,
    Nullable,
}

pub(crate) type Field = (&'static str, Shape, Need);

/// The path of a field in the body; `parent` is empty for the body itself.
pub(crate) fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

/// Rejects missing and unknown fields and values of a wrong type; `also` lists additional accepted fields.
pub(crate) fn fields(
    path: &str,
    object: &Map<String, Value>,
    table: &[Field],
    also: &[String],
) -> Result<(), Refusal> {
    for (name, _, need) in table {
        if *need == Need::Required && !object.contains_key(*name) {
            return Err(Refusal::at(&join(path, name), "Field required"));
        }
    }
    for (name, value) in object {
        let path = join(path, name);
        match table.iter().find(|(known, ..)| known == name) {
            Some((_, _, Need::Nullable)) if value.is_null() => {}
            Some((_, shape, _)) => self::shape(&path, *shape, value)?,
            None if also.contains(name) => {}
            None => return Err(Refusal::at(&path, "Extra inputs are not permitted")),
        }
    }
    Ok(())
}

/// The value as an object, or the error for any other type.
pub(crate) fn object<'a>(path: &str, value: &'a Value) -> Result<&'a Map<String, Value>, Refusal> {
    value.as_object().ok_or_else(|| Refusal::at(path, "Input should be a valid dictionary"))
}

pub(crate) fn shape(path: &str, shape: Shape, value: &Value) -> Result<(), Refusal> {
    let expected = match (shape, value) {
        (Shape::Any, _)
        | (Shape::Text, Value::String(_))
        | (Shape::Flag, Value::Bool(_))
        | (Shape::List, Value::Array(_))
        | (Shape::Object, Value::Object(_))
        | (Shape::TextOrList, Value::String(_) | Value::Array(_))
        | (Shape::TextOrObject, Value::String(_) | Value::Object(_)) => return Ok(()),
        (Shape::Integer(low), Value::Number(_)) => match value.as_i64() {
            Some(number) if number >= low => return Ok(()),
            Some(_) => return Err(bound(path, "greater", low)),
            None => "integer",
        },
        (Shape::Decimal(low, high), Value::Number(_)) => match value.as_f64() {
            Some(number) if number < low => return Err(bound(path, "greater", low)),
            Some(number) if number > high => return Err(bound(path, "less", high)),
            _ => return Ok(()),
        },
        (Shape::OneOf(list), Value::String(text)) if list.contains(&text.as_str()) => return Ok(()),
        (Shape::OneOf(list), _) => {
            return Err(Refusal::at(path, format!("Input should be {}", either(list))));
        }
        (Shape::Text | Shape::TextOrList | Shape::TextOrObject, _) => "string",
        (Shape::Flag, _) => "boolean",
        (Shape::Integer(_), _) => "integer",
        (Shape::Decimal(..), _) => "number",
        (Shape::List, _) => "list",
        (Shape::Object, _) => "dictionary",
    };
    Err(Refusal::at(path, format!("Input should be a valid {expected}")))
}

/// The error for a `type` that no variant has.
pub(crate) fn wrong_tag(path: &str, tag: &str, known: &[&str]) -> Refusal {
    let known = known.iter().map(|one| format!("'{one}'")).collect::<Vec<_>>().join(", ");
    Refusal::at(
        path,
        format!("Input tag '{tag}' found using 'type' does not match any of the expected tags: {known}"),
    )
}

/// The `type` of an object that is one of several variants.
pub(crate) fn tag<'a>(path: &str, object: &'a Map<String, Value>) -> Result<&'a str, Refusal> {
    match object.get("type") {
        None => Err(Refusal::at(&join(path, "type"), "Field required")),
        Some(value) => {
            value.as_str().ok_or_else(|| Refusal::at(&join(path, "type"), "Input should be a valid string"))
        }
    }
}

/// Checks an object that is one of several variants; returns its `type`.
pub(crate) fn variant<'a>(
    path: &str,
    object: &'a Map<String, Value>,
    variants: &[(&str, &[Field])],
    also: &[String],
) -> Result<&'a str, Refusal> {
    let kind = tag(path, object)?;
    let Some((_, table)) = variants.iter().find(|(known, _)| *known == kind) else {
        let tags: Vec<&str> = variants.iter().map(|(known, _)| *known).collect();
        return Err(wrong_tag(path, kind, &tags));
    };
    fields(&join(path, kind), object, table, also)?;
    Ok(kind)
}

/// Whether a name consists of letters, digits, `_` and `-`, and is no longer than `max`.
pub(crate) fn is_word(name: &str, max: usize) -> bool {
    let legal = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    !name.is_empty() && name.len() <= max && name.chars().all(legal)
}

fn bound<T: std::fmt::Display>(path: &str, relation: &str, limit: T) -> Refusal {
    Refusal::at(path, format!("Input should be {relation} than or equal to {limit}"))
}

fn either(list: &[&str]) -> String {
    let quoted: Vec<String> = list.iter().map(|one| format!("'{one}'")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TABLE: &[Field] = &[
        ("count", Shape::Integer(1), Need::Required),
        ("share", Shape::Decimal(0.0, 1.0), Need::Optional),
        ("kind", Shape::OneOf(&["a", "b", "c"]), Need::Nullable),
    ];

    fn check(value: &Value, expected: Result<(), &str>) {
        let found = fields("x.0", value.as_object().unwrap(), TABLE, &["own".to_owned()]);
        assert_eq!(found.map_err(|refusal| refusal.message), expected.map_err(str::to_owned));
    }

    #[test]
    fn each_misfit_has_its_words() {
        check(&json!({"count": 1, "own": {}, "kind": null}), Ok(()));
        check(&json!({}), Err("x.0.count: Field required"));
        check(&json!({"count": 0}), Err("x.0.count: Input should be greater than or equal to 1"));
        check(&json!({"count": 1.5}), Err("x.0.count: Input should be a valid integer"));
        check(&json!({"count": null}), Err("x.0.count: Input should be a valid integer"));
        check(&json!({"count": 1, "share": 2}), Err("x.0.share: Input should be less than or equal to 1"));
        check(&json!({"count": 1, "share": null}), Err("x.0.share: Input should be a valid number"));
        check(&json!({"count": 1, "kind": "d"}), Err("x.0.kind: Input should be 'a', 'b' or 'c'"));
        check(&json!({"count": 1, "more": 1}), Err("x.0.more: Extra inputs are not permitted"));
    }
}
