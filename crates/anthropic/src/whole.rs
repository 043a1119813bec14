//! Writes a buffered Anthropic response from its events.

use conversation::answer::AnswerOptions;
use conversation::blocks::{Block, gather};
use conversation::calls::{object_of, raw_input, text_input};
use domain::{Event, Finish, PartKind, Reason, Usage};

use super::answer::{Content, Head, Message, OwnContent, StopDetails, stop_reason};
use super::usage::Report;
use super::wire::Raw;

pub(super) fn write(wish: &AnswerOptions, events: Vec<Event>) -> Vec<u8> {
    let (mut head, mut finish, mut usage) = ((None, None), Finish::of(Reason::Stop), Usage::default());
    let (blocks, shape) = gather(events, |event| match event {
        Event::Start { id, model, .. } => head = (id, model),
        Event::Finish { choice: 0, finish: reported } => finish = reported,
        Event::Usage(reported) => usage = reported,
        _ => {}
    });
    let mut content = Vec::with_capacity(blocks.len());
    for block in &blocks {
        let number = u32::try_from(content.len()).unwrap_or(u32::MAX);
        content.extend(content_of(block, number, wish));
    }
    let message = Message {
        head: Head::of(head.0.as_deref(), head.1.as_deref(), wish),
        content,
        stop_reason: Some(stop_reason(&finish, shape)),
        stop_sequence: finish.sequence.as_deref(),
        stop_details: StopDetails::of(&finish, shape),
        usage: Report::of(&usage),
    };
    serde_json::to_vec(&message).unwrap_or_default()
}

fn content_of<'a>(block: &'a Block, number: u32, wish: &AnswerOptions) -> Option<Content<'a>> {
    let seal = block.seal.as_deref().filter(|_| wish.is_same_dialect);
    match &block.kind {
        PartKind::Text | PartKind::Refusal => {
            let own = block.citations.iter().filter(|_| wish.is_same_dialect);
            let citations: Vec<Raw<'_>> = own.map(|json| Raw(json.as_str())).collect();
            (!block.text.is_empty() || !citations.is_empty())
                .then_some(Content::Own(OwnContent::Text { text: &block.text, citations }))
        }
        PartKind::Thought { .. } => (!block.text.is_empty() || seal.is_some())
            .then_some(Content::thinking(&block.text, seal.unwrap_or_default())),
        PartKind::Redacted => seal.map(Content::redacted),
        PartKind::Call { id, name, is_custom: true } => {
            Some(Content::call(id, name, text_input(&block.text), number, wish))
        }
        PartKind::Call { id, name, .. } => Some(match object_of(&block.text) {
            Some(input) => Content::call(id, name, input, number, wish),
            None => Content::call(id, name, raw_input(&block.text), number, wish),
        }),
        // A message's answer has no block for a picture.
        PartKind::Image { .. } => None,
        PartKind::Foreign { json, .. } => wish.is_same_dialect.then_some(Content::foreign(json)),
    }
}
