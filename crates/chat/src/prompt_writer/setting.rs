//! Settings that Chat Completions expresses differently, or not at all.

use conversation::features::Feature;
use conversation::losses::DroppedFields;
use conversation::target::TargetModel;
use domain::prompt::{Effort, ThinkingVisibility};
use domain::{Abilities, Fault, FaultClass, Prompt, Thinking};
use json::find_member;

use super::body::{CacheOptions, Raw, lifetime};
use crate::limits::STOP_SEQUENCES_MAX;

/// The output token limit, under the newer name (`max_completion_tokens`) or the older one (`max_tokens`).
pub(super) fn length(
    prompt: &Prompt,
    target: &TargetModel<'_>,
    losses: &mut DroppedFields,
) -> (Option<u64>, Option<u64>) {
    if prompt.sampling.top_k.is_some() {
        losses.drop_feature(Feature::TopK);
    }
    if prompt.caching.content.is_some() {
        losses.drop_feature(Feature::CachedContent);
    }
    let length = target.tokens_max(prompt);
    if target.abilities.uses_max_tokens { (None, length) } else { (length, None) }
}

/// `temperature` and `top_p`, which some models refuse at any value.
pub(super) fn drawing<'a>(
    prompt: &'a Prompt,
    abilities: &Abilities,
    losses: &mut DroppedFields,
) -> (Option<Raw<'a>>, Option<Raw<'a>>) {
    let sampling = &prompt.sampling;
    if !abilities.refuses_sampling {
        return (sampling.temperature.as_ref().map(Raw), sampling.top_p.as_ref().map(Raw));
    }
    for (feature, value) in [(Feature::Temperature, &sampling.temperature), (Feature::TopP, &sampling.top_p)]
    {
        if value.is_some() {
            losses.drop_feature(feature);
        }
    }
    (None, None)
}

pub(super) fn stop<'a>(prompt: &'a Prompt, losses: &DroppedFields) -> Result<&'a [String], Box<Fault>> {
    let stop = prompt.sampling.stop.as_slice();
    if stop.len() <= STOP_SEQUENCES_MAX {
        return Ok(stop);
    }
    let name = losses.own_name(Feature::Stop).unwrap_or("stop");
    let message = format!(
        "\"{name}\" has {} stop sequences, but the model chosen for this request takes at most {STOP_SEQUENCES_MAX}.",
        stop.len()
    );
    let fault = Fault::new(FaultClass::Unsupported, "unsupported_value", message);
    Err(Box::new(fault.fix(format!("Send at most {STOP_SEQUENCES_MAX}.")).param(name)))
}

/// Text is always one of the modalities.
pub(super) fn modalities(prompt: &Prompt) -> Vec<&str> {
    match prompt.output.modalities.as_slice() {
        [] => Vec::new(),
        others => std::iter::once("text").chain(others.iter().map(String::as_str)).collect(),
    }
}

/// Voice and format, where they are in OpenAI's form.
pub(super) fn audio<'a>(prompt: &'a Prompt, losses: &mut DroppedFields) -> Option<Raw<'a>> {
    let audio = prompt.output.audio.as_ref()?;
    let has = |name| matches!(find_member(audio.as_str().as_bytes(), name), Ok(Some(_)));
    if has("voice") && has("format") {
        return Some(Raw(audio));
    }
    losses.drop_feature(Feature::SpokenAudio);
    None
}

pub(super) fn effort(
    prompt: &Prompt,
    abilities: &Abilities,
    losses: &mut DroppedFields,
) -> Option<&'static str> {
    let reasoning = &prompt.reasoning;
    if reasoning.wants_encrypted {
        losses.drop_feature(Feature::EncryptedReasoning);
    }
    if matches!(reasoning.visibility, Some(ThinkingVisibility::Summary | ThinkingVisibility::Full)) {
        losses.drop_feature(Feature::VisibleReasoning);
    }
    if reasoning.effort.is_some() && reasoning.budget_tokens.is_some() {
        losses.drop_feature(Feature::ThinkingBudget);
    }
    let effort = reasoning.effort.or_else(|| reasoning.budget_tokens.map(Effort::of_budget))?;
    if abilities.thinking == Thinking::Never {
        // No reasoning is what the model does anyway.
        if effort != Effort::None {
            losses.drop_feature(Feature::Reasoning);
        }
        return None;
    }
    Some(effort.as_str())
}

/// Without a lifetime it is what such servers do by default.
pub(super) fn caching(
    prompt: &Prompt,
    abilities: &Abilities,
    losses: &mut DroppedFields,
) -> Option<CacheOptions> {
    let mark = prompt.caching.automatic?;
    if abilities.cache_marks {
        return Some(CacheOptions { mode: "implicit", ttl: mark.lifetime.map(lifetime) });
    }
    if mark.lifetime.is_some() {
        losses.drop_feature(Feature::CacheMark);
    }
    None
}
