//! What is refused of models' and adapters' files.

use std::path::{Path, PathBuf};

use kernels::KernelError;
use prompts::PromptError;

use crate::families;

#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    /// A file exists but its content is invalid.
    #[error("{path}: {what}")]
    Broken { path: PathBuf, what: String },
    /// The model's architecture is not supported.
    #[error("models of the kind \"{0}\" aren't supported; the supported kinds are: {known}", known = families::NAMES.join(", "))]
    Family(String),
    #[error("the weights lack the tensor \"{0}\"")]
    NoTensor(String),
    #[error("the tensor \"{name}\" is {found:?}, but the model's description requires {wanted:?}")]
    TensorShape { name: String, found: Vec<usize>, wanted: Vec<usize> },
    /// An adapter that can't be loaded: the file, and the field or tensor at fault.
    #[error("{path}: \"{field}\" {what}")]
    Adapter { path: PathBuf, field: String, what: String },
    /// A limit on adapters is exceeded.
    #[error("{what}: {wanted}, but at most {most} are allowed")]
    AdapterLimit { what: &'static str, wanted: u64, most: u64 },
    /// Loading this would take more memory than the machine or its limits have left.
    #[error("{what} needs {} MiB of memory, but only {} MiB are left", .wanted.div_ceil(1 << 20), .left >> 20)]
    Memory { what: &'static str, wanted: u64, left: u64 },
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error(transparent)]
    Prompt(#[from] PromptError),
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl WeightsError {
    /// The file at fault, and what is wrong with it.
    pub fn file_and_cause(&self) -> Option<(&Path, String)> {
        match self {
            Self::File { path, source } => Some((path, source.to_string())),
            Self::Broken { path, what } => Some((path, what.clone())),
            Self::Adapter { path, field, what } => Some((path, format!("\"{field}\" {what}"))),
            Self::Prompt(error) => error.file_and_cause(),
            _ => None,
        }
    }
}
