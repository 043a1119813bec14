//! Converts schemas from Google's subset of OpenAPI to JSON Schema.

use domain::{Fault, Json};
use json::{Cursor, JsonError, Kind, Value};

use super::names::{camel, each, raw};

/// Converts the schema: types in lower case, `nullable` as a `null` type, and names in camelCase. Keywords
/// that JSON Schema has under the same name stay as written.
pub(super) fn to_json_schema(cursor: &mut Cursor<'_>) -> Result<Json, Box<Fault>> {
    let mut out = String::new();
    schema(cursor, &mut out)?;
    Ok(Json(out))
}

#[derive(Default)]
struct Draft {
    types: Vec<String>,
    is_nullable: bool,
    has_alternatives: bool,
    /// Names with their JSON values, ready to write.
    members: Vec<(String, String)>,
}

/// The cursor's depth limit bounds the recursion.
fn schema(cursor: &mut Cursor<'_>, out: &mut String) -> Result<(), JsonError> {
    if cursor.kind()? != Kind::Object {
        // `true` and `false` are valid schemas; the upstream judges anything else.
        out.push_str(&verbatim(cursor)?);
        return Ok(());
    }
    let mut draft = Draft::default();
    cursor.object(|cursor, member| draft.read(cursor, &member.key.decode()))?;
    draft.write(out);
    Ok(())
}

impl Draft {
    fn read(&mut self, cursor: &mut Cursor<'_>, written: &str) -> Result<(), JsonError> {
        let name = camel(written);
        match &*name {
            "type" => self.read_types(cursor)?,
            "nullable" => self.is_nullable = matches!(cursor.value()?, Value::Boolean(true)),
            "properties" | "defs" | "$defs" => {
                let map = map(cursor)?;
                self.push(if name == "properties" { "properties" } else { "$defs" }, map);
            }
            "ref" => {
                let target = verbatim(cursor)?;
                self.push("$ref", target);
            }
            "items" | "additionalProperties" => {
                let mut inner = String::new();
                schema(cursor, &mut inner)?;
                self.push(&name, inner);
            }
            "anyOf" | "oneOf" | "allOf" | "prefixItems" => {
                self.has_alternatives |= name == "anyOf";
                let list = list(cursor)?;
                self.push(&name, list);
            }
            "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties" => {
                let number = verbatim(cursor)?;
                // Protobuf's JSON encoding writes 64-bit integers as strings.
                self.push(&name, number.trim_matches('"').to_owned());
            }
            "example" => {
                let example = verbatim(cursor)?;
                self.push("examples", format!("[{example}]"));
            }
            // The order of `properties` itself already gives the order of the members.
            "propertyOrdering" => drop(cursor.skip()?),
            _ => {
                let kept = verbatim(cursor)?;
                self.push(written, kept);
            }
        }
        Ok(())
    }

    fn read_types(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        each(cursor, |cursor, _| {
            if let Value::String(word) = cursor.value()? {
                let word = word.decode().to_ascii_lowercase();
                if word != "type_unspecified" {
                    self.types.push(word);
                }
            }
            Ok::<(), JsonError>(())
        })
    }

    fn push(&mut self, name: &str, value: String) {
        self.members.push((name.to_owned(), value));
    }

    fn write(mut self, out: &mut String) {
        if self.is_nullable && !self.types.is_empty() && self.types.iter().all(|word| word != "null") {
            self.types.push("null".to_owned());
        }
        if self.is_nullable {
            self.allow_null();
        }
        let types = match self.types.as_slice() {
            [] => None,
            [one] => Some(quoted(one)),
            many => Some(format!("[{}]", many.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(","))),
        };
        let types = types.map(|types| ("type".to_owned(), types));
        out.push('{');
        for (index, (name, value)) in types.into_iter().chain(self.members).enumerate() {
            if index > 0 {
                out.push(',');
            }
            out.push_str(&quoted(&name));
            out.push(':');
            out.push_str(&value);
        }
        out.push('}');
    }

    /// Adds `null` to the lists of allowed values.
    fn allow_null(&mut self) {
        let alternatives = self.has_alternatives && self.types.is_empty();
        for (name, value) in &mut self.members {
            let null = match name.as_str() {
                "enum" => "null",
                "anyOf" if alternatives => "{\"type\":\"null\"}",
                _ => continue,
            };
            if let Some(open) = value.trim_end().strip_suffix(']') {
                let is_empty = open.trim_end().ends_with('[');
                *value = format!("{open}{}{null}]", if is_empty { "" } else { "," });
            }
        }
    }
}

/// Converts an object of schemas under names that the client chose.
fn map(cursor: &mut Cursor<'_>) -> Result<String, JsonError> {
    if cursor.kind()? != Kind::Object {
        return verbatim(cursor);
    }
    let mut out = String::from("{");
    cursor.object(|cursor, member| {
        if !member.first {
            out.push(',');
        }
        out.push_str(&quoted(&member.key.decode()));
        out.push(':');
        schema(cursor, &mut out)
    })?;
    out.push('}');
    Ok(out)
}

fn list(cursor: &mut Cursor<'_>) -> Result<String, JsonError> {
    let mut out = String::from("[");
    each(cursor, |cursor, index| {
        if index > 0 {
            out.push(',');
        }
        schema(cursor, &mut out)
    })?;
    out.push(']');
    Ok(out)
}

fn verbatim(cursor: &mut Cursor<'_>) -> Result<String, JsonError> {
    Ok(raw(cursor)?.map_or_else(|| "null".to_owned(), |json| json.0))
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(vendor: &str, expected: &str) {
        let mut cursor = Cursor::new(vendor.as_bytes()).unwrap();
        assert_eq!(to_json_schema(&mut cursor).unwrap().0, expected, "{vendor}");
    }

    #[test]
    fn the_vendors_words_become_json_schema() {
        check(r#"{"type":"STRING"}"#, r#"{"type":"string"}"#);
        check(r#"{"type":"string","description":"D"}"#, r#"{"type":"string","description":"D"}"#);
        check(
            r#"{"description":"D","type":"INTEGER","nullable":true}"#,
            r#"{"type":["integer","null"],"description":"D"}"#,
        );
        check(r#"{"nullable":false,"type":"NUMBER","minimum":0.5}"#, r#"{"type":"number","minimum":0.5}"#);
        check(r#"{"type":"TYPE_UNSPECIFIED"}"#, "{}");
        check(
            r#"{"type":"STRING","enum":["a"],"nullable":true,"format":"enum"}"#,
            r#"{"type":["string","null"],"enum":["a",null],"format":"enum"}"#,
        );
        check(
            r#"{"any_of":[{"type":"STRING"},{"type":"OBJECT"}],"nullable":true}"#,
            r#"{"anyOf":[{"type":"string"},{"type":"object"},{"type":"null"}]}"#,
        );
        check(
            r#"{"type":"ARRAY","items":{"type":"OBJECT","properties":{"any_of":{"type":"BOOLEAN"}},"required":["any_of"]},"max_items":"5","property_ordering":["a"]}"#,
            r#"{"type":"array","items":{"type":"object","properties":{"any_of":{"type":"boolean"}},"required":["any_of"]},"maxItems":5}"#,
        );
        check(
            r##"{"defs":{"x":{"type":"STRING"}},"ref":"#/$defs/x","example":1,"additional_properties":false}"##,
            r##"{"$defs":{"x":{"type":"string"}},"$ref":"#/$defs/x","examples":[1],"additionalProperties":false}"##,
        );
    }
}
