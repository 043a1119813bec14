//! Writes answers of OpenAI's legacy Completions API (`/completions`), as stream chunks or a buffered
//! response.

use conversation::answer::{AnswerOptions, Progress, WriteAnswer};
use conversation::openai_error::error_event;
use domain::{Event, Fault, TraceId, Usage};
use serde::Serialize;

use super::encode::{Completion, DONE, UsageField};
use super::writer::{finish_word, put};

const OBJECT: &str = "text_completion";

#[derive(Debug)]
pub struct CompletionsWriter {
    wish: AnswerOptions,
    head: Completion,
    usage: Option<Usage>,
}

#[derive(Serialize, Default)]
struct Choice {
    index: u32,
    text: String,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

impl CompletionsWriter {
    pub fn new(wish: AnswerOptions) -> Self {
        let id = wish.trace.map(|trace| format!("cmpl-{}", trace.as_uuid().simple())).unwrap_or_default();
        let head = Completion { id, created_unix_s: wish.created_unix_s, model: wish.model.clone() };
        Self { wish, head, usage: None }
    }

    fn chunk(&self, choice: &Choice, out: &mut Vec<u8>) {
        put(&self.head.envelope(OBJECT, [choice], UsageField::null_if(self.wish.usage)), out);
    }
}

impl WriteAnswer for CompletionsWriter {
    /// Never called: no other code writes the start of such an answer.
    fn resume(&mut self, _progress: &Progress) {}

    fn event(&mut self, event: Event, out: &mut Vec<u8>) {
        match event {
            Event::Start { model, .. } => self.head.model = model.unwrap_or_else(|| self.wish.model.clone()),
            Event::Delta { choice, text, .. } => {
                self.chunk(&Choice { index: choice, text, ..Choice::default() }, out);
            }
            Event::Finish { choice, finish } => {
                let finish_reason = Some(finish_word(finish.reason, false));
                self.chunk(&Choice { index: choice, finish_reason, ..Choice::default() }, out);
            }
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Done => {
                if let Some(usage) = self.usage.filter(|_| self.wish.usage) {
                    let none: [(); 0] = [];
                    put(&self.head.envelope(OBJECT, none, UsageField::of(&usage)), out);
                }
                out.extend_from_slice(DONE);
            }
            Event::Begin { .. }
            | Event::End { .. }
            | Event::Signature { .. }
            | Event::Citation { .. }
            | Event::Logprobs { .. } => {}
        }
    }

    fn error(&mut self, fault: &Fault, trace: TraceId, out: &mut Vec<u8>) {
        out.extend_from_slice(&error_event(fault, trace));
    }

    fn write_buffered(&mut self, events: Vec<Event>) -> Vec<u8> {
        let mut choices: Vec<Choice> = Vec::new();
        for event in events {
            match event {
                Event::Start { model: Some(model), .. } => self.head.model = model,
                Event::Delta { choice, text, .. } => of(&mut choices, choice).text.push_str(&text),
                Event::Finish { choice, finish } => {
                    of(&mut choices, choice).finish_reason = Some(finish_word(finish.reason, false));
                }
                Event::Usage(usage) => self.usage = Some(usage),
                _ => {}
            }
        }
        choices.sort_by_key(|choice| choice.index);
        let usage = self.usage.as_ref().map_or_else(|| UsageField::null_if(false), UsageField::of);
        serde_json::to_vec(&self.head.envelope(OBJECT, choices, usage)).unwrap_or_default()
    }
}

/// The choice with this index, created where it does not exist.
fn of(choices: &mut Vec<Choice>, index: u32) -> &mut Choice {
    let at = choices.iter().position(|choice| choice.index == index).unwrap_or_else(|| {
        choices.push(Choice { index, ..Choice::default() });
        choices.len() - 1
    });
    #[expect(clippy::indexing_slicing, reason = "the place was found, or made, just now")]
    &mut choices[at]
}
