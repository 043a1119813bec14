//! Writes a canonical prompt as a Gemini request.

mod contents;
mod generation;
mod tools;

use conversation::constraints::Single;
use conversation::features::Feature;
use conversation::losses::DroppedFields;
use conversation::target::TargetModel;
use domain::prompt::ServiceTier;
use domain::{Fault, Prompt};
use json::written::Pairs;
use serde::Serialize;

use self::contents::Conversation;
use self::generation::GenerationConfig;
use self::tools::{Tool, ToolConfig};
use super::wire::Content;
use crate::limits::LABEL_BYTES_MAX;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Content<'a>>,
    contents: Vec<Content<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<ToolConfig<'a>>,
    #[serde(skip_serializing_if = "GenerationConfig::is_empty")]
    generation_config: GenerationConfig<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Pairs<Vec<(String, String)>>>,
}

pub fn write_prompt(
    prompt: &Prompt,
    target: &TargetModel<'_>,
    losses: &mut DroppedFields,
) -> Result<Vec<u8>, Box<Fault>> {
    let Conversation { system_instruction, contents } = contents::write(prompt, target, losses)?;
    let body = Body {
        system_instruction,
        contents,
        tools: tools::write(prompt, losses)?,
        tool_config: tools::choice(prompt),
        generation_config: generation::write(prompt, target, losses)?,
        cached_content: prompt.caching.content.as_deref(),
        service_tier: prompt.service_tier.and_then(tier),
        store: prompt.store,
        labels: labels(prompt, losses),
    };
    lose_the_rest(prompt, losses);
    serde_json::to_vec(&body).map_err(|_| Box::new(Fault::internal()))
}

/// `Auto` is Google's default, so nothing is sent for it.
const fn tier(tier: ServiceTier) -> Option<&'static str> {
    match tier {
        ServiceTier::Auto => None,
        ServiceTier::Default => Some("standard"),
        ServiceTier::Flex => Some("flex"),
        ServiceTier::Priority => Some("priority"),
    }
}

/// Keeps the metadata that are valid labels: with an invalid one Google would reject the request.
fn labels(prompt: &Prompt, losses: &mut DroppedFields) -> Option<Pairs<Vec<(String, String)>>> {
    let is_plain = |text: &str| {
        let plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
        text.len() <= LABEL_BYTES_MAX && text.bytes().all(plain)
    };
    let mut labels = Vec::new();
    for (name, value) in &prompt.metadata {
        if name.starts_with(|first: char| first.is_ascii_lowercase()) && is_plain(name) && is_plain(value) {
            labels.push((name.clone(), value.clone()));
        } else {
            losses.drop_feature(Feature::Metadata);
        }
    }
    (!labels.is_empty()).then_some(Pairs(labels))
}

/// Records what has no equivalent in Gemini at all.
fn lose_the_rest(prompt: &Prompt, losses: &mut DroppedFields) {
    let caching = &prompt.caching;
    let parts = prompt.turns.iter().flat_map(|turn| &turn.parts);
    for part in parts.filter(|part| part.cache.is_some()) {
        losses.drop_in(Feature::CacheMark, &part.path);
    }
    let has_marks = prompt.instructions.iter().any(|instruction| instruction.cache.is_some())
        || prompt.tools.iter().any(|tool| tool.cache.is_some())
        || caching.automatic.is_some();
    losses.drop_used([
        (has_marks, Feature::CacheMark),
        (caching.key.is_some(), Feature::CacheKey),
        (caching.retention.is_some(), Feature::CacheRetention),
        (Single::of(prompt) == Single::Hint, Feature::SingleToolCalls),
        (prompt.sampling.logit_bias.is_some(), Feature::LogitBias),
        (prompt.output.prediction.is_some(), Feature::Prediction),
        (prompt.output.verbosity.is_some(), Feature::Verbosity),
        (prompt.end_user.is_some(), Feature::EndUser),
        (prompt.turns.iter().any(|turn| turn.name.is_some()), Feature::ParticipantName),
    ]);
}
