//! The text of prompts and answers, for counting its tokens.

use std::fmt::Debug;

use domain::limits::COUNTED_BYTES_MAX;
use domain::prompt::{Content, Part, ToolKind};
use domain::{Event, PartKind, Prompt, Usage};

/// Supplies what the upstream does not report about an answer.
pub trait UsageEstimator: Debug {
    /// The usage, estimated from the kept start of the answer's text and the byte count of all of it. Marked
    /// as an estimate.
    fn usage(&self, text: &str, content_bytes: u64) -> Usage;

    /// How long the client has waited so far.
    fn elapsed_ms(&self) -> u64;
}

/// Whether usage was reported: zeros for an answer with text are not a count.
#[inline]
pub fn is_counted(reported: Option<&Usage>, content_bytes: u64) -> bool {
    reported.is_some_and(|usage| content_bytes == 0 || !usage.is_nothing())
}

/// The start of an answer's text, where its tokens may have to be counted.
#[derive(Debug, Default)]
pub struct CountedText(Option<String>);

impl CountedText {
    pub const fn new(keeps: bool) -> Self {
        Self(if keeps { Some(String::new()) } else { None })
    }

    pub const fn is_wanted(&self) -> bool {
        self.0.is_some()
    }

    pub fn push(&mut self, text: &str) {
        if let Some(kept) = &mut self.0 {
            let room = COUNTED_BYTES_MAX.saturating_sub(kept.len()).min(text.len());
            kept.push_str(text.get(..text.floor_char_boundary(room)).unwrap_or_default());
        }
    }

    pub fn note(&mut self, event: &Event) {
        match event {
            Event::Delta { text, .. } => self.push(text),
            Event::Begin { kind: PartKind::Call { name, .. }, .. } => self.push(name),
            _ => {}
        }
    }

    #[inline]
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    pub fn of(events: &[Event]) -> Self {
        let mut kept = Self::new(true);
        events.iter().for_each(|event| kept.note(event));
        kept
    }
}

/// Calls `take` with each text of a prompt in order; other content is skipped.
pub fn each_text(prompt: &Prompt, take: &mut dyn FnMut(&str)) {
    prompt.instructions.iter().for_each(|instruction| take(&instruction.text));
    for tool in &prompt.tools {
        match &tool.kind {
            ToolKind::Function { name, description, schema, .. } => {
                take(name);
                description.iter().for_each(|text| take(text));
                schema.iter().for_each(|json| take(json.as_str()));
            }
            ToolKind::Custom { name, description, format } => {
                take(name);
                description.iter().for_each(|text| take(text));
                format.iter().for_each(|json| take(json.as_str()));
            }
            ToolKind::Hosted { json, .. } => take(json.as_str()),
        }
    }
    for turn in &prompt.turns {
        turn.name.iter().for_each(|name| take(name));
        turn.parts.iter().for_each(|part| part_texts(part, take));
    }
}

/// Whether a prompt costs what its text does: pictures, sound, files and hidden reasoning have tokens that it doesn't show, and
/// what is marked for a cache may cost more to write.
pub fn is_text_alone(prompt: &Prompt) -> bool {
    let is_hosted = |kind: &ToolKind| matches!(kind, ToolKind::Hosted { .. });
    prompt.caching.automatic.is_none()
        && prompt.instructions.iter().all(|instruction| instruction.cache.is_none())
        && prompt.tools.iter().all(|tool| tool.cache.is_none() && !is_hosted(&tool.kind))
        && prompt.turns.iter().all(|turn| turn.parts.iter().all(is_text))
}

fn is_text(part: &Part) -> bool {
    let is_of_text = match &part.content {
        Content::Text { .. } | Content::Refusal { .. } | Content::ToolCall(_) => true,
        Content::ToolResult(result) => result.parts.iter().all(is_text),
        _ => false,
    };
    is_of_text && part.cache.is_none()
}

fn part_texts(part: &Part, take: &mut dyn FnMut(&str)) {
    use domain::prompt::Source;
    match &part.content {
        Content::Text { text, .. } | Content::Refusal { text } => take(text),
        Content::Document { source, context, .. } => {
            context.iter().for_each(|text| take(text));
            if let Source::Text(text) = source {
                take(text);
            }
        }
        Content::ToolCall(call) => {
            take(&call.name);
            take(&call.arguments);
        }
        Content::ToolResult(result) => result.parts.iter().for_each(|part| part_texts(part, take)),
        Content::Thought(thought) => take(&thought.text),
        Content::Foreign { json, .. } => take(json.as_str()),
        Content::Image { .. } | Content::Audio { .. } | Content::Video { .. } => {}
    }
}
