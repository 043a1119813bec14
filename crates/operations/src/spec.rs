//! The trait of an operation, and what the stages ask it about.

use std::fmt::Debug;

use bytes::Bytes;
use conversation::answer::StreamFault;
use conversation::request::{Addressed, Request};
use dialects::{AnswerPath, AnswerStream, BufferedAnswer};
use domain::limits::BODY_BYTES_MAX;
use domain::ports::FoundResponse;
use domain::{Fault, FaultClass, Grammar, Operation, Units, Usage};

use crate::ceiling;
use crate::form::FormFields;

pub(crate) const PROMPT_FIX: &str = "Send a string.";

/// What never changes about an operation.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    pub body: Body,
    /// The size limit of a form.
    pub form_bytes_max: usize,
    pub subject: Subject,
    pub content_type: ContentType,
    /// Its tokens are counted or estimated, and its stream can be cut short.
    pub counts_tokens: bool,
    /// Its request is a conversation, which can be translated between dialects.
    pub is_conversation: bool,
    /// What its providers count teaches the bytes per token of their models.
    pub teaches_ratios: bool,
    /// Its form holds a recording.
    pub has_recording: bool,
    /// Its answer is the next turn of a conversation: the prompt may come again and is worth caching, and the client's dialect has
    /// an answer for blocked content.
    pub continues_conversation: bool,
    /// Its answer is the number of the prompt's tokens: no model answers, and where the provider can't count, the gateway estimates.
    pub only_counts: bool,
    /// It takes place in a session: its request opens a WebSocket at the provider.
    pub is_session: bool,
    /// Its provider stores the answer if the request says so.
    pub stores_answers: bool,
    /// The same request may be given the same answer again.
    pub is_repeatable: bool,
    /// What a client reads whose model's provider can't perform it.
    pub unsupported: Unsupported,
}

/// What is known of the objects that the providers of an operation store.
#[derive(Debug, PartialEq, Eq)]
pub struct ObjectFacts {
    /// The fault code for an object that does not exist.
    pub not_found: &'static str,
    /// An object that is derived from a stored one is made from a file. Otherwise it is made from one of its own kind, whose model it
    /// has.
    pub is_made_from_file: bool,
    /// Its usage is booked once it has ended, and counted by the budgets of the request that made it.
    pub is_booked_at_end: bool,
    /// Its usage is booked from its last state that was seen, so that it is polled once more before it is deleted.
    pub is_booked_by_last_poll: bool,
    /// What else may be wrong where its content is not found: the rest of a sentence that says that there is no such object.
    pub or_no_content: &'static str,
}

impl ObjectFacts {
    /// Those of a file.
    pub const FILE: Self = Self {
        not_found: "file_not_found",
        is_made_from_file: false,
        is_booked_at_end: false,
        is_booked_by_last_poll: false,
        or_no_content: "",
    };
}

/// What is wrong with a provider that can't perform an operation.
#[derive(Debug, Clone, Copy)]
pub struct Unsupported {
    pub code: &'static str,
    /// The rest of a sentence about the provider.
    pub lacks: &'static str,
    pub fix: &'static str,
}

impl Unsupported {
    pub const fn new(lacks: &'static str, fix: &'static str) -> Self {
        Self { code: "unsupported_operation", lacks, fix }
    }
}

impl Facts {
    /// Those of an operation that takes JSON and answers with text.
    pub const TEXT: Self = Self {
        body: Body::Json,
        form_bytes_max: BODY_BYTES_MAX,
        subject: Subject::NewAnswer,
        content_type: ContentType::Implied,
        counts_tokens: true,
        is_conversation: false,
        teaches_ratios: false,
        has_recording: false,
        continues_conversation: false,
        only_counts: false,
        is_session: false,
        stores_answers: false,
        is_repeatable: false,
        unsupported: Unsupported::new(
            "has no way to have a conversation",
            "Use a model that chats, such as GET /v2/capabilities lists.",
        ),
    };

    /// Those of an operation on objects that its provider stores.
    pub const fn of_object(object: &'static ObjectFacts) -> Self {
        Self {
            subject: Subject::StoredObject(object),
            content_type: ContentType::Forwarded,
            counts_tokens: false,
            ..Self::TEXT
        }
    }

    /// The objects that it makes and reads; `None` where its provider stores none.
    pub const fn object(&self) -> Option<&'static ObjectFacts> {
        match self.subject {
            Subject::StoredObject(object) => Some(object),
            Subject::NewAnswer | Subject::StoredAnswer => None,
        }
    }
}

/// The form of a request that makes something new.
#[derive(Debug, Clone, Copy)]
pub enum Body {
    Json,
    /// A multipart form with files.
    Form(&'static FormFields),
    JsonOrForm(&'static FormFields),
}

/// What a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    NewAnswer,
    /// An answer that the provider stores. A failed read of it used nothing.
    StoredAnswer,
    /// A file, batch, video or cached prompt that the provider stores and that has an id of ours.
    StoredObject(&'static ObjectFacts),
}

/// What determines the content type of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentType {
    /// The client's dialect implies it.
    Implied,
    /// It is whatever the upstream sent.
    Forwarded,
    /// The upstream's tells whether the answer is JSON, events or text.
    Recognised,
}

/// A request without a form.
#[derive(Debug, Clone, Copy)]
pub struct RequestSource<'a> {
    pub grammar: Grammar,
    pub body: &'a Bytes,
    /// What its address says.
    pub addressed: Option<&'a Addressed>,
}

/// A call, as far as its size bounds its usage.
#[derive(Debug, Clone, Copy)]
pub struct CallSize<'a> {
    pub request: &'a Request,
    pub body_bytes: u64,
    /// A part of its form has yet to arrive.
    pub is_arriving: bool,
    /// The most bytes that its form can have.
    pub form_bytes_max: u64,
    /// Arrival of its first byte.
    pub received_unix_ms: u64,
}

/// The limits of a model; unknown for one that is not in the catalogue.
#[derive(Debug, Clone, Copy, Default)]
pub struct ModelLimits {
    pub is_known: bool,
    pub context_tokens: Option<u64>,
    pub output_tokens_max: Option<u64>,
}

impl ModelLimits {
    /// The limits of a model of the catalogue.
    pub const fn known(context_tokens: Option<u64>, output_tokens_max: Option<u64>) -> Self {
        Self { is_known: true, context_tokens, output_tokens_max }
    }
}

/// Which request books the usage of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Booking {
    /// The request that it answers.
    Own,
    /// The one request that is granted the right to, once the answer's end was seen: a stored answer may be read by many.
    Once { is_granted: bool },
    /// None: it is booked elsewhere, or nothing is used.
    Never,
}

/// A call, as far as it determines who books it.
#[derive(Debug, Clone, Copy)]
pub struct AnsweredCall<'a> {
    pub request: &'a Request,
    /// What is known of the stored response or object that it names.
    pub found: Option<&'a FoundResponse>,
    pub is_stored_by_provider: bool,
    /// This request was granted the right to book an answer that others may read too.
    pub is_granted: bool,
}

/// All that is known of an operation.
pub trait OperationSpec: Debug + Sync {
    fn operation(&self) -> Operation;

    fn facts(&self) -> &'static Facts;

    /// Reads what later stages need to know about a request.
    fn read_request(&self, source: RequestSource<'_>) -> Result<Request, Box<Fault>> {
        dialects::decode_request(source.grammar, self.operation(), source.body, source.addressed)
    }

    /// The most that an answer can use. What the provider stores uses nothing more.
    fn ceiling(&self, call: &CallSize<'_>, model: ModelLimits) -> Usage {
        match self.facts().subject {
            Subject::NewAnswer => ceiling::of_text(call.request, call.body_bytes, model, Units::default()),
            Subject::StoredAnswer | Subject::StoredObject(_) => Usage::default(),
        }
    }

    /// Usage that needs no estimate, since the model is not sold by the token. `sells_tokens` is unknown for a model without a
    /// price.
    fn counted_in_units(&self, _request: &Request, _sells_tokens: Option<bool>) -> Option<Usage> {
        None
    }

    /// Estimates the units, besides tokens, of an answer that reported none.
    fn estimated_units(&self, _call: &CallSize<'_>) -> Units {
        Units::default()
    }

    fn booking(&self, _call: &AnsweredCall<'_>) -> Booking {
        match self.facts().subject {
            Subject::NewAnswer => Booking::Own,
            Subject::StoredAnswer | Subject::StoredObject(_) => Booking::Never,
        }
    }

    /// The fault of a request for it to a provider that can't perform it.
    fn unsupported(&self) -> Box<Fault> {
        let Unsupported { code, lacks, fix } = self.facts().unsupported;
        let message = format!("The provider of this model {lacks}.");
        Box::new(Fault::new(FaultClass::Unsupported, code, message).fix(fix).param("model"))
    }

    /// Reads a buffered answer in a dialect's own format, and returns what the client gets.
    ///
    /// # Errors
    /// The body is not an answer, or it is an error that came with a success status.
    fn buffered_answer(&self, path: &AnswerPath, body: Bytes) -> Result<BufferedAnswer, StreamFault> {
        dialects::buffered_answer(path, body)
    }

    /// The relay of a streamed answer in a dialect's own format.
    fn answer_stream(&self, path: AnswerPath) -> AnswerStream {
        AnswerStream::new(path)
    }
}
