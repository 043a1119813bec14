//! Mistral: chat completions with some fields under other names, and no unknown fields.

use bytes::Bytes;
use chat::SupportedFields;
use domain::{Fault, FaultClass, Grammar, Operation, ServerFeature};
use http::HeaderMap;

use crate::{
    CacheHelp, Classified, KeyOf, KeyPlace, ModelRequest, Outgoing, Provider, ServerFacts, Target, classify,
    compatible,
};

const NATIVE: &[Grammar] = &[Grammar::Chat];

/// The fields of Mistral's own client; any other is answered with 422.
const CHAT: SupportedFields = SupportedFields {
    fields: &[
        "model",
        "messages",
        "frequency_penalty",
        "guardrails",
        "logprobs",
        "max_tokens",
        "metadata",
        "min_tokens",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_logprobs",
        "prompt_mode",
        "random_seed",
        "reasoning_effort",
        "repetition_penalty",
        "response_format",
        "safe_prompt",
        "service_tier",
        "stop",
        "stream",
        "temperature",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
        "top_prompt_logprobs",
    ],
    message_fields: &["role", "content", "prefix", "tool_calls", "tool_call_id"],
    function_fields: &["name", "description", "parameters", "strict"],
    renamed_fields: &[("seed", "random_seed")],
    lists: &[],
    counts_logprobs: false,
    call_id_letters: Some(9),
};

const EMBEDDINGS: SupportedFields = SupportedFields {
    fields: &["model", "input", "metadata", "output_dimension", "output_dtype", "encoding_format"],
    renamed_fields: &[("dimensions", "output_dimension")],
    ..CHAT
};

pub(crate) struct Mistral;

impl Provider for Mistral {
    /// Its completions are fill-in-the-middle, and its moderation has its own categories, so neither is
    /// offered.
    fn grammars(&self, operation: Operation, _upstream_model: &str) -> &'static [Grammar] {
        match operation {
            Operation::Complete | Operation::Moderate => &[],
            _ => compatible::grammars(operation, NATIVE),
        }
    }

    /// Reasoning models return their content as a list of parts.
    fn facts(&self) -> &'static ServerFacts {
        const FACTS: ServerFacts = ServerFacts { needs_normalising: true, ..ServerFacts::USUAL };
        &FACTS
    }

    fn cache_help(&self, _grammar: Grammar) -> Option<CacheHelp> {
        Some(CacheHelp::Key { place: KeyPlace::Member("prompt_cache_key"), of: KeyOf::Conversation })
    }

    /// Its streams always report usage, so `stream_options` is dropped.
    fn generate(&self, target: &Target<'_>, ask: &ModelRequest<'_>) -> Result<Outgoing, Box<Fault>> {
        let lacking = [
            ServerFeature::UnknownFields,
            ServerFeature::StreamOptions,
            ServerFeature::MaxCompletionTokens,
            ServerFeature::DeveloperRole,
        ];
        let quirks = lacking.into_iter().fold(target.quirks, |quirks, of| quirks.lacking(of));
        let supported = if ask.operation == Operation::Embed { &EMBEDDINGS } else { &CHAT };
        let target = Target { quirks, ..*target };
        compatible::generate_for(&target, ask, self.grammars(ask.operation, target.upstream_model), supported)
    }

    /// Unknown models are reported as bad requests, and models without free capacity as rate limits.
    fn classify(&self, status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified {
        let mut classified = classify::classify(status, headers, body, provider);
        match classified.report.kind.as_deref() {
            Some("invalid_model") if status < 500 => classified.class = FaultClass::UpstreamNotFound,
            Some("service_tier_capacity_exceeded") => classified.class = FaultClass::Overloaded,
            _ => {}
        }
        classified
    }
}
