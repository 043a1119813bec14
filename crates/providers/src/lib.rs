//! What differs between providers: address, authentication, model list, and the meaning of errors. Pure
//! values in and out.

#![expect(
    clippy::result_large_err,
    reason = "a fault ends an answer, so its size is paid once and not per chunk"
)]

mod answers;
mod anthropic;
mod auth;
mod aws_bedrock;
mod azure_foundry;
mod azure_openai;
mod bedrock_mantle;
mod classify;
mod compatible;
mod escape;
pub mod exports;
mod facts;
mod fal;
mod fireworks_ai;
mod gemini;
mod grant;
mod limits;
mod missing;
mod mistral;
mod nebius;
mod openai;
mod openai_compatible;
mod openrouter;
mod outgoing;
mod rate_limit_headers;
mod registry;
mod retry_after;
mod storage;
mod together_ai;
mod vectors;
mod vertex_ai;
mod xai;

use bytes::Bytes;
use conversation::request::Stored;
use domain::{AuthKind, Fault, Grammar, Hosting, Operation};
use http::HeaderMap;

pub use answers::{Classified, FollowUp, IntermediateAnswer, Taken};
pub use auth::subscription::SubscriptionTokens;
pub use classify::is_of_account;
pub use compatible::{RUNTIME_COUNTS, ask_runtime, unsupported_operation};
pub use facts::{CacheHelp, KeyOf, KeyPlace, ServerFacts};
pub use grant::{ExchangeReach, GrantStep, Granted};
pub use openai_compatible::probe::{Probe, ProbeAnswer};
pub use outgoing::{ModelRequest, Outgoing, Signer, Target};
pub use rate_limit_headers::read_rate_limits;
pub use registry::{exports, provider};
pub use retry_after::retry_after_ms;
pub use storage::StorageServer;

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

    /// Its queue, if it can have requests wait in one.
    fn queueing(&self) -> Option<&dyn Queueing> {
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

/// The queue of a provider, and how to read what it answers.
pub trait Queueing: Sync {
    /// The queue's address; `None` if this account's requests are answered synchronously.
    fn address<'a>(&self, hosting: &'a Hosting) -> Option<&'a str>;

    /// The URLs in the answer to an accepted request.
    fn read_taken(&self, body: &Bytes) -> Option<Taken>;

    /// Whether a request has finished, successfully or not; `None` if the answer does not say.
    fn is_done(&self, body: &Bytes) -> Option<bool>;
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

/// Adds the authentication of a request: of a subscription's token, which every vendor takes as a bearer token, or the
/// provider's own.
///
/// # Errors
/// The secret can't be a header value, or is of the wrong kind.
pub fn authorise(
    provider: &dyn Provider,
    outgoing: &mut Outgoing,
    signer: &Signer<'_>,
) -> Result<(), Box<Fault>> {
    if signer.hosting.auth.is_subscription() {
        return auth::bearer::sign(outgoing, signer.secret);
    }
    provider.authorise(outgoing, signer)
}

/// The token exchange for a kind of secret.
///
/// # Errors
/// The provider has none.
pub fn granting(provider: &dyn Provider, kind: AuthKind) -> Result<&dyn Granting, Box<Fault>> {
    if kind == AuthKind::SubscriptionOauth {
        return Ok(&auth::subscription::SealedAccess);
    }
    provider.granting().ok_or_else(|| auth::no_such_kind(kind))
}

/// The queue that takes an account's requests.
#[derive(Clone, Copy)]
pub struct Queue<'a> {
    pub address: &'a str,
    pub queueing: &'a dyn Queueing,
}

/// The queue for an account's requests; `None` if they are answered synchronously.
pub fn queue<'a>(provider: &'a dyn Provider, hosting: &'a Hosting) -> Option<Queue<'a>> {
    let queueing = provider.queueing()?;
    Some(Queue { address: queueing.address(hosting)?, queueing })
}
