//! A request body built from command line options; options that were left out are absent.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// A JSON object under construction.
#[derive(Debug, Default)]
pub struct Body(Map<String, Value>);

impl Body {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn with(mut self, field: &str, value: impl Serialize) -> Self {
        self.0.insert(field.to_owned(), json!(value));
        self
    }

    #[must_use]
    pub fn with_some<T: Serialize>(self, field: &str, value: Option<T>) -> Self {
        match value {
            Some(value) => self.with(field, value),
            None => self,
        }
    }

    #[must_use]
    pub fn with_list(self, field: &str, list: &[String]) -> Self {
        if list.is_empty() { self } else { self.with(field, list) }
    }

    #[must_use]
    pub fn build(self) -> Value {
        Value::Object(self.0)
    }
}
