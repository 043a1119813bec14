//! Together: the common grammar; its model list is a bare array.

use domain::{Fault, Grammar, Operation};

use crate::{Ask, Outgoing, Provider, Target, compatible};

const NATIVE: &[Grammar] = &[Grammar::Chat];

pub(crate) struct TogetherAi;

impl Provider for TogetherAi {
    fn grammars(&self, operation: Operation) -> &'static [Grammar] {
        match operation {
            Operation::Images | Operation::Speech | Operation::Rerank => NATIVE,
            _ => compatible::grammars(operation, NATIVE),
        }
    }

    /// It is told the sides of a picture as numbers.
    fn generate(&self, target: &Target<'_>, ask: &Ask<'_>) -> Result<Outgoing, Box<Fault>> {
        let mut outgoing = compatible::generate(target, ask, self.grammars(ask.operation))?;
        if ask.operation == Operation::Images {
            outgoing.body = dialects::by_sides(&outgoing.body.concat().into());
        }
        Ok(outgoing)
    }
}
