//! The chunks of a response, and buffered responses, as they are written.

use std::borrow::Cow;

use domain::{Json, Usage};
use json::written::checked;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::wire::{Content, Datum, FunctionCall, Part, object};

/// What every chunk of a response repeats.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Head {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_id: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Chunk<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    candidates: Vec<Candidate<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_metadata: Option<UsageMetadata>,
    #[serde(flatten)]
    head: &'a Head,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs_result: Option<LogprobsResult>,
    index: u32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct UsageMetadata {
    prompt_token_count: u64,
    candidates_token_count: u64,
    total_token_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    thoughts_token_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_content_token_count: Option<u64>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogprobsResult {
    pub chosen_candidates: Vec<Likely>,
    pub top_candidates: Vec<Likelies>,
}

#[derive(Debug, Serialize)]
pub(super) struct Likelies {
    candidates: Vec<Likely>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Likely {
    token: String,
    log_probability: Box<RawValue>,
}

/// A token in the log probabilities of Chat Completions.
#[derive(Deserialize)]
struct ChatToken {
    token: String,
    logprob: Box<RawValue>,
    #[serde(default)]
    top_logprobs: Vec<ChatLikely>,
}

#[derive(Deserialize)]
struct ChatLikely {
    token: String,
    logprob: Box<RawValue>,
}

/// A call whose arguments are still incomplete.
#[derive(Debug)]
pub(super) struct PendingCall {
    id: String,
    name: String,
    is_custom: bool,
    pub arguments: String,
    pub signature: Option<String>,
}

impl<'a> Candidate<'a> {
    pub(super) fn of(index: u32, parts: Vec<Part<'a>>) -> Self {
        let content = Some(Content { role: Some("model"), parts });
        Self { content, finish_reason: None, finish_message: None, logprobs_result: None, index }
    }

    pub(super) fn with_finish(mut self, (reason, message): (String, Option<String>)) -> Self {
        (self.finish_reason, self.finish_message) = (Some(reason), message);
        self
    }

    pub(super) fn with_logprobs(mut self, result: LogprobsResult) -> Self {
        self.logprobs_result = Some(result);
        self
    }
}

impl PendingCall {
    pub(super) const fn new(id: String, name: String, is_custom: bool) -> Self {
        Self { id, name, is_custom, arguments: String::new(), signature: None }
    }

    /// The complete call, or an explanation if its arguments are not an object.
    pub(super) fn part(self) -> Result<Part<'static>, String> {
        let written = self.arguments.trim();
        let args = if self.is_custom {
            to_raw_value(&Input { input: &self.arguments }).ok()
        } else if written.is_empty() {
            checked("{}").ok().map(ToOwned::to_owned)
        } else {
            object(written).map(ToOwned::to_owned)
        };
        let Some(args) = args else {
            return Err(format!("Malformed function call: {}({})", self.name, self.arguments));
        };
        let call =
            FunctionCall { id: Cow::Owned(self.id), name: Cow::Owned(self.name), args: Cow::Owned(args) };
        let thought_signature = self.signature.map(Cow::Owned);
        Ok(Part { thought_signature, ..Part::of(Datum::FunctionCall(call)) })
    }
}

/// A custom tool's free text, wrapped into an object.
#[derive(Serialize)]
struct Input<'a> {
    input: &'a str,
}

pub(super) fn picture(media_type: &str, base64: &str) -> Option<Part<'static>> {
    let inline = serde_json::json!({"mimeType": media_type, "data": base64});
    foreign("inlineData", &Json(inline.to_string()))
}

/// A Gemini-specific part, as its upstream wrote it.
pub(super) fn foreign(kind: &str, json: &Json) -> Option<Part<'static>> {
    let raw = RawValue::from_string(json.0.clone()).ok()?;
    Datum::foreign(kind, Cow::Owned(raw)).map(Part::of)
}

pub(super) fn logprobs(tokens: &Json) -> Option<LogprobsResult> {
    let tokens: Vec<ChatToken> = serde_json::from_str(tokens.as_str()).ok()?;
    let mut result = LogprobsResult::default();
    for ChatToken { token, logprob, top_logprobs } in tokens {
        let likely = |ChatLikely { token, logprob }| Likely { token, log_probability: logprob };
        result.chosen_candidates.push(Likely { token, log_probability: logprob });
        result.top_candidates.push(Likelies { candidates: top_logprobs.into_iter().map(likely).collect() });
    }
    Some(result)
}

/// Appends a chunk as an SSE event, on a single line, as clients require.
pub(super) fn write_frame(
    head: &Head,
    candidates: Vec<Candidate<'_>>,
    usage: Option<&Usage>,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"data: ");
    let start = out.len();
    write_json(head, candidates, usage, out);
    // Raw JSON may contain line breaks between values; inside strings there are none.
    for byte in out.iter_mut().skip(start).filter(|byte| matches!(byte, b'\n' | b'\r')) {
        *byte = b' ';
    }
    out.extend_from_slice(b"\r\n\r\n");
}

pub(super) fn write_json(
    head: &Head,
    candidates: Vec<Candidate<'_>>,
    usage: Option<&Usage>,
    out: &mut Vec<u8>,
) {
    let usage_metadata = usage.map(|usage| {
        let some = |count: u64| (count > 0).then_some(count);
        UsageMetadata {
            prompt_token_count: usage.prompt_total(),
            candidates_token_count: usage.answer_total(),
            total_token_count: usage.prompt_total().saturating_add(usage.completion_total()),
            thoughts_token_count: some(usage.reasoning),
            cached_content_token_count: some(usage.cached_read),
        }
    });
    let chunk = Chunk { candidates, usage_metadata, head };
    // Serialisation cannot fail here, so what is appended is complete.
    let _ = serde_json::to_writer(out, &chunk);
}
