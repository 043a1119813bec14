//! Writes a Responses request from `Prompt`, the intermediate form.

use conversation::calls::Parameters;
use conversation::features::Feature;
use conversation::losses::DroppedFields;
use conversation::target::TargetModel;
use domain::prompt::{
    CacheLifetime, CacheMark, Effort, Instruction, OutputFormat, ServiceTier, ThinkingVisibility, Tool,
    ToolChoice, ToolKind,
};
use domain::{Fault, Json, Prompt, Thinking};
use json::written::Pairs;
use serde::Serialize;
use serde_json::value::RawValue;

use super::tools::HOSTED;
use super::write_items::{Item, Items, Part};

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<&'a str>,
    input: Vec<Item<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ToolBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<TextBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<ReasoningBody>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    include: Vec<&'static str>,
    store: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_retention: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    safety_identifier: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Pairs<&'a [(String, String)]>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ToolBody<'a> {
    Function {
        r#type: &'static str,
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        /// Present even where the tool takes nothing: the API requires it.
        parameters: Option<Parameters<'a>>,
        strict: bool,
    },
    Custom {
        r#type: &'static str,
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        format: Option<&'a RawValue>,
    },
    Hosted(&'a RawValue),
}

#[derive(Serialize)]
#[serde(untagged)]
enum Choice<'a> {
    Word(&'static str),
    Named(NamedTool<'a>),
    Allowed { r#type: &'static str, mode: &'static str, tools: Vec<NamedTool<'a>> },
}

#[derive(Serialize)]
struct NamedTool<'a> {
    r#type: &'static str,
    name: &'a str,
}

#[derive(Serialize)]
struct TextBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verbosity: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Format<'a> {
    Text,
    JsonObject,
    JsonSchema {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        schema: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        strict: Option<bool>,
    },
}

#[derive(Serialize)]
struct ReasoningBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'static str>,
}

pub fn write_prompt(
    prompt: &Prompt,
    target: &TargetModel<'_>,
    losses: &mut DroppedFields,
) -> Result<Vec<u8>, Box<Fault>> {
    lose_unsayable(prompt, losses);
    let (instructions, leading) = split_instructions(&prompt.instructions);
    let mut items = Items::new(&target.abilities);
    for instruction in leading {
        items.instruct(instruction, losses);
    }
    for turn in &prompt.turns {
        items.push_turn(turn, losses);
    }
    let reasoning = reasoning(prompt, target.abilities.thinking, losses);
    let (temperature, top_p) = sampling(prompt, target, losses);
    let body = Body {
        model: target.model,
        instructions,
        input: items.into_items(),
        tools: tools(prompt, losses),
        tool_choice: prompt.tool_choice.as_ref().map(|choice| self::choice(choice, &prompt.tools)),
        parallel_tool_calls: prompt.parallel_tools,
        max_output_tokens: target.tokens_max(prompt),
        temperature,
        top_p,
        top_logprobs: prompt.sampling.top_logprobs,
        text: text(prompt),
        include: include(prompt, reasoning.as_ref()),
        reasoning,
        // The API stores responses by default. A client of another dialect could not refer to a stored one,
        // so nothing is stored unless the client requests it.
        store: prompt.store.unwrap_or(false),
        stream: prompt.stream,
        service_tier: prompt.service_tier.map(ServiceTier::as_str),
        prompt_cache_key: prompt.caching.key.as_deref(),
        prompt_cache_retention: prompt.caching.retention.as_deref(),
        safety_identifier: prompt.end_user.as_deref(),
        metadata: (!prompt.metadata.is_empty()).then_some(Pairs(&*prompt.metadata)),
    };
    Ok(serde_json::to_vec(&body).unwrap_or_default())
}

/// Foreign JSON, written as it is.
pub(super) fn raw(json: &Json) -> Option<&RawValue> {
    serde_json::from_str(json.as_str()).ok()
}

fn lose_unsayable(prompt: &Prompt, losses: &mut DroppedFields) {
    let (sampling, output) = (&prompt.sampling, &prompt.output);
    for (is_set, feature) in [
        (sampling.choices.is_some_and(|choices| choices > 1), Feature::Choices),
        (sampling.seed.is_some(), Feature::Seed),
        (sampling.top_k.is_some(), Feature::TopK),
        (sampling.presence_penalty.is_some(), Feature::PresencePenalty),
        (sampling.frequency_penalty.is_some(), Feature::FrequencyPenalty),
        (sampling.logit_bias.is_some(), Feature::LogitBias),
        (!sampling.stop.is_empty(), Feature::Stop),
        (!output.modalities.is_empty(), Feature::Modalities),
        (output.audio.is_some(), Feature::SpokenAudio),
        (output.prediction.is_some(), Feature::Prediction),
        (prompt.caching.content.is_some(), Feature::CachedContent),
        (prompt.tools.iter().any(|tool| tool.cache.is_some()), Feature::CacheMark),
    ] {
        if is_set {
            losses.drop_feature(feature);
        }
    }
}

/// The first instruction goes into the `instructions` field, unless it is a developer message or has a cache
/// breakpoint.
fn split_instructions(instructions: &[Instruction]) -> (Option<&str>, &[Instruction]) {
    match instructions.split_first() {
        Some((first, rest)) if !first.is_developer && first.cache.is_none() => (Some(&first.text), rest),
        _ => (None, instructions),
    }
}

fn sampling<'a>(
    prompt: &'a Prompt,
    target: &TargetModel<'_>,
    losses: &mut DroppedFields,
) -> (Option<&'a RawValue>, Option<&'a RawValue>) {
    let sampling = &prompt.sampling;
    if !target.abilities.refuses_sampling {
        return (sampling.temperature.as_ref().and_then(raw), sampling.top_p.as_ref().and_then(raw));
    }
    for (feature, number) in [(Feature::Temperature, &sampling.temperature), (Feature::TopP, &sampling.top_p)]
    {
        if number.is_some() {
            losses.drop_feature(feature);
        }
    }
    (None, None)
}

fn reasoning(prompt: &Prompt, thinking: Thinking, losses: &mut DroppedFields) -> Option<ReasoningBody> {
    let requested = &prompt.reasoning;
    if requested.budget_tokens.is_some() {
        losses.drop_feature(Feature::ThinkingBudget);
    }
    let effort = requested.effort.or_else(|| requested.budget_tokens.map(Effort::of_budget));
    let wants_summary =
        matches!(requested.visibility, Some(ThinkingVisibility::Summary | ThinkingVisibility::Full));
    if effort.is_none() && !wants_summary {
        return None;
    }
    if thinking == Thinking::Never {
        if effort != Some(Effort::None) {
            losses.drop_feature(Feature::Reasoning);
        }
        return None;
    }
    // The API never returns full reasoning; a summary is the closest to it.
    Some(ReasoningBody { effort: effort.map(Effort::as_str), summary: wants_summary.then_some("auto") })
}

fn include(prompt: &Prompt, reasoning: Option<&ReasoningBody>) -> Vec<&'static str> {
    let mut include = Vec::new();
    let thinks = reasoning.is_some_and(|reasoning| reasoning.effort != Some(Effort::None.as_str()));
    // Where nothing is stored, reasoning can only continue if the client carries it.
    if prompt.reasoning.wants_encrypted || (thinks && prompt.store != Some(true)) {
        include.push("reasoning.encrypted_content");
    }
    if prompt.sampling.logprobs {
        include.push("message.output_text.logprobs");
    }
    include
}

fn tools<'a>(prompt: &'a Prompt, losses: &mut DroppedFields) -> Vec<ToolBody<'a>> {
    let tools = prompt.tools.iter().enumerate();
    tools.filter_map(|(index, tool)| tool_body(index, tool, losses)).collect()
}

fn tool_body<'a>(index: usize, tool: &'a Tool, losses: &mut DroppedFields) -> Option<ToolBody<'a>> {
    Some(match &tool.kind {
        ToolKind::Function { name, description, schema, strict } => ToolBody::Function {
            r#type: "function",
            name,
            description: description.as_deref(),
            parameters: schema.as_ref().map(Parameters),
            // Where it is omitted, the API makes schemas strict if it can, which the client did not request.
            strict: strict.unwrap_or(false),
        },
        ToolKind::Custom { name, description, format } => ToolBody::Custom {
            r#type: "custom",
            name,
            description: description.as_deref(),
            format: format.as_ref().and_then(raw),
        },
        ToolKind::Hosted { kind, json } => {
            let known = HOSTED.contains(&kind.as_str()).then(|| raw(json)).flatten();
            if known.is_none() {
                losses.drop_tool(index, &tool.kind);
            }
            ToolBody::Hosted(known?)
        }
    })
}

fn choice<'a>(choice: &'a ToolChoice, tools: &[Tool]) -> Choice<'a> {
    let named = |name: &'a str, is_custom: bool| NamedTool {
        r#type: if is_custom { "custom" } else { "function" },
        name,
    };
    match choice {
        ToolChoice::Auto => Choice::Word("auto"),
        ToolChoice::None => Choice::Word("none"),
        ToolChoice::Required => Choice::Word("required"),
        ToolChoice::Named { name, is_custom } => Choice::Named(named(name, *is_custom)),
        ToolChoice::Allowed { names, is_required } => Choice::Allowed {
            r#type: "allowed_tools",
            mode: if *is_required { "required" } else { "auto" },
            tools: names.iter().map(|name| named(name, is_custom(name, tools))).collect(),
        },
    }
}

fn is_custom(wanted: &str, tools: &[Tool]) -> bool {
    tools.iter().any(|tool| matches!(&tool.kind, ToolKind::Custom { name, .. } if name == wanted))
}

fn text(prompt: &Prompt) -> Option<TextBody<'_>> {
    let output = &prompt.output;
    let format = output.format.as_ref().map(|format| match format {
        OutputFormat::Text => Format::Text,
        OutputFormat::JsonObject => Format::JsonObject,
        OutputFormat::JsonSchema { name, description, schema, strict } => Format::JsonSchema {
            // The API requires a name, and only the model reads it.
            name: name.as_deref().unwrap_or("response"),
            description: description.as_deref(),
            schema: raw(schema),
            strict: *strict,
        },
    });
    let verbosity = output.verbosity.as_deref();
    (format.is_some() || verbosity.is_some()).then_some(TextBody { format, verbosity })
}

/// A cache breakpoint on a part of the prompt.
#[derive(Serialize)]
pub(super) struct Breakpoint {
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'static str>,
}

impl Breakpoint {
    /// OpenAI has two lifetimes: the shorter one is used unless the longer was requested, since they are
    /// billed differently.
    pub(super) fn of(mark: CacheMark) -> Self {
        let ttl = mark.lifetime.map(|lifetime| match lifetime {
            CacheLifetime::Minutes5 | CacheLifetime::Minutes30 | CacheLifetime::Hour1 => "30m",
            CacheLifetime::Hours12 => "12h",
        });
        Self { mode: "explicit", ttl }
    }
}

/// A text as an input part, with its cache breakpoint.
pub(super) fn input_text(text: &str, mark: Option<Breakpoint>) -> Part<'_> {
    Part::InputText { text: text.into(), prompt_cache_breakpoint: mark }
}
