//! Reads a Responses request into `Prompt`, the intermediate form that every dialect can be written from.

use conversation::losses::is_mark;
use domain::prompt::{
    Aliased, Caching, Effort, Extra, Instruction, Output, OutputFormat, Reasoning, Sampling, ServiceTier,
    ThinkingVisibility,
};
use domain::{Fault, Prompt};
use json::Value;
use json::members::{Members, value_of};
use json::refusal::{wrong_type, wrong_value};

use super::items::{Conversation, read_items};
use super::tools::{read_choice, read_tools};

/// Documented fields without which the answer is the same, or as good.
const HINTS: &[&str] = &[
    "client_metadata",
    "context_management",
    "max_tool_calls",
    "stream_options",
    "truncation",
    "prompt_cache_options",
    "access_programs",
    "image",
    "user",
];

/// Request fields that a response object repeats.
const ECHOED: &[&str] = &[
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];

pub fn read_prompt(body: &[u8]) -> Result<Prompt, Box<Fault>> {
    let mut members = Members::read(body, String::new())?;
    members.take("model")?;
    let mut prompt = Prompt { echo: members.echo(ECHOED), ..Prompt::default() };
    prompt.stream = members.boolean("stream")?.unwrap_or(false);
    read_conversation(&mut members, &mut prompt)?;
    read_tools(&mut members, &mut prompt)?;
    read_choice(&mut members, &mut prompt)?;
    prompt.parallel_tools = members.boolean("parallel_tool_calls")?;
    prompt.sampling = Sampling {
        temperature: members.number("temperature")?,
        top_p: members.number("top_p")?,
        top_logprobs: members.count("top_logprobs")?,
        ..Sampling::default()
    };
    prompt.output.tokens_max = members.count("max_output_tokens")?;
    read_text(&mut members, &mut prompt.output, &mut prompt.extras)?;
    prompt.reasoning = read_reasoning(&mut members, &mut prompt.extras)?;
    read_include(&mut members, &mut prompt)?;
    prompt.caching = Caching {
        key: members.text("prompt_cache_key")?,
        retention: members.text("prompt_cache_retention")?,
        ..Caching::default()
    };
    prompt.store = members.boolean("store")?;
    prompt.service_tier = read_tier(&mut members, &mut prompt.extras)?;
    prompt.end_user = match members.text("safety_identifier")? {
        Some(name) => {
            prompt.aliases.add(Aliased::EndUser, "safety_identifier");
            Some(name)
        }
        None => members.text("user")?,
    };
    read_metadata(&mut members, &mut prompt)?;
    // OpenAI's default needs no report.
    let default_truncation =
        |(name, _): &(String, bool)| name == "truncation" && is_word(body, name, "disabled");
    for (name, is_something) in
        members.rest_with_presence().into_iter().filter(|member| !default_truncation(member))
    {
        let is_hint = HINTS.contains(&name.as_str()) || is_mark(&name);
        // Dropping an empty or disabled value is not a loss, where the field is known.
        if is_something || !(is_hint || name == "background") {
            prompt.add_extra(name, !is_hint);
        }
    }
    Ok(prompt)
}

/// Reports fields that the intermediate form can't hold.
pub(super) trait AddExtra {
    /// Records a name once, however often it occurs.
    fn add_extra(&mut self, name: String, is_meaning: bool);
}

impl AddExtra for Vec<Extra> {
    fn add_extra(&mut self, name: String, is_meaning: bool) {
        if self.iter().all(|extra| extra.name != name) {
            self.push(Extra { name, affects_answer: is_meaning });
        }
    }
}

impl AddExtra for Prompt {
    fn add_extra(&mut self, name: String, is_meaning: bool) {
        self.extras.add_extra(name, is_meaning);
    }
}

fn is_word(body: &[u8], name: &str, word: &str) -> bool {
    Members::of_answer(body).and_then(|members| members.find_text(name)).is_some_and(|text| text == word)
}

fn read_conversation(members: &mut Members<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    if let Some(text) = members.text("instructions")? {
        prompt.instructions.push(Instruction { is_developer: false, text, cache: None });
    }
    let input = members.take("input")?;
    let mut conversation = Conversation::new(prompt);
    match input {
        None => {}
        Some(Value::String(text)) => conversation.push_text(&text.decode()),
        Some(Value::Array(span)) => read_items(span.of(members.bytes()), &mut conversation)?,
        Some(other) => {
            let kind = json::members::kind_of(&other);
            return Err(wrong_type("input".to_owned(), "a string or an array of items", kind));
        }
    }
    Ok(())
}

fn read_text(
    members: &mut Members<'_>,
    output: &mut Output,
    extras: &mut Vec<Extra>,
) -> Result<(), Box<Fault>> {
    let Some(mut text) = members.members("text")? else { return Ok(()) };
    output.verbosity = text.text("verbosity")?;
    if let Some(format) = text.members("format")? {
        output.format = Some(read_format(format, extras)?);
    }
    leave(text, extras);
    Ok(())
}

fn read_format(mut format: Members<'_>, extras: &mut Vec<Extra>) -> Result<OutputFormat, Box<Fault>> {
    let fix = "Send text, json_object or json_schema.";
    let read = match &*format.needed_text("type", fix)? {
        "text" => OutputFormat::Text,
        "json_object" => OutputFormat::JsonObject,
        "json_schema" => OutputFormat::JsonSchema {
            name: format.text("name")?,
            description: format.text("description")?,
            schema: match format.object("schema")? {
                Some(schema) => json::members::json_of(schema),
                None => {
                    let fix = "Send the schema that the answer must match.";
                    return Err(json::refusal::missing(format.path_of("schema"), fix));
                }
            },
            strict: format.boolean("strict")?,
        },
        _ => return Err(wrong_value(format.path_of("type"), "isn't a format of this API", fix.to_owned())),
    };
    leave(format, extras);
    Ok(read)
}

fn read_reasoning(members: &mut Members<'_>, extras: &mut Vec<Extra>) -> Result<Reasoning, Box<Fault>> {
    let Some(mut fields) = members.members("reasoning")? else { return Ok(Reasoning::default()) };
    let mut reasoning = Reasoning::default();
    if let Some(word) = fields.text("effort")? {
        reasoning.effort = Effort::of(&word);
        if reasoning.effort.is_none() {
            let words = Effort::ALL.map(Effort::as_str).join(", ");
            return Err(wrong_value(
                fields.path_of("effort"),
                "isn't a reasoning effort",
                format!("Send one of {words}."),
            ));
        }
    }
    let older = fields.text("generate_summary")?;
    let summary = fields.text("summary")?.or(older);
    reasoning.visibility = summary.is_some().then_some(ThinkingVisibility::Summary);
    // The level of detail of the summary can't be expressed.
    if summary.is_some_and(|word| word != "auto") {
        extras.add_extra(fields.path_of("summary"), false);
    }
    let path = fields.path().to_owned();
    for name in fields.rest() {
        let is_hint = matches!(&*name, "context" | "mode");
        extras.add_extra(format!("{path}.{name}"), !is_hint);
    }
    Ok(reasoning)
}

fn read_include(members: &mut Members<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    for (path, element) in members.elements("include")?.unwrap_or_default() {
        let Value::String(word) = value_of(element)? else {
            let kind = json::members::kind_of(&value_of(element)?);
            return Err(wrong_type(path, "a string", kind));
        };
        match &*word.decode() {
            "reasoning.encrypted_content" => prompt.reasoning.wants_encrypted = true,
            "message.output_text.logprobs" => prompt.sampling.logprobs = true,
            word => {
                // More output of a hosted tool, or of what the client itself sent.
                let is_hint = [
                    "file_search_call.",
                    "web_search_call.",
                    "code_interpreter_call.",
                    "computer_call_output.",
                    "message.input_image.",
                ]
                .iter()
                .any(|known| word.starts_with(known));
                prompt.add_extra(format!("include: {word}"), !is_hint);
            }
        }
    }
    Ok(())
}

fn read_tier(members: &mut Members<'_>, extras: &mut Vec<Extra>) -> Result<Option<ServiceTier>, Box<Fault>> {
    let Some(word) = members.text("service_tier")? else { return Ok(None) };
    let tier = ServiceTier::by_name(&word);
    if tier.is_none() {
        extras.add_extra("service_tier".to_owned(), false);
    }
    Ok(tier)
}

fn read_metadata(members: &mut Members<'_>, prompt: &mut Prompt) -> Result<(), Box<Fault>> {
    let Some(metadata) = members.members("metadata")? else { return Ok(()) };
    for (name, value) in metadata.texts() {
        match value {
            Some(text) => prompt.metadata.push((name, text)),
            None => prompt.add_extra(format!("metadata.{name}"), false),
        }
    }
    Ok(())
}

/// Members that were not taken are unknown, so they may change the answer.
pub(super) fn leave(members: Members<'_>, extras: &mut Vec<Extra>) {
    let path = members.path().to_owned();
    for name in members.rest() {
        extras.add_extra(format!("{path}.{name}"), !is_mark(&name));
    }
}
