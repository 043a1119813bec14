//! The response shapes of Bedrock's Converse API, as clients read them.

use std::borrow::Cow;

use conversation::blocks::Shape;
use domain::prompt::Json;
use domain::{Finish, Reason, Usage};
use framing::event_stream::encode_frame;
use json::written::checked;
use serde::Serialize;
use serde_json::value::RawValue;

/// A content block of a buffered response.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Block<'a> {
    Text(&'a str),
    ToolUse(Call<'a>),
    ReasoningContent(Reasoning<'a>),
    CitationsContent(Cited<'a>),
    #[serde(untagged)]
    Foreign(Cow<'a, RawValue>),
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Call<'a> {
    pub tool_use_id: Cow<'a, str>,
    pub name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Cow<'a, RawValue>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Reasoning<'a> {
    ReasoningText {
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        signature: Option<&'a str>,
    },
    RedactedContent(&'a str),
}

#[derive(Debug, Serialize)]
pub(super) struct Cited<'a> {
    pub content: [Text<'a>; 1],
    pub citations: Vec<Cow<'a, RawValue>>,
}

#[derive(Debug, Serialize)]
pub(super) struct Text<'a> {
    pub text: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer<'a> {
    pub output: Output<'a>,
    pub stop_reason: &'a str,
    pub usage: Report,
    pub metrics: Metrics,
}

#[derive(Debug, Serialize)]
pub(super) struct Output<'a> {
    pub message: Message<'a>,
}

#[derive(Debug, Serialize)]
pub(super) struct Message<'a> {
    pub role: &'static str,
    pub content: Vec<Block<'a>>,
}

/// A stream event about one content block.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BlockEvent<Payload> {
    #[serde(flatten)]
    pub payload: Payload,
    pub content_block_index: u32,
}

#[derive(Debug, Serialize)]
pub(super) struct Start<'a> {
    pub start: Block<'a>,
}

#[derive(Debug, Serialize)]
pub(super) struct Delta<'a> {
    pub delta: ContentDelta<'a>,
}

#[derive(Debug, Serialize)]
pub(super) struct Stop {}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum ContentDelta<'a> {
    Text(&'a str),
    ToolUse { input: &'a str },
    ReasoningContent(ReasoningDelta<'a>),
    Citation(Cow<'a, RawValue>),
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum ReasoningDelta<'a> {
    Text(&'a str),
    Signature(&'a str),
    RedactedContent(&'a str),
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stopped<'a> {
    pub stop_reason: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct Metadata {
    pub usage: Report,
    pub metrics: Metrics,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metrics {
    pub latency_ms: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    input_tokens: u64,
    output_tokens: u64,
    total_tokens: u64,
    #[serde(skip_serializing_if = "is_zero")]
    cache_read_input_tokens: u64,
    #[serde(skip_serializing_if = "is_zero")]
    cache_write_input_tokens: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cache_details: Vec<CacheDetail>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CacheDetail {
    ttl: &'static str,
    input_tokens: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Report {
    pub(super) fn of(usage: &Usage) -> Self {
        let written = usage.cache_write.saturating_add(usage.cache_write_long);
        let details = [("5m", usage.cache_write), ("1h", usage.cache_write_long)];
        let details = details.into_iter().filter(|(_, tokens)| *tokens > 0);
        Self {
            input_tokens: usage.prompt_uncached(),
            output_tokens: usage.completion_total(),
            total_tokens: usage.prompt_total().saturating_add(usage.completion_total()),
            cache_read_input_tokens: usage.cached_read,
            cache_write_input_tokens: written,
            cache_details: details.map(|(ttl, input_tokens)| CacheDetail { ttl, input_tokens }).collect(),
        }
    }
}

/// The `stopReason` of a response: the upstream's own word if it speaks Converse, too.
pub(super) fn stop_reason(finish: &Finish, shape: Shape, is_own: bool) -> &str {
    if let Some(raw) = finish.raw.as_deref().filter(|_| is_own) {
        return raw;
    }
    match finish.reason {
        Reason::Stop if shape.has_call => "tool_use",
        Reason::Stop | Reason::Pause | Reason::Error => "end_turn",
        Reason::StopSequence => "stop_sequence",
        Reason::Length => "max_tokens",
        Reason::ContextLength => "model_context_window_exceeded",
        Reason::Calls => "tool_use",
        Reason::ContentFilter | Reason::Refusal => "content_filtered",
        Reason::MalformedCall => "malformed_tool_use",
    }
}

/// Vendor-specific JSON, passed through as it came.
pub(super) fn raw(json: &Json) -> Option<Cow<'_, RawValue>> {
    checked(json.as_str()).ok().map(Cow::Borrowed)
}

/// Appends an event as a frame. An event too large for a frame is dropped; the writer splits text far below
/// that size.
pub(super) fn put(name: &str, payload: &impl Serialize, out: &mut Vec<u8>) {
    let headers = [(":event-type", name), (":content-type", "application/json"), (":message-type", "event")];
    let payload = serde_json::to_vec(payload).unwrap_or_default();
    out.extend(encode_frame(&headers, &payload).unwrap_or_default());
}

/// Appends an exception, which ends the stream.
pub(super) fn put_exception(name: &str, payload: &[u8], out: &mut Vec<u8>) {
    let headers =
        [(":exception-type", name), (":content-type", "application/json"), (":message-type", "exception")];
    out.extend(encode_frame(&headers, payload).unwrap_or_default());
}
