//! Writes a canonical prompt as an Anthropic request. What has no equivalent is recorded in `losses`.

use std::borrow::Cow;

use conversation::calls::with_member;
use conversation::claude_schema::supported;
use conversation::features::Feature;
use conversation::losses::{DroppedFields, of_messages, of_sampling};
use conversation::target::TargetModel;
use conversation::thinking;
use conversation::thinking::{Plan, THINKING_TOP_P_MIN, TOKENS_DEFAULT};
use domain::prompt::{Json, Output, OutputFormat, Prompt, Sampling, ServiceTier};
use domain::{Fault, Grammar};

use super::marks;
use super::tools::{write_choice, write_tools};
use super::turns::{write_instructions, write_turns};
use super::wire::{Body, Format, Mark, Metadata, OutputConfig, Raw, RawCow};

/// # Errors
/// A call's arguments are not a JSON object, a tool has a name that Anthropic rejects, or calls and results
/// don't pair up.
pub fn write_prompt(
    prompt: &Prompt,
    target: &TargetModel<'_>,
    losses: &mut DroppedFields,
) -> Result<Vec<u8>, Box<Fault>> {
    let (tools, names) = write_tools(prompt, losses)?;
    let tool_choice = write_choice(prompt, &names, losses);
    let plan = thinking::plan(prompt, &target.abilities, Grammar::Anthropic, losses);
    let max_tokens = tokens_max(prompt, target, &plan);
    let (thinking, effort) = plan.within(max_tokens, losses);
    let mut body = Body {
        model: target.model,
        max_tokens,
        system: write_instructions(prompt),
        messages: write_turns(prompt, target.abilities, losses)?,
        tools,
        tool_choice,
        stop_sequences: write_stop(&prompt.sampling, losses),
        output_config: OutputConfig { effort, format: write_format(&prompt.output, losses) },
        service_tier: write_tier(prompt, losses),
        metadata: prompt.end_user.as_deref().map(|user_id| Metadata { user_id }),
        cache_control: prompt.caching.automatic.map(Mark::of),
        stream: prompt.stream,
        ..Body::default()
    };
    let thinks = thinking.as_ref().is_some_and(|thinking| thinking.r#type != "disabled");
    body.thinking = thinking;
    write_sampling(&mut body, &prompt.sampling, thinks, target.abilities.refuses_sampling, losses);
    marks::keep_rules(&mut body, losses);
    lose_rest(prompt, losses);
    serde_json::to_vec(&body).map_err(|_| Box::new(Fault::internal()))
}

fn tokens_max(prompt: &Prompt, target: &TargetModel<'_>, plan: &Plan) -> u64 {
    let most = target.abilities.output_tokens_max;
    target.tokens_max(prompt).or(most).unwrap_or_else(|| TOKENS_DEFAULT.saturating_add(plan.budget()))
}

fn write_stop<'a>(sampling: &'a Sampling, losses: &mut DroppedFields) -> Vec<&'a str> {
    let stop: Vec<&str> =
        sampling.stop.iter().map(String::as_str).filter(|stop| !stop.trim().is_empty()).collect();
    if stop.len() < sampling.stop.len() {
        losses.drop_aspect(Feature::Stop);
    }
    stop
}

/// Anthropic accepts temperatures from 0 to 1, with thinking only its default sampling parameters, and never
/// `temperature` beside `top_p`.
fn write_sampling<'a>(
    body: &mut Body<'a>,
    sampling: &'a Sampling,
    thinks: bool,
    is_refused: bool,
    losses: &mut DroppedFields,
) {
    let temperature = sampling.temperature.as_ref().map(|temperature| (temperature, number(temperature)));
    match temperature {
        Some((_, value)) if is_refused || (thinks && value != 1.0) => {
            losses.drop_feature(Feature::Temperature)
        }
        Some((written, value)) => {
            let clamped = if value > 1.0 {
                Some("1")
            } else if value < 0.0 {
                Some("0")
            } else {
                None
            };
            if clamped.is_some() {
                losses.drop_feature(Feature::Temperature);
            }
            body.temperature = Some(Raw(clamped.unwrap_or(written.as_str())));
        }
        None => {}
    }
    match &sampling.top_p {
        Some(top_p) if is_refused || (thinks && number(top_p) < THINKING_TOP_P_MIN) => {
            losses.drop_feature(Feature::TopP);
        }
        top_p => body.top_p = top_p.as_ref().map(|top_p| Raw(top_p.as_str())),
    }
    thinking::keep_one_sampling(&mut body.temperature, &mut body.top_p, |raw| decimal(raw.0), losses);
    match sampling.top_k {
        Some(_) if is_refused || thinks => losses.drop_feature(Feature::TopK),
        top_k => body.top_k = top_k,
    }
}

fn number(json: &Json) -> f64 {
    decimal(json.as_str())
}

fn decimal(written: &str) -> f64 {
    written.trim().parse().unwrap_or(0.0)
}

fn write_format<'a>(output: &'a Output, losses: &mut DroppedFields) -> Option<Format<'a>> {
    match output.format.as_ref()? {
        OutputFormat::Text => None,
        OutputFormat::JsonObject => {
            losses.drop_feature(Feature::JsonObject);
            None
        }
        OutputFormat::JsonSchema { description, schema, .. } => {
            let (schema, is_lossy) = supported(schema.as_str());
            if is_lossy {
                losses.drop_aspect(Feature::JsonSchema);
            }
            let schema = match description {
                Some(description) => Cow::Owned(with_description(&schema, description).into_owned()),
                None => schema,
            };
            Some(Format { r#type: "json_schema", schema: RawCow(schema) })
        }
    }
}

/// Anthropic has no field for the format's description, so it goes into the schema.
fn with_description<'a>(schema: &'a str, description: &str) -> Cow<'a, str> {
    let quoted = serde_json::to_string(description).unwrap_or_default();
    with_member(schema, "description", &quoted)
}

fn write_tier(prompt: &Prompt, losses: &mut DroppedFields) -> Option<&'static str> {
    match prompt.service_tier? {
        ServiceTier::Auto => Some("auto"),
        ServiceTier::Default => Some("standard_only"),
        // Anthropic uses priority capacity bought in advance under `auto`; a request cannot demand it.
        ServiceTier::Flex | ServiceTier::Priority => {
            losses.drop_feature(Feature::ServiceTier);
            None
        }
    }
}

fn lose_rest(prompt: &Prompt, losses: &mut DroppedFields) {
    losses.drop_used(of_sampling(prompt));
    losses.drop_used(of_messages(prompt));
    losses.drop_used([
        // Only `store: true` is lost: Anthropic stores nothing anyway.
        (prompt.store == Some(true), Feature::Store),
        (!prompt.metadata.is_empty(), Feature::Metadata),
        (prompt.turns.iter().any(|turn| turn.name.is_some()), Feature::ParticipantName),
    ]);
}

/// Whether a signature or a file is Anthropic's own.
pub(super) fn is_own(grammar: Grammar) -> bool {
    grammar == Grammar::Anthropic
}
