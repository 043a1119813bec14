//! Assembles a buffered response from its events.

use std::collections::BTreeMap;

use domain::{Event, Finish, PartKind};

use super::Writer;
use super::chunk::{self, Candidate, LogprobsResult, PendingCall, write_json};
use crate::wire::Part;

#[derive(Default)]
struct Choice {
    parts: BTreeMap<u32, Built>,
    finish: Option<Finish>,
    logprobs: Option<LogprobsResult>,
}

enum Built {
    Text { text: String, is_thought: bool, signature: Option<String> },
    Call(PendingCall),
    Foreign(Box<Part<'static>>),
}

pub(super) fn whole(writer: &mut Writer, events: Vec<Event>) -> Vec<u8> {
    let mut choices: BTreeMap<u32, Choice> = BTreeMap::new();
    let keeps_signatures = writer.keeps_signatures();
    for event in events {
        match event {
            Event::Start { id, model, .. } => (writer.id, writer.model) = (id, model),
            Event::Usage(usage) => writer.usage = Some(usage),
            Event::Begin { choice, part, kind } => {
                if let Some(built) = begin(kind) {
                    choices.entry(choice).or_default().parts.insert(part, built);
                }
            }
            Event::Delta { choice, part, text } => match part_mut(&mut choices, choice, part) {
                Some(Built::Text { text: so_far, .. }) => so_far.push_str(&text),
                Some(Built::Call(call)) => call.arguments.push_str(&text),
                _ => {}
            },
            Event::Signature { choice, part, value } if keeps_signatures => {
                match part_mut(&mut choices, choice, part) {
                    Some(Built::Text { signature, is_thought: true, .. }) => *signature = Some(value),
                    Some(Built::Call(call)) => call.signature = Some(value),
                    _ => {}
                }
            }
            Event::Finish { choice, finish } => choices.entry(choice).or_default().finish = Some(finish),
            Event::Logprobs { choice, tokens } => add_logprobs(choices.entry(choice).or_default(), &tokens),
            Event::End { .. } | Event::Signature { .. } | Event::Citation { .. } | Event::Done => {}
        }
    }
    let candidates = choices.into_iter().map(|(index, choice)| finish(writer, index, choice)).collect();
    let mut out = Vec::new();
    write_json(&writer.head(), candidates, writer.usage.as_ref(), &mut out);
    out
}

fn part_mut(choices: &mut BTreeMap<u32, Choice>, choice: u32, part: u32) -> Option<&mut Built> {
    choices.get_mut(&choice)?.parts.get_mut(&part)
}

fn begin(kind: PartKind) -> Option<Built> {
    let text = |is_thought| Built::Text { text: String::new(), is_thought, signature: None };
    match kind {
        PartKind::Text | PartKind::Refusal => Some(text(false)),
        PartKind::Thought { .. } => Some(text(true)),
        PartKind::Call { id, name, is_custom } => Some(Built::Call(PendingCall::new(id, name, is_custom))),
        PartKind::Foreign { kind, json } => {
            chunk::foreign(&kind, &json).map(|part| Built::Foreign(Box::new(part)))
        }
        PartKind::Image { media_type, base64 } => {
            chunk::picture(&media_type, &base64).map(|part| Built::Foreign(Box::new(part)))
        }
        PartKind::Redacted => None,
    }
}

fn add_logprobs(choice: &mut Choice, tokens: &domain::Json) {
    let Some(more) = chunk::logprobs(tokens) else { return };
    let so_far = choice.logprobs.get_or_insert_default();
    so_far.chosen_candidates.extend(more.chosen_candidates);
    so_far.top_candidates.extend(more.top_candidates);
}

fn finish(writer: &mut Writer, index: u32, choice: Choice) -> Candidate<'static> {
    let mut parts = Vec::new();
    for built in choice.parts.into_values() {
        match built {
            Built::Text { text, signature: None, .. } if text.is_empty() => {}
            Built::Text { text, is_thought, signature } => parts.push(Part {
                thought: is_thought,
                thought_signature: signature.map(Into::into),
                ..Part::of(crate::wire::Datum::Text(text.into()))
            }),
            Built::Foreign(part) => parts.push(*part),
            Built::Call(call) => match call.part() {
                Ok(part) => parts.push(part),
                Err(explanation) => {
                    writer.malformed.entry(index).or_insert(explanation);
                }
            },
        }
    }
    if parts.is_empty() {
        // As in a stream: the chat classes of Google's SDKs drop a response without parts.
        parts.push(Part::text(""));
    }
    let mut candidate = Candidate::of(index, parts);
    if let Some(result) = choice.logprobs {
        candidate = candidate.with_logprobs(result);
    }
    match choice.finish {
        Some(finish) => candidate.with_finish(writer.settle(index, finish)),
        None => candidate,
    }
}
