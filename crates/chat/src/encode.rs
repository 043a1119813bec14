//! What is written in this format without events: requests of our own, and the end of a stream that is cut
//! off.

use bytes::Bytes;
use domain::Usage;
use serde::Serialize;

/// The end marker of a stream.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

/// The fields that all chunks of an answer repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// For example `chatcmpl-…`.
    pub id: String,
    pub created_unix_s: u64,
    pub model: String,
}

#[derive(Serialize)]
pub(super) struct Envelope<'a, Choices: Serialize> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Choices,
    #[serde(skip_serializing_if = "UsageField::is_absent")]
    usage: UsageField,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum UsageField {
    Absent,
    Null,
    Present(UsageBody),
}

#[derive(Serialize)]
pub(super) struct UsageBody {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Serialize)]
struct PromptDetails {
    cached_tokens: u64,
    cache_write_tokens: u64,
    #[serde(skip_serializing_if = "is_none")]
    audio_tokens: u64,
    #[serde(skip_serializing_if = "is_none")]
    image_tokens: u64,
}

#[derive(Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
    #[serde(skip_serializing_if = "is_none")]
    audio_tokens: u64,
    #[serde(skip_serializing_if = "is_none")]
    image_tokens: u64,
}

/// Most answers have neither sound nor pictures.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_none(count: &u64) -> bool {
    *count == 0
}

#[derive(Serialize)]
struct LastChoice {
    index: u32,
    delta: Delta,
    finish_reason: &'static str,
    logprobs: Option<()>,
}

/// The empty delta of a chunk that ends a choice.
#[derive(Serialize)]
struct Delta {}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    stream: bool,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'a str,
    content: &'a str,
}

impl UsageField {
    const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    pub(super) const fn null_if(is_requested: bool) -> Self {
        if is_requested { Self::Null } else { Self::Absent }
    }

    pub(super) const fn of(usage: &Usage) -> Self {
        let prompt_tokens = usage.prompt_total();
        let completion_tokens = usage.completion_total();
        Self::Present(UsageBody {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens.saturating_add(completion_tokens),
            prompt_tokens_details: PromptDetails {
                cached_tokens: usage.cached_read,
                cache_write_tokens: usage.cache_write.saturating_add(usage.cache_write_long),
                audio_tokens: usage.units.audio_in,
                image_tokens: usage.units.image_in,
            },
            completion_tokens_details: CompletionDetails {
                reasoning_tokens: usage.reasoning,
                audio_tokens: usage.units.audio_out,
                image_tokens: usage.units.image_out,
            },
        })
    }
}

impl Completion {
    /// The chunk that ends a choice with `finish_reason: "length"`. `usage_null` where the client requested
    /// usage.
    pub(super) fn length_chunk(&self, index: u32, usage_null: bool) -> Bytes {
        let choice = LastChoice { index, delta: Delta {}, finish_reason: "length", logprobs: None };
        event(&self.envelope("chat.completion.chunk", [choice], UsageField::null_if(usage_null)))
    }

    /// The chunk without choices that carries the usage.
    pub(super) fn usage_chunk(&self, usage: &Usage) -> Bytes {
        let none: [(); 0] = [];
        event(&self.envelope("chat.completion.chunk", none, UsageField::of(usage)))
    }

    pub(super) fn envelope<Choices: Serialize>(
        &self,
        object: &'static str,
        choices: Choices,
        usage: UsageField,
    ) -> Envelope<'_, Choices> {
        Envelope { id: &self.id, object, created: self.created_unix_s, model: &self.model, choices, usage }
    }
}

/// A request of our own: `messages` are pairs of role and text. `max_tokens` is omitted unless given: some
/// models accept only `max_completion_tokens`, and the model's name does not tell which.
pub fn encode_request(
    model: &str,
    messages: &[(&str, &str)],
    max_tokens: Option<u64>,
    stream: bool,
    stop: &[String],
) -> Bytes {
    let messages = messages.iter().map(|(role, content)| Message { role, content }).collect();
    json(&Request { model, messages, max_tokens, stop, stream })
}

/// These types hold nothing that JSON can't represent, so there is no failure to report.
fn json(value: &impl Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec(value).unwrap_or_default())
}

fn event(value: &impl Serialize) -> Bytes {
    let mut text = b"data: ".to_vec();
    if serde_json::to_writer(&mut text, value).is_err() {
        return Bytes::new();
    }
    text.extend_from_slice(b"\n\n");
    Bytes::from(text)
}
