//! Writes the tools of a request, and which of them the model may or must call.

use conversation::calls::Parameters;
use conversation::features::Feature;
use conversation::losses::{DroppedFields, WEB_SEARCH};
use domain::Prompt;
use domain::prompt::{Tool as PromptTool, ToolChoice, ToolKind};

use super::body::{Allowed, Choice, Custom, Function, Name, Named, Raw, Tool};

pub(super) fn tools<'a>(prompt: &'a Prompt, losses: &mut DroppedFields) -> Vec<Tool<'a>> {
    let tools = prompt.tools.iter().enumerate();
    tools.filter_map(|(index, tool)| write(index, tool, losses)).collect()
}

fn write<'a>(index: usize, tool: &'a PromptTool, losses: &mut DroppedFields) -> Option<Tool<'a>> {
    if tool.cache.is_some() {
        // Cache breakpoints are allowed on message parts only.
        losses.drop_feature(Feature::CacheMark);
    }
    match &tool.kind {
        ToolKind::Function { name, description, schema, strict } => Some(Tool::Function {
            function: Function {
                name,
                description: description.as_deref(),
                parameters: schema.as_ref().map(Parameters),
                strict: *strict,
            },
        }),
        ToolKind::Custom { name, description, format } => Some(Tool::Custom {
            custom: Custom { name, description: description.as_deref(), format: format.as_ref().map(Raw) },
        }),
        ToolKind::Hosted { kind, .. } => {
            if kind != WEB_SEARCH {
                losses.drop_tool(index, &tool.kind);
            }
            None
        }
    }
}

/// Web search, a hosted tool that is a field in this format.
pub(super) fn web_search(prompt: &Prompt) -> Option<Raw<'_>> {
    prompt.tools.iter().find_map(|tool| match &tool.kind {
        ToolKind::Hosted { kind, json } if kind == WEB_SEARCH => Some(Raw(json)),
        _ => None,
    })
}

pub(super) fn choice<'a>(choice: &'a ToolChoice, tools: &[PromptTool]) -> Choice<'a> {
    match choice {
        ToolChoice::Auto => Choice::Word("auto"),
        ToolChoice::None => Choice::Word("none"),
        ToolChoice::Required => Choice::Word("required"),
        ToolChoice::Named { name, is_custom } => Choice::Named(named(name, *is_custom)),
        ToolChoice::Allowed { names, is_required } => Choice::Allowed {
            r#type: "allowed_tools",
            allowed_tools: Allowed {
                mode: if *is_required { "required" } else { "auto" },
                tools: names.iter().map(|name| named(name, is_custom(tools, name))).collect(),
            },
        },
    }
}

fn named(name: &str, is_custom: bool) -> Named<'_> {
    let name = Name { name };
    if is_custom { Named::Custom { custom: name } } else { Named::Function { function: name } }
}

fn is_custom(tools: &[PromptTool], wanted: &str) -> bool {
    tools.iter().any(|tool| matches!(&tool.kind, ToolKind::Custom { name, .. } if name == wanted))
}
