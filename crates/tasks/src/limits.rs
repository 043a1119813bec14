//! How much tenants' work runs beside a runtime, and how often runtimes are watched.

use std::time::Duration;

/// Pieces of one owner's work that run beside a runtime at the same time: one owner can't take all threads.
pub(crate) const BESIDE_OF_OWNER_MAX: usize = 2;
/// Those of all owners: each has a thread, and reads wait for them, too.
pub(crate) const BESIDE_MAX: usize = 64;
/// How often a runtime is asked to wake a task.
pub(crate) const DELAY_EVERY: Duration = Duration::from_millis(100);
/// After so many times the longest delay is forgotten that was noted before: it is that of one to two minutes.
pub(crate) const DELAYS_NOTED: u32 = 600;
/// After so long without polling a new task, a runtime's thread counts as held up, and a stop leaves the tasks on it.
pub(crate) const HELD_UP_TIME_MAX: Duration = Duration::from_secs(10);
