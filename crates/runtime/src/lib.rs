//! Requests to a self-hosted runtime, in any dialect, and its responses.

mod limits;
mod vectors;

use bytes::Bytes;
use conversation::answer::{AnswerOptions, WriteAnswer};
use conversation::constraints::AnswerConstraints;
use conversation::request::Request;
use conversation::target::check_length;
use dialects::{face, read_prompt};
use domain::runtime::GenerateRequest;
use domain::{Event, Fault, FaultClass, Grammar, Operation, TraceId};

pub use vectors::{
    RuntimeEmbedRequest, RuntimeRankRequest, ranks_answer, read_runtime_embeddings, read_runtime_ranking,
    vectors_answer,
};

/// Reads a whole request, including the extension fields of self-hosted runtimes. If `is_lenient` is set,
/// unknown fields are dropped instead of refused.
pub fn read_runtime(
    grammar: Grammar,
    operation: Operation,
    body: &[u8],
    request: &Request,
    is_lenient: bool,
) -> Result<GenerateRequest, Box<Fault>> {
    let (prompt, continues) = match operation {
        Operation::Complete => {
            let (prompt, continues) = chat::read_continued(body)?;
            (prompt, Some(continues))
        }
        _ => {
            let prompt = read_prompt(grammar, body, request)?;
            let length = face(grammar).facts().parameters.output_tokens.last().copied();
            check_length(&prompt, length.unwrap_or("max_tokens"))?;
            (prompt, None)
        }
    };
    let (words, known) = chat::read_words(body)?;
    let unknown = prompt.extras.iter().find(|extra| extra.affects_answer && !known.contains(&extra.name));
    if let Some(extra) = unknown.filter(|_| !is_lenient) {
        let message = format!("This runtime doesn't accept \"{}\".", extra.name);
        let fault = Fault::new(FaultClass::Unsupported, "unsupported_parameter", message);
        let fix = "Leave it out, or send Agent-Lenient: true to have it dropped.";
        return Err(Box::new(fault.param(extra.name.clone()).fix(fix)));
    }
    Ok(GenerateRequest { model: request.model.clone(), prompt, raw_prompt: continues, parameters: words })
}

/// The form in which a client wants a runtime's response.
#[derive(Debug, Clone)]
pub struct RuntimeAnswerOptions {
    pub grammar: Grammar,
    pub operation: Operation,
    /// Whether a stream reports usage.
    pub usage: bool,
    pub model: String,
    pub trace: TraceId,
    pub created_unix_s: u64,
    /// What the request asks of the response's form.
    pub constraints: AnswerConstraints,
}

/// Writes a runtime's response for its client.
#[derive(Debug)]
pub struct AnswerWriter {
    writer: Box<dyn WriteAnswer>,
    trace: TraceId,
}

impl AnswerWriter {
    pub fn new(wish: RuntimeAnswerOptions) -> Self {
        let RuntimeAnswerOptions {
            grammar,
            operation,
            usage,
            model,
            trace,
            created_unix_s,
            constraints: answer_constraints,
        } = wish;
        let wish = AnswerOptions {
            usage,
            model,
            trace: Some(trace),
            created_unix_s,
            constraints: answer_constraints,
            ..AnswerOptions::default()
        };
        let writer = match operation {
            Operation::Complete => Box::new(chat::CompletionsWriter::new(wish)),
            _ => face(grammar).writer(wish),
        };
        Self { writer, trace }
    }

    /// The bytes of the stream for this event; empty if there is nothing to send yet.
    pub fn event(&mut self, event: Event) -> Bytes {
        let mut out = Vec::new();
        self.writer.event(event, &mut out);
        Bytes::from(out)
    }

    /// The bytes of an error, after which the stream must be closed.
    pub fn error(&mut self, fault: &Fault) -> Bytes {
        let mut out = Vec::new();
        self.writer.error(fault, self.trace, &mut out);
        Bytes::from(out)
    }

    /// A buffered response.
    pub fn buffered(&mut self, events: Vec<Event>) -> Bytes {
        Bytes::from(self.writer.write_buffered(events))
    }
}
