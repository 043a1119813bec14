//! What a replay computes at most.

/// The fewest requests that any set of gates judges by: below, a 95th percentile is the slowest request or two.
pub const REPLAY_REQUESTS_MIN: u32 = 20;
/// How often a set is drawn again to find the bounds of a ratio.
pub(crate) const RESAMPLES_MAX: usize = 1_000;
/// Words of one made-up message: a prompt beyond it is as long as no model reads.
pub(crate) const SYNTHETIC_WORDS_MAX: u64 = 2_000_000;
/// Words of two answers that are compared.
pub(crate) const COMPARED_WORDS_MAX: usize = 50_000;
