//! The usage object of a chat response, in each vendor's format.

use serde_json::{Value, json};

use super::answer::Reply;
use super::flavour::Flavour;
use crate::emulator::UsageMode;
use crate::mistral;

/// xAI's prices per token, in units of 1e-10 USD.
const XAI_PROMPT_TICKS: u64 = 20_000;
const XAI_CACHED_TICKS: u64 = 5_000;
const XAI_COMPLETION_TICKS: u64 = 100_000;

/// The usage object for this many completion tokens.
pub(crate) fn usage(reply: &Reply, mode: UsageMode, completion_tokens: u64) -> Value {
    let report = |tokens: u64| if mode == UsageMode::Zero { 0 } else { tokens };
    match reply.flavour {
        Flavour::OpenAi | Flavour::Azure | Flavour::Together | Flavour::Server(_) => {}
        Flavour::Mistral => return mistral::usage(reply, report, completion_tokens),
        Flavour::Xai => return usage_xai(reply, report, completion_tokens),
        Flavour::Fireworks => {
            return json!({
                "prompt_tokens": report(reply.prompt_tokens), "completion_tokens": report(completion_tokens),
                "total_tokens": report(reply.prompt_tokens + completion_tokens),
                "prompt_tokens_details": {"cached_tokens": report(reply.cached_tokens)},
            });
        }
    }
    json!({
        "prompt_tokens": report(reply.prompt_tokens), "completion_tokens": report(completion_tokens),
        "total_tokens": report(reply.prompt_tokens + completion_tokens),
        "prompt_tokens_details": {
            "cached_tokens": report(reply.cached_tokens), "audio_tokens": report(reply.media.audio_in),
        },
        "completion_tokens_details": {
            "reasoning_tokens": report(reply.reasoning_tokens.min(completion_tokens)),
            "audio_tokens": report(reply.media.audio_out.min(completion_tokens)),
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
    })
}

/// xAI counts reasoning tokens separately from completion tokens, and reports the call's cost.
fn usage_xai(reply: &Reply, report: impl Fn(u64) -> u64, completion_tokens: u64) -> Value {
    let reasoning = reply.reasoning_tokens.min(completion_tokens);
    let fresh = reply.prompt_tokens.saturating_sub(reply.cached_tokens);
    let ticks = fresh * XAI_PROMPT_TICKS
        + reply.cached_tokens * XAI_CACHED_TICKS
        + completion_tokens * XAI_COMPLETION_TICKS;
    json!({
        "prompt_tokens": report(reply.prompt_tokens),
        "completion_tokens": report(completion_tokens - reasoning),
        "total_tokens": report(reply.prompt_tokens + completion_tokens),
        "prompt_tokens_details": {
            "text_tokens": report(
                reply.prompt_tokens.saturating_sub(reply.media.audio_in + reply.media.image_in),
            ),
            "audio_tokens": report(reply.media.audio_in), "image_tokens": report(reply.media.image_in),
            "cached_tokens": report(reply.cached_tokens),
        },
        "completion_tokens_details": {
            "reasoning_tokens": report(reasoning), "audio_tokens": 0, "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
        "num_sources_used": 0, "cost_in_usd_ticks": report(ticks),
    })
}
