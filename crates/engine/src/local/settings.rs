//! How a local model is opened.

use std::sync::Arc;

use prefixes::DiskCacheSettings;
use weights::adapters::Limits;
use weights::{AvailableMemory, Source};

use crate::scheduler::SchedulerLimits;

/// The current time, for chat templates that print the date.
pub type Now = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Unpredictable random numbers, for sampling seeds that a request leaves out and for tool call ids.
pub type Chance = Arc<dyn Fn() -> u64 + Send + Sync>;

/// A draft model for speculative decoding, with the same tokenizer, and the bytes for its KV cache.
#[derive(Debug, Clone)]
pub struct Drafting {
    pub source: Arc<Source>,
    pub bytes: usize,
}

/// How a model is opened.
#[derive(Clone)]
pub struct LocalSettings {
    /// The model name that requests use.
    pub id: String,
    pub created_unix_s: u64,
    pub scheduler_limits: SchedulerLimits,
    pub limits: Limits,
    /// The draft model, if any. Repeated text is also drafted without one.
    pub draft: Option<Drafting>,
    /// The prefix cache on disk, if any.
    pub disk_cache: Option<DiskCacheSettings>,
    /// The memory budget within which adapters are loaded and training runs are started.
    pub spare: AvailableMemory,
    pub chance: Chance,
    pub now_unix_s: Now,
}
