//! Which requests of a message batch may be sent to an account that workspaces share, in its provider's own batch.
//!
//! A request that is sent alone gets there a salt before its prompt, prices of its tools and checks of what it names. A
//! batch is sent as it came: what would need any of these may not be in it.

use conversation::own_batch::names_none;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The fields that a request may have. All others may name what is kept at the provider, or cost what nobody counted.
const FIELDS: [&str; 13] = [
    "max_tokens",
    "messages",
    "metadata",
    "model",
    "output_config",
    "stop_sequences",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
];
/// Fields that no part of a request may have: a prefix that is cached is one that others can find there, and an address
/// or a file is read with the rights of the account's owner.
const NOWHERE: [&str; 6] = ["cache_control", "container", "container_id", "file_id", "skill_id", "url"];
/// The type of a tool that its client runs; it may be left out.
const OWN_TOOL: &str = "custom";

#[derive(Deserialize)]
struct Item {
    params: Map<String, Value>,
}

/// Whether this one may.
pub(crate) fn may_be_pooled(item: &[u8]) -> bool {
    let Ok(Item { params }) = serde_json::from_slice::<Item>(item) else { return false };
    let has_plain_fields = params.keys().all(|name| FIELDS.contains(&&**name));
    has_plain_fields
        && has_own_tools(&params)
        && params.values().all(|value| names_none(value, &|name| NOWHERE.contains(&name)))
}

fn has_own_tools(params: &Map<String, Value>) -> bool {
    match params.get("tools") {
        None | Some(Value::Null) => true,
        Some(Value::Array(tools)) => tools.iter().all(|tool| match tool.get("type") {
            None => tool.is_object(),
            Some(kind) => kind == OWN_TOOL,
        }),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_could_see_or_pay_for_is_not_sent_in_a_batch() {
        let check = |more: Value, expected: bool| {
            let mut params =
                json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
            let more = more.as_object().cloned().unwrap();
            params.as_object_mut().unwrap().extend(more);
            let item = json!({"custom_id": "a", "params": params}).to_string();
            assert_eq!(may_be_pooled(item.as_bytes()), expected, "{item}");
        };
        let said = |block: Value| json!({"messages": [{"role": "user", "content": [block]}]});
        let tool = |tool: Value| json!({"tools": [tool]});
        check(json!({}), true);
        check(json!({"system": "be brief", "temperature": 0.1, "metadata": {"user_id": "u"}}), true);
        check(
            said(
                json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}),
            ),
            true,
        );
        check(said(json!({"type": "tool_result", "tool_use_id": "t", "content": "cache_control"})), true);
        check(tool(json!({"name": "look", "input_schema": {"type": "object"}})), true);
        check(tool(json!({"type": "custom", "name": "look", "input_schema": {}})), true);
        // A prefix that another workspace may find in the cache.
        check(json!({"cache_control": {"type": "ephemeral"}}), false);
        check(
            json!({"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}),
            false,
        );
        check(
            tool(json!({"name": "look", "input_schema": {}, "cache_control": {"type": "ephemeral"}})),
            false,
        );
        // What is kept at the provider, or read by it.
        check(said(json!({"type": "document", "source": {"type": "file", "file_id": "file_1"}})), false);
        check(
            said(json!({"type": "image", "source": {"type": "url", "url": "https://a.test/x.png"}})),
            false,
        );
        check(json!({"container": "container_1"}), false);
        check(json!({"mcp_servers": []}), false);
        // What has another price.
        check(tool(json!({"type": "web_search_20250305", "name": "web_search"})), false);
        check(json!({"tools": "all"}), false);
        check(json!({"service_tier": "priority"}), false);
        check(json!({"inference_geo": "us"}), false);
        check(json!({"unheard_of": 1}), false);
        for broken in ["", "[]", r#"{"custom_id":"a"}"#, r#"{"custom_id":"a","params":7}"#] {
            assert!(!may_be_pooled(broken.as_bytes()), "{broken}");
        }
        // An escape is the letter that it stands for.
        assert!(!may_be_pooled(br#"{"params":{"system":[{"cache\u005fcontrol":{}}]}}"#));
    }
}
