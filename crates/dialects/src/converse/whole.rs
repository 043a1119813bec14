//! Writes a whole answer from the events that tell it.

use std::borrow::Cow;

use domain::prompt::Json;
use domain::{Event, Finish, PartKind, Reason, Usage};
use serde_json::value::RawValue;

use super::said::{
    Answer, Block, Call, Cited, Message, Metrics, Output, Reasoning, Report, Shape, Text, raw, stop_reason,
};
use super::writer::call_id;
use crate::answer::Wish;
use crate::calls::object_of;
use crate::written::checked;

#[derive(Debug)]
struct Draft {
    part: u32,
    kind: PartKind,
    text: String,
    seal: Option<String>,
    citations: Vec<Json>,
}

pub(super) fn write(wish: &Wish, events: Vec<Event>) -> Vec<u8> {
    let (mut drafts, mut finish, mut usage) = (Vec::new(), Finish::of(Reason::Stop), Usage::default());
    for event in events {
        match event {
            Event::Finish { choice: 0, finish: told } => finish = told,
            Event::Usage(told) => usage = told,
            event => take(&mut drafts, event),
        }
    }
    let mut shape = Shape::default();
    let mut content = Vec::with_capacity(drafts.len());
    for draft in &drafts {
        let number = u32::try_from(content.len()).unwrap_or(u32::MAX);
        content.extend(draft.block(number, wish, &mut shape));
    }
    let answer = Answer {
        output: Output { message: Message { role: "assistant", content } },
        stop_reason: stop_reason(&finish, shape, wish.is_own),
        usage: Report::of(&usage),
        metrics: Metrics::of(wish),
    };
    serde_json::to_vec(&answer).unwrap_or_default()
}

fn take(drafts: &mut Vec<Draft>, event: Event) {
    // What is said is mostly said of the part that began last.
    let mut of = |number: u32, note: &mut dyn FnMut(&mut Draft)| {
        drafts.iter_mut().rev().find(|draft| draft.part == number).into_iter().for_each(note);
    };
    match event {
        Event::Begin { choice: 0, part, kind } => {
            drafts.push(Draft { part, kind, text: String::new(), seal: None, citations: Vec::new() });
        }
        Event::Delta { choice: 0, part, text } => of(part, &mut |draft| draft.text.push_str(&text)),
        Event::Signature { choice: 0, part, value } => {
            of(part, &mut |draft| draft.seal = Some(value.clone()))
        }
        Event::Citation { choice: 0, part, json } => {
            of(part, &mut |draft| draft.citations.push(json.clone()))
        }
        _ => {}
    }
}

impl Draft {
    fn block<'a>(&'a self, number: u32, wish: &Wish, shape: &mut Shape) -> Option<Block<'a>> {
        let seal = self.seal.as_deref().filter(|_| wish.is_own);
        match &self.kind {
            PartKind::Text | PartKind::Refusal => {
                let citations = self.citations.iter().filter(|_| wish.is_own);
                let citations: Vec<_> = citations.filter_map(raw).collect();
                match (citations.is_empty(), self.text.is_empty()) {
                    (true, true) => None,
                    (true, false) => Some(Block::Text(&self.text)),
                    (false, _) => {
                        let content = [Text { text: &self.text }];
                        Some(Block::CitationsContent(Cited { content, citations }))
                    }
                }
            }
            PartKind::Thought { .. } if self.text.is_empty() && seal.is_none() => None,
            PartKind::Thought { .. } => {
                let said = Reasoning::ReasoningText { text: &self.text, signature: seal };
                Some(Block::ReasoningContent(said))
            }
            PartKind::Redacted => seal.map(|seal| Block::ReasoningContent(Reasoning::RedactedContent(seal))),
            PartKind::Call { id, name, is_custom } => {
                shape.has_call = true;
                let input = Some(input(&self.text, *is_custom)?);
                Some(Block::ToolUse(Call { tool_use_id: call_id(id, number, wish), name, input }))
            }
            PartKind::Foreign { json, .. } => raw(json).filter(|_| wish.is_own).map(Block::Foreign),
        }
    }
}

/// What the model wrote in the place of an object is shown to the client; it can't be said otherwise.
fn input(text: &str, is_custom: bool) -> Option<Cow<'_, RawValue>> {
    let object = object_of(text).filter(|_| !is_custom);
    if let Some(object) = object {
        return checked(object).ok().map(Cow::Borrowed);
    }
    let name = if is_custom { "input" } else { "_raw" };
    RawValue::from_string(named_text(name, text)).ok().map(Cow::Owned)
}

/// A text as an object of one member.
pub(super) fn named_text(name: &str, text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap_or_default();
    format!("{{\"{name}\":{quoted}}}")
}
