//! The tools of a request, and which of them the model may or must call.

use conversation::losses::{WEB_SEARCH, is_mark};
use domain::prompt::{CacheMark, Json, Tool, ToolChoice, ToolKind};
use json::fields::optional_boolean;
use json::refusal::{missing, wrong_type};
use json::{Cursor, Kind, Span};

use super::extras::Extras;
use super::part::read_mark;
use super::value::{Read, is_array, is_object, object, raw, text};

pub(super) fn web_search(json: Json) -> Tool {
    Tool { kind: ToolKind::Hosted { kind: WEB_SEARCH.to_owned(), json }, cache: None }
}

/// Reads `tools`, or the legacy `functions`.
pub(super) fn read_tools(
    cursor: &mut Cursor<'_>,
    name: &str,
    tools: &mut Vec<Tool>,
    extras: &mut Extras,
) -> Read<()> {
    if !is_array(cursor, name)? {
        return Ok(());
    }
    cursor.array(|cursor, index| {
        let path = format!("{name}[{index}]");
        if !is_object(cursor, &path)? {
            return Err(wrong_type(path, "an object", Kind::Null));
        }
        tools.push(if name == "functions" {
            let (kind, cache) = read_function(cursor, &path, extras)?;
            Tool { kind, cache }
        } else {
            read_tool(cursor, &path, extras)?
        });
        Read::Ok(())
    })?;
    Ok(())
}

fn read_tool(cursor: &mut Cursor<'_>, path: &str, extras: &mut Extras) -> Read<Tool> {
    let mut cache = None;
    let (mut word, mut kind) = (None, None);
    let mut others: Vec<String> = Vec::new();
    let span = cursor.object(|cursor, member| {
        match &*member.key.decode() {
            "type" => word = text(cursor, &format!("{path}.type"))?,
            "function" if cursor.kind()? == Kind::Object => {
                let (function, mark) = read_function(cursor, &format!("{path}.function"), extras)?;
                (kind, cache) = (Some(function), cache.or(mark));
            }
            "custom" if cursor.kind()? == Kind::Object => {
                let (custom, mark) = read_custom(cursor, &format!("{path}.custom"), extras)?;
                (kind, cache) = (Some(custom), cache.or(mark));
            }
            mark @ ("cache_control" | "prompt_cache_breakpoint") => {
                cache = read_mark(cursor, &format!("{path}.{mark}"), extras)?.or(cache);
            }
            name => {
                if cursor.value()?.is_something(cursor.bytes()) {
                    others.push(format!("{path}.{name}"));
                }
            }
        }
        Read::Ok(())
    })?;
    let kind = match (kind, word.as_deref()) {
        (Some(kind), _) => {
            others.into_iter().for_each(|name| extras.push(name, true));
            kind
        }
        (None, Some("function" | "custom") | None) => {
            let fix = "Send a function with its name, such as {\"type\": \"function\", \"function\": {\"name\": \"f\"}}.";
            return Err(missing(format!("{path}.function"), fix));
        }
        (None, Some(word)) => ToolKind::Hosted { kind: word.to_owned(), json: raw_json(cursor, span) },
    };
    Ok(Tool { kind, cache })
}

fn raw_json(cursor: &Cursor<'_>, span: Span) -> Json {
    Json(String::from_utf8_lossy(span.of(cursor.bytes())).into_owned())
}

/// A function, and the cache breakpoint that some clients put inside it.
fn read_function(
    cursor: &mut Cursor<'_>,
    path: &str,
    extras: &mut Extras,
) -> Read<(ToolKind, Option<CacheMark>)> {
    let (mut name, mut description, mut schema, mut strict) = (None, None, None, None);
    let mut cache = None;
    cursor.object(|cursor, member| {
        let key = member.key.decode();
        match &*key {
            "name" => name = text(cursor, &format!("{path}.name"))?,
            "description" => description = text(cursor, &format!("{path}.description"))?,
            "parameters" => schema = object(cursor, &format!("{path}.parameters"))?,
            "strict" => strict = optional_boolean(cursor, &format!("{path}.strict"))?,
            mark if is_mark(mark) => cache = read_mark(cursor, &format!("{path}.{mark}"), extras)?,
            other => extras.take(cursor, || format!("{path}.{other}"), true)?,
        }
        Read::Ok(())
    })?;
    let name = name.ok_or_else(|| no_name(path))?;
    Ok((ToolKind::Function { name, description, schema, strict }, cache))
}

fn read_custom(
    cursor: &mut Cursor<'_>,
    path: &str,
    extras: &mut Extras,
) -> Read<(ToolKind, Option<CacheMark>)> {
    let (mut name, mut description, mut format) = (None, None, None);
    let mut cache = None;
    cursor.object(|cursor, member| {
        match &*member.key.decode() {
            "name" => name = text(cursor, &format!("{path}.name"))?,
            "description" => description = text(cursor, &format!("{path}.description"))?,
            "format" => format = object(cursor, &format!("{path}.format"))?,
            mark if is_mark(mark) => cache = read_mark(cursor, &format!("{path}.{mark}"), extras)?,
            other => extras.take(cursor, || format!("{path}.{other}"), true)?,
        }
        Read::Ok(())
    })?;
    let name = name.ok_or_else(|| no_name(path))?;
    Ok((ToolKind::Custom { name, description, format }, cache))
}

fn no_name(path: &str) -> Box<domain::Fault> {
    missing(format!("{path}.name"), "Give the tool a name.")
}

/// A `tool_choice` in any of its forms.
#[derive(Debug, Default)]
struct Chosen {
    word: Option<String>,
    name: Option<String>,
    mode: Option<String>,
    names: Vec<String>,
}

pub(super) fn read_choice(
    cursor: &mut Cursor<'_>,
    path: &str,
    extras: &mut Extras,
) -> Read<Option<ToolChoice>> {
    match cursor.kind()? {
        Kind::Null => raw(cursor).map(|_| None),
        Kind::String => {
            let word = text(cursor, path)?;
            Ok(match word.as_deref() {
                Some("auto") => Some(ToolChoice::Auto),
                Some("none") => Some(ToolChoice::None),
                Some("required" | "any") => Some(ToolChoice::Required),
                _ => {
                    extras.push(path.to_owned(), true);
                    None
                }
            })
        }
        Kind::Object => {
            let mut chosen = Chosen::default();
            chosen.read(cursor, path, extras)?;
            let choice = chosen.choice();
            if choice.is_none() {
                extras.push(path.to_owned(), true);
            }
            Ok(choice)
        }
        kind => Err(wrong_type(path.to_owned(), "a string or an object", kind)),
    }
}

impl Chosen {
    fn read(&mut self, cursor: &mut Cursor<'_>, path: &str, extras: &mut Extras) -> Read<()> {
        cursor.object(|cursor, member| {
            let name = member.key.decode();
            match (&*name, cursor.kind()?) {
                ("type", _) => self.word = text(cursor, &format!("{path}.type"))?,
                // The legacy `function_call` form has no type.
                ("name", _) => self.name = text(cursor, &format!("{path}.name"))?,
                ("function" | "custom", Kind::Object) => {
                    self.name = read_name(cursor, &format!("{path}.{name}"))?;
                }
                ("allowed_tools", Kind::Object) => self.read_allowed(cursor, path, extras)?,
                _ => extras.take(cursor, || format!("{path}.{name}"), true)?,
            }
            Read::Ok(())
        })?;
        Ok(())
    }

    fn read_allowed(&mut self, cursor: &mut Cursor<'_>, path: &str, extras: &mut Extras) -> Read<()> {
        cursor.object(|cursor, member| {
            let name = member.key.decode();
            match (&*name, cursor.kind()?) {
                ("mode", _) => self.mode = text(cursor, &format!("{path}.allowed_tools.mode"))?,
                ("tools", Kind::Array) => {
                    cursor.array(|cursor, index| {
                        let tool = format!("{path}.allowed_tools.tools[{index}]");
                        let mut chosen = Self::default();
                        if is_object(cursor, &tool)? {
                            chosen.read(cursor, &tool, extras)?;
                        }
                        match chosen.name {
                            Some(name) => self.names.push(name),
                            None => extras.push(tool, true),
                        }
                        Read::Ok(())
                    })?;
                }
                _ => extras.take(cursor, || format!("{path}.allowed_tools.{name}"), true)?,
            }
            Read::Ok(())
        })?;
        Ok(())
    }

    fn choice(self) -> Option<ToolChoice> {
        let is_custom = self.word.as_deref() == Some("custom");
        match (self.word.as_deref(), self.name) {
            (Some("function" | "custom") | None, Some(name)) => Some(ToolChoice::Named { name, is_custom }),
            (Some("allowed_tools"), _) => {
                let is_required = self.mode.as_deref() == Some("required");
                Some(ToolChoice::Allowed { names: self.names, is_required })
            }
            (Some("auto"), _) => Some(ToolChoice::Auto),
            (Some("none"), _) => Some(ToolChoice::None),
            (Some("required" | "any"), _) => Some(ToolChoice::Required),
            _ => None,
        }
    }
}

fn read_name(cursor: &mut Cursor<'_>, path: &str) -> Read<Option<String>> {
    let mut name = None;
    cursor.object(|cursor, member| {
        if member.key.is("name") {
            name = text(cursor, &format!("{path}.name"))?;
        } else {
            super::skip(cursor)?;
        }
        Read::Ok(())
    })?;
    Ok(name)
}
