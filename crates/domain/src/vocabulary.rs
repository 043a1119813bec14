//! Public tokenizers, with which anybody can count tokens.

/// A tokenizer vocabulary that models are known to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Vocabulary {
    Cl100k,
    O200k,
}

impl Vocabulary {
    pub const ALL: [Self; 2] = [Self::Cl100k, Self::O200k];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cl100k => "cl100k",
            Self::O200k => "o200k",
        }
    }

    /// The vocabulary of this name.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|vocabulary| vocabulary.as_str() == word)
    }
}
