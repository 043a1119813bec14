//! Checks of document names: allowed characters, and no duplicates within a request.

use std::collections::BTreeSet;

use serde_json::Value;

use super::error::Refusal;

const NAME_CHARS_MAX: usize = 200;

pub(super) fn check(messages: &[Value]) -> Result<(), Refusal> {
    let blocks = messages.iter().flat_map(|message| list(message.get("content")));
    let blocks = blocks.flat_map(|block| {
        let results = list(block.pointer("/toolResult/content"));
        std::iter::once(block).chain(results)
    });
    let mut names = BTreeSet::new();
    for name in blocks.filter_map(|block| block.pointer("/document/name")?.as_str()) {
        if !is_name(name) {
            return Err(Refusal::invalid(
                "The document file name can only contain alphanumeric characters, whitespace characters, hyphens, \
                 parentheses, and square brackets. The name can't contain more than one consecutive whitespace character.",
            ));
        }
        if !names.insert(name) {
            return Err(Refusal::invalid("Messages can not contain duplicate document names."));
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let legal = |character: char| character.is_ascii_alphanumeric() || " -()[]".contains(character);
    (1..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(legal) && !name.contains("  ")
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_plain_and_each_is_once() {
        let document = |name: &str| json!({"document": {"name": name}});
        for (content, expected) in [
            (json!([document("Plan (2) [x]-y"), document("b")]), None),
            (json!([document("plan.pdf")]), Some("file name")),
            (json!([document("a  b")]), Some("file name")),
            (json!([document("a"), {"toolResult": {"content": [document("a")]}}]), Some("duplicate")),
        ] {
            let refused = check(&[json!({"content": content})]).err().map(|refusal| refusal.message);
            assert_eq!(refused.is_some(), expected.is_some(), "{content}: {refused:?}");
            assert!(refused.unwrap_or_default().contains(expected.unwrap_or_default()), "{content}");
        }
    }
}
