//! What a runtime makes of texts beside answers: vectors, and how well documents fit a question.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::fault::{Fault, FaultClass};
use crate::runtime::Continues;
use crate::usage::Usage;

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Makes {
    pub answers: bool,
    pub vectors: bool,
    pub ranks: bool,
}

impl Default for Makes {
    fn default() -> Self {
        Self { answers: true, vectors: false, ranks: false }
    }
}

impl Makes {
    /// As clients read it.
    #[must_use]
    pub fn words(self) -> Vec<&'static str> {
        let all = [(self.answers, "chat"), (self.vectors, "embeddings"), (self.ranks, "rerank")];
        all.into_iter().filter(|(is_made, _)| *is_made).map(|(_, word)| word).collect()
    }
}

/// Texts that vectors are to be made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EmbedRequest {
    pub model: String,
    pub texts: Vec<Continues>,
    /// How long each vector is to be; as long as the model makes them where nothing is said.
    pub dimensions: Option<u64>,
    /// Which of the prompts that its makers wrote stands before each text.
    pub prompt_name: Option<String>,
    /// A LoRA that the model reads with.
    pub adapter: Option<String>,
    /// Whose turn it waits for: requests of the same word share theirs.
    pub share: Option<String>,
}

/// Documents that are to be put in the order in which they fit a question.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RankRequest {
    pub model: String,
    pub query: String,
    pub documents: Vec<String>,
    /// What fitting means, where it is not what the model's makers had in mind.
    pub instruction: Option<String>,
    pub adapter: Option<String>,
    pub share: Option<String>,
}

/// Work that is told when all of it is done. Dropping it cancels within one step.
pub trait Reckoning {
    type Told;

    /// # Errors
    /// A fault ends the work.
    fn poll_told(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Told, Fault>>;

    /// What was used up to now.
    fn used(self: Pin<&Self>) -> Usage;
}

/// Work that somebody else drives.
pub type Reckoned<T> = Pin<Box<dyn Reckoning<Told = T> + Send>>;

/// A runtime makes none of what was asked for.
pub(crate) fn not_made(what: &str) -> Fault {
    let message = format!("This runtime makes no {what}.");
    let fault = Fault::new(FaultClass::Unsupported, "unsupported_operation", message);
    fault.param("model").fix("GET /v1/models says what each model is for.")
}
