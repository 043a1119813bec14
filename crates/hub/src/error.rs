//! Why a model is not here: the kind decides the exit code and a retry, the text is for a person.

use std::fmt;
use std::path::Path;
use std::time::Duration;

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HubErrorKind {
    /// What was asked for can't be meant.
    Usage,
    /// No such model, revision or file.
    NotFound,
    /// The hub wants to know who asks.
    Authentication,
    /// The hub knows who asks, and says no.
    Forbidden,
    /// Somebody else is at it.
    Busy,
    /// Asked too often.
    RateLimited,
    /// The hub can't be reached, or breaks off again and again.
    Unavailable,
    /// The hub answers what can't be used or can't be trusted.
    Refused,
    /// The disk refuses.
    Disk,
}

/// One failure, in a sentence that says what to do where that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubError {
    pub kind: HubErrorKind,
    pub message: String,
    /// After which time a further try may do better; `None` where none will.
    pub(crate) retry: Option<Retry>,
}

/// When to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// A little later each time.
    Later,
    /// After the time that the hub asked for.
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

    /// What the disk says of a path.
    pub(crate) fn disk(path: &Path, error: &std::io::Error) -> Self {
        let shown = path.display();
        let text = if error.kind() == std::io::ErrorKind::StorageFull {
            format!(
                "The disk of {shown} is full. What was fetched is kept: make room, and the same command goes on."
            )
        } else {
            format!("{shown} can't be written or read: {error}.")
        };
        Self::new(HubErrorKind::Disk, text)
    }
}

impl fmt::Display for HubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for HubError {}
