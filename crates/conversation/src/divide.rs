//! A prompt in two: a beginning that its provider caches by name, and the rest, which a request sends with that name.

use std::fmt::Debug;

use json::Span;

/// A request's prompt in the order in which its provider reads it, by spans of the request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct DivisiblePrompt {
    /// The members before the turns, which go into a cache together: each from its name to the end of its value.
    pub head: Vec<Span>,
    pub turns: Vec<TurnSpan>,
    /// The other members, which stay in the request.
    pub others: Vec<Span>,
}

/// One turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnSpan {
    pub span: Span,
    /// Whether what follows a cache may begin with it.
    pub may_begin: bool,
}

/// What a cache is made for.
#[derive(Debug, Clone, Copy)]
pub struct NewCache<'a> {
    /// The model's name, as our own plan knows it.
    pub model: &'a str,
    /// How long it is kept.
    pub ttl_s: u64,
}

/// A wire format whose prompts can be cached by name. `turns` is how many turns the beginning has.
pub trait DividesPrompts: Debug + Sync {
    /// `None` where the request names a cache itself, or can't be divided.
    fn read(&self, body: &[u8]) -> Option<DivisiblePrompt>;

    /// The request that creates the cache.
    fn write_cache(&self, prompt: &DivisiblePrompt, body: &[u8], turns: usize, new: NewCache<'_>) -> Vec<u8>;

    /// The request that goes on from a cache, by its provider's id.
    fn write_rest(&self, prompt: &DivisiblePrompt, body: &[u8], turns: usize, id: &str) -> Vec<u8>;
}

impl DivisiblePrompt {
    /// How many turns a beginning may have. At least one turn follows it.
    pub fn cuts(&self) -> impl Iterator<Item = usize> + '_ {
        let begins = self.turns.iter().enumerate().filter(|(_, turn)| turn.may_begin);
        begins.map(|(number, _)| number).filter(|turns| *turns > 0 || !self.head.is_empty())
    }

    /// The pieces of a beginning.
    pub fn prefix(&self, turns: usize) -> impl Iterator<Item = Span> + '_ {
        self.head.iter().copied().chain(self.turns.iter().take(turns).map(|turn| turn.span))
    }
}
