//! The values that facts can have.

use domain::{Grammar, Thinking};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How a prompt gets into a provider's cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheKind {
    None,
    /// Every prompt that is long enough is cached.
    Automatic,
    /// What a request marks is cached.
    Explicit,
    /// The provider caches as it sees fit, and promises nothing.
    Implicit,
    /// Automatically, and by marks or resources too.
    Both,
}

/// Who shares a provider's cached content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheIsolation {
    Organisation,
    Workspace,
    Project,
    Server,
    /// Requests with the same isolation key.
    Key,
}

/// What we can do to a provider's cached content before it expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PurgeControl {
    /// Wait until it expires.
    Expiry,
    /// Delete it, and store the answer as evidence.
    DeleteResource,
    /// Change the key, so that it can't be hit again.
    RotateIsolationKey,
}

/// What a provider stores of requests and answers by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retention {
    Zero,
    /// Stored, and deleted after a stated time.
    Limited,
}

/// How a model's reasoning is controlled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThinkingControl {
    Never,
    Budget,
    Effort,
}

impl From<ThinkingControl> for Thinking {
    fn from(control: ThinkingControl) -> Self {
        match control {
            ThinkingControl::Never => Self::Never,
            ThinkingControl::Budget => Self::Budget,
            ThinkingControl::Effort => Self::Effort,
        }
    }
}

/// A dialect, by its usual name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrammarName(pub Grammar);

impl Serialize for GrammarName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for GrammarName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Grammar::ALL.into_iter().find(|grammar| grammar.as_str() == word).map(Self).ok_or_else(|| {
            let known = Grammar::ALL.map(Grammar::as_str).join(", ");
            de::Error::custom(format!("no such grammar: \"{word}\"; it is one of {known}"))
        })
    }
}
