//! Anthropic's conversation checks: roles, empty turns, and misplaced tool calls and results.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::blocks::{self, Home, Rules};
use super::checks::{self, Field, Need::*, Shape, join};
use super::error::Refusal;

const MESSAGE: &[Field] = &[
    ("role", Shape::OneOf(&["user", "assistant", "system"]), Required),
    ("content", Shape::TextOrList, Required),
];

/// Consecutive messages of one role, which Anthropic merges into one.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) role: &'a str,
    pub(crate) blocks: Vec<MessageContent<'a>>,
}

/// One block, or a message's text.
#[derive(Debug)]
pub(crate) struct MessageContent<'a> {
    pub(crate) message: usize,
    at: usize,
    pub(crate) kind: &'a str,
    /// `None` where the message is a single string.
    block: Option<&'a Map<String, Value>>,
    pub(crate) text: &'a str,
}

/// Parses the conversation into turns and rejects invalid ones; thinking is checked elsewhere.
pub(crate) fn read<'a>(messages: &'a [Value], rules: &Rules<'_>) -> Result<Vec<Turn<'a>>, Refusal> {
    if messages.is_empty() {
        return Err(Refusal::bad("messages: at least one message is required"));
    }
    let mut turns: Vec<Turn<'a>> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let path = format!("messages.{at}");
        let message = checks::object(&path, message)?;
        checks::fields(&path, message, MESSAGE, rules.also)?;
        let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
        let blocks = content_blocks(at, role, message, rules, at + 1 == messages.len())?;
        match turns.last_mut().filter(|turn| turn.role == role) {
            Some(turn) => turn.blocks.extend(blocks),
            None => turns.push(Turn { role, blocks }),
        }
    }
    if turns.first().is_some_and(|turn| turn.role == "assistant") {
        return Err(Refusal::bad("messages: first message must use the \"user\" role"));
    }
    unique(&turns)?;
    check_answered(&turns)?;
    Ok(turns)
}

/// Rejects instructions between turns where the model takes none: only the newest do.
pub(crate) fn roles(turns: &[Turn<'_>], strict: bool) -> Result<(), Refusal> {
    let system = turns.iter().find(|turn| turn.role == "system").filter(|_| !strict);
    match system.and_then(|turn| turn.blocks.first()) {
        Some(block) => Err(Refusal::at(
            &format!("messages.{}", block.message),
            "role 'system' is not supported on this model",
        )),
        None => Ok(()),
    }
}

/// Rejects a prefilled assistant turn where the model accepts none, and one that ends in white space.
pub(crate) fn ending(turns: &[Turn<'_>], strict: bool) -> Result<(), Refusal> {
    let Some(last) = turns.last().filter(|turn| turn.role == "assistant").map(|turn| turn.blocks.last())
    else {
        return Ok(());
    };
    if last.is_some_and(|block| block.kind == "text" && block.text.ends_with(char::is_whitespace)) {
        return Err(Refusal::bad("messages: final assistant content cannot end with trailing whitespace"));
    }
    // An unfinished server tool call is sent back to be continued (`pause_turn`).
    let paused =
        last.is_some_and(|block| block.kind == "server_tool_use" || block.kind.ends_with("_tool_result"));
    if strict && !paused {
        return Err(Refusal::bad(
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        ));
    }
    Ok(())
}

impl MessageContent<'_> {
    pub(crate) fn path(&self) -> String {
        format!("messages.{}.content.{}", self.message, self.at)
    }

    pub(crate) fn field(&self, name: &str) -> &str {
        self.block.and_then(|block| block.get(name)).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn is_thinking(&self) -> bool {
        matches!(self.kind, "thinking" | "redacted_thinking")
    }
}

fn content_blocks<'a>(
    at: usize,
    role: &str,
    message: &'a Map<String, Value>,
    rules: &Rules<'_>,
    last: bool,
) -> Result<Vec<MessageContent<'a>>, Refusal> {
    let path = format!("messages.{at}");
    let may_be_empty = last && role == "assistant";
    let empty = || {
        Refusal::at(
            &path,
            "all messages must have non-empty content except for the optional final assistant message",
        )
    };
    match message.get("content") {
        Some(Value::String(text)) if text.is_empty() => {
            if may_be_empty {
                Ok(Vec::new())
            } else {
                Err(empty())
            }
        }
        Some(Value::String(text)) => {
            blocks::check_nonempty("messages", text)?;
            Ok(vec![MessageContent { message: at, at: 0, kind: "text", block: None, text }])
        }
        Some(Value::Array(list)) if list.is_empty() && !may_be_empty => Err(empty()),
        Some(Value::Array(list)) => {
            let home = match role {
                "assistant" => Home::Assistant,
                "system" => Home::System,
                _ => Home::User,
            };
            blocks::check(&join(&path, "content"), list, home, rules)?;
            Ok(list.iter().enumerate().filter_map(|(index, block)| one(at, index, block)).collect())
        }
        _ => Err(empty()),
    }
}

fn one(message: usize, at: usize, block: &Value) -> Option<MessageContent<'_>> {
    let text_of = |name: &str| block.get(name).and_then(Value::as_str);
    Some(MessageContent {
        message,
        at,
        kind: text_of("type")?,
        block: block.as_object(),
        text: text_of("text").unwrap_or_default(),
    })
}

fn unique(turns: &[Turn<'_>]) -> Result<(), Refusal> {
    let mut seen = HashSet::new();
    let calls = turns.iter().flat_map(|turn| &turn.blocks).filter(|block| block.kind == "tool_use");
    for call in calls {
        if !seen.insert(call.field("id")) {
            return Err(Refusal::at(&call.path(), "`tool_use` ids must be unique"));
        }
    }
    Ok(())
}

/// Each tool call needs its result at the start of the next user turn, and each result needs its call.
fn check_answered(turns: &[Turn<'_>]) -> Result<(), Refusal> {
    let mut open: Vec<&MessageContent<'_>> = Vec::new();
    for turn in turns {
        results(turn, &open)?;
        let leading: HashSet<&str> = turn
            .blocks
            .iter()
            .take_while(|block| block.kind == "tool_result" && turn.role == "user")
            .map(|block| block.field("tool_use_id"))
            .collect();
        check_unanswered(&open, &leading)?;
        open = turn.blocks.iter().filter(|block| block.kind == "tool_use").collect();
    }
    check_unanswered(&open, &HashSet::new())
}

fn results(turn: &Turn<'_>, open: &[&MessageContent<'_>]) -> Result<(), Refusal> {
    let mut seen = HashSet::new();
    for block in turn.blocks.iter().filter(|block| block.kind == "tool_result") {
        let id = block.field("tool_use_id");
        if !open.iter().any(|call| call.field("id") == id) {
            return Err(Refusal::at(
                &block.path(),
                format!(
                    "unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must \
                     have a corresponding `tool_use` block in the previous message."
                ),
            ));
        }
        if !seen.insert(id) {
            return Err(Refusal::at(
                &block.path(),
                format!(
                    "each tool_use must have a single result. Found multiple `tool_result` blocks with id: {id}"
                ),
            ));
        }
    }
    Ok(())
}

fn check_unanswered(open: &[&MessageContent<'_>], results: &HashSet<&str>) -> Result<(), Refusal> {
    let missing: Vec<&&MessageContent<'_>> =
        open.iter().filter(|call| !results.contains(call.field("id"))).collect();
    let Some(first) = missing.first() else { return Ok(()) };
    let ids: Vec<&str> = missing.iter().map(|call| call.field("id")).collect();
    Err(Refusal::at(
        &format!("messages.{}", first.message),
        format!(
            "`tool_use` ids were found without `tool_result` blocks immediately after: {}. Each `tool_use` block \
             must have a corresponding `tool_result` block in the next message.",
            ids.join(", ")
        ),
    ))
}
