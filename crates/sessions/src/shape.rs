//! The shape of a request: its messages in their order and roles, each text as its length and a keyed hash. It shows what two
//! requests have in common, and not what they say.

use serde_json::{Map, Value, json};

use crate::limits::WORD_BYTES_MAX;

/// The fields whose place is kept, in any dialect.
const PLACES: [&str; 17] = [
    "messages",
    "content",
    "contents",
    "parts",
    "text",
    "input",
    "instructions",
    "system",
    "systemInstruction",
    "system_instruction",
    "tools",
    "tool_calls",
    "function",
    "arguments",
    "name",
    "prompt",
    "role",
];
/// Those whose values are words of the dialect, where they are words.
const WORDS: [&str; 3] = ["role", "type", "model"];
/// The first bytes of a hash, enough to tell texts of one project apart.
const HASH_BYTES: usize = 8;

/// `None` for what is no JSON object.
pub(crate) fn shape(body: &[u8], hash: &impl Fn(&[u8]) -> [u8; 32]) -> Option<Vec<u8>> {
    let Value::Object(fields) = serde_json::from_slice(body).ok()? else { return None };
    serde_json::to_vec(&object(&fields, hash)).ok()
}

fn object(fields: &Map<String, Value>, hash: &impl Fn(&[u8]) -> [u8; 32]) -> Value {
    let mut shaped = Map::new();
    let mut rest = Map::new();
    for (name, value) in fields {
        match value {
            Value::String(word) if WORDS.contains(&name.as_str()) && is_word(word) => {
                shaped.insert(name.clone(), value.clone());
            }
            value if PLACES.contains(&name.as_str()) => {
                shaped.insert(name.clone(), shaped_value(value, hash));
            }
            value => drop(rest.insert(name.clone(), value.clone())),
        }
    }
    if !rest.is_empty() {
        let text = Value::Object(rest).to_string();
        shaped.insert("other".to_owned(), measure(text.as_bytes(), hash));
    }
    Value::Object(shaped)
}

fn shaped_value(value: &Value, hash: &impl Fn(&[u8]) -> [u8; 32]) -> Value {
    match value {
        Value::Object(fields) => object(fields, hash),
        Value::Array(values) => values.iter().map(|value| shaped_value(value, hash)).collect(),
        Value::String(text) => measure(text.as_bytes(), hash),
        Value::Null => Value::Null,
        Value::Bool(_) | Value::Number(_) => measure(value.to_string().as_bytes(), hash),
    }
}

fn is_word(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@".contains(&byte);
    !text.is_empty() && text.len() <= WORD_BYTES_MAX && text.bytes().all(fits)
}

fn measure(text: &[u8], hash: &impl Fn(&[u8]) -> [u8; 32]) -> Value {
    let hash = hash(text);
    let hex: String = hash.iter().take(HASH_BYTES).map(|byte| format!("{byte:02x}")).collect();
    json!({"bytes": text.len(), "hash": hex})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &Value) -> Value {
        let hash = |text: &[u8]| proof::Digest::of(&[b"project", text]).0;
        serde_json::from_slice(&shape(body.to_string().as_bytes(), &hash).unwrap()).unwrap()
    }

    #[test]
    fn a_shape_has_places_and_lengths_and_no_text() {
        let body = json!({
            "model": "openai/gpt-4o", "temperature": 0.5, "metadata": {"name of a person": "Canary"},
            "messages": [
                {"role": "system", "content": "Be brief, Canary."},
                {"role": "user", "content": [{"type": "text", "text": "Canary?"}, {"type": "a Canary"}]},
                {"role": "assistant", "tool_calls": [{"function": {"name": "find", "arguments": "{\"Canary\":1}"}}]},
            ],
        });
        let shaped = check(&body);
        assert!(!shaped.to_string().contains("Canary") && !shaped.to_string().contains("person"), "{shaped}");
        assert_eq!(shaped["model"], "openai/gpt-4o");
        assert_eq!(shaped["messages"][0]["role"], "system");
        assert_eq!(shaped["messages"][0]["content"]["bytes"], 17);
        assert_eq!(shaped["messages"][1]["content"][0]["type"], "text");
        assert_eq!(shaped["messages"][1]["content"][0]["text"]["bytes"], 7);
        assert_eq!(shaped["messages"][2]["tool_calls"][0]["function"]["arguments"]["bytes"], 12);
        let again = check(&body);
        assert_eq!(shaped, again, "the same text has the same hash");
    }

    #[test]
    fn what_is_no_object_has_no_shape() {
        for body in [&b"[1]"[..], b"\"text\"", b"{", b"--form"] {
            assert_eq!(shape(body, &|_| [0; 32]), None);
        }
    }
}
