//! Marked prefixes that are sent once more by themselves, in the formats that have marks.

use conversation::repeat::{Repeat, RepeatedPrefix};
use domain::Grammar;

use crate::registry::face;

/// The request that has the provider read a prefix again. `None` where the format has no marks, or a repeat would do more
/// than that.
pub fn repeat_prefix(grammar: Grammar, prefix: RepeatedPrefix<'_>) -> Option<Repeat> {
    face(grammar).repeats()?.write(prefix)
}

/// How many tokens of a repeat came from the provider's cache, by its answer.
pub fn cached_tokens_of_repeat(grammar: Grammar, answer: &[u8]) -> Option<u64> {
    face(grammar).repeats()?.cached_tokens(answer)
}
