//! The Gemini wire as the real provider speaks it: what it refuses, what it answers, how it counts.

mod answer;
pub(crate) mod answering;
mod batches;
mod caches;
mod content;
mod embeddings;
pub(crate) mod error;
pub(crate) mod models;
mod options;
mod prompt;
mod protojson;
mod request;
pub(crate) mod route;
pub(crate) mod schema;
pub(crate) mod service;
mod signature;
pub(crate) mod stream;
mod turns;

use batches::Batches;
use caches::Caches;
use content::Content;
use error::ApiError;
use models::Abilities;
use signature::Signer;

/// What an emulator remembers for this provider.
pub(crate) struct State {
    batches: Batches,
    caches: Caches,
    signer: Signer,
}

impl State {
    pub(crate) fn new() -> Self {
        Self { batches: Batches::default(), caches: Caches::default(), signer: Signer::new() }
    }

    /// Forgets the batches and the cached contents; signatures given out stay good.
    pub(crate) fn reset(&self) {
        self.batches.clear();
        self.caches.clear();
    }

    /// Refuses a history whose signatures are not what this model gave out.
    fn signed(&self, model: &str, abilities: Abilities, contents: &[Content]) -> Result<(), ApiError> {
        if abilities.signs { self.signer.check(model, contents) } else { Ok(()) }
    }
}
