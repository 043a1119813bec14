//! What the client gets of a buffered response, and what was read of it.

use bytes::Bytes;
use conversation::answer::AnswerFacts;
use conversation::turns::TurnSignatures;

/// A buffered response as the client gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BufferedAnswer {
    pub body: Bytes,
    pub facts: AnswerFacts,
    /// Reasoning signatures that the provider must get back with the results of this answer's tool calls.
    pub signatures: Option<TurnSignatures>,
    /// The response's id at its provider, where it has one and may be stored.
    pub provider_response: Option<Box<ProviderResponse>>,
    /// The answer's text, where the upstream reported no usage.
    pub text: String,
    /// Kinds of content that the client's dialect can't express, and that it doesn't get.
    pub dropped: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderResponse {
    pub id: String,
    /// It is complete; a background response is not yet.
    pub is_over: bool,
}

impl BufferedAnswer {
    /// A body of which nothing else was read.
    pub const fn plain(body: Bytes, facts: AnswerFacts) -> Self {
        Self {
            body,
            facts,
            signatures: None,
            provider_response: None,
            text: String::new(),
            dropped: Vec::new(),
        }
    }
}
