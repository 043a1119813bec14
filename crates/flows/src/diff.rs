//! What differs between two JSON values, place by place.

use serde_json::{Value, json};

use crate::limits::DIFFERENCES_MAX;

/// One place in which two values differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    pub pointer: String,
    /// `None` where there is nothing.
    pub before: Option<Value>,
    pub after: Option<Value>,
}

impl Difference {
    pub fn to_json(&self) -> Value {
        let op = match (&self.before, &self.after) {
            (None, _) => "add",
            (_, None) => "remove",
            _ => "replace",
        };
        json!({"op": op, "path": self.pointer, "before": self.before, "after": self.after})
    }
}

/// The differences of two values, in the order of their places.
pub fn diff(before: &Value, after: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(Some(before), Some(after), String::new(), &mut found);
    found
}

fn compare(before: Option<&Value>, after: Option<&Value>, pointer: String, found: &mut Vec<Difference>) {
    if before == after || found.len() >= DIFFERENCES_MAX {
        return;
    }
    match (before, after) {
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            let added = other.keys().filter(|key| !one.contains_key(*key));
            for key in one.keys().chain(added) {
                let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                compare(one.get(key), other.get(key), pointer, found);
            }
        }
        (Some(Value::Array(one)), Some(Value::Array(other))) => {
            for place in 0..one.len().max(other.len()) {
                compare(one.get(place), other.get(place), format!("{pointer}/{place}"), found);
            }
        }
        _ => found.push(Difference { pointer, before: before.cloned(), after: after.cloned() }),
    }
}
