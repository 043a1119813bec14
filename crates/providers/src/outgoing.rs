//! A client's request to a model, and the request that is sent to the model's provider.

use std::sync::Arc;

use bytes::Bytes;
use conversation::request::{Insert, Request};
use dialects::VendorAnswer;
use domain::{Abilities, Grammar, Hosting, MissingFeatures, Operation, Prompt, Secret, WorkspaceId};
use http::{HeaderName, HeaderValue, Method};

/// The destination of an attempt.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// Like the base URL in the provider's own SDK; it includes `/v1` for OpenAI-compatible servers.
    pub base_url: &'a str,
    pub upstream_model: &'a str,
    /// The owner's settings for the account.
    pub hosting: &'a Hosting,
    /// The model's known abilities; evaluated only when a request is translated.
    pub abilities: &'a dyn Fn() -> Abilities,
    /// What the server is known not to support.
    pub quirks: MissingFeatures,
}

/// A client's request to a model.
#[derive(Debug, Clone, Copy)]
pub struct ModelRequest<'a> {
    pub operation: Operation,
    /// The client's wire format.
    pub grammar: Grammar,
    pub request: &'a Request,
    pub body: &'a Bytes,
    /// The client's headers that belong to its wire format.
    pub native_headers: &'a [(HeaderName, HeaderValue)],
    /// Whether fields that can't be translated may be dropped.
    pub is_lenient: bool,
    /// Whether tools of a provider's own may be dropped that the server lacks: its route says so.
    pub drops_hosted_tools: bool,
    /// The workspace whose cache is to be isolated, on an account that serves several.
    pub shared_by: Option<WorkspaceId>,
    /// Insertions into the body, where it stays in the client's format.
    pub inserts: &'a [Insert],
    /// The request in the intermediate form, where the provider does not speak the client's format.
    pub prompt: Option<&'a Prompt>,
}

/// A request that is complete except for its authentication.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub method: Method,
    pub url: String,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Segments of one body: most are slices of the client's.
    pub body: Vec<Bytes>,
    /// The wire format of the request; `None` in a format of the vendor's own.
    pub grammar: Option<Grammar>,
    /// What reads the answer, where that is in a format of the vendor's own.
    pub answer: Option<Arc<dyn VendorAnswer>>,
    /// Fields that the client sent and this request omits, by the client's names.
    pub dropped: Vec<String>,
}

impl Outgoing {
    /// A request without a body.
    pub(crate) const fn without_body(
        method: Method,
        url: String,
        headers: Vec<(HeaderName, HeaderValue)>,
    ) -> Self {
        let grammar = Some(Grammar::Chat);
        Self { method, url, headers, body: Vec::new(), grammar, answer: None, dropped: Vec::new() }
    }
}

impl Outgoing {
    /// The same request, whose answer is in a format of the vendor's own.
    pub(crate) fn answered_by(self, answer: impl VendorAnswer + 'static) -> Self {
        Self { answer: Some(Arc::new(answer)), ..self }
    }
}

/// The secret, settings and time for signing a request.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    /// Empty for the machine's own identity.
    pub secret: &'a Secret,
    pub hosting: &'a Hosting,
    pub unix_s: u64,
}
