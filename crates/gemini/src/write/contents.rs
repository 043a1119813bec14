//! Writes the conversation as Gemini `contents`.

use std::borrow::Cow;
use std::collections::HashMap;

use conversation::losses::DroppedFields;
use conversation::target::TargetModel;
use domain::prompt::{Role, Turn};
use domain::{Fault, Prompt, Thinking};

use super::super::wire::{Content, Datum, Part, SKIP_SENTINEL_BASE64};

mod part;

pub(super) struct Conversation<'a> {
    pub system_instruction: Option<Content<'a>>,
    pub contents: Vec<Content<'a>>,
}

/// The state of the writing.
struct Writing<'a, 'l> {
    /// The tool's name by call id: results must name it.
    names: HashMap<&'a str, &'a str>,
    contents: Vec<Content<'a>>,
    /// Instructions from the middle of the conversation, which go in front of the next user content.
    held: Vec<Part<'a>>,
    losses: &'l mut DroppedFields,
}

pub(super) fn write<'a>(
    prompt: &'a Prompt,
    target: &TargetModel<'_>,
    losses: &mut DroppedFields,
) -> Result<Conversation<'a>, Box<Fault>> {
    let mut system: Vec<Part<'a>> =
        prompt.instructions.iter().map(|instruction| Part::text(&instruction.text)).collect();
    let is_instruction = |turn: &Turn| matches!(turn.role, Role::System | Role::Developer);
    let leading = prompt.turns.iter().take_while(|turn| is_instruction(turn)).count();
    // Calls after the last user turn belong to the current tool loop, where these models validate thought
    // signatures.
    let active = prompt.turns.iter().rposition(|turn| turn.role == Role::User).map_or(0, |last| last + 1);
    let checks_seals = !matches!(target.abilities.thinking, Thinking::Never | Thinking::Budget);
    let mut writing = Writing { names: HashMap::new(), contents: Vec::new(), held: Vec::new(), losses };
    for (index, turn) in prompt.turns.iter().enumerate() {
        if index < leading {
            writing.instruct(turn)?;
            system.append(&mut writing.held);
        } else if is_instruction(turn) {
            writing.instruct(turn)?;
        } else {
            let position = prompt.instructions.len() + index;
            writing.turn(turn, position, checks_seals && index >= active)?;
        }
    }
    writing.release();
    let mut contents = writing.contents;
    if contents.is_empty() && !system.is_empty() {
        // Gemini requires contents. Other providers answer instructions alone, so they become user content.
        contents.push(Content { role: Some("user"), parts: std::mem::take(&mut system) });
    }
    let system_instruction = (!system.is_empty()).then_some(Content { role: None, parts: system });
    Ok(Conversation { system_instruction, contents })
}

impl<'a> Writing<'a, '_> {
    fn instruct(&mut self, turn: &'a Turn) -> Result<(), Box<Fault>> {
        let parts = self.parts(turn, 0)?;
        self.held.extend(parts);
        Ok(())
    }

    fn turn(&mut self, turn: &'a Turn, position: usize, is_active: bool) -> Result<(), Box<Fault>> {
        let mut parts = self.parts(turn, position)?;
        let role = if turn.role == Role::Assistant { "model" } else { "user" };
        match turn.role {
            Role::User => parts.splice(0..0, std::mem::take(&mut self.held)).for_each(drop),
            // Nothing may come between a call and its result.
            Role::Tool => {}
            _ => self.release(),
        }
        if is_active {
            sign_first_call(&mut parts);
        }
        if !parts.is_empty() {
            self.contents.push(Content { role: Some(role), parts });
        }
        Ok(())
    }

    /// Instructions without a following user turn become a user turn of their own.
    fn release(&mut self) {
        if !self.held.is_empty() {
            self.contents.push(Content { role: Some("user"), parts: std::mem::take(&mut self.held) });
        }
    }
}

/// Gives the first call of a step a signature if it has none: Gemini checks it there, so the documented
/// placeholder is sent.
fn sign_first_call(parts: &mut [Part<'_>]) {
    let first = parts.iter_mut().find(|part| matches!(part.datum, Datum::FunctionCall(_)));
    if let Some(part) = first
        && part.thought_signature.is_none()
    {
        part.thought_signature = Some(Cow::Borrowed(SKIP_SENTINEL_BASE64));
    }
}
