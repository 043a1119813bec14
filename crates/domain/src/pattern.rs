//! Model patterns of routes and policies: a full name, or a prefix.

use std::borrow::Cow;

/// At the end of a pattern: matches every model whose name starts with what precedes it.
const ANY: char = '*';
/// At the end of a publisher's name: matches all of its models.
const PUBLISHER: char = '/';

/// Exact unless it ends in `*` or `/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelPattern<'a> {
    Exact(&'a str),
    /// The prefix, without the `*`.
    Prefix(&'a str),
}

impl<'a> ModelPattern<'a> {
    pub fn read(text: &'a str) -> Self {
        match text.strip_suffix(ANY) {
            Some(prefix) => Self::Prefix(prefix.trim_end_matches(ANY)),
            None if text.ends_with(PUBLISHER) => Self::Prefix(text),
            None => Self::Exact(text),
        }
    }

    /// The canonical text of this pattern: `openai/*` and `openai/` are the same pattern.
    pub fn as_text(self) -> Cow<'a, str> {
        match self {
            Self::Exact(name) => Cow::Borrowed(name),
            Self::Prefix(prefix) if prefix.ends_with(PUBLISHER) => Cow::Borrowed(prefix),
            Self::Prefix(prefix) => Cow::Owned(format!("{prefix}{ANY}")),
        }
    }

    /// The exact name, or the prefix.
    pub const fn fixed(self) -> &'a str {
        match self {
            Self::Exact(text) | Self::Prefix(text) => text,
        }
    }

    pub const fn is_exact(self) -> bool {
        matches!(self, Self::Exact(_))
    }

    pub fn matches(self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => name == exact,
            Self::Prefix(prefix) => name.starts_with(prefix),
        }
    }
}
