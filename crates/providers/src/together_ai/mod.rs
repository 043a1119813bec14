//! Together: the common grammar in its older words, with lists where others take a single text; its model list is a bare
//! array.

use dialects::chat::Taste;
use domain::{Fault, Grammar, Operation, Trait};

use crate::{Ask, Outgoing, Provider, Target, compatible};

const NATIVE: &[Grammar] = &[Grammar::Chat];

/// What its own client says otherwise than the grammar does. What it does not know it passes over.
const TASTE: Taste = Taste { lists: &["stop"], counts_logprobs: true, ..Taste::COMMON };

pub(crate) struct TogetherAi;

impl Provider for TogetherAi {
    fn grammars(&self, operation: Operation) -> &'static [Grammar] {
        match operation {
            Operation::Images
            | Operation::Speech
            | Operation::Rerank
            | Operation::Transcribe
            | Operation::Translate => NATIVE,
            _ => compatible::grammars(operation, NATIVE),
        }
    }

    /// It has names of its own for the end of an answer.
    fn is_loose(&self) -> bool {
        true
    }

    /// A length in the newer word would be no limit at all; of a picture it is told the sides as numbers.
    fn generate(&self, target: &Target<'_>, ask: &Ask<'_>) -> Result<Outgoing, Box<Fault>> {
        let lacking = [Trait::MaxCompletionTokens, Trait::DeveloperRole];
        let quirks = lacking.into_iter().fold(target.quirks, |quirks, of| quirks.lacking(of));
        let target = Target { quirks, ..*target };
        let mut outgoing = compatible::generate_for(&target, ask, self.grammars(ask.operation), &TASTE)?;
        if ask.operation == Operation::Images {
            outgoing.body = dialects::by_sides(&outgoing.body.concat().into());
        }
        Ok(outgoing)
    }
}
