//! Which requests of a file may be sent to an account that workspaces share, in its provider's own batch.

use conversation::own_batch::names_none;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The endpoint of such a batch: no such rule is here for the others.
pub(crate) const ENDPOINT: &str = "/v1/chat/completions";
/// The fields that a request may have. All others may name what is kept at the provider, have it kept there, or cost what nobody
/// counted.
const FIELDS: &str = "frequency_penalty logit_bias logprobs max_completion_tokens max_tokens messages model n parallel_tool_calls \
                      presence_penalty reasoning_effort response_format seed stop temperature tool_choice tools top_logprobs \
                      top_p user";
/// Fields that no part of a request may have: a file or an address is read with the rights of the account's owner, and sound has
/// another price.
const NOWHERE: [&str; 4] = ["audio", "file_id", "input_audio", "url"];

#[derive(Deserialize)]
struct Line {
    url: String,
    body: Map<String, Value>,
}

/// Whether this line may.
pub(crate) fn may_be_pooled(line: &[u8]) -> bool {
    let Ok(Line { url, body }) = serde_json::from_slice::<Line>(line) else { return false };
    let is_own = |tool: &Value| tool.get("type").is_some_and(|kind| kind == "function");
    let are_own = |tools: &Value| tools.as_array().is_some_and(|tools| tools.iter().all(is_own));
    let has_own_tools = body.get("tools").is_none_or(are_own);
    let has_plain_fields = body.keys().all(|name| FIELDS.split(' ').any(|known| known == name));
    url == ENDPOINT
        && has_own_tools
        && has_plain_fields
        && body.values().all(|value| names_none(value, &|name| NOWHERE.contains(&name)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_could_see_or_pay_for_is_not_sent_in_a_file() {
        let check = |more: Value, expected: bool| {
            let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
            body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
            let line = json!({"custom_id": "a", "method": "POST", "url": ENDPOINT, "body": body}).to_string();
            assert_eq!(may_be_pooled(line.as_bytes()), expected, "{line}");
        };
        let said = |part: Value| json!({"messages": [{"role": "user", "content": [part]}]});
        let picture = |url: &str| said(json!({"type": "image_url", "image_url": {"url": url}}));
        let function = json!({"type": "function", "function": {"name": "look", "parameters": {}}});
        check(json!({}), true);
        check(json!({"temperature": 0.1, "user": "u", "max_tokens": 9, "n": 2}), true);
        check(json!({"tools": [function]}), true);
        check(picture("data:image/png;base64,AA=="), true);
        // Objects that the provider stores, and addresses that it reads.
        check(picture("https://a.test/x.png"), false);
        check(said(json!({"type": "file", "file": {"file_id": "file-1"}})), false);
        check(json!({"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]}), false);
        check(json!({"store": true}), false);
        check(json!({"prompt_cache_key": "k"}), false);
        // Fields with another price.
        check(json!({"service_tier": "priority"}), false);
        check(json!({"web_search_options": {}}), false);
        check(json!({"modalities": ["audio"]}), false);
        check(json!({"tools": [{"type": "web_search"}]}), false);
        check(json!({"unheard_of": 1}), false);
        for broken in ["", "[]", r#"{"url":"/v1/chat/completions"}"#, r#"{"url":"/v1/responses","body":{}}"#]
        {
            assert!(!may_be_pooled(broken.as_bytes()), "{broken}");
        }
    }
}
