//! Writes tool definitions and the tool choice for Gemini.

use std::borrow::Cow;

use conversation::calls::{Declared, declared};
use conversation::features::Feature;
use conversation::losses::DroppedFields;
use domain::prompt::{ToolChoice, ToolKind};
use domain::{Fault, Prompt};
use json::written::{Pairs, checked};
use json::{Cursor, Kind, find_member};
use serde::Serialize;
use serde_json::value::RawValue;

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Tool<'a> {
    Functions(Functions<'a>),
    Hosted(Pairs<Vec<(String, &'a RawValue)>>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Functions<'a> {
    function_declarations: Vec<Function<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Function<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters_json_schema: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolConfig<'a> {
    function_calling_config: Calling<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Calling<'a> {
    mode: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_function_names: Vec<Cow<'a, str>>,
}

/// Consecutive functions go into one tool, as Google's own clients send them.
pub(super) fn write<'a>(prompt: &'a Prompt, losses: &mut DroppedFields) -> Result<Vec<Tool<'a>>, Box<Fault>> {
    let mut tools = Vec::new();
    for (index, tool) in prompt.tools.iter().enumerate() {
        let Some(declared) = declared(&tool.kind) else {
            match &tool.kind {
                ToolKind::Hosted { kind, json } if is_own(kind) => {
                    tools.push(Tool::Hosted(Pairs(vec![(kind.clone(), checked(json.as_str())?)])));
                }
                other => losses.drop_tool(index, other),
            }
            continue;
        };
        losses.drop_custom_format(index, &declared);
        if declared.strict == Some(true) {
            losses.drop_feature(Feature::StrictTool);
        }
        let function = function(declared)?;
        match tools.last_mut() {
            Some(Tool::Functions(functions)) => functions.function_declarations.push(function),
            _ => tools.push(Tool::Functions(Functions { function_declarations: vec![function] })),
        }
    }
    Ok(tools)
}

fn function(declared: Declared<'_>) -> Result<Function<'_>, Box<Fault>> {
    let Declared { name, description, schema, .. } = declared;
    let parameters_json_schema = match schema {
        Some(schema) if accepts_input(schema)? => Some(checked(schema)?),
        _ => None,
    };
    Ok(Function { name, description, parameters_json_schema })
}

/// Tools that Google runs itself.
fn is_own(kind: &str) -> bool {
    matches!(
        kind,
        "googleSearch"
            | "googleSearchRetrieval"
            | "enterpriseWebSearch"
            | "googleMaps"
            | "urlContext"
            | "codeExecution"
            | "fileSearch"
            | "computerUse"
            | "retrieval"
            | "mcpServers"
            | "parallelAiSearch"
            | "exaAiSearch"
    )
}

/// Whether a schema has properties, or constrains its value in another way. An empty schema must be omitted.
fn accepts_input(schema: &str) -> Result<bool, Box<Fault>> {
    let bytes = schema.as_bytes();
    if let Some(span) = find_member(bytes, "properties")? {
        return Ok(Cursor::new(span.of(bytes))?.value()?.is_something(span.of(bytes)));
    }
    if Cursor::new(bytes)?.kind()? != Kind::Object {
        return Ok(false);
    }
    let mut has_more = false;
    Cursor::new(bytes)?.object(|cursor, member| {
        let is_frame =
            ["type", "additionalProperties", "required", "$schema"].iter().any(|name| member.key.is(name));
        has_more |= !is_frame;
        cursor.ignore()
    })?;
    Ok(has_more)
}

pub(super) fn choice(prompt: &Prompt) -> Option<ToolConfig<'_>> {
    let (mode, names) = match prompt.tool_choice.as_ref()? {
        ToolChoice::Auto => ("AUTO", Vec::new()),
        ToolChoice::None => ("NONE", Vec::new()),
        ToolChoice::Required => ("ANY", Vec::new()),
        ToolChoice::Named { name, .. } => ("ANY", vec![Cow::Borrowed(name.as_str())]),
        ToolChoice::Allowed { names, is_required } => {
            let names = names.iter().map(|name| Cow::Borrowed(name.as_str())).collect();
            // Only these two modes take `allowedFunctionNames`.
            (if *is_required { "ANY" } else { "VALIDATED" }, names)
        }
    };
    Some(ToolConfig { function_calling_config: Calling { mode, allowed_function_names: names } })
}
