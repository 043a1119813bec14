//! Message threads: an answer is kept with all that was sent before it, and a request continues it by its id.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::answer::Reply;
use super::error::Refusal;
use crate::emulator::UsageMode;

/// Whole requests with their answers as the last turns, by the key and the answer's id.
#[derive(Default)]
pub(crate) struct Threads(HashMap<(String, String), Map<String, Value>>);

impl Threads {
    /// A request that continues a thread, with everything before it.
    pub(crate) fn whole<'a>(
        &self,
        key: &str,
        fields: &'a Map<String, Value>,
    ) -> Result<Cow<'a, Map<String, Value>>, Refusal> {
        let previous = fields.get("thread").and_then(|thread| thread.get("previous_message_id"));
        let Some(previous) = previous.and_then(Value::as_str) else { return Ok(Cow::Borrowed(fields)) };
        let kept = self.0.get(&(key.to_owned(), previous.to_owned())).ok_or_else(Refusal::no_thread)?;
        let mut whole = fields.clone();
        for name in ["system", "tools"] {
            if fields.contains_key(name) {
                return Err(Refusal::at(name, "only the request that creates a thread sets this"));
            }
            if let Some(value) = kept.get(name) {
                whole.insert(name.to_owned(), value.clone());
            }
        }
        let turns = |of: &Map<String, Value>| {
            of.get("messages").and_then(Value::as_array).cloned().unwrap_or_default()
        };
        whole.insert("messages".to_owned(), Value::Array([turns(kept), turns(fields)].concat()));
        Ok(Cow::Owned(whole))
    }

    pub(crate) fn keep(&mut self, key: &str, mut fields: Map<String, Value>, answer: &Reply) {
        let message = answer.whole(UsageMode::Missing);
        if let Some(Value::Array(turns)) = fields.get_mut("messages") {
            turns.push(json!({"role": "assistant", "content": message.get("content")}));
        }
        self.0.insert((key.to_owned(), answer.id.clone()), fields);
    }
}
