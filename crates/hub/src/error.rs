//! Errors of model downloads: the kind decides the exit code and whether to retry, the text is for a person.

use std::path::Path;
use std::time::Duration;

/// The kind of error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HubErrorKind {
    /// The request makes no sense.
    Usage,
    /// No such model, revision or file.
    NotFound,
    /// The hub requires a token.
    Authentication,
    /// The hub refuses this token.
    Forbidden,
    /// Another process is pulling or removing the model.
    Busy,
    /// The hub's rate limit.
    RateLimited,
    /// The hub is unreachable, or transfers break off again and again.
    Unavailable,
    /// The hub's answer can't be used or trusted.
    Refused,
    /// The disk is full or failed.
    Disk,
}

/// One failure, in a sentence that says what to do if that is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct HubError {
    pub kind: HubErrorKind,
    pub message: String,
    /// When to retry; `None` if a retry can't help.
    pub(crate) retry: Option<Retry>,
}

/// When to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// With growing pauses.
    Later,
    /// After the time that the hub requested.
    After(Duration),
}

impl HubError {
    pub(crate) fn new(kind: HubErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry: None }
    }

    pub(crate) fn again(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// An I/O error on a path.
    pub(crate) fn disk(path: &Path, error: &std::io::Error) -> Self {
        let displayed = path.display();
        let text = if error.kind() == std::io::ErrorKind::StorageFull {
            format!(
                "The disk of {displayed} is full. What was downloaded is kept: make room, and run the same command to continue."
            )
        } else {
            format!("{displayed} can't be written or read: {error}.")
        };
        Self::new(HubErrorKind::Disk, text)
    }
}
