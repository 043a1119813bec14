//! What a provider's answers mean: an error's class, the place of a queued request, the step towards the result.

use bytes::Bytes;
use conversation::request::Stored;
use domain::{FaultClass, Hosting, Operation, UpstreamReport};
use http::Method;

/// The URLs of a queued request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub look: String,
    pub fetch: String,
    pub cancel: String,
}

impl Taken {
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
