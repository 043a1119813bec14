//! Work of a runtime other than generation: embeddings, and relevance scores for reranking.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::fault::{Fault, FaultClass};
use crate::runtime::RawPrompt;
use crate::usage::Usage;

/// Which operations a model serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelUses {
    pub answers: bool,
    pub vectors: bool,
    pub ranks: bool,
}

impl Default for ModelUses {
    fn default() -> Self {
        Self { answers: true, vectors: false, ranks: false }
    }
}

impl ModelUses {
    /// The operations' names for clients.
    pub fn operation_names(self) -> Vec<&'static str> {
        let all = [(self.answers, "chat"), (self.vectors, "embeddings"), (self.ranks, "rerank")];
        all.into_iter().filter(|(is_made, _)| *is_made).map(|(_, word)| word).collect()
    }
}

/// Texts to embed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EmbedRequest {
    pub model: String,
    pub texts: Vec<RawPrompt>,
    /// The length of each vector; the model's own if unset.
    pub dimensions: Option<u64>,
    /// Which of the model's predefined prompts is put before each text (Sentence Transformers' `prompts`).
    pub prompt_name: Option<String>,
    /// The LoRA adapter to use.
    pub adapter: Option<String>,
    /// The scheduling group: requests with the same value share one turn.
    pub scheduling_group: Option<String>,
}

/// Documents to rank by their relevance to a query.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RankRequest {
    pub model: String,
    pub query: String,
    pub documents: Vec<String>,
    /// What counts as relevant, where it differs from the model's own instruction.
    pub instruction: Option<String>,
    pub adapter: Option<String>,
    pub scheduling_group: Option<String>,
}

/// A computation that returns its result when all of it is done. Dropping it cancels within one step.
pub trait InferenceTask {
    type TaskOutput;

    /// # Errors
    /// A fault ends the computation.
    fn poll_output(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::TaskOutput, Fault>>;

    /// Usage so far.
    fn usage(self: Pin<&Self>) -> Usage;
}

/// A computation that another task drives.
pub type BoxedInferenceTask<T> = Pin<Box<dyn InferenceTask<TaskOutput = T> + Send>>;

/// The fault for an operation that the runtime does not serve.
pub(crate) fn not_made(what: &str) -> Fault {
    let message = format!("This runtime makes no {what}.");
    let fault = Fault::new(FaultClass::Unsupported, "unsupported_operation", message);
    fault.param("model").fix("GET /v1/models says what each model is for.")
}
