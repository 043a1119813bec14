//! What differs between providers: address, authentication, model list, and the meaning of errors. Pure
//! values in and out.

#![expect(
    clippy::result_large_err,
    reason = "a fault ends an answer, so its size is paid once and not per chunk"
)]

mod anthropic;
mod auth;
mod aws_bedrock;
mod azure_foundry;
mod azure_openai;
mod bedrock_mantle;
mod classify;
mod compatible;
mod escape;
mod fal;
mod fireworks_ai;
mod gemini;
mod missing;
mod mistral;
mod nebius;
mod openai;
mod openai_compatible;
mod rate_limit_headers;
mod registry;
mod retry_after;
mod together_ai;
mod vectors;
mod vertex_ai;
mod xai;

use std::sync::Arc;

use bytes::Bytes;
use conversation::request::{Insert, Request, Stored};
use dialects::VendorAnswer;
use domain::{
    Abilities, AuthKind, Fault, FaultClass, Grammar, Hosting, MissingFeatures, Operation, Prompt, Secret,
    UpstreamReport, WorkspaceId,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

pub use classify::is_of_account;
pub use compatible::{RUNTIME_COUNTS, ask_runtime, unsupported_operation};
pub use openai_compatible::probe::{Probe, ProbeAnswer};
pub use rate_limit_headers::read_rate_limits;
pub use registry::provider;
pub use retry_after::retry_after_ms;

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

/// One step of a token exchange, for accounts whose secret does not sign requests itself.
pub enum GrantStep {
    /// Send this request next; its answer is passed to the next step after the earlier ones.
    Request {
        outgoing: Box<Outgoing>,
        reach: ExchangeReach,
    },
    /// Read this file next; its content is passed on like an answer.
    Read {
        path: String,
    },
    Granted(Granted),
}

/// The network path that a step of an exchange may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeReach {
    /// An ordinary outbound connection to the provider.
    Cloud,
    /// The cloud's metadata service, at a link-local address of this machine.
    Machine,
}

/// The short-lived secret that an exchange produced.
pub struct Granted {
    pub secret: Secret,
    pub lives_s: u64,
}

/// How to help a provider's prompt cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheHelp {
    /// Cache marks in the prompt: without them nothing is cached.
    Marks,
    /// A key shared by requests with the same prefix, so that they are routed to where it is cached.
    Key { place: KeyPlace, of: KeyOf },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPlace {
    /// A member of the request body.
    Member(&'static str),
    Header(&'static str),
}

/// Which requests share a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOf {
    /// Those with the same tools and instructions.
    Head,
    /// Those of one conversation.
    Conversation,
}

/// A provider's request queue, and how to parse its answers.
#[derive(Clone, Copy)]
pub struct Queue<'a> {
    pub address: &'a str,
    /// Parses the answer to an accepted request.
    pub read_taken: fn(&Bytes) -> Option<Taken>,
    /// Whether a request has finished, successfully or not; `None` if the answer does not say.
    pub is_done: fn(&Bytes) -> Option<bool>,
}

/// The URLs of a queued request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub look: String,
    pub fetch: String,
    pub cancel: String,
}

impl Taken {
    #[must_use]
    pub fn places(&self) -> [&str; 3] {
        [&self.look, &self.fetch, &self.cancel]
    }
}

/// An answer that may only lead to the result.
#[derive(Clone, Copy)]
pub struct IntermediateAnswer<'a> {
    pub base_url: &'a str,
    pub hosting: &'a Hosting,
    pub operation: Operation,
    /// The stored object in question, and the operation on it.
    pub stored: Option<&'a Stored>,
    /// How many answers were followed before this one.
    pub step: usize,
    pub body: &'a Bytes,
}

/// The next step after an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FollowUp {
    /// The answer is the result.
    Final,
    /// Send this request, with the account's authentication. If it returns an app's error, that is the
    /// result.
    Request { method: Method, url: String },
    /// Fetch this file, without authentication: it is the result.
    Fetch { url: String },
}

/// The classification of an upstream's error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classified {
    pub class: FaultClass,
    pub report: UpstreamReport,
    pub retry_after_ms: Option<u64>,
    /// The upstream's own `x-should-retry`.
    pub should_retry: Option<bool>,
    /// How to fix it, where the error says more than its class.
    pub fix: Option<String>,
    /// The account itself was refused, and not the request; see `is_of_account`.
    pub is_of_account: bool,
}

/// How a provider's servers differ from others, beside their wire formats.
#[derive(Debug, Clone, Copy)]
pub struct ServerFacts {
    /// Their capabilities are unknown until they are probed.
    pub is_probed: bool,
    /// They deviate from the wire format, so that buffered answers have to be normalised.
    pub needs_normalising: bool,
    /// They accept a tenant key, and isolate tenants' prompts in their cache.
    pub isolates_tenants: bool,
    /// Further domains where they store their accounts' objects, beyond their own address.
    pub storage_domains: &'static [&'static str],
    /// The response header with the billed amount, in the model's billing unit.
    pub units_header: Option<&'static str>,
    /// The response header with the service tier, if the body does not have it.
    pub tier_header: Option<&'static str>,
    /// The response header with the request id, if it is not one of the usual ones.
    pub id_header: Option<&'static str>,
}

impl ServerFacts {
    pub const USUAL: Self = Self {
        is_probed: false,
        needs_normalising: false,
        isolates_tenants: false,
        storage_domains: &[],
        units_header: None,
        tier_header: None,
        id_header: None,
    };
}

/// One provider: its formats, addresses, authentication and errors, and the further faces that some have.
/// Defaults are those of OpenAI-compatible servers.
pub trait Provider: Sync {
    /// The wire formats for an operation on a model; requests in other formats are translated into the first.
    /// Empty if the operation is not supported, or only in a format of the vendor's own.
    fn grammars(&self, operation: Operation, upstream_model: &str) -> &'static [Grammar];

    /// Whether it takes this operation's requests in a format of the vendor's own, for this model.
    fn has_own_format(&self, _operation: Operation, _upstream_model: &str) -> bool {
        false
    }

    fn facts(&self) -> &'static ServerFacts {
        &ServerFacts::USUAL
    }

    /// How a caller in this wire format can help the prompt cache; `None` if it needs no help, or there is no
    /// cache.
    fn cache_help(&self, _grammar: Grammar) -> Option<CacheHelp> {
        None
    }

    /// A request to a model, in the client's wire format if the provider speaks it. Of the client's headers,
    /// only those of that format are passed on.
    ///
    /// # Errors
    /// The target does not support this request.
    fn generate(&self, target: &Target<'_>, ask: &ModelRequest<'_>) -> Result<Outgoing, Box<Fault>>;

    /// Adds authentication. The header is marked sensitive, and its memory is wiped when it is dropped.
    ///
    /// # Errors
    /// The secret can't be a header value, or is of the wrong kind.
    fn authorise(&self, outgoing: &mut Outgoing, signer: &Signer<'_>) -> Result<(), Box<Fault>> {
        auth::bearer::sign(outgoing, signer.secret)
    }

    /// The cheapest real call, which shows whether a secret works and which models there are.
    fn list_models(&self, base_url: &str, _hosting: &Hosting) -> Outgoing {
        compatible::list_models(base_url)
    }

    /// The model ids in the answer to `list_models`; `None` if it is not a list of models.
    fn read_models(&self, body: &Bytes) -> Option<Vec<String>> {
        compatible::read_models(body)
    }

    /// Classifies an answer whose status is not 200.
    fn classify(&self, status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified {
        classify::classify(status, headers, body, provider)
    }

    /// Its token exchange, if it has kinds of secrets that need one.
    fn granting(&self) -> Option<&dyn Granting> {
        None
    }

    /// The queue for an account's requests; `None` if they are answered synchronously.
    fn queue<'a>(&self, _hosting: &'a Hosting) -> Option<Queue<'a>> {
        None
    }

    /// How to go on from answers that only lead to the result, if it has some.
    fn leading(&self) -> Option<&dyn Leading> {
        None
    }
}

/// The token exchange of a provider with kinds of secrets that don't sign requests themselves.
pub trait Granting: Sync {
    /// The next step. `answers` holds the answers to earlier steps.
    ///
    /// # Errors
    /// The secret is of the wrong kind, or an answer can't be parsed.
    fn grant(&self, base_url: &str, signer: &Signer<'_>, answers: &[Bytes]) -> Result<GrantStep, Box<Fault>>;

    /// Classifies an error of the exchange.
    fn classify_grant(&self, status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified;
}

/// The answers of a provider that only lead to the result.
pub trait Leading: Sync {
    /// Whether answers to this operation must be followed.
    fn has_follow_up(&self, operation: Operation, stored: Option<&Stored>) -> bool;

    /// The step after an answer.
    ///
    /// # Errors
    /// The answer points to an address that requests must not be sent to; the text says why.
    fn follow_up(&self, leading: &IntermediateAnswer<'_>) -> Result<FollowUp, &'static str>;
}

/// The token exchange for a kind of secret.
///
/// # Errors
/// The provider has none.
pub fn granting(provider: &dyn Provider, kind: AuthKind) -> Result<&dyn Granting, Box<Fault>> {
    provider.granting().ok_or_else(|| auth::no_such_kind(kind))
}
