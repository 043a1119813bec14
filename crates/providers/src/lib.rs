//! What differs by seller: address, signature, model list and the meaning of its errors; pure values in and out.

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
mod registry;
mod retry_after;
mod together_ai;
mod told_limits;
mod vertex_ai;
mod xai;

use bytes::Bytes;
use dialects::{Insert, Request, Stored};
use domain::{
    Abilities, Fault, FaultClass, Grammar, Hosting, Operation, Prompt, Quirks, Secret, UpstreamReport,
    WorkspaceId,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Deserialize;

pub use classify::is_of_account;
pub use compatible::{RUNTIME_COUNTS, ask_runtime, no_such};
pub use openai_compatible::probe::{Heard, Probe};
pub use registry::provider;
pub use retry_after::retry_after_ms;
pub use told_limits::told_limits;

/// Where an attempt goes.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// Ends where the provider's own SDK's does, with `/v1` for servers of this shape.
    pub base_url: &'a str,
    pub upstream_model: &'a str,
    /// What its owner says of the account there.
    pub hosting: &'a Hosting,
    /// What is known of the model there; asked for only where a request is written anew.
    pub abilities: &'a dyn Fn() -> Abilities,
    /// What its server is known not to take.
    pub quirks: Quirks,
}

/// What a client asks of a model.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub operation: Operation,
    /// In which it asks.
    pub grammar: Grammar,
    pub request: &'a Request,
    pub body: &'a Bytes,
    /// The client's own headers that belong to its grammar.
    pub native_headers: &'a [(HeaderName, HeaderValue)],
    /// What can't be said may be left out.
    pub is_lenient: bool,
    /// Whose caches are to be kept apart, where an account serves several workspaces.
    pub shared_by: Option<WorkspaceId>,
    /// What is put into the body, where its grammar stays the client's.
    pub inserts: &'a [Insert],
    /// The request in the form between grammars, where this provider does not speak the client's.
    pub prompt: Option<&'a Prompt>,
}

/// A request, ready but for its signature.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub method: Method,
    pub url: String,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Segments of one body: most are slices of what the client sent.
    pub body: Vec<Bytes>,
    /// In which it is asked, and will be answered.
    pub grammar: Grammar,
    /// What the client said and this request doesn't, by the client's names.
    pub dropped: Vec<String>,
}

impl Outgoing {
    /// A question without a body.
    pub(crate) const fn look(method: Method, url: String, headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        Self { method, url, headers, body: Vec::new(), grammar: Grammar::Chat, dropped: Vec::new() }
    }
}

/// By what, and when, a request is signed.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    /// Empty where the machine's own identity speaks.
    pub secret: &'a Secret,
    pub hosting: &'a Hosting,
    pub unix_s: u64,
}

/// How an account comes to what signs its requests, where its secret doesn't sign them itself.
pub enum Grant {
    /// This is asked next; its answer is shown with those before it.
    Ask {
        outgoing: Box<Outgoing>,
        door: Door,
    },
    /// This file of the machine is read next, and shown as an answer is.
    Read {
        path: String,
    },
    Granted(Granted),
}

/// Where a grant is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// At the cloud.
    Cloud,
    /// At the address that clouds have inside every machine of theirs.
    Machine,
}

/// What signs for a while.
pub struct Granted {
    pub secret: Secret,
    pub lives_s: u64,
}

/// What a cache of prompts is helped with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheHelp {
    /// Marks in the prompt: without them nothing is cached.
    Marks,
    /// A word that requests of one prefix have in common, so that they come to where it is cached.
    Key { place: KeyPlace, of: KeyOf },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPlace {
    /// A member of the request.
    Member(&'static str),
    Header(&'static str),
}

/// Which requests have a key in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOf {
    /// Those of the same tools and instructions.
    Head,
    /// Those of one conversation.
    Conversation,
}

/// A queue that requests are put into, and how what it says is read.
#[derive(Clone, Copy)]
pub struct Queue<'a> {
    pub address: &'a str,
    /// What it says of a request that it took.
    pub read_taken: fn(&Bytes) -> Option<Taken>,
    /// Whether a request is done, well or not; `None` where that is not said.
    pub is_done: fn(&Bytes) -> Option<bool>,
}

/// The places of a request that is in a queue.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Taken {
    #[serde(rename = "status_url")]
    pub look: String,
    #[serde(rename = "response_url")]
    pub fetch: String,
    #[serde(rename = "cancel_url")]
    pub cancel: String,
}

impl Taken {
    #[must_use]
    pub fn places(&self) -> [&str; 3] {
        [&self.look, &self.fetch, &self.cancel]
    }
}

/// An answer that may be no more than the way to what was asked for.
#[derive(Clone, Copy)]
pub struct Leading<'a> {
    pub base_url: &'a str,
    pub hosting: &'a Hosting,
    pub operation: Operation,
    /// What is kept there, and what is to be done with it.
    pub stored: Option<&'a Stored>,
    /// How many answers were read before this one.
    pub step: usize,
    pub body: &'a Bytes,
}

/// Where an answer leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lead {
    /// It is what was asked for.
    Here,
    /// This is asked with the account's own signature. What an app refused is an answer there.
    Ask { method: Method, url: String },
    /// This file is fetched, by whoever asks, unsigned: it is what was asked for.
    Fetch { url: String },
}

/// What an upstream's failure means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classified {
    pub class: FaultClass,
    pub report: UpstreamReport,
    pub retry_after_ms: Option<u64>,
    /// What the upstream's own `x-should-retry` says.
    pub should_retry: Option<bool>,
    /// What mends it, where what was said tells more than the class.
    pub fix: Option<String>,
    /// The account itself was refused, and not what it was asked for; see `is_of_account`.
    pub is_of_account: bool,
}

/// One seller. What is not said otherwise is as servers of the common grammar have it.
pub trait Provider: Sync {
    /// The grammars in which it is asked for this; the first is what the others are translated into. None where it has
    /// no way to do it.
    fn grammars(&self, operation: Operation) -> &'static [Grammar];

    /// The same for one model of a seller whose models are asked in several ways.
    fn grammars_for(&self, operation: Operation, _upstream_model: &str) -> &'static [Grammar] {
        self.grammars(operation)
    }

    /// Whether it counts the tokens of a request to a model before it is answered.
    fn counts(&self, upstream_model: &str) -> bool {
        !self.grammars_for(Operation::Count, upstream_model).is_empty()
    }

    /// Whether nobody knows what its servers take until they are asked.
    fn is_probed(&self) -> bool {
        false
    }

    /// Whether it takes liberties with the grammar, so that its whole answers are mended.
    fn is_loose(&self) -> bool {
        self.is_probed()
    }

    /// The domains under which it reads what its accounts keep, beside the address that it is asked at.
    fn stores(&self) -> &'static [&'static str] {
        &[]
    }

    /// How its cache of prompts is helped by who asks in this grammar; `None` where it has no need of help, or no cache.
    fn cache_help(&self, _grammar: Grammar) -> Option<CacheHelp> {
        None
    }

    /// Whether it is told who of those that share an account asks, and keeps their prompts apart in its cache.
    fn parts_caches(&self) -> bool {
        false
    }

    /// A request to a model, in the client's grammar where the provider speaks it. Of the client's headers only those
    /// of that grammar are among its own.
    ///
    /// # Errors
    /// The target can't take this request.
    fn generate(&self, target: &Target<'_>, ask: &Ask<'_>) -> Result<Outgoing, Box<Fault>>;

    /// Signs. The value is marked sensitive, and its memory is wiped when the header is dropped.
    ///
    /// # Errors
    /// The secret can't be a header value, or is not of its kind.
    fn authorise(&self, outgoing: &mut Outgoing, signer: &Signer<'_>) -> Result<(), Box<Fault>> {
        auth::bearer::sign(outgoing, signer.secret)
    }

    /// The next step to what signs, where kinds of secrets are exchanged. `heard` are the answers to the steps before.
    ///
    /// # Errors
    /// The secret is not of its kind, or an answer is none.
    fn grant(&self, _base_url: &str, signer: &Signer<'_>, _heard: &[Bytes]) -> Result<Grant, Box<Fault>> {
        Err(auth::no_such_kind(signer.hosting.auth))
    }

    /// What a refusal of a step to a grant means.
    fn classify_grant(&self, status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified {
        auth::oauth::classify(status, headers, body, provider)
    }

    /// The cheapest real call: it tells whether a secret works, and which models there are.
    fn list_models(&self, base_url: &str, _hosting: &Hosting) -> Outgoing {
        compatible::list_models(base_url)
    }

    /// The model ids in the answer to `list_models`; `None` where it is no such answer.
    fn read_models(&self, body: &Bytes) -> Option<Vec<String>> {
        compatible::read_models(body)
    }

    /// The header of an answer that tells how much is billed, in units that the model is sold by.
    fn units_header(&self) -> Option<&'static str> {
        None
    }

    /// The header of an answer that tells at which tier it was served, where its body does not.
    fn tier_header(&self) -> Option<&'static str> {
        None
    }

    /// The header in which an answer is named, where that is another than the usual ones.
    fn id_header(&self) -> Option<&'static str> {
        None
    }

    /// The queue that requests of an account are put into; `None` where they are answered at once.
    fn queue<'a>(&self, _hosting: &'a Hosting) -> Option<Queue<'a>> {
        None
    }

    /// Whether answers to this lead on, and are read for that.
    fn leads(&self, _operation: Operation, _stored: Option<&Stored>) -> bool {
        false
    }

    /// Where an answer leads.
    ///
    /// # Errors
    /// Nowhere where this account's key or anybody may be sent; the text says why.
    fn lead(&self, _leading: &Leading<'_>) -> Result<Lead, &'static str> {
        Ok(Lead::Here)
    }

    /// What an answer with another status than 200 means.
    fn classify(&self, status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified {
        classify::classify(status, headers, body, provider)
    }
}
