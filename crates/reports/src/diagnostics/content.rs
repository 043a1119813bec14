//! Refuses content: a report needs none, so that a body which has some was sent by mistake.

use domain::{Fault, FaultClass};
use serde_json::Value;

/// Fields in which vendors' formats, traces and logs hold prompts and answers, in small letters and digits alone.
const CONTENT_FIELDS: [&str; 45] = [
    "answer",
    "arguments",
    "audio",
    "body",
    "choices",
    "completion",
    "completions",
    "content",
    "contents",
    "conversation",
    "data",
    "document",
    "documents",
    "embedding",
    "embeddings",
    "file",
    "files",
    "image",
    "images",
    "input",
    "inputs",
    "instructions",
    "message",
    "messages",
    "output",
    "outputs",
    "outputtext",
    "parts",
    "prompt",
    "prompts",
    "query",
    "question",
    "reasoning",
    "request",
    "response",
    "responses",
    "system",
    "systeminstruction",
    "systemprompt",
    "text",
    "texts",
    "thinking",
    "toolcalls",
    "tools",
    "transcript",
];

/// Refuses a body that has such a field, at whatever depth.
///
/// # Errors
/// 400, naming the field.
pub(super) fn refuse(body: &Value) -> Result<(), Box<Fault>> {
    match find(body, &mut Vec::new()) {
        None => Ok(()),
        Some(path) => Err(Box::new(
            Fault::new(
                FaultClass::BadRequest,
                "content_not_accepted",
                format!("{path} may hold a prompt or an answer, and a report needs neither. Nothing of the body was kept."),
            )
            .param(path)
            .fix("Leave the field out: traces are counts and times."),
        )),
    }
}

fn is_content(name: &str) -> bool {
    let plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    CONTENT_FIELDS.binary_search(&plain.as_str()).is_ok()
}

/// The path of the first field of content. The depth is that of the JSON parser, which is bounded.
fn find(value: &Value, path: &mut Vec<String>) -> Option<String> {
    match value {
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            path.push(if path.is_empty() { name.clone() } else { format!(".{name}") });
            let found = if is_content(name) { Some(path.concat()) } else { find(value, path) };
            path.pop();
            found
        }),
        Value::Array(items) => items.iter().enumerate().find_map(|(at, item)| {
            path.push(format!("[{at}]"));
            let found = find(item, path);
            path.pop();
            found
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_sorted_and_found_however_they_are_spelt() {
        assert!(CONTENT_FIELDS.is_sorted());
        for name in ["messages", "Messages", "system_prompt", "system-prompt", "toolCalls", "_text_"] {
            assert!(is_content(name), "{name}");
        }
        for name in
            ["input_tokens", "output_tokens", "traces", "schedule", "observed", "resolved_target", "window"]
        {
            assert!(!is_content(name), "{name}");
        }
        let fault = refuse(&json!({"traces": [{}, {"observed": {"Messages": []}}]})).unwrap_err();
        assert_eq!(
            (fault.code, fault.param.as_deref()),
            ("content_not_accepted", Some("traces[1].observed.Messages"))
        );
    }

    /// A value with no field of content.
    fn plain(depth: u32) -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<i64>().prop_map(Value::from), "[a-z]{0,8}".prop_map(Value::from)];
        leaf.prop_recursive(depth, 32, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::vec(("x[a-z]{0,3}", inner), 0..3)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn content_is_found_at_any_depth(
            value in plain(4), steps in prop::collection::vec(any::<bool>(), 0..40), at in 0..CONTENT_FIELDS.len(),
        ) {
            prop_assert!(refuse(&value).is_ok(), "{value}");
            let mut deep = json!({"x": value, CONTENT_FIELDS[at]: value});
            for is_list in steps {
                deep = if is_list { json!([0, deep]) } else { json!({"x": deep, "y": 1}) };
            }
            let fault = refuse(&deep).unwrap_err();
            prop_assert!(fault.param.unwrap().ends_with(CONTENT_FIELDS[at]));
        }
    }
}
