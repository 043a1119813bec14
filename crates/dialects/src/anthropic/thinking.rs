//! Extended thinking: chooses the `thinking` and `effort` parameters that a request to Claude gets.

use domain::prompt::{Content, Effort, Prompt, Role, ThinkingVisibility, ToolChoice};
use domain::{Abilities, Grammar, Thinking as Ability};

use super::wire::Thinking;
use crate::losses::{DroppedFields, Feature};

/// The smallest thinking budget that Anthropic accepts.
const BUDGET_MIN: u64 = 1024;

/// The thinking to request, before the output limit is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Plan {
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
pub(crate) fn plan(prompt: &Prompt, abilities: &Abilities, own: Grammar, losses: &mut DroppedFields) -> Plan {
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
            losses.drop_feature(Feature::ShownReasoning);
        }
        plan.mode =
            if is_requested && abilities.thinking != Ability::Never { Mode::Disabled } else { Mode::Unset };
        return plan;
    }
    if !is_requested {
        // A request to see thinking does not enable it.
        if wants_to_see {
            losses.drop_feature(Feature::ShownReasoning);
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
/// thinking that is switched on there.
fn is_in_unsigned_tool_loop(prompt: &Prompt, own: Grammar) -> bool {
    let mut latest = prompt.turns.iter().rev().skip_while(|turn| turn.role != Role::Assistant);
    let is_last_result = prompt.turns.last().is_some_and(|turn| turn.role == Role::Tool);
    let is_sealed = |content: &Content| {
        matches!(content, Content::Thought(thought)
        if thought.signature.as_ref().is_some_and(|signature| signature.grammar == own))
    };
    is_last_result
        && latest.next().is_some_and(|turn| !turn.parts.iter().any(|part| is_sealed(&part.content)))
}

impl Plan {
    /// The most that thinking may take of the output limit.
    pub(crate) const fn budget(&self) -> u64 {
        match self.mode {
            Mode::Budget(tokens) => tokens,
            _ => 0,
        }
    }

    /// The `thinking` parameter that fits the output limit, and the effort.
    pub(crate) fn within(
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
