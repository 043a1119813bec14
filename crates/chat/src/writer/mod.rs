//! Writes Chat Completions responses from events: chunks of a stream, or a buffered completion.

mod body;
mod choice;
#[cfg(test)]
mod tests;
mod whole;

use conversation::answer::{AnswerOptions, Progress, WriteAnswer};
use conversation::openai_error::error_event;
use domain::{Event, Fault, FaultClass, Finish, PartKind, Reason, TraceId, Usage};
use serde::Serialize;

use self::body::{CallDelta, DeltaBody, DeltaChoice, Logprobs, Picture};
use self::choice::{ChoiceWriting, DeltaField};
use super::encode::{Completion, DONE, UsageField};

const ID_PREFIX: &str = "chatcmpl-";

#[derive(Debug)]
pub struct Writer {
    wish: AnswerOptions,
    head: Completion,
    choices: Vec<ChoiceWriting>,
    usage: Option<Usage>,
    /// The stream ended with an error: nothing follows.
    has_failed: bool,
}

impl Writer {
    pub fn new(wish: AnswerOptions) -> Self {
        let head = head(&wish, None, None, None);
        Self { wish, head, choices: Vec::new(), usage: None, has_failed: false }
    }
}

impl WriteAnswer for Writer {
    fn resume(&mut self, progress: &Progress) {
        self.head = head(&self.wish, progress.id.as_deref(), progress.model.clone(), progress.created_unix_s);
        if let Some(id) = &progress.id {
            // The forwarded chunks used this id.
            self.head.id.clone_from(id);
        }
        self.usage = progress.usage;
        self.choices =
            progress.started_choices.iter().map(|number| ChoiceWriting::started(*number)).collect();
        for (number, part, kind) in &progress.open {
            let field = self.choice(*number).resume(kind);
            self.choice(*number).open.push((*part, field));
        }
    }

    fn event(&mut self, event: Event, out: &mut Vec<u8>) {
        if self.has_failed {
            return;
        }
        match event {
            Event::Start { id, model, created_unix_s } => {
                self.head = head(&self.wish, id.as_deref(), model, created_unix_s);
            }
            Event::Begin { choice, part, kind } => self.begin(choice, part, kind, out),
            Event::Delta { choice, part, text } => self.delta(choice, part, &text, out),
            // Signatures of other dialects have no field here, and OpenAI's own answers carry none.
            Event::Signature { .. } => {}
            Event::Citation { choice, json, .. } => {
                if let Some(annotation) = body::annotation(&json) {
                    let delta = DeltaBody { annotations: Some([&annotation]), ..DeltaBody::default() };
                    self.chunk(choice, delta, None, out);
                }
            }
            Event::Logprobs { choice, tokens } => self.choice(choice).logprobs.push(tokens),
            Event::End { choice, part } => self.end(choice, part, out),
            Event::Finish { choice, finish } => self.finish(choice, &finish, out),
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Done => self.done(out),
        }
    }

    fn error(&mut self, fault: &Fault, trace: TraceId, out: &mut Vec<u8>) {
        out.extend_from_slice(&error_event(fault, trace));
    }

    fn write_buffered(&mut self, events: Vec<Event>) -> Vec<u8> {
        whole::write(&self.wish, events)
    }
}

impl Writer {
    fn choice(&mut self, number: u32) -> &mut ChoiceWriting {
        choice::of(&mut self.choices, number)
    }

    fn begin(&mut self, number: u32, part: u32, kind: PartKind, out: &mut Vec<u8>) {
        let field = self.choice(number).assign_field(&kind);
        self.choice(number).open.push((part, field));
        let (id, name, is_custom) = match kind {
            PartKind::Call { id, name, is_custom } => (id, name, is_custom),
            PartKind::Text => return self.first_chunk(number, Some(""), out),
            PartKind::Image { media_type, base64 } => {
                let delta =
                    DeltaBody { images: Some([Picture::of(&media_type, &base64)]), ..DeltaBody::default() };
                return self.chunk(number, delta, None, out);
            }
            _ => return,
        };
        let DeltaField::Call { index, .. } = field else { return };
        self.first_chunk(number, None, out);
        let id = call_id(id, &self.wish, number, index);
        let call = CallDelta::first(index, &id, &name, is_custom);
        self.chunk(number, DeltaBody { tool_calls: Some([call]), ..DeltaBody::default() }, None, out);
    }

    /// The chunk with the role, once per choice, before anything else of it.
    fn first_chunk(&mut self, number: u32, content: Option<&str>, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.choice(number).has_role, true) {
            let delta = DeltaBody { role: Some("assistant"), content: Some(content), ..DeltaBody::default() };
            self.write(number, delta, None, None, out);
        }
    }

    fn delta(&mut self, number: u32, part: u32, text: &str, out: &mut Vec<u8>) {
        let Some(field) = self.choice(number).field_of(part).filter(|_| !text.is_empty()) else { return };
        let delta = match field {
            DeltaField::Text => DeltaBody { content: Some(Some(text)), ..DeltaBody::default() },
            DeltaField::Refusal => DeltaBody { refusal: Some(text), ..DeltaBody::default() },
            DeltaField::Call { index, is_custom } => {
                let call = CallDelta::more(index, text, is_custom);
                DeltaBody { tool_calls: Some([call]), ..DeltaBody::default() }
            }
            // OpenAI's own answers do not show reasoning; other servers send it in this field, and clients read it there.
            DeltaField::Thought => DeltaBody { reasoning_content: Some(text), ..DeltaBody::default() },
            DeltaField::Unsupported => return,
        };
        self.choice(number).note(part);
        self.chunk(number, delta, None, out);
    }

    fn end(&mut self, number: u32, part: u32, out: &mut Vec<u8>) {
        let Some((field, is_empty)) = self.choice(number).close(part) else { return };
        if let DeltaField::Call { index, is_custom: false } = field
            && is_empty
        {
            // Clients parse the arguments as JSON, which an empty string is not.
            let call = CallDelta::more(index, "{}", false);
            self.chunk(number, DeltaBody { tool_calls: Some([call]), ..DeltaBody::default() }, None, out);
        }
    }

    fn finish(&mut self, number: u32, finish: &Finish, out: &mut Vec<u8>) {
        if finish.reason == Reason::Error
            && let Some(trace) = self.wish.trace
        {
            self.has_failed = true;
            return self.error(&failed(finish), trace, out);
        }
        let has_refusal = self.choice(number).has_refusal;
        let explanation =
            finish.explanation.as_deref().filter(|_| finish.reason == Reason::Refusal && !has_refusal);
        if let Some(refusal) = explanation {
            self.choice(number).has_refusal = true;
            self.chunk(number, DeltaBody { refusal: Some(refusal), ..DeltaBody::default() }, None, out);
        }
        let word = finish_word(finish.reason, self.choice(number).has_refusal);
        self.chunk(number, DeltaBody::default(), Some(word), out);
    }

    fn done(&mut self, out: &mut Vec<u8>) {
        if let Some(usage) = self.usage.filter(|_| self.wish.usage) {
            let none: [(); 0] = [];
            let envelope = self.head.envelope("chat.completion.chunk", none, UsageField::of(&usage));
            put(&envelope, out);
        }
        out.extend_from_slice(DONE);
    }

    /// A chunk, with the pending logprobs that belong to it.
    fn chunk(
        &mut self,
        number: u32,
        delta: DeltaBody<'_>,
        finish_reason: Option<&'static str>,
        out: &mut Vec<u8>,
    ) {
        self.first_chunk(number, Some(""), out);
        let choice = self.choice(number);
        let takes = delta.content.is_some() || delta.refusal.is_some() || finish_reason.is_some();
        let tokens = if takes { std::mem::take(&mut choice.logprobs) } else { Vec::new() };
        let is_refusal = delta.refusal.is_some() || (delta.content.is_none() && choice.has_refusal);
        let joined = body::join(&tokens);
        let logprobs = joined.as_ref().map(|tokens| Logprobs::of(tokens, is_refusal));
        self.write(number, delta, finish_reason, logprobs, out);
    }

    fn write(
        &self,
        index: u32,
        delta: DeltaBody<'_>,
        finish_reason: Option<&'static str>,
        logprobs: Option<Logprobs<'_>>,
        out: &mut Vec<u8>,
    ) {
        let choice = DeltaChoice { index, delta, finish_reason, logprobs };
        let usage = UsageField::null_if(self.wish.usage);
        put(&self.head.envelope("chat.completion.chunk", [choice], usage), out);
    }
}

/// One event of a stream. A line feed in foreign JSON is whitespace between values, and would end the line.
pub(super) fn put(value: &impl Serialize, out: &mut Vec<u8>) {
    let begin = out.len();
    out.extend_from_slice(b"data: ");
    if serde_json::to_writer(&mut *out, value).is_err() {
        return out.truncate(begin);
    }
    let text = out.get_mut(begin..).unwrap_or_default();
    text.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    out.extend_from_slice(b"\n\n");
}

/// The fields that all chunks of an answer repeat.
fn head(
    wish: &AnswerOptions,
    id: Option<&str>,
    model: Option<String>,
    created_unix_s: Option<u64>,
) -> Completion {
    let id = match (id, wish.trace) {
        (Some(id), _) if id.starts_with(ID_PREFIX) => id.to_owned(),
        (Some(id), _) => format!("{ID_PREFIX}{id}"),
        (None, Some(trace)) => format!("{ID_PREFIX}{}", trace.as_uuid().simple()),
        (None, None) => ID_PREFIX.to_owned(),
    };
    Completion {
        id,
        created_unix_s: created_unix_s.unwrap_or(wish.created_unix_s),
        model: model.unwrap_or_else(|| wish.model.clone()),
    }
}

/// The call's own id, or one derived from the exchange where the upstream sent none.
fn call_id(id: String, wish: &AnswerOptions, choice: u32, index: u32) -> String {
    match wish.trace {
        Some(trace) if id.is_empty() => format!("call_{}_{choice}_{index}", trace.as_uuid().simple()),
        _ => id,
    }
}

/// The finish reason in OpenAI's words. They are few, and SDKs know no others.
pub(super) const fn finish_word(reason: Reason, has_refusal: bool) -> &'static str {
    match reason {
        Reason::Stop | Reason::StopSequence | Reason::Pause | Reason::MalformedCall => "stop",
        Reason::Calls => "tool_calls",
        Reason::ContentFilter => "content_filter",
        Reason::Refusal if has_refusal => "stop",
        Reason::Refusal => "content_filter",
        // Where an error can't be sent as one, this at least says that the answer is incomplete.
        Reason::Length | Reason::ContextLength | Reason::Error => "length",
    }
}

fn failed(finish: &Finish) -> Fault {
    let message = match &finish.raw {
        Some(word) => format!("The provider ended its answer with \"{word}\"."),
        None => "The provider ended its answer with an error.".to_owned(),
    };
    Fault::new(FaultClass::Upstream, "upstream_error", message).fix("Send the request again.")
}
