//! The model that a request is translated for, and the translated request.

use bytes::Bytes;
use domain::{Abilities, Prompt};

/// The target that a request is written for.
#[derive(Debug, Clone, Copy)]
pub struct TargetModel<'a> {
    /// The model's name at the target.
    pub model: &'a str,
    pub abilities: Abilities,
}

impl TargetModel<'_> {
    /// The requested output limit, capped at the model's maximum: a higher one would be refused, and yields
    /// no more.
    #[inline]
    pub fn tokens_max(&self, prompt: &Prompt) -> Option<u64> {
        let most = self.abilities.output_tokens_max.unwrap_or(u64::MAX);
        prompt.output.tokens_max.map(|tokens| tokens.min(most))
    }
}

/// A request in another dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TranslatedRequest {
    pub body: Bytes,
    /// The dropped fields, under the client's names.
    pub dropped: Vec<String>,
}
