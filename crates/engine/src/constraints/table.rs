//! The vocabulary in the form that llguidance reads: the bytes of each token, and which of them plain text
//! can't match.

use std::collections::HashSet;
use std::sync::Arc;

use llguidance::toktrie::{TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};
use prompts::{PromptError, Vocabulary};

use crate::EngineError;

/// Longer tokens are never allowed under a constraint; published vocabularies have at most half of this.
const TOKEN_BYTES: usize = 256;
/// More than any vocabulary has.
const TOKENS: u32 = 1 << 22;
/// llguidance wants an end token; this one does not exist, because the request decides which tokens end an
/// answer.
const NONE: u32 = u32::MAX;

pub(super) struct Table {
    trie: TokTrie,
}

struct Environment {
    trie: TokTrie,
    vocabulary: Arc<Vocabulary>,
}

impl Table {
    pub(super) fn of(vocabulary: &Vocabulary) -> Result<Self, EngineError> {
        let size = u32::try_from(vocabulary.size()).ok().filter(|size| (1..=TOKENS).contains(size));
        let size = size.ok_or_else(|| {
            PromptError::Text(format!(
                "constrained decoding doesn't support a vocabulary of {} tokens",
                vocabulary.size()
            ))
        })?;
        let mut known = HashSet::new();
        let words = (0..size).map(|token| word(vocabulary, token));
        // Of tokens with the same text, the one with the lowest id is used.
        let words = words.map(|word| if known.insert(word.clone()) { word } else { Vec::new() });
        let words: Vec<Vec<u8>> = words.collect();
        Ok(Self { trie: TokTrie::from(&TokRxInfo::new(size, NONE), &words) })
    }

    pub(super) fn environment(&self, vocabulary: &Arc<Vocabulary>) -> TokEnv {
        Arc::new(Environment { trie: self.trie.clone(), vocabulary: Arc::clone(vocabulary) })
    }
}

fn word(vocabulary: &Vocabulary, token: u32) -> Vec<u8> {
    let bytes = vocabulary.spelling(token);
    if bytes.len() > TOKEN_BYTES {
        return Vec::new();
    }
    if vocabulary.is_mark(token) {
        return [&[TokTrie::SPECIAL_TOKEN_MARKER], bytes].concat();
    }
    // This byte (0xFF) does not occur in UTF-8; it marks special tokens.
    if bytes.first() == Some(&TokTrie::SPECIAL_TOKEN_MARKER) { Vec::new() } else { bytes.to_vec() }
}

impl TokenizerEnv for Environment {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        let text = std::str::from_utf8(bytes).ok();
        let tokens = text.and_then(|text| self.vocabulary.tokens(text).ok()).unwrap_or_default();
        let is_mark = |token: &u32| self.vocabulary.is_mark(*token);
        let spelt: Vec<u8> =
            tokens.iter().flat_map(|token| self.vocabulary.spelling(*token)).copied().collect();
        // The tokenizer may recognise tags in the text, or normalise it.
        if tokens.iter().any(is_mark) || spelt != bytes {
            return self.trie.greedy_tokenize(bytes);
        }
        tokens
    }
}
