//! How deep a value may be nested that is stored.

use serde_json::Value;

use crate::limits::STORED_DEPTH_MAX;

/// Whether a value has more than [`STORED_DEPTH_MAX`] brackets within each other.
pub fn is_too_deep(value: &Value) -> bool {
    !fits(value, STORED_DEPTH_MAX)
}

/// The value of a JSON text; the text itself where it is no JSON, or so deep that it could not be read again.
pub fn value_or_text(text: String) -> Value {
    let value = serde_json::from_str::<Value>(&text).ok().filter(|value| !is_too_deep(value));
    value.unwrap_or(Value::String(text))
}

fn fits(value: &Value, left: usize) -> bool {
    match value {
        Value::Array(items) => left > 0 && items.iter().all(|item| fits(item, left - 1)),
        Value::Object(fields) => left > 0 && fields.values().all(|field| fits(field, left - 1)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn nested(levels: usize) -> Value {
        (0..levels)
            .fold(json!(1), |inner, level| if level % 2 == 0 { json!([inner]) } else { json!({"a": inner}) })
    }

    #[test]
    fn what_is_stored_can_be_read_again_however_it_is_wrapped() {
        let deepest = nested(STORED_DEPTH_MAX);
        assert!(!is_too_deep(&deepest) && is_too_deep(&nested(STORED_DEPTH_MAX + 1)));
        assert!(is_too_deep(&json!({"beside": 1, "deep": nested(STORED_DEPTH_MAX)})));
        let wrapped = json!({"a": {"b": [{"c": deepest}]}});
        assert_eq!(serde_json::from_str::<Value>(&wrapped.to_string()).unwrap(), wrapped);
        // So many levels are the most that a reader takes.
        let (most, more) = (nested(127).to_string(), nested(128).to_string());
        assert!(
            serde_json::from_str::<Value>(&most).is_ok() && serde_json::from_str::<Value>(&more).is_err()
        );
    }
}
