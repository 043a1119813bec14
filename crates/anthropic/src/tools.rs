//! Writes tool definitions and the tool choice for Anthropic.

use std::borrow::Cow;
use std::collections::HashSet;

use conversation::calls::{check_name, declared, typed};
use conversation::claude_schema::supported;
use conversation::features::Feature;
use conversation::losses::DroppedFields;
use domain::Fault;
use domain::prompt::{Prompt, ToolChoice as Choice, ToolKind};

use super::wire::{FunctionTool, Mark, Raw, RawCow, Tool, ToolChoice};
use crate::limits::TOOL_NAME_BYTES_MAX;

/// Returns the tools, and the names of the functions among them.
pub(super) fn write_tools<'a>(
    prompt: &'a Prompt,
    losses: &mut DroppedFields,
) -> Result<(Vec<Tool<'a>>, HashSet<&'a str>), Box<Fault>> {
    let allowed: Option<HashSet<&str>> = match &prompt.tool_choice {
        Some(Choice::Allowed { names, .. }) => Some(names.iter().map(String::as_str).collect()),
        _ => None,
    };
    let mut tools = Vec::new();
    let mut names = HashSet::new();
    for (index, tool) in prompt.tools.iter().enumerate() {
        let Some(declared) = declared(&tool.kind) else {
            match &tool.kind {
                ToolKind::Hosted { kind, json } if is_own_tool(kind) => {
                    tools.push(Tool::Hosted(Raw(json.as_str())));
                }
                other => losses.drop_tool(index, other),
            }
            continue;
        };
        if allowed.as_ref().is_some_and(|allowed| !allowed.contains(declared.name)) {
            continue;
        }
        check_name(declared.name, TOOL_NAME_BYTES_MAX, || format!("tools[{index}].name"))?;
        names.insert(declared.name);
        losses.drop_custom_format(index, &declared);
        let mut schema = typed(declared.schema.unwrap_or("{}"));
        if declared.strict == Some(true) {
            let (sent, is_lossy) = supported(&schema);
            if is_lossy {
                losses.drop_aspect(Feature::StrictTool);
            }
            schema = Cow::Owned(sent.into_owned());
        }
        tools.push(Tool::Function(FunctionTool {
            name: declared.name,
            description: declared.description,
            input_schema: RawCow(schema),
            strict: declared.strict,
            cache_control: tool.cache.map(Mark::of),
        }));
    }
    Ok((tools, names))
}

/// Anthropic's server tools have a date suffix, with one exception.
fn is_own_tool(kind: &str) -> bool {
    let dated = kind
        .rsplit_once('_')
        .is_some_and(|(_, date)| date.len() == 8 && date.bytes().all(|digit| digit.is_ascii_digit()));
    dated || kind == "mcp_toolset"
}

pub(super) fn write_choice<'a>(
    prompt: &'a Prompt,
    names: &HashSet<&str>,
    losses: &mut DroppedFields,
) -> Option<ToolChoice<'a>> {
    let single = prompt.parallel_tools.map(|parallel| !parallel);
    let has_tools = !prompt.tools.is_empty();
    let choice = |r#type, name, disable_parallel_tool_use| {
        Some(ToolChoice { r#type, name, disable_parallel_tool_use })
    };
    match prompt.tool_choice.as_ref() {
        // A tool choice without tools is an error at Anthropic.
        None | Some(Choice::Auto | Choice::None) if !has_tools => None,
        None => single.filter(|single| *single).and_then(|single| choice("auto", None, Some(single))),
        Some(Choice::Auto | Choice::Allowed { is_required: false, .. }) => choice("auto", None, single),
        Some(Choice::None) => choice("none", None, None),
        Some(Choice::Required | Choice::Allowed { is_required: true, .. }) => choice("any", None, single),
        Some(Choice::Named { name, .. }) => {
            let is_hosted =
                |kind: &ToolKind| matches!(kind, ToolKind::Hosted { kind, .. } if is_own_tool(kind));
            if !names.contains(name.as_str()) && !prompt.tools.iter().any(|tool| is_hosted(&tool.kind)) {
                losses.drop_feature(Feature::ForcedCall);
                return None;
            }
            choice("tool", Some(name), single)
        }
    }
}
