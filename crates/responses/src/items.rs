//! Reads input items into turns.

use conversation::losses::is_mark;
use domain::prompt::{
    CacheLifetime, CacheMark, Content, Instruction, Part, Role, Signature, Source, Thought, ToolCall,
    ToolResult, Turn,
};
use domain::{Fault, Grammar, Prompt};
use json::Value;
use json::members::{Members, json_of};
use json::refusal::{missing, wrong_type, wrong_value};

use super::read::{AddExtra, leave};
use super::tools::flat_name;

/// Items about hosted tools, or that only the provider can read. The assistant's text already contains what
/// the hosted tools found, so they are as dispensable as those tools. Calls that clients run themselves
/// (`local_shell_call`, `apply_patch_call`, …) are not among them, nor is `compaction`, which stands for all that came before:
/// dropping those changes the conversation.
const DROPPABLE_ITEMS: &[&str] = &[
    "web_search_call",
    "file_search_call",
    "code_interpreter_call",
    "image_generation_call",
    "mcp_call",
    "mcp_list_tools",
    "mcp_approval_request",
    "mcp_approval_response",
    "tool_search_call",
    "tool_search_output",
    "configuration_update",
    "compaction_trigger",
];

/// Members that a client sends back because it received them; they mean nothing to another provider.
const ECHOES: &[&str] = &["id", "status", "phase", "caller", "created_by"];

/// The prompt while its turns are read.
#[derive(Debug)]
pub(super) struct Conversation<'a> {
    prompt: &'a mut Prompt,
}

impl<'a> Conversation<'a> {
    pub(super) const fn new(prompt: &'a mut Prompt) -> Self {
        Self { prompt }
    }

    /// Adds a user message with one text.
    pub(super) fn push_text(&mut self, text: &str) {
        self.turn(Role::User, vec![Part::text(text)]);
    }

    fn turn(&mut self, role: Role, parts: Vec<Part>) {
        self.prompt.turns.push(Turn { role, name: None, parts });
    }

    /// Consecutive items of the assistant (text, calls, reasoning) form one turn; so do consecutive results.
    fn add(&mut self, role: Role, parts: Vec<Part>) {
        match self.prompt.turns.last_mut() {
            Some(turn) if turn.role == role => turn.parts.extend(parts),
            _ => self.turn(role, parts),
        }
    }

    /// Leading instructions are not turns, as long as they are text.
    fn instruct(&mut self, is_developer: bool, parts: Vec<Part>) {
        let is_text = |part: &Part| matches!(&part.content, Content::Text { .. });
        if !self.prompt.turns.is_empty() || !parts.iter().all(is_text) {
            let role = if is_developer { Role::Developer } else { Role::System };
            return self.turn(role, parts);
        }
        for part in parts {
            if let Content::Text { text, .. } = part.content {
                self.prompt.instructions.push(Instruction { is_developer, text, cache: part.cache });
            }
        }
    }

    /// Reports an item's members that were not taken.
    fn leave(&mut self, members: Members<'_>) {
        let path = members.path().to_owned();
        for name in members.rest() {
            if ECHOES.contains(&name.as_str()) {
                // Reported once for all items: a long history has hundreds of them.
                self.prompt.add_extra(format!("input.{name}"), false);
            } else {
                self.prompt.add_extra(format!("{path}.{name}"), !is_mark(&name));
            }
        }
    }
}

pub(super) fn read_items(array: &[u8], conversation: &mut Conversation<'_>) -> Result<(), Box<Fault>> {
    for (path, item) in json::members::elements_of(array, "input")? {
        read_item(Members::read(item, path)?, conversation)?;
    }
    Ok(())
}

fn read_item(mut item: Members<'_>, conversation: &mut Conversation<'_>) -> Result<(), Box<Fault>> {
    let kind = item.text("type")?;
    match kind.as_deref().unwrap_or("message") {
        "message" => read_message(item, conversation),
        "function_call" => read_call(item, false, conversation),
        "custom_tool_call" => read_call(item, true, conversation),
        "function_call_output" => read_result(item, false, conversation),
        "custom_tool_call_output" => read_result(item, true, conversation),
        "reasoning" => read_thought(item, conversation),
        // Reported once per type: a long history has many.
        other if DROPPABLE_ITEMS.contains(&other) => {
            conversation.prompt.add_extra(other.to_owned(), false);
            Ok(())
        }
        other => {
            conversation.prompt.add_extra(format!("{} ({other})", item.path()), true);
            Ok(())
        }
    }
}

fn read_message(mut item: Members<'_>, conversation: &mut Conversation<'_>) -> Result<(), Box<Fault>> {
    let fix = "Give each message a role: user, assistant, system or developer.";
    let role = item.needed_text("role", fix)?;
    let parts = read_content(&mut item, "content", conversation)?;
    let Some(parts) = parts else {
        return Err(missing(item.path_of("content"), "Send a string, or an array of parts."));
    };
    match &*role {
        "user" => conversation.turn(Role::User, parts),
        "assistant" => conversation.add(Role::Assistant, parts),
        "system" => conversation.instruct(false, parts),
        "developer" => conversation.instruct(true, parts),
        _ => return Err(wrong_value(item.path_of("role"), "isn't a role of this API", fix.to_owned())),
    }
    conversation.leave(item);
    Ok(())
}

/// A string or an array of parts.
fn read_content(
    item: &mut Members<'_>,
    name: &str,
    conversation: &mut Conversation<'_>,
) -> Result<Option<Vec<Part>>, Box<Fault>> {
    let path = item.path_of(name);
    let array = match item.take(name)? {
        None => return Ok(None),
        Some(Value::String(text)) => return Ok(Some(vec![Part::text(text.decode())])),
        Some(Value::Array(span)) => span.of(item.bytes()),
        Some(other) => {
            return Err(wrong_type(path, "a string or an array of parts", json::members::kind_of(&other)));
        }
    };
    let mut parts = Vec::new();
    for (path, part) in json::members::elements_of(array, &path)? {
        parts.extend(read_part(Members::read(part, path)?, conversation)?);
    }
    Ok(Some(parts))
}

fn read_part(mut part: Members<'_>, conversation: &mut Conversation<'_>) -> Result<Option<Part>, Box<Fault>> {
    let kind = part.needed_text("type", "Give each part a type, such as input_text or input_image.")?;
    let content = match &*kind {
        "input_text" | "output_text" | "text" => {
            let text = part.needed_text("text", "Send the part's text.")?;
            let citations = part.elements("annotations")?.unwrap_or_default();
            // Part of the received output, which no model reads.
            part.take("logprobs")?;
            Content::Text { text, citations: citations.into_iter().map(|(_, json)| json_of(json)).collect() }
        }
        "refusal" => Content::Refusal { text: part.needed_text("refusal", "Send the refusal's text.")? },
        "input_image" => Content::Image { source: read_image(&mut part)?, detail: part.text("detail")? },
        "input_file" => read_file(&mut part)?,
        _ => {
            conversation.prompt.add_extra(format!("{} ({kind})", part.path()), true);
            return Ok(None);
        }
    };
    let cache = read_mark(&mut part, conversation)?;
    let content_part = Part::with_path(content, cache, part.path());
    leave(part, &mut conversation.prompt.extras);
    Ok(Some(content_part))
}

fn read_mark(
    part: &mut Members<'_>,
    conversation: &mut Conversation<'_>,
) -> Result<Option<CacheMark>, Box<Fault>> {
    let Some(mut mark) = part.members("prompt_cache_breakpoint")? else { return Ok(None) };
    mark.take("mode")?;
    let lifetime = match mark.text("ttl")?.as_deref() {
        Some("30m") => Some(CacheLifetime::Minutes30),
        Some("12h") => Some(CacheLifetime::Hours12),
        Some(_) => {
            conversation.prompt.add_extra(mark.path_of("ttl"), false);
            None
        }
        None => None,
    };
    Ok(Some(CacheMark { lifetime }))
}

fn read_image(part: &mut Members<'_>) -> Result<Source, Box<Fault>> {
    if let Some(url) = part.text("image_url")? {
        return Ok(source_of(url));
    }
    match part.text("file_id")? {
        Some(id) => Ok(Source::File { id, media_type: None }),
        None => {
            Err(missing(part.path_of("image_url"), "Send the image's address, its data: URL, or a file_id."))
        }
    }
}

fn read_file(part: &mut Members<'_>) -> Result<Content, Box<Fault>> {
    let name = part.text("filename")?;
    let source = if let Some(bytes) = part.text("file_data")? {
        match source_of(bytes) {
            // Bare base64, as some clients send it.
            Source::Url { url, .. } => {
                Source::Inline { media_type: media_type_of(name.as_deref()).to_owned(), base64: url }
            }
            inline => inline,
        }
    } else if let Some(url) = part.text("file_url")? {
        Source::Url { url, media_type: None }
    } else if let Some(id) = part.text("file_id")? {
        Source::File { id, media_type: None }
    } else {
        return Err(missing(part.path_of("file_data"), "Send file_data, a file_url or a file_id."));
    };
    Ok(Content::Document { source, name, context: None, cite: false })
}

/// The media type of a file by its name; most are PDF.
fn media_type_of(name: Option<&str>) -> &'static str {
    match name.and_then(|name| name.rsplit_once('.')).map(|(_, end)| end) {
        Some("txt") => "text/plain",
        Some("md") => "text/markdown",
        Some("csv") => "text/csv",
        Some("json") => "application/json",
        _ => "application/pdf",
    }
}

/// A URL, or the bytes of a `data:` URL.
fn source_of(url: String) -> Source {
    let inline = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    match inline {
        Some((media_type, base64)) => {
            Source::Inline { media_type: media_type.to_owned(), base64: base64.to_owned() }
        }
        None => Source::Url { url, media_type: None },
    }
}

fn read_call(
    mut item: Members<'_>,
    is_custom: bool,
    conversation: &mut Conversation<'_>,
) -> Result<(), Box<Fault>> {
    let id = item.needed_text("call_id", "Send the call_id that the model gave.")?;
    let name = item.needed_text("name", "Send the name of the tool that was called.")?;
    let name = match item.text("namespace")? {
        Some(namespace) => flat_name(&namespace, &name),
        None => name,
    };
    let arguments = item.text(if is_custom { "input" } else { "arguments" })?.unwrap_or_default();
    let call = ToolCall { id, name, arguments, is_custom, signature: None };
    conversation.add(Role::Assistant, vec![Part::of(Content::ToolCall(call))]);
    conversation.leave(item);
    Ok(())
}

fn read_result(
    mut item: Members<'_>,
    is_custom: bool,
    conversation: &mut Conversation<'_>,
) -> Result<(), Box<Fault>> {
    let id = item.needed_text("call_id", "Send the call_id of the call that this answers.")?;
    let Some(parts) = read_content(&mut item, "output", conversation)? else {
        return Err(missing(item.path_of("output"), "Send the tool's output, as text or as parts."));
    };
    let result = ToolResult { id, name: None, parts, is_error: false, is_custom };
    conversation.add(Role::Tool, vec![Part::of(Content::ToolResult(result))]);
    conversation.leave(item);
    Ok(())
}

fn read_thought(mut item: Members<'_>, conversation: &mut Conversation<'_>) -> Result<(), Box<Fault>> {
    let id = item.text("id")?;
    let summary = read_words(&mut item, "summary")?;
    let content = read_words(&mut item, "content")?;
    let value = item.text("encrypted_content")?;
    let is_summary = content.is_empty();
    if !is_summary && !summary.is_empty() {
        // The full reasoning text is there, so its summary adds nothing.
        conversation.prompt.add_extra("input.summary".to_owned(), false);
    }
    let thought = Thought {
        text: if is_summary { summary } else { content },
        is_summary,
        signature: value.map(|value| Signature { grammar: Grammar::Responses, value }),
        is_redacted: false,
        id,
    };
    conversation.add(Role::Assistant, vec![Part::of(Content::Thought(thought))]);
    conversation.leave(item);
    Ok(())
}

/// The texts of a reasoning item's parts, as paragraphs.
fn read_words(item: &mut Members<'_>, name: &str) -> Result<String, Box<Fault>> {
    let mut texts = Vec::new();
    for (path, part) in item.elements(name)?.unwrap_or_default() {
        texts.extend(Members::read(part, path)?.text("text")?);
    }
    Ok(texts.join("\n\n"))
}
