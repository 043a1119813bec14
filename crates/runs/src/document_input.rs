//! The files that an input names.

use serde_json::Value;

/// Where a document is, and the client's own description of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DocumentInput {
    pub uri: String,
    /// JSON pointer to `uri` in the body.
    pub pointer: String,
    pub filename: Option<String>,
    pub content_type: Option<String>,
}

impl DocumentInput {
    /// A file as inputs name it, which stands at this pointer; `None` where there is none.
    pub fn read(value: &Value, pointer: &str) -> Option<Self> {
        match value {
            Value::String(uri) => {
                Some(Self { uri: uri.clone(), pointer: pointer.to_owned(), ..Self::default() })
            }
            Value::Object(_) => {
                let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
                Some(Self {
                    uri: text("uri").unwrap_or_default(),
                    pointer: format!("{pointer}/uri"),
                    filename: text("filename"),
                    content_type: text("content_type"),
                })
            }
            _ => None,
        }
    }

    /// The files of a field, which has one or a list of them.
    pub fn all(input: &Value, field: &str, base: &str) -> Vec<Self> {
        let pointer = format!("{base}/{field}");
        match input.get(field) {
            Some(Value::Array(list)) => {
                let at = |(place, value)| Self::read(value, &format!("{pointer}/{place}"));
                list.iter().enumerate().filter_map(at).collect()
            }
            Some(value) => Self::read(value, &pointer).into_iter().collect(),
            None => Vec::new(),
        }
    }
}
