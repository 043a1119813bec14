//! Reads the request's settings: tools, inference parameters, reasoning and the output format.

use conversation::object::{Field, Object};
use conversation::thinking::{read_output_config, read_thinking};
use domain::Fault;
use domain::prompt::{
    Aliased, Effort, Extra, Json, OutputFormat, Prompt, ServiceTier, ThinkingVisibility, Tool, ToolChoice,
    ToolKind,
};
use json::refusal::missing;

use super::blocks::{leave_mark, read_mark};
use super::union::take_one_of;

pub(super) fn read_inference(whole: &mut Object<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    let Some(mut config) = whole.object("inferenceConfig")? else { return Ok(()) };
    prompt.output.tokens_max = config.count("maxTokens")?;
    prompt.sampling.temperature = config.number("temperature")?;
    prompt.sampling.top_p = config.number("topP")?;
    for stop in config.items("stopSequences")? {
        prompt.sampling.stop.push(stop.text()?);
    }
    config.leave(&[], &mut prompt.extras);
    Ok(())
}

pub(super) fn read_tools(whole: &mut Object<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    let Some(mut config) = whole.object("toolConfig")? else { return Ok(()) };
    for tool in config.items("tools")? {
        read_tool(tool, prompt)?;
    }
    if let Some(mut choice) = config.object("toolChoice")? {
        prompt.tool_choice = read_choice(&mut choice)?;
        choice.leave(&[], &mut prompt.extras);
    }
    config.leave(&[], &mut prompt.extras);
    Ok(())
}

fn read_tool(tool: Field<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    let json = tool.json();
    let mut tool = tool.object()?;
    let path = tool.path.clone();
    let kind = match take_one_of(&mut tool, &["toolSpec", "systemTool", "cachePoint"])? {
        Some(("toolSpec", spec)) => read_spec(spec, &mut prompt.extras)?,
        Some(("systemTool", _)) => ToolKind::Hosted { kind: "systemTool".to_owned(), json },
        Some((_, mark)) => {
            let mark = read_mark(mark, &mut prompt.extras)?;
            match prompt.tools.last_mut() {
                Some(last) => last.cache = Some(mark),
                None => leave_mark(&path, &mut prompt.extras),
            }
            return Ok(());
        }
        None => {
            return Err(missing(
                format!("{path}.toolSpec"),
                "Describe the tool: its name and its inputSchema.",
            ));
        }
    };
    tool.leave(&[], &mut prompt.extras);
    prompt.tools.push(Tool { kind, cache: None });
    Ok(())
}

fn read_spec(spec: Field<'_>, extras: &mut Vec<Extra>) -> Result<ToolKind, Box<Fault>> {
    let mut spec = spec.object()?;
    let name = spec.needed_text("name", "Give the tool a name.")?;
    let description = spec.text("description")?;
    let mut input = spec.need("inputSchema", "Describe the tool's input with a JSON Schema.")?.object()?;
    let schema = Some(input.need("json", "Send the JSON Schema as json.")?.object_json()?);
    input.leave(&[], extras);
    let strict = spec.boolean("strict")?;
    spec.leave(&[], extras);
    Ok(ToolKind::Function { name, description, schema, strict })
}

fn read_choice(choice: &mut Object<'_>) -> Result<Option<ToolChoice>, Box<Fault>> {
    Ok(match take_one_of(choice, &["auto", "any", "tool"])? {
        Some(("auto", _)) => Some(ToolChoice::Auto),
        Some(("any", _)) => Some(ToolChoice::Required),
        Some((_, tool)) => {
            let name = tool.object()?.needed_text("name", "Send the name of the tool to call.")?;
            Some(ToolChoice::Named { name, is_custom: false })
        }
        None => None,
    })
}

/// Reads `additionalModelRequestFields`, the parameters of a single vendor's models, as far as other dialects
/// have equivalents: Anthropic's, and Nova's `topK`.
pub(super) fn read_additional(whole: &mut Object<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    let Some(mut fields) = whole.object("additionalModelRequestFields")? else { return Ok(()) };
    read_thinking(&mut fields, prompt)?;
    read_output_config(&mut fields, prompt)?;
    if let Some(choice) = fields.object("tool_choice")? {
        read_one_call(choice, prompt)?;
    }
    prompt.sampling.top_k = fields.count("top_k")?;
    if let Some(mut inference) = fields.object("inferenceConfig")? {
        prompt.sampling.top_k = inference.count("topK")?.or(prompt.sampling.top_k);
        inference.leave(&[], &mut prompt.extras);
    }
    if let Some(effort) = fields.take("reasoning_effort")? {
        prompt.aliases.add(Aliased::Reasoning, "additionalModelRequestFields.reasoning_effort");
        read_effort(effort, prompt)?;
    }
    fields.leave(&["anthropic_beta"], &mut prompt.extras);
    Ok(())
}

/// Reads Anthropic's own tool choice, which can be sent beside Converse's: only it can disable parallel tool
/// calls.
fn read_one_call(mut choice: Object<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    prompt.parallel_tools = choice.boolean("disable_parallel_tool_use")?.map(|disabled| !disabled);
    let kind = choice.take("type")?;
    if let Some(kind) = kind.filter(|_| prompt.tool_choice.is_none()) {
        prompt.tool_choice = match &*kind.text()? {
            "auto" => None,
            "any" => Some(ToolChoice::Required),
            "none" => Some(ToolChoice::None),
            "tool" => {
                let name = choice.needed_text("name", "Send the name of the tool to call.")?;
                Some(ToolChoice::Named { name, is_custom: false })
            }
            _ => return Err(kind.unknown("auto, any, tool and none")),
        };
    }
    choice.leave(&[], &mut prompt.extras);
    Ok(())
}

pub(super) fn read_output(whole: &mut Object<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    let Some(mut config) = whole.object("outputConfig")? else { return Ok(()) };
    if let Some(effort) = config.take("effort")? {
        read_effort(effort, prompt)?;
    }
    if let Some(format) = config.object("textFormat")? {
        prompt.output.format = Some(read_format(format, &mut prompt.extras)?);
    }
    config.leave(&[], &mut prompt.extras);
    Ok(())
}

/// An effort doesn't re-enable reasoning that was disabled.
fn read_effort(effort: Field<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    let Some(known) = Effort::of(&effort.text()?) else {
        return Err(effort.unknown("low, medium, high, xhigh and max"));
    };
    let reasoning = &mut prompt.reasoning;
    match reasoning.effort {
        Some(_) => prompt.extras.push(Extra { name: effort.path, affects_answer: false }),
        None => reasoning.effort = Some(known),
    }
    // Converse responses show reasoning by default.
    reasoning.visibility =
        reasoning.visibility.or((known != Effort::None).then_some(ThinkingVisibility::Unasked));
    Ok(())
}

fn read_format(mut format: Object<'_>, extras: &mut Vec<Extra>) -> Result<OutputFormat, Box<Fault>> {
    let kind = format.need("type", "Give the format its type: json_schema.")?;
    if kind.text()? != "json_schema" {
        return Err(kind.unknown("json_schema"));
    }
    let mut structure = format.need("structure", "Send the structure of the answer.")?.object()?;
    let mut json_schema = structure.need("jsonSchema", "Send the JSON Schema of the answer.")?.object()?;
    let schema = json_schema.need("schema", "Send the JSON Schema as a string.")?;
    let text = schema.text()?;
    // The schema is a string that must contain a JSON object.
    Field { path: schema.path, ..Field::of(&text)? }.object_json()?;
    let (name, description) = (json_schema.text("name")?, json_schema.text("description")?);
    json_schema.leave(&[], extras);
    structure.leave(&[], extras);
    format.leave(&[], extras);
    Ok(OutputFormat::JsonSchema { name, description, schema: Json(text), strict: None })
}

pub(super) fn read_tier(whole: &mut Object<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    let Some(mut tier) = whole.object("serviceTier")? else { return Ok(()) };
    let kind = tier.need("type", "Give the tier its type, such as flex.")?;
    prompt.service_tier = match &*kind.text()? {
        "default" => Some(ServiceTier::Default),
        "flex" => Some(ServiceTier::Flex),
        "priority" => Some(ServiceTier::Priority),
        _ => {
            prompt.extras.push(Extra { name: kind.path, affects_answer: false });
            None
        }
    };
    tier.leave(&[], &mut prompt.extras);
    Ok(())
}

pub(super) fn read_metadata(whole: &mut Object<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    let Some(metadata) = whole.object("requestMetadata")? else { return Ok(()) };
    for (name, value) in metadata.texts()? {
        prompt.metadata.push((name, value));
    }
    Ok(())
}
