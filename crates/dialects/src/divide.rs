//! Prompts in two, as far as their format has caches with a name: the places where one may be cut, and both parts.

use bytes::Bytes;
use conversation::divide::{DividesPrompts, DivisiblePrompt, NewCache};
use domain::limits::PREFIX_ENDS_MAX;
use domain::{Dialect, Grammar};

use crate::prefix::Rolling;
use crate::registry::face;

/// A request whose prompt may be cut.
#[derive(Debug)]
pub struct Divided<'a> {
    body: &'a [u8],
    prompt: DivisiblePrompt,
    format: &'static dyn DividesPrompts,
    dialect: Dialect,
    cuts: Vec<PromptCut>,
    bytes: u64,
}

/// A place where it may be cut, by the beginning that ends there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptCut {
    /// A hash of the beginning, which is not collision-resistant: whoever puts a cache in its place compares more.
    pub fingerprint: u64,
    /// The length of the beginning.
    pub bytes: u64,
    turns: usize,
}

/// `None` where the format has no such caches, and where the request names one itself.
pub fn divide_prompt(grammar: Grammar, body: &[u8]) -> Option<Divided<'_>> {
    let format = face(grammar).divides()?;
    let prompt = format.read(body)?;
    let mut rolling = Rolling::default();
    prompt.head.iter().for_each(|member| rolling.add(member.of(body)));
    let mut places = prompt.cuts().peekable();
    let mut cuts = Vec::new();
    for (turns, turn) in prompt.turns.iter().enumerate() {
        if places.next_if_eq(&turns).is_some() {
            cuts.push(PromptCut { fingerprint: rolling.state, bytes: rolling.bytes, turns });
        }
        rolling.add(turn.span.of(body));
    }
    drop(places);
    // Conversations grow at their end; the first cut is what they have in common.
    let surplus = cuts.len().saturating_sub(PREFIX_ENDS_MAX);
    if surplus > 0 {
        cuts.drain(1..=surplus);
    }
    Some(Divided { body, prompt, format, dialect: grammar.dialect(), cuts, bytes: rolling.bytes })
}

impl Divided<'_> {
    /// From the shortest beginning to the longest.
    pub fn cuts(&self) -> &[PromptCut] {
        &self.cuts
    }

    /// The length of the whole prompt.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The dialect in which a cache is asked for.
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The whole beginning, piece by piece.
    pub fn prefix(&self, cut: PromptCut) -> impl Iterator<Item = &[u8]> {
        self.prompt.prefix(cut.turns).map(|piece| piece.of(self.body))
    }

    /// The request that caches a beginning.
    pub fn cache(&self, cut: PromptCut, new: NewCache<'_>) -> Bytes {
        self.format.write_cache(&self.prompt, self.body, cut.turns, new).into()
    }

    /// The request with the cache of this id in the place of the beginning.
    pub fn rest(&self, cut: PromptCut, id: &str) -> Bytes {
        self.format.write_rest(&self.prompt, self.body, cut.turns, id).into()
    }
}
