//! Reads the conversation into turns.

use domain::Fault;
use domain::prompt::{Content, Part, Role, Turn};

use super::Reading;
use super::part::Read;
use crate::gemini::names::{each, members, text};
use crate::json::Cursor;
use crate::refusal::wrong_value;

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

    /// Puts a part into the turn that it belongs to: results of tools into one of their own. Only here, behind the whole
    /// content, is it known who speaks.
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
                    let fix = "Send each result behind the call that it answers, with its name.".to_owned();
                    wrong_value(path.clone(), "answers no call of this conversation", fix)
                })?;
                Some(Content::ToolResult(result))
            }
            content => content,
        };
        for content in seal.into_iter().chain(content) {
            let role = if matches!(content, Content::ToolResult(_)) { Role::Tool } else { role };
            self.push(Part::said(content, None, &path), role, is_first);
        }
        Ok(())
    }

    fn push(&mut self, part: Part, role: Role, is_first: &mut bool) {
        let starts = std::mem::take(is_first);
        // Some SDKs keep each chunk of an answer as a content of its own: what comes behind a call belongs to its turn.
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
        // Results of tools are found by their parts, whoever is said to have sent them.
        "" | "user" | "function" | "tool" => Ok(Role::User),
        "model" => Ok(Role::Assistant),
        _ => {
            let fix = "Send \"user\" or \"model\"; instructions go into systemInstruction.".to_owned();
            Err(wrong_value(format!("{path}.role"), "is no role of this grammar", fix))
        }
    }
}
