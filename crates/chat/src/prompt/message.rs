//! Reads one message, whose members come in any order.

use conversation::losses::is_mark;
use domain::Grammar;
use domain::prompt::{Aliased, CacheMark, Content, Part, Signature, ToolCall};
use json::refusal::{missing, wrong_type};
use json::{Cursor, Kind, Value};

use super::extras::Extras;
use super::part::{read_arguments, read_content, read_mark};
use super::value::{Read, is_array, is_object, text};

/// Where LiteLLM keeps what an answer held besides OpenAI's own fields. It comes back with the history and is
/// not part of the request.
const CLIENTS_OWN: &str = "provider_specific_fields";

#[derive(Debug, Default)]
pub(super) struct Message {
    pub role: String,
    pub name: Option<String>,
    pub content: Vec<Part>,
    pub refusal: Option<String>,
    pub thought: Option<String>,
    /// Each with its cache breakpoint.
    pub calls: Vec<Part>,
    /// Name and arguments of the legacy `function_call`, from before there were several calls.
    pub old_call: Option<(String, String)>,
    /// The id of the call that a result answers.
    pub call_id: Option<String>,
    /// A cache breakpoint on the whole message, where some clients put it.
    pub cache: Option<CacheMark>,
}

impl Message {
    pub(super) fn read(cursor: &mut Cursor<'_>, path: &str, extras: &mut Extras) -> Read<Self> {
        let kind = cursor.kind()?;
        if kind != Kind::Object {
            return Err(wrong_type(path.to_owned(), "an object", kind));
        }
        let mut message = Self::default();
        let (mut role, mut other_thought) = (None, None);
        let mut images = Vec::new();
        cursor.object(|cursor, member| {
            let name = member.key.decode();
            let at = |name: &str| format!("{path}.{name}");
            match &*name {
                "role" => role = text(cursor, &at("role"))?,
                "name" => message.name = text(cursor, &at("name"))?,
                "content" => message.content = read_content(cursor, &at("content"), extras)?,
                // Pictures that a model made, as answers have them.
                "images" => images = read_content(cursor, &at("images"), extras)?,
                "refusal" => message.refusal = text(cursor, &at("refusal"))?,
                "tool_call_id" => message.call_id = text(cursor, &at("tool_call_id"))?,
                "tool_calls" => message.read_calls(cursor, &at("tool_calls"), extras)?,
                "function_call" => message.old_call = read_old_call(cursor, &at("function_call"), extras)?,
                "cache_control" | "prompt_cache_breakpoint" => {
                    message.cache = read_mark(cursor, &at(&name), extras)?;
                }
                "reasoning_content" => message.thought = text(cursor, &at("reasoning_content"))?,
                "reasoning" => {
                    if let Value::String(text) = cursor.value()? {
                        other_thought = Some(text.decode().into_owned());
                    }
                }
                // Answer fields that come back with the history: encrypted reasoning, and citations.
                "reasoning_details" | "thinking_blocks" | "annotations" | CLIENTS_OWN => {
                    extras.take(cursor, || at(&name), false)?;
                }
                _ => extras.take(cursor, || at(&name), true)?,
            }
            Read::Ok(())
        })?;
        message.content.append(&mut images);
        let has_text = |text: &String| !text.is_empty();
        message.thought = message.thought.filter(has_text);
        if let (None, Some(thought)) = (&message.thought, other_thought.filter(has_text)) {
            extras.aliases.add(Aliased::Thought, "reasoning");
            message.thought = Some(thought);
        }
        message.refusal = message.refusal.filter(has_text);
        let fix = "Give each message a role: developer, system, user, assistant or tool.";
        message.role = role.ok_or_else(|| missing(format!("{path}.role"), fix))?;
        Ok(message)
    }

    fn read_calls(&mut self, cursor: &mut Cursor<'_>, path: &str, extras: &mut Extras) -> Read<()> {
        if is_array(cursor, path)? {
            cursor.array(|cursor, index| {
                self.calls.push(read_call(cursor, &format!("{path}[{index}]"), extras)?);
                Read::Ok(())
            })?;
        }
        Ok(())
    }
}

fn read_call(cursor: &mut Cursor<'_>, path: &str, extras: &mut Extras) -> Read<Part> {
    let kind = cursor.kind()?;
    if kind != Kind::Object {
        return Err(wrong_type(path.to_owned(), "an object", kind));
    }
    let (mut id, mut function, mut signature) = (None, None, None);
    let (mut is_custom, mut cache) = (false, None);
    cursor.object(|cursor, member| {
        let name = member.key.decode();
        match (&*name, cursor.kind()?) {
            ("id", _) => id = text(cursor, &format!("{path}.id"))?,
            // The member's name also tells the type; clients that assemble deltas themselves leave the index
            // in.
            ("type" | "index", _) => super::value::skip(cursor)?,
            ("function" | "custom", Kind::Object) => {
                is_custom = name == "custom";
                function = Some(read_function(cursor, &format!("{path}.{name}"), extras)?);
            }
            ("extra_content", Kind::Object) => signature = read_signature(cursor, path, extras)?,
            (CLIENTS_OWN, _) => extras.take(cursor, || format!("{path}.{name}"), false)?,
            (mark, _) if is_mark(mark) => cache = read_mark(cursor, &format!("{path}.{mark}"), extras)?,
            _ => extras.take(cursor, || format!("{path}.{name}"), true)?,
        }
        Read::Ok(())
    })?;
    let fix = "Send back the call as the model made it, with its id, its name and its arguments.";
    let id = id.ok_or_else(|| missing(format!("{path}.id"), fix))?;
    let (name, arguments) = function.ok_or_else(|| missing(format!("{path}.function"), fix))?;
    let call = ToolCall { id, name, arguments, is_custom, signature };
    Ok(Part::with_path(Content::ToolCall(call), cache, path))
}

fn read_function(cursor: &mut Cursor<'_>, path: &str, extras: &mut Extras) -> Read<(String, String)> {
    let (mut name, mut arguments) = (None, String::new());
    cursor.object(|cursor, member| {
        match &*member.key.decode() {
            "name" => name = text(cursor, &format!("{path}.name"))?,
            field @ ("arguments" | "input") => {
                arguments = read_arguments(cursor, &format!("{path}.{field}"))?;
            }
            other => extras.take(cursor, || format!("{path}.{other}"), other != CLIENTS_OWN)?,
        }
        Read::Ok(())
    })?;
    let name = name.ok_or_else(|| missing(format!("{path}.name"), "Name the function that was called."))?;
    Ok((name, arguments))
}

fn read_old_call(cursor: &mut Cursor<'_>, path: &str, extras: &mut Extras) -> Read<Option<(String, String)>> {
    if !is_object(cursor, path)? {
        return Ok(None);
    }
    read_function(cursor, path, extras).map(Some)
}

/// The thought signature that Gemini puts on its calls, where Google's OpenAI-compatible API puts it.
fn read_signature(cursor: &mut Cursor<'_>, path: &str, extras: &mut Extras) -> Read<Option<Signature>> {
    let mut signature = None;
    cursor.object(|cursor, member| {
        let vendor = member.key.decode();
        if vendor != "google" || cursor.kind()? != Kind::Object {
            return extras.take(cursor, || format!("{path}.extra_content.{vendor}"), false);
        }
        let path = format!("{path}.extra_content.google");
        cursor.object(|cursor, member| {
            if member.key.is("thought_signature") {
                let value = text(cursor, &format!("{path}.thought_signature"))?;
                signature = value.map(|value| Signature { grammar: Grammar::Gemini, value });
                return Ok(());
            }
            let name = member.key.decode();
            extras.take(cursor, || format!("{path}.{name}"), false)
        })?;
        Read::Ok(())
    })?;
    Ok(signature)
}
