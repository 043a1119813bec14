//! Writes responses of the Gemini API, streamed or buffered.

mod assemble;
mod chunk;

use std::collections::HashMap;

use conversation::answer::{AnswerOptions, Progress, WriteAnswer};
use domain::{Event, Fault, Finish, PartKind, Reason, TraceId, Usage};

use self::chunk::{Candidate, Head, PendingCall, write_frame};
use super::error::{error_body, status};
use super::finish;
use super::wire::Part;

/// Gemini sends a tool call in one piece, and the finish reason and usage in the last chunk. The writer
/// buffers these until they can be sent.
#[derive(Debug)]
pub struct Writer {
    wish: AnswerOptions,
    id: Option<String>,
    model: Option<String>,
    kinds: HashMap<(u32, u32), Open>,
    finishes: Vec<(u32, Finish)>,
    /// Calls with invalid arguments, by choice.
    malformed: HashMap<u32, String>,
    usage: Option<Usage>,
    /// The start was already sent by something else, and perhaps the whole response.
    is_resumed: bool,
}

#[derive(Debug)]
enum Open {
    Text,
    Thought,
    Call(PendingCall),
    /// A part that Gemini cannot express.
    Silent,
}

impl Writer {
    pub fn new(wish: AnswerOptions) -> Self {
        Self {
            wish,
            id: None,
            model: None,
            kinds: HashMap::new(),
            finishes: Vec::new(),
            malformed: HashMap::new(),
            usage: None,
            is_resumed: false,
        }
    }

    fn head(&self) -> Head {
        let trace = self.wish.trace.map(|trace| trace.to_string());
        let model = self.model.clone().unwrap_or_else(|| self.wish.model.clone());
        Head {
            response_id: self.id.clone().or(trace),
            model_version: Some(model).filter(|model| !model.is_empty()),
        }
    }

    /// A thought signature is valid only at its own provider, so clients get none from upstreams of other
    /// dialects: their next request could carry it to a wrong provider, and Google's SDKs fail if it is not
    /// Base64.
    fn keeps_signatures(&self) -> bool {
        self.wish.is_same_dialect
    }

    fn begin(&mut self, choice: u32, part: u32, kind: PartKind, out: &mut Vec<u8>) {
        let open = match kind {
            PartKind::Text | PartKind::Refusal => Open::Text,
            PartKind::Thought { .. } => Open::Thought,
            PartKind::Call { id, name, is_custom } => Open::Call(PendingCall::new(id, name, is_custom)),
            PartKind::Redacted => Open::Silent,
            PartKind::Image { media_type, base64 } => {
                if let Some(part) = chunk::picture(&media_type, &base64) {
                    self.put(choice, part, out);
                }
                Open::Silent
            }
            PartKind::Foreign { kind, json } => {
                if let Some(part) = chunk::foreign(&kind, &json) {
                    self.put(choice, part, out);
                }
                Open::Silent
            }
        };
        self.kinds.insert((choice, part), open);
    }

    fn delta(&mut self, choice: u32, part: u32, text: &str, out: &mut Vec<u8>) {
        let is_thought = match self.kinds.get_mut(&(choice, part)) {
            Some(Open::Call(call)) => return call.arguments.push_str(text),
            Some(Open::Text) => false,
            Some(Open::Thought) => true,
            Some(Open::Silent) | None => return,
        };
        if !text.is_empty() {
            self.put(choice, Part { thought: is_thought, ..Part::text(text) }, out);
        }
    }

    fn signature(&mut self, choice: u32, part: u32, value: String, out: &mut Vec<u8>) {
        if !self.keeps_signatures() {
            return;
        }
        match self.kinds.get_mut(&(choice, part)) {
            Some(Open::Call(call)) => call.signature = Some(value),
            Some(Open::Thought) => {
                let part = Part { thought: true, thought_signature: Some(value.into()), ..Part::text("") };
                self.put(choice, part, out);
            }
            _ => {}
        }
    }

    fn end_part(&mut self, choice: u32, part: u32, out: &mut Vec<u8>) {
        let Some(Open::Call(call)) = self.kinds.remove(&(choice, part)) else { return };
        match call.part() {
            Ok(part) => self.put(choice, part, out),
            Err(explanation) => {
                self.malformed.entry(choice).or_insert(explanation);
            }
        }
    }

    fn put(&self, choice: u32, part: Part<'_>, out: &mut Vec<u8>) {
        write_frame(&self.head(), vec![Candidate::of(choice, vec![part])], None, out);
    }

    fn done(&mut self, out: &mut Vec<u8>) {
        let finishes = std::mem::take(&mut self.finishes);
        let usage = self.usage.take();
        if finishes.is_empty() && (self.is_resumed || usage.is_none()) {
            return;
        }
        let candidates: Vec<_> = finishes
            .into_iter()
            .map(|(choice, finish)| {
                // The chat classes of Google's SDKs drop a response that has a chunk without parts.
                let candidate = Candidate::of(choice, vec![Part::text("")]);
                candidate.with_finish(self.settle(choice, finish))
            })
            .collect();
        write_frame(&self.head(), candidates, usage.as_ref(), out);
    }

    /// The choice's finish reason and message.
    fn settle(&mut self, choice: u32, finish: Finish) -> (String, Option<String>) {
        if let Some(explanation) = self.malformed.remove(&choice) {
            return (finish::MALFORMED.to_owned(), Some(explanation));
        }
        // The upstream's own finish reason, unless it is one that only explains blocked prompts.
        let is_own = |word: &String| {
            let has_call = finish.reason == Reason::Calls;
            self.wish.is_same_dialect && finish::read(word, true, has_call, None).reason == finish.reason
        };
        let own = finish.raw.filter(is_own);
        (own.unwrap_or_else(|| finish::word(finish.reason).to_owned()), finish.explanation)
    }
}

impl WriteAnswer for Writer {
    fn resume(&mut self, progress: &Progress) {
        self.is_resumed = progress.started;
        self.id.clone_from(&progress.id);
        self.model.clone_from(&progress.model);
    }

    fn event(&mut self, event: Event, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model, .. } => (self.id, self.model) = (id, model),
            Event::Begin { choice, part, kind } => self.begin(choice, part, kind, out),
            Event::Delta { choice, part, text } => self.delta(choice, part, &text, out),
            Event::Signature { choice, part, value } => self.signature(choice, part, value, out),
            Event::End { choice, part } => self.end_part(choice, part, out),
            Event::Logprobs { choice, tokens } => {
                if let Some(result) = chunk::logprobs(&tokens) {
                    let candidate = Candidate::of(choice, vec![Part::text("")]).with_logprobs(result);
                    write_frame(&self.head(), vec![candidate], None, out);
                }
            }
            Event::Finish { choice, finish } => self.finishes.push((choice, finish)),
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Done => self.done(out),
            // Gemini has no equivalent of other dialects' citations.
            Event::Citation { .. } => {}
        }
    }

    fn error(&mut self, fault: &Fault, trace: TraceId, out: &mut Vec<u8>) {
        let status = status(fault);
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&error_body(fault, status, trace));
        out.extend_from_slice(b"\r\n\r\n");
    }

    fn write_buffered(&mut self, events: Vec<Event>) -> Vec<u8> {
        assemble::whole(self, events)
    }
}
