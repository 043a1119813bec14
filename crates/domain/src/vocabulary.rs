//! Public tokenizers, with which anybody can count tokens.

crate::words! {
    /// A tokenizer vocabulary that models are known to use.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum Vocabulary by from_word {
        Cl100k = "cl100k",
        O200k = "o200k",
    }
}
