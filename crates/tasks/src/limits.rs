//! How often runtimes are watched.

use std::time::Duration;

/// How often a runtime is asked to wake a task.
pub(crate) const DELAY_EVERY: Duration = Duration::from_millis(100);
/// After so many times the longest delay is forgotten that was noted before: it is that of one to two minutes.
pub(crate) const DELAYS_NOTED: u32 = 600;
