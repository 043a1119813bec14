//! The way of an answer: what it is, who speaks what, and what the request asked of it.

use std::sync::Arc;

use conversation::answer::AnswerOptions;
use conversation::request::VectorForm;
use domain::{Grammar, Operation, TraceId};
use framing::sse::skip_lead;

use crate::transcript::AnswerForm;
use crate::vendor::VendorAnswer;

/// The dialects on both sides of an answer, and how the client wants it.
#[derive(Debug, Clone)]
pub struct AnswerPath {
    pub operation: Operation,
    pub client: Grammar,
    /// The client's, where `vendor` writes the answer.
    pub upstream: Grammar,
    /// The server is known to deviate from the format: a buffered response is repaired on the way.
    pub needs_normalising: bool,
    /// The stream is sent as one growing JSON array (Gemini without `alt=sse`).
    pub as_array: bool,
    /// How the client wants it. What depends on both dialects is set when an answer is written.
    pub options: AnswerOptions,
    /// How the client wants embedding vectors.
    pub vectors: VectorForm,
    /// Bytes of text in the prompt, to estimate what the upstream does not count.
    pub prompt_bytes: u64,
    /// Whether the text of a stream is kept, up to a bound, so that its tokens can be counted.
    pub keeps_text: bool,
    /// The form of the upstream's response, where its content type decides.
    pub form: AnswerForm,
    /// The billed units that the response head reports, in millionths.
    pub head_units: Option<u64>,
    /// What reads the answer, where it is in a format of the vendor's own.
    pub vendor: Option<Arc<dyn VendorAnswer>>,
}

impl AnswerPath {
    /// The way of a chat answer with default settings.
    pub fn chat(client: Grammar, upstream: Grammar) -> Self {
        Self {
            operation: Operation::Chat,
            client,
            upstream,
            needs_normalising: false,
            as_array: false,
            options: AnswerOptions {
                usage: true,
                trace: Some(TraceId::new(0, [0; 10])),
                ..AnswerOptions::default()
            },
            vectors: VectorForm::default(),
            prompt_bytes: 0,
            keeps_text: false,
            form: AnswerForm::default(),
            head_units: None,
            vendor: None,
        }
    }

    /// The same with what an answer that is written says of itself.
    pub fn with_labels(mut self, model: &str, trace: TraceId, created_unix_s: u64) -> Self {
        self.options.model = model.to_owned();
        self.options.trace = Some(trace);
        self.options.created_unix_s = created_unix_s;
        self
    }

    pub(crate) fn options(&self) -> AnswerOptions {
        AnswerOptions { is_same_dialect: self.is_same_dialect(), ..self.options.clone() }
    }

    /// The request reads a stored response, which is forwarded as it is.
    pub(crate) fn is_look(&self) -> bool {
        self.operation == Operation::Stored
    }

    pub(crate) fn is_same_dialect(&self) -> bool {
        self.client == self.upstream
    }

    /// The upstream's own bytes are forwarded.
    pub(crate) fn is_passthrough(&self) -> bool {
        self.is_unfiltered() && self.options.guard.is_none()
    }

    /// The upstream's own bytes are forwarded when they are whole: a guard that only counts has then read them.
    pub(crate) fn forwards_whole(&self) -> bool {
        self.is_unfiltered() && self.options.guard.as_ref().is_none_or(|guard| guard.only_counts())
    }

    /// A document in which the guard finds nothing is forwarded, too, without being read.
    pub(crate) fn is_cleared(&self, body: &[u8]) -> bool {
        let is_document = skip_lead(body).first() == Some(&b'{');
        let clears = || self.options.guard.as_ref().is_some_and(|guard| guard.clears(body));
        is_document && self.is_unfiltered() && !self.needs_normalising && clears()
    }

    fn is_unfiltered(&self) -> bool {
        self.is_same_dialect() && !self.options.constraints.is_first_call_alone()
    }
}
