//! The emulator's tokenizer and prompt counter: simple rules that a test can reproduce.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

/// No token is longer than this many bytes.
pub(crate) const TOKEN_BYTES_MAX: usize = 8;
/// Tokens per message in addition to its text.
pub(crate) const MESSAGE_TOKENS: u64 = 3;
/// Tokens added once to every prompt.
pub(crate) const PRIMING_TOKENS: u64 = 3;
/// Tokens of an image, an audio clip or a file.
pub(crate) const MEDIA_TOKENS: u64 = 85;
/// Cached prefixes grow in steps of this many tokens.
pub(crate) const CACHE_STEP_TOKENS: u64 = 128;
/// No prefix shorter than this is cached.
pub(crate) const CACHE_TOKENS_MIN: u64 = 1024;

/// Iterates over the tokens of a text, which concatenate to the text. A token is a run of white space
/// followed by a run of other characters, cut so that none is longer than [`TOKEN_BYTES_MAX`] bytes.
pub(crate) struct Tokens<'a> {
    rest: &'a str,
}

/// The size of a prompt and a fingerprint of its prefix at each cache step.
pub(crate) struct Prompt {
    pub(crate) tokens: u64,
    /// Entry `i` is the hash of the first `(i + 1) * 128` tokens.
    pub(crate) marks: Vec<u64>,
    /// Shorter prefixes are not read from the cache.
    pub(crate) cache_tokens_min: u64,
    hasher: DefaultHasher,
}

pub(crate) fn split(text: &str) -> Tokens<'_> {
    Tokens { rest: text }
}

pub(crate) fn count(text: &str) -> u64 {
    split(text).count() as u64
}

/// Counts a chat prompt: first the tools, because the real cache keys on them first, then each message.
pub(crate) fn prompt(messages: &[Value], tools: &[Value]) -> Prompt {
    let mut prompt = Prompt::new();
    for tool in tools {
        prompt.text(&tool.to_string());
    }
    for message in messages {
        prompt.message(message);
    }
    prompt.tokens += PRIMING_TOKENS;
    prompt
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let mut after_word = false;
        let mut end = 0;
        for (at, character) in self.rest.char_indices() {
            let space = character.is_whitespace();
            let too_long = at > 0 && at + character.len_utf8() > TOKEN_BYTES_MAX;
            if (space && after_word) || too_long {
                break;
            }
            after_word |= !space;
            end = at + character.len_utf8();
        }
        if end == 0 {
            return None;
        }
        let (token, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        Some(token)
    }
}

impl Prompt {
    pub(crate) fn new() -> Self {
        Self {
            tokens: 0,
            marks: Vec::new(),
            cache_tokens_min: CACHE_TOKENS_MIN,
            hasher: DefaultHasher::new(),
        }
    }

    /// The longest cached prefix, in tokens; `known` tells whether a prefix hash is cached.
    pub(crate) fn cached_tokens(&self, known: impl Fn(u64) -> bool) -> u64 {
        let steps = self.marks.iter().rposition(|mark| known(*mark)).map_or(0, |at| at as u64 + 1);
        let tokens = steps * CACHE_STEP_TOKENS;
        if tokens < self.cache_tokens_min { 0 } else { tokens }
    }

    pub(crate) fn push(&mut self, token: &str) {
        token.hash(&mut self.hasher);
        self.tokens += 1;
        if self.tokens.is_multiple_of(CACHE_STEP_TOKENS) {
            self.marks.push(self.hasher.finish());
        }
    }

    pub(crate) fn text(&mut self, text: &str) {
        for token in split(text) {
            self.push(token);
        }
    }

    fn message(&mut self, message: &Value) {
        let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
        for _ in 0..MESSAGE_TOKENS {
            self.push(role);
        }
        match message.get("content") {
            Some(Value::String(text)) => self.text(text),
            Some(Value::Array(parts)) => parts.iter().for_each(|part| self.part(part)),
            _ => {}
        }
        for call in message.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
            self.text(&call.to_string());
        }
        if let Some(name) = message.get("name").and_then(Value::as_str) {
            self.text(name);
        }
    }

    fn part(&mut self, part: &Value) {
        let text = ["text", "refusal"].iter().find_map(|field| part.get(*field).and_then(Value::as_str));
        match text {
            Some(text) => self.text(text),
            None => {
                let media = part.to_string();
                for _ in 0..MEDIA_TOKENS {
                    self.push(&media);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        assert_eq!(split(text).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn tokens_are_spaced_words_cut_at_eight_bytes() {
        check("", &[]);
        check("one two", &["one", " two"]);
        check("  a\n\nb ", &["  a", "\n\nb", " "]);
        check("abcdefghij", &["abcdefgh", "ij"]);
        check("漢字漢字", &["漢字", "漢字"]);
        check("🙂🙂🙂", &["🙂🙂", "🙂"]);
    }

    #[test]
    fn a_seen_prefix_is_cached_in_steps() {
        let long: String = " word".repeat(1200);
        let first = prompt(&[serde_json::json!({"role":"user","content":long})], &[]);
        let second = prompt(&[serde_json::json!({"role":"user","content":format!("{long} and more")})], &[]);
        assert_eq!(first.tokens, 1206);
        assert_eq!(second.cached_tokens(|mark| first.marks.contains(&mark)), 1152);
        assert_eq!(second.cached_tokens(|_| false), 0);
    }
}
