//! The items of a conversation: as they are kept, sent again, and listed.

use json::members::{elements_of, value_of};
use json::{Cursor, JsonError, Value as Raw};
use serde_json::{Map, Value, json};

/// Items that a provider is sent again without the id and the status that an answer gave them.
const REPEATED: [&str; 5] =
    ["message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output"];

/// The items of an `input`: a text is a message of the user's.
pub(crate) fn of_input(input: &[u8]) -> Vec<String> {
    match value_of(input) {
        Ok(Raw::String(text)) => {
            let text = String::from_utf8_lossy(text.span.of(input));
            vec![format!(r#"{{"role":"user","content":{text}}}"#)]
        }
        Ok(Raw::Array(_)) => {
            let elements = elements_of(input, "").unwrap_or_default();
            elements.into_iter().map(|(_, item)| String::from_utf8_lossy(item).into_owned()).collect()
        }
        _ => Vec::new(),
    }
}

/// An item of an answer as a later request repeats it; `None` for reasoning of which the provider gave nothing to repeat.
pub(crate) fn repeated(item: &[u8]) -> Option<String> {
    let read = json::members::Members::of_answer(item)?;
    let Some(kind) = read.find_text("type") else {
        // A message whose type is left out. What has neither is no item.
        read.find_text("role")?;
        return Some(String::from_utf8_lossy(item).into_owned());
    };
    if kind == "reasoning" && read.find_text("encrypted_content").is_none() {
        return None;
    }
    if !REPEATED.contains(&&*kind) {
        return Some(String::from_utf8_lossy(item).into_owned());
    }
    let mut names = Vec::new();
    let mut cursor = Cursor::new(item).ok()?;
    cursor
        .object(|cursor, member| {
            names.push(member.key.decode().into_owned());
            cursor.skip()?;
            Ok::<(), JsonError>(())
        })
        .ok()?;
    let kept: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| !matches!(*name, "id" | "status")).collect();
    json::members::keep_members(item, &kept).ok()
}

/// Items as a list shows them, each with an id. `stem` is that of the request's id.
pub(crate) fn listed(items: &[String], stem: &str) -> Vec<Value> {
    let read = items.iter().filter_map(|item| serde_json::from_str(item).ok());
    read.enumerate()
        .map(|(number, item)| Value::Object(with_id(item, &format!("{stem}{number:04}"))))
        .collect()
}

/// An item as a list shows it; one without an id gets one of this stem.
pub(crate) fn with_id(mut item: Map<String, Value>, stem: &str) -> Map<String, Value> {
    let kind = item.get("type").and_then(Value::as_str).unwrap_or("message").to_owned();
    let prefix = match kind.as_str() {
        "message" => "msg",
        "function_call" | "function_call_output" => "fc",
        "custom_tool_call" | "custom_tool_call_output" => "ctc",
        "reasoning" => "rs",
        _ => "item",
    };
    let id = item.remove("id").unwrap_or_else(|| json!(format!("{prefix}_{stem}")));
    let mut listed = Map::new();
    listed.insert("id".to_owned(), id);
    listed.insert("type".to_owned(), json!(kind));
    if kind == "message" {
        listed.insert("status".to_owned(), json!("completed"));
        if let Some(Value::String(text)) = item.get("content") {
            let is_answer = item.get("role").is_some_and(|role| role == "assistant");
            let part = if is_answer {
                json!({"type": "output_text", "text": text, "annotations": []})
            } else {
                json!({"type": "input_text", "text": text})
            };
            item.insert("content".to_owned(), json!([part]));
        }
    }
    listed.extend(item);
    listed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_an_item_and_items_stay_as_written() {
        assert_eq!(of_input(br#""say \"hi\"""#), [r#"{"role":"user","content":"say \"hi\""}"#]);
        assert_eq!(
            of_input(br#"[{"role":"user","content":1.0}, {}]"#),
            [r#"{"role":"user","content":1.0}"#, "{}"]
        );
        assert!(of_input(b"7").is_empty());
    }

    #[test]
    fn an_answer_s_items_are_repeated_without_what_only_it_says() {
        let call = br#"{"id":"fc_1","type":"function_call","status":"completed","call_id":"c","name":"f","arguments":"{ }"}"#;
        let expected = r#"{"type":"function_call","call_id":"c","name":"f","arguments":"{ }"}"#;
        assert_eq!(repeated(call).as_deref(), Some(expected));
        let thoughts = br#"{"id":"rs_1","type":"reasoning","summary":[],"encrypted_content":"x"}"#;
        assert_eq!(repeated(thoughts).as_deref().map(str::as_bytes), Some(&thoughts[..]));
        assert_eq!(repeated(br#"{"id":"rs_1","type":"reasoning","summary":[]}"#), None);
    }

    #[test]
    fn listed_items_have_ids_and_parts() {
        let items = of_input(br#"["x",{"role":"user","content":"hi"},{"id":"fc_9","type":"function_call_output","call_id":"c","output":"1"}]"#);
        let listed = listed(&items, "abc");
        assert_eq!(
            listed,
            [
                json!({"id": "msg_abc0000", "type": "message", "status": "completed", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}),
                json!({"id": "fc_9", "type": "function_call_output", "call_id": "c", "output": "1"}),
            ]
        );
    }
}
