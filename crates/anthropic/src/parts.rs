//! Writes the parts of a turn as Anthropic content blocks.

use super::wire::{self, Block, BlockKind, CitationsConfig, Input, Mark, OwnBlock, Raw};
use super::write::is_own;
use crate::limits::TOOL_NAME_BYTES_MAX;
use conversation::calls::{check_name, no_arguments, object_of};
use conversation::features::Feature;
use conversation::losses::DroppedFields;
use domain::Fault;
use domain::prompt::{Content, Json, Part, Role, Source, Thought, ToolCall, ToolResult};
use json::find_member;

/// Writes the parts of one turn.
#[derive(Debug)]
pub(super) struct BlockWriter<'l> {
    pub losses: &'l mut DroppedFields,
    /// The turn's index, for the report of dropped content.
    pub turn: usize,
    pub role: Role,
}

pub(super) fn text_block(text: &str, cache_control: Option<Mark>) -> Block<'_> {
    Block::Own(OwnBlock { kind: BlockKind::Text { text, citations: Vec::new() }, cache_control })
}

impl BlockWriter<'_> {
    pub(super) fn blocks<'a>(&mut self, parts: &'a [Part]) -> Result<Vec<Block<'a>>, Box<Fault>> {
        let mut blocks = Vec::with_capacity(parts.len());
        for part in parts {
            blocks.extend(self.block(part)?);
        }
        Ok(blocks)
    }

    pub(super) fn results<'a>(&mut self, parts: &[&'a Part]) -> Result<Vec<Block<'a>>, Box<Fault>> {
        let mut blocks = Vec::with_capacity(parts.len());
        for part in parts {
            if let Content::ToolResult(result) = &part.content {
                let kind = self.result(result)?;
                blocks.push(Block::Own(OwnBlock { kind, cache_control: part.cache.map(Mark::of) }));
            }
        }
        Ok(blocks)
    }

    fn result<'a>(&mut self, result: &'a ToolResult) -> Result<BlockKind<'a>, Box<Fault>> {
        Ok(BlockKind::ToolResult {
            tool_use_id: plain_id(&result.id),
            content: self.blocks(&result.parts)?,
            is_error: result.is_error,
        })
    }

    fn block<'a>(&mut self, part: &'a Part) -> Result<Option<Block<'a>>, Box<Fault>> {
        let kind = match &part.content {
            Content::Text { text, citations } => self.text(text, citations),
            Content::Refusal { text } => self.text(text, &[]),
            Content::Image { source, detail } if !self.instructs() => {
                if detail.is_some() {
                    self.lose(Feature::ImageDetail);
                }
                self.source(source, false).map(|source| BlockKind::Image { source })
            }
            // Not in an assistant turn: newer API versions reject documents there.
            Content::Document { source, name, context, cite }
                if matches!(self.role, Role::User | Role::Tool) =>
            {
                self.source(source, true).map(|source| BlockKind::Document {
                    source,
                    title: name.as_deref(),
                    context: context.as_deref(),
                    citations: cite.then_some(CitationsConfig { enabled: true }),
                })
            }
            Content::ToolCall(call) if self.role == Role::Assistant => Some(self.call(call)?),
            Content::Thought(thought) if self.role == Role::Assistant => self.thought(thought),
            Content::Foreign { kind, json } if self.role == Role::Assistant && is_own_kind(kind) => {
                return Ok(Some(Block::Raw(Raw(json.as_str()))));
            }
            Content::Foreign { kind, .. } => {
                self.losses.drop_foreign(kind);
                None
            }
            other => {
                self.losses.drop_in(feature_of(other), &part.path);
                None
            }
        };
        let Some(kind) = kind else { return Ok(None) };
        let is_markable = !matches!(kind, BlockKind::Thinking { .. } | BlockKind::RedactedThinking { .. });
        if part.cache.is_some() && !is_markable {
            self.losses.drop_aspect(Feature::CacheMark);
        }
        let cache_control = part.cache.filter(|_| is_markable).map(Mark::of);
        Ok(Some(Block::Own(OwnBlock { kind, cache_control })))
    }

    /// Drops empty text, which Anthropic rejects.
    fn text<'a>(&mut self, text: &'a str, citations: &'a [Json]) -> Option<BlockKind<'a>> {
        let own: Vec<Raw<'a>> = citations
            .iter()
            .filter(|citation| self.role == Role::Assistant && is_own_citation(citation))
            .map(|citation| Raw(citation.as_str()))
            .collect();
        if own.len() < citations.len() {
            self.lose(Feature::Citations);
        }
        (!text.trim().is_empty()).then_some(BlockKind::Text { text, citations: own })
    }

    fn call<'a>(&mut self, call: &'a ToolCall) -> Result<BlockKind<'a>, Box<Fault>> {
        if call.signature.is_some() {
            self.lose(Feature::Thought);
        }
        let path = format!("messages[{}]", self.turn);
        check_name(&call.name, TOOL_NAME_BYTES_MAX, || path.clone())?;
        let input = if call.is_custom {
            Input::Text { input: &call.arguments }
        } else {
            Input::Object(Raw(object_of(&call.arguments).ok_or_else(|| no_arguments(path))?))
        };
        Ok(BlockKind::ToolUse { id: plain_id(&call.id), name: &call.name, input })
    }

    /// Only Anthropic's own signatures are valid there.
    fn thought<'a>(&mut self, thought: &'a Thought) -> Option<BlockKind<'a>> {
        match thought.signature.as_ref().filter(|signature| is_own(signature.grammar)) {
            Some(seal) if thought.is_redacted => Some(BlockKind::RedactedThinking { data: &seal.value }),
            Some(seal) => Some(BlockKind::Thinking { thinking: &thought.text, signature: &seal.value }),
            None => {
                self.lose(Feature::Thought);
                None
            }
        }
    }

    fn source<'a>(&mut self, source: &'a Source, is_document: bool) -> Option<wire::Source<'a>> {
        match source {
            Source::Inline { media_type, base64 }
                if !is_document || media_type.eq_ignore_ascii_case("application/pdf") =>
            {
                Some(wire::Source::Base64 { media_type, data: base64 })
            }
            Source::Text(data) if is_document => Some(wire::Source::Text { media_type: "text/plain", data }),
            Source::Url { url, .. } => Some(wire::Source::Url { url }),
            // Anthropic's file ids start like this; any other file is on another provider.
            Source::File { id, .. } if id.starts_with("file_") => Some(wire::Source::File { file_id: id }),
            Source::File { .. } => {
                self.lose(Feature::ProviderFile);
                None
            }
            Source::Inline { .. } | Source::Text(_) => {
                self.lose(Feature::Document);
                None
            }
        }
    }

    /// Instructions can hold text only.
    const fn instructs(&self) -> bool {
        matches!(self.role, Role::System | Role::Developer)
    }

    fn lose(&mut self, feature: Feature) {
        self.losses.drop_feature(feature);
    }
}

/// What is reported as lost with a part that is not allowed in its place, or that has no equivalent at all.
const fn feature_of(content: &Content) -> Feature {
    match content {
        Content::Audio { .. } => Feature::Audio,
        Content::Video { .. } => Feature::Video,
        Content::Thought(_) => Feature::Thought,
        _ => Feature::Document,
    }
}

/// Blocks of Anthropic's own server tools, and others that only it reads.
fn is_own_kind(kind: &str) -> bool {
    kind.ends_with("_tool_result")
        || kind.ends_with("_tool_use")
        || matches!(kind, "compaction" | "fallback" | "container_upload" | "mcp_tool_listing")
}

fn is_own_citation(citation: &Json) -> bool {
    let kind = find_member(citation.as_str().as_bytes(), "type").ok().flatten();
    let kind = kind.map(|span| span.of(citation.as_str().as_bytes())).unwrap_or_default();
    kind.ends_with(b"_location\"")
}

/// Escapes characters that Anthropic rejects in an id. Calls and their results go through the same function,
/// so they still match.
fn plain_id(id: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    if !id.is_empty() && id.chars().all(is_plain) {
        return id.to_owned();
    }
    let mut plain = String::from("id");
    for character in id.chars() {
        if is_plain(character) {
            plain.push(character);
        } else {
            plain.push_str(&format!("_{:x}", u32::from(character)));
        }
    }
    plain
}
