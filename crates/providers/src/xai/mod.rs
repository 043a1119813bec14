//! xAI: chat completions and responses. A conversation id routes its requests to where its prefix is cached.

use domain::{Fault, Grammar, Operation};

use crate::{CacheHelp, KeyOf, KeyPlace, ModelRequest, Outgoing, Provider, Target, compatible};

const NATIVE: &[Grammar] = &[Grammar::Chat, Grammar::Responses];

pub(crate) struct Xai;

impl Provider for Xai {
    fn grammars(&self, operation: Operation, _upstream_model: &str) -> &'static [Grammar] {
        match operation {
            Operation::Realtime => &[Grammar::Chat],
            _ => compatible::grammars(operation, NATIVE),
        }
    }

    /// Each format has its own field for the conversation id.
    fn cache_help(&self, grammar: Grammar) -> Option<CacheHelp> {
        let place = match grammar {
            Grammar::Responses => KeyPlace::Member("prompt_cache_key"),
            _ => KeyPlace::Header("x-grok-conv-id"),
        };
        Some(CacheHelp::Key { place, of: KeyOf::Conversation })
    }

    fn generate(&self, target: &Target<'_>, ask: &ModelRequest<'_>) -> Result<Outgoing, Box<Fault>> {
        compatible::generate(target, ask, self.grammars(ask.operation, target.upstream_model))
    }
}
