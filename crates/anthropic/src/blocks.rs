//! Reads the content blocks of Anthropic messages, system prompts and tool results.

use conversation::object::{Field, Object};
use domain::prompt::{Content, Extra, Part, Signature, Source, Thought, ToolCall, ToolResult};
use domain::{Fault, Grammar};
use json::Kind;
use json::refusal::wrong_value;

use super::settings::read_mark;

/// Where a block occurs: not every kind of block is allowed everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockContext {
    System,
    User,
    Assistant,
    Result,
}

pub(super) fn read_blocks(
    content: &Field<'_>,
    context: BlockContext,
    extras: &mut Vec<Extra>,
) -> Result<Vec<Part>, Box<Fault>> {
    let mut parts = Vec::new();
    for block in content.items()? {
        parts.extend(read_block(block, context, extras)?);
    }
    Ok(parts)
}

/// Reads a block. Returns `None` for a block that the canonical form cannot represent, and records it in
/// `extras`.
fn read_block(
    block: Field<'_>,
    context: BlockContext,
    extras: &mut Vec<Extra>,
) -> Result<Option<Part>, Box<Fault>> {
    let raw = block.json();
    let mut object = block.object()?;
    let kind = object.needed_text("type", "Give each block a type, such as text or image.")?;
    let hints: &[&str] = match (&*kind, context) {
        ("text", _) => &["citations"],
        ("image", BlockContext::User | BlockContext::Assistant | BlockContext::Result) => {
            &["transformations"]
        }
        ("tool_use", BlockContext::Assistant) => &["toolset_name"],
        ("tool_result", BlockContext::User) => &["toolset_name"],
        (
            "document" | "search_result",
            BlockContext::User | BlockContext::Assistant | BlockContext::Result,
        ) => &[],
        // A cache breakpoint is not allowed on a thinking block, and a block nearby can carry it as well.
        ("thinking" | "redacted_thinking", BlockContext::Assistant) => &["cache_control"],
        // Calls and results of Anthropic's own server tools, which only Anthropic can read.
        (_, BlockContext::Assistant) if kind != "tool_result" => {
            return Ok(Some(Part::of(Content::Foreign { kind, json: raw })));
        }
        ("tool_use" | "tool_result" | "image" | "document", _) => {
            let fix =
                "Send tool calls in assistant turns, and tool results, images and documents in user turns.";
            return Err(wrong_value(object.path_of("type"), "isn't allowed in this turn", fix.to_owned()));
        }
        // Names a tool whose loading was deferred. All tools are sent at once here, so the reference adds
        // nothing.
        ("tool_reference", BlockContext::Result) => {
            extras.push(Extra { name: object.path, affects_answer: false });
            return Ok(None);
        }
        _ => {
            extras.push(Extra { name: object.path, affects_answer: true });
            return Ok(None);
        }
    };
    let content = match &*kind {
        "text" => read_text(&mut object, context)?,
        "image" => Content::Image { source: read_source(&mut object, extras)?, detail: None },
        "document" => read_document(&mut object, extras)?,
        "search_result" => read_search_result(&mut object, extras)?,
        "tool_use" => read_call(&mut object, extras)?,
        "tool_result" => read_result(&mut object, extras)?,
        _ => Content::Thought(read_thought(&mut object, &kind)?),
    };
    let cache = match content {
        Content::Thought(_) => None,
        _ => read_mark(&mut object, extras)?,
    };
    let part = Part::with_path(content, cache, &object.path);
    object.leave(hints, extras);
    Ok(Some(part))
}

fn read_text(object: &mut Object<'_>, context: BlockContext) -> Result<Content, Box<Fault>> {
    let text = object.needed_text("text", "Send the text.")?;
    // Elsewhere citations are dropped and reported: newer API versions reject them there.
    let citations = match context {
        BlockContext::Assistant => object.items("citations")?.iter().map(Field::json).collect(),
        _ => Vec::new(),
    };
    Ok(Content::Text { text, citations })
}

fn read_call(object: &mut Object<'_>, extras: &mut Vec<Extra>) -> Result<Content, Box<Fault>> {
    let id = object.needed_text("id", "Send the id that the call came with.")?;
    let name = object.needed_text("name", "Send the name of the tool.")?;
    let input = object.need("input", "Send the input as an object.")?;
    let arguments = input.object_json()?.0;
    if let Some(mut caller) = object.object("caller")? {
        // `direct` (the model itself) needs no report; a call made by another server tool is reported.
        if caller.text("type")?.as_deref() != Some("direct") {
            extras.push(Extra { name: caller.path, affects_answer: false });
        }
    }
    Ok(Content::ToolCall(ToolCall { id, name, arguments, is_custom: false, signature: None }))
}

fn read_result(object: &mut Object<'_>, extras: &mut Vec<Extra>) -> Result<Content, Box<Fault>> {
    let id = object.needed_text("tool_use_id", "Send the id of the call that this answers.")?;
    let parts = match object.take("content")? {
        None => Vec::new(),
        Some(content) if content.kind == Kind::String => vec![Part::text(content.text()?)],
        Some(content) => read_blocks(&content, BlockContext::Result, extras)?,
    };
    let is_error = object.boolean("is_error")?.unwrap_or(false);
    Ok(Content::ToolResult(ToolResult { id, name: None, parts, is_error, is_custom: false }))
}

fn read_thought(object: &mut Object<'_>, kind: &str) -> Result<Thought, Box<Fault>> {
    let is_redacted = kind == "redacted_thinking";
    let (text, seal) = if is_redacted {
        (String::new(), object.text("data")?)
    } else {
        (object.text("thinking")?.unwrap_or_default(), object.text("signature")?)
    };
    let seal = seal.filter(|seal| !seal.is_empty());
    let signature = seal.map(|value| Signature { grammar: Grammar::Anthropic, value });
    Ok(Thought { text, is_redacted, signature, ..Thought::default() })
}

fn read_document(object: &mut Object<'_>, extras: &mut Vec<Extra>) -> Result<Content, Box<Fault>> {
    let source = read_source(object, extras)?;
    let (name, context) = (object.text("title")?, object.text("context")?);
    let cite = read_cite(object, extras)?;
    Ok(Content::Document { source, name, context, cite })
}

fn read_cite(object: &mut Object<'_>, extras: &mut Vec<Extra>) -> Result<bool, Box<Fault>> {
    let Some(mut citations) = object.object("citations")? else { return Ok(false) };
    let cite = citations.boolean("enabled")?.unwrap_or(false);
    citations.leave(&[], extras);
    Ok(cite)
}

/// A result of the client's own search: a text document with a title and a source.
fn read_search_result(object: &mut Object<'_>, extras: &mut Vec<Extra>) -> Result<Content, Box<Fault>> {
    let name = Some(object.needed_text("title", "Send the title of what was found.")?);
    let context = Some(object.needed_text("source", "Send where it was found.")?);
    let content = object.need("content", "Send what was found, as blocks of text.")?;
    let text = joined_text(&content, extras)?;
    let cite = read_cite(object, extras)?;
    Ok(Content::Document { source: Source::Text(text), name, context, cite })
}

/// The source of an image's or a document's bytes.
fn read_source(object: &mut Object<'_>, extras: &mut Vec<Extra>) -> Result<Source, Box<Fault>> {
    let mut source = object.need("source", "Send the source, such as base64 or url.")?.object()?;
    let kind = source.need("type", "Give the source a type: base64, url, file, text or content.")?;
    let found = match &*kind.text()? {
        "base64" => Source::Inline {
            media_type: source.needed_text("media_type", "Send the media type of the data.")?,
            base64: source.needed_text("data", "Send the data in Base64.")?,
        },
        "url" => Source::Url { url: source.needed_text("url", "Send the address.")?, media_type: None },
        "file" => {
            Source::File { id: source.needed_text("file_id", "Send the file's id.")?, media_type: None }
        }
        "text" => {
            // Plain text is the only media type allowed here, so the field carries no information.
            source.take("media_type")?;
            Source::Text(source.needed_text("data", "Send the text.")?)
        }
        "content" => {
            let content = source.need("content", "Send the content: a string, or an array of blocks.")?;
            Source::Text(joined_text(&content, extras)?)
        }
        _ => return Err(kind.unknown("base64, url, file, text and content")),
    };
    source.leave(&[], extras);
    Ok(found)
}

/// Concatenates the text blocks. Other blocks are not allowed here.
fn joined_text(content: &Field<'_>, extras: &mut Vec<Extra>) -> Result<String, Box<Fault>> {
    if content.kind == Kind::String {
        return content.text();
    }
    let mut texts = Vec::new();
    for block in content.items()? {
        let path = block.path.clone();
        match read_block(block, BlockContext::Result, extras)? {
            Some(Part { content: Content::Text { text, .. }, .. }) => texts.push(text),
            Some(_) => extras.push(Extra { name: path, affects_answer: true }),
            None => {}
        }
    }
    Ok(texts.join("\n\n"))
}
