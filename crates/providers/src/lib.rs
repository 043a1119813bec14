//! What differs by seller: address, signature, model list and the meaning of its errors; pure values in and out.

mod auth;
mod classify;
mod compatible;
mod nebius;
mod openai;
mod openai_compatible;
mod registry;
mod retry_after;
mod together_ai;

use bytes::Bytes;
use dialects::chat::ChatRequest;
use domain::{Fault, FaultClass, Secret, UpstreamReport};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

pub use registry::provider;
pub use retry_after::retry_after_ms;

/// Where an attempt goes.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Ends where the provider's own SDK's does, with `/v1` for servers of this shape.
    pub base_url: &'a str,
    pub upstream_model: &'a str,
}

/// A request, ready but for its signature.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub method: Method,
    pub url: String,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Segments of one body: most are slices of what the client sent.
    pub body: Vec<Bytes>,
}

/// What an upstream's failure means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classified {
    pub class: FaultClass,
    pub report: UpstreamReport,
    pub retry_after_ms: Option<u64>,
    /// What the upstream's own `x-should-retry` says.
    pub should_retry: Option<bool>,
}

/// One seller.
pub trait Provider: Sync {
    /// A chat request for the target. No header of the client's is among its headers.
    ///
    /// # Errors
    /// The target can't take this request.
    fn chat(&self, target: &Target<'_>, request: &ChatRequest, body: &Bytes) -> Result<Outgoing, Box<Fault>>;

    /// Signs. The value is marked sensitive, and its memory is wiped when the header is dropped.
    ///
    /// # Errors
    /// The secret can't be a header value.
    fn authorise(&self, outgoing: &mut Outgoing, secret: &Secret) -> Result<(), Box<Fault>>;

    /// The cheapest real call: it tells whether a secret works, and which models there are.
    fn list_models(&self, base_url: &str) -> Outgoing;

    /// The model ids in the answer to `list_models`; `None` where it is no such answer.
    fn read_models(&self, body: &Bytes) -> Option<Vec<String>>;

    /// What an answer with another status than 200 means.
    fn classify(&self, status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified;
}
