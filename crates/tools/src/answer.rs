//! What a call of a tool brought: a text for the model, or why there is none.

use domain::CallOutcome;
use egress::{EgressError, EgressErrorKind};

use crate::limits::ERROR_CHARS_MAX;

/// What a model is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolAnswer {
    pub text: String,
    /// The tool reports that it failed.
    pub is_error: bool,
}

/// Why a call has no answer: how it is recorded, and what the model is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallFailure {
    pub outcome: CallOutcome,
    pub text: String,
    /// The server wants a token, or another one.
    pub is_unauthorized: bool,
    /// The scopes that the token lacks, where the server names them.
    pub wanted_scopes: Vec<String>,
}

impl CallFailure {
    pub fn new(outcome: CallOutcome, text: impl Into<String>) -> Self {
        Self { outcome, text: text.into(), is_unauthorized: false, wanted_scopes: Vec::new() }
    }

    pub(crate) fn unauthorized(self) -> Self {
        Self { is_unauthorized: true, ..self }
    }

    pub(crate) fn wanting(self, wanted_scopes: Vec<String>) -> Self {
        Self { wanted_scopes, ..self }
    }

    pub(crate) fn unreachable(text: impl Into<String>) -> Self {
        Self::new(CallOutcome::Unreachable, text)
    }

    pub(crate) fn of(error: &EgressError) -> Self {
        match error.kind {
            // The address that a name resolves to is nothing that a model or its client should learn.
            EgressErrorKind::Guard => {
                Self::new(CallOutcome::Refused, "The tool's address may not be reached.")
            }
            EgressErrorKind::Timeout => {
                Self::new(CallOutcome::Timeout, "The tool's server did not answer in time.")
            }
            _ => Self::unreachable("The tool's server could not be reached, or its answer broke off."),
        }
    }
}

/// Text of a server as it is passed on: one line, without controls, and not long.
pub(crate) fn quoted(text: &str) -> String {
    let printable = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    printable.take(ERROR_CHARS_MAX).collect::<String>().trim().to_owned()
}

/// The beginning of a text: at most so many bytes, and whole characters.
pub fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!((cut("short", 5), cut("aéé", 4), cut("é", 0)), ("short", "aé", ""));
    }

    #[test]
    fn a_quotation_is_one_short_line() {
        assert_eq!(quoted(" a\nb\u{7} "), "a b");
        assert_eq!(quoted(&"x".repeat(1_000)).len(), ERROR_CHARS_MAX);
    }
}
