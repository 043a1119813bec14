//! Writes tools, and which of them is to be called.

use std::borrow::Cow;
use std::collections::HashSet;

use domain::prompt::{Prompt, ToolChoice as Choice, ToolKind};
use domain::{Fault, FaultClass};

use super::wire::{FunctionTool, Mark, Raw, RawCow, Tool, ToolChoice};
use super::write::with_member;
use crate::losses::{Feature, Losses};

/// What a tool's name may be long.
const NAME_BYTES_MAX: usize = 128;

/// The tools, and the names of those that were written.
pub(super) fn write_tools<'a>(
    prompt: &'a Prompt,
    losses: &mut Losses,
) -> Result<(Vec<Tool<'a>>, HashSet<&'a str>), Box<Fault>> {
    let allowed: Option<HashSet<&str>> = match &prompt.tool_choice {
        Some(Choice::Allowed { names, .. }) => Some(names.iter().map(String::as_str).collect()),
        _ => None,
    };
    let mut tools = Vec::new();
    let mut names = HashSet::new();
    for (index, tool) in prompt.tools.iter().enumerate() {
        match &tool.kind {
            ToolKind::Function { name, description, schema, strict } => {
                if allowed.as_ref().is_some_and(|allowed| !allowed.contains(name.as_str())) {
                    continue;
                }
                check_name(name, || format!("tools[{index}].name"))?;
                names.insert(name.as_str());
                let schema = schema.as_ref().map_or("{}", |schema| schema.as_str());
                tools.push(Tool::Function(FunctionTool {
                    name,
                    description: description.as_deref(),
                    input_schema: RawCow(typed(schema)),
                    strict: *strict,
                    cache_control: tool.cache.map(Mark::of),
                }));
            }
            ToolKind::Custom { .. } => losses.lose_at(Feature::CustomTool, format!("tools[{index}]")),
            ToolKind::Hosted { kind, json } if is_own_tool(kind) => {
                tools.push(Tool::Hosted(Raw(json.as_str())))
            }
            ToolKind::Hosted { .. } => losses.lose_at(Feature::HostedTool, format!("tools[{index}]")),
        }
    }
    Ok((tools, names))
}

/// The provider takes a schema of an object, and wants that said.
fn typed(schema: &str) -> Cow<'_, str> {
    if schema.trim_start().trim_start_matches('{').trim_start() == "}" {
        return Cow::Borrowed(r#"{"type":"object","properties":{}}"#);
    }
    with_member(schema, "type", "\"object\"")
}

/// Tools that the provider itself knows are dated, but for one kind.
fn is_own_tool(kind: &str) -> bool {
    let dated = kind
        .rsplit_once('_')
        .is_some_and(|(_, date)| date.len() == 8 && date.bytes().all(|digit| digit.is_ascii_digit()));
    dated || kind == "mcp_toolset"
}

/// # Errors
/// The name has characters that this grammar has no place for: another name would not be known to the client.
pub(super) fn check_name(name: &str, path: impl Fn() -> String) -> Result<(), Box<Fault>> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(is_plain) {
        return Ok(());
    }
    let message = format!("\"{}\" is a name that the model's provider doesn't take for a tool.", path());
    let fix = format!("Name the tool with 1 to {NAME_BYTES_MAX} letters, digits, \"_\" and \"-\".");
    Err(Box::new(
        Fault::new(FaultClass::Unsupported, "unsupported_tool_name", message).fix(fix).param(path()),
    ))
}

pub(super) fn write_choice<'a>(
    prompt: &'a Prompt,
    names: &HashSet<&str>,
    losses: &mut Losses,
) -> Option<ToolChoice<'a>> {
    let single = prompt.parallel_tools.map(|parallel| !parallel);
    let has_tools = !prompt.tools.is_empty();
    let choice = |r#type, name, disable_parallel_tool_use| {
        Some(ToolChoice { r#type, name, disable_parallel_tool_use })
    };
    match prompt.tool_choice.as_ref() {
        // Without tools there is nothing to choose from, and the provider refuses to be told so.
        None | Some(Choice::Auto | Choice::None) if !has_tools => None,
        None => single.filter(|single| *single).and_then(|single| choice("auto", None, Some(single))),
        Some(Choice::Auto | Choice::Allowed { is_required: false, .. }) => choice("auto", None, single),
        Some(Choice::None) => choice("none", None, None),
        Some(Choice::Required | Choice::Allowed { is_required: true, .. }) => choice("any", None, single),
        Some(Choice::Named { name, .. }) => {
            let is_hosted =
                |kind: &ToolKind| matches!(kind, ToolKind::Hosted { kind, .. } if is_own_tool(kind));
            if !names.contains(name.as_str()) && !prompt.tools.iter().any(|tool| is_hosted(&tool.kind)) {
                losses.lose_extra("tool_choice", true);
                return None;
            }
            choice("tool", Some(name), single)
        }
    }
}
