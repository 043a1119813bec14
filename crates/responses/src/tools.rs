//! Reads tools and `tool_choice`.

use conversation::losses::is_mark;
use domain::prompt::{Tool, ToolChoice, ToolKind};
use domain::{Fault, Prompt};
use json::Value;
use json::members::{Members, json_of, kind_of};
use json::refusal::{wrong_type, wrong_value};

use super::read::AddExtra;

/// Hosted tools, and built-in tools whose calls have a form of their own.
pub(super) const HOSTED: &[&str] = &[
    "web_search",
    "web_search_2025_08_26",
    "web_search_preview",
    "web_search_preview_2025_03_11",
    "file_search",
    "computer",
    "computer_use_preview",
    "code_interpreter",
    "image_generation",
    "mcp",
    "shell",
    "local_shell",
    "apply_patch",
    "tool_search",
    "programmatic_tool_calling",
];

/// Tool members that other dialects can't express, and that the tool works without.
const TOOL_HINTS: &[&str] = &["defer_loading", "output_schema", "allowed_callers"];

/// The flat name of a function in a namespace, for dialects without namespaces. The namespaces are recorded,
/// so that the answer names the function as declared.
pub(super) fn flat_name(namespace: &str, name: &str) -> String {
    format!("{namespace}__{name}")
}

pub(super) fn read_tools(members: &mut Members<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    for (path, tool) in members.elements("tools")?.unwrap_or_default() {
        read_tool(Members::read(tool, path)?, None, prompt)?;
    }
    Ok(())
}

fn read_tool(mut tool: Members<'_>, namespace: Option<&str>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    let fix = "Give each tool a type, such as function.";
    let kind = tool.needed_text("type", fix)?;
    let kind = match &*kind {
        "function" => ToolKind::Function {
            name: read_name(&mut tool, namespace)?,
            description: tool.text("description")?,
            schema: tool.object("parameters")?.map(json_of),
            strict: tool.boolean("strict")?,
        },
        "custom" => ToolKind::Custom {
            name: read_name(&mut tool, namespace)?,
            description: tool.text("description")?,
            format: tool.object("format")?.map(json_of),
        },
        "namespace" if namespace.is_none() => return read_namespace(tool, prompt),
        _ => {
            prompt
                .tools
                .push(Tool { kind: ToolKind::Hosted { kind, json: json_of(tool.bytes()) }, cache: None });
            return Ok(());
        }
    };
    prompt.tools.push(Tool { kind, cache: None });
    let path = tool.path().to_owned();
    for (name, is_something) in tool.rest_with_presence() {
        let is_hint = TOOL_HINTS.contains(&name.as_str()) || is_mark(&name);
        if is_something || !is_hint {
            prompt.add_extra(format!("{path}.{name}"), !is_hint);
        }
    }
    Ok(())
}

fn read_name(tool: &mut Members<'_>, namespace: Option<&str>) -> Result<String, Box<Fault>> {
    let name = tool.needed_text("name", "Give the tool a name.")?;
    Ok(namespace.map_or_else(|| name.clone(), |namespace| flat_name(namespace, &name)))
}

fn read_namespace(mut tool: Members<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    let name = tool.needed_text("name", "Give the namespace a name.")?;
    for (path, inner) in tool.elements("tools")?.unwrap_or_default() {
        read_tool(Members::read(inner, path)?, Some(&name), prompt)?;
    }
    let path = tool.path().to_owned();
    for left in tool.rest() {
        // A flattened namespace leaves no place for its description.
        prompt.add_extra(format!("{path}.{left}"), left != "description");
    }
    if !prompt.namespaces.contains(&name) {
        prompt.namespaces.push(name);
    }
    Ok(())
}

pub(super) fn read_choice(members: &mut Members<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    let path = members.path_of("tool_choice");
    let fix = "Send auto, none or required, or name a tool.";
    match members.take("tool_choice")? {
        None => return Ok(()),
        Some(Value::String(word)) => {
            prompt.tool_choice = Some(match &*word.decode() {
                "auto" => ToolChoice::Auto,
                "none" => ToolChoice::None,
                "required" => ToolChoice::Required,
                _ => return Err(wrong_value(path, "isn't a tool choice", fix.to_owned())),
            });
        }
        Some(Value::Object(span)) => {
            read_named_choice(Members::read(span.of(members.bytes()), path.clone())?, prompt)?;
        }
        Some(other) => return Err(wrong_type(path, "a string or an object", kind_of(&other))),
    }
    // A tool call is required, but only the provider could run these tools.
    let is_ours = |tool: &Tool| !matches!(tool.kind, ToolKind::Hosted { .. });
    if prompt.tool_choice == Some(ToolChoice::Required)
        && !prompt.tools.iter().any(is_ours)
        && !prompt.tools.is_empty()
    {
        prompt.add_extra(path, true);
    }
    Ok(())
}

fn read_named_choice(mut choice: Members<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    let kind = choice.needed_text("type", "Send the type of the tool.")?;
    match &*kind {
        "function" | "custom" => {
            let name = choice.needed_text("name", "Name the tool.")?;
            let namespace = choice.text("namespace")?;
            let name = namespace.map_or_else(|| name.clone(), |namespace| flat_name(&namespace, &name));
            prompt.tool_choice = Some(ToolChoice::Named { name, is_custom: kind == "custom" });
            super::read::leave(choice, &mut prompt.extras);
        }
        "allowed_tools" => read_allowed(choice, prompt)?,
        // The model must call a tool that only the provider runs.
        _ => prompt.add_extra(choice.path().to_owned(), true),
    }
    Ok(())
}

fn read_allowed(mut choice: Members<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    let is_required = choice.text("mode")?.as_deref() == Some("required");
    let mut names = Vec::new();
    for (path, tool) in choice.elements("tools")?.unwrap_or_default() {
        let mut tool = Members::read(tool, path)?;
        let kind = tool.text("type")?;
        let is_ours = matches!(kind.as_deref(), Some("function" | "custom"));
        match (is_ours, tool.text("name")?, tool.text("namespace")?) {
            (true, Some(name), None) => names.push(name),
            (true, Some(name), Some(namespace)) => names.push(flat_name(&namespace, &name)),
            _ => prompt.add_extra(tool.path().to_owned(), false),
        }
    }
    if names.is_empty() && is_required {
        prompt.add_extra(choice.path().to_owned(), true);
    } else {
        prompt.tool_choice = Some(ToolChoice::Allowed { names, is_required });
    }
    super::read::leave(choice, &mut prompt.extras);
    Ok(())
}
