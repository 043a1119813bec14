//! Translates between Gemini's finish reasons and the canonical ones.

use domain::{Finish, Reason};

/// The reason that a word means, for a choice with or without content and tool calls before it.
pub(super) fn read(word: &str, has_content: bool, has_call: bool, explanation: Option<String>) -> Finish {
    let reason = match word {
        "STOP" => stop(has_call),
        "MAX_TOKENS" => Reason::Length,
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "MODEL_ARMOR"
        | "ESCALATION"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "IMAGE_OTHER" => Reason::ContentFilter,
        "MALFORMED_FUNCTION_CALL"
        | "UNEXPECTED_TOOL_CALL"
        | "TOO_MANY_TOOL_CALLS"
        | "MISSING_THOUGHT_SIGNATURE"
        | "MALFORMED_RESPONSE" => Reason::MalformedCall,
        "CONTINUATION" => Reason::Pause,
        "OTHER" | "NO_IMAGE" | "FINISH_REASON_UNSPECIFIED" => Reason::Error,
        _ if has_content || has_call => stop(has_call),
        _ => Reason::Error,
    };
    Finish { reason, raw: Some(word.to_owned()), sequence: None, explanation }
}

/// Gemini ends a response with tool calls by the same word as any other; only the parts show that there were
/// calls.
pub(super) const fn stop(has_call: bool) -> Reason {
    if has_call { Reason::Calls } else { Reason::Stop }
}

/// The finish reason to write. For a pause it has none that clients could continue from.
pub(super) const fn word(reason: Reason) -> &'static str {
    match reason {
        Reason::Stop | Reason::StopSequence | Reason::Calls | Reason::Pause => "STOP",
        Reason::Length | Reason::ContextLength => "MAX_TOKENS",
        Reason::ContentFilter | Reason::Refusal => "SAFETY",
        Reason::MalformedCall => MALFORMED,
        Reason::Error => "OTHER",
    }
}

pub(super) const MALFORMED: &str = "MALFORMED_FUNCTION_CALL";

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(word: &str, has_content: bool, has_call: bool) -> Reason {
        read(word, has_content, has_call, None).reason
    }

    #[test]
    fn every_word_has_its_reason() {
        for (word, expected) in [
            ("STOP", Reason::Stop),
            ("MAX_TOKENS", Reason::Length),
            ("SAFETY", Reason::ContentFilter),
            ("MODEL_ARMOR", Reason::ContentFilter),
            ("IMAGE_OTHER", Reason::ContentFilter),
            ("MALFORMED_FUNCTION_CALL", Reason::MalformedCall),
            ("MISSING_THOUGHT_SIGNATURE", Reason::MalformedCall),
            ("CONTINUATION", Reason::Pause),
            ("OTHER", Reason::Error),
            ("NO_IMAGE", Reason::Error),
            ("NEXT_YEARS_WORD", Reason::Error),
        ] {
            assert_eq!(reason(word, false, false), expected, "{word}");
        }
        assert_eq!(reason("NEXT_YEARS_WORD", true, false), Reason::Stop);
        assert_eq!(reason("NEXT_YEARS_WORD", true, true), Reason::Calls);
        assert_eq!(reason("STOP", true, true), Reason::Calls);
        assert_eq!(reason("MAX_TOKENS", true, true), Reason::Length);
    }

    #[test]
    fn a_word_that_is_written_is_read_as_its_like() {
        for (written, expected) in Reason::ALL.map(|reason| (reason, reason)) {
            let expected = match expected {
                Reason::StopSequence | Reason::Pause => Reason::Stop,
                Reason::ContextLength => Reason::Length,
                Reason::Refusal => Reason::ContentFilter,
                other => other,
            };
            assert_eq!(reason(word(written), true, written == Reason::Calls), expected, "{written:?}");
        }
    }
}
