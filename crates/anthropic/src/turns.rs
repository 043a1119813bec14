//! Writes instructions and turns as Anthropic messages, with each tool result right after its call.

use conversation::calls::{FIRST_WORDS, JSON_ALONE, pair};
use conversation::losses::DroppedFields;
use domain::prompt::{Instruction, OutputFormat, Prompt, Role};
use domain::{Abilities, Fault};

use super::parts::{BlockWriter, text_block};
use super::wire::{Block, BlockKind, Mark, Message};

pub(super) fn write_instructions(prompt: &Prompt) -> Vec<Block<'_>> {
    let instructions = prompt.instructions.iter().filter(|instruction| !instruction.text.trim().is_empty());
    let mut blocks: Vec<Block<'_>> =
        instructions.map(|Instruction { text, cache, .. }| text_block(text, cache.map(Mark::of))).collect();
    if prompt.output.format == Some(OutputFormat::JsonObject) {
        blocks.push(text_block(JSON_ALONE, None));
    }
    blocks
}

pub(super) fn write_turns<'a>(
    prompt: &'a Prompt,
    abilities: Abilities,
    losses: &mut DroppedFields,
) -> Result<Vec<Message<'a>>, Box<Fault>> {
    let mut answered = pair(&prompt.turns)?;
    let mut messages: Vec<Message<'a>> = Vec::with_capacity(prompt.turns.len() + 1);
    // The last message holds tool results, so the next user content is appended to it.
    let mut is_open = false;
    for (index, turn) in prompt.turns.iter().enumerate() {
        let mut writer = BlockWriter { losses, turn: index, role: turn.role };
        let (role, is_joined) = match turn.role {
            // Tool results are written right after their calls.
            Role::Tool => continue,
            Role::System | Role::Developer if abilities.system_turns => ("system", false),
            Role::User | Role::System | Role::Developer => ("user", is_open),
            Role::Assistant => ("assistant", false),
        };
        let mut content = writer.blocks(&turn.parts)?;
        is_open = false;
        match messages.last_mut().filter(|_| is_joined) {
            Some(last) => last.content.append(&mut content),
            None if content.is_empty() => {}
            None => messages.push(Message { role, content }),
        }
        if let Some(results) = answered.remove(&index) {
            writer.role = Role::Tool;
            let content = writer.results(&results)?;
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

/// Anthropic rejects a final assistant message (a prefill) that ends in whitespace.
fn trim_end(messages: &mut Vec<Message<'_>>) {
    let Some(last) = messages.last_mut().filter(|last| last.role == "assistant") else { return };
    if let Some(Block::Own(block)) = last.content.last_mut()
        && let BlockKind::Text { text, .. } = &mut block.kind
    {
        *text = text.trim_end();
    }
}
