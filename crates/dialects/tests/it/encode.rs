//! Bytes that we write ourselves, read back by our own readers and by a plain JSON parser.

use chat::encode_request;
use conversation::models::ModelRow;
use dialects::{model_object, models_list};
use domain::Dialect;
use serde_json::{Value, json};

#[test]
fn a_request_of_ours_is_what_was_meant() {
    let stop = ["a".to_owned()];
    let body = encode_request("m/\"x\"", &[("system", "s"), ("user", "é\n")], Some(7), true, &stop);
    let whole: Value = serde_json::from_slice(&body).expect("JSON");
    let messages = json!([{"role": "system", "content": "s"}, {"role": "user", "content": "é\n"}]);
    let wanted =
        json!({"model": "m/\"x\"", "messages": messages, "max_tokens": 7, "stop": ["a"], "stream": true});
    assert_eq!(whole, wanted);
    let least: Value = serde_json::from_slice(&encode_request("m", &[], None, false, &[])).expect("JSON");
    assert_eq!(least, json!({"model": "m", "messages": [], "stream": false}));
}

#[test]
fn model_lists_are_the_vendors() {
    let row = ModelRow { id: "a/b".into(), owned_by: "a".into(), created: 3, ..ModelRow::default() };
    let object = json!({"id": "a/b", "object": "model", "created": 3, "owned_by": "a", "name": "a/b"});
    let one: Value = serde_json::from_slice(&model_object(Dialect::Chat, &row)).expect("JSON");
    assert_eq!(one, object);
    let list: Value = serde_json::from_slice(&models_list(Dialect::Chat, &[row])).expect("JSON");
    assert_eq!(list, json!({"object": "list", "data": [object]}));
}
