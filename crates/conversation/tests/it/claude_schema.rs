//! JSON Schemas as Claude takes them.

use std::borrow::Cow;

use conversation::claude_schema::supported;
use serde_json::{Value, json};

#[track_caller]
fn check(schema: &Value, expected: &Value, lossy: bool) {
    let written = schema.to_string();
    let (sent, is_lossy) = supported(&written);
    let read = serde_json::from_str::<Value>(&sent).ok();
    assert_eq!((read.as_ref(), is_lossy), (Some(expected), lossy), "{schema}");
    assert_eq!(supported(&sent).0, sent, "what was rewritten can be sent");
}

#[test]
fn what_is_not_supported_is_described() {
    let bounded = json!({"type": "integer", "minimum": 1, "maximum": 10, "description": "A number"});
    let described = json!({"type": "integer", "description": "A number\n\n{minimum: 1, maximum: 10}"});
    check(&bounded, &described, true);
    let bounded = json!({"type": "string", "format": "regex", "maxLength": 3});
    check(&bounded, &json!({"type": "string", "description": "{format: regex, maxLength: 3}"}), true);
    let bounded = json!({"type": "array", "items": {"type": "number", "minimum": 0}, "minItems": 2});
    let items = json!({"type": "number", "description": "{minimum: 0}"});
    check(&bounded, &json!({"type": "array", "items": items, "description": "{minItems: 2}"}), true);
}

#[test]
fn objects_are_closed_and_references_stand_alone() {
    let open = json!({"type": "object", "properties": {"a": {"type": "string", "format": "date"}}, "required": ["a"]});
    let mut closed = open.clone();
    closed["additionalProperties"] = json!(false);
    check(&open, &closed, false);
    let mut stated = open.clone();
    stated["additionalProperties"] = json!(true);
    check(&stated, &closed, true);
    let list = json!({"type": ["object", "null"], "properties": {}});
    let closed_list = json!({"type": ["object", "null"], "properties": {}, "additionalProperties": false});
    check(&list, &closed_list, false);
    let reference = json!({"$ref": "#/$defs/a", "description": "x", "$defs": {"a": open}});
    check(&reference, &json!({"$ref": "#/$defs/a", "$defs": {"a": closed}}), true);
}

#[test]
fn alternatives_and_literals() {
    let one_of = json!({"oneOf": [
        {"type": "string", "enum": ["a", "b"]}, {"const": 1, "type": "integer"}, {"type": "null"},
    ]});
    check(&one_of, &json!({"anyOf": [{"enum": ["a", "b"]}, {"const": 1}, {"type": "null"}]}), false);
    check(&json!({"enum": [{"a": 1}]}), &json!({"description": "{enum: [{\"a\":1}]}"}), true);
}

#[test]
fn what_can_be_sent_keeps_its_bytes() {
    let closed = r#"{"additionalProperties": false, "properties": {}, "type": "object"}"#;
    for written in [r#"{ "type" : "boolean" }"#, "{}", "true", "no JSON", closed] {
        assert_eq!(supported(written), (Cow::Borrowed(written), false));
    }
}
