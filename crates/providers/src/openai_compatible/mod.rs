//! Any OpenAI-compatible server: a workspace's own, or a node.

pub(crate) mod probe;

use domain::{Fault, Grammar, Operation};

use crate::{ModelRequest, Outgoing, Provider, ServerFacts, Target, compatible};

const NATIVE: &[Grammar] = &[Grammar::Chat];

pub(crate) struct OpenAiCompatible;

impl Provider for OpenAiCompatible {
    fn grammars(&self, operation: Operation, _upstream_model: &str) -> &'static [Grammar] {
        match operation {
            // Whether the server supports these is not known here; it says so itself.
            Operation::Moderate
            | Operation::Images
            | Operation::ImageEdits
            | Operation::ImageVariations
            | Operation::Speech
            | Operation::Rerank
            | Operation::Transcribe
            | Operation::Translate
            | Operation::Video => NATIVE,
            _ => compatible::grammars(operation, NATIVE),
        }
    }

    fn facts(&self) -> &'static ServerFacts {
        const FACTS: ServerFacts =
            ServerFacts { is_probed: true, needs_normalising: true, ..ServerFacts::USUAL };
        &FACTS
    }

    fn generate(&self, target: &Target<'_>, ask: &ModelRequest<'_>) -> Result<Outgoing, Box<Fault>> {
        compatible::generate(target, ask, self.grammars(ask.operation, target.upstream_model))
    }
}
