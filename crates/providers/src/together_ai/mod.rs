//! Together: chat completions with the older field names, and lists where OpenAI takes a single text. Its
//! model list is a bare array.

mod sizes;

use chat::SupportedFields;
use domain::{Fault, Grammar, Operation, ServerFeature};

use crate::{ModelRequest, Outgoing, Provider, ServerFacts, Target, compatible};

const NATIVE: &[Grammar] = &[Grammar::Chat];

/// Where its own client deviates from the format. It ignores unknown fields.
const SUPPORTED: SupportedFields =
    SupportedFields { lists: &["stop"], counts_logprobs: true, ..SupportedFields::COMMON };

pub(crate) struct TogetherAi;

impl Provider for TogetherAi {
    fn grammars(&self, operation: Operation, _upstream_model: &str) -> &'static [Grammar] {
        match operation {
            Operation::Images
            | Operation::Speech
            | Operation::Rerank
            | Operation::Transcribe
            | Operation::Translate => NATIVE,
            _ => compatible::grammars(operation, NATIVE),
        }
    }

    /// It has its own finish reasons.
    fn facts(&self) -> &'static ServerFacts {
        const FACTS: ServerFacts = ServerFacts { needs_normalising: true, ..ServerFacts::USUAL };
        &FACTS
    }

    /// It ignores `max_completion_tokens`, so that the output would be unlimited; and it takes an image's
    /// size as two numbers.
    fn generate(&self, target: &Target<'_>, ask: &ModelRequest<'_>) -> Result<Outgoing, Box<Fault>> {
        let lacking = [ServerFeature::MaxCompletionTokens, ServerFeature::DeveloperRole];
        let quirks = lacking.into_iter().fold(target.quirks, |quirks, of| quirks.lacking(of));
        let target = Target { quirks, ..*target };
        let mut outgoing = compatible::generate_for(
            &target,
            ask,
            self.grammars(ask.operation, target.upstream_model),
            &SUPPORTED,
        )?;
        if ask.operation == Operation::Images {
            outgoing.body = sizes::with_width_and_height(&outgoing.body.concat().into());
        }
        Ok(outgoing)
    }
}
