//! Which code stands behind a provider's slug: one line each.

use crate::Provider;
use crate::nebius::Nebius;
use crate::openai::OpenAi;
use crate::openai_compatible::OpenAiCompatible;
use crate::together_ai::TogetherAi;

/// The provider of a slug. A slug that is not listed is a server of a workspace or a node, which speak the
/// common grammar.
#[must_use]
pub fn provider(slug: &str) -> &'static dyn Provider {
    match slug {
        "openai" => &OpenAi,
        "nebius" => &Nebius,
        "together_ai" => &TogetherAi,
        _ => &OpenAiCompatible,
    }
}
