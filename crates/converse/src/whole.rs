//! Writes a buffered Converse response from its events.

use std::borrow::Cow;

use conversation::answer::AnswerOptions;
use conversation::blocks;
use conversation::blocks::gather;
use conversation::calls::{object_of, raw_input, text_input};
use domain::{Event, Finish, PartKind, Reason, Usage};
use json::written::checked;
use serde_json::value::RawValue;

use super::answer::{
    Answer, Block, Call, Cited, Message, Metrics, Output, Reasoning, Report, Text, raw, stop_reason,
};
use super::writer::call_id;

pub(super) fn write(wish: &AnswerOptions, events: Vec<Event>) -> Vec<u8> {
    let (mut finish, mut usage) = (Finish::of(Reason::Stop), Usage::default());
    let (blocks, shape) = gather(events, |event| match event {
        Event::Finish { choice: 0, finish: reported } => finish = reported,
        Event::Usage(reported) => usage = reported,
        _ => {}
    });
    let mut content = Vec::with_capacity(blocks.len());
    for block in &blocks {
        let number = u32::try_from(content.len()).unwrap_or(u32::MAX);
        content.extend(content_of(block, number, wish));
    }
    let answer = Answer {
        output: Output { message: Message { role: "assistant", content } },
        stop_reason: stop_reason(&finish, shape, wish.is_same_dialect),
        usage: Report::of(&usage),
        metrics: Metrics::of(wish),
    };
    serde_json::to_vec(&answer).unwrap_or_default()
}

fn content_of<'a>(block: &'a blocks::Block, number: u32, wish: &AnswerOptions) -> Option<Block<'a>> {
    let seal = block.seal.as_deref().filter(|_| wish.is_same_dialect);
    match &block.kind {
        PartKind::Text | PartKind::Refusal => {
            let citations = block.citations.iter().filter(|_| wish.is_same_dialect);
            let citations: Vec<_> = citations.filter_map(raw).collect();
            match (citations.is_empty(), block.text.is_empty()) {
                (true, true) => None,
                (true, false) => Some(Block::Text(&block.text)),
                (false, _) => {
                    let content = [Text { text: &block.text }];
                    Some(Block::CitationsContent(Cited { content, citations }))
                }
            }
        }
        PartKind::Thought { .. } if block.text.is_empty() && seal.is_none() => None,
        PartKind::Thought { .. } => {
            let reasoning = Reasoning::ReasoningText { text: &block.text, signature: seal };
            Some(Block::ReasoningContent(reasoning))
        }
        PartKind::Redacted => seal.map(|seal| Block::ReasoningContent(Reasoning::RedactedContent(seal))),
        PartKind::Call { id, name, is_custom } => {
            let input = Some(input(&block.text, *is_custom)?);
            Some(Block::ToolUse(Call { tool_use_id: call_id(id, number, wish), name, input }))
        }
        PartKind::Image { .. } => None,
        PartKind::Foreign { json, .. } => raw(json).filter(|_| wish.is_same_dialect).map(Block::Foreign),
    }
}

/// Invalid arguments are wrapped into an object, so that the client sees what the model wrote.
fn input(text: &str, is_custom: bool) -> Option<Cow<'_, RawValue>> {
    let object = object_of(text).filter(|_| !is_custom);
    if let Some(object) = object {
        return checked(object).ok().map(Cow::Borrowed);
    }
    let object = if is_custom { text_input(text) } else { raw_input(text) };
    RawValue::from_string(object).ok().map(Cow::Owned)
}
