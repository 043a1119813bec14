//! Writes instructions and turns as Converse messages, with each tool result right after its call.

use conversation::calls::{FIRST_WORDS, JSON_ALONE, pair};
use conversation::losses::DroppedFields;
use domain::prompt::{OutputFormat, Prompt, Role, Turn, ValuePath};
use domain::{Abilities, Fault};

use super::parts::{BlockWriter, text_block};
use super::wire::{Block, Message};

pub(super) struct Conversation<'a> {
    pub system: Vec<Block<'a>>,
    pub messages: Vec<Message<'a>>,
}

pub(super) fn write<'a>(
    prompt: &'a Prompt,
    abilities: Abilities,
    losses: &mut DroppedFields,
) -> Result<Conversation<'a>, Box<Fault>> {
    let mut answered = pair(&prompt.turns)?;
    let mut writer = BlockWriter::new(abilities.cache_marks, losses);
    let mut system = Vec::new();
    for instruction in &prompt.instructions {
        system.extend(text_block(&instruction.text));
        writer.mark(instruction.cache, &ValuePath::default(), &mut system);
    }
    let is_instruction = |turn: &Turn| matches!(turn.role, Role::System | Role::Developer);
    let leading = prompt.turns.iter().take_while(|turn| is_instruction(turn)).count();
    let mut messages = Messages(Vec::with_capacity(prompt.turns.len() + 1));
    // Converse serves models of many vendors, and few accept instructions in the middle of a conversation.
    // Those are put in front of the next user content.
    let mut held = Vec::new();
    for (index, turn) in prompt.turns.iter().enumerate() {
        (writer.turn, writer.role) = (index, turn.role);
        match turn.role {
            // Tool results are written right after their calls.
            Role::Tool => continue,
            Role::System | Role::Developer if index < leading => system.extend(writer.blocks(&turn.parts)?),
            Role::System | Role::Developer => held.extend(writer.blocks(&turn.parts)?),
            Role::User => {
                messages.push("user", std::mem::take(&mut held));
                messages.push("user", writer.blocks(&turn.parts)?);
            }
            Role::Assistant => {
                messages.push("user", std::mem::take(&mut held));
                messages.push("assistant", writer.blocks(&turn.parts)?);
            }
        }
        if let Some(results) = answered.remove(&index) {
            writer.role = Role::Tool;
            messages.push("user", writer.results(&results)?);
        }
    }
    messages.push("user", held);
    if prompt.output.format == Some(OutputFormat::JsonObject) {
        system.extend(text_block(JSON_ALONE));
    }
    let mut messages = messages.0;
    trim_end(&mut messages);
    if messages.first().is_none_or(|first| first.role == "assistant") {
        let content = vec![Block::Text(FIRST_WORDS.into())];
        messages.insert(0, Message { role: "user", content });
    }
    if let Some(last) = messages.last_mut() {
        writer.mark(prompt.caching.automatic, &ValuePath::default(), &mut last.content);
    }
    Ok(Conversation { system, messages })
}

/// The messages. Roles must alternate, so consecutive turns of one role are merged into one message.
struct Messages<'a>(Vec<Message<'a>>);

impl<'a> Messages<'a> {
    fn push(&mut self, role: &'static str, mut content: Vec<Block<'a>>) {
        match self.0.last_mut().filter(|last| last.role == role) {
            Some(last) => last.content.append(&mut content),
            None if content.is_empty() => {}
            None => self.0.push(Message { role, content }),
        }
    }
}

/// Removes trailing whitespace from a final assistant message (a prefill), which Bedrock rejects.
fn trim_end(messages: &mut [Message<'_>]) {
    let Some(last) = messages.last_mut().filter(|last| last.role == "assistant") else { return };
    if let Some(Block::Text(text)) = last.content.last_mut() {
        let length = text.trim_end().len();
        if length < text.len() {
            text.to_mut().truncate(length);
        }
    }
}
