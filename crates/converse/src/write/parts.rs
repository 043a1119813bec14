//! Writes the parts of a turn as Converse content blocks.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};

use conversation::calls::{check_name, no_arguments, object_of};
use conversation::features::Feature;
use conversation::losses::DroppedFields;
use domain::prompt::{CacheMark, Content, Part, Role, Thought, ToolCall, ToolResult, ValuePath};
use domain::{Fault, Grammar};
use json::written::checked;
use serde_json::value::to_raw_value;

use super::media::{self, Names};
use super::wire::{self, Block, CachePoint, CitationsConfig, Media, Reasoning};
use crate::limits::{TOOL_CALL_ID_BYTES_MAX, TOOL_NAME_BYTES_MAX};

/// The content of an empty tool result: some models reject an empty one.
const NOTHING: &str = "(empty)";

/// Writes the parts of the turns, one turn after the other.
#[derive(Debug)]
pub(super) struct BlockWriter<'l> {
    pub losses: &'l mut DroppedFields,
    pub writes_marks: bool,
    names: Names,
    /// The turn's index, for the report of dropped content.
    pub turn: usize,
    pub role: Role,
}

/// A text block; none for blank text, which Bedrock rejects.
pub(super) fn text_block(text: &str) -> Option<Block<'_>> {
    (!text.trim().is_empty()).then_some(Block::Text(Cow::Borrowed(text)))
}

impl<'l> BlockWriter<'l> {
    pub(super) fn new(writes_marks: bool, losses: &'l mut DroppedFields) -> Self {
        Self { losses, writes_marks, names: Names::default(), turn: 0, role: Role::User }
    }

    pub(super) fn blocks<'a>(&mut self, parts: &'a [Part]) -> Result<Vec<Block<'a>>, Box<Fault>> {
        let mut blocks = Vec::with_capacity(parts.len());
        for part in parts {
            blocks.extend(self.block(part)?);
            self.mark(part.cache, &part.path, &mut blocks);
        }
        Ok(blocks)
    }

    pub(super) fn results<'a>(&mut self, parts: &[&'a Part]) -> Result<Vec<Block<'a>>, Box<Fault>> {
        let mut blocks = Vec::with_capacity(parts.len());
        for part in parts {
            if let Content::ToolResult(result) = &part.content {
                blocks.push(Block::ToolResult(self.result(result)?));
                // A cache point is not allowed inside a result, so it goes after it.
                let inside = result.parts.iter().rev().find_map(|inner| inner.cache);
                self.mark(part.cache.or(inside), &part.path, &mut blocks);
            }
        }
        Ok(blocks)
    }

    /// Adds a cache point after the last block, where one is allowed.
    pub(super) fn mark(&mut self, mark: Option<CacheMark>, path: &ValuePath, blocks: &mut Vec<Block<'_>>) {
        let Some(mark) = mark else { return };
        if self.writes_marks && is_markable(blocks.last()) {
            blocks.push(Block::CachePoint(CachePoint::of(mark)));
        } else {
            self.losses.drop_in(Feature::CacheMark, path);
        }
    }

    fn result<'a>(&mut self, result: &'a ToolResult) -> Result<wire::ToolResult<'a>, Box<Fault>> {
        let mut content = Vec::with_capacity(result.parts.len());
        for part in &result.parts {
            content.extend(self.block(part)?);
        }
        if content.is_empty() {
            content.push(Block::Text(Cow::Borrowed(NOTHING)));
        }
        let status = result.is_error.then_some("error");
        Ok(wire::ToolResult { tool_use_id: plain_id(&result.id), content, status })
    }

    fn block<'a>(&mut self, part: &'a Part) -> Result<Option<Block<'a>>, Box<Fault>> {
        let is_result = self.role == Role::Tool;
        let instructs = matches!(self.role, Role::System | Role::Developer);
        Ok(match &part.content {
            Content::Text { text, citations } => {
                if !citations.is_empty() {
                    self.losses.drop_feature(Feature::Citations);
                }
                text_block(text)
            }
            Content::Refusal { text } => text_block(text),
            Content::ToolCall(call) if self.role == Role::Assistant => Some(Block::ToolUse(self.call(call)?)),
            Content::Thought(thought) if self.role == Role::Assistant => self.thought(thought),
            Content::Audio { .. } if is_result || instructs => {
                self.losses.drop_in(Feature::Audio, &part.path);
                None
            }
            Content::Foreign { kind, .. } => {
                self.losses.drop_foreign(kind);
                None
            }
            content if instructs => {
                self.losses.drop_in(feature_of(content), &part.path);
                None
            }
            content => self.media(content, part),
        })
    }

    fn media<'a>(&mut self, content: &'a Content, part: &Part) -> Option<Block<'a>> {
        let placed = match content {
            Content::Image { source, detail } => {
                if detail.as_deref().is_some_and(|detail| detail != "auto") {
                    self.losses.drop_feature(Feature::ImageDetail);
                }
                let placed = media::source_of(source, media::IMAGES, Feature::Image);
                placed.map(|(format, source)| Block::Image(Media { format, source }))
            }
            Content::Audio { source } => media::source_of(source, media::AUDIO, Feature::Audio)
                .map(|(format, source)| Block::Audio(Media { format, source })),
            Content::Video { source } => media::source_of(source, media::VIDEOS, Feature::Video)
                .map(|(format, source)| Block::Video(Media { format, source })),
            Content::Document { source, name, context, cite } if self.role != Role::Assistant => {
                media::source_of(source, media::DOCUMENTS, Feature::Document).map(|(format, source)| {
                    Block::Document(wire::Document {
                        format,
                        name: self.names.name(name.as_deref()),
                        source,
                        context: context.as_deref(),
                        citations: cite.then_some(CitationsConfig { enabled: true }),
                    })
                })
            }
            other => Err(feature_of(other)),
        };
        placed.map_err(|feature| self.losses.drop_in(feature, &part.path)).ok()
    }

    fn call<'a>(&mut self, call: &'a ToolCall) -> Result<wire::ToolUse<'a>, Box<Fault>> {
        if call.signature.is_some() {
            self.losses.drop_feature(Feature::Thought);
        }
        let path = format!("messages[{}]", self.turn);
        check_name(&call.name, TOOL_NAME_BYTES_MAX, || path.clone())?;
        let input = if call.is_custom {
            let text = serde_json::json!({ "input": call.arguments });
            Cow::Owned(to_raw_value(&text).map_err(|_| Box::new(Fault::internal()))?)
        } else {
            Cow::Borrowed(checked(object_of(&call.arguments).ok_or_else(|| no_arguments(path))?)?)
        };
        Ok(wire::ToolUse { tool_use_id: plain_id(&call.id), name: &call.name, input })
    }

    /// Only Bedrock's own signatures are valid there.
    fn thought<'a>(&mut self, thought: &'a Thought) -> Option<Block<'a>> {
        let own = thought.signature.as_ref().filter(|signature| signature.grammar == Grammar::Converse);
        match own {
            Some(seal) if thought.is_redacted => {
                Some(Block::ReasoningContent(Reasoning::RedactedContent(&seal.value)))
            }
            Some(seal) => Some(Block::ReasoningContent(Reasoning::ReasoningText {
                text: &thought.text,
                signature: &seal.value,
            })),
            None => {
                self.losses.drop_feature(Feature::Thought);
                None
            }
        }
    }
}

fn is_markable(block: Option<&Block<'_>>) -> bool {
    !matches!(block, None | Some(Block::ReasoningContent(_) | Block::CachePoint(_)))
}

/// What is reported as lost with a part that is not allowed in its place, or that has no equivalent at all.
const fn feature_of(content: &Content) -> Feature {
    match content {
        Content::Image { .. } => Feature::Image,
        Content::Audio { .. } => Feature::Audio,
        Content::Video { .. } => Feature::Video,
        Content::Thought(_) => Feature::Thought,
        _ => Feature::Document,
    }
}

/// Other providers' ids may be too long or have characters that Bedrock rejects. Calls and their results go
/// through the same function, so they still match.
fn plain_id(id: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-');
    if !id.is_empty() && id.len() <= TOOL_CALL_ID_BYTES_MAX && id.bytes().all(is_plain) {
        return Cow::Borrowed(id);
    }
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    Cow::Owned(format!("id_{:016x}", hasher.finish()))
}
