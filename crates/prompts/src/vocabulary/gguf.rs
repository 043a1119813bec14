//! The tokenizer of a GGUF file, from its tokens, merges and pre-tokenizer.

use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use super::Vocabulary;

/// The tokenizer metadata of a file.
#[derive(Debug, Default)]
pub struct Words {
    /// `gpt2` means byte-level BPE, the only kind supported.
    pub model: String,
    /// The name of the pre-tokenizer.
    pub cut: String,
    pub tokens: Vec<String>,
    /// The type of each token, as numbers; empty if the file does not say.
    pub kinds: Vec<f64>,
    pub merges: Vec<String>,
}

/// A special token.
const CONTROL: f64 = 3.0;
/// An unused token id.
const UNUSED: f64 = 5.0;
/// An added token that is part of texts (user-defined).
const DEFINED: f64 = 4.0;

/// The pre-tokenizer of a model family.
struct Cut {
    names: &'static [&'static str],
    /// How many digits stay together; 0 for GPT-2's original pre-tokenizer, which does not split numbers.
    digits: usize,
    /// Texts are NFC-normalised first.
    composes: bool,
    /// A piece that is a token stays whole, whatever the merges say (`ignore_merges`).
    takes_whole: bool,
}

const CUTS: [Cut; 3] = [
    Cut { names: &["qwen2"], digits: 1, composes: true, takes_whole: false },
    Cut { names: &["llama-bpe", "llama3", "llama-v3"], digits: 3, composes: false, takes_whole: true },
    Cut { names: &["default", "gpt-2", ""], digits: 0, composes: false, takes_whole: false },
];

impl Cut {
    fn pieces(&self) -> Result<PreTokenizerWrapper, String> {
        if self.digits == 0 {
            return Ok(ByteLevel::new(false, true, true).into());
        }
        // Contractions, words, numbers, other characters, line breaks, spaces before a word, spaces.
        let digits = self.digits;
        let expression = format!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,{digits}}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        );
        let split = Split::new(SplitPattern::Regex(expression), SplitDelimiterBehavior::Isolated, false);
        let split = split.map_err(|error| error.to_string())?;
        Ok(Sequence::new(vec![split.into(), ByteLevel::new(false, true, false).into()]).into())
    }
}

impl Vocabulary {
    pub fn packed(words: Words) -> Result<Self, String> {
        let Words { model, cut, tokens, kinds, merges } = words;
        if model != "gpt2" {
            return Err(format!("its tokenizer is \"{model}\", and \"gpt2\" is known here"));
        }
        let known = CUTS.iter().find(|known| known.names.contains(&cut.as_str()));
        let known = known
            .ok_or_else(|| format!("its tokenizer cuts texts as \"{cut}\" does, which is not known here"))?;
        if !kinds.is_empty() && kinds.len() != tokens.len() {
            return Err(format!("it has {} tokens, and says the kind of {}", tokens.len(), kinds.len()));
        }
        let merges: Option<Merges> = merges
            .iter()
            .map(|merge| merge.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned())))
            .collect();
        let merges = merges.ok_or("one of its merges is not two tokens")?;
        let mut added = Vec::new();
        for (token, kind) in tokens.iter().zip(&kinds).filter(|(_, kind)| [CONTROL, DEFINED].contains(kind)) {
            let is_special = *kind == CONTROL;
            added.push(AddedToken {
                special: is_special,
                ..AddedToken::from(token.clone(), is_special).normalized(false)
            });
        }
        let is_used = |id: &u32| kinds.get(*id as usize) != Some(&UNUSED);
        let vocabulary: Vocab = tokens.into_iter().zip(0u32..).filter(|(_, id)| is_used(id)).collect();
        let pairs =
            BPE::builder().vocab_and_merges(vocabulary, merges).ignore_merges(known.takes_whole).build();
        let mut tokenizer =
            Tokenizer::new(pairs.map_err(|error| format!("its tokens make no tokenizer: {error}"))?);
        let message = |error: tokenizers::Error| error.to_string();
        tokenizer.with_normalizer(known.composes.then_some(NFC)).map_err(message)?;
        tokenizer.with_pre_tokenizer(Some(known.pieces()?));
        let (special, words): (Vec<_>, Vec<_>) = added.into_iter().partition(|token| token.special);
        tokenizer.add_special_tokens(special).map_err(message)?;
        tokenizer.add_tokens(words).map_err(message)?;
        Ok(Self::of(tokenizer))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::synthetic_tokens::Tokens;

    #[test]
    fn what_makes_no_tokenizer_is_refused() {
        let words = || Tokens::new("qwen2", "", 0).words();
        assert!(Vocabulary::packed(words()).is_ok());
        for (words, why) in [
            (Words { model: "llama".to_owned(), ..words() }, "\"llama\""),
            (Words { cut: "tekken".to_owned(), ..words() }, "\"tekken\""),
            (Words { kinds: vec![1.0], ..words() }, "says the kind of 1"),
            (Words { merges: vec!["ab".to_owned()], ..words() }, "not two tokens"),
            (Words { merges: vec!["q q".to_owned()], ..words() }, "make no tokenizer"),
        ] {
            let error = Vocabulary::packed(words).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    static BOTH: LazyLock<Vec<[Vocabulary; 2]>> = LazyLock::new(|| {
        let both = |cut| {
            let tokens = Tokens::new(cut, "", 0);
            let plain = Tokenizer::from_bytes(tokens.tokenizer_json().to_string()).unwrap();
            [Vocabulary::packed(tokens.words()).unwrap(), Vocabulary::of(plain)]
        };
        ["qwen2", "llama-bpe", "default"].map(both).into()
    });

    proptest! {
        #[test]
        fn any_text_is_the_same_tokens_in_both(text in ".{0,40}") {
            for [packed, plain] in BOTH.iter() {
                prop_assert!(packed.is_like(plain, &text), "{}", text);
            }
        }
    }
}
