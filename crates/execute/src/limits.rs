//! Bounds of one attempt, beside the limits in `domain::limits`.

use std::time::Duration;

/// Length of the header that lists what was lost in translation; some clients reject responses whose headers
/// are too long.
pub(crate) const DROPPED_FIELDS_BYTES_MAX: usize = 4 * 1024;
/// Billed units that a provider's header may say; no answer reaches this many.
pub(crate) const BILLED_UNITS_MAX: f64 = 1e9;
/// Attempts on nodes before an exchange leaves them, where its route lists another profile behind them.
pub(crate) const NODES_TRIED_MAX: u32 = 3;
/// How long a request may wait in the queue of a node where another seat follows: the expected wait from which a node counts as full.
pub(crate) const NODE_QUEUE_WAIT_MAX: Duration = Duration::from_micros(plan::NODE_FULL_US);
/// One line of a file of a batch's requests or results: the largest answer that we read elsewhere (`ANSWER_BYTES_MAX`).
pub(crate) const FILE_LINE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a new batch waits for the file of its requests, which a budget is to hold. Of a longer one the first poll holds them.
pub(crate) const BATCH_FILE_TIME_MAX: Duration = Duration::from_secs(30);
/// Unused timers that a core holds on to; more are dropped.
pub(crate) const IDLE_TIMERS_MAX: usize = 64;
/// Text bytes of a prompt that count as one token of the agreed limits, until the answer says how many it was.
pub(crate) const PROMPT_BYTES_PER_TOKEN: u64 = 4;
/// By how much an estimated prompt must exceed a model's context to be taken for too long.
pub(crate) const ESTIMATE_EXCESS_PERCENT: u64 = 25;
/// By how much the prompt that a budget near its end reserves exceeds the count of a public tokenizer, which doesn't know how the
/// model is told of roles and tools, ..
pub(crate) const COUNT_MARGIN_PERCENT: u64 = 5;
/// .. and by how much the tokens of as many bytes of the prompts before: texts differ.
pub(crate) const LEARNED_MARGIN_PERCENT: u64 = 25;
/// Tokens that are added to either.
pub(crate) const MARGIN_TOKENS: u64 = 8;
