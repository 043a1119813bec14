//! Why a training run can't begin or go on.

use std::path::{Path, PathBuf};

use kernels::KernelError;
use weights::WeightsError;

#[derive(Debug, thiserror::Error)]
pub enum TrainerError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    /// A file of the run exists but its content is invalid.
    #[error("{path}: {what}")]
    Broken { path: PathBuf, what: String },
    /// The settings of a training run are invalid.
    #[error("a training setting is invalid: \"{field}\" {what}")]
    Setting { field: &'static str, what: String },
    /// A training run is resumed, but the base model's files differ from those it started with.
    #[error("the model's files differ from those that the run began with")]
    OtherBase,
    #[error("training diverged at step {step}: a value is no longer a number; the rate may be too high")]
    Diverged { step: usize },
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl TrainerError {
    /// The file at fault, and what is wrong with it.
    pub fn file_and_cause(&self) -> Option<(&Path, String)> {
        match self {
            Self::File { path, source } => Some((path, source.to_string())),
            Self::Broken { path, what } => Some((path, what.clone())),
            Self::Weights(error) => error.file_and_cause(),
            _ => None,
        }
    }
}
