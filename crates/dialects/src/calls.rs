//! Calls of tools and their results, for grammars that are strict about them.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use domain::prompt::{Content, Part, Role, ToolKind, Turn};
use domain::{Fault, FaultClass, Json};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::json::{Cursor, Kind, Value, find_member};

/// What the user says first where nobody said anything: a conversation can't begin otherwise.
pub(crate) const FIRST_WORDS: &str = "Begin.";

/// The results that answer the calls of each turn, by that turn's index: those that come before the next turn that
/// calls, wherever among other turns they stand.
pub(crate) fn pair(turns: &[Turn]) -> Result<HashMap<usize, Vec<&Part>>, Box<Fault>> {
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

/// # Errors
/// The name is too long, or has characters that the grammar has no place for: another name would not be known to the client.
pub(crate) fn check_name(name: &str, bytes_max: usize, path: impl Fn() -> String) -> Result<(), Box<Fault>> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !name.is_empty() && name.len() <= bytes_max && name.bytes().all(is_plain) {
        return Ok(());
    }
    let message = format!("\"{}\" is a name that the model's provider doesn't take for a tool.", path());
    let fix = format!("Name the tool with 1 to {bytes_max} letters, digits, \"_\" and \"-\".");
    Err(Box::new(
        Fault::new(FaultClass::Unsupported, "unsupported_tool_name", message).fix(fix).param(path()),
    ))
}

/// The provider takes a schema of an object, and wants that said.
pub(crate) fn typed(schema: &str) -> Cow<'_, str> {
    if schema.trim_start().trim_start_matches('{').trim_start() == "}" {
        return Cow::Borrowed(r#"{"type":"object","properties":{}}"#);
    }
    with_member(schema, "type", "\"object\"")
}

/// What a function takes, as OpenAI wants it: a schema of an object that names its properties, be there none.
pub(crate) struct Parameters<'a>(pub(crate) &'a Json);

impl Parameters<'_> {
    fn said(&self) -> Cow<'_, str> {
        let typed = typed(self.0.as_str());
        let named = match with_member(&typed, "properties", "{}") {
            Cow::Owned(named) => Some(named),
            Cow::Borrowed(_) => None,
        };
        named.map_or(typed, Cow::Owned)
    }
}

impl Serialize for Parameters<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let said = self.said();
        serde_json::from_str::<&RawValue>(&said).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

/// The object with a member put first, where it has none of that name.
pub(crate) fn with_member<'a>(object: &'a str, name: &str, value: &str) -> Cow<'a, str> {
    let is_said = find_member(object.as_bytes(), name).map_or(true, |found| found.is_some());
    let inside = object.trim_start().strip_prefix('{').map(str::trim_start);
    match inside {
        Some(inside) if !is_said => {
            let comma = if inside.starts_with('}') { "" } else { "," };
            Cow::Owned(format!("{{\"{name}\":{value}{comma}{inside}"))
        }
        _ => Cow::Borrowed(object),
    }
}

/// The arguments where they are an object; none at all are an empty one.
pub(crate) fn object_of(arguments: &str) -> Option<&str> {
    if arguments.trim().is_empty() {
        return Some("{}");
    }
    let mut cursor = Cursor::new(arguments.as_bytes()).ok()?;
    let is_object = cursor.kind().ok()? == Kind::Object;
    cursor.skip().ok()?;
    cursor.end().ok()?;
    is_object.then_some(arguments)
}

/// What the instructions say where the answer shall be some JSON object and the grammar has no word for that.
pub(crate) const JSON_ALONE: &str =
    "Answer with one valid JSON object and nothing else: no other text, no code fence.";

/// A tool as a function: how a grammar is told of it that knows no other kind.
pub(crate) struct Declared<'a> {
    pub name: &'a str,
    pub description: Option<Cow<'a, str>>,
    pub schema: Option<&'a str>,
    pub strict: Option<bool>,
    /// What the text of a custom tool shall keep to is said in words alone.
    pub loses_format: bool,
}

/// What a custom tool takes, as a function that the model gives one text.
const TEXT_SCHEMA: &str = r#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}"#;

/// `None` of a tool that its provider runs.
pub(crate) fn declared(tool: &ToolKind) -> Option<Declared<'_>> {
    match tool {
        ToolKind::Function { name, description, schema, strict } => Some(Declared {
            name,
            description: description.as_deref().map(Cow::Borrowed),
            schema: schema.as_ref().map(Json::as_str),
            strict: *strict,
            loses_format: false,
        }),
        ToolKind::Custom { name, description, format } => {
            let rules = format.as_ref().and_then(rules_of);
            Some(Declared {
                name,
                description: described(description.as_deref(), rules.as_deref()),
                schema: Some(TEXT_SCHEMA),
                strict: None,
                loses_format: rules.is_some(),
            })
        }
        ToolKind::Hosted { .. } => None,
    }
}

/// The grammar of a custom tool's text, for the model to read; nothing where any text will do.
fn rules_of(format: &Json) -> Option<String> {
    let bytes = format.as_str().as_bytes();
    let said = |name| {
        let span = find_member(bytes, name).ok().flatten()?;
        match Cursor::new(span.of(bytes)).ok()?.value().ok()? {
            Value::String(text) => Some(text.decode().into_owned()),
            _ => None,
        }
    };
    let definition = said("definition")?;
    let syntax = said("syntax").unwrap_or_default();
    Some(format!("\"input\" must match this {syntax} grammar:\n{definition}"))
}

fn described<'a>(description: Option<&'a str>, rules: Option<&str>) -> Option<Cow<'a, str>> {
    match (description, rules) {
        (Some(description), Some(rules)) => Some(Cow::Owned(format!("{description}\n\n{rules}"))),
        (Some(description), None) => Some(Cow::Borrowed(description)),
        (None, rules) => rules.map(|rules| Cow::Owned(rules.to_owned())),
    }
}

/// A text as an object of one member.
pub(crate) fn named_text(name: &str, text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap_or_default();
    format!("{{\"{name}\":{quoted}}}")
}

/// Free text as the input of a tool that takes an object.
pub(crate) fn text_input(text: &str) -> String {
    named_text("input", text)
}

/// What the model wrote in the place of an object, for the client to see: it can't be said otherwise.
pub(crate) fn raw_input(text: &str) -> String {
    named_text("_raw", text)
}

pub(crate) fn no_arguments(path: String) -> Box<Fault> {
    let message = format!("\"{path}\" calls a tool with arguments that are no JSON object.");
    let fix = "Send the arguments as the model wrote them, or leave the call and its result out.";
    let fault = Fault::new(FaultClass::BadRequest, "invalid_tool_arguments", message);
    Box::new(fault.fix(fix).param(Cow::from(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_an_object_that_names_its_properties() {
        for (schema, expected) in [
            ("{}", r#"{"type":"object","properties":{}}"#),
            (r#"{"type":"object"}"#, r#"{"properties":{},"type":"object"}"#),
            (r#"{"type":"object","properties":{"a":{}}}"#, r#"{"type":"object","properties":{"a":{}}}"#),
            (r#"{"properties":{"a":{}}}"#, r#"{"type":"object","properties":{"a":{}}}"#),
        ] {
            let schema = Json(schema.to_owned());
            assert_eq!(serde_json::to_string(&Parameters(&schema)).unwrap(), expected);
        }
    }
}
