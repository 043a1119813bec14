//! JSON Schemas of structured outputs and strict tools, as far as Claude takes them, at Anthropic and on Bedrock: what it does
//! not goes into the description, where the model may still heed it. Anthropic's own SDKs do the same before they send.

use std::borrow::Cow;

use serde_json::{Map, Value};

const FORMATS: &[&str] =
    &["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

/// The schema, as it was written where that can be sent, and whether something of it became mere description.
/// A value that is no JSON Schema, or is nested too deeply to be read, is for the provider to judge.
pub fn supported(written: &str) -> (Cow<'_, str>, bool) {
    let Ok(schema) = serde_json::from_str::<Value>(written) else { return (Cow::Borrowed(written), false) };
    let mut is_lossy = false;
    let rewritten = rewrite(&schema, &mut is_lossy);
    if rewritten == schema {
        return (Cow::Borrowed(written), false);
    }
    (Cow::Owned(rewritten.to_string()), is_lossy)
}

fn rewrite(schema: &Value, is_lossy: &mut bool) -> Value {
    let Value::Object(fields) = schema else { return schema.clone() };
    let (mut rest, mut out) = (fields.clone(), Map::new());
    for name in ["$defs", "definitions"] {
        if let Some(definitions) = rest.shift_remove(name) {
            out.insert(name.to_owned(), each(&definitions, is_lossy));
        }
    }
    // A reference stands alone.
    if let Some(target) = rest.shift_remove("$ref") {
        out.insert("$ref".to_owned(), target);
        *is_lossy |= !rest.is_empty();
        return Value::Object(out);
    }
    let kind = rest.shift_remove("type");
    let has_literals = take_literals(&mut rest, &mut out);
    let has_variants = take_variants(&mut rest, &mut out, is_lossy);
    for name in ["description", "title"] {
        out.extend(rest.shift_remove_entry(name));
    }
    if let Some(kind) = kind.filter(|_| !has_literals) {
        if !has_variants {
            out.insert("type".to_owned(), kind.clone());
        }
        take_members(&kind, &mut rest, &mut out, is_lossy);
    }
    if !rest.is_empty() {
        *is_lossy = true;
        let members: Vec<String> =
            rest.iter().map(|(name, value)| format!("{name}: {}", plain(value))).collect();
        let before = out.get("description").and_then(Value::as_str).map(|text| format!("{text}\n\n"));
        let described = format!("{}{{{}}}", before.unwrap_or_default(), members.join(", "));
        out.insert("description".to_owned(), described.into());
    }
    Value::Object(out)
}

/// A constant, and an enumeration of plain values: their types go without saying.
fn take_literals(rest: &mut Map<String, Value>, out: &mut Map<String, Value>) -> bool {
    let is_plain = |value: &Value| !value.is_object() && !value.is_array();
    let is_enum =
        |value: &Value| value.as_array().is_some_and(|list| !list.is_empty() && list.iter().all(is_plain));
    if rest.get("enum").is_some_and(is_enum) {
        out.extend(rest.shift_remove_entry("enum"));
    }
    if rest.get("const").is_some_and(is_plain) {
        out.extend(rest.shift_remove_entry("const"));
    }
    !out.keys().all(|name| name != "enum" && name != "const")
}

/// Alternatives: that exactly one may match can't be said.
fn take_variants(rest: &mut Map<String, Value>, out: &mut Map<String, Value>, is_lossy: &mut bool) -> bool {
    let found = [("anyOf", "anyOf"), ("oneOf", "anyOf"), ("allOf", "allOf")]
        .into_iter()
        .find(|(name, _)| rest.get(*name).is_some_and(Value::is_array));
    let Some((name, own)) = found else { return false };
    if let Some(variants) = rest.shift_remove(name) {
        out.insert(own.to_owned(), each(&variants, is_lossy));
    }
    true
}

/// What a schema of this type, or of these types, may have.
fn take_members(
    kind: &Value,
    rest: &mut Map<String, Value>,
    out: &mut Map<String, Value>,
    is_lossy: &mut bool,
) {
    let is =
        |name: &str| kind == name || kind.as_array().is_some_and(|kinds| kinds.iter().any(|one| one == name));
    if is("object") {
        let properties = rest.shift_remove("properties").unwrap_or_else(|| Value::Object(Map::new()));
        out.insert("properties".to_owned(), each(&properties, is_lossy));
        let is_open =
            rest.shift_remove("additionalProperties").is_some_and(|more| more != Value::Bool(false));
        *is_lossy |= is_open;
        out.insert("additionalProperties".to_owned(), Value::Bool(false));
        out.extend(rest.shift_remove_entry("required"));
    }
    if is("string")
        && rest.get("format").and_then(Value::as_str).is_some_and(|format| FORMATS.contains(&format))
    {
        out.extend(rest.shift_remove_entry("format"));
    }
    if is("array") {
        if let Some(items) = rest.shift_remove("items") {
            out.insert("items".to_owned(), rewrite(&items, is_lossy));
        }
        if rest.get("minItems").and_then(Value::as_u64).is_some_and(|least| least <= 1) {
            out.extend(rest.shift_remove_entry("minItems"));
        }
    }
}

/// The schemas of a list, or those under the names of an object.
fn each(schemas: &Value, is_lossy: &mut bool) -> Value {
    match schemas {
        Value::Array(list) => list.iter().map(|schema| rewrite(schema, is_lossy)).collect(),
        Value::Object(named) => {
            named.iter().map(|(name, schema)| (name.clone(), rewrite(schema, is_lossy))).collect()
        }
        other => other.clone(),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
