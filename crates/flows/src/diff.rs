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
    #[must_use]
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
#[must_use]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_told_by_their_places() {
        let before = json!({"a": 1, "b": {"c": [1, 2]}, "gone": true});
        let after = json!({"a": 1, "b": {"c": [1, 3, 4]}, "new/er": null});
        let found: Vec<_> = diff(&before, &after).iter().map(Difference::to_json).collect();
        assert_eq!(
            found,
            [
                json!({"op": "replace", "path": "/b/c/1", "before": 2, "after": 3}),
                json!({"op": "add", "path": "/b/c/2", "before": null, "after": 4}),
                json!({"op": "remove", "path": "/gone", "before": true, "after": null}),
                json!({"op": "add", "path": "/new~1er", "before": null, "after": null}),
            ]
        );
        assert!(diff(&before, &before).is_empty());
    }
}
