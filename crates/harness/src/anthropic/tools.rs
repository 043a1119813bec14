//! Anthropic's checks of `tools` and `tool_choice`.

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
/// Fields that every Anthropic-defined tool accepts in addition to its own.
const SHARED: &[Field] = &[
    ("type", Shape::Text, Need::Required),
    ("allowed_callers", Shape::List, Need::Optional),
    ("cache_control", Shape::Object, Need::Nullable),
    ("defer_loading", Shape::Flag, Need::Optional),
    ("strict", Shape::Flag, Need::Optional),
];
const EXAMPLES: Field = ("input_examples", Shape::List, Need::Optional);
const USES: Field = ("max_uses", Shape::Integer(1), Need::Nullable);
const DOMAINS: [Field; 2] =
    [("allowed_domains", Shape::List, Need::Nullable), ("blocked_domains", Shape::List, Need::Nullable)];
const INCLUSION: Field = ("response_inclusion", Shape::OneOf(&["full", "excluded"]), Need::Optional);
const PLACE: Field = ("user_location", Shape::Object, Need::Nullable);
const CITATIONS: Field = ("citations", Shape::Object, Need::Nullable);
const CONTENT: Field = ("max_content_tokens", Shape::Integer(1), Need::Nullable);
const SOURCES: Field = ("url_sources", Shape::Object, Need::Nullable);
const FRESH: Field = ("use_cache", Shape::Flag, Need::Optional);

/// An Anthropic-defined tool: its type without the date, its dates, its only allowed name, and its fields.
struct Server {
    kind: &'static str,
    dates: &'static [&'static str],
    name: Option<&'static str>,
    fields: &'static [Field],
}

/// According to the types of Anthropic's SDK.
const SERVER: &[Server] = &[
    Server { kind: "bash", dates: &["20250124"], name: Some("bash"), fields: &[EXAMPLES] },
    Server { kind: "browser_toolset", dates: &["20260801"], name: None, fields: TOOLSET },
    Server {
        kind: "code_execution",
        dates: &["20250522", "20250825", "20260120", "20260521"],
        name: Some("code_execution"),
        fields: &[],
    },
    Server {
        kind: "computer",
        dates: &["20241022", "20250124", "20251124"],
        name: Some("computer"),
        fields: &[
            ("display_height_px", Shape::Integer(1), Need::Required),
            ("display_width_px", Shape::Integer(1), Need::Required),
            ("display_number", Shape::Integer(0), Need::Nullable),
            ("enable_zoom", Shape::Flag, Need::Optional),
            EXAMPLES,
        ],
    },
    Server { kind: "computer_toolset", dates: &["20260801"], name: None, fields: TOOLSET },
    Server { kind: "memory", dates: &["20250818"], name: Some("memory"), fields: &[EXAMPLES] },
    Server {
        kind: "text_editor",
        dates: &["20250124"],
        name: Some("str_replace_editor"),
        fields: &[EXAMPLES],
    },
    Server {
        kind: "text_editor",
        dates: &["20250429", "20250728"],
        name: Some("str_replace_based_edit_tool"),
        fields: &[EXAMPLES, ("max_characters", Shape::Integer(1), Need::Nullable)],
    },
    Server {
        kind: "tool_search_tool_bm25",
        dates: &["20251119"],
        name: Some("tool_search_tool_bm25"),
        fields: &[],
    },
    Server {
        kind: "tool_search_tool_regex",
        dates: &["20251119"],
        name: Some("tool_search_tool_regex"),
        fields: &[],
    },
    Server {
        kind: "web_fetch",
        dates: &["20250910", "20260209", "20260309", "20260318"],
        name: Some("web_fetch"),
        fields: &[USES, DOMAINS[0], DOMAINS[1], CITATIONS, CONTENT, SOURCES, FRESH, INCLUSION],
    },
    Server {
        kind: "web_search",
        dates: &["20250305", "20260209", "20260318"],
        name: Some("web_search"),
        fields: &[USES, DOMAINS[0], DOMAINS[1], PLACE, INCLUSION],
    },
];
const TOOLSET: &[Field] = &[("configs", Shape::Object, Need::Nullable)];
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
    let kind = checks::tag(path, choice)?;
    let Some((_, table)) = CHOICES.iter().find(|(known, _)| *known == kind) else {
        let tags: Vec<&str> = CHOICES.iter().map(|(known, _)| *known).collect();
        return Err(checks::wrong_tag(path, kind, &tags));
    };
    checks::fields(&join(path, kind), choice, table, also)?;
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
    table.extend(server.name.map(|_| ("name", Shape::Text, Need::Required)));
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
