//! Nebius Token Factory: plain chat completions.

use domain::{Fault, Grammar, Operation};

use crate::{ModelRequest, Outgoing, Provider, Target, compatible};

const NATIVE: &[Grammar] = &[Grammar::Chat];

pub(crate) struct Nebius;

impl Provider for Nebius {
    fn grammars(&self, operation: Operation, _upstream_model: &str) -> &'static [Grammar] {
        match operation {
            Operation::Images => NATIVE,
            _ => compatible::grammars(operation, NATIVE),
        }
    }

    fn generate(&self, target: &Target<'_>, ask: &ModelRequest<'_>) -> Result<Outgoing, Box<Fault>> {
        compatible::generate(target, ask, self.grammars(ask.operation, target.upstream_model))
    }
}
