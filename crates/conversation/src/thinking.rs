//! Extended thinking of Claude, as two dialects have it: its fields read, and those that a request gets chosen.

use domain::prompt::{
    Aliased, Content, Effort, Extra, OutputFormat, Prompt, Role, ThinkingVisibility, ToolChoice,
};
use domain::{Abilities, Fault, Grammar, Thinking as Ability};
use serde::Serialize;

use crate::features::Feature;
use crate::losses::DroppedFields;
use crate::object::Object;

/// The `max_tokens` to send if neither the client nor the model sets one: Anthropic requires the field.
pub const TOKENS_DEFAULT: u64 = 4096;
/// Anthropic rejects thinking together with a smaller `top_p`.
pub const THINKING_TOP_P_MIN: f64 = 0.95;

/// The smallest thinking budget that Anthropic accepts.
const BUDGET_MIN: u64 = 1024;

/// Keeps one of `temperature` and `top_p`, which Claude refuses together. One that says its default, 1, can be left out
/// without a loss; of two others, the temperature stays.
pub fn keep_one_sampling<T>(
    temperature: &mut Option<T>,
    top_p: &mut Option<T>,
    value: impl Fn(&T) -> f64,
    losses: &mut DroppedFields,
) {
    let (Some(first), Some(second)) = (&*temperature, &*top_p) else { return };
    let (first, second) = (value(first), value(second));
    if second == 1.0 {
        *top_p = None;
    } else if first == 1.0 {
        *temperature = None;
    } else {
        losses.drop_feature(Feature::TopP);
        *top_p = None;
    }
}

#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Thinking {
    pub r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display: Option<&'static str>,
}

/// The thinking to request, before the output limit is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Plan {
    mode: Mode,
    effort: Option<Effort>,
    visibility: Option<ThinkingVisibility>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Mode {
    #[default]
    Unset,
    Disabled,
    Adaptive,
    Budget(u64),
}

/// Chooses the thinking mode. `own` is the dialect whose signatures are valid at the upstream.
pub fn plan(prompt: &Prompt, abilities: &Abilities, own: Grammar, losses: &mut DroppedFields) -> Plan {
    let reasoning = &prompt.reasoning;
    let mut plan = Plan { mode: Mode::Unset, effort: None, visibility: reasoning.visibility };
    let is_off = reasoning.effort == Some(Effort::None) || reasoning.budget_tokens == Some(0);
    let is_requested =
        reasoning.effort.is_some() || reasoning.budget_tokens.is_some() || reasoning.is_adaptive;
    let wants_to_see =
        matches!(reasoning.visibility, Some(ThinkingVisibility::Summary | ThinkingVisibility::Full));
    if abilities.thinking == Ability::Never || is_off {
        if !is_off && is_requested {
            losses.drop_feature(Feature::Reasoning);
        }
        if !is_off && wants_to_see {
            losses.drop_feature(Feature::VisibleReasoning);
        }
        plan.mode =
            if is_requested && abilities.thinking != Ability::Never { Mode::Disabled } else { Mode::Unset };
        return plan;
    }
    if !is_requested {
        // A request to see thinking does not enable it.
        if wants_to_see {
            losses.drop_feature(Feature::VisibleReasoning);
        }
        return plan;
    }
    choose(prompt, abilities, &mut plan, losses);
    // Anthropic rejects thinking together with a forced tool choice, but accepts an effort.
    if is_forced(prompt) {
        losses.drop_feature(Feature::Reasoning);
        plan.mode = Mode::Unset;
    } else if matches!(plan.mode, Mode::Budget(_)) && is_in_unsigned_tool_loop(prompt, own) {
        losses.drop_feature(Feature::Reasoning);
        plan = Plan::default();
    }
    plan
}

fn choose(prompt: &Prompt, abilities: &Abilities, plan: &mut Plan, losses: &mut DroppedFields) {
    let reasoning = &prompt.reasoning;
    match (abilities.thinking, reasoning.budget_tokens) {
        (Ability::Effort, Some(budget)) => {
            losses.drop_feature(Feature::ThinkingBudget);
            plan.mode = Mode::Adaptive;
            plan.effort = Some(reasoning.effort.unwrap_or(Effort::of_budget(budget)));
        }
        (Ability::Budget, budget) => {
            let effort = reasoning.effort.unwrap_or(Effort::Medium);
            plan.mode = Mode::Budget(budget.unwrap_or(effort.budget()));
        }
        (_, Some(budget)) => {
            plan.mode = Mode::Budget(budget);
            plan.effort = reasoning.effort;
        }
        (_, None) => {
            plan.mode = Mode::Adaptive;
            plan.effort = reasoning.effort;
        }
    }
}

fn is_forced(prompt: &Prompt) -> bool {
    matches!(
        prompt.tool_choice,
        Some(ToolChoice::Required | ToolChoice::Named { .. } | ToolChoice::Allowed { is_required: true, .. })
    )
}

/// Whether the conversation is inside a tool loop that started without a thinking block: Anthropic rejects
/// thinking that is switched on there. What the user adds behind the results does not end the loop.
fn is_in_unsigned_tool_loop(prompt: &Prompt, own: Grammar) -> bool {
    let mut latest = prompt.turns.iter().rev().skip_while(|turn| turn.role != Role::Assistant);
    let mut since = prompt.turns.iter().rev().take_while(|turn| turn.role != Role::Assistant);
    let is_in_loop = since.any(|turn| turn.role == Role::Tool);
    let is_sealed = |content: &Content| {
        matches!(content, Content::Thought(thought)
        if thought.signature.as_ref().is_some_and(|signature| signature.grammar == own))
    };
    is_in_loop && latest.next().is_some_and(|turn| !turn.parts.iter().any(|part| is_sealed(&part.content)))
}

impl Plan {
    /// The most that thinking may take of the output limit.
    pub const fn budget(&self) -> u64 {
        match self.mode {
            Mode::Budget(tokens) => tokens,
            _ => 0,
        }
    }

    /// The `thinking` parameter that fits the output limit, and the effort.
    pub fn within(
        self,
        tokens_max: u64,
        losses: &mut DroppedFields,
    ) -> (Option<Thinking>, Option<&'static str>) {
        let display = self.visibility.and_then(|visibility| match visibility {
            ThinkingVisibility::Nothing => Some("omitted"),
            ThinkingVisibility::Summary | ThinkingVisibility::Full => Some("summarized"),
            ThinkingVisibility::Unasked => None,
        });
        let build = |r#type, budget_tokens| Some(Thinking { r#type, budget_tokens, display });
        let thinking = match self.mode {
            Mode::Unset => None,
            Mode::Disabled => Some(Thinking { r#type: "disabled", budget_tokens: None, display: None }),
            Mode::Adaptive => build("adaptive", None),
            Mode::Budget(_) if tokens_max <= BUDGET_MIN => {
                losses.drop_feature(Feature::Reasoning);
                return (None, None);
            }
            Mode::Budget(budget) => build("enabled", Some(budget.clamp(BUDGET_MIN, tokens_max - 1))),
        };
        let effort = self.effort.map(|effort| match effort {
            Effort::None | Effort::Minimal => Effort::Low.as_str(),
            other => other.as_str(),
        });
        (thinking, effort)
    }
}

pub fn read_thinking(whole: &mut Object<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    let Some(mut thinking) = whole.object("thinking")? else { return Ok(()) };
    prompt.aliases.add(Aliased::Reasoning, thinking_name(whole));
    let kind = thinking.need("type", "Give thinking a type: enabled, adaptive or disabled.")?;
    let kind_text = kind.text()?;
    match &*kind_text {
        "enabled" => {
            let budget = thinking.need("budget_tokens", "Send the maximum number of thinking tokens.")?;
            prompt.reasoning.budget_tokens = Some(budget.count()?);
        }
        "disabled" => prompt.reasoning.effort = Some(Effort::None),
        "adaptive" => prompt.reasoning.is_adaptive = true,
        "between_tools" => {
            prompt.reasoning.is_adaptive = true;
            prompt.extras.push(Extra { name: kind.path, affects_answer: false });
        }
        _ => return Err(kind.unknown("enabled, adaptive, between_tools and disabled")),
    }
    // Whether thinking is shown by default depends on the Anthropic model, and here another vendor's model
    // answers. So a client that pays for thinking gets to see it unless it opts out.
    let default = (kind_text != "disabled").then_some(ThinkingVisibility::Unasked);
    prompt.reasoning.visibility = match thinking.take("display")? {
        None => default,
        Some(display) => match &*display.text()? {
            "summarized" => Some(ThinkingVisibility::Summary),
            "omitted" => Some(ThinkingVisibility::Nothing),
            // Betas add further displays, such as Claude Code's `updates`. They don't change the thinking
            // itself.
            _ => {
                prompt.extras.push(Extra { name: display.path, affects_answer: false });
                default
            }
        },
    };
    // `budget_tokens` is dropped beside any type but `enabled`, as are fields that betas add.
    thinking.leave(&["budget_tokens", "keep", "turns"], &mut prompt.extras);
    Ok(())
}

/// The name that the client knows it by: Converse nests these fields one object deeper.
fn thinking_name(whole: &Object<'_>) -> &'static str {
    if whole.path.is_empty() { "thinking" } else { "additionalModelRequestFields.thinking" }
}

fn effort_name(whole: &Object<'_>) -> &'static str {
    if whole.path.is_empty() {
        "output_config.effort"
    } else {
        "additionalModelRequestFields.output_config.effort"
    }
}

/// Called after `read_thinking`: an effort doesn't re-enable thinking that was disabled.
pub fn read_output_config(whole: &mut Object<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    // The field's name in the structured outputs beta.
    if let Some(format) = whole.object("output_format")? {
        prompt.output.format = Some(read_format(format, prompt)?);
    }
    let Some(mut config) = whole.object("output_config")? else { return Ok(()) };
    if let Some(effort) = config.take("effort")? {
        prompt.aliases.add(Aliased::Reasoning, effort_name(whole));
        let Some(known) = Effort::of(&effort.text()?) else {
            return Err(effort.unknown("low, medium, high, xhigh and max"));
        };
        match prompt.reasoning.effort {
            Some(_) => prompt.extras.push(Extra { name: effort.path, affects_answer: false }),
            None => prompt.reasoning.effort = Some(known),
        }
    }
    if let Some(format) = config.object("format")? {
        prompt.output.format = Some(read_format(format, prompt)?);
    }
    config.leave(&["task_budget"], &mut prompt.extras);
    Ok(())
}

fn read_format(mut format: Object<'_>, prompt: &mut Prompt) -> Result<OutputFormat, Box<Fault>> {
    let kind = format.need("type", "Give the format its type: json_schema.")?;
    if kind.text()? != "json_schema" {
        return Err(kind.unknown("json_schema"));
    }
    let schema = format.need("schema", "Send the JSON Schema of the answer.")?.object_json()?;
    format.leave(&[], &mut prompt.extras);
    Ok(OutputFormat::JsonSchema { name: None, description: None, schema, strict: None })
}
