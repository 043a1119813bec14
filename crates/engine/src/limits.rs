//! What one step and one request of the engine may take, beside the limits in `domain::limits`.

/// Length of an adapter's name as the engine registers it: one that clients may choose, with its version.
pub(crate) const ADAPTER_NAME_BYTES_MAX: usize = 256;
/// Alternatives (`top_logprobs`) per token: the limit of the OpenAI API.
pub(crate) const TOP_LOGPROBS_MAX: u64 = 20;
/// Sequences with other adapters that may be admitted while one waits for memory; then it goes first.
pub(crate) const PASSED_MAX: u32 = 32;
/// Prompt tokens that the draft model prefills in one step. A longer prompt is prefilled over several steps
/// and gets draft tokens once it is complete, so it never delays a step for longer.
pub(crate) const DRAFT_PREFILL_TOKENS_MAX: usize = 256;
