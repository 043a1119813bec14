//! Writes requests, answers, chunks and model lists.

use bytes::Bytes;
use domain::Usage;
use domain::runtime::FinishReason;
use serde::Serialize;

/// The end of a stream.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

/// What all parts of one answer repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// Such as `chatcmpl-…`.
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
    Said(UsageBody),
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
}

#[derive(Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
}

#[derive(Serialize)]
struct WholeChoice<'a> {
    index: u32,
    message: WholeMessage<'a>,
    finish_reason: &'static str,
    logprobs: Option<()>,
}

#[derive(Serialize)]
struct WholeMessage<'a> {
    role: &'static str,
    content: &'a str,
    refusal: Option<()>,
}

#[derive(Serialize)]
struct DeltaChoice<'a> {
    index: u32,
    delta: Delta<'a>,
    finish_reason: Option<&'static str>,
    logprobs: Option<()>,
}

#[derive(Serialize, Default)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

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

    pub(super) const fn null_if(asked: bool) -> Self {
        if asked { Self::Null } else { Self::Absent }
    }

    pub(super) const fn said(usage: &Usage) -> Self {
        let prompt_tokens = usage.prompt_total();
        let completion_tokens = usage.completion_total();
        Self::Said(UsageBody {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens.saturating_add(completion_tokens),
            prompt_tokens_details: PromptDetails {
                cached_tokens: usage.cached_read,
                cache_write_tokens: usage.cache_write.saturating_add(usage.cache_write_long),
            },
            completion_tokens_details: CompletionDetails { reasoning_tokens: usage.reasoning },
        })
    }
}

impl Completion {
    /// The whole answer as one object.
    #[must_use]
    pub fn whole(&self, text: &str, finish: FinishReason, usage: &Usage) -> Bytes {
        let choice = WholeChoice {
            index: 0,
            message: WholeMessage { role: "assistant", content: text, refusal: None },
            finish_reason: finish_word(finish),
            logprobs: None,
        };
        json(&self.envelope("chat.completion", [choice], UsageField::said(usage)))
    }

    /// The first chunk of a stream: the role and no text. `usage_null` where the client asked for usage.
    #[must_use]
    pub fn first_chunk(&self, usage_null: bool) -> Bytes {
        self.delta(0, Delta { role: Some("assistant"), content: Some("") }, None, usage_null)
    }

    #[must_use]
    pub fn text_chunk(&self, text: &str, usage_null: bool) -> Bytes {
        self.delta(0, Delta { role: None, content: Some(text) }, None, usage_null)
    }

    /// The last chunk of the answer itself. Usage, where it was asked for, and `DONE` follow.
    #[must_use]
    pub fn finish_chunk(&self, finish: FinishReason, usage_null: bool) -> Bytes {
        self.finish_choice(0, finish, usage_null)
    }

    /// As `finish_chunk`, of any choice.
    #[must_use]
    pub fn finish_choice(&self, index: u32, finish: FinishReason, usage_null: bool) -> Bytes {
        self.delta(index, Delta::default(), Some(finish_word(finish)), usage_null)
    }

    /// The chunk without choices that carries the usage.
    #[must_use]
    pub fn usage_chunk(&self, usage: &Usage) -> Bytes {
        let none: [(); 0] = [];
        event(&self.envelope("chat.completion.chunk", none, UsageField::said(usage)))
    }

    fn delta(
        &self,
        index: u32,
        delta: Delta<'_>,
        finish_reason: Option<&'static str>,
        usage_null: bool,
    ) -> Bytes {
        let choice = DeltaChoice { index, delta, finish_reason, logprobs: None };
        event(&self.envelope("chat.completion.chunk", [choice], UsageField::null_if(usage_null)))
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

/// A request of our own: `messages` are pairs of role and text. `max_tokens` is left out unless it was asked for: some
/// models take it only as `max_completion_tokens`, and which ones no name tells.
#[must_use]
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

const fn finish_word(finish: FinishReason) -> &'static str {
    match finish {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
    }
}

/// These types hold nothing that JSON can't say, so there is no failure to report.
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
