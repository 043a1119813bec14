//! Reads the content blocks of Converse messages, system prompts and tool results.

use conversation::object::{Field, Object};
use domain::prompt::{
    CacheLifetime, CacheMark, Content, Extra, Part, Signature, Source, Thought, ToolCall, ToolResult,
};
use domain::{Fault, Grammar};
use json::plain_json;
use json::refusal::{missing, wrong_value};

use super::media::{read_audio, read_document, read_image, read_video};
use super::union::take_one_of;

/// Where a block occurs: not every kind of block is allowed everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockContext {
    System,
    User,
    Assistant,
    Result,
}

/// What a block turned out to be.
pub(super) enum Piece {
    Part(Part),
    /// A cache breakpoint: caches the prompt up to here.
    Mark(CacheMark),
    /// The canonical form cannot represent the block; it was recorded in the extras.
    Nothing,
}

const KINDS: &[&str] = &[
    "text",
    "image",
    "document",
    "video",
    "audio",
    "toolUse",
    "toolResult",
    "reasoningContent",
    "citationsContent",
    "searchResult",
    "guardContent",
    "cachePoint",
    "json",
];

pub(super) fn read_piece(
    block: Field<'_>,
    context: BlockContext,
    extras: &mut Vec<Extra>,
) -> Result<Piece, Box<Fault>> {
    let mut object = block.object()?;
    let path = object.path.clone();
    let Some((kind, field)) = take_one_of(&mut object, KINDS)? else {
        // Kinds that AWS adds later carry meaning. A block without any kind is empty, and a mistake.
        let before = extras.len();
        object.leave(&[], extras);
        if extras.len() == before {
            return Err(missing(
                format!("{path}.text"),
                "Give each block its content, such as text or image.",
            ));
        }
        return Ok(Piece::Nothing);
    };
    // No fields are known beside the block's kind.
    object.leave(&[], extras);
    if !may_stand(kind, context) {
        let fix = "Send tool calls, reasoning and citations in assistant turns, tool results in user turns, and json in tool results.";
        return Err(wrong_value(field.path, "isn't allowed here", fix.to_owned()));
    }
    let content = match kind {
        "cachePoint" => return Ok(Piece::Mark(read_mark(field, extras)?)),
        "text" => Some(plain(field.text()?)),
        "json" => Some(plain(plain_json(field.raw).into_owned())),
        "image" => read_image(field, extras)?,
        "document" => read_document(field, extras)?,
        "video" => read_video(field, extras)?,
        "audio" => read_audio(field, extras)?,
        "toolUse" => Some(read_call(field, extras)?),
        "toolResult" => Some(read_result(field, extras)?),
        "reasoningContent" => Some(Content::Thought(read_thought(field, extras)?)),
        "citationsContent" => Some(read_cited(field, extras)?),
        "searchResult" => Some(read_find(field, extras)?),
        _ => read_guarded(field, extras)?,
    };
    Ok(content.map_or(Piece::Nothing, |content| Piece::Part(Part::with_path(content, None, &path))))
}

fn may_stand(kind: &str, context: BlockContext) -> bool {
    match kind {
        "text" | "cachePoint" => true,
        "guardContent" => context != BlockContext::Result,
        "json" => context == BlockContext::Result,
        "toolUse" | "reasoningContent" | "citationsContent" => context == BlockContext::Assistant,
        "toolResult" => context == BlockContext::User,
        "audio" => matches!(context, BlockContext::User | BlockContext::Assistant),
        _ => context != BlockContext::System,
    }
}

const fn plain(text: String) -> Content {
    Content::Text { text, citations: Vec::new() }
}

/// Puts the cache breakpoint on the part before it. Returns `false` if there is none that can take it.
pub(super) fn mark_last(parts: &mut Vec<Part>, mark: CacheMark, path: &str) -> bool {
    let can_be_marked = |part: &&Part| !matches!(part.content, Content::Thought(_));
    if parts.last().filter(can_be_marked).is_none() {
        return false;
    }
    let marked = parts.pop().map(|last| Part::with_path(last.content, Some(mark), path));
    parts.extend(marked);
    true
}

/// Reports a cache breakpoint with nothing before it: it has no effect.
pub(super) fn leave_mark(path: &str, extras: &mut Vec<Extra>) {
    extras.push(Extra { name: format!("{path}.cachePoint"), affects_answer: false });
}

pub(super) fn read_mark(mark: Field<'_>, extras: &mut Vec<Extra>) -> Result<CacheMark, Box<Fault>> {
    let mut mark = mark.object()?;
    let kind = mark.need("type", "Give the mark its type: default.")?;
    if kind.text()? != "default" {
        return Err(kind.unknown("default"));
    }
    let lifetime = match mark.take("ttl")? {
        None => None,
        Some(ttl) => match &*ttl.text()? {
            "5m" => Some(CacheLifetime::Minutes5),
            "1h" => Some(CacheLifetime::Hour1),
            _ => return Err(ttl.unknown("5m and 1h")),
        },
    };
    mark.leave(&[], extras);
    Ok(CacheMark { lifetime })
}

fn read_call(call: Field<'_>, extras: &mut Vec<Extra>) -> Result<Content, Box<Fault>> {
    let json = call.json();
    let mut call = call.object()?;
    if call.text("type")?.as_deref() == Some("server_tool_use") {
        return Ok(Content::Foreign { kind: "toolUse".to_owned(), json });
    }
    let id = call.needed_text("toolUseId", "Send the id that the call came with.")?;
    let name = call.needed_text("name", "Send the name of the tool.")?;
    let arguments = call.need("input", "Send the input as an object.")?.object_json()?.0;
    call.leave(&[], extras);
    Ok(Content::ToolCall(ToolCall { id, name, arguments, is_custom: false, signature: None }))
}

fn read_result(result: Field<'_>, extras: &mut Vec<Extra>) -> Result<Content, Box<Fault>> {
    let mut result = result.object()?;
    let id = result.needed_text("toolUseId", "Send the id of the call that this answers.")?;
    let mut parts = Vec::new();
    for block in result.items("content")? {
        match read_piece(block, BlockContext::Result, extras)? {
            Piece::Part(part) => parts.push(part),
            // A cache point is not allowed inside a result.
            Piece::Mark(_) | Piece::Nothing => {}
        }
    }
    let is_error = match result.take("status")? {
        None => false,
        Some(status) => match &*status.text()? {
            "success" => false,
            "error" => true,
            _ => return Err(status.unknown("success and error")),
        },
    };
    result.leave(&["type"], extras);
    Ok(Content::ToolResult(ToolResult { id, name: None, parts, is_error, is_custom: false }))
}

fn read_thought(thought: Field<'_>, extras: &mut Vec<Extra>) -> Result<Thought, Box<Fault>> {
    let mut thought = thought.object()?;
    let path = thought.path_of("reasoningText");
    let sealed = |value: Option<String>| {
        let value = value.filter(|value| !value.is_empty());
        value.map(|value| Signature { grammar: Grammar::Converse, value })
    };
    let read = match take_one_of(&mut thought, &["reasoningText", "redactedContent"])? {
        Some(("redactedContent", seal)) => {
            Thought { is_redacted: true, signature: sealed(Some(seal.text()?)), ..Thought::default() }
        }
        Some((_, text)) => {
            let mut text = text.object()?;
            let content = text.text("text")?.unwrap_or_default();
            let signature = sealed(text.text("signature")?);
            text.leave(&[], extras);
            Thought { text: content, signature, ..Thought::default() }
        }
        None => return Err(missing(path, "Send the thought as it came.")),
    };
    thought.leave(&[], extras);
    Ok(read)
}

/// Text with citations.
fn read_cited(cited: Field<'_>, extras: &mut Vec<Extra>) -> Result<Content, Box<Fault>> {
    let mut cited = cited.object()?;
    let text = joined_text(&mut cited, "content", extras)?;
    let citations = cited.items("citations")?.iter().map(Field::json).collect();
    cited.leave(&[], extras);
    Ok(Content::Text { text, citations })
}

/// A result of the client's own search: a text document with a title and a source.
fn read_find(find: Field<'_>, extras: &mut Vec<Extra>) -> Result<Content, Box<Fault>> {
    let mut find = find.object()?;
    let name = Some(find.needed_text("title", "Send the title of what was found.")?);
    let context = Some(find.needed_text("source", "Send where it was found.")?);
    let text = joined_text(&mut find, "content", extras)?;
    let cite = read_cite(&mut find, extras)?;
    find.leave(&[], extras);
    Ok(Content::Document { source: Source::Text(text), name, context, cite })
}

pub(super) fn read_cite(object: &mut Object<'_>, extras: &mut Vec<Extra>) -> Result<bool, Box<Fault>> {
    let Some(mut citations) = object.object("citations")? else { return Ok(false) };
    let cite = citations.boolean("enabled")?.unwrap_or(false);
    citations.leave(&[], extras);
    Ok(cite)
}

/// The text of all blocks, joined.
pub(super) fn joined_text(
    object: &mut Object<'_>,
    name: &str,
    extras: &mut Vec<Extra>,
) -> Result<String, Box<Fault>> {
    let mut texts = Vec::new();
    for block in object.items(name)? {
        let mut block = block.object()?;
        texts.push(block.needed_text("text", "Send the text.")?);
        block.leave(&[], extras);
    }
    Ok(texts.join("\n\n"))
}

/// The model reads text for a guardrail like any other text. That it is to be guarded has no equivalent in
/// other dialects.
fn read_guarded(guarded: Field<'_>, extras: &mut Vec<Extra>) -> Result<Option<Content>, Box<Fault>> {
    extras.push(Extra { name: guarded.path.clone(), affects_answer: true });
    let Some(mut text) = guarded.object()?.object("text")? else { return Ok(None) };
    text.text("text").map(|text| text.map(plain))
}
