//! Together: the common grammar; its model list is a bare array.

use domain::{Fault, Grammar, Operation};

use crate::{Ask, Outgoing, Provider, Target, compatible};

const NATIVE: &[Grammar] = &[Grammar::Chat];

pub(crate) struct TogetherAi;

impl Provider for TogetherAi {
    fn grammars(&self, operation: Operation) -> &'static [Grammar] {
        match operation {
            Operation::Transcribe | Operation::Translate => NATIVE,
            _ => compatible::grammars(operation, NATIVE),
        }
    }

    fn generate(&self, target: &Target<'_>, ask: &Ask<'_>) -> Result<Outgoing, Box<Fault>> {
        compatible::generate(target, ask, self.grammars(ask.operation))
    }
}
