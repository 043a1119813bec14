//! Writes the messages of a request: instructions first, each tool result in a message of its own.

use std::borrow::Cow;

use conversation::features::Feature;
use conversation::losses::DroppedFields;
use domain::prompt::{Content, Instruction, Part, Role, ToolCall, ToolResult, Turn};
use domain::{Abilities, Fault, Prompt};

use super::body::{
    Call, CalledCustom, CalledFunction, Message, MessageContent, MessagePart, PartContent, mark,
};
use super::part::{PartWriter, content, plain};

pub(super) fn messages<'a>(
    prompt: &'a Prompt,
    abilities: &Abilities,
    losses: &mut DroppedFields,
) -> Result<Vec<Message<'a>>, Box<Fault>> {
    let mut writing = Writing {
        writer: PartWriter { abilities, losses },
        messages: Vec::with_capacity(prompt.turns.len() + 1),
        media: Vec::new(),
    };
    writing.instruct(&prompt.instructions);
    for turn in &prompt.turns {
        writing.write(turn);
    }
    writing.flush();
    Ok(writing.messages)
}

struct Writing<'a, 'b, 'c> {
    writer: PartWriter<'b, 'c>,
    messages: Vec<Message<'a>>,
    /// Media from tool results, which a `tool` message can't hold: they go into the next user message.
    media: Vec<MessagePart<'a>>,
}

impl<'a> Writing<'a, '_, '_> {
    const fn system(&self) -> &'static str {
        if self.writer.abilities.developer_role { "developer" } else { "system" }
    }

    /// All instructions in one message, for servers that accept only one.
    fn instruct(&mut self, instructions: &'a [Instruction]) {
        if instructions.is_empty() {
            return;
        }
        let role = self.system();
        let parts = instructions.iter().map(|instruction| {
            let mark = instruction.cache.map(mark).filter(|_| self.writer.abilities.cache_marks);
            if instruction.cache.is_some() && mark.is_none() {
                self.writer.losses.drop_feature(Feature::CacheMark);
            }
            MessagePart { prompt_cache_breakpoint: mark, ..plain(instruction.text.as_str()) }
        });
        let content = content(parts.collect());
        self.messages.push(Message { role, content: Some(content), ..Message::default() });
    }

    fn write(&mut self, turn: &'a Turn) {
        match turn.role {
            Role::Tool => turn.parts.iter().for_each(|part| self.write_result(part)),
            Role::Assistant => {
                self.flush();
                self.answer(turn);
            }
            Role::System | Role::Developer => {
                self.flush();
                self.push_message(self.system(), turn);
            }
            Role::User => self.push_message("user", turn),
        }
    }

    /// Pending media go before the user's own content.
    fn push_message(&mut self, role: &'static str, turn: &'a Turn) {
        let mut parts = std::mem::take(&mut self.media);
        parts.extend(turn.parts.iter().filter_map(|part| self.writer.write(part)));
        let name = turn.name.as_deref();
        self.messages.push(Message { role, name, content: Some(content(parts)), ..Message::default() });
    }

    fn flush(&mut self) {
        if !self.media.is_empty() {
            let parts = std::mem::take(&mut self.media);
            self.messages.push(Message { role: "user", content: Some(content(parts)), ..Message::default() });
        }
    }

    fn write_result(&mut self, part: &'a Part) {
        let Content::ToolResult(result) = &part.content else {
            // Anything between results that is not one goes with the pending media.
            let written = self.writer.write(part);
            return self.media.extend(written);
        };
        let mut parts = Vec::new();
        let mut moved = Vec::new();
        for inner in &result.parts {
            let written = self.writer.write(inner);
            let is_text = matches!(written, Some(MessagePart { content: PartContent::Text { .. }, .. }));
            if is_text { parts.extend(written) } else { moved.extend(written) }
        }
        self.mark_result(part, &mut parts);
        if !moved.is_empty() {
            if parts.is_empty() {
                parts.push(plain("The result follows in the next message of the user."));
            }
            self.media.push(plain(format!("From the result of call {}:", result.id)));
            self.media.append(&mut moved);
        }
        if result.is_error {
            prefix_error(&mut parts);
        }
        self.messages.push(result_message(result, parts));
    }

    fn mark_result(&mut self, part: &Part, parts: &mut [MessagePart<'_>]) {
        let Some(cache) = part.cache else { return };
        match parts.last_mut().filter(|_| self.writer.abilities.cache_marks) {
            Some(last) => last.prompt_cache_breakpoint = Some(mark(cache)),
            None => self.writer.losses.drop_in(Feature::CacheMark, &part.path),
        }
    }

    fn answer(&mut self, turn: &'a Turn) {
        let mut parts = Vec::new();
        let mut refusals: Vec<&str> = Vec::new();
        let mut calls = Vec::new();
        for part in &turn.parts {
            match &part.content {
                Content::ToolCall(call) => {
                    self.lose_mark(part);
                    calls.push(self.call(call));
                }
                Content::Refusal { text } => {
                    self.lose_mark(part);
                    refusals.push(text);
                }
                Content::Text { .. } | Content::Thought(_) | Content::Foreign { .. } => {
                    parts.extend(self.writer.write(part));
                }
                Content::Image { .. } => self.writer.losses.drop_unknown("assistant.image", true),
                Content::Audio { .. } => self.writer.losses.drop_in(Feature::Audio, &part.path),
                Content::Video { .. } => self.writer.losses.drop_feature(Feature::Video),
                Content::Document { .. } => self.writer.losses.drop_feature(Feature::Document),
                Content::ToolResult(result) => self.writer.losses.drop_unknown(result.id.as_str(), true),
            }
        }
        let is_silent = parts.is_empty() && !(calls.is_empty() && refusals.is_empty());
        self.messages.push(Message {
            role: "assistant",
            name: turn.name.as_deref(),
            content: (!is_silent).then(|| content(parts)),
            refusal: (!refusals.is_empty()).then(|| refusals.join("\n")),
            tool_calls: calls,
            ..Message::default()
        });
    }

    fn lose_mark(&mut self, part: &Part) {
        if part.cache.is_some() {
            self.writer.losses.drop_in(Feature::CacheMark, &part.path);
        }
    }

    fn call(&mut self, call: &'a ToolCall) -> Call<'a> {
        if call.signature.is_some() {
            self.writer.losses.drop_feature(Feature::Thought);
        }
        let (id, name) = (call.id.as_str(), call.name.as_str());
        if call.is_custom {
            return Call::Custom { id, custom: CalledCustom { name, input: &call.arguments } };
        }
        // Servers that parse the arguments expect an object, which an empty string is not.
        let arguments = if call.arguments.trim().is_empty() { "{}" } else { call.arguments.as_str() };
        Call::Function { id, function: CalledFunction { name, arguments } }
    }
}

fn result_message<'a>(result: &'a ToolResult, parts: Vec<MessagePart<'a>>) -> Message<'a> {
    let content: MessageContent<'a> = content(parts);
    Message { role: "tool", tool_call_id: Some(&result.id), content: Some(content), ..Message::default() }
}

/// The format has no error flag, so the text says it.
fn prefix_error(parts: &mut Vec<MessagePart<'_>>) {
    const PREFIX: &str = "Error: ";
    match parts.first_mut().map(|part| &mut part.content) {
        Some(PartContent::Text { text }) => *text = Cow::Owned(format!("{PREFIX}{text}")),
        _ => parts.insert(0, plain("Error: the call failed.")),
    }
}
