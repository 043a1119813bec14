//! Writes instructions and turns: who speaks when, and which result answers which call.

use std::collections::{HashMap, HashSet};

use domain::prompt::{Content, Instruction, Part, Prompt, Role, Turn};
use domain::{Fault, FaultClass};

use super::parts::{Scribe, text_block};
use super::wire::{Block, BlockKind, Mark, Message};
use crate::losses::Losses;

/// What the user says first where nobody said anything: a conversation can't begin otherwise.
const FIRST_WORDS: &str = "Begin.";

pub(super) fn write_instructions(prompt: &Prompt) -> Vec<Block<'_>> {
    let said = prompt.instructions.iter().filter(|instruction| !instruction.text.trim().is_empty());
    said.map(|Instruction { text, cache, .. }| text_block(text, cache.map(Mark::of))).collect()
}

pub(super) fn write_turns<'a>(
    prompt: &'a Prompt,
    losses: &mut Losses,
) -> Result<Vec<Message<'a>>, Box<Fault>> {
    let mut answered = pair(&prompt.turns)?;
    let mut messages: Vec<Message<'a>> = Vec::with_capacity(prompt.turns.len() + 1);
    // The message that was written last holds results, and what the user says next belongs behind them.
    let mut is_open = false;
    for (index, turn) in prompt.turns.iter().enumerate() {
        let mut scribe = Scribe { losses, turn: index, role: turn.role };
        let (role, is_joined) = match turn.role {
            // Each result was written behind its call.
            Role::Tool => continue,
            Role::User => ("user", is_open),
            Role::Assistant => ("assistant", false),
            Role::System | Role::Developer => ("system", false),
        };
        let mut content = scribe.blocks(&turn.parts)?;
        is_open = false;
        match messages.last_mut().filter(|_| is_joined) {
            Some(last) => last.content.append(&mut content),
            None if content.is_empty() => {}
            None => messages.push(Message { role, content }),
        }
        if let Some(results) = answered.remove(&index) {
            scribe.role = Role::Tool;
            let content = scribe.results(&results)?;
            messages.push(Message { role: "user", content });
            is_open = true;
        }
    }
    trim_end(&mut messages);
    if messages.first().is_none_or(|first| first.role == "assistant") {
        messages.insert(0, Message { role: "user", content: vec![text_block(FIRST_WORDS, None)] });
    }
    Ok(messages)
}

/// The provider refuses an answer to go on with that ends in space.
fn trim_end(messages: &mut Vec<Message<'_>>) {
    let Some(last) = messages.last_mut().filter(|last| last.role == "assistant") else { return };
    if let Some(Block::Own(block)) = last.content.last_mut()
        && let BlockKind::Text { text, .. } = &mut block.kind
    {
        *text = text.trim_end();
    }
}

/// The results that answer the calls of each turn, by that turn's index: those that come before the next turn that
/// calls, wherever among other turns they stand.
fn pair(turns: &[Turn]) -> Result<HashMap<usize, Vec<&Part>>, Box<Fault>> {
    let mut answered = HashMap::new();
    // The turn that called last, and its calls that have no result yet.
    let mut calling: Option<usize> = None;
    let mut open: HashSet<&str> = HashSet::new();
    for (index, turn) in turns.iter().enumerate() {
        let calls: Vec<&str> = turn.parts.iter().filter_map(call_id).collect();
        if turn.role == Role::Assistant && !calls.is_empty() {
            check_answered(calling, &open)?;
            calling = Some(index);
            open = calls.into_iter().collect();
        }
        if turn.role != Role::Tool {
            continue;
        }
        for part in &turn.parts {
            let Content::ToolResult(result) = &part.content else { continue };
            let caller = calling.filter(|_| open.remove(result.id.as_str()));
            let Some(caller) = caller else { return Err(unasked(index)) };
            answered.entry(caller).or_insert_with(Vec::new).push(part);
        }
    }
    // Calls that end the conversation are the provider's to judge.
    let is_last = calling.is_some_and(|calling| calling + 1 == turns.len());
    if !is_last {
        check_answered(calling, &open)?;
    }
    Ok(answered)
}

fn call_id(part: &Part) -> Option<&str> {
    match &part.content {
        Content::ToolCall(call) => Some(&call.id),
        _ => None,
    }
}

fn check_answered(calling: Option<usize>, open: &HashSet<&str>) -> Result<(), Box<Fault>> {
    let Some(turn) = calling.filter(|_| !open.is_empty()) else { return Ok(()) };
    let message = format!("\"messages[{turn}]\" calls a tool and has no result of it.");
    let fix = "Send the result of each call before the next turn of the assistant.";
    Err(refused("tool_call_without_result", message, fix, turn))
}

fn unasked(turn: usize) -> Box<Fault> {
    let message = format!("\"messages[{turn}]\" has a result that no call before it asks for.");
    let fix = "Send each result once, behind the turn of the assistant that has the call with its id.";
    refused("tool_result_without_call", message, fix, turn)
}

fn refused(code: &'static str, message: String, fix: &'static str, turn: usize) -> Box<Fault> {
    Box::new(Fault::new(FaultClass::BadRequest, code, message).fix(fix).param(format!("messages[{turn}]")))
}
