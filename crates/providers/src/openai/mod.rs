//! OpenAI: chat completions and responses.

pub mod exports;

use domain::{Fault, Grammar, Operation, Thinking};

use crate::{CacheHelp, KeyOf, KeyPlace, ModelRequest, Outgoing, Provider, Target, compatible};

const NATIVE: &[Grammar] = &[Grammar::Chat, Grammar::Responses];

pub(crate) struct OpenAi;

impl Provider for OpenAi {
    fn grammars(&self, operation: Operation, _upstream_model: &str) -> &'static [Grammar] {
        match operation {
            Operation::Count => &[Grammar::Responses],
            Operation::Moderate
            | Operation::Images
            | Operation::ImageEdits
            | Operation::ImageVariations
            | Operation::Speech
            | Operation::Transcribe
            | Operation::Translate
            | Operation::Realtime
            | Operation::File
            | Operation::Batch
            | Operation::Video => &[Grammar::Chat],
            _ => compatible::grammars(operation, NATIVE),
        }
    }

    /// OpenAI routes by cache key and by the prompt's start, and recommends few requests per minute for each
    /// combination.
    fn cache_help(&self, _grammar: Grammar) -> Option<CacheHelp> {
        Some(CacheHelp::Key { place: KeyPlace::Member("prompt_cache_key"), of: KeyOf::Head })
    }

    /// It refuses to return encrypted reasoning for a model that does not reason, and agents request it for
    /// every model.
    fn generate(&self, target: &Target<'_>, ask: &ModelRequest<'_>) -> Result<Outgoing, Box<Fault>> {
        let grammars = self.grammars(ask.operation, target.upstream_model);
        let thinks = || (target.abilities)().thinking != Thinking::Never;
        match ask.request.without_encrypted_reasoning().filter(|_| !thinks()) {
            Some((request, name)) => {
                let mut outgoing =
                    compatible::generate(target, &ModelRequest { request: &request, ..*ask }, grammars)?;
                if outgoing.grammar == Some(ask.grammar) {
                    outgoing.dropped.push(name.to_owned());
                }
                Ok(outgoing)
            }
            None => compatible::generate(target, ask, grammars),
        }
    }
}
