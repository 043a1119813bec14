//! Anthropic's checks of `tools` and `tool_choice`.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::checks::{self, Field, Need::*, Shape::*, join};
use super::error::Refusal;
use super::schema;

pub(crate) const NAME_BYTES_MAX: usize = 128;
#[rustfmt::skip]
const CUSTOM: &[Field] = &[
    ("name", Text, Required), ("input_schema", Object, Required), ("allowed_callers", List, Optional),
    ("cache_control", Object, Nullable), ("defer_loading", Flag, Optional), ("description", Text, Optional),
    ("eager_input_streaming", Flag, Nullable), ("input_examples", List, Optional), ("strict", Flag, Optional),
    ("type", Text, Nullable),
];
/// Fields that every Anthropic-defined tool accepts in addition to its own.
const SHARED: &[Field] = &[
    ("type", Text, Required),
    ("allowed_callers", List, Optional),
    ("cache_control", Object, Nullable),
    ("defer_loading", Flag, Optional),
    ("strict", Flag, Optional),
];
const EXAMPLES: Field = ("input_examples", List, Optional);
const USES: Field = ("max_uses", Integer(1), Nullable);
const DOMAINS: [Field; 2] = [("allowed_domains", List, Nullable), ("blocked_domains", List, Nullable)];
const INCLUSION: Field = ("response_inclusion", OneOf(&["full", "excluded"]), Optional);
const PLACE: Field = ("user_location", Object, Nullable);
const CITATIONS: Field = ("citations", Object, Nullable);
const CONTENT: Field = ("max_content_tokens", Integer(1), Nullable);
const SOURCES: Field = ("url_sources", Object, Nullable);
const FRESH: Field = ("use_cache", Flag, Optional);

/// An Anthropic-defined tool: its type without the date, its dates, its only allowed name, and its fields.
struct Server {
    kind: &'static str,
    dates: &'static [&'static str],
    name: Option<&'static str>,
    fields: &'static [Field],
}

const fn named(
    kind: &'static str,
    dates: &'static [&'static str],
    name: &'static str,
    fields: &'static [Field],
) -> Server {
    Server { kind, dates, name: Some(name), fields }
}

/// According to the types of Anthropic's SDK.
#[rustfmt::skip]
const SERVER: &[Server] = &[
    named("bash", &["20250124"], "bash", &[EXAMPLES]),
    Server { kind: "browser_toolset", dates: &["20260801"], name: None, fields: TOOLSET },
    named("code_execution", &["20250522", "20250825", "20260120", "20260521"], "code_execution", &[]),
    named("computer", &["20241022", "20250124", "20251124"], "computer", &[
        ("display_height_px", Integer(1), Required), ("display_width_px", Integer(1), Required),
        ("display_number", Integer(0), Nullable), ("enable_zoom", Flag, Optional), EXAMPLES,
    ]),
    Server { kind: "computer_toolset", dates: &["20260801"], name: None, fields: TOOLSET },
    named("memory", &["20250818"], "memory", &[EXAMPLES]),
    named("text_editor", &["20250124"], "str_replace_editor", &[EXAMPLES]),
    named("text_editor", &["20250429", "20250728"], "str_replace_based_edit_tool", &[
        EXAMPLES, ("max_characters", Integer(1), Nullable),
    ]),
    named("tool_search_tool_bm25", &["20251119"], "tool_search_tool_bm25", &[]),
    named("tool_search_tool_regex", &["20251119"], "tool_search_tool_regex", &[]),
    named("web_fetch", &["20250910", "20260209", "20260309", "20260318"], "web_fetch", &[
        USES, DOMAINS[0], DOMAINS[1], CITATIONS, CONTENT, SOURCES, FRESH, INCLUSION,
    ]),
    named("web_search", &["20250305", "20260209", "20260318"], "web_search", &[
        USES, DOMAINS[0], DOMAINS[1], PLACE, INCLUSION,
    ]),
];
const TOOLSET: &[Field] = &[("configs", Object, Nullable)];
const KIND: Field = ("type", Text, Required);
const SINGLE: Field = ("disable_parallel_tool_use", Flag, Optional);
const CHOICES: &[(&str, &[Field])] = &[
    ("any", &[KIND, SINGLE]),
    ("auto", &[KIND, SINGLE]),
    ("none", &[KIND]),
    ("tool", &[KIND, SINGLE, ("name", Text, Required)]),
];

pub(crate) fn check(fields: &Map<String, Value>, also: &[String]) -> Result<(), Refusal> {
    let tools = fields.get("tools").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut names = HashSet::new();
    for (at, tool) in tools.iter().enumerate() {
        let path = format!("tools.{at}");
        let tool = checks::object(&path, tool)?;
        match tool.get("type").and_then(Value::as_str) {
            None | Some("custom") => custom(&join(&path, "custom"), tool, also)?,
            Some(kind) => server(&path, kind, tool, also)?,
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

fn custom(path: &str, tool: &Map<String, Value>, also: &[String]) -> Result<(), Refusal> {
    checks::fields(path, tool, CUSTOM, also)?;
    let name = tool.get("name").and_then(Value::as_str).unwrap_or_default();
    if !checks::is_word(name, NAME_BYTES_MAX) {
        return Err(Refusal::at(
            &join(path, "name"),
            format!("String should match pattern '^[a-zA-Z0-9_-]{{1,{NAME_BYTES_MAX}}}$'"),
        ));
    }
    let path = join(path, "input_schema");
    let schema = tool.get("input_schema").unwrap_or(&Value::Null);
    match schema.get("type") {
        None => return Err(Refusal::at(&join(&path, "type"), "Field required")),
        Some(kind) if kind != "object" => {
            return Err(Refusal::at(&join(&path, "type"), "Input should be 'object'"));
        }
        Some(_) => {}
    }
    if ["oneOf", "allOf", "anyOf"].iter().any(|name| schema.get(name).is_some()) {
        return Err(Refusal::at(
            &path,
            "input_schema does not support oneOf, allOf, or anyOf at the top level",
        ));
    }
    if !jsonschema::draft202012::meta::is_valid(schema) {
        return Err(Refusal::at(
            &path,
            "JSON schema is invalid. It must match JSON Schema draft 2020-12 \
             (https://json-schema.org/draft/2020-12).",
        ));
    }
    if tool.get("strict") == Some(&Value::Bool(true)) { schema::check(&path, schema) } else { Ok(()) }
}

fn choice(choice: &Value, toolless: bool, names: &HashSet<&str>, also: &[String]) -> Result<(), Refusal> {
    let path = "tool_choice";
    let choice = checks::object(path, choice)?;
    let kind = checks::variant(path, choice, CHOICES, also)?;
    if toolless && kind != "none" {
        return Err(Refusal::at(path, "tool_choice may only be specified while providing tools"));
    }
    match choice.get("name").and_then(Value::as_str) {
        Some(name) if !names.contains(name) => {
            Err(Refusal::bad(format!("Tool '{name}' not found in provided tools")))
        }
        _ => Ok(()),
    }
}

/// Checks an Anthropic-defined tool: a known date, its own name, and its own fields.
fn server(path: &str, kind: &str, tool: &Map<String, Value>, also: &[String]) -> Result<(), Refusal> {
    let split = kind.rsplit_once('_');
    let known = |server: &&Server| {
        split.is_some_and(|(name, date)| server.kind == name && server.dates.contains(&date))
            || (server.kind == kind && kind.starts_with("tool_search_tool"))
    };
    let Some(server) = SERVER.iter().find(known) else {
        let tags: Vec<&str> =
            std::iter::once("custom").chain(SERVER.iter().map(|server| server.kind)).collect();
        return Err(checks::wrong_tag(path, kind, &tags));
    };
    let path = join(path, kind);
    let mut table = [SHARED, server.fields].concat();
    table.extend(server.name.map(|_| ("name", Text, Required)));
    checks::fields(&path, tool, &table, also)?;
    let name = tool.get("name").and_then(Value::as_str);
    if name != server.name {
        let own = server.name.unwrap_or_default();
        return Err(Refusal::at(&join(&path, "name"), format!("Input should be '{own}'")));
    }
    let limits = |field: &str| tool.get(field).is_some_and(|list| !list.is_null());
    if limits("allowed_domains") && limits("blocked_domains") {
        return Err(Refusal::at(&path, "Cannot specify both allowed_domains and blocked_domains."));
    }
    Ok(())
}
