//! Gemini's response to a generate request, buffered and as the pieces of a stream.

use serde::Serialize;

use super::content::{Content, FunctionCall, Part};
use super::prompt::{ModalityTokens, tokens_by_modality};
use super::signature::Signer;
use crate::emulator::{Behaviour, ToolMode, UsageMode};
use crate::openai::answer::{Call, Choice, Reply};
use crate::openai::tokens;

const THOUGHTS: &[&str] =
    &["Weighing", " what", " was", " asked", " before", " any", " word", " is", " said."];
/// Finish reasons that come without any content.
const MALFORMED: &[&str] = &[
    "MALFORMED_FUNCTION_CALL",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
    "MALFORMED_RESPONSE",
];

#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Response {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) candidates: Vec<Candidate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prompt_feedback: Option<Feedback>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage_metadata: Option<Usage>,
    pub(crate) model_version: String,
    pub(crate) response_id: String,
}

#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Candidate {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<Content>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) finish_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) finish_message: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) safety_ratings: Vec<Rating>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) logprobs_result: Option<Logprobs>,
    pub(crate) index: usize,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Feedback {
    block_reason: String,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Rating {
    category: &'static str,
    probability: &'static str,
    blocked: bool,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Logprobs {
    chosen_candidates: Vec<Logprob>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Logprob {
    token: String,
    token_id: usize,
    log_probability: f64,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Usage {
    prompt_token_count: u64,
    #[serde(skip_serializing_if = "is_zero")]
    candidates_token_count: u64,
    total_token_count: u64,
    #[serde(skip_serializing_if = "is_zero")]
    cached_content_token_count: u64,
    prompt_tokens_details: Vec<ModalityTokens>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cache_tokens_details: Vec<ModalityTokens>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    candidates_tokens_details: Vec<ModalityTokens>,
    #[serde(skip_serializing_if = "is_zero")]
    thoughts_token_count: u64,
}

/// Everything that a response is built from.
pub(crate) struct Plan<'a> {
    pub(crate) reply: &'a Reply,
    pub(crate) prompt_details: Vec<ModalityTokens>,
    pub(crate) include_thoughts: bool,
    pub(crate) logprobs: bool,
    /// Set where the model signs its thoughts.
    pub(crate) signer: Option<&'a Signer>,
    /// The model name in the request; signatures are bound to it.
    pub(crate) model: &'a str,
    pub(crate) usage: UsageMode,
    pub(crate) response_id: String,
}

/// The behaviour translated for the shared response generator, for finish reasons that Gemini names
/// differently.
pub(crate) fn behaviour(behaviour: &Behaviour) -> Behaviour {
    let mut behaviour = behaviour.clone();
    let finish = behaviour.finish.as_deref().map(finish_reason);
    match finish.as_deref() {
        Some("SAFETY") => behaviour.finish = Some("content_filter".to_owned()),
        Some(reason) if MALFORMED.contains(&reason) => {
            behaviour.tools = Some(ToolMode::None);
            behaviour.text = Some(String::new());
        }
        _ => {}
    }
    behaviour
}

/// Gemini's finish reason; tool calls have none of their own.
pub(crate) fn finish_reason(ended: &str) -> String {
    match ended {
        "stop" | "tool_calls" => "STOP".to_owned(),
        "length" => "MAX_TOKENS".to_owned(),
        "content_filter" => "SAFETY".to_owned(),
        own => own.to_ascii_uppercase(),
    }
}

/// The response to a blocked prompt: no candidates, and only prompt tokens are counted.
pub(crate) fn blocked_response(plan: &Plan<'_>, reason: Option<&str>) -> Response {
    let block_reason = reason.unwrap_or("PROHIBITED_CONTENT").to_owned();
    Response { prompt_feedback: Some(Feedback { block_reason }), ..plan.response(Vec::new(), 0, 0) }
}

impl Plan<'_> {
    /// The buffered form.
    pub(crate) fn whole(&self) -> Response {
        let choices = self.reply.choices.iter().enumerate();
        let candidates = choices.map(|(index, choice)| self.candidate(index, choice)).collect();
        self.response(candidates, self.visible_tokens(), self.reply.reasoning_tokens)
    }

    /// A response around candidates, with the token counts so far.
    pub(crate) fn response(&self, candidates: Vec<Candidate>, visible: u64, thoughts: u64) -> Response {
        Response {
            candidates,
            prompt_feedback: None,
            usage_metadata: (self.usage != UsageMode::Missing).then(|| self.usage(visible, thoughts)),
            model_version: self.reply.model.clone(),
            response_id: self.response_id.clone(),
        }
    }

    /// Generated tokens other than thoughts, over all candidates.
    pub(crate) fn visible_tokens(&self) -> u64 {
        self.reply.completion_tokens.saturating_sub(self.reply.reasoning_tokens)
    }

    pub(crate) fn usage(&self, visible: u64, thoughts: u64) -> Usage {
        let report = |tokens: u64| if self.usage == UsageMode::Zero { 0 } else { tokens };
        let (prompt, cached) = (report(self.reply.prompt_tokens), report(self.reply.cached_tokens));
        let (visible, thoughts) = (report(visible), report(thoughts));
        let media = self.reply.media;
        Usage {
            prompt_token_count: prompt,
            candidates_token_count: visible,
            total_token_count: prompt + visible + thoughts,
            cached_content_token_count: cached,
            prompt_tokens_details: if prompt == 0 {
                Vec::new()
            } else if media.audio_in + media.image_in > 0 {
                tokens_by_modality(prompt, media.audio_in, media.image_in)
            } else {
                self.prompt_details.clone()
            },
            cache_tokens_details: if cached > 0 {
                tokens_by_modality(cached, media.cached_audio, 0)
            } else {
                Vec::new()
            },
            candidates_tokens_details: if visible > 0 && media.audio_out + media.image_out > 0 {
                tokens_by_modality(visible, media.audio_out, media.image_out)
            } else {
                Vec::new()
            },
            thoughts_token_count: thoughts,
        }
    }

    /// The thoughts as a part, where the request includes thoughts.
    pub(crate) fn thought(&self, index: usize) -> Option<Part> {
        let count = usize::try_from(self.reply.reasoning_tokens).unwrap_or(usize::MAX);
        let has_thought = self.include_thoughts && index == 0 && count > 0;
        has_thought.then(|| Part::thought(THOUGHTS.iter().copied().cycle().take(count).collect::<String>()))
    }

    /// A function call's part; only the first call of a step is signed.
    pub(crate) fn call(&self, at: usize, call: &Call) -> Part {
        let args = serde_json::from_str(&call.arguments).unwrap_or_default();
        // The models that sign are those that give calls an id.
        let id = self.signer.map(|_| call.id.clone());
        let function_call = FunctionCall { id, name: call.name.clone(), args };
        let thought_signature =
            self.signer.filter(|_| at == 0).map(|signer| signer.call(self.model, &function_call));
        Part { function_call: Some(function_call), thought_signature, ..Part::default() }
    }

    /// The signature on the last text part, which clients need not send back.
    pub(crate) fn text_signature(&self, choice: &Choice) -> Option<String> {
        let text = choice.pieces.concat();
        self.signer.filter(|_| !text.is_empty()).map(|signer| signer.text(self.model, &text))
    }

    pub(crate) fn logprobs(&self, text: &str) -> Option<Logprobs> {
        let logprob = |(token_id, token): (usize, &str)| Logprob {
            token: token.to_owned(),
            token_id,
            log_probability: -0.25,
        };
        let chosen_candidates = tokens::split(text).enumerate().map(logprob).collect();
        self.logprobs.then_some(Logprobs { chosen_candidates })
    }

    fn candidate(&self, index: usize, choice: &Choice) -> Candidate {
        let text = choice.pieces.concat();
        let mut parts: Vec<Part> = self.thought(index).into_iter().collect();
        if !text.is_empty() {
            parts.push(Part { thought_signature: self.text_signature(choice), ..Part::text(text.clone()) });
        }
        parts.extend(choice.calls.iter().enumerate().map(|(at, call)| self.call(at, call)));
        let ended = final_candidate(index, choice);
        let silenced = ended.finish_reason.as_deref() == Some("SAFETY");
        Candidate {
            content: (!silenced).then(|| Content::of_model(parts)),
            logprobs_result: self.logprobs(&text),
            ..ended
        }
    }
}

/// A candidate's end: finish reason without content.
pub(crate) fn final_candidate(index: usize, choice: &Choice) -> Candidate {
    let reason = finish_reason(&choice.finish);
    let rating = Rating { category: "HARM_CATEGORY_DANGEROUS_CONTENT", probability: "HIGH", blocked: true };
    let safety_ratings = if reason == "SAFETY" { vec![rating] } else { Vec::new() };
    let finish_message =
        MALFORMED.contains(&reason.as_str()).then_some("The model's output is no well-formed call.");
    Candidate { finish_reason: Some(reason), finish_message, safety_ratings, index, ..Candidate::default() }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the serializer passes a reference")]
fn is_zero(tokens: &u64) -> bool {
    *tokens == 0
}
