//! Reads the request's settings: tools, sampling, thinking, the output format and cache breakpoints.

use domain::Fault;
use domain::prompt::{
    Aliased, CacheLifetime, CacheMark, Effort, Extra, OutputFormat, Prompt, ThinkingVisibility, Tool,
    ToolChoice, ToolKind,
};

use crate::object::{Field, Object};

pub(super) fn read_mark(
    object: &mut Object<'_>,
    extras: &mut Vec<Extra>,
) -> Result<Option<CacheMark>, Box<Fault>> {
    let Some(mut control) = object.object("cache_control")? else { return Ok(None) };
    let kind = control.need("type", "Give the mark its type: ephemeral.")?;
    if kind.text()? != "ephemeral" {
        return Err(kind.unknown("ephemeral"));
    }
    let lifetime = match control.take("ttl")? {
        None => None,
        Some(ttl) => match &*ttl.text()? {
            "5m" => Some(CacheLifetime::Minutes5),
            "1h" => Some(CacheLifetime::Hour1),
            _ => return Err(ttl.unknown("5m and 1h")),
        },
    };
    // Betas narrow the cache's scope. Another provider's cache serves as well.
    control.leave(&["scope"], extras);
    Ok(Some(CacheMark { lifetime }))
}

pub(super) fn read_tools(whole: &mut Object<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    for tool in whole.items("tools")? {
        let tool = read_tool(tool, &mut prompt.extras)?;
        prompt.tools.push(tool);
    }
    let Some(mut choice) = whole.object("tool_choice")? else { return Ok(()) };
    let kind = choice.need("type", "Give the choice a type: auto, any, tool or none.")?;
    prompt.tool_choice = Some(match &*kind.text()? {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => {
            let name = choice.needed_text("name", "Send the name of the tool that is to be called.")?;
            ToolChoice::Named { name, is_custom: false }
        }
        _ => return Err(kind.unknown("auto, any, tool and none")),
    });
    prompt.parallel_tools = choice.boolean("disable_parallel_tool_use")?.map(|disabled| !disabled);
    choice.leave(&[], &mut prompt.extras);
    Ok(())
}

fn read_tool(tool: Field<'_>, extras: &mut Vec<Extra>) -> Result<Tool, Box<Fault>> {
    let raw = tool.json();
    let mut object = tool.object()?;
    let kind = object.text("type")?;
    if let Some(kind) = kind.filter(|kind| kind != "custom") {
        // Passed through unparsed, its cache breakpoint included.
        return Ok(Tool { kind: ToolKind::Hosted { kind, json: raw }, cache: None });
    }
    let name = object.needed_text("name", "Give the tool a name.")?;
    let description = object.text("description")?;
    let schema = object.need("input_schema", "Describe the tool's input by a JSON Schema.")?;
    let schema = Some(schema.object_json()?);
    let strict = object.boolean("strict")?;
    let cache = read_mark(&mut object, extras)?;
    // How and when the tool is offered, with examples. A model that gets all tools at once can call it
    // without these.
    let hints = ["allowed_callers", "defer_loading", "eager_input_streaming", "input_examples"];
    object.leave(&hints, extras);
    Ok(Tool { kind: ToolKind::Function { name, description, schema, strict }, cache })
}

pub(super) fn read_sampling(whole: &mut Object<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    prompt.sampling.temperature = whole.number("temperature")?;
    prompt.sampling.top_p = whole.number("top_p")?;
    prompt.sampling.top_k = whole.count("top_k")?;
    for stop in whole.items("stop_sequences")? {
        prompt.sampling.stop.push(stop.text()?);
    }
    Ok(())
}

pub(crate) fn read_thinking(whole: &mut Object<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    let Some(mut thinking) = whole.object("thinking")? else { return Ok(()) };
    prompt.aliases.add(Aliased::Reasoning, thinking_name(whole));
    let kind = thinking.need("type", "Give thinking a type: enabled, adaptive or disabled.")?;
    let kind_text = kind.text()?;
    match &*kind_text {
        "enabled" => {
            let budget = thinking.need("budget_tokens", "Send how many tokens it may think.")?;
            prompt.reasoning.budget_tokens = Some(budget.count()?);
        }
        "disabled" => prompt.reasoning.effort = Some(Effort::None),
        "adaptive" => prompt.reasoning.is_adaptive = true,
        "between_tools" => {
            prompt.reasoning.is_adaptive = true;
            prompt.extras.push(Extra { name: kind.path, affects_answer: false });
        }
        _ => return Err(kind.unknown("enabled, adaptive, between_tools and disabled")),
    }
    // Whether thinking is shown by default depends on the Anthropic model, and here another vendor's model
    // answers. So a client that pays for thinking gets to see it unless it opts out.
    let default = (kind_text != "disabled").then_some(ThinkingVisibility::Unasked);
    prompt.reasoning.visibility = match thinking.take("display")? {
        None => default,
        Some(display) => match &*display.text()? {
            "summarized" => Some(ThinkingVisibility::Summary),
            "omitted" => Some(ThinkingVisibility::Nothing),
            // Betas add further displays, such as Claude Code's `updates`. They don't change the thinking
            // itself.
            _ => {
                prompt.extras.push(Extra { name: display.path, affects_answer: false });
                default
            }
        },
    };
    // `budget_tokens` is dropped beside any type but `enabled`, as are fields that betas add.
    thinking.leave(&["budget_tokens", "keep", "turns"], &mut prompt.extras);
    Ok(())
}

/// The name that the client knows it by: Converse nests these fields one object deeper.
fn thinking_name(whole: &Object<'_>) -> &'static str {
    if whole.path.is_empty() { "thinking" } else { "additionalModelRequestFields.thinking" }
}

fn effort_name(whole: &Object<'_>) -> &'static str {
    if whole.path.is_empty() {
        "output_config.effort"
    } else {
        "additionalModelRequestFields.output_config.effort"
    }
}

/// Called after `read_thinking`: an effort doesn't re-enable thinking that was disabled.
pub(crate) fn read_output_config(whole: &mut Object<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    // The field's name in the structured outputs beta.
    if let Some(format) = whole.object("output_format")? {
        prompt.output.format = Some(read_format(format, prompt)?);
    }
    let Some(mut config) = whole.object("output_config")? else { return Ok(()) };
    if let Some(effort) = config.take("effort")? {
        prompt.aliases.add(Aliased::Reasoning, effort_name(whole));
        let Some(known) = Effort::of(&effort.text()?) else {
            return Err(effort.unknown("low, medium, high, xhigh and max"));
        };
        match prompt.reasoning.effort {
            Some(_) => prompt.extras.push(Extra { name: effort.path, affects_answer: false }),
            None => prompt.reasoning.effort = Some(known),
        }
    }
    if let Some(format) = config.object("format")? {
        prompt.output.format = Some(read_format(format, prompt)?);
    }
    config.leave(&["task_budget"], &mut prompt.extras);
    Ok(())
}

fn read_format(mut format: Object<'_>, prompt: &mut Prompt) -> Result<OutputFormat, Box<Fault>> {
    let kind = format.need("type", "Give the format its type: json_schema.")?;
    if kind.text()? != "json_schema" {
        return Err(kind.unknown("json_schema"));
    }
    let schema = format.need("schema", "Send the JSON Schema of the answer.")?.object_json()?;
    format.leave(&[], &mut prompt.extras);
    Ok(OutputFormat::JsonSchema { name: None, description: None, schema, strict: None })
}
