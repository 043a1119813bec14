//! Budgets of the loop.

use std::time::Duration;

/// Steps of the model where a request states no number, and at most.
pub(crate) const STEPS: u32 = 8;
pub(crate) const STEPS_MAX: u32 = 64;
/// How long calls and steps together go on where a request states no time, and at most.
pub(crate) const TIME: Duration = Duration::from_secs(300);
pub(crate) const TIME_MAX: Duration = Duration::from_secs(1_800);
/// The highest limit of money, in nano-USD: what the ledger can hold.
pub(crate) const NANO_USD_MAX: u64 = i64::MAX.unsigned_abs();
/// Calls of one step that run at the same time.
pub(crate) const CALLS_AT_ONCE_MAX: usize = 8;
/// Calls of one step; the model is told of those beyond that they were not made.
pub(crate) const CALLS_OF_STEP_MAX: usize = 64;
/// Tools that one request offers.
pub(crate) const OFFERED_MAX: usize = 256;
/// How old the list of a server may be before it is read again.
pub(crate) const LIST_AGE_MAX: Duration = Duration::from_secs(300);
/// How long a run of an app may take as a tool: pictures and sounds take longer than most calls.
pub(crate) const APP_TIME_MAX: Duration = Duration::from_secs(180);
/// The longest data URI that a model is given of what an app made.
pub(crate) const DATA_URI_BYTES_MAX: usize = 256;
/// The longest answer of one step that is read.
pub(crate) const STEP_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Results of one request that are kept whole, together.
pub(crate) const KEPT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The longest result where no model reads it: half of what a value of a flow may have, where it is a string with escapes.
pub(crate) const WHOLE_RESULT_BYTES_MAX: usize = 512 * 1024;
