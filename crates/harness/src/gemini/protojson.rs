//! Parses JSON the way Gemini's gateway maps it to protobuf messages: camel case and snake case names,
//! lenient scalars, no unknown names. The result has camel case names and one canonical form for every value.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::error::{ApiError, FieldViolation};
use super::schema::{Field, Kind, Message};

const PACKAGE: &str = "type.googleapis.com/google.ai.generativelanguage.v1beta";
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Parses a body as a message and deserialises it into its typed form.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8], message: &Message) -> Result<T, ApiError> {
    let sent: Value = serde_json::from_slice(body).map_err(|error| {
        let line = String::from_utf8_lossy(body)
            .lines()
            .nth(error.line().saturating_sub(1))
            .unwrap_or("")
            .to_owned();
        let excerpt: String = line.chars().take(80).collect();
        ApiError::invalid(format!("Invalid JSON payload received. Unexpected token.\n{excerpt}"))
    })?;
    let mut reader = Reader { violations: Vec::new() };
    let read = reader.message(&sent, message, "");
    if !reader.violations.is_empty() {
        return Err(ApiError::bad_request(reader.violations));
    }
    // The table has already checked names and types, so only a number out of range can fail here.
    serde_json::from_value(read).map_err(|error| ApiError::invalid(format!("Invalid value: {error}")))
}

/// Decodes base64 in either alphabet.
pub(crate) fn bytes(text: &str) -> Option<Vec<u8>> {
    LENIENT.decode(text.replace('+', "-").replace('/', "_")).ok()
}

/// The field's snake case name, as Gemini's error messages show it.
pub(crate) fn snake(camel: &str) -> String {
    let mut name = String::with_capacity(camel.len() + 4);
    for character in camel.chars() {
        if character.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(character.to_ascii_lowercase());
    }
    name
}

struct Reader {
    violations: Vec<FieldViolation>,
}

impl Reader {
    fn message(&mut self, sent: &Value, message: &Message, path: &str) -> Value {
        let Value::Object(sent) = sent else {
            return self.wrong(path, &format!("{PACKAGE}.{}", message.name), sent);
        };
        let mut read = Map::new();
        for (key, value) in sent {
            let Some(field) =
                message.fields.iter().find(|field| field.name == key || snake(field.name) == *key)
            else {
                self.unknown(path, key, "Cannot find field.");
                continue;
            };
            if value.is_null() {
                continue;
            }
            let name = snake(field.name);
            let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let taken = message.data.iter().find(|one| read.contains_key(**one));
            if let (Some(taken), true) = (taken, message.data.contains(&field.name)) {
                self.refuse(path, format!(
                    "Invalid value at '{path}' (oneof), oneof field 'data' is already set by '{}'. Cannot set '{name}'",
                    snake(taken)
                ));
                continue;
            }
            let value = self.field(value, field, &inner);
            if read.insert(field.name.to_owned(), value).is_some() {
                self.refuse(&inner, format!("Invalid value at '{inner}': the field is set twice"));
            }
        }
        Value::Object(read)
    }

    fn field(&mut self, sent: &Value, field: &Field, path: &str) -> Value {
        match sent {
            Value::Array(list) if field.many => list
                .iter()
                .enumerate()
                .map(|(at, one)| self.value(one, field.kind, &format!("{path}[{at}]")))
                .collect(),
            Value::Array(_) if !matches!(field.kind, Kind::Any) => {
                let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
                self.unknown(parent, name, "Proto field is not repeating, cannot start list.");
                Value::Null
            }
            // A single value is accepted as a list of one.
            one if field.many => Value::Array(vec![self.value(one, field.kind, &format!("{path}[0]"))]),
            one => self.value(one, field.kind, path),
        }
    }

    fn value(&mut self, sent: &Value, kind: Kind, path: &str) -> Value {
        match kind {
            Kind::Any => sent.clone(),
            Kind::Message(message) => self.message(sent, message, path),
            Kind::Map(message) => self.map(sent, message, path),
            Kind::Struct if sent.is_object() => sent.clone(),
            Kind::Struct => self.wrong(path, "type.googleapis.com/google.protobuf.Struct", sent),
            Kind::Text if sent.is_string() => sent.clone(),
            Kind::Text => self.wrong(path, "TYPE_STRING", sent),
            Kind::Flag => match (sent, sent.as_str()) {
                (Value::Bool(_), _) => sent.clone(),
                (_, Some("true")) => Value::Bool(true),
                (_, Some("false")) => Value::Bool(false),
                _ => self.wrong(path, "TYPE_BOOL", sent),
            },
            Kind::Int32 => integer(sent).map_or_else(|| self.wrong(path, "TYPE_INT32", sent), Value::from),
            Kind::Float => number(sent).map_or_else(|| self.wrong(path, "TYPE_FLOAT", sent), Value::from),
            Kind::Bytes => match sent.as_str().and_then(bytes) {
                Some(bytes) => Value::from(STANDARD.encode(bytes)),
                None => self.wrong(path, "TYPE_BYTES", sent),
            },
            Kind::Duration if sent.as_str().is_some_and(is_duration) => sent.clone(),
            Kind::Duration => self.wrong(path, "type.googleapis.com/google.protobuf.Duration", sent),
            Kind::Timestamp if sent.as_str().is_some_and(is_timestamp) => sent.clone(),
            Kind::Timestamp => self.wrong(path, "type.googleapis.com/google.protobuf.Timestamp", sent),
            Kind::Enum(names) => {
                let known = sent.as_str().map(str::to_ascii_uppercase);
                match known.filter(|known| names.values.contains(&known.as_str())) {
                    Some(known) => Value::from(known),
                    None => self.wrong(path, &format!("{PACKAGE}.{}", names.name), sent),
                }
            }
        }
    }

    /// Error messages number the entries of a map.
    fn map(&mut self, sent: &Value, message: &Message, path: &str) -> Value {
        let Value::Object(entries) = sent else {
            return self.wrong(path, &format!("{PACKAGE}.{}", message.name), sent);
        };
        let read = entries.iter().enumerate().map(|(at, (key, value))| {
            (key.clone(), self.message(value, message, &format!("{path}[{at}].value")))
        });
        Value::Object(read.collect())
    }

    fn wrong(&mut self, path: &str, kind: &str, sent: &Value) -> Value {
        let excerpt: String = sent.to_string().chars().take(80).collect();
        self.refuse(path, format!("Invalid value at '{path}' ({kind}), {excerpt}"));
        Value::Null
    }

    fn unknown(&mut self, path: &str, name: &str, why: &str) {
        let location = if path.is_empty() { String::new() } else { format!(" at '{path}'") };
        self.refuse(path, format!("Invalid JSON payload received. Unknown name \"{name}\"{location}: {why}"));
    }

    fn refuse(&mut self, path: &str, description: String) {
        self.violations.push(FieldViolation { field: path.to_owned(), description });
    }
}

fn integer(sent: &Value) -> Option<i32> {
    let whole = match sent {
        Value::String(text) => text.parse::<i64>().ok(),
        // An integer stays one when it is written with a decimal point, as in `1.0`.
        Value::Number(number) if number.is_f64() => {
            number.to_string().strip_suffix(".0").and_then(|n| n.parse().ok())
        }
        other => other.as_i64(),
    };
    whole.and_then(|whole| i32::try_from(whole).ok())
}

fn number(sent: &Value) -> Option<f64> {
    match sent {
        Value::String(text) => text.parse().ok(),
        other => other.as_f64(),
    }
}

fn is_duration(text: &str) -> bool {
    text.strip_suffix('s').is_some_and(|seconds| seconds.parse::<f64>().is_ok_and(f64::is_finite))
}

fn is_timestamp(text: &str) -> bool {
    OffsetDateTime::parse(text, &Rfc3339).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::gemini::schema::GENERATE;

    /// Writes known names in snake case where the next choice says so; the content of a struct is left as it
    /// is.
    fn respell(value: &Value, kind: Kind, choices: &mut impl Iterator<Item = bool>) -> Value {
        match (value, kind) {
            (Value::Array(list), _) => list.iter().map(|one| respell(one, kind, choices)).collect(),
            (Value::Object(entries), Kind::Map(message)) => {
                let entries = entries.iter();
                let entries =
                    entries.map(|(key, one)| (key.clone(), respell(one, Kind::Message(message), choices)));
                Value::Object(entries.collect())
            }
            (Value::Object(fields), Kind::Message(message)) => {
                let respell = |(key, one): (&String, &Value)| {
                    let field = message.fields.iter().find(|field| field.name == key).unwrap();
                    let name = if choices.next().unwrap_or_default() { snake(key) } else { key.clone() };
                    (name, respell(one, field.kind, choices))
                };
                Value::Object(fields.iter().map(respell).collect())
            }
            (other, _) => other.clone(),
        }
    }

    proptest! {
        #[test]
        fn any_mix_of_name_styles_reads_the_same(choices in proptest::collection::vec(any::<bool>(), 40)) {
            let request = json!({
                "systemInstruction": {"parts": [{"text": "be brief"}]},
                "contents": [{"role": "model", "parts": [
                    {"functionCall": {"name": "f", "args": {"camelKey": 1, "snake_key": [2]}}, "thoughtSignature": "AAAA"},
                    {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]}],
                "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"maxItems": 3}},
                    {"name": "g", "parameters": {"type": "OBJECT", "properties": {"maxItems": {"maxLength": 5}}}}]}],
                "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
                "generationConfig": {"maxOutputTokens": 5, "stopSequences": ["a"], "topP": 0.5,
                    "thinkingConfig": {"includeThoughts": true, "thinkingBudget": 7}},
                "cachedContent": "cachedContents/c",
            });
            let sent = respell(&request, Kind::Message(&GENERATE), &mut choices.into_iter());
            let read: Value = read(sent.to_string().as_bytes(), &GENERATE).map_err(|error| error.message).unwrap();
            prop_assert_eq!(read, request);
        }

        #[test]
        fn no_body_brings_the_reader_down(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let read: Result<Value, ApiError> = read(&body, &GENERATE);
            prop_assert!(read.is_ok() || read.is_err_and(|error| error.code == 400));
        }
    }

    fn check(sent: &Value, expected: &Result<Value, &str>) {
        let read = read::<Value>(sent.to_string().as_bytes(), &GENERATE).map_err(|error| error.message);
        assert_eq!(read, expected.clone().map_err(str::to_owned), "{sent}");
    }

    #[test]
    fn both_name_styles_and_lone_values_are_read() {
        check(
            &json!({"contents": {"parts": {"text": "hi"}}, "system_instruction": {"parts": [{"text": "be"}]}}),
            &Ok(
                json!({"contents": [{"parts": [{"text": "hi"}]}], "systemInstruction": {"parts": [{"text": "be"}]}}),
            ),
        );
        check(
            &json!({"generationConfig": {"thinking_config": {"thinking_level": "low"}, "maxOutputTokens": "5", "topK": 1}}),
            &Ok(
                json!({"generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW"}, "maxOutputTokens": 5, "topK": 1.0}}),
            ),
        );
        check(&json!({"labels": null, "contents": []}), &Ok(json!({"contents": []})));
    }

    #[test]
    fn what_no_message_knows_is_refused() {
        let unknown = |name: &str, at: &str| {
            format!("Invalid JSON payload received. Unknown name \"{name}\"{at}: Cannot find field.")
        };
        check(&json!({"surprise": 1}), &Err(&unknown("surprise", "")));
        check(
            &json!({"contents": [{"parts": [{"x": 1}]}]}),
            &Err(&unknown("x", " at 'contents[0].parts[0]'")),
        );
        check(
            &json!({"generation_config": {"responseSchema": {"properties": {"a": {"$ref": "b"}}}}}),
            &Err(&unknown("$ref", " at 'generation_config.response_schema.properties[0].value'")),
        );
        check(&json!({"a": 1, "b": 2}), &Err(&format!("{}\n{}", unknown("a", ""), unknown("b", ""))));
        check(
            &json!({"systemInstruction": []}),
            &Err(
                "Invalid JSON payload received. Unknown name \"system_instruction\": Proto field is not repeating, \
                  cannot start list.",
            ),
        );
    }

    #[test]
    fn values_of_a_wrong_type_are_refused() {
        let in_part = |part: Value| json!({"contents": [{"parts": [part]}]});
        check(
            &in_part(json!({"text": 5})),
            &Err("Invalid value at 'contents[0].parts[0].text' (TYPE_STRING), 5"),
        );
        check(
            &in_part(json!({"functionResponse": {"response": "sunny"}})),
            &Err("Invalid value at 'contents[0].parts[0].function_response.response' \
                  (type.googleapis.com/google.protobuf.Struct), \"sunny\""),
        );
        check(
            &in_part(json!({"inlineData": {"data": "§"}})),
            &Err("Invalid value at 'contents[0].parts[0].inline_data.data' (TYPE_BYTES), \"§\""),
        );
        check(
            &in_part(json!({"text": "a", "functionCall": {"name": "f"}})),
            &Err(
                "Invalid value at 'contents[0].parts[0]' (oneof), oneof field 'data' is already set by 'text'. Cannot \
                  set 'function_call'",
            ),
        );
        check(
            &json!({"cachedContent": "a", "cached_content": "b"}),
            &Err("Invalid value at 'cached_content': the field is set twice"),
        );
        check(
            &json!({"generationConfig": {"seed": 4_000_000_000_u64}}),
            &Err("Invalid value at 'generation_config.seed' (TYPE_INT32), 4000000000"),
        );
        check(
            &json!({"serviceTier": "gold"}),
            &Err("Invalid value at 'service_tier' \
                  (type.googleapis.com/google.ai.generativelanguage.v1beta.ServiceTier), \"gold\""),
        );
    }

    #[test]
    fn bytes_come_in_either_alphabet() {
        assert_eq!(bytes("-_8="), Some(vec![0xfb, 0xff]));
        assert_eq!(bytes("+/8"), Some(vec![0xfb, 0xff]));
        assert_eq!(bytes("a b"), None);
    }
}
