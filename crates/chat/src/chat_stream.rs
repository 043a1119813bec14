//! Reads a streamed chat completion as it arrives, and makes of it the completion that would have come whole.

use std::collections::BTreeMap;

use bytes::Bytes;
use framing::sse::{WholeEvents, read_event};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u32,
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
    refusal: Option<String>,
    #[serde(alias = "reasoning")]
    reasoning_content: Option<String>,
    #[serde(default)]
    tool_calls: Vec<CallDelta>,
}

#[derive(Deserialize)]
struct CallDelta {
    #[serde(default)]
    index: u32,
    id: Option<String>,
    function: Option<FunctionDelta>,
}

#[derive(Deserialize)]
struct FunctionDelta {
    name: Option<String>,
    arguments: Option<String>,
}

/// A call of a tool, as far as it has come.
#[derive(Default)]
struct ToolCall {
    id: String,
    name: String,
    arguments: String,
}

/// What has arrived.
#[derive(Default)]
pub struct ChatStream {
    events: WholeEvents,
    content: String,
    refusal: String,
    reasoning: String,
    calls: BTreeMap<u32, ToolCall>,
    finish_reason: Option<String>,
    /// The last event has come.
    is_done: bool,
    /// The problem that broke it off.
    pub error: Option<Value>,
}

impl ChatStream {
    /// Takes a piece; the text in it.
    pub fn take(&mut self, mut piece: &[u8]) -> String {
        let mut text = String::new();
        while let Some(event) = self.events.next_in(&mut piece) {
            self.read(&event, &mut text);
        }
        text
    }

    pub const fn is_whole(&self) -> bool {
        self.is_done || self.finish_reason.is_some()
    }

    /// How long what has come is.
    pub fn bytes_read(&self) -> usize {
        let calls = self.calls.values().map(|call| call.arguments.len());
        self.content.len() + self.refusal.len() + self.reasoning.len() + calls.sum::<usize>()
    }

    /// The completion that would have come whole.
    pub fn completion(&self) -> Bytes {
        let text = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
        let calls: Vec<Value> = self.calls.values().map(|call| {
            json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}})
        }).collect();
        let message = json!({
            "role": "assistant", "content": text(&self.content), "refusal": text(&self.refusal),
            "reasoning_content": text(&self.reasoning), "tool_calls": calls,
        });
        let choice = json!({"index": 0, "message": message, "finish_reason": self.finish_reason});
        json!({"choices": [choice]}).to_string().into()
    }

    fn read(&mut self, event: &[u8], text: &mut String) {
        let read = read_event(event);
        let data = read.data.json(event);
        if data.as_ref() == b"[DONE]" {
            self.is_done = true;
            return;
        }
        let Ok(chunk) = serde_json::from_slice::<Chunk>(&data) else {
            if read.name == b"error" {
                self.error = Some(serde_json::from_slice(&data).unwrap_or_default());
            }
            return;
        };
        if chunk.error.is_some() || read.name == b"error" {
            self.error = chunk.error.or_else(|| serde_json::from_slice(&data).ok());
            return;
        }
        for choice in chunk.choices.into_iter().filter(|choice| choice.index == 0) {
            self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
            if let Some(delta) = choice.delta {
                self.add(delta, text);
            }
        }
    }

    fn add(&mut self, delta: Delta, text: &mut String) {
        let Delta { content, refusal, reasoning_content, tool_calls } = delta;
        for (part, whole) in [(content, &mut self.content), (refusal, &mut self.refusal)] {
            let part = part.unwrap_or_default();
            text.push_str(&part);
            whole.push_str(&part);
        }
        self.reasoning.push_str(&reasoning_content.unwrap_or_default());
        for new in tool_calls {
            let call = self.calls.entry(new.index).or_default();
            call.id.push_str(&new.id.unwrap_or_default());
            if let Some(function) = new.function {
                call.name.push_str(&function.name.unwrap_or_default());
                call.arguments.push_str(&function.arguments.unwrap_or_default());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stream: &str, piece: usize) -> (String, ChatStream) {
        let mut read = ChatStream::default();
        let text = stream.as_bytes().chunks(piece).map(|piece| read.take(piece)).collect();
        (text, read)
    }

    #[test]
    fn the_completion_is_whole_however_it_is_cut() {
        let stream = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n\
            data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"one \",\"reasoning_content\":\"hm\"}},{\"index\":1,\"delta\":{\"content\":\"x\"}}]}\n\n\
            : ping\n\n\
            data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]}}]}\n\n\
            data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"two\",\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"}\"}}]},\"finish_reason\":\"length\"}]}\n\n\
            data: {\"choices\":[],\"usage\":{}}\n\ndata: [DONE]\n\n";
        for piece in [1, 7, 1000] {
            let (text, read) = check(stream, piece);
            assert_eq!((text.as_str(), read.is_whole()), ("one two", true), "{piece}");
            let whole: Value = serde_json::from_slice(&read.completion()).unwrap();
            let choice = &whole["choices"][0];
            assert_eq!(
                (&choice["finish_reason"], &choice["message"]["content"]),
                (&json!("length"), &json!("one two"))
            );
            assert_eq!(choice["message"]["reasoning_content"], "hm");
            assert_eq!(
                choice["message"]["tool_calls"][0]["function"],
                json!({"name": "f", "arguments": "{}"})
            );
            assert!(read.error.is_none());
        }
    }

    #[test]
    fn an_error_in_the_stream_is_found() {
        for stream in ["data: {\"error\":{\"code\":\"x\"}}\n\n", "event: error\ndata: {\"code\":\"x\"}\n\n"] {
            let (text, read) = check(stream, 5);
            assert_eq!((text.as_str(), read.is_whole()), ("", false));
            assert_eq!(read.error.unwrap()["code"], "x", "{stream}");
        }
    }
}
