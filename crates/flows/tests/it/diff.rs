//! Differences of two documents.

use flows::{Difference, diff};
use serde_json::json;

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
