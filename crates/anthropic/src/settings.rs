//! Reads the request's settings: tools, sampling, thinking, the output format and cache breakpoints.

use conversation::object::{Field, Object};
use domain::Fault;
use domain::prompt::{CacheLifetime, CacheMark, Extra, Prompt, Tool, ToolChoice, ToolKind};

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
            let name = choice.needed_text("name", "Send the name of the tool to call.")?;
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
    let schema = object.need("input_schema", "Describe the tool's input with a JSON Schema.")?;
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
