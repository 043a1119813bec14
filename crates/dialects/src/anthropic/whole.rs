//! Writes a whole answer from the events that tell it.

use domain::prompt::Json;
use domain::{Event, Finish, PartKind, Reason, Usage};

use super::answer::{Content, Head, Message, OwnContent, StopDetails, stop_reason};
use super::usage::Report;
use super::wire::Raw;
use super::writer::Shape;
use crate::answer::Wish;
use crate::calls::object_of;

#[derive(Debug)]
struct Block {
    part: u32,
    kind: PartKind,
    text: String,
    seal: Option<String>,
    citations: Vec<Json>,
}

#[derive(Debug, Default)]
struct Draft {
    id: Option<String>,
    model: Option<String>,
    blocks: Vec<Block>,
    finish: Option<Finish>,
    usage: Usage,
}

pub(super) fn write(wish: &Wish, events: Vec<Event>) -> Vec<u8> {
    let mut draft = Draft::default();
    let mut shape = Shape::default();
    for event in events {
        if let Event::Begin { choice: 0, kind, .. } = &event {
            shape.note(kind);
        }
        draft.take(event);
    }
    let finish = draft.finish.take().unwrap_or(Finish::of(Reason::Stop));
    let mut content = Vec::with_capacity(draft.blocks.len());
    for block in &draft.blocks {
        let number = u32::try_from(content.len()).unwrap_or(u32::MAX);
        content.extend(block.content(number, wish));
    }
    let message = Message {
        head: Head::of(draft.id.as_deref(), draft.model.as_deref(), wish),
        content,
        stop_reason: Some(stop_reason(&finish, shape)),
        stop_sequence: finish.sequence.as_deref(),
        stop_details: StopDetails::of(&finish, shape),
        usage: Report::of(&draft.usage),
    };
    serde_json::to_vec(&message).unwrap_or_default()
}

impl Draft {
    fn take(&mut self, event: Event) {
        match event {
            Event::Start { id, model, .. } => (self.id, self.model) = (id, model),
            Event::Begin { choice: 0, part, kind } => {
                self.blocks.push(Block {
                    part,
                    kind,
                    text: String::new(),
                    seal: None,
                    citations: Vec::new(),
                });
            }
            Event::Delta { choice: 0, part, text } => self.on_block(part, |block| block.text.push_str(&text)),
            Event::Signature { choice: 0, part, value } => {
                self.on_block(part, |block| block.seal = Some(value));
            }
            Event::Citation { choice: 0, part, json } => {
                self.on_block(part, |block| block.citations.push(json));
            }
            Event::Finish { choice: 0, finish } => self.finish = Some(finish),
            Event::Usage(usage) => self.usage = usage,
            _ => {}
        }
    }

    /// What is said is mostly said of the part that began last.
    fn on_block(&mut self, part: u32, note: impl FnOnce(&mut Block)) {
        if let Some(block) = self.blocks.iter_mut().rev().find(|block| block.part == part) {
            note(block);
        }
    }
}

impl Block {
    fn content<'a>(&'a self, number: u32, wish: &Wish) -> Option<Content<'a>> {
        let seal = self.seal.as_deref().filter(|_| wish.is_own);
        match &self.kind {
            PartKind::Text | PartKind::Refusal => {
                let own = self.citations.iter().filter(|_| wish.is_own);
                let citations: Vec<Raw<'_>> = own.map(|json| Raw(json.as_str())).collect();
                (!self.text.is_empty() || !citations.is_empty())
                    .then_some(Content::Own(OwnContent::Text { text: &self.text, citations }))
            }
            PartKind::Thought { .. } => (!self.text.is_empty() || seal.is_some())
                .then_some(Content::thinking(&self.text, seal.unwrap_or_default())),
            PartKind::Redacted => seal.map(Content::redacted),
            PartKind::Call { id, name, is_custom: true } => {
                Some(Content::call(id, name, text_input(&self.text), number, wish))
            }
            PartKind::Call { id, name, .. } => Some(match object_of(&self.text) {
                Some(input) => Content::call(id, name, input, number, wish),
                None => Content::call(id, name, raw_input(&self.text), number, wish),
            }),
            PartKind::Foreign { json, .. } => wish.is_own.then_some(Content::foreign(json)),
        }
    }
}

/// Free text as the input of a tool that takes an object.
pub(super) fn text_input(text: &str) -> String {
    named_text("input", text)
}

/// What the model wrote in the place of an object, for the client to see: it can't be said otherwise.
fn raw_input(text: &str) -> String {
    named_text("_raw", text)
}

fn named_text(name: &str, text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap_or_default();
    format!("{{\"{name}\":{quoted}}}")
}
