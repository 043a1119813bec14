//! Counts a prompt block by block, in Anthropic's caching order: tools, system, messages.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Map, Value};

use super::cache::{Marks, Segment, Ttl};
use super::checks;
use super::error::Refusal;
use crate::openai::tokens::{self, MEDIA_TOKENS, MESSAGE_TOKENS, PRIMING_TOKENS};

/// Builds segments with cumulative hashes and counts.
struct Blocks<'a> {
    segments: Vec<Segment>,
    hasher: DefaultHasher,
    tokens: u64,
    marks: Marks,
    also: &'a [String],
}

/// The blocks of a request; rejects invalid cache breakpoints.
pub(crate) fn read(fields: &Map<String, Value>, also: &[String]) -> Result<Vec<Segment>, Refusal> {
    let mut blocks = Blocks {
        segments: Vec::new(),
        hasher: DefaultHasher::new(),
        tokens: PRIMING_TOKENS,
        marks: Marks::default(),
        also,
    };
    blocks.list("tools", fields.get("tools"))?;
    blocks.list("system", fields.get("system"))?;
    let messages = fields.get("messages").and_then(Value::as_array).into_iter().flatten();
    for (at, message) in messages.enumerate() {
        message.get("role").map(Value::to_string).hash(&mut blocks.hasher);
        blocks.tokens += MESSAGE_TOKENS;
        blocks.list(&format!("messages.{at}.content"), message.get("content"))?;
    }
    // Anthropic places this automatic breakpoint itself, on the last block that can carry one.
    let automatic = blocks.marks.read("", fields, also)?;
    if let (Some(ttl), Some(last)) =
        (automatic, blocks.segments.iter_mut().rev().find(|segment| segment.markable))
    {
        last.mark = Some(ttl);
    }
    blocks.marks.check_count()?;
    Ok(blocks.segments)
}

/// The whole prompt's tokens.
pub(crate) fn total(segments: &[Segment]) -> u64 {
    segments.last().map_or(PRIMING_TOKENS, |segment| segment.tokens)
}

impl Blocks<'_> {
    fn list(&mut self, path: &str, content: Option<&Value>) -> Result<(), Refusal> {
        match content {
            Some(Value::String(text)) => {
                ("text", text).hash(&mut self.hasher);
                self.push(tokens::count(text), None, true);
                Ok(())
            }
            Some(Value::Array(list)) => {
                list.iter().enumerate().try_for_each(|(at, block)| self.block(&format!("{path}.{at}"), block))
            }
            _ => Ok(()),
        }
    }

    fn block(&mut self, path: &str, block: &Value) -> Result<(), Refusal> {
        let fields = checks::object(path, block)?;
        let mut mark = self.marks.read(path, fields, self.also)?;
        let inner = fields.get("content").and_then(Value::as_array).into_iter().flatten();
        for (at, inner) in inner.enumerate().filter_map(|(at, inner)| Some((at, inner.as_object()?))) {
            mark = self.marks.read(&format!("{path}.content.{at}"), inner, self.also)?.or(mark);
        }
        let kind = fields.get("type").and_then(Value::as_str).unwrap_or_default();
        match fields.get("text") {
            // A message that is a string hashes like one with a single text block.
            Some(Value::String(text)) if kind == "text" => ("text", text).hash(&mut self.hasher),
            _ => without_marks(block).to_string().hash(&mut self.hasher),
        }
        self.push(cost(kind, block), mark, !kind.ends_with("thinking"));
        Ok(())
    }

    fn push(&mut self, tokens: u64, mark: Option<Ttl>, markable: bool) {
        self.tokens += tokens;
        let prefix = self.hasher.finish();
        self.segments.push(Segment { prefix, tokens: self.tokens, mark, markable });
    }
}

fn cost(kind: &str, block: &Value) -> u64 {
    let text = |name: &str| block.get(name).and_then(Value::as_str).map_or(0, tokens::count);
    match kind {
        "text" => text("text"),
        "thinking" => text("thinking"),
        "image" | "document" => MEDIA_TOKENS,
        "tool_result" => match block.get("content") {
            Some(Value::Array(list)) => list
                .iter()
                .map(|inner| cost(inner.get("type").and_then(Value::as_str).unwrap_or_default(), inner))
                .sum(),
            _ => text("content"),
        },
        _ => tokens::count(&without_marks(block).to_string()),
    }
}

/// The block without its cache breakpoints, which are not part of the cached content.
fn without_marks(block: &Value) -> Value {
    let mut block = block.clone();
    if let Some(fields) = block.as_object_mut() {
        fields.remove("cache_control");
        if let Some(Value::Array(inner)) = fields.get_mut("content") {
            inner.iter_mut().for_each(|one| *one = without_marks(one));
        }
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(request: &Value, expected: Result<&[(u64, Option<Ttl>)], &str>) {
        let found = read(request.as_object().unwrap(), &[]);
        let found = found.map(|segments| {
            segments.iter().map(|segment| (segment.tokens, segment.mark)).collect::<Vec<_>>()
        });
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{request}"),
            (Err(refusal), Err(words)) => assert!(refusal.message.contains(words), "{}", refusal.message),
            (found, _) => panic!("{request}: {found:?}"),
        }
    }

    fn text(mark: &Value) -> Value {
        json!({"type": "text", "text": "one two", "cache_control": mark})
    }

    #[test]
    fn marks_stand_at_blocks_and_in_order() {
        let (short, hour) = (json!({"type": "ephemeral"}), json!({"type": "ephemeral", "ttl": "1h"}));
        let five = Some(Ttl::FiveMinutes);
        let user = |blocks: &[&Value]| json!([{"role": "user", "content": blocks.iter().map(|mark| text(mark)).collect::<Vec<_>>()}]);
        check(&json!({"messages": user(&[&hour, &short])}), Ok(&[(8, Some(Ttl::Hour)), (10, five)]));
        check(&json!({"messages": user(&[&short, &hour])}), Err("must not come after a ttl='5m'"));
        check(&json!({"system": [text(&short)], "messages": user(&[&hour])}), Err("must not come after"));
        check(&json!({"messages": user(&[&Value::Null]), "cache_control": short}), Ok(&[(8, five)]));
        check(
            &json!({"messages": user(&[&short; 5])}),
            Err("A maximum of 4 blocks with cache_control may be provided. Found 5."),
        );
        check(&json!({"messages": user(&[&short; 4]), "cache_control": short}), Err("Found 5"));
        check(
            &json!({"messages": user(&[&json!({"type": "forever"})])}),
            Err("cache_control.type: Input should be 'ephemeral'"),
        );
    }

    #[test]
    fn a_text_and_its_block_are_the_same_prompt_with_and_without_a_mark() {
        let prefix = |content: &Value| {
            let request = json!({"messages": [{"role": "user", "content": content}]});
            read(request.as_object().unwrap(), &[]).unwrap().last().unwrap().prefix
        };
        let plain = prefix(&json!("one two"));
        assert_eq!(plain, prefix(&json!([text(&json!({"type": "ephemeral"}))])));
        assert_ne!(plain, prefix(&json!("one three")));
    }
}
