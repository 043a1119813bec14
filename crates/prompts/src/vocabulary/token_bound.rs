//! A lower bound on a text's token count, from the bytes of the tokens alone: a text that is far too long is
//! refused before it is tokenised, which takes a hundred times as long as its refusal may.
//!
//! Wherever a tokenizer cuts a text, a token is never longer than the longest vocabulary entry that matches
//! at its position. So covering the text greedily by longest matches needs no more tokens than the tokenizer
//! makes, and what is too long by this count is too long. This holds for tokens that are the text's own
//! bytes; for a tokenizer that drops or inserts something there is no bound.

use std::collections::BTreeSet;

use llguidance::toktrie::{TokRxInfo, TokTrie};
use tokenizers::tokenizer::Normalizer;
use tokenizers::{
    AddedToken, ModelWrapper, NormalizedString, NormalizerWrapper, PreTokenizerWrapper,
    SplitDelimiterBehavior, Tokenizer,
};

use super::byte_of_character;
use crate::limits::{TOKEN_BYTES_MAX, VOCABULARY_BYTES_MAX};

/// The size of the pieces in which a text is checked for NFC normalisation.
const PIECE_BYTES: usize = 1 << 14;
/// A token id that does not exist.
const NONE: u32 = u32::MAX;

pub(super) struct Fewest {
    tokens: TokTrie,
    longest_bytes: usize,
    /// Texts are NFC-normalised first.
    composes: bool,
}

/// The count, and how many bytes were read for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub tokens: usize,
    pub bytes: usize,
}

/// How far a text is covered: by the tokens counted so far, and by one more.
#[derive(Debug, Default)]
struct Covered {
    tokens: usize,
    end: usize,
    next_end: usize,
}

impl Fewest {
    /// `None` if a token may stand for other bytes than its own.
    pub(super) fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let composes = match tokenizer.get_normalizer() {
            None => false,
            Some(normalizer) if only_composes(normalizer) => true,
            Some(_) => return None,
        };
        let added: Vec<AddedToken> = tokenizer.get_added_tokens_decoder().into_values().collect();
        let are_plain = added.iter().all(|added| {
            let takes_more = added.lstrip || added.rstrip;
            !takes_more && (!composes || is_normalised(tokenizer, &added.content))
        });
        let is_whole = is_of_bytes(tokenizer) && tokenizer.get_truncation().is_none() && are_plain;
        let added_tokens: BTreeSet<String> = added.into_iter().map(|added| added.content).collect();
        let words = if is_whole { words(tokenizer, added_tokens)? } else { return None };
        let longest_bytes = words.iter().map(Vec::len).max()?;
        let all_bytes: usize = words.iter().map(Vec::len).sum();
        if longest_bytes > TOKEN_BYTES_MAX || all_bytes >= VOCABULARY_BYTES_MAX {
            return None;
        }
        let count = u32::try_from(words.len()).ok()?;
        let tokens = TokTrie::from(&TokRxInfo::new(count, NONE), &words);
        Some(Self { tokens, longest_bytes, composes })
    }

    /// The least number of tokens of a text. Stops reading once that exceeds `most`.
    pub(super) fn tokens(&self, tokenizer: &Tokenizer, text: &str, most: usize) -> Found {
        let mut covered = Covered::default();
        let mut from = 0;
        while from < text.len() && covered.tokens <= most {
            let to = piece_end(text, from);
            let piece = text.get(from..to).unwrap_or_default();
            if self.composes && !is_normalised(tokenizer, piece) {
                // What normalisation makes of this piece is unknown: it counts as no tokens, nor does a token
                // that extends past it.
                covered.skip_to(to + self.longest_bytes);
                from = to;
            } else {
                from += self.cover(piece.as_bytes(), from, most, &mut covered);
            }
        }
        Found { tokens: covered.tokens, bytes: from }
    }

    /// Covers a piece; returns how much of it was read.
    fn cover(&self, piece: &[u8], start: usize, most: usize, covered: &mut Covered) -> usize {
        for at in 0..piece.len() {
            if covered.tokens > most {
                return at;
            }
            let rest = piece.get(at..).unwrap_or_default();
            covered.token(start + at, self.longest_at(rest));
        }
        piece.len()
    }

    /// The length of the longest token at the start of `bytes`. If a token could continue past the end, the
    /// length of the longest token of all.
    fn longest_at(&self, bytes: &[u8]) -> usize {
        let (mut node, mut longest) = (self.tokens.root(), 1);
        for (count, byte) in (1..).zip(bytes) {
            let Some(child) = self.tokens.child_at_byte(node, *byte) else { return longest };
            node = child;
            if node.token_id().is_some() {
                longest = count;
            }
        }
        self.longest_bytes
    }
}

impl Covered {
    /// A token can begin at this position, and has at most so many bytes.
    fn token(&mut self, position: usize, bytes: usize) {
        self.next_end = self.next_end.max(position + bytes);
        if position == self.end {
            self.tokens += 1;
            self.end = self.next_end;
        }
    }

    fn skip_to(&mut self, position: usize) {
        self.next_end = self.next_end.max(position);
        self.end = self.next_end;
    }
}

domain::brief_debug!(Fewest, longest_bytes);

fn only_composes(normalizer: &NormalizerWrapper) -> bool {
    match normalizer {
        NormalizerWrapper::NFC(_) => true,
        NormalizerWrapper::Sequence(all) => all.as_ref().iter().all(only_composes),
        _ => false,
    }
}

/// Whether this is byte-level BPE with all bytes in its vocabulary.
fn is_of_bytes(tokenizer: &Tokenizer) -> bool {
    let ModelWrapper::BPE(pairs) = tokenizer.get_model() else { return false };
    let adds_none = pairs.continuing_subword_prefix.is_none() && pairs.end_of_word_suffix.is_none();
    let vocabulary = pairs.get_vocab();
    // UTF-8 does not use the other bytes.
    let is_in_texts = |byte: u8| !matches!(byte, 0xC0 | 0xC1 | 0xF5..);
    let mut needed = byte_of_character().into_iter().filter(|(_, byte)| is_in_texts(*byte));
    let knows_all = needed.all(|(character, _)| vocabulary.contains_key(character.encode_utf8(&mut [0; 4])));
    let cut = tokenizer.get_pre_tokenizer();
    adds_none && knows_all && cut.is_some_and(|cut| keeps_all(cut) && makes_bytes(cut))
}

/// Whether the pre-tokenizer keeps the whole text and adds nothing.
fn keeps_all(cut: &PreTokenizerWrapper) -> bool {
    match cut {
        PreTokenizerWrapper::ByteLevel(bytes) => !bytes.add_prefix_space,
        PreTokenizerWrapper::Split(split) => split.behavior != SplitDelimiterBehavior::Removed,
        PreTokenizerWrapper::Digits(_) => true,
        PreTokenizerWrapper::Sequence(all) => all.as_ref().iter().all(keeps_all),
        _ => false,
    }
}

fn makes_bytes(cut: &PreTokenizerWrapper) -> bool {
    match cut {
        PreTokenizerWrapper::ByteLevel(_) => true,
        PreTokenizerWrapper::Sequence(all) => all.as_ref().iter().filter(|cut| makes_bytes(cut)).count() == 1,
        _ => false,
    }
}

/// The bytes of all tokens, without duplicates. `None` if one is not written in the byte-level alphabet.
fn words(tokenizer: &Tokenizer, added_tokens: BTreeSet<String>) -> Option<Vec<Vec<u8>>> {
    let characters = byte_of_character();
    let mut words = BTreeSet::new();
    for token in tokenizer.get_vocab(true).into_keys().filter(|token| !token.is_empty()) {
        let bytes: Option<Vec<u8>> =
            token.chars().map(|character| characters.get(&character).copied()).collect();
        match bytes {
            Some(bytes) => _ = words.insert(bytes),
            None if added_tokens.contains(&token) => {}
            None => return None,
        }
    }
    words.extend(added_tokens.into_iter().map(String::into_bytes).filter(|text| !text.is_empty()));
    // The trie gives this byte a meaning of its own, and no text has it.
    words.retain(|word| word.first() != Some(&TokTrie::SPECIAL_TOKEN_MARKER));
    Some(words.into_iter().collect())
}

/// Whether normalisation leaves a text unchanged, and with it each part of the text.
fn is_normalised(tokenizer: &Tokenizer, text: &str) -> bool {
    if text.chars().all(|character| character < '\u{300}') {
        return true;
    }
    let Some(normalizer) = tokenizer.get_normalizer() else { return true };
    let mut written = NormalizedString::from(text);
    normalizer.normalize(&mut written).is_ok() && written.get() == text
}

/// The end of a piece, at a position where normalising pieces separately gives the same as normalising the
/// whole.
fn piece_end(text: &str, from: usize) -> usize {
    let begins_alone = |at: &usize| {
        let next = text.get(*at..).and_then(|rest| rest.chars().next());
        next.is_some_and(composes_with_none_before)
    };
    (from + PIECE_BYTES..text.len()).find(begins_alone).unwrap_or(text.len())
}

/// Latin, Greek and Cyrillic letters, Chinese characters, Korean syllables and emoji: frequent enough to end
/// pieces.
const fn composes_with_none_before(character: char) -> bool {
    matches!(
        character,
        '\0'..='\u{2FF}' | '\u{370}'..='\u{482}' | '\u{4E00}'..='\u{9FFF}' | '\u{AC00}'..='\u{D7A3}'
            | '\u{1F300}'..='\u{1FAFF}'
    )
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::synthetic_tokens::Tokens;

    /// A tokenizer with the pre-tokenizer of a family, all bytes and some merges.
    fn tokenizer(cut: &'static str) -> Tokenizer {
        read(&Tokens::new(cut, "", 300).tokenizer_json())
    }

    /// One of each family, made once.
    static ALL: LazyLock<Vec<(Tokenizer, Fewest)>> = LazyLock::new(|| {
        let all = ["qwen2", "llama-bpe", "default"].map(tokenizer).into_iter();
        let with_fewest = |tokenizer: Tokenizer| {
            let fewest = Fewest::of(&tokenizer).unwrap();
            (tokenizer, fewest)
        };
        all.map(with_fewest).collect()
    });

    fn read(json: &Json) -> Tokenizer {
        Tokenizer::from_bytes(json.to_string()).unwrap()
    }

    fn with(pointer: &str, value: Json) -> Tokenizer {
        let mut json = Tokens::new("llama-bpe", "", 300).tokenizer_json();
        *json.pointer_mut(pointer).unwrap() = value;
        read(&json)
    }

    #[test]
    fn what_is_far_too_long_is_known_by_its_beginning() {
        let tokenizer = tokenizer("qwen2");
        let fewest = Fewest::of(&tokenizer).unwrap();
        let most = 1_001 * fewest.longest_bytes;
        for text in ["the world's 123 ", "\u{6f22}", " ", "n\u{e9}\n\n"] {
            let found = fewest.tokens(&tokenizer, &text.repeat((8 << 20) / text.len()), 1_000);
            assert!(found.tokens == 1_001 && found.bytes <= most, "{text:?}: {found:?}, {most}");
        }
        let text = "a\u{301}e".repeat(10_000);
        let found = fewest.tokens(&tokenizer, &text, 1_000);
        assert_eq!(
            found,
            Found { tokens: 0, bytes: text.len() },
            "nothing is known of what is to be composed"
        );
    }

    #[test]
    fn tokens_that_stand_for_other_bytes_tell_nothing() {
        let bytes =
            json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
        let gaps =
            json!({"type": "Split", "pattern": {"String": " "}, "behavior": "Removed", "invert": false});
        let changes = [
            ("/normalizer", json!({"type": "Lowercase"})),
            ("/normalizer", json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "NFKC"}]})),
            ("/pre_tokenizer", bytes),
            ("/pre_tokenizer", Json::Null),
            ("/pre_tokenizer/pretokenizers/0", gaps),
            ("/pre_tokenizer/pretokenizers", json!([])),
            ("/added_tokens/0/lstrip", json!(true)),
            ("/added_tokens/0/rstrip", json!(true)),
            ("/model/end_of_word_suffix", json!("s")),
        ];
        for (pointer, value) in changes {
            assert!(Fewest::of(&with(pointer, value.clone())).is_none(), "{pointer}: {value}");
        }
        let composes = json!({"type": "Sequence", "normalizers": [{"type": "NFC"}]});
        assert!(Fewest::of(&with("/normalizer", composes)).is_some());
    }

    proptest! {
        #[test]
        fn no_tokenizer_makes_fewer(
            which in 0usize..3,
            parts in prop::collection::vec(prop::sample::select(vec![
                "the", " the", " world", "'ll", "  ", "\n\n", "123", "{\"", "\":", "<|im_start|>", "<think>", "</think>",
                "\u{338}", "\u{301}", "n\u{e9}", "ne\u{301}", "\u{6f22}", "\u{1100}\u{1161}", "\u{ac00}\u{11a8}", "\u{1f389}",
            ]), 0..64),
            times in prop::sample::select(vec![1usize, 1, 1, 1, 1, 1, 1, 100]),
        ) {
            let ((tokenizer, fewest), text) = (&ALL[which], parts.concat().repeat(times));
            let made = tokenizer.encode_fast(text.as_str(), false).unwrap().len();
            let found = fewest.tokens(tokenizer, &text, usize::MAX);
            prop_assert!(found.tokens <= made, "{} > {made}: {text:?}", found.tokens);
            prop_assert_eq!(found.bytes, text.len());
        }
    }
}
