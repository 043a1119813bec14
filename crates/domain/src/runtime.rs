//! The trait of a model engine: a node serves whatever implements it.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::fault::Fault;
use crate::usage::Usage;

/// A model that a runtime has loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeModel {
    pub id: String,
    pub owned_by: String,
    pub created_unix_s: u64,
    /// `true` where the runtime is honest-to-goodness inference; `echo` says `false`.
    pub is_model: bool,
}

/// One message of a conversation, reduced to what a text runtime reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeMessage {
    pub role: String,
    pub text: String,
}

/// What to generate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GenerateRequest {
    pub model: String,
    pub messages: Vec<RuntimeMessage>,
    pub max_tokens: Option<u64>,
    pub stop: Vec<String>,
    pub seed: Option<u64>,
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    Stop,
    Length,
}

/// One step of a generation; `Finish` is the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeEvent {
    Text(String),
    Finish { reason: FinishReason, usage: Usage },
}

/// A running generation. Dropping it cancels within one step.
pub trait Generation {
    /// The next event, or `None` after `Finish`.
    ///
    /// # Errors
    /// A fault ends the generation.
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<RuntimeEvent, Fault>>>;
}

/// A model engine. It knows no HTTP and no tenant.
pub trait Runtime: Send + Sync {
    fn models(&self) -> Vec<RuntimeModel>;

    /// # Errors
    /// The model is unknown, or the request asks for what the runtime can't do.
    fn generate(&self, request: GenerateRequest) -> Result<Pin<Box<dyn Generation + Send>>, Fault>;
}
