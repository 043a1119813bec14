//! Writes tool definitions and the tool choice for Converse.

use std::borrow::Cow;
use std::collections::HashSet;

use conversation::calls::{check_name, declared, typed};
use conversation::claude_schema::supported;
use conversation::features::Feature;
use conversation::losses::DroppedFields;
use conversation::target::TargetModel;
use domain::Fault;
use domain::prompt::{Content, Prompt, ToolChoice as Choice};
use json::written::checked;

use super::settings::is_claude;
use super::wire::{CachePoint, InputSchema, Tool, ToolChoice, ToolConfig, ToolSpec};
use crate::limits::TOOL_NAME_BYTES_MAX;

pub(super) fn write<'a>(
    prompt: &'a Prompt,
    target: &TargetModel<'_>,
    losses: &mut DroppedFields,
) -> Result<Option<ToolConfig<'a>>, Box<Fault>> {
    let called = called_before(prompt);
    let may_call = prompt.tool_choice != Some(Choice::None);
    if !may_call && called.is_empty() {
        // Converse has no `none` choice. Without declared tools the model cannot call any.
        return Ok(None);
    }
    if !may_call && !prompt.tools.is_empty() {
        losses.drop_feature(Feature::NoCall);
    }
    let (mut tools, names) = declare(prompt, target, losses)?;
    let tool_choice = choose(prompt, &names, losses);
    if tools.is_empty() {
        // Bedrock rejects a conversation that contains tool calls if no tool is declared.
        for name in called {
            tools.push(Tool::ToolSpec(ToolSpec {
                name,
                description: None,
                input_schema: schema("{}")?,
                strict: None,
            }));
        }
    }
    Ok((!tools.is_empty()).then_some(ToolConfig { tools, tool_choice }))
}

/// The distinct names of the tools called earlier in the conversation.
fn called_before(prompt: &Prompt) -> Vec<&str> {
    let mut known = HashSet::new();
    let parts = prompt.turns.iter().flat_map(|turn| &turn.parts);
    let names = parts.filter_map(|part| match &part.content {
        Content::ToolCall(call) => Some(call.name.as_str()),
        _ => None,
    });
    names.filter(|name| known.insert(*name)).collect()
}

/// Returns the tools, and the names of the functions among them.
fn declare<'a>(
    prompt: &'a Prompt,
    target: &TargetModel<'_>,
    losses: &mut DroppedFields,
) -> Result<(Vec<Tool<'a>>, HashSet<&'a str>), Box<Fault>> {
    let allowed: Option<HashSet<&str>> = match &prompt.tool_choice {
        Some(Choice::Allowed { names, .. }) => Some(names.iter().map(String::as_str).collect()),
        _ => None,
    };
    let (mut tools, mut names) = (Vec::new(), HashSet::new());
    for (index, tool) in prompt.tools.iter().enumerate() {
        let Some(declared) = declared(&tool.kind) else {
            losses.drop_tool(index, &tool.kind);
            continue;
        };
        let name = declared.name;
        if allowed.as_ref().is_some_and(|allowed| !allowed.contains(name)) {
            continue;
        }
        check_name(name, TOOL_NAME_BYTES_MAX, || format!("tools[{index}].name"))?;
        names.insert(name);
        losses.drop_custom_format(index, &declared);
        let is_strict = declared.strict == Some(true);
        let mut written = Cow::Borrowed(declared.schema.unwrap_or("{}"));
        if is_strict && is_claude(target.model) {
            let (sent, is_lossy) = supported(&written);
            if is_lossy {
                losses.drop_aspect(Feature::StrictTool);
            }
            written = Cow::Owned(sent.into_owned());
        }
        tools.push(Tool::ToolSpec(ToolSpec {
            name,
            description: declared.description.filter(|text| !text.is_empty()),
            input_schema: schema(&written)?,
            strict: is_strict.then_some(true),
        }));
        match tool.cache.filter(|_| target.abilities.cache_marks) {
            Some(mark) => tools.push(Tool::CachePoint(CachePoint::of(mark))),
            None if tool.cache.is_some() => losses.drop_feature(Feature::CacheMark),
            None => {}
        }
    }
    Ok((tools, names))
}

fn schema(json: &str) -> Result<InputSchema, Box<Fault>> {
    Ok(InputSchema { json: checked(&typed(json))?.to_owned() })
}

fn choose<'a>(
    prompt: &'a Prompt,
    names: &HashSet<&str>,
    losses: &mut DroppedFields,
) -> Option<ToolChoice<'a>> {
    let choice = match prompt.tool_choice.as_ref()? {
        Choice::None => return None,
        Choice::Auto | Choice::Allowed { is_required: false, .. } if names.is_empty() => return None,
        Choice::Auto | Choice::Allowed { is_required: false, .. } => return Some(ToolChoice::Auto {}),
        Choice::Required | Choice::Allowed { is_required: true, .. } => {
            (!names.is_empty()).then_some(ToolChoice::Any {})
        }
        Choice::Named { name, .. } => names.contains(name.as_str()).then_some(ToolChoice::Tool { name }),
    };
    if choice.is_none() {
        losses.drop_feature(Feature::ForcedCall);
    }
    choice
}
