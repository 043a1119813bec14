//! References of a schema: to its own parts, by JSON pointers, and to nothing else. Others could not be followed when the work is
//! counted.

use std::borrow::Cow;

use serde_json::Value;

/// Members that hold values, not schemas.
const VALUES: [&str; 4] = ["const", "enum", "default", "examples"];
/// Members that hold schemas by names of their author's choice.
const NAMED: [&str; 6] =
    ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"];

pub(crate) struct References;

impl References {
    pub(crate) fn check(root: &Value) -> Result<(), String> {
        check(root, root, true)
    }

    /// The part of a schema that a reference names.
    pub(crate) fn find<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
        let pointer = reference.strip_prefix('#')?;
        root.pointer(&decoded(pointer)?)
    }
}

/// A pointer in a fragment has its special characters as `%XX`.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.bytes());
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        bytes.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

fn check(schema: &Value, root: &Value, is_root: bool) -> Result<(), String> {
    let members = match schema {
        Value::Array(parts) => return parts.iter().try_for_each(|part| check(part, root, false)),
        Value::Object(members) => members,
        _ => return Ok(()),
    };
    for (name, value) in members {
        match (name.as_str(), value) {
            ("$ref", Value::String(reference)) if References::find(root, reference).is_none() => {
                return Err(format!(
                    "the reference \"{reference}\" names no part of the schema: write it as #/$defs/NAME"
                ));
            }
            ("$dynamicRef" | "$recursiveRef", _) => {
                return Err(format!("{name} is not supported: write a $ref to #/$defs/NAME"));
            }
            ("$id" | "id", Value::String(_)) if !is_root => {
                return Err(format!("{name} is only supported at the top of a schema"));
            }
            _ => {}
        }
        if VALUES.contains(&name.as_str()) {
            continue;
        }
        match value {
            Value::Object(named) if NAMED.contains(&name.as_str()) => {
                named.values().try_for_each(|part| check(part, root, false))?;
            }
            part => check(part, root, false)?,
        }
    }
    Ok(())
}
