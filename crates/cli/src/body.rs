//! A request body built from command line options; options that were left out are absent.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::output::{self, Failure};

/// A JSON object under construction.
#[derive(Debug, Default)]
pub struct Body(Map<String, Value>);

impl Body {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn with(mut self, field: &str, value: impl Serialize) -> Self {
        self.0.insert(field.to_owned(), json!(value));
        self
    }

    pub fn with_some<T: Serialize>(self, field: &str, value: Option<T>) -> Self {
        match value {
            Some(value) => self.with(field, value),
            None => self,
        }
    }

    pub fn with_list(self, field: &str, list: &[String]) -> Self {
        if list.is_empty() { self } else { self.with(field, list) }
    }

    pub fn build(self) -> Value {
        Value::Object(self.0)
    }
}

/// The JSON of a file.
///
/// # Errors
/// It can't be read, or is not JSON.
pub fn json_of_file(file: &Path) -> Result<Value, Failure> {
    let wrong =
        |why: String| Failure::new(output::USAGE, format!("{} can't be read: {why}.", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))
}
