//! The `thinking` option, and Anthropic's checks of thinking blocks that a conversation sends back.

use serde_json::{Map, Value};

use super::checks::{self, Field, Need::*, Shape::*, join};
use super::error::Refusal;
use super::models::Thinks;
use super::sign::Seal;
use super::turns::{MessageContent, Turn};

const BUDGET_TOKENS_MIN: i64 = 1024;
const KIND: Field = ("type", Text, Required);
/// `updates` is a beta value that Claude Code requests.
const DISPLAY: Field = ("display", OneOf(&["summarized", "omitted", "updates"]), Nullable);
const KINDS: &[(&str, &[Field])] = &[
    ("adaptive", &[KIND, DISPLAY]),
    ("between_tools", &[KIND]),
    ("disabled", &[KIND]),
    ("enabled", &[KIND, DISPLAY, ("budget_tokens", Integer(BUDGET_TOKENS_MIN), Required)]),
];

/// The thinking settings of a response.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Thinking {
    pub(crate) on: bool,
    /// Always thinks, so that each of its turns begins with a thinking block.
    always: bool,
    pub(crate) budget_tokens: Option<u64>,
    /// Sends no thinking text, only signatures.
    pub(crate) omitted: bool,
}

/// Parses `thinking` and rejects conflicting parameters.
pub(crate) fn read(
    fields: &Map<String, Value>,
    thinks: Thinks,
    also: &[String],
) -> Result<Thinking, Refusal> {
    let Some(value) = fields.get("thinking") else { return Ok(Thinking::default()) };
    let config = checks::object("thinking", value)?;
    let kind = checks::variant("thinking", config, KINDS, also)?;
    if !thinks.takes(kind) {
        return Err(untaken(kind));
    }
    let thinking = Thinking {
        on: kind != "disabled",
        always: kind == "enabled",
        budget_tokens: config.get("budget_tokens").and_then(Value::as_u64),
        omitted: config.get("display") == Some(&Value::from("omitted")),
    };
    let tokens_max = fields.get("max_tokens").and_then(Value::as_u64).unwrap_or(u64::MAX);
    if thinking.budget_tokens.is_some_and(|budget| budget >= tokens_max) {
        return Err(Refusal::bad("`max_tokens` must be greater than `thinking.budget_tokens`."));
    }
    let choice = fields.get("tool_choice").and_then(|choice| choice.get("type")).and_then(Value::as_str);
    if thinking.on && matches!(choice, Some("any" | "tool")) {
        return Err(Refusal::bad("Thinking may not be enabled when tool_choice forces tool use."));
    }
    Ok(thinking)
}

fn untaken(kind: &str) -> Refusal {
    match kind {
        "enabled" => Refusal::bad(
            "\"thinking.type.enabled\" is not supported for this model. Use \"thinking.type.adaptive\" and \
             \"output_config.effort\" to control thinking behavior.",
        ),
        kind => Refusal::bad(format!("{kind} thinking is not supported on this model")),
    }
}

/// Rejects thinking blocks that Anthropic did not generate, and changes to those of the latest assistant
/// turn.
pub(crate) fn check_replay(turns: &[Turn<'_>], thinking: Thinking) -> Result<(), Refusal> {
    let all = turns.iter().flat_map(|turn| &turn.blocks).filter(|block| block.is_thinking());
    all.map(seal).try_for_each(|seal| seal.map(|_| ()))?;
    let Some(latest) = turns.iter().rposition(|turn| turn.role == "assistant") else { return Ok(()) };
    let Some(turn) = turns.get(latest) else { return Ok(()) };
    let followed = turns.get(latest + 1).and_then(|turn| turn.blocks.first());
    let unfinished = followed.is_none_or(|block| block.kind == "tool_result");
    match turn.blocks.first() {
        Some(first) if thinking.always && unfinished && !first.is_thinking() => Err(thoughtless(first)),
        _ => check_unchanged(turn),
    }
}

fn seal(block: &MessageContent<'_>) -> Result<Seal, Refusal> {
    let field = if block.kind == "thinking" { "signature" } else { "data" };
    Seal::read(block.field(field))
        .ok_or_else(|| Refusal::at(&block.path(), format!("Invalid `{field}` in `{}` block", block.kind)))
}

fn thoughtless(first: &MessageContent<'_>) -> Refusal {
    Refusal::at(
        &join(&first.path(), "type"),
        format!(
            "Expected `thinking` or `redacted_thinking`, but found `{}`. When `thinking` is enabled, a final \
             `assistant` message must start with a thinking block (preceding the lastmost set of `tool_use` and \
             `tool_result` blocks). To avoid this requirement, disable `thinking`.",
            first.kind
        ),
    )
}

/// All thinking blocks of a response must be present, in order and with their text.
fn check_unchanged(turn: &Turn<'_>) -> Result<(), Refusal> {
    let mut before: Option<(Seal, &MessageContent<'_>)> = None;
    for block in turn.blocks.iter().filter(|block| block.is_thinking()) {
        let seal = seal(block)?;
        let follows = match before {
            Some((last, _)) if last.index + 1 < last.count => {
                (seal.answer, seal.index) == (last.answer, last.index + 1)
            }
            _ => seal.index == 0,
        };
        let whole = block.kind != "thinking" || seal.vouches_for(block.field("thinking"));
        if !(follows && whole) {
            return Err(modified_error(block));
        }
        before = Some((seal, block));
    }
    match before {
        Some((last, block)) if last.index + 1 < last.count => Err(modified_error(block)),
        _ => Ok(()),
    }
}

fn modified_error(block: &MessageContent<'_>) -> Refusal {
    Refusal::at(
        &block.path(),
        "`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified. These blocks \
         must remain as they were in the original response.",
    )
}
