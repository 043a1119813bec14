//! What goes wrong with a model.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    /// A file is not what it should be.
    #[error("{path}: {what}")]
    Broken { path: PathBuf, what: String },
    /// A model that this engine does not know.
    #[error("no model of the kind \"{0}\" is known here; those that are: {known}", known = crate::families::NAMES.join(", "))]
    Family(String),
    /// What a model's description says makes no model.
    #[error("the model's description is wrong: \"{field}\" {what}")]
    Shape { field: &'static str, what: String },
    #[error("the weights lack the tensor \"{0}\"")]
    NoTensor(String),
    #[error("the tensor \"{name}\" is {found:?}, and the model's description makes it {wanted:?}")]
    TensorShape { name: String, found: Vec<usize>, wanted: Vec<usize> },
    /// A device that is asked for and not here.
    #[error("the device \"{named}\" {what}")]
    Processor { named: String, what: String },
    /// An adapter that can't be taken: the file, and the field or the tensor of it that says why.
    #[error("{path}: \"{field}\" {what}")]
    Adapter { path: PathBuf, field: String, what: String },
    #[error("no adapter \"{0}\" is known here")]
    NoAdapter(String),
    #[error("there is an adapter \"{0}\" already")]
    AdapterKnown(String),
    /// One that was wanted in memory could not be read.
    #[error("the adapter \"{id}\" can't be read: {why}")]
    AdapterUnread { id: String, why: String },
    /// More of adapters than may be.
    #[error("{what}: {wanted}, where {most} may be")]
    AdapterLimit { what: &'static str, wanted: u64, most: u64 },
    /// What is to come into memory takes more than this machine, or its limits, have left.
    #[error("{what} takes {} MiB of memory, and {} are left", .wanted.div_ceil(1 << 20), .left >> 20)]
    Memory { what: &'static str, wanted: u64, left: u64 },
    /// More was asked of the pool than it has.
    #[error("no room is left in the pool: {wanted} blocks are wanted and {free} are free")]
    NoRoom { wanted: usize, free: usize },
    /// What the engine asks of itself was wrong; a fault of ours.
    #[error("a step was asked for that can't be made: {0}")]
    Step(&'static str),
    /// The thread that it was asked of has ended.
    #[error("the model's thread has ended")]
    Lost,
    /// What a training run was told is nothing that can be done.
    #[error("the training can't be done so: \"{field}\" {what}")]
    Setting { field: &'static str, what: String },
    /// A run that was begun beside another model, or beside this one before its files were changed.
    #[error("the model's files are not those that the run began with")]
    OtherBase,
    #[error("what is trained is no number any more at step {step}; the rate may be too high")]
    Diverged { step: usize },
    #[error("the text can't be read by the model's tokenizer: {0}")]
    Text(String),
    #[error("the text has more than {most} tokens")]
    TooLong { most: usize },
    #[error("the model's template refuses the conversation: {0}")]
    Template(String),
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl EngineError {
    /// The same of a whole, where it was said of a part.
    pub(crate) fn of_all(self, most: usize) -> Self {
        match self {
            Self::TooLong { .. } => Self::TooLong { most },
            other => other,
        }
    }
}
