//! What a replay computes at most.

/// The fewest requests that any set of gates judges by: below, a 95th percentile is the slowest request or two.
pub const REPLAY_REQUESTS_MIN: u32 = 20;
/// How often a set is drawn again to find the bounds of a ratio.
pub(crate) const RESAMPLES_MAX: usize = 1_000;
/// Words of one made-up message: a prompt beyond it is as long as no model reads.
pub(crate) const SYNTHETIC_WORDS_MAX: u64 = 2_000_000;
/// Words of one text to embed; a longer prompt is several, since models for embeddings read less at once.
pub(crate) const EMBEDDED_WORDS_MAX: u64 = 256;
/// Words of two answers that are compared.
pub(crate) const COMPARED_WORDS_MAX: usize = 50_000;
/// What a judge reads of the request, and of each of the two answers.
pub(crate) const JUDGED_BYTES_MAX: usize = 32 * 1024;
/// What it may write, its reasoning included.
pub(crate) const JUDGE_ANSWER_TOKENS_MAX: u32 = 2_048;
