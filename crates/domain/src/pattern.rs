//! Which models a route or policy names: one by its full name, or all whose names begin alike.

use std::borrow::Cow;

/// Ends a pattern that names every model whose name begins so.
const ANY: char = '*';
/// Ends the name of a publisher, and so names all of its models.
const PUBLISHER: char = '/';

/// Exact unless it ends in `*` or `/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelPattern<'a> {
    Exact(&'a str),
    /// Without its `*`.
    Beginning(&'a str),
}

impl<'a> ModelPattern<'a> {
    #[must_use]
    pub fn read(text: &'a str) -> Self {
        match text.strip_suffix(ANY) {
            Some(beginning) => Self::Beginning(beginning.trim_end_matches(ANY)),
            None if text.ends_with(PUBLISHER) => Self::Beginning(text),
            None => Self::Exact(text),
        }
    }

    /// The text that `read` reads as this pattern: `openai/*` and `openai/` are one.
    #[must_use]
    pub fn as_text(self) -> Cow<'a, str> {
        match self {
            Self::Exact(name) => Cow::Borrowed(name),
            Self::Beginning(beginning) if beginning.ends_with(PUBLISHER) => Cow::Borrowed(beginning),
            Self::Beginning(beginning) => Cow::Owned(format!("{beginning}{ANY}")),
        }
    }

    /// The name, or what names begin with.
    #[must_use]
    pub const fn fixed(self) -> &'a str {
        match self {
            Self::Exact(text) | Self::Beginning(text) => text,
        }
    }

    #[must_use]
    pub const fn is_exact(self) -> bool {
        matches!(self, Self::Exact(_))
    }

    #[must_use]
    pub fn matches(self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => name == exact,
            Self::Beginning(beginning) => name.starts_with(beginning),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_exact_unless_it_ends_in_a_star_or_a_slash() {
        for (pattern, text, name, matches) in [
            ("openai/gpt-4o", "openai/gpt-4o", "openai/gpt-4o", true),
            ("openai/gpt-4o", "openai/gpt-4o", "openai/gpt-4o-mini", false),
            ("openai/gpt-4o*", "openai/gpt-4o*", "openai/gpt-4o-mini", true),
            ("openai/gpt-4o**", "openai/gpt-4o*", "openai/gpt-4o", true),
            ("openai/", "openai/", "openai/gpt-4o", true),
            ("openai/*", "openai/", "openai/gpt-4o", true),
            ("openai/", "openai/", "openai", false),
            ("*", "*", "anything", true),
        ] {
            let read = ModelPattern::read(pattern);
            assert_eq!((read.as_text().as_ref(), read.matches(name)), (text, matches), "{pattern} {name}");
        }
    }
}
