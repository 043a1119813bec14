//! The tokenizer: text to token ids, and token ids to bytes.

mod gguf;
mod token_bound;

use std::collections::HashMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::OnceLock;

use tokenizers::Tokenizer;

pub use self::gguf::Words;

use self::token_bound::Fewest;
use crate::PromptError;
use crate::special_tokens::{SpecialToken, SpecialTokens, behind};

/// A text with more than this many bytes for each token that it may have is checked before it is tokenised:
/// it may be far too long.
const BYTES_A_TOKEN: usize = 4;

/// A model's tokenizer and vocabulary.
#[derive(Debug)]
pub struct Vocabulary {
    tokenizer: Tokenizer,
    /// A copy that reads special tokens as plain text; made when a user first writes one.
    plain_tokenizer: OnceLock<Box<Tokenizer>>,
    /// The lower bound on token counts; made when a text may first be too long.
    fewest: OnceLock<Option<Fewest>>,
    written: SpecialTokens,
    tokens: Vec<Token>,
    /// The special tokens to put before and after a whole input (BOS, EOS), besides those that the tokenizer
    /// adds itself.
    bos_eos: (Option<u32>, Option<u32>),
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Token {
    bytes: Vec<u8>,
    /// A special token, which is not part of any text.
    is_special: bool,
    /// Plain text never matches it: a special token, or a tag that models emit and that is part of the
    /// output.
    is_mark: bool,
}

/// Encodes a part of a text, which may have so many tokens.
type Making = fn(&Vocabulary, &str, usize) -> Result<Vec<u32>, PromptError>;

/// Incremental detokenisation: emits whole characters only.
#[derive(Debug, Default)]
pub struct Detokenizer {
    held: Vec<u8>,
}

/// The character by which byte-level BPE represents each byte.
pub(crate) fn byte_of_character() -> HashMap<char, u8> {
    let is_itself = |byte: u8| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let others = (0u8..=255).filter(|byte| !is_itself(*byte)).zip(256u32..);
    let others = others.filter_map(|(byte, code)| Some((char::from_u32(code)?, byte)));
    (0u8..=255).filter(|byte| is_itself(*byte)).map(|byte| (char::from(byte), byte)).chain(others).collect()
}

/// Parses a byte-fallback token, for example `<0x0A>`.
fn spelt_byte(token: &str) -> Option<u8> {
    u8::from_str_radix(token.strip_prefix("<0x")?.strip_suffix('>')?, 16).ok()
}

impl Vocabulary {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// The file does not exist, or is not a tokenizer.
    pub fn open(path: &Path) -> Result<Self, PromptError> {
        let bytes =
            std::fs::read(path).map_err(|source| PromptError::File { path: path.to_owned(), source })?;
        let broken = |what: String| PromptError::Broken { path: path.to_owned(), what };
        // The library expects files that it wrote itself, and panics on some others.
        let read = catch_unwind(AssertUnwindSafe(|| Tokenizer::from_bytes(bytes)));
        let tokenizer = read.map_err(|_| broken("it isn't a tokenizer that can be read".to_owned()))?;
        Ok(Self::of(tokenizer.map_err(|error| broken(error.to_string()))?))
    }

    /// Whether each token id means the same in both.
    pub fn is_same(&self, other: &Self) -> bool {
        self.tokens == other.tokens
    }

    /// Whether both encode and decode a text alike.
    #[cfg(test)]
    fn is_like(&self, other: &Self, text: &str) -> bool {
        let (here, there) = (self.tokens(text).ok(), other.tokens(text).ok());
        here.is_some() && here == there && self.round_trip(text) == other.round_trip(text)
    }

    /// A text after encoding and decoding.
    #[cfg(test)]
    fn round_trip(&self, text: &str) -> Vec<u8> {
        self.tokens(text).unwrap_or_default().iter().flat_map(|token| self.bytes(*token).to_vec()).collect()
    }

    fn of(tokenizer: Tokenizer) -> Self {
        let all = tokenizer.get_vocab(true);
        let added_tokens = tokenizer.get_added_tokens_decoder();
        let characters = byte_of_character();
        let highest = all.values().max().map_or(0, |token| *token as usize + 1);
        let mut tokens = vec![Token::default(); highest];
        for (text, id) in all {
            let Some(token) = tokens.get_mut(id as usize) else { continue };
            if let Some(added) = added_tokens.get(&id) {
                let is_tag = added.content.starts_with('<') && added.content.ends_with('>');
                let bytes = added.content.clone().into_bytes();
                *token = Token { bytes, is_special: added.special, is_mark: added.special || is_tag };
                continue;
            }
            let in_bytes: Option<Vec<u8>> =
                text.chars().map(|character| characters.get(&character).copied()).collect();
            token.bytes = match (spelt_byte(&text), in_bytes) {
                (Some(byte), _) => vec![byte],
                (None, Some(bytes)) => bytes,
                // SentencePiece tokens are text, with U+2581 for a space.
                (None, None) => text.replace('\u{2581}', " ").into_bytes(),
            };
        }
        let special = added_tokens.values().filter(|added| added.special);
        let written = special.map(|added| SpecialToken {
            spelling: added.content.clone(),
            takes: (added.lstrip, added.rstrip),
        });
        let written = SpecialTokens::new(written.collect());
        let (plain_tokenizer, fewest) = (OnceLock::new(), OnceLock::new());
        Self { tokenizer, plain_tokenizer, fewest, written, tokens, bos_eos: (None, None) }
    }

    /// Sets the special tokens to put before and after a whole input.
    pub fn set_bos_eos(&mut self, bos_eos: (Option<u32>, Option<u32>)) {
        self.bos_eos = bos_eos;
    }

    pub const fn size(&self) -> usize {
        self.tokens.len()
    }

    /// Encodes a text, in which special tokens are recognised.
    ///
    /// # Errors
    /// The tokenizer can't read it.
    pub fn tokens(&self, text: &str) -> Result<Vec<u32>, PromptError> {
        let encoding = self.tokenizer.encode_fast(text, false);
        Ok(encoding.map_err(|error| PromptError::Text(error.to_string()))?.get_ids().to_vec())
    }

    /// Like `tokens`, for a text that may have so many tokens.
    ///
    /// # Errors
    /// The tokenizer can't read it, or it has more.
    pub fn tokens_within(&self, text: &str, most: usize) -> Result<Vec<u32>, PromptError> {
        self.check_length(text, most)?;
        let tokens = self.tokens(text)?;
        if tokens.len() > most { Err(PromptError::TooLong { most }) } else { Ok(tokens) }
    }

    /// Refuses a text that is too long judging by its bytes alone.
    fn check_length(&self, text: &str, most: usize) -> Result<(), PromptError> {
        if text.len() / BYTES_A_TOKEN <= most {
            return Ok(());
        }
        let fewest = self.fewest.get_or_init(|| Fewest::of(&self.tokenizer));
        let has_more = |fewest: &Fewest| fewest.tokens(&self.tokenizer, text, most).tokens > most;
        if fewest.as_ref().is_some_and(has_more) { Err(PromptError::TooLong { most }) } else { Ok(()) }
    }

    /// Its special tokens, by their text.
    pub const fn special_tokens(&self) -> &SpecialTokens {
        &self.written
    }

    /// Encodes a prompt in which some special-token text was written by a user: ranges for which `is_text`
    /// returns `true` are read as plain text, and all others as in `tokens`. The prompt may have so many
    /// tokens.
    ///
    /// # Errors
    /// The tokenizer can't read it, or it has more.
    pub fn tokens_with_text(
        &self,
        text: &str,
        most: usize,
        is_text: impl Fn(Range<usize>) -> bool,
    ) -> Result<Vec<u32>, PromptError> {
        let (mut tokens, mut from, mut gap, mut at) = (Vec::new(), 0, 0, 0);
        let mut has_text = false;
        let add = |tokens: &mut Vec<u32>, text: Option<&str>, make: Making| {
            let made = make(self, text.unwrap_or_default(), most.saturating_sub(tokens.len()));
            made.map(|made| tokens.extend(made)).map_err(|error| error.of_all(most))
        };
        // The text between two special tokens is encoded separately, so that nothing elsewhere changes.
        while let Some((found, special_token)) = self.written.find(text, at) {
            if is_text(found.clone()) {
                has_text = true;
                at = behind(text, found.start);
                continue;
            }
            let space = text.get(gap..found.start).unwrap_or_default();
            let end = if special_token.takes.0 { gap + space.trim_end().len() } else { found.start };
            if std::mem::take(&mut has_text) {
                add(&mut tokens, text.get(from..gap), Self::tokens_within)?;
                add(&mut tokens, text.get(gap..end), Self::tokens_as_text)?;
                from = end;
            }
            at = found.end;
            let space = text.get(at..).unwrap_or_default();
            gap = if special_token.takes.1 { at + space.len() - space.trim_start().len() } else { at };
        }
        let last = if has_text { gap } else { text.len() };
        add(&mut tokens, text.get(from..last), Self::tokens_within)?;
        add(&mut tokens, text.get(last..), Self::tokens_as_text)?;
        Ok(tokens)
    }

    /// Encodes a text, in which nothing is a special token.
    fn tokens_as_text(&self, text: &str, most: usize) -> Result<Vec<u32>, PromptError> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        self.check_length(text, most)?;
        let reads = self.plain_tokenizer.get_or_init(|| {
            let mut reads = Box::new(self.tokenizer.clone());
            reads.set_encode_special_tokens(true);
            reads
        });
        let encoding = reads.encode_fast(text, false);
        let tokens = encoding.map_err(|error| PromptError::Text(error.to_string()))?.get_ids().to_vec();
        if tokens.len() > most { Err(PromptError::TooLong { most }) } else { Ok(tokens) }
    }

    /// Encodes a whole input, with the special tokens that the model expects before and after it; `most` does
    /// not count those.
    ///
    /// # Errors
    /// The tokenizer can't read it, or its bytes alone show that it has more tokens.
    pub fn tokens_with_bos_eos(&self, text: &str, most: usize) -> Result<Vec<u32>, PromptError> {
        self.check_length(text, most)?;
        let encoding = self.tokenizer.encode_fast(text, true);
        let mut tokens = encoding.map_err(|error| PromptError::Text(error.to_string()))?.get_ids().to_vec();
        let (first, last) = self.bos_eos;
        if let Some(first) = first.filter(|first| tokens.first() != Some(first)) {
            tokens.insert(0, first);
        }
        tokens.extend(last.filter(|last| tokens.last() != Some(last)));
        Ok(tokens)
    }

    /// The bytes of a token in a text; none if it is a special token.
    pub fn bytes(&self, token: u32) -> &[u8] {
        match self.tokens.get(token as usize) {
            Some(token) if !token.is_special => &token.bytes,
            _ => &[],
        }
    }

    /// The bytes of a token, special tokens included.
    pub fn spelling(&self, token: u32) -> &[u8] {
        self.tokens.get(token as usize).map_or(&[], |token| &token.bytes)
    }

    /// Whether only the model can emit it, and plain text never matches it.
    pub fn is_mark(&self, token: u32) -> bool {
        self.tokens.get(token as usize).is_some_and(|token| token.is_mark)
    }

    /// The id of a special token.
    pub fn special_token_id(&self, text: &str) -> Option<u32> {
        self.tokenizer.token_to_id(text)
    }
}

impl Detokenizer {
    /// Takes more bytes; returns the characters that are complete.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let mut out = String::new();
        loop {
            match std::str::from_utf8(&self.held) {
                Ok(text) => {
                    out.push_str(text);
                    self.held.clear();
                    return out;
                }
                Err(error) => {
                    let whole = self.held.drain(..error.valid_up_to()).collect::<Vec<_>>();
                    out.push_str(&String::from_utf8_lossy(&whole));
                    let Some(wrong) = error.error_len() else { return out };
                    // No further bytes can complete this character.
                    self.held.drain(..wrong);
                    out.push(char::REPLACEMENT_CHARACTER);
                }
            }
        }
    }

    /// The rest at the end: a character that was never completed.
    pub fn end(self) -> String {
        String::from_utf8_lossy(&self.held).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_may_have_as_many_tokens_as_it_may() {
        let tokenizer = Tokenizer::from_bytes(crate::synthetic_tokenizer::tokenizer().to_string()).unwrap();
        let vocabulary = Vocabulary::of(tokenizer);
        let text = "a tide <|im_start|> of \u{6f22} ".repeat(64);
        let tokens = vocabulary.tokens(&text).unwrap();
        let count = tokens.len();
        assert_eq!(vocabulary.tokens_within(&text, count).unwrap(), tokens);
        let written = vocabulary.tokens_with_text(&text, usize::MAX, |_| true).unwrap();
        assert_eq!(vocabulary.tokens_with_text(&text, written.len(), |_| true).unwrap(), written);
        let too_long = |result: Result<Vec<u32>, PromptError>| match result {
            Err(PromptError::TooLong { most }) => most,
            result => panic!("{result:?}"),
        };
        for most in [0, 1, count / 8, count - 1] {
            assert_eq!(too_long(vocabulary.tokens_within(&text, most)), most);
            assert_eq!(too_long(vocabulary.tokens_with_text(&text, most, |_| false)), most);
        }
        for most in [0, 1, written.len() / 2, written.len() - 1] {
            assert_eq!(too_long(vocabulary.tokens_with_text(&text, most, |_| true)), most);
        }
        assert!(vocabulary.fewest.get().is_some_and(Option::is_some), "its bytes tell how long it is");
    }

    #[test]
    fn every_byte_has_a_character_of_its_own() {
        let characters = byte_of_character();
        assert_eq!(characters.len(), 256);
        let mut bytes: Vec<u8> = characters.values().copied().collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!((characters.get(&'Ġ'), characters.get(&'Ċ')), (Some(&b' '), Some(&b'\n')));
    }

    #[test]
    fn no_half_character_is_told() {
        let mut detokenizer = Detokenizer::default();
        let pieces: Vec<String> = "né漢!".bytes().map(|byte| detokenizer.push(&[byte])).collect();
        assert_eq!(pieces, ["n", "", "é", "", "", "漢", "!"]);
        assert_eq!(detokenizer.push(&[0xE6, b'x']), "\u{FFFD}x");
        assert_eq!(detokenizer.push(&[0xE6, 0xBC]), "");
        assert_eq!(detokenizer.end(), "\u{FFFD}");
    }

    proptest! {
        #[test]
        fn what_is_told_does_not_depend_on_how_it_comes(
            bytes in proptest::collection::vec(any::<u8>(), 0..64), size in 1usize..8,
        ) {
            let mut detokenizer = Detokenizer::default();
            let mut text: String = bytes.chunks(size).map(|bytes| detokenizer.push(bytes)).collect();
            text.push_str(&detokenizer.end());
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}
