//! The errors of the engine.

use std::path::PathBuf;

use prompts::PromptError;

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    /// A file exists but its content is invalid.
    #[error("{path}: {what}")]
    Broken { path: PathBuf, what: String },
    /// The model's architecture is not supported.
    #[error("no model of the kind \"{0}\" is known here; those that are: {known}", known = crate::families::NAMES.join(", "))]
    Family(String),
    /// The model's `config.json` (or GGUF metadata) describes an impossible architecture.
    #[error("the model's description is wrong: \"{field}\" {what}")]
    Shape { field: &'static str, what: String },
    #[error("the weights lack the tensor \"{0}\"")]
    NoTensor(String),
    #[error("the tensor \"{name}\" is {found:?}, and the model's description makes it {wanted:?}")]
    TensorShape { name: String, found: Vec<usize>, wanted: Vec<usize> },
    /// The requested device does not exist on this machine.
    #[error("the device \"{named}\" {what}")]
    Processor { named: String, what: String },
    /// An adapter that can't be loaded: the file, and the field or tensor at fault.
    #[error("{path}: \"{field}\" {what}")]
    Adapter { path: PathBuf, field: String, what: String },
    #[error("no adapter \"{0}\" is known here")]
    NoAdapter(String),
    #[error("there is an adapter \"{0}\" already")]
    AdapterKnown(String),
    /// A registered adapter was needed in memory but could not be read.
    #[error("the adapter \"{id}\" can't be read: {why}")]
    AdapterUnread { id: String, why: String },
    /// A limit on adapters is exceeded.
    #[error("{what}: {wanted}, where {most} may be")]
    AdapterLimit { what: &'static str, wanted: u64, most: u64 },
    /// Loading this would take more memory than the machine or its limits have left.
    #[error("{what} takes {} MiB of memory, and {} are left", .wanted.div_ceil(1 << 20), .left >> 20)]
    Memory { what: &'static str, wanted: u64, left: u64 },
    /// The KV cache has too few free blocks.
    #[error("no room is left in the pool: {wanted} blocks are wanted and {free} are free")]
    NoRoom { wanted: usize, free: usize },
    /// The engine built an invalid step: a bug of ours.
    #[error("a step was asked for that can't be made: {0}")]
    Step(&'static str),
    /// The thread that runs the model has ended.
    #[error("the model's thread has ended")]
    Lost,
    /// The settings of a training run are invalid.
    #[error("the training can't be done so: \"{field}\" {what}")]
    Setting { field: &'static str, what: String },
    /// A training run is resumed, but the base model's files differ from those it started with.
    #[error("the model's files are not those that the run began with")]
    OtherBase,
    #[error("what is trained is no number any more at step {step}; the rate may be too high")]
    Diverged { step: usize },
    /// A text, a template or a tokenizer is refused.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}
