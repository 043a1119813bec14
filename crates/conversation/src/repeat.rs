//! A cached prefix, sent once more by itself: its provider reads it from its cache, which keeps it there.

use std::fmt::Debug;

/// The prefix of a request that is repeated, in the order in which its provider reads it.
#[derive(Debug, Clone, Copy)]
pub struct RepeatedPrefix<'a> {
    /// The request, with the cache marks that it was sent with.
    pub body: &'a [u8],
    /// How many of its turns belong to the prefix, after all that comes before the turns.
    pub turns: usize,
    /// The model's name, as our own plan knows it.
    pub model: &'a str,
}

/// The request that repeats it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeat {
    pub body: Vec<u8>,
    /// What it sends beyond the prefix, since its provider takes nothing less.
    pub rest_bytes: u64,
}

/// A wire format whose marked prefixes can be repeated.
pub trait RepeatsPrefixes: Debug + Sync {
    /// The request with the prefix alone and the shortest answer. `None` where a repeat would not be read from the same
    /// cache, or might do more than that.
    fn write(&self, prefix: RepeatedPrefix<'_>) -> Option<Repeat>;

    /// How many tokens of a repeat came from the cache, by its answer.
    fn cached_tokens(&self, answer: &[u8]) -> Option<u64>;
}
