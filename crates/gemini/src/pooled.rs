//! Which requests of a content batch may be sent to an account that workspaces share, in its provider's own batch.

use std::collections::HashMap;

use conversation::own_batch::names_none;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::names::camel;

/// The fields that a request may have. All others may name what is kept at the provider, or cost what nobody counted.
const FIELDS: &str =
    "contents generationConfig labels model safetySettings systemInstruction toolConfig tools";
/// Fields that no part of a request may have: a file is read with the rights of the account's owner, and sounds and pictures that a
/// model makes have other prices.
const NOWHERE: [&str; 5] = ["cachedContent", "fileData", "fileUri", "imageConfig", "responseModalities"];
/// The one tool that its client runs.
const OWN_TOOL: &str = "functionDeclarations";

#[derive(Deserialize)]
struct Item {
    request: Map<String, Value>,
}

/// The requests of a new batch that has nothing beside them, so that nothing of its account's owner is used for it.
pub(crate) fn requests(body: &str) -> Option<Vec<&RawValue>> {
    let batch = member(body, "batch", &[])?;
    let input = member(batch, "inputConfig", &["displayName", "model"])?;
    let list = member(member(input, "requests", &[])?, "requests", &[])?;
    serde_json::from_str(list).ok()
}

/// A member of an object that has no others but those `beside` it.
fn member<'a>(object: &'a str, name: &str, beside: &[&str]) -> Option<&'a str> {
    let members: HashMap<String, &RawValue> = serde_json::from_str(object).ok()?;
    let is_alone = members.keys().map(|key| camel(key)).all(|key| key == name || beside.contains(&&*key));
    let found = members.iter().find(|(key, _)| camel(key) == name).filter(|_| is_alone);
    found.map(|(_, value)| value.get())
}

/// Whether this one may.
pub(crate) fn may_be_pooled(item: &[u8]) -> bool {
    let Ok(Item { request }) = serde_json::from_slice::<Item>(item) else { return false };
    request.iter().all(|(name, value)| match &*camel(name) {
        "tools" => has_own_tools(value),
        name => FIELDS.split(' ').any(|known| known == name),
    }) && request.values().all(|value| names_none(value, &|name| NOWHERE.contains(&&*camel(name))))
}

fn has_own_tools(tools: &Value) -> bool {
    let is_own =
        |tool: &Value| tool.as_object().is_some_and(|tool| tool.keys().all(|name| camel(name) == OWN_TOOL));
    tools.as_array().is_some_and(|tools| tools.iter().all(is_own))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_could_see_or_pay_for_is_not_sent_in_a_content_batch() {
        let check = |more: Value, expected: bool| {
            let mut request = json!({"contents": [{"parts": [{"text": "hi"}]}]});
            request.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
            let item = json!({"request": request, "metadata": {"key": "a"}}).to_string();
            assert_eq!(may_be_pooled(item.as_bytes()), expected, "{item}");
        };
        let said = |part: Value| json!({"contents": [{"parts": [part]}]});
        check(json!({}), true);
        check(json!({"system_instruction": {"parts": []}, "generationConfig": {"maxOutputTokens": 9}}), true);
        check(said(json!({"inline_data": {"mime_type": "image/png", "data": "AA=="}})), true);
        check(json!({"tools": [{"function_declarations": []}]}), true);
        // Objects that the provider stores, and addresses that it reads.
        check(json!({"cachedContent": "cachedContents/a"}), false);
        check(said(json!({"fileData": {"fileUri": "files/a"}})), false);
        check(said(json!({"file_data": {"file_uri": "files/a"}})), false);
        // Fields with another price.
        check(json!({"tools": [{"googleSearch": {}}]}), false);
        check(json!({"tools": {"functionDeclarations": [], "urlContext": {}}}), false);
        check(json!({"generationConfig": {"responseModalities": ["IMAGE"]}}), false);
        check(json!({"service_tier": "flex"}), false);
        check(json!({"unheardOf": 1}), false);
        let found = |body: &str| requests(body).map(|all| all.len());
        let plain = r#"{"batch":{"display_name":"a","inputConfig":{"requests":{"requests":[{},{}]}}}}"#;
        assert_eq!(found(plain), Some(2));
        assert_eq!(found(&plain.replace("display_name", "webhook")), None);
        for broken in ["", "[]", r#"{"request":7}"#] {
            assert!(!may_be_pooled(broken.as_bytes()), "{broken}");
        }
    }
}
