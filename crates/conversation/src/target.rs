//! The model that a request is translated for, and the translated request.

use bytes::Bytes;
use domain::{Abilities, Fault, FaultClass, Prompt};

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

/// Refuses a limit of no tokens: it warms a cache at the provider whose dialect has it, and means nothing elsewhere. `name` is
/// the limit's in the client's dialect.
///
/// # Errors
/// The limit is 0.
pub fn check_length(prompt: &Prompt, name: &str) -> Result<(), Box<Fault>> {
    if prompt.output.tokens_max != Some(0) {
        return Ok(());
    }
    let message =
        "The model chosen for this request doesn't support a limit of 0 tokens, which only warms a cache.";
    let fault = Fault::new(FaultClass::Unsupported, "unsupported_value", message);
    Err(Box::new(fault.fix("Request at least 1 token.").param(name.to_owned())))
}

/// A request in another dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TranslatedRequest {
    pub body: Bytes,
    /// The dropped fields, under the client's names.
    pub dropped: Vec<String>,
}
