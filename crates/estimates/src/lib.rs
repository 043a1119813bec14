//! How many tokens a text is, where nobody who reads it has counted: by the model's own tokenizer where that is public,
//! else by what its texts took before.

mod ratios;
mod tally;

use std::sync::Arc;

pub use ratios::{Ratio, Ratios, Told};
pub use tally::{Tally, load, warm};

/// What a core estimates with. What is learned is of all cores.
#[derive(Debug, Default)]
pub struct Estimator {
    ratios: Arc<Ratios>,
}

impl Estimator {
    #[must_use]
    pub const fn new(ratios: Arc<Ratios>) -> Self {
        Self { ratios }
    }

    #[must_use]
    pub fn ratios(&self) -> &Ratios {
        &self.ratios
    }
}
