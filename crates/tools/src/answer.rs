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
}

impl CallFailure {
    #[must_use]
    pub fn new(outcome: CallOutcome, text: impl Into<String>) -> Self {
        Self { outcome, text: text.into() }
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
            _ => Self::unreachable("The tool's server could not be reached, or broke off."),
        }
    }
}

/// Text of a server as it is passed on: one line, without controls, and not long.
pub(crate) fn quoted(text: &str) -> String {
    let printable = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    printable.take(ERROR_CHARS_MAX).collect::<String>().trim().to_owned()
}

/// At most so many bytes of a text, with a note where it was cut; and whether it was.
#[must_use]
pub fn bounded(text: String, bytes_max: usize) -> (String, bool) {
    if text.len() <= bytes_max {
        return (text, false);
    }
    let mut end = bytes_max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let kept = text.get(..end).unwrap_or_default();
    let total = text.len();
    (format!("{kept}\n[The result has {total} bytes; the rest was left out after {end}.]"), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_result_is_cut_at_a_character_and_says_so() {
        assert_eq!(bounded("short".to_owned(), 5), ("short".to_owned(), false));
        let (text, is_cut) = bounded("aéé".to_owned(), 4);
        assert!(is_cut && text.starts_with("aé\n[The result has 5 bytes"), "{text}");
    }

    #[test]
    fn a_quotation_is_one_short_line() {
        assert_eq!(quoted(" a\nb\u{7} "), "a b");
        assert_eq!(quoted(&"x".repeat(1_000)).len(), ERROR_CHARS_MAX);
    }
}
