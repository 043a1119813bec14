//! The way of an answer: what it is, who speaks what, and what the request asked of it.

use std::rc::Rc;
use std::sync::Arc;

use conversation::answer::AnswerOptions;
use conversation::constraints::AnswerConstraints;
use conversation::prompt_text::UsageEstimator;
use conversation::request::VectorForm;
use domain::{Grammar, Operation, TraceId};

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
    /// The stream reports usage to the client.
    pub usage: bool,
    /// The stream is sent as one growing JSON array (Gemini without `alt=sse`).
    pub as_array: bool,
    /// As the client named it.
    pub model: String,
    pub trace: TraceId,
    pub created_unix_s: u64,
    /// What the request determines about its answer.
    pub constraints: AnswerConstraints,
    /// How the client wants embedding vectors.
    pub vectors: VectorForm,
    /// Bytes of text in the prompt, to estimate what the upstream does not count.
    pub prompt_bytes: u64,
    /// Whether the text of a stream is kept, up to a bound, so that its tokens can be counted.
    pub keeps_text: bool,
    /// The form of the upstream's response, where its content type decides.
    pub form: AnswerForm,
    /// Estimates usage where the upstream reports none and the answer is rewritten.
    pub estimator: Option<Rc<dyn UsageEstimator>>,
    /// The billed units that the response head reports, in millionths.
    pub head_units: Option<u64>,
    /// What reads the answer, where it is in a format of the vendor's own.
    pub vendor: Option<Arc<dyn VendorAnswer>>,
}

impl AnswerPath {
    /// The way of a chat answer with default settings.
    #[must_use]
    pub fn chat(client: Grammar, upstream: Grammar) -> Self {
        Self {
            operation: Operation::Chat,
            client,
            upstream,
            needs_normalising: false,
            usage: true,
            as_array: false,
            model: String::new(),
            trace: TraceId::new(0, [0; 10]),
            created_unix_s: 0,
            constraints: AnswerConstraints::default(),
            vectors: VectorForm::default(),
            prompt_bytes: 0,
            keeps_text: false,
            form: AnswerForm::default(),
            estimator: None,
            head_units: None,
            vendor: None,
        }
    }

    pub(crate) fn options(&self) -> AnswerOptions {
        AnswerOptions {
            usage: self.usage,
            model: self.model.clone(),
            trace: Some(self.trace),
            created_unix_s: self.created_unix_s,
            constraints: self.constraints.clone(),
            // Reasoning from a server of the client's own dialect reaches the client, even where the answer
            // is rewritten.
            thoughts: self.is_same_dialect(),
            is_same_dialect: self.is_same_dialect(),
            estimator: self.estimator.clone(),
        }
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
        self.is_same_dialect() && !self.constraints.is_first_call_alone()
    }
}
