//! The errors of the engine.

use std::path::Path;

use kernels::KernelError;
use prefixes::DiskCacheError;
use prompts::PromptError;
use weights::WeightsError;

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The requested device does not exist on this machine.
    #[error("the device \"{named}\" {what}")]
    Processor { named: String, what: String },
    #[error("no adapter \"{0}\" is registered")]
    NoAdapter(String),
    #[error("an adapter \"{0}\" is already registered")]
    AdapterKnown(String),
    /// A registered adapter was needed in memory but could not be read.
    #[error("the adapter \"{id}\" can't be read: {why}")]
    AdapterUnread { id: String, why: String },
    /// The KV cache has too few free blocks.
    #[error("the KV cache is full: {wanted} blocks are needed, but only {free} are free")]
    NoRoom { wanted: usize, free: usize },
    /// A thread can't be started.
    #[error("a thread can't be started: {0}")]
    Thread(std::io::Error),
    /// The prefix cache on disk can't be opened.
    #[error("the prefix cache on disk can't be used: {0}")]
    DiskCache(#[from] DiskCacheError),
    /// Files of the prefix cache can't be removed.
    #[error("the prefix cache on disk can't be cleared: {0}")]
    Disk(std::io::Error),
    /// The thread that runs the model has ended.
    #[error("the model's thread has ended")]
    Lost,
    /// A model's or an adapter's files are refused.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A step is refused.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A text, a template or a tokenizer is refused.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl EngineError {
    /// The file at fault, and what is wrong with it.
    pub(crate) fn file_and_cause(&self) -> Option<(&Path, String)> {
        match self {
            Self::Weights(error) => error.file_and_cause(),
            Self::Prompt(error) => error.file_and_cause(),
            _ => None,
        }
    }
}
