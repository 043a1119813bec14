//! What the expressions of a run read: its input, and what its steps made.

use std::borrow::Cow;
use std::collections::HashMap;

use flows::{Expression, Names, STORED_DEPTH_MAX, Template, is_too_deep};
use serde_json::{Map, Value, json};

/// The values of a run.
#[derive(Debug, Default)]
pub(crate) struct Values {
    pub input: Value,
    /// By the names of steps.
    pub steps: HashMap<String, Value>,
}

/// What an expression has beside: of an iteration, or of a compensation.
#[derive(Debug, Default, Clone)]
pub(crate) struct Beside {
    pub fields: Map<String, Value>,
}

impl Beside {
    pub fn of_iteration(item: Option<Value>, index: u32, previous: Value) -> Self {
        let mut fields = Map::new();
        fields.insert("item".to_owned(), item.unwrap_or_else(|| Value::from(index)));
        fields.insert("index".to_owned(), Value::from(index));
        fields.insert("previous".to_owned(), previous);
        Self { fields }
    }

    pub fn with_output(mut self, output: Value) -> Self {
        self.fields.insert("output".to_owned(), output);
        self
    }
}

/// How expressions see a step.
pub(crate) fn view(output: Value, status: &str, error: Option<&str>) -> Value {
    let fields = [("output", output), ("status", json!(status)), ("error", json!(error))];
    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// All that an expression can name.
struct Scope<'a> {
    values: &'a Values,
    beside: &'a Beside,
}

impl Names for Scope<'_> {
    fn named(&self, name: &str) -> Option<Cow<'_, Value>> {
        if let Some(value) = self.beside.fields.get(name) {
            return Some(Cow::Borrowed(value));
        }
        if name == "input" {
            return Some(Cow::Borrowed(&self.values.input));
        }
        let step = self.values.steps.get(name).map(Cow::Borrowed);
        // A step that did not run has nothing, and is there.
        step.or_else(|| Some(Cow::Owned(view(Value::Null, "pending", None))))
    }
}

impl Values {
    pub fn evaluate(&self, expression: &Expression, beside: &Beside) -> Result<Value, String> {
        flows::evaluate(expression, &Scope { values: self, beside }).map_err(|error| error.to_string())
    }

    pub fn fill(&self, template: &Template, beside: &Beside) -> Result<Value, String> {
        let value = template.fill(&Scope { values: self, beside }).map_err(|error| error.to_string())?;
        if is_too_deep(&value) {
            return Err(format!("The value is nested more than {STORED_DEPTH_MAX} levels deep."));
        }
        Ok(value)
    }

    /// # Errors
    /// It is neither true nor false.
    pub fn holds(&self, expression: &Expression, beside: &Beside) -> Result<bool, String> {
        let value = self.evaluate(expression, beside)?;
        value.as_bool().ok_or_else(|| "The condition is neither true nor false.".to_owned())
    }
}
