//! Tool calls and their results, for dialects that are strict about how they pair up.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use domain::prompt::{Content, Part, Role, ToolKind, Turn};
use domain::{Fault, FaultClass, Json};
use json::{Cursor, Kind, Value, find_member};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// The user message that is inserted where the conversation would not start with one, which such dialects
/// require.
pub const FIRST_WORDS: &str = "Begin.";

/// For each turn with calls, by its index, the results that answer them: those that come before the next turn
/// with calls, wherever they are among other turns.
pub fn pair(turns: &[Turn]) -> Result<HashMap<usize, Vec<&Part>>, Box<Fault>> {
    let mut answered = HashMap::new();
    // The latest turn with calls, and those of its calls that have no result yet.
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
            let Some(caller) = caller else { return Err(unexpected_result(index)) };
            answered.entry(caller).or_insert_with(Vec::new).push(part);
        }
    }
    // Unanswered calls at the end of the conversation are for the provider to judge.
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
    let message = format!("\"messages[{turn}]\" calls a tool, but the result is missing.");
    let fix = "Send the result of each call before the next assistant turn.";
    Err(turn_fault("tool_call_without_result", message, fix, turn))
}

fn unexpected_result(turn: usize) -> Box<Fault> {
    let message = format!("\"messages[{turn}]\" has a tool result that answers no earlier call.");
    let fix = "Send each result once, after the assistant turn that has the call with its id.";
    turn_fault("tool_result_without_call", message, fix, turn)
}

fn turn_fault(code: &'static str, message: String, fix: &'static str, turn: usize) -> Box<Fault> {
    Box::new(Fault::new(FaultClass::BadRequest, code, message).fix(fix).param(format!("messages[{turn}]")))
}

/// # Errors
/// The name is too long or has characters that the dialect does not allow. It can't be renamed: the client
/// would not recognise another name.
pub fn check_name(name: &str, bytes_max: usize, path: impl Fn() -> String) -> Result<(), Box<Fault>> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !name.is_empty() && name.len() <= bytes_max && name.bytes().all(is_plain) {
        return Ok(());
    }
    let message = format!("\"{}\" isn't a tool name that the model's provider accepts.", path());
    let fix = format!("Name the tool with 1 to {bytes_max} letters, digits, \"_\" and \"-\".");
    Err(Box::new(
        Fault::new(FaultClass::Unsupported, "unsupported_tool_name", message).fix(fix).param(path()),
    ))
}

/// A schema with `"type": "object"` added where it is missing, which the provider requires.
pub fn typed(schema: &str) -> Cow<'_, str> {
    if schema.trim_start().trim_start_matches('{').trim_start() == "}" {
        return Cow::Borrowed(r#"{"type":"object","properties":{}}"#);
    }
    with_member(schema, "type", "\"object\"")
}

/// A function's parameters as OpenAI requires them: an object schema with `properties`, even if empty.
pub struct Parameters<'a>(pub &'a Json);

impl Parameters<'_> {
    fn schema(&self) -> Cow<'_, str> {
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
        let schema = self.schema();
        serde_json::from_str::<&RawValue>(&schema).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

/// The object with a member put first, where it has none of that name.
pub fn with_member<'a>(object: &'a str, name: &str, value: &str) -> Cow<'a, str> {
    let is_present = find_member(object.as_bytes(), name).map_or(true, |found| found.is_some());
    let inside = object.trim_start().strip_prefix('{').map(str::trim_start);
    match inside {
        Some(inside) if !is_present => {
            let comma = if inside.starts_with('}') { "" } else { "," };
            Cow::Owned(format!("{{\"{name}\":{value}{comma}{inside}"))
        }
        _ => Cow::Borrowed(object),
    }
}

/// The arguments where they are a JSON object; empty arguments count as `{}`.
pub fn object_of(arguments: &str) -> Option<&str> {
    if arguments.trim().is_empty() {
        return Some("{}");
    }
    let mut cursor = Cursor::new(arguments.as_bytes()).ok()?;
    let is_object = cursor.kind().ok()? == Kind::Object;
    cursor.skip().ok()?;
    cursor.end().ok()?;
    is_object.then_some(arguments)
}

/// Added to the instructions where the answer must be a JSON object and the dialect has no parameter for
/// that.
pub const JSON_ALONE: &str =
    "Answer with one valid JSON object and nothing else: no other text, no code fence.";

/// A tool declared as a function, for dialects that have no other kind.
pub struct Declared<'a> {
    pub name: &'a str,
    pub description: Option<Cow<'a, str>>,
    pub schema: Option<&'a str>,
    pub strict: Option<bool>,
    /// The grammar constraint of a custom tool is only described in prose.
    pub loses_format: bool,
}

/// The schema of a function that stands for a custom tool: one string.
const TEXT_SCHEMA: &str = r#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}"#;

/// `None` for a hosted tool, which the provider runs.
pub fn declared(tool: &ToolKind) -> Option<Declared<'_>> {
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
                description: full_description(description.as_deref(), rules.as_deref()),
                schema: Some(TEXT_SCHEMA),
                strict: None,
                loses_format: rules.is_some(),
            })
        }
        ToolKind::Hosted { .. } => None,
    }
}

/// The grammar constraint of a custom tool as a sentence for the model; `None` where any text will do.
fn rules_of(format: &Json) -> Option<String> {
    let bytes = format.as_str().as_bytes();
    let text_member = |name| {
        let span = find_member(bytes, name).ok().flatten()?;
        match Cursor::new(span.of(bytes)).ok()?.value().ok()? {
            Value::String(text) => Some(text.decode().into_owned()),
            _ => None,
        }
    };
    let definition = text_member("definition")?;
    let syntax = text_member("syntax").unwrap_or_default();
    Some(format!("\"input\" must match this {syntax} grammar:\n{definition}"))
}

fn full_description<'a>(description: Option<&'a str>, rules: Option<&str>) -> Option<Cow<'a, str>> {
    match (description, rules) {
        (Some(description), Some(rules)) => Some(Cow::Owned(format!("{description}\n\n{rules}"))),
        (Some(description), None) => Some(Cow::Borrowed(description)),
        (None, rules) => rules.map(|rules| Cow::Owned(rules.to_owned())),
    }
}

/// A text as an object with one member.
pub fn named_text(name: &str, text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap_or_default();
    format!("{{\"{name}\":{quoted}}}")
}

/// Free text as the input of a tool that takes an object.
pub fn text_input(text: &str) -> String {
    named_text("input", text)
}

/// Text that the model wrote where an object is required, wrapped so that the client sees it at all.
pub fn raw_input(text: &str) -> String {
    named_text("_raw", text)
}

pub fn no_arguments(path: String) -> Box<Fault> {
    let message = format!("\"{path}\" calls a tool with arguments that aren't a JSON object.");
    let fix = "Send the arguments as the model wrote them, or leave the call and its result out.";
    let fault = Fault::new(FaultClass::BadRequest, "invalid_tool_arguments", message);
    Box::new(fault.fix(fix).param(Cow::from(path)))
}
