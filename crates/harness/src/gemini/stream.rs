//! Gemini's streamed response: chunks in the provider's order, with the script's faults applied, serialised
//! as server-sent events or as a growing JSON array.

use bytes::Bytes;

use super::answer::{Candidate, Plan, final_candidate};
use super::content::{Content, Part};
use super::error::ApiError;
use crate::emulator::frames::{self, Event};
use crate::emulator::{Behaviour, LineEnd, Part as Piece, PartRole, ToolMode, UsageMode};
use crate::openai::tokens;

/// The wire form of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `alt=sse`
    Events,
    /// A single JSON array, sent element by element.
    Array,
}

struct Chunks<'a> {
    plan: &'a Plan<'a>,
    events: Vec<Event>,
    visible: u64,
    thoughts: u64,
}

/// The complete response as byte pieces, each with its place and its token count.
pub(crate) fn parts(plan: &Plan<'_>, behaviour: &Behaviour, form: Form) -> Vec<Piece> {
    let mut chunks = Chunks { plan, events: Vec::new(), visible: 0, thoughts: 0 };
    chunks.all(behaviour.tools == Some(ToolMode::Interleaved));
    put(chunks.events, behaviour, form)
}

/// A response that fits into a single chunk.
pub(crate) fn single(response: &str, behaviour: &Behaviour, form: Form) -> Vec<Piece> {
    put(
        vec![Event { name: None, data: response.to_owned(), tokens: 0, role: PartRole::Finish }],
        behaviour,
        form,
    )
}

impl Chunks<'_> {
    fn all(&mut self, together: bool) {
        let thinking = self.plan.thought(0).map(|part| vec![part]);
        if let Some(parts) = thinking {
            self.chunk(0, parts, None, 0, PartRole::Content);
        }
        self.text();
        for (index, choice) in self.plan.reply.choices.iter().enumerate() {
            let calls = choice.calls.iter().enumerate();
            let calls: Vec<(Part, u64)> = calls
                .map(|(at, call)| {
                    (self.plan.call(at, call), tokens::count(&call.name) + tokens::count(&call.arguments))
                })
                .collect();
            if together && !calls.is_empty() {
                let tokens = calls.iter().map(|(_, tokens)| tokens).sum();
                let parts = calls.into_iter().map(|(part, _)| part).collect();
                self.chunk(index, parts, None, tokens, PartRole::Content);
                continue;
            }
            for (part, tokens) in calls {
                self.chunk(index, vec![part], None, tokens, PartRole::Content);
            }
        }
        self.finishes();
        if self.plan.usage == UsageMode::Unasked {
            let response = self.plan.response(Vec::new(), self.visible, self.thoughts);
            self.push(&response, 0, PartRole::Usage);
        }
    }

    /// The candidates alternate, piece by piece.
    fn text(&mut self) {
        let choices = &self.plan.reply.choices;
        let longest = choices.iter().map(|choice| choice.pieces.len()).max().unwrap_or(0);
        for turn in 0..longest {
            for (index, choice) in choices.iter().enumerate() {
                if let Some(piece) = choice.pieces.get(turn) {
                    let count = tokens::count(piece);
                    self.chunk(index, vec![Part::text(piece.clone())], Some(piece), count, PartRole::Content);
                }
            }
        }
    }

    /// Each candidate's last chunk, with an empty text part that newer models sign.
    fn finishes(&mut self) {
        let choices = &self.plan.reply.choices;
        for (index, choice) in choices.iter().enumerate() {
            let last = Part { thought_signature: self.plan.text_signature(choice), ..Part::text("") };
            let ended = final_candidate(index, choice);
            let silenced = ended.finish_reason.as_deref() == Some("SAFETY");
            let content = (!silenced).then(|| Content::of_model(vec![last]));
            let left = if index + 1 == choices.len() { u64::MAX } else { 0 };
            self.candidate(Candidate { content, ..ended }, left, PartRole::Finish);
        }
    }

    fn chunk(&mut self, index: usize, parts: Vec<Part>, text: Option<&str>, tokens: u64, role: PartRole) {
        let candidate = Candidate {
            content: Some(Content::of_model(parts)),
            logprobs_result: text.and_then(|text| self.plan.logprobs(text)),
            index,
            ..Candidate::default()
        };
        self.candidate(candidate, tokens, role);
    }

    /// Adds one chunk; the last one takes the tokens that a script counts beyond those generated, and the
    /// first one the thoughts, shown or not.
    fn candidate(&mut self, candidate: Candidate, tokens: u64, role: PartRole) {
        let visible = tokens.min(self.plan.visible_tokens().saturating_sub(self.visible));
        let thoughts = self.plan.reply.reasoning_tokens - self.thoughts;
        self.visible += visible;
        self.thoughts += thoughts;
        let mut response = self.plan.response(vec![candidate], self.visible, self.thoughts);
        if self.plan.usage == UsageMode::Joined && role != PartRole::Finish {
            response.usage_metadata = None;
        }
        self.push(&response, visible + thoughts, role);
    }

    fn push(&mut self, response: &impl serde::Serialize, tokens: u64, role: PartRole) {
        let data = serde_json::to_string(response).unwrap_or_default();
        self.events.push(Event { name: None, data, tokens, role });
    }
}

fn put(mut events: Vec<Event>, behaviour: &Behaviour, form: Form) -> Vec<Piece> {
    let error = || {
        let data = ApiError::in_stream(behaviour).body().to_string();
        Event { name: None, data, tokens: 0, role: PartRole::Error }
    };
    match form {
        Form::Array => {
            frames::damage(&mut events, behaviour, error);
            array(events)
        }
        Form::Events => {
            // Gemini has no terminator; a script may send the one that other providers have.
            if behaviour.doubled_done {
                events.push(Event { name: None, data: "[DONE]".to_owned(), tokens: 0, role: PartRole::Done });
            }
            let line_end = behaviour.line_end.or(Some(LineEnd::Crlf));
            frames::parts(events, &Behaviour { line_end, ..behaviour.clone() }, error)
        }
    }
}

fn array(events: Vec<Event>) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = events
        .into_iter()
        .enumerate()
        .map(|(at, event)| {
            let before = if at == 0 { "[" } else { ",\r\n" };
            Piece {
                bytes: Bytes::from(format!("{before}{}", event.data)),
                tokens: event.tokens,
                role: event.role,
            }
        })
        .collect();
    pieces.push(Piece { bytes: Bytes::from_static(b"]\n"), tokens: 0, role: PartRole::Done });
    pieces
}
