//! Writes the inference parameters, the reasoning settings, the output format, the tier and the metadata.

use std::borrow::Cow;

use conversation::claude_schema::supported;
use conversation::constraints::Single;
use conversation::features::Feature;
use conversation::losses::DroppedFields;
use conversation::target::TargetModel;
use conversation::thinking::{self, THINKING_TOP_P_MIN, TOKENS_DEFAULT};
use domain::prompt::{Effort, Json, OutputFormat, Prompt, Sampling, ServiceTier, ThinkingVisibility};
use domain::{Abilities, Fault, Grammar, Thinking as Ability};
use json::written::{Pairs, checked};
use serde_json::value::RawValue;

use super::wire::{
    Additional, InferenceConfig, JsonSchema, OneCall, Structure, TextFormat, Tier, ToolConfig,
};
use crate::limits::{METADATA_CHARS_MAX, METADATA_PAIRS_MAX};

/// The reasoning settings of a request.
pub(super) struct Thought {
    /// Parameters for a single vendor's models (`additionalModelRequestFields`).
    pub additional: Option<Additional>,
    pub effort: Option<&'static str>,
    tokens_max: Option<u64>,
}

impl Thought {
    pub(super) fn of(prompt: &Prompt, target: &TargetModel<'_>, losses: &mut DroppedFields) -> Self {
        let most = target.abilities.output_tokens_max;
        let requested = target.tokens_max(prompt);
        let top_k = prompt.sampling.top_k;
        if !is_claude(target.model) {
            if top_k.is_some() {
                losses.drop_feature(Feature::TopK);
            }
            let effort = effort(prompt, target.abilities, losses);
            return Self { additional: None, effort, tokens_max: requested };
        }
        let plan = thinking::plan(prompt, &target.abilities, Grammar::Converse, losses);
        // Thinking counts towards `maxTokens`, so the limit must leave space for it.
        let needed =
            (plan.budget() > 0).then(|| most.unwrap_or(TOKENS_DEFAULT.saturating_add(plan.budget())));
        let tokens_max = requested.or(needed);
        let (thinking, effort) = plan.within(tokens_max.unwrap_or(u64::MAX), losses);
        let mut additional = Additional { thinking, top_k, tool_choice: None };
        if top_k.is_some() && (target.abilities.refuses_sampling || additional.thinks()) {
            losses.drop_feature(Feature::TopK);
            additional.top_k = None;
        }
        let has_fields = additional.has_fields();
        Self { additional: has_fields.then_some(additional), effort, tokens_max }
    }

    fn thinks(&self) -> bool {
        self.additional.as_ref().is_some_and(Additional::thinks)
    }
}

impl Additional {
    const fn has_fields(&self) -> bool {
        self.thinking.is_some() || self.top_k.is_some() || self.tool_choice.is_some()
    }

    fn thinks(&self) -> bool {
        self.thinking.as_ref().is_some_and(|thinking| thinking.r#type != "disabled")
    }
}

/// Whether the model takes Anthropic's own thinking parameters. Model ids on Bedrock start with the vendor,
/// after an optional region prefix.
pub(super) fn is_claude(model: &str) -> bool {
    model.contains("anthropic.claude")
}

/// Asks for one tool call at a time, for models whose vendor has a parameter for it.
pub(super) fn call_one(
    prompt: &Prompt,
    target: &TargetModel<'_>,
    config: Option<&ToolConfig<'_>>,
    additional: &mut Option<Additional>,
    losses: &mut DroppedFields,
) {
    let single = Single::of(prompt);
    let Some(config) = config.filter(|_| single != Single::Unasked) else { return };
    if is_claude(target.model) {
        let r#type = config.tool_choice.is_none().then_some("auto");
        let one = OneCall { r#type, disable_parallel_tool_use: true };
        additional.get_or_insert_default().tool_choice = Some(one);
    } else if single == Single::Hint {
        losses.drop_feature(Feature::SingleToolCalls);
    }
}

/// Models of other vendors take a reasoning effort only.
fn effort(prompt: &Prompt, abilities: Abilities, losses: &mut DroppedFields) -> Option<&'static str> {
    let reasoning = &prompt.reasoning;
    let effort = reasoning.effort.or_else(|| reasoning.budget_tokens.map(Effort::of_budget));
    if abilities.thinking == Ability::Never {
        if reasoning.is_adaptive || !matches!(effort, None | Some(Effort::None)) {
            losses.drop_feature(Feature::Reasoning);
        }
        return None;
    }
    if reasoning.visibility == Some(ThinkingVisibility::Nothing) {
        losses.drop_feature(Feature::VisibleReasoning);
    }
    if reasoning.effort.is_none() && reasoning.budget_tokens.is_some_and(|tokens| tokens > 0) {
        losses.drop_feature(Feature::ThinkingBudget);
    }
    match effort? {
        Effort::None => {
            losses.drop_feature(Feature::Reasoning);
            None
        }
        Effort::Minimal => Some(Effort::Low.as_str()),
        other => Some(other.as_str()),
    }
}

pub(super) fn inference<'a>(
    prompt: &'a Prompt,
    target: &TargetModel<'_>,
    thought: &Thought,
    losses: &mut DroppedFields,
) -> Result<InferenceConfig<'a>, Box<Fault>> {
    let sampling = &prompt.sampling;
    let stop_sequences: Vec<&str> =
        sampling.stop.iter().map(String::as_str).filter(|stop| !stop.is_empty()).collect();
    if stop_sequences.len() < sampling.stop.len() {
        losses.drop_aspect(Feature::Stop);
    }
    let refuses = target.abilities.refuses_sampling;
    let mut temperature = temperature(sampling, refuses, thought.thinks(), losses)?;
    let mut top_p = match &sampling.top_p {
        Some(top_p) if refuses || (thought.thinks() && number(top_p) < THINKING_TOP_P_MIN) => {
            losses.drop_feature(Feature::TopP);
            None
        }
        top_p => top_p.as_ref().map(|top_p| checked(top_p.as_str())).transpose()?,
    };
    if is_claude(target.model) {
        thinking::keep_one_sampling(&mut temperature, &mut top_p, |raw| decimal(raw.get()), losses);
    }
    Ok(InferenceConfig { max_tokens: thought.tokens_max, temperature, top_p, stop_sequences })
}

/// Bedrock accepts temperatures from 0 to 1.
fn temperature<'a>(
    sampling: &'a Sampling,
    refuses: bool,
    thinks: bool,
    losses: &mut DroppedFields,
) -> Result<Option<&'a RawValue>, Box<Fault>> {
    let Some(written) = &sampling.temperature else { return Ok(None) };
    let value = number(written);
    if refuses || (thinks && value != 1.0) {
        losses.drop_feature(Feature::Temperature);
        return Ok(None);
    }
    if (0.0..=1.0).contains(&value) {
        return checked(written.as_str()).map(Some);
    }
    losses.drop_feature(Feature::Temperature);
    checked(if value > 1.0 { "1" } else { "0" }).map(Some)
}

fn number(json: &Json) -> f64 {
    decimal(json.as_str())
}

fn decimal(written: &str) -> f64 {
    written.trim().parse().unwrap_or(0.0)
}

pub(super) fn format<'a>(
    prompt: &'a Prompt,
    target: &TargetModel<'_>,
    losses: &mut DroppedFields,
) -> Option<TextFormat<'a>> {
    match prompt.output.format.as_ref()? {
        OutputFormat::Text => None,
        OutputFormat::JsonObject => {
            losses.drop_feature(Feature::JsonObject);
            None
        }
        OutputFormat::JsonSchema { name, description, schema, .. } => {
            let (schema, is_lossy) = match is_claude(target.model) {
                true => supported(schema.as_str()),
                false => (Cow::Borrowed(schema.as_str()), false),
            };
            if is_lossy {
                losses.drop_aspect(Feature::JsonSchema);
            }
            let json_schema =
                JsonSchema { schema, name: name.as_deref(), description: description.as_deref() };
            Some(TextFormat { r#type: "json_schema", structure: Structure { json_schema } })
        }
    }
}

/// `Auto` is Bedrock's default, so nothing is sent for it.
pub(super) fn tier(prompt: &Prompt) -> Option<Tier> {
    let tier = prompt.service_tier.filter(|tier| *tier != ServiceTier::Auto)?;
    Some(Tier { r#type: tier.as_str() })
}

/// Keeps the metadata whose count, names and values Bedrock allows: with others it would reject the request.
pub(super) fn metadata<'a>(prompt: &'a Prompt, losses: &mut DroppedFields) -> Pairs<Vec<(&'a str, &'a str)>> {
    let may_stand = |text: &str| {
        let is_plain = |character: char| {
            character.is_ascii_alphanumeric()
                || character.is_ascii_whitespace()
                || ":_@$#=/+,-.".contains(character)
        };
        text.len() <= METADATA_CHARS_MAX && text.chars().all(is_plain)
    };
    let mut pairs = Vec::new();
    for (name, value) in &prompt.metadata {
        if pairs.len() < METADATA_PAIRS_MAX && !name.is_empty() && may_stand(name) && may_stand(value) {
            pairs.push((name.as_str(), value.as_str()));
        } else {
            losses.drop_feature(Feature::Metadata);
        }
    }
    Pairs(pairs)
}
