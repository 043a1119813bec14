//! Assembles a buffered response from a stream, for servers that answer a non-streaming request with one.

use std::collections::BTreeMap;

use bytes::Bytes;
use conversation::answer::{AnswerFacts, StreamFault};
use domain::limits::{ASSEMBLED_CALLS_MAX, EVENT_BYTES_MAX};
use framing::sse::{EventSplitter, read_event};
use serde_json::{Map, Value};

use super::answer::{STREAM_FOR_ANSWER, mend, read_answer};
use super::scanner::StreamScanner;

/// What the chunks have added up to so far.
#[derive(Debug, Default)]
struct Whole {
    head: Map<String, Value>,
    choices: BTreeMap<u64, Choice>,
    usage: Option<Value>,
}

#[derive(Debug, Default)]
struct Choice {
    message: Map<String, Value>,
    beside: Map<String, Value>,
}

/// Reads the body of a response with status 200. A stream is assembled into the completion that it carries;
/// the body of a server that deviates from the format is repaired.
///
/// # Errors
/// The body is not a completion, as for `read_answer`, or the stream could not be forwarded as a stream
/// either.
pub fn normalise_completion(body: Bytes, is_loose: bool) -> Result<(Bytes, AnswerFacts), StreamFault> {
    match read_answer(&body) {
        Ok(facts) if is_loose => Ok((mend(body)?, facts)),
        Ok(facts) => Ok((body, facts)),
        Err(StreamFault::Broken(STREAM_FOR_ANSWER)) => assemble(body),
        Err(fault) => Err(fault),
    }
}

fn assemble(body: Bytes) -> Result<(Bytes, AnswerFacts), StreamFault> {
    // Parsed JSON takes many times its bytes in memory.
    if body.len() > EVENT_BYTES_MAX {
        return Err(StreamFault::Broken("oversized"));
    }
    // The scanner detects stream errors and repairs what SDKs would trip over.
    let mut scanner = StreamScanner::new(false);
    let mut out = Vec::new();
    scanner.push(body, &mut out)?;
    scanner.finish(&mut out)?;
    let text = out.concat();
    let mut whole = Whole::default();
    let mut splitter = EventSplitter::new();
    let mut rest = text.as_slice();
    while let Some((event, after)) = splitter.find_end(rest).and_then(|end| rest.split_at_checked(end)) {
        whole.take_event(event)?;
        rest = after;
    }
    let facts = scanner.facts();
    let content_bytes = if facts.usage.is_none() { facts.content_bytes } else { 0 };
    Ok((whole.encode()?, AnswerFacts { usage: facts.usage, content_bytes }))
}

impl Whole {
    fn take_event(&mut self, event: &[u8]) -> Result<(), StreamFault> {
        self.take_data(&read_event(event).data.json(event))
    }

    fn take_data(&mut self, json: &[u8]) -> Result<(), StreamFault> {
        let json = json.trim_ascii();
        if json.is_empty() || json == b"[DONE]" {
            return Ok(());
        }
        let chunk: Map<String, Value> =
            serde_json::from_slice(json).map_err(|_| StreamFault::Broken("bad_json"))?;
        for (name, value) in chunk {
            match (name.as_str(), value) {
                (_, Value::Null) | ("object" | "obfuscation", _) => {}
                ("choices", Value::Array(choices)) => self.take_choices(choices)?,
                ("usage", usage) => self.usage = Some(usage),
                (_, value) => {
                    self.head.entry(name).or_insert(value);
                }
            }
        }
        Ok(())
    }

    fn take_choices(&mut self, choices: Vec<Value>) -> Result<(), StreamFault> {
        for (position, choice) in choices.into_iter().enumerate() {
            let index = choice.get("index").and_then(Value::as_u64).unwrap_or(position as u64);
            let Value::Object(members) = choice else { continue };
            let kept = self.choices.entry(index).or_default();
            for (name, value) in members {
                match (name.as_str(), value) {
                    ("index", _) => {}
                    ("delta" | "message", Value::Object(delta)) => merge(&mut kept.message, delta)?,
                    (_, value) => merge_member(&mut kept.beside, name, value)?,
                }
            }
        }
        Ok(())
    }

    fn encode(self) -> Result<Bytes, StreamFault> {
        let mut answer = self.head;
        answer.insert("object".to_owned(), "chat.completion".into());
        let choices = self.choices.into_iter().map(|(index, choice)| choice.encode(index));
        answer.insert("choices".to_owned(), choices.collect());
        if let Some(usage) = self.usage {
            answer.insert("usage".to_owned(), usage);
        }
        serde_json::to_vec(&answer).map(Bytes::from).map_err(|_| StreamFault::Broken("bad_json"))
    }
}

impl Choice {
    fn encode(mut self, index: u64) -> Value {
        // Only deltas number their tool calls.
        if let Some(Value::Array(calls)) = self.message.get_mut("tool_calls") {
            calls.iter_mut().filter_map(Value::as_object_mut).for_each(|call| drop(call.remove("index")));
        }
        for (name, absent) in
            [("role", "assistant".into()), ("content", Value::Null), ("refusal", Value::Null)]
        {
            self.message.entry(name).or_insert(absent);
        }
        for name in ["finish_reason", "logprobs"] {
            self.beside.entry(name).or_insert(Value::Null);
        }
        self.beside.insert("index".to_owned(), index.into());
        self.beside.insert("message".to_owned(), Value::Object(self.message));
        Value::Object(self.beside)
    }
}

fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) -> Result<(), StreamFault> {
    from.into_iter().try_for_each(|(name, value)| merge_member(into, name, value))
}

/// Strings are concatenated, lists grow, and identifying values such as `id` or `role` keep their first
/// value.
fn merge_member(into: &mut Map<String, Value>, name: String, value: Value) -> Result<(), StreamFault> {
    let is_word = matches!(name.as_str(), "id" | "type" | "role" | "name" | "finish_reason");
    let slot = into.entry(name).or_insert(Value::Null);
    match (&mut *slot, value) {
        (_, Value::Null) => {}
        (Value::String(known), Value::String(more)) if is_word => {
            if known.is_empty() {
                *known = more;
            }
        }
        (Value::String(known), Value::String(more)) => known.push_str(&more),
        (Value::Object(known), Value::Object(more)) => merge(known, more)?,
        (Value::Array(known), Value::Array(more)) => merge_list(known, more)?,
        (_, Value::Array(more)) => {
            let mut list = Vec::new();
            merge_list(&mut list, more)?;
            *slot = Value::Array(list);
        }
        (_, value) => *slot = value,
    }
    Ok(())
}

/// An item with an `index` is merged into the one with the same index; others are appended.
fn merge_list(list: &mut Vec<Value>, more: Vec<Value>) -> Result<(), StreamFault> {
    for item in more {
        let Some(index) = item.get("index").cloned() else {
            list.push(item);
            continue;
        };
        let is_full = list.len() >= ASSEMBLED_CALLS_MAX;
        let known = list.iter_mut().find(|known| known.get("index") == Some(&index));
        match (known, item) {
            (Some(Value::Object(known)), Value::Object(item)) => merge(known, item)?,
            _ if is_full => return Err(StreamFault::Broken("oversized")),
            (_, item) => list.push(item),
        }
    }
    Ok(())
}
