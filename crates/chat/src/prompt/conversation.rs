//! Reads the messages of a request as instructions and turns.

use std::collections::HashSet;

use domain::prompt::{CacheMark, Content, Instruction, Part, Role, Thought, ToolCall, ToolResult, Turn};
use json::refusal::{empty_array, missing, wrong_type, wrong_value};
use json::{Cursor, Kind};

use super::extras::Extras;
use super::message::Message;
use super::value::Read;

#[derive(Debug, Default)]
pub(super) struct Conversation {
    instructions: Vec<Instruction>,
    turns: Vec<Turn>,
    /// Ids of custom tool calls, whose arguments are free text; so are their results.
    custom_calls: HashSet<String>,
    /// Names and ids of legacy `function_call`s, which come without an id.
    old_calls: Vec<(String, String)>,
}

impl Conversation {
    pub(super) fn read(cursor: &mut Cursor<'_>, extras: &mut Extras) -> Read<(Vec<Instruction>, Vec<Turn>)> {
        let kind = cursor.kind()?;
        if kind != Kind::Array {
            return Err(wrong_type("messages".to_owned(), "an array", kind));
        }
        let mut conversation = Self::default();
        let mut count = 0;
        cursor.array(|cursor, index| {
            count += 1;
            let path = format!("messages[{index}]");
            let message = Message::read(cursor, &path, extras)?;
            conversation.take(message, &path, extras)
        })?;
        if count == 0 {
            let fix = "Send at least one message, such as {\"role\": \"user\", \"content\": \"Hello\"}.";
            return Err(empty_array("messages".to_owned(), fix));
        }
        if conversation.instructions.is_empty() && conversation.turns.is_empty() {
            let fix = "Send the message's text, such as \"content\": \"Hello\".";
            return Err(missing("messages[0].content".to_owned(), fix));
        }
        Ok((conversation.instructions, conversation.turns))
    }

    fn take(&mut self, mut message: Message, path: &str, extras: &mut Extras) -> Read<()> {
        let mark = message.cache.take();
        match message.role.as_str() {
            "system" | "developer" => {
                let is_developer = message.role == "developer";
                mark_last(&mut message.content, mark);
                if self.turns.is_empty() {
                    return self.instruct(message, is_developer, path, extras);
                }
                let role = if is_developer { Role::Developer } else { Role::System };
                self.turns.push(Turn { role, name: message.name.take(), parts: message.content });
            }
            "user" => {
                mark_last(&mut message.content, mark);
                self.turns.push(Turn { role: Role::User, name: message.name.take(), parts: message.content });
            }
            "assistant" => {
                let turn = self.answer(message, mark, path);
                self.turns.push(turn);
            }
            "tool" | "function" => {
                let mut part = Part::of(Content::ToolResult(self.result(message, path)?));
                part.cache = mark;
                self.add_result(part);
            }
            role => {
                let fix = "Use developer, system, user, assistant or tool.".to_owned();
                return Err(wrong_value(
                    format!("{path}.role"),
                    &format!("is \"{}\", which isn't a role", brief(role)),
                    fix,
                ));
            }
        }
        Ok(())
    }

    /// Adds the texts of a system or developer message that comes before the first turn.
    fn instruct(
        &mut self,
        message: Message,
        is_developer: bool,
        path: &str,
        extras: &mut Extras,
    ) -> Read<()> {
        if message.name.is_some() {
            extras.push(format!("{path}.name"), false);
        }
        for part in message.content {
            match part.content {
                Content::Text { text, .. } => {
                    self.instructions.push(Instruction { is_developer, text, cache: part.cache });
                }
                _ => {
                    let fix = "Send instructions as text.".to_owned();
                    return Err(wrong_value(format!("{path}.content"), "holds a part that is not text", fix));
                }
            }
        }
        Ok(())
    }

    fn answer(&mut self, message: Message, mark: Option<CacheMark>, path: &str) -> Turn {
        let thought = message.thought.map(|text| Content::Thought(Thought { text, ..Thought::default() }));
        let mut parts: Vec<Part> = thought.into_iter().map(Part::of).collect();
        parts.extend(message.content);
        parts.extend(message.refusal.map(|text| Part::of(Content::Refusal { text })));
        for part in message.calls {
            if let Content::ToolCall(ToolCall { id, is_custom: true, .. }) = &part.content {
                self.custom_calls.insert(id.clone());
            }
            parts.push(part);
        }
        if let Some((name, arguments)) = message.old_call {
            // The id is derived from the position, so that it is the same each time the conversation is sent.
            let id = format!("call_{}", path.replace(['[', ']'], ""));
            self.old_calls.push((name.clone(), id.clone()));
            let call = ToolCall { id, name, arguments, is_custom: false, signature: None };
            parts.push(Part::of(Content::ToolCall(call)));
        }
        mark_last(&mut parts, mark);
        Turn { role: Role::Assistant, name: message.name, parts }
    }

    fn result(&self, message: Message, path: &str) -> Read<ToolResult> {
        let id = if message.role == "tool" {
            let fix = "Send the id of the call that this is the result of.";
            message.call_id.ok_or_else(|| missing(format!("{path}.tool_call_id"), fix))?
        } else {
            let called = self.old_calls.iter().rev().find(|(name, _)| Some(name) == message.name.as_ref());
            let fix =
                "Send the assistant's function_call before its result, and the function's name with both.";
            let unknown =
                || wrong_value(format!("{path}.name"), "names no function that was called", fix.to_owned());
            called.map(|(_, id)| id.clone()).ok_or_else(unknown)?
        };
        let is_custom = self.custom_calls.contains(&id);
        Ok(ToolResult { id, name: message.name, parts: message.content, is_error: false, is_custom })
    }

    /// Consecutive results form one turn.
    fn add_result(&mut self, part: Part) {
        match self.turns.last_mut().filter(|turn| turn.role == Role::Tool) {
            Some(turn) => turn.parts.push(part),
            None => self.turns.push(Turn { role: Role::Tool, name: None, parts: vec![part] }),
        }
    }
}

fn mark_last(parts: &mut [Part], mark: Option<CacheMark>) {
    if let (Some(part), Some(mark)) = (parts.last_mut(), mark) {
        part.cache.get_or_insert(mark);
    }
}

/// A client's string, cut to what an error message shows.
fn brief(word: &str) -> &str {
    word.get(..word.floor_char_boundary(40)).unwrap_or_default()
}
