//! Tokens: how a text becomes numbers, and what bytes each of them stands for.

mod fewest;
mod packed;

use std::collections::HashMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::OnceLock;

use tokenizers::Tokenizer;

pub(crate) use self::packed::Words;

use self::fewest::Fewest;
use crate::EngineError;
use crate::signs::{Sign, Signs, behind};

/// A text of so many bytes for each token that it may have is looked at before its tokens are made: it may be far too long.
const BYTES_A_TOKEN: usize = 4;

/// The tokens of a model.
#[derive(Debug)]
pub struct Vocabulary {
    tokenizer: Tokenizer,
    /// The same, which reads signs as text; made when somebody wrote one.
    reads_signs: OnceLock<Box<Tokenizer>>,
    /// What tells that a text is too long; made when the first may be.
    fewest: OnceLock<Option<Fewest>>,
    written: Signs,
    tokens: Vec<Token>,
    /// The signs that stand before and behind a whole text, beside those that the tokenizer sets of itself.
    signs: (Option<u32>, Option<u32>),
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Token {
    bytes: Vec<u8>,
    /// It is a sign between texts, and no part of one.
    is_sign: bool,
    /// No text is read as it: a sign, or a tag that models set and that is told.
    is_mark: bool,
}

/// How a part of a text becomes tokens, of which it may have so many.
type Making = fn(&Vocabulary, &str, usize) -> Result<Vec<u32>, EngineError>;

/// A text that comes token by token. What is told of it is whole characters.
#[derive(Debug, Default)]
pub struct Telling {
    held: Vec<u8>,
}

/// Where tokens are bytes, each is written as one of these characters.
pub(crate) fn byte_of_character() -> HashMap<char, u8> {
    let is_itself = |byte: u8| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let others = (0u8..=255).filter(|byte| !is_itself(*byte)).zip(256u32..);
    let others = others.filter_map(|(byte, code)| Some((char::from_u32(code)?, byte)));
    (0u8..=255).filter(|byte| is_itself(*byte)).map(|byte| (char::from(byte), byte)).chain(others).collect()
}

/// A byte that is written as `<0x0A>`.
fn spelt_byte(token: &str) -> Option<u8> {
    u8::from_str_radix(token.strip_prefix("<0x")?.strip_suffix('>')?, 16).ok()
}

impl Vocabulary {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// It is not there, or no tokenizer.
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        let bytes =
            std::fs::read(path).map_err(|source| EngineError::File { path: path.to_owned(), source })?;
        let broken = |what: String| EngineError::Broken { path: path.to_owned(), what };
        // Whoever wrote its reader expects files that its like wrote: of others it panics.
        let read = catch_unwind(AssertUnwindSafe(|| Tokenizer::from_bytes(bytes)));
        let tokenizer = read.map_err(|_| broken("it is no tokenizer that can be read".to_owned()))?;
        Ok(Self::of(tokenizer.map_err(|error| broken(error.to_string()))?))
    }

    /// Whether each number stands for the same here and there.
    #[must_use]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.tokens == other.tokens
    }

    /// Whether text and tokens are all the same here and there; what tests ask.
    #[cfg(test)]
    fn is_like(&self, other: &Self, text: &str) -> bool {
        let (here, there) = (self.tokens(text).ok(), other.tokens(text).ok());
        here.is_some() && here == there && self.said(text) == other.said(text)
    }

    /// A text, once it was tokens.
    #[cfg(test)]
    fn said(&self, text: &str) -> Vec<u8> {
        self.tokens(text).unwrap_or_default().iter().flat_map(|token| self.bytes(*token).to_vec()).collect()
    }

    fn of(tokenizer: Tokenizer) -> Self {
        let all = tokenizer.get_vocab(true);
        let signs = tokenizer.get_added_tokens_decoder();
        let characters = byte_of_character();
        let highest = all.values().max().map_or(0, |token| *token as usize + 1);
        let mut tokens = vec![Token::default(); highest];
        for (text, id) in all {
            let Some(token) = tokens.get_mut(id as usize) else { continue };
            if let Some(added) = signs.get(&id) {
                let is_tag = added.content.starts_with('<') && added.content.ends_with('>');
                let bytes = added.content.clone().into_bytes();
                *token = Token { bytes, is_sign: added.special, is_mark: added.special || is_tag };
                continue;
            }
            let in_bytes: Option<Vec<u8>> =
                text.chars().map(|character| characters.get(&character).copied()).collect();
            token.bytes = match (spelt_byte(&text), in_bytes) {
                (Some(byte), _) => vec![byte],
                (None, Some(bytes)) => bytes,
                // Tokens of the other kind are text, with a sign for a space.
                (None, None) => text.replace('\u{2581}', " ").into_bytes(),
            };
        }
        let special = signs.values().filter(|added| added.special);
        let written = special
            .map(|added| Sign { spelling: added.content.clone(), takes: (added.lstrip, added.rstrip) });
        let written = Signs::new(written.collect());
        let (reads_signs, fewest) = (OnceLock::new(), OnceLock::new());
        Self { tokenizer, reads_signs, fewest, written, tokens, signs: (None, None) }
    }

    /// Which signs are to stand before and behind a whole text.
    pub(crate) fn sign_by(&mut self, signs: (Option<u32>, Option<u32>)) {
        self.signs = signs;
    }

    #[must_use]
    pub const fn size(&self) -> usize {
        self.tokens.len()
    }

    /// The tokens of a text, in which signs are written out.
    ///
    /// # Errors
    /// The tokenizer can't read it.
    pub fn tokens(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        let encoding = self.tokenizer.encode_fast(text, false);
        Ok(encoding.map_err(|error| EngineError::Text(error.to_string()))?.get_ids().to_vec())
    }

    /// The same, of a text that may have so many at most.
    ///
    /// # Errors
    /// The tokenizer can't read it, or it has more.
    pub fn tokens_within(&self, text: &str, most: usize) -> Result<Vec<u32>, EngineError> {
        self.check_length(text, most)?;
        let tokens = self.tokens(text)?;
        if tokens.len() > most { Err(EngineError::TooLong { most }) } else { Ok(tokens) }
    }

    /// Refuses what is known to be too long by its bytes alone.
    fn check_length(&self, text: &str, most: usize) -> Result<(), EngineError> {
        if text.len() / BYTES_A_TOKEN <= most {
            return Ok(());
        }
        let fewest = self.fewest.get_or_init(|| Fewest::of(&self.tokenizer));
        let has_more = |fewest: &Fewest| fewest.tokens(&self.tokenizer, text, most).tokens > most;
        if fewest.as_ref().is_some_and(has_more) { Err(EngineError::TooLong { most }) } else { Ok(()) }
    }

    /// How its signs are written.
    #[must_use]
    pub const fn signs(&self) -> &Signs {
        &self.written
    }

    /// The tokens of a text in which some signs were written by somebody, as text: those that `is_text` says it of. All
    /// others are the same as those of `tokens`. There may be so many at most.
    ///
    /// # Errors
    /// The tokenizer can't read it, or it has more.
    pub fn tokens_with_text(
        &self,
        text: &str,
        most: usize,
        is_text: impl Fn(Range<usize>) -> bool,
    ) -> Result<Vec<u32>, EngineError> {
        let (mut tokens, mut from, mut gap, mut at) = (Vec::new(), 0, 0, 0);
        let mut has_text = false;
        let add = |tokens: &mut Vec<u32>, text: Option<&str>, make: Making| {
            let made = make(self, text.unwrap_or_default(), most.saturating_sub(tokens.len()));
            made.map(|made| tokens.extend(made)).map_err(|error| error.of_all(most))
        };
        // Between two signs a text is read for itself, so that nothing elsewhere is different for it.
        while let Some((found, sign)) = self.written.find(text, at) {
            if is_text(found.clone()) {
                has_text = true;
                at = behind(text, found.start);
                continue;
            }
            let space = text.get(gap..found.start).unwrap_or_default();
            let end = if sign.takes.0 { gap + space.trim_end().len() } else { found.start };
            if std::mem::take(&mut has_text) {
                add(&mut tokens, text.get(from..gap), Self::tokens_within)?;
                add(&mut tokens, text.get(gap..end), Self::tokens_as_text)?;
                from = end;
            }
            at = found.end;
            let space = text.get(at..).unwrap_or_default();
            gap = if sign.takes.1 { at + space.len() - space.trim_start().len() } else { at };
        }
        let last = if has_text { gap } else { text.len() };
        add(&mut tokens, text.get(from..last), Self::tokens_within)?;
        add(&mut tokens, text.get(last..), Self::tokens_as_text)?;
        Ok(tokens)
    }

    /// The tokens of a text in which nothing is a sign.
    fn tokens_as_text(&self, text: &str, most: usize) -> Result<Vec<u32>, EngineError> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        self.check_length(text, most)?;
        let reads = self.reads_signs.get_or_init(|| {
            let mut reads = Box::new(self.tokenizer.clone());
            reads.set_encode_special_tokens(true);
            reads
        });
        let encoding = reads.encode_fast(text, false);
        let tokens = encoding.map_err(|error| EngineError::Text(error.to_string()))?.get_ids().to_vec();
        if tokens.len() > most { Err(EngineError::TooLong { most }) } else { Ok(tokens) }
    }

    /// The tokens of a whole text, with the signs that the model's tokenizer sets before and behind it. Without these it may
    /// have so many at most.
    ///
    /// # Errors
    /// The tokenizer can't read it, or it is known to have more.
    pub fn signed(&self, text: &str, most: usize) -> Result<Vec<u32>, EngineError> {
        self.check_length(text, most)?;
        let encoding = self.tokenizer.encode_fast(text, true);
        let mut tokens = encoding.map_err(|error| EngineError::Text(error.to_string()))?.get_ids().to_vec();
        let (first, last) = self.signs;
        if let Some(first) = first.filter(|first| tokens.first() != Some(first)) {
            tokens.insert(0, first);
        }
        tokens.extend(last.filter(|last| tokens.last() != Some(last)));
        Ok(tokens)
    }

    /// What a token stands for in a text; nothing where it is a sign.
    #[must_use]
    pub fn bytes(&self, token: u32) -> &[u8] {
        match self.tokens.get(token as usize) {
            Some(token) if !token.is_sign => &token.bytes,
            _ => &[],
        }
    }

    /// How a token is written, signs as well.
    pub(crate) fn spelling(&self, token: u32) -> &[u8] {
        self.tokens.get(token as usize).map_or(&[], |token| &token.bytes)
    }

    /// Whether a model can only say it on purpose, and no text becomes it by chance.
    pub(crate) fn is_mark(&self, token: u32) -> bool {
        self.tokens.get(token as usize).is_some_and(|token| token.is_mark)
    }

    /// The token of a sign.
    #[must_use]
    pub fn sign(&self, text: &str) -> Option<u32> {
        self.tokenizer.token_to_id(text)
    }
}

impl Telling {
    /// What can be told once these bytes came, too.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let mut told = String::new();
        loop {
            match std::str::from_utf8(&self.held) {
                Ok(text) => {
                    told.push_str(text);
                    self.held.clear();
                    return told;
                }
                Err(error) => {
                    let whole = self.held.drain(..error.valid_up_to()).collect::<Vec<_>>();
                    told.push_str(&String::from_utf8_lossy(&whole));
                    let Some(wrong) = error.error_len() else { return told };
                    // No byte that comes can make a character of these.
                    self.held.drain(..wrong);
                    told.push(char::REPLACEMENT_CHARACTER);
                }
            }
        }
    }

    /// What is left at the end, of a character that never became whole.
    #[must_use]
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
        let tokenizer = Tokenizer::from_bytes(crate::spelling::tokenizer().to_string()).unwrap();
        let vocabulary = Vocabulary::of(tokenizer);
        let text = "a tide <|im_start|> of \u{6f22} ".repeat(64);
        let tokens = vocabulary.tokens(&text).unwrap();
        let count = tokens.len();
        assert_eq!(vocabulary.tokens_within(&text, count).unwrap(), tokens);
        let written = vocabulary.tokens_with_text(&text, usize::MAX, |_| true).unwrap();
        assert_eq!(vocabulary.tokens_with_text(&text, written.len(), |_| true).unwrap(), written);
        let too_long = |told: Result<Vec<u32>, EngineError>| match told {
            Err(EngineError::TooLong { most }) => most,
            told => panic!("{told:?}"),
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
        let mut telling = Telling::default();
        let told: Vec<String> = "né漢!".bytes().map(|byte| telling.push(&[byte])).collect();
        assert_eq!(told, ["n", "", "é", "", "", "漢", "!"]);
        assert_eq!(telling.push(&[0xE6, b'x']), "\u{FFFD}x");
        assert_eq!(telling.push(&[0xE6, 0xBC]), "");
        assert_eq!(telling.end(), "\u{FFFD}");
    }

    proptest! {
        #[test]
        fn what_is_told_does_not_depend_on_how_it_comes(
            bytes in proptest::collection::vec(any::<u8>(), 0..64), size in 1usize..8,
        ) {
            let mut telling = Telling::default();
            let mut told: String = bytes.chunks(size).map(|bytes| telling.push(bytes)).collect();
            told.push_str(&telling.end());
            prop_assert_eq!(told, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}
