//! Writes a buffered completion from the events that a stream of it would have carried.

use conversation::answer::AnswerOptions;
use domain::prompt::Json;
use domain::{Event, Finish, PartKind, Reason};

use super::body::{
    self, Annotation, Message, NamedDelta, Picture, Raw, WholeCall, WholeChoice, WholeLogprobs,
};
use super::{call_id, finish_word, head};
use crate::encode::UsageField;

#[derive(Debug, Default)]
struct Choice {
    number: u32,
    /// Each part that this format can express, with its text.
    parts: Vec<Part>,
    annotations: Vec<Annotation>,
    /// Of the text and of the refusal.
    logprobs: [Vec<Json>; 2],
    finish: Option<Finish>,
}

#[derive(Debug)]
struct Part {
    number: u32,
    kind: PartKind,
    text: String,
}

pub(super) fn write(wish: &AnswerOptions, events: Vec<Event>) -> Vec<u8> {
    let mut completion = head(wish, None, None, None);
    let mut choices: Vec<Choice> = Vec::new();
    let mut usage = None;
    for event in events {
        match event {
            Event::Start { id, model, created_unix_s } => {
                completion = head(wish, id.as_deref(), model, created_unix_s);
            }
            Event::Usage(latest) => usage = Some(latest),
            Event::Begin { choice, part, kind } => {
                take(&mut choices, choice, |choice| {
                    choice.parts.push(Part { number: part, kind, text: String::new() });
                });
            }
            Event::Delta { choice, part, text } => {
                take(&mut choices, choice, |choice| choice.push_text(part, &text));
            }
            Event::Citation { choice, json, .. } => {
                take(&mut choices, choice, |choice| choice.annotations.extend(body::annotation(&json)));
            }
            Event::Logprobs { choice, tokens } => {
                take(&mut choices, choice, |choice| choice.take_logprobs(tokens));
            }
            Event::Finish { choice, finish } => {
                take(&mut choices, choice, |choice| choice.finish = Some(finish));
            }
            Event::Signature { .. } | Event::End { .. } | Event::Done => {}
        }
    }
    choices.sort_by_key(|choice| choice.number);
    for choice in &mut choices {
        choice.complete(wish);
    }
    let joined: Vec<_> = choices.iter().map(|choice| choice.join()).collect();
    let bodies: Vec<_> = choices.iter().zip(&joined).map(|(choice, joined)| choice.body(joined)).collect();
    let usage = usage.as_ref().map_or_else(|| UsageField::null_if(false), UsageField::of);
    serde_json::to_vec(&completion.envelope("chat.completion", bodies, usage)).unwrap_or_default()
}

/// Passes the choice with this index to `change`; it is created where it does not exist.
fn take(choices: &mut Vec<Choice>, number: u32, change: impl FnOnce(&mut Choice)) {
    if let Some(choice) = choices.iter_mut().find(|choice| choice.number == number) {
        return change(choice);
    }
    let mut choice = Choice { number, ..Choice::default() };
    change(&mut choice);
    choices.push(choice);
}

/// The texts of several parts joined, since the message has one field for each kind.
#[derive(Debug)]
struct Joined {
    content: Option<String>,
    refusal: Option<String>,
    thought: Option<String>,
    logprobs: [Option<Json>; 2],
}

impl Choice {
    fn push_text(&mut self, number: u32, text: &str) {
        if let Some(part) = self.parts.iter_mut().rfind(|part| part.number == number) {
            part.text.push_str(text);
        }
    }

    /// Logprobs come next to their text; before any part they belong to what follows, which is text.
    fn take_logprobs(&mut self, tokens: Json) {
        let is_refusal = self.parts.last().is_some_and(|part| part.kind == PartKind::Refusal);
        let [content, refusal] = &mut self.logprobs;
        if is_refusal { refusal.push(tokens) } else { content.push(tokens) }
    }

    /// Adds what clients need and the upstream left out.
    fn complete(&mut self, wish: &AnswerOptions) {
        let mut index = 0;
        for part in &mut self.parts {
            if let PartKind::Call { id, is_custom, .. } = &mut part.kind {
                *id = call_id(std::mem::take(id), wish, self.number, index);
                index += 1;
                if part.text.is_empty() && !*is_custom {
                    part.text.push_str("{}");
                }
            }
        }
    }

    fn join(&self) -> Joined {
        let refusal = self.join_text(|kind| *kind == PartKind::Refusal).or_else(|| {
            let finish = self.finish.as_ref().filter(|finish| finish.reason == Reason::Refusal)?;
            finish.explanation.clone()
        });
        let has_calls = self.parts.iter().any(|part| matches!(part.kind, PartKind::Call { .. }));
        let empty = || (refusal.is_none() && !has_calls).then(String::new);
        let content = self.join_text(|kind| *kind == PartKind::Text).or_else(empty);
        let thought =
            self.join_text(|kind| matches!(kind, PartKind::Thought { .. })).filter(|text| !text.is_empty());
        Joined {
            content,
            refusal,
            thought,
            logprobs: self.logprobs.each_ref().map(|arrays| body::join(arrays)),
        }
    }

    fn join_text(&self, is_meant: impl Fn(&PartKind) -> bool) -> Option<String> {
        let mut parts = self.parts.iter().filter(|part| is_meant(&part.kind)).peekable();
        parts.peek()?;
        Some(parts.map(|part| part.text.as_str()).collect())
    }

    fn body<'a>(&'a self, joined: &'a Joined) -> WholeChoice<'a> {
        let reason = self.finish.as_ref().map_or(Reason::Stop, |finish| finish.reason);
        let [content, refusal] = &joined.logprobs;
        let has_logprobs = content.is_some() || refusal.is_some();
        WholeChoice {
            index: self.number,
            message: Message {
                role: "assistant",
                content: joined.content.as_deref(),
                refusal: joined.refusal.as_deref(),
                reasoning_content: joined.thought.as_deref(),
                images: self.parts.iter().filter_map(picture).collect(),
                tool_calls: self.parts.iter().filter_map(call).collect(),
                annotations: &self.annotations,
            },
            finish_reason: finish_word(reason, joined.refusal.is_some()),
            logprobs: has_logprobs.then(|| WholeLogprobs {
                content: content.as_ref().map(Raw),
                refusal: refusal.as_ref().map(Raw),
            }),
        }
    }
}

fn picture(part: &Part) -> Option<Picture> {
    let PartKind::Image { media_type, base64 } = &part.kind else { return None };
    Some(Picture::of(media_type, base64))
}

fn call(part: &Part) -> Option<WholeCall<'_>> {
    let PartKind::Call { id, name, is_custom } = &part.kind else { return None };
    let named = NamedDelta::new(Some(name), &part.text, *is_custom);
    Some(WholeCall { id, r#type: body::call_type(*is_custom), named })
}
