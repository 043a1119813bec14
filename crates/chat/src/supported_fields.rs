//! What a vendor's server accepts of Chat Completions, by its own documentation: names, fields, and call ids.

use std::borrow::Cow;
use std::hash::Hasher;

use domain::IdHasher;

/// All that is accepted. Other fields are not sent to a server that refuses unknown ones.
#[derive(Debug, Clone, Copy)]
pub struct SupportedFields {
    pub fields: &'static [&'static str],
    pub message_fields: &'static [&'static str],
    pub function_fields: &'static [&'static str],
    /// Renamed fields: OpenAI's name, then the server's own.
    pub renamed_fields: &'static [(&'static str, &'static str)],
    /// Fields that must be a list, not a single string.
    pub lists: &'static [&'static str],
    /// `logprobs` is a number instead of a boolean, and the answer has the server's own form.
    pub counts_logprobs: bool,
    /// Exact number of letters and digits in a call id; no other characters are allowed.
    pub call_id_letters: Option<usize>,
}

impl SupportedFields {
    /// What every Chat Completions server knows, for servers without a declaration of their own.
    pub const COMMON: Self = Self {
        fields: &[
            "model",
            "messages",
            "frequency_penalty",
            "logit_bias",
            "logprobs",
            "max_completion_tokens",
            "max_tokens",
            "n",
            "parallel_tool_calls",
            "presence_penalty",
            "response_format",
            "seed",
            "stop",
            "stream",
            "stream_options",
            "temperature",
            "tool_choice",
            "tools",
            "top_logprobs",
            "top_p",
            "user",
        ],
        message_fields: &["role", "content", "name", "tool_calls", "tool_call_id"],
        function_fields: &["name", "description", "parameters"],
        renamed_fields: &[],
        lists: &[],
        counts_logprobs: false,
        call_id_letters: None,
    };

    /// The server's name for this field, where it differs from OpenAI's.
    pub(super) fn own_name(&self, name: &str) -> Option<&'static str> {
        self.renamed_fields.iter().find(|(common, _)| *common == name).map(|(_, own)| *own)
    }

    /// The id that the server is sent for a call; the same for the call and its result.
    pub(super) fn call_id<'a>(&self, id: &'a str) -> Cow<'a, str> {
        match self.call_id_letters {
            Some(letters) if !is_of(id, letters) => Cow::Owned(id_of(id, letters)),
            _ => Cow::Borrowed(id),
        }
    }
}

fn is_of(id: &str, letters: usize) -> bool {
    id.len() == letters && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// An id of that many letters and digits, derived from the original: the next request of the conversation
/// gets the same one, so its prefix stays unchanged.
fn id_of(id: &str, letters: usize) -> String {
    let mut hasher = IdHasher::default();
    hasher.write(id.as_bytes());
    let mut left = hasher.finish();
    let letter = |_| {
        let digit = u32::try_from(left % 36).unwrap_or_default();
        left /= 36;
        char::from_digit(digit, 36).unwrap_or('0')
    };
    (0..letters).map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_not_taken_has_one_that_is() {
        let supported = SupportedFields { call_id_letters: Some(9), ..SupportedFields::COMMON };
        assert_eq!(supported.call_id("D681PevKs"), "D681PevKs");
        let mut seen = std::collections::HashSet::new();
        for number in 0..10_000 {
            let id = format!("call_{number}");
            let mapped = supported.call_id(&id).into_owned();
            assert!(is_of(&mapped, 9), "{mapped}");
            assert_eq!(supported.call_id(&id), mapped, "it is the same each time");
            assert!(seen.insert(mapped), "{id}");
        }
        assert_eq!(SupportedFields::COMMON.call_id("call_1"), "call_1");
    }
}
