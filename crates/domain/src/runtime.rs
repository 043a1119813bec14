//! The trait of an inference engine. A node serves any implementation of it.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::adapters::{Adapters, RuntimeFuture};
use crate::event::Event;
use crate::fault::Fault;
use crate::inference_task::{BoxedInferenceTask, EmbedRequest, ModelUses, RankRequest, not_made};
use crate::prompt::{Json, Prompt};
use crate::training::Trainer;
use crate::usage::Usage;

/// A model that a runtime has loaded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuntimeModel {
    pub id: String,
    pub owned_by: String,
    pub created_unix_s: u64,
    /// Whether the runtime runs a real model; `false` for `echo`.
    pub is_model: bool,
    /// The context length: prompt and answer together.
    pub context_tokens: Option<u64>,
    /// What its weights take in memory.
    pub weights_bytes: Option<u64>,
    pub operations: ModelUses,
}

/// A request to generate.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GenerateRequest {
    pub model: String,
    /// The conversation and the parameters of its answer.
    pub prompt: Prompt,
    /// A text to continue, instead of a conversation.
    pub raw_prompt: Option<RawPrompt>,
    pub parameters: RuntimeParameters,
}

/// A raw prompt that is not a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RawPrompt {
    Text(String),
    Tokens(Vec<u32>),
}

/// Parameters that vendors' APIs lack and self-hosted servers accept.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RuntimeParameters {
    /// The minimum probability of a token, relative to the most likely one.
    pub min_p: Option<f64>,
    pub repetition_penalty: Option<f64>,
    /// The model's end-of-sequence tokens do not end the answer (`ignore_eos`).
    pub ignore_eos: bool,
    /// Extra variables for the chat template.
    pub template: Option<Json>,
    pub constraint: Option<OutputConstraint>,
    /// The LoRA adapter to use.
    pub adapter: Option<String>,
    /// Adapters, or none, to switch to from the given token of the answer on, in order.
    pub adapter_switches: Vec<(u64, Option<String>)>,
    /// The scope of prefix caching: only prefixes cached under the same value are reused.
    pub cache_scope: Option<String>,
}

/// A constraint on the answer (structured decoding), in one of several notations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputConstraint {
    Regex(String),
    Grammar(String),
    /// The answer must be one of these texts.
    Choice(Vec<String>),
}

/// A running generation: `Begin` to `Done`. Dropping it cancels within one step.
pub trait Generation {
    /// The next event, or `None` after `Done`.
    ///
    /// # Errors
    /// A fault ends the generation.
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Event, Fault>>>;

    /// Usage so far, whether or not an event has reported it.
    fn usage(self: Pin<&Self>) -> Usage;
}

/// A generation that another task drives.
pub type BoxedGeneration = Pin<Box<dyn Generation + Send>>;

/// An inference engine. It knows nothing of HTTP or tenants.
pub trait Runtime: Send + Sync {
    fn models(&self) -> Vec<RuntimeModel>;

    /// # Errors
    /// The model is unknown, or the request needs something that the runtime can't do.
    fn generate(&self, request: GenerateRequest) -> Result<BoxedGeneration, Fault>;

    /// The number of tokens in the prompt as the model would receive it. The errors are those of `generate`.
    fn count_tokens(&self, request: GenerateRequest) -> RuntimeFuture<'_, u64>;

    /// Embeddings, one for each text, in their order.
    ///
    /// # Errors
    /// The model is unknown, or does not embed.
    fn embed(&self, _request: EmbedRequest) -> Result<BoxedInferenceTask<Vec<Vec<f32>>>, Fault> {
        Err(not_made("vectors of texts"))
    }

    /// The relevance of each document to the query, from 0 to 1, in their order.
    ///
    /// # Errors
    /// The model is unknown, or does not rank.
    fn rank(&self, _request: RankRequest) -> Result<BoxedInferenceTask<Vec<f64>>, Fault> {
        Err(not_made("ranks of documents"))
    }

    /// Management of LoRA adapters; `None` if the runtime takes none.
    fn adapters(&self) -> Option<&dyn Adapters> {
        None
    }

    /// Training; `None` if the runtime only does inference.
    fn trainer(&self) -> Option<&dyn Trainer> {
        None
    }

    /// The current load; empty for a runtime without a queue.
    fn load(&self) -> RuntimeLoad {
        RuntimeLoad::default()
    }

    /// What the prefix cache on disk has done since the start; `None` if the runtime has none.
    fn disk_cache(&self) -> Option<DiskCacheCounts> {
        None
    }

    /// Clears the prefix cache of one scope (`RuntimeParameters::share`) and returns how much that was. Running
    /// generations keep their blocks until they end; those blocks are not reused.
    fn clear_prefix_cache(&self, _share: Option<String>) -> RuntimeFuture<'_, ClearedPrefixes> {
        Box::pin(async { Ok(ClearedPrefixes::default()) })
    }
}

/// A runtime's load and cache use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuntimeLoad {
    /// Sequences that are running, and those that wait to be scheduled.
    pub running: u64,
    pub waiting: u64,
    /// KV cache memory in use, and its total.
    pub cache_bytes: u64,
    pub cache_bytes_max: u64,
    /// The part in use that running sequences hold; the rest is evicted when it is needed.
    pub cache_held_bytes: u64,
}

/// What was cleared from a runtime's prefix cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClearedPrefixes {
    /// Cached tokens that a later request could have reused.
    pub tokens: u64,
    /// Blocks that are free now.
    pub blocks: u64,
    pub bytes: u64,
    /// What is freed when the generations that use it end.
    pub held: InUse,
    /// What was removed from the disk; `None` without a prefix cache there.
    pub disk: Option<ClearedDisk>,
}

/// What was removed from the prefix cache on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClearedDisk {
    pub blocks: u64,
    pub bytes: u64,
}

/// Counts of a prefix cache on disk, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskCacheCounts {
    /// Blocks of prompts that were read from the disk, and those that were found neither in memory nor there.
    pub hits: u64,
    pub absent: u64,
    /// Blocks on disk that a prompt could have used, where computing them was the faster way.
    pub passed_over: u64,
    /// Files that were removed because they were short, changed, or not sealed by this node.
    pub rejected: u64,
    /// Blocks that were not written because too many others waited.
    pub dropped: u64,
    pub read_bytes: u64,
    pub written_bytes: u64,
    /// What is on disk now, and the most that may be.
    pub stored_blocks: u64,
    pub stored_bytes: u64,
    pub stored_bytes_max: u64,
    /// Blocks are written; `false` after the disk was full or failed.
    pub is_writing: bool,
}

/// What running generations still use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InUse {
    pub answers: u64,
    pub blocks: u64,
    pub bytes: u64,
}
