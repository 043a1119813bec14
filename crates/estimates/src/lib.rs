//! Estimates the tokens of text that no provider counted: with the model's own tokenizer if that is public,
//! else from the bytes per token seen before.

mod ratios;
mod tally;

use std::sync::Arc;

pub use ratios::{Observation, Ratio, Ratios};
pub use tally::{Tally, load, warm};

/// A core's estimator. The learned ratios are shared by all cores.
#[derive(Debug, Default)]
pub struct Estimator {
    ratios: Arc<Ratios>,
}

impl Estimator {
    pub const fn new(ratios: Arc<Ratios>) -> Self {
        Self { ratios }
    }

    pub fn ratios(&self) -> &Ratios {
        &self.ratios
    }
}
