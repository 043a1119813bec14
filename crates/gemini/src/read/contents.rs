//! Reads the conversation into turns.

use domain::Fault;
use domain::prompt::{Content, Part, Role, Turn};
use json::Cursor;
use json::refusal::wrong_value;

use super::Reading;
use super::part::Read;
use crate::names::{each, members, text};

impl Reading {
    pub(super) fn contents(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        each(cursor, |cursor, index| self.content(cursor, &format!("{path}[{index}]")))
    }

    fn content(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        let mut role = None;
        let mut parts = Vec::new();
        members(cursor, path, |cursor, name, written| {
            let path = format!("{path}.{written}");
            match name {
                "role" => role = text(cursor, &path)?,
                "parts" => each(cursor, |cursor, index| {
                    parts.push(self.part(cursor, format!("{path}[{index}]"))?);
                    Ok::<(), Box<Fault>>(())
                })?,
                _ => self.extra(cursor, path, true)?,
            }
            Ok::<(), Box<Fault>>(())
        })?;
        let role = read_role(role.as_deref(), path)?;
        let mut is_first = true;
        for part in parts {
            self.settle(part, role, &mut is_first)?;
        }
        Ok(())
    }

    /// Adds a part to the turn that it belongs to; tool results get a turn of their own. This is called after
    /// the whole content was read, because only then its role is known.
    fn settle(&mut self, read: Read, role: Role, is_first: &mut bool) -> Result<(), Box<Fault>> {
        let Read { path, seal, content } = read;
        let content = match content {
            Some(Content::ToolCall(mut call)) => {
                if role == Role::User {
                    let fix = "Give the content that holds it the role \"model\".".to_owned();
                    return Err(wrong_value(path, "is a call, which only the model makes", fix));
                }
                let id = Some(std::mem::take(&mut call.id)).filter(|id| !id.is_empty());
                call.id = self.calls.begin(id, &call.name);
                Some(Content::ToolCall(call))
            }
            Some(Content::ToolResult(mut result)) => {
                let id = Some(std::mem::take(&mut result.id)).filter(|id| !id.is_empty());
                let name = result.name.as_deref().unwrap_or_default();
                result.id = self.calls.answer(id, name).ok_or_else(|| {
                    let fix = "Send each result after the call that it answers, with its name.".to_owned();
                    wrong_value(path.clone(), "answers no call of this conversation", fix)
                })?;
                Some(Content::ToolResult(result))
            }
            content => content,
        };
        for content in seal.into_iter().chain(content) {
            let role = if matches!(content, Content::ToolResult(_)) { Role::Tool } else { role };
            self.push(Part::with_path(content, None, &path), role, is_first);
        }
        Ok(())
    }

    fn push(&mut self, part: Part, role: Role, is_first: &mut bool) {
        let starts = std::mem::take(is_first);
        // Some SDKs store each chunk of a response as a separate content, so what follows a call joins the
        // call's turn.
        let has_call =
            |turn: &Turn| matches!(turn.parts.last(), Some(Part { content: Content::ToolCall(_), .. }));
        match self.prompt.turns.last_mut() {
            Some(turn) if turn.role == role && (!starts || role == Role::Tool || has_call(turn)) => {
                turn.parts.push(part);
            }
            _ => self.prompt.turns.push(Turn { role, name: None, parts: vec![part] }),
        }
    }
}

fn read_role(role: Option<&str>, path: &str) -> Result<Role, Box<Fault>> {
    match role.unwrap_or_default().to_ascii_lowercase().as_str() {
        // Tool results are recognised by their parts, whatever the role.
        "" | "user" | "function" | "tool" => Ok(Role::User),
        "model" => Ok(Role::Assistant),
        _ => {
            let fix = "Send \"user\" or \"model\"; instructions go into systemInstruction.".to_owned();
            Err(wrong_value(format!("{path}.role"), "isn't a role of this API", fix))
        }
    }
}
