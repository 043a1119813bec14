//! Tables of content blocks: the fields of each, and the turns in which it is allowed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::checks::{self, Field, Need::*, Shape::*, join};
use super::error::Refusal;
use super::tools::NAME_BYTES_MAX;

/// Where a block occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    User,
    Assistant,
    System,
    /// Inside a `tool_result`.
    Result,
}

/// Settings of the request that the checks depend on.
pub(crate) struct Rules<'a> {
    /// Accepted fields in addition to Anthropic's.
    pub(crate) also: &'a [String],
    /// The API version that no longer allows documents and citations in some turns.
    pub(crate) newer: bool,
}

struct Block {
    kind: &'static str,
    homes: &'static [Home],
    fields: &'static [Field],
}

const TYPE: Field = ("type", Text, Required);
const CACHE: Field = ("cache_control", Object, Nullable);
const USER: &[Home] = &[Home::User];
const ASSISTANT: &[Home] = &[Home::Assistant];
const MATERIAL: &[Home] = &[Home::User, Home::Result];
const SERVER_RESULT: &[Field] =
    &[TYPE, CACHE, ("tool_use_id", Text, Required), ("content", Any, Required), ("caller", Object, Optional)];

const fn block(kind: &'static str, homes: &'static [Home], fields: &'static [Field]) -> Block {
    Block { kind, homes, fields }
}

#[rustfmt::skip]
const BLOCKS: &[Block] = &[
    block("text", &[Home::User, Home::Assistant, Home::System, Home::Result], &[
        TYPE, CACHE, ("text", Text, Required), ("citations", List, Nullable),
    ]),
    block("image", MATERIAL, &[
        TYPE, CACHE, ("source", Object, Required), ("transformations", Object, Nullable),
    ]),
    block("document", &[Home::User, Home::Assistant, Home::Result], &[
        TYPE, CACHE, ("source", Object, Required), ("citations", Object, Nullable),
        ("context", Text, Nullable), ("title", Text, Nullable),
    ]),
    block("search_result", MATERIAL, &[
        TYPE, CACHE, ("content", List, Required), ("source", Text, Required), ("title", Text, Required),
        ("citations", Object, Optional),
    ]),
    block("thinking", ASSISTANT, &[TYPE, ("signature", Text, Required), ("thinking", Text, Required)]),
    block("redacted_thinking", ASSISTANT, &[TYPE, ("data", Text, Required)]),
    block("tool_use", ASSISTANT, &[
        TYPE, CACHE, ("id", Text, Required), ("input", Object, Required), ("name", Text, Required),
        ("caller", Object, Optional), ("toolset_name", Text, Nullable),
    ]),
    block("tool_result", USER, &[
        TYPE, CACHE, ("tool_use_id", Text, Required), ("content", TextOrList, Optional),
        ("is_error", Flag, Optional), ("toolset_name", Text, Nullable),
    ]),
    block("server_tool_use", ASSISTANT, &[
        TYPE, CACHE, ("id", Text, Required), ("input", Object, Required), ("name", Text, Required),
        ("caller", Object, Optional),
    ]),
    block("web_search_tool_result", ASSISTANT, SERVER_RESULT),
    block("web_fetch_tool_result", ASSISTANT, SERVER_RESULT),
    block("code_execution_tool_result", ASSISTANT, SERVER_RESULT),
    block("bash_code_execution_tool_result", ASSISTANT, SERVER_RESULT),
    block("text_editor_code_execution_tool_result", ASSISTANT, SERVER_RESULT),
    block("tool_search_tool_result", ASSISTANT, SERVER_RESULT),
    block("container_upload", USER, &[TYPE, CACHE, ("file_id", Text, Required)]),
    block("tool_reference", &[Home::Result], &[TYPE, CACHE, ("tool_name", Text, Required)]),
];

const IMAGES: &[&str] = &["image/jpeg", "image/png", "image/gif", "image/webp"];
const URL: &[Field] = &[TYPE, ("url", Text, Required)];
const FILE: &[Field] = &[TYPE, ("file_id", Text, Required)];
const IMAGE_SOURCES: &[(&str, &[Field])] = &[
    ("base64", &[TYPE, ("data", Text, Required), ("media_type", OneOf(IMAGES), Required)]),
    ("url", URL),
    ("file", FILE),
];
const DOCUMENT_SOURCES: &[(&str, &[Field])] = &[
    ("base64", &[TYPE, ("data", Text, Required), ("media_type", OneOf(&["application/pdf"]), Required)]),
    ("text", &[TYPE, ("data", Text, Required), ("media_type", OneOf(&["text/plain"]), Required)]),
    ("content", &[TYPE, ("content", TextOrList, Required)]),
    ("url", URL),
    ("file", FILE),
];

/// Rejects invalid blocks in a list; `path` is the list's path.
pub(crate) fn check(path: &str, list: &[Value], home: Home, rules: &Rules<'_>) -> Result<(), Refusal> {
    list.iter().enumerate().try_for_each(|(at, block)| one(&format!("{path}.{at}"), block, home, rules))
}

fn one(path: &str, block: &Value, home: Home, rules: &Rules<'_>) -> Result<(), Refusal> {
    let block = checks::object(path, block)?;
    let kind = checks::tag(path, block)?;
    let Some(known) = BLOCKS.iter().find(|known| known.kind == kind) else {
        let tags: Vec<&str> = BLOCKS.iter().map(|known| known.kind).collect();
        return Err(checks::wrong_tag(path, kind, &tags));
    };
    if !known.homes.contains(&home) {
        return Err(astray(path, known, home));
    }
    let inner = join(path, kind);
    checks::fields(&inner, block, known.fields, rules.also)?;
    let newer = rules.newer;
    match kind {
        "text" => text(&inner, block, home, newer),
        "image" => source(&inner, block, IMAGE_SOURCES, rules),
        "document" if newer && home == Home::Assistant => {
            Err(Refusal::at(path, "`document` blocks are not permitted in `assistant` messages"))
        }
        "document" => source(&inner, block, DOCUMENT_SOURCES, rules),
        "tool_use" => tool_use(&inner, block),
        "tool_result" => match block.get("content") {
            Some(Value::Array(list)) => check(&join(&inner, "content"), list, Home::Result, rules),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn astray(path: &str, block: &Block, home: Home) -> Refusal {
    let kind = block.kind;
    let Some(owner) = block.homes.first().filter(|_| home != Home::Result) else {
        let tags: Vec<&str> =
            BLOCKS.iter().filter(|known| known.homes.contains(&home)).map(|known| known.kind).collect();
        return checks::wrong_tag(path, kind, &tags);
    };
    let owner = match owner {
        Home::User => "user",
        Home::Assistant => "assistant",
        Home::System => "system",
        Home::Result => "tool_result",
    };
    let message = path.split(".content").next().unwrap_or(path);
    Refusal::at(message, format!("`{kind}` blocks can only be in `{owner}` messages"))
}

fn text(path: &str, block: &Map<String, Value>, home: Home, newer: bool) -> Result<(), Refusal> {
    let text = block.get("text").and_then(Value::as_str).unwrap_or_default();
    if text.is_empty() && block.get("cache_control").is_some_and(|mark| !mark.is_null()) {
        return Err(Refusal::at(path, "cache_control cannot be set for empty text blocks"));
    }
    let cites = block.get("citations").is_some_and(|citations| !citations.is_null());
    if newer && cites && home == Home::User {
        return Err(Refusal::at(&join(path, "citations"), "Extra inputs are not permitted"));
    }
    check_nonempty("messages", text)
}

/// Rejects empty text.
pub(crate) fn check_nonempty(path: &str, text: &str) -> Result<(), Refusal> {
    if text.is_empty() {
        Err(Refusal::at(path, "text content blocks must be non-empty"))
    } else if text.trim().is_empty() {
        Err(Refusal::at(path, "text content blocks must contain non-whitespace text"))
    } else {
        Ok(())
    }
}

fn source(
    path: &str,
    block: &Map<String, Value>,
    sources: &[(&str, &[Field])],
    rules: &Rules<'_>,
) -> Result<(), Refusal> {
    let path = join(path, "source");
    let source = checks::object(&path, block.get("source").unwrap_or(&Value::Null))?;
    let kind = checks::variant(&path, source, sources, rules.also)?;
    let path = join(&path, kind);
    let data = source.get("data").and_then(Value::as_str).filter(|_| kind == "base64");
    if data.is_some_and(|data| STANDARD.decode(data).is_err()) {
        return Err(Refusal::at(&join(&path, "data"), "Invalid base64 data"));
    }
    match source.get("content") {
        Some(Value::Array(list)) => check(&join(&path, "content"), list, Home::Result, rules),
        _ => Ok(()),
    }
}

fn tool_use(path: &str, block: &Map<String, Value>) -> Result<(), Refusal> {
    for (field, max) in [("id", usize::MAX), ("name", NAME_BYTES_MAX)] {
        let word = block.get(field).and_then(Value::as_str).unwrap_or_default();
        if !checks::is_word(word, max) {
            let pattern = if field == "id" { "^[a-zA-Z0-9_-]+$" } else { "^[a-zA-Z0-9_-]{1,128}$" };
            return Err(Refusal::at(&join(path, field), format!("String should match pattern '{pattern}'")));
        }
    }
    Ok(())
}
