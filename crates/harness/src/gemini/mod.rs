//! An emulator of the Gemini API: its checks, its responses, its token counts.

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

use std::sync::atomic::Ordering;

use batches::Batches;
use caches::Caches;
use content::Content;
use error::ApiError;
use models::Abilities;
use signature::Signer;

/// The emulator's Gemini state.
pub(crate) struct State {
    batches: Batches,
    caches: Caches,
    signer: Signer,
}

impl State {
    pub(crate) fn new() -> Self {
        Self { batches: Batches::default(), caches: Caches::default(), signer: Signer::new() }
    }

    /// Whether new cached contents are made and not answered.
    pub(crate) fn leave_caches_unanswered(&self, are_unanswered: bool) {
        self.caches.are_unanswered.store(are_unanswered, Ordering::Relaxed);
    }

    /// Clears the batches and the cached contents; issued signatures stay valid.
    pub(crate) fn reset(&self) {
        self.batches.clear();
        self.caches.clear();
    }

    /// Rejects a history whose signatures this model did not issue.
    fn check_signatures(
        &self,
        model: &str,
        abilities: Abilities,
        contents: &[Content],
    ) -> Result<(), ApiError> {
        if abilities.signs { self.signer.check(model, contents) } else { Ok(()) }
    }
}
