//! How much is kept between requests, and how often a hook of a policy is called.

use std::time::Duration;

/// Policies whose checks are kept compiled on each core.
pub(crate) const COMPILED_POLICIES_MAX: usize = 256;

/// Open calls of one hook on each core. More are not made: its `on_silence` decides.
pub(crate) const HOOK_CALLS_AT_ONCE_MAX: u32 = 64;
/// Calls in a row without a decision, after which a hook is not called for a while.
pub(crate) const HOOK_SILENCES_MAX: u32 = 5;
/// For how long it is not called then; after that, one call finds out whether it answers again.
pub(crate) const HOOK_PAUSE: Duration = Duration::from_secs(5);
/// Hooks whose state is known on each core.
pub(crate) const HOOKS_KNOWN_MAX: usize = 1_024;
/// The part of a hook's reason that its refusal quotes.
pub(crate) const HOOK_REASON_CHARS_MAX: usize = 300;
/// How long a request of a batch may take: less than the job that makes it.
pub(crate) const BATCH_ITEM_TIME_MAX: Duration = Duration::from_secs(540);
/// A piece of a file of requests that is kept.
pub(crate) const FILE_PIECE_BYTES: usize = 64 * 1024;
/// The value of a part of a form that is no file.
pub(crate) const VALUE_BYTES_MAX: usize = 256;
