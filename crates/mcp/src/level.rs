//! Levels of log messages, by severity. The SDK marks its own as deprecated, for a revision of the protocol that drops logging.

use serde::Deserialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

/// What `logging/setLevel` says.
#[derive(Debug, Deserialize)]
pub(crate) struct SetLevel {
    pub level: Level,
}
