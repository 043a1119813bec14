//! The fields in which two versions of an object differ.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FieldChange")]
pub(super) struct FieldChange {
    field: String,
    before: Value,
    after: Value,
}

/// The fields of either that differ, by name; what is absent is null.
pub(super) fn differences(before: &Value, after: &Value) -> Vec<FieldChange> {
    let names = [before, after].into_iter().filter_map(Value::as_object).flat_map(|fields| fields.keys());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names.dedup();
    let of = |value: &Value, name: &str| value.get(name).cloned().unwrap_or_default();
    let changes = names.into_iter().map(|name| FieldChange {
        field: name.clone(),
        before: of(before, name),
        after: of(after, name),
    });
    changes.filter(|change| change.before != change.after).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_save_changed_is_told_by_field() {
        let before = json!({"strategy": "none", "profiles": ["byok"], "regions": []});
        let after =
            json!({"strategy": "cheapest", "profiles": ["byok"], "regions": [], "overflow": "managed"});
        let told: Vec<_> = differences(&before, &after)
            .into_iter()
            .map(|change| (change.field, change.before, change.after))
            .collect();
        assert_eq!(
            told,
            [
                ("overflow".to_owned(), Value::Null, json!("managed")),
                ("strategy".to_owned(), json!("none"), json!("cheapest")),
            ]
        );
    }
}
