//! Why a text, a template or a tokenizer is refused.

use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    /// The tokenizer's file exists but its content is invalid.
    #[error("{path}: {what}")]
    Broken { path: PathBuf, what: String },
    #[error("the text can't be read by the model's tokenizer: {0}")]
    Text(String),
    #[error("the text has more than {most} tokens")]
    TooLong { most: usize },
    #[error("the model's template refuses the conversation: {0}")]
    Template(String),
}

impl PromptError {
    /// The file at fault, and what is wrong with it.
    pub fn file_and_cause(&self) -> Option<(&Path, String)> {
        match self {
            Self::File { path, source } => Some((path, source.to_string())),
            Self::Broken { path, what } => Some((path, what.clone())),
            Self::Text(_) | Self::TooLong { .. } | Self::Template(_) => None,
        }
    }

    /// Restates a length error for the whole input where it was found in a part.
    pub(crate) fn of_all(self, most: usize) -> Self {
        match self {
            Self::TooLong { .. } => Self::TooLong { most },
            other => other,
        }
    }
}
