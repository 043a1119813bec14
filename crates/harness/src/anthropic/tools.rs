//! What the provider refuses in `tools` and `tool_choice`.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::checks::{self, Field, Need, Shape, join};
use super::error::Refusal;
use super::schema;

pub(crate) const NAME_BYTES_MAX: usize = 128;
const CUSTOM: &[Field] = &[
    ("name", Shape::Text, Need::Required),
    ("input_schema", Shape::Object, Need::Required),
    ("allowed_callers", Shape::List, Need::Optional),
    ("cache_control", Shape::Object, Need::Nullable),
    ("defer_loading", Shape::Flag, Need::Optional),
    ("description", Shape::Text, Need::Optional),
    ("eager_input_streaming", Shape::Flag, Need::Nullable),
    ("input_examples", Shape::List, Need::Optional),
    ("strict", Shape::Flag, Need::Optional),
    ("type", Shape::Text, Need::Nullable),
];
/// Tools that run at the provider; each has its date behind its name.
const SERVER: &[&str] = &[
    "bash",
    "browser_toolset",
    "code_execution",
    "computer",
    "computer_toolset",
    "memory",
    "text_editor",
    "tool_search_tool_bm25",
    "tool_search_tool_regex",
    "web_fetch",
    "web_search",
];
const KIND: Field = ("type", Shape::Text, Need::Required);
const SINGLE: Field = ("disable_parallel_tool_use", Shape::Flag, Need::Optional);
const CHOICES: &[(&str, &[Field])] = &[
    ("any", &[KIND, SINGLE]),
    ("auto", &[KIND, SINGLE]),
    ("none", &[KIND]),
    ("tool", &[KIND, SINGLE, ("name", Shape::Text, Need::Required)]),
];

pub(crate) fn check(fields: &Map<String, Value>, also: &[String]) -> Result<(), Refusal> {
    let tools = fields.get("tools").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut names = HashSet::new();
    for (at, tool) in tools.iter().enumerate() {
        let place = format!("tools.{at}");
        let tool = checks::object(&place, tool)?;
        match tool.get("type").and_then(Value::as_str) {
            None | Some("custom") => custom(&join(&place, "custom"), tool, also)?,
            Some(kind) if is_server(kind) => {}
            Some(kind) => {
                let tags: Vec<&str> = std::iter::once("custom").chain(SERVER.iter().copied()).collect();
                return Err(checks::wrong_tag(&place, kind, &tags));
            }
        }
        let name = tool.get("name").and_then(Value::as_str);
        if name.is_some_and(|name| !names.insert(name)) {
            return Err(Refusal::bad("tools: Tool names must be unique."));
        }
    }
    match fields.get("tool_choice") {
        Some(choice) => self::choice(choice, tools.is_empty(), &names, also),
        None => Ok(()),
    }
}

fn custom(place: &str, tool: &Map<String, Value>, also: &[String]) -> Result<(), Refusal> {
    checks::fields(place, tool, CUSTOM, also)?;
    let name = tool.get("name").and_then(Value::as_str).unwrap_or_default();
    if !checks::is_word(name, NAME_BYTES_MAX) {
        return Err(Refusal::at(
            &join(place, "name"),
            format!("String should match pattern '^[a-zA-Z0-9_-]{{1,{NAME_BYTES_MAX}}}$'"),
        ));
    }
    let place = join(place, "input_schema");
    let schema = tool.get("input_schema").unwrap_or(&Value::Null);
    match schema.get("type") {
        None => return Err(Refusal::at(&join(&place, "type"), "Field required")),
        Some(kind) if kind != "object" => {
            return Err(Refusal::at(&join(&place, "type"), "Input should be 'object'"));
        }
        Some(_) => {}
    }
    if ["oneOf", "allOf", "anyOf"].iter().any(|name| schema.get(name).is_some()) {
        return Err(Refusal::at(
            &place,
            "input_schema does not support oneOf, allOf, or anyOf at the top level",
        ));
    }
    if !jsonschema::draft202012::meta::is_valid(schema) {
        return Err(Refusal::at(
            &place,
            "JSON schema is invalid. It must match JSON Schema draft 2020-12 \
             (https://json-schema.org/draft/2020-12).",
        ));
    }
    if tool.get("strict") == Some(&Value::Bool(true)) { schema::constrained(&place, schema) } else { Ok(()) }
}

fn choice(choice: &Value, toolless: bool, names: &HashSet<&str>, also: &[String]) -> Result<(), Refusal> {
    let place = "tool_choice";
    let choice = checks::object(place, choice)?;
    let kind = checks::tag(place, choice)?;
    let Some((_, table)) = CHOICES.iter().find(|(known, _)| *known == kind) else {
        let tags: Vec<&str> = CHOICES.iter().map(|(known, _)| *known).collect();
        return Err(checks::wrong_tag(place, kind, &tags));
    };
    checks::fields(&join(place, kind), choice, table, also)?;
    if toolless && kind != "none" {
        return Err(Refusal::at(place, "tool_choice may only be specified while providing tools"));
    }
    match choice.get("name").and_then(Value::as_str) {
        Some(name) if !names.contains(name) => {
            Err(Refusal::bad(format!("Tool '{name}' not found in provided tools")))
        }
        _ => Ok(()),
    }
}

fn is_server(kind: &str) -> bool {
    let Some((name, date)) = kind.rsplit_once('_') else { return false };
    SERVER.contains(&name) && date.len() == 8 && date.bytes().all(|digit| digit.is_ascii_digit())
}
