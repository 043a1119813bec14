//! The response shapes of the Anthropic Messages API, as clients read them.

use std::borrow::Cow;

use conversation::answer::AnswerOptions;
use conversation::blocks::Shape;
use domain::prompt::Json;
use domain::{Finish, Reason};
use serde::Serialize;

use super::usage::Report;
use super::wire::{Raw, RawCow};

/// A message: what is known of it in `message_start`, or all of a buffered response.
#[derive(Debug, Serialize)]
pub(super) struct Message<'a> {
    #[serde(flatten)]
    pub head: Head<'a>,
    pub content: Vec<Content<'a>>,
    pub stop_reason: Option<&'a str>,
    pub stop_sequence: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_details: Option<StopDetails<'a>>,
    pub usage: Report,
}

#[derive(Debug, Serialize)]
pub(super) struct Head<'a> {
    id: String,
    r#type: &'static str,
    role: &'static str,
    model: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct MessageStart<'a> {
    r#type: &'static str,
    message: Message<'a>,
}

impl<'a> Head<'a> {
    /// Message ids start with `msg_`, because clients expect that form.
    pub(super) fn of(id: Option<&str>, model: Option<&'a str>, wish: &'a AnswerOptions) -> Self {
        let id = match (id.filter(|id| !id.is_empty() && !wish.is_named_by_trace), wish.trace) {
            (Some(id), _) if id.starts_with("msg_") => id.to_owned(),
            (Some(id), _) => format!("msg_{id}"),
            (None, Some(trace)) => format!("msg_{trace}"),
            (None, None) => "msg_0".to_owned(),
        };
        let model = model.filter(|model| !model.is_empty()).unwrap_or(&wish.model);
        Self { id, r#type: "message", role: "assistant", model }
    }

    pub(super) fn message_start(self, usage: Report) -> MessageStart<'a> {
        let message = Message {
            head: self,
            content: Vec::new(),
            stop_reason: None,
            stop_sequence: None,
            stop_details: None,
            usage,
        };
        MessageStart { r#type: "message_start", message }
    }
}

/// A content block: as it starts in a stream, or complete.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Content<'a> {
    Own(OwnContent<'a>),
    Foreign(Raw<'a>),
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum OwnContent<'a> {
    Text {
        text: &'a str,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        citations: Vec<Raw<'a>>,
    },
    Thinking {
        thinking: &'a str,
        signature: &'a str,
    },
    RedactedThinking {
        data: &'a str,
    },
    ToolUse {
        id: String,
        name: &'a str,
        input: RawCow<'a>,
    },
}

impl<'a> Content<'a> {
    pub(super) const fn text(text: &'a str) -> Self {
        Self::Own(OwnContent::Text { text, citations: Vec::new() })
    }

    pub(super) const fn thinking(thinking: &'a str, signature: &'a str) -> Self {
        Self::Own(OwnContent::Thinking { thinking, signature })
    }

    pub(super) const fn redacted(data: &'a str) -> Self {
        Self::Own(OwnContent::RedactedThinking { data })
    }

    /// A tool call without an id from the upstream gets one derived from this exchange.
    pub(super) fn call(
        id: &str,
        name: &'a str,
        input: impl Into<Cow<'a, str>>,
        number: u32,
        wish: &AnswerOptions,
    ) -> Self {
        let id = match wish.trace {
            _ if !id.is_empty() => id.to_owned(),
            Some(trace) => format!("toolu_{trace}_{number}"),
            None => format!("toolu_{number}"),
        };
        Self::Own(OwnContent::ToolUse { id, name, input: RawCow(input.into()) })
    }

    pub(super) fn foreign(json: &'a Json) -> Self {
        Self::Foreign(Raw(json.as_str()))
    }
}

#[derive(Debug, Serialize)]
pub(super) struct ContentBlockDelta<'a> {
    r#type: &'static str,
    index: u32,
    delta: Delta<'a>,
}

impl<'a> ContentBlockDelta<'a> {
    pub(super) const fn of(index: u32, delta: Delta<'a>) -> Self {
        Self { r#type: "content_block_delta", index, delta }
    }
}

/// An increment to a content block (`content_block_delta`).
#[derive(Debug, Serialize)]
#[serde(tag = "type")]
pub(super) enum Delta<'a> {
    #[serde(rename = "text_delta")]
    Text { text: &'a str },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: &'a str },
    #[serde(rename = "signature_delta")]
    Signature { signature: &'a str },
    #[serde(rename = "input_json_delta")]
    Input { partial_json: &'a str },
    #[serde(rename = "citations_delta")]
    Citation { citation: Raw<'a> },
}

impl<'a> Delta<'a> {
    pub(super) fn citation(json: &'a Json) -> Self {
        Self::Citation { citation: Raw(json.as_str()) }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct MessageDelta<'a> {
    pub r#type: &'static str,
    pub delta: Stopped<'a>,
    pub usage: Report,
}

#[derive(Debug, Serialize)]
pub(super) struct Stopped<'a> {
    pub stop_reason: &'a str,
    pub stop_sequence: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_details: Option<StopDetails<'a>>,
}

#[derive(Debug, Serialize)]
pub(super) struct StopDetails<'a> {
    r#type: &'static str,
    category: Option<&'static str>,
    explanation: Option<&'a str>,
}

impl<'a> StopDetails<'a> {
    pub(super) fn of(finish: &'a Finish, shape: Shape) -> Option<Self> {
        let is_refusal = stop_reason(finish, shape) == "refusal";
        is_refusal.then_some(Self {
            r#type: "refusal",
            category: None,
            explanation: finish.explanation.as_deref(),
        })
    }
}

/// The `stop_reason` of a response. Clients act on it, so it must match the content that was sent.
pub(super) const fn stop_reason(finish: &Finish, shape: Shape) -> &'static str {
    match finish.reason {
        Reason::Stop | Reason::Calls if shape.has_call => "tool_use",
        Reason::Stop if shape.has_refusal => "refusal",
        Reason::Stop | Reason::Calls | Reason::MalformedCall | Reason::Error => "end_turn",
        Reason::StopSequence => "stop_sequence",
        Reason::Length => "max_tokens",
        Reason::ContextLength => "model_context_window_exceeded",
        Reason::ContentFilter | Reason::Refusal => "refusal",
        Reason::Pause => "pause_turn",
    }
}

/// Writes one SSE event. A line break in JSON is only whitespace between values, but would end the `data:`
/// line, so it becomes a space.
pub(super) fn frame(name: &str, data: &impl Serialize, out: &mut Vec<u8>) {
    let mut json = serde_json::to_vec(data).unwrap_or_default();
    json.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    put(name, &json, out);
}

pub(super) fn error_event(body: &[u8], out: &mut Vec<u8>) {
    put("error", body, out);
}

fn put(name: &str, json: &[u8], out: &mut Vec<u8>) {
    for piece in [b"event: ", name.as_bytes(), b"\ndata: ", json, b"\n\n"] {
        out.extend_from_slice(piece);
    }
}
