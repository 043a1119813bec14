//! Two clocks: wall-clock time for people, and a monotonic one for every duration and limit.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Time as an argument.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970. It may jump; never subtract two of these to get a duration.
    fn unix_ms(&self) -> u64;
    /// Microseconds since some fixed moment; never goes back.
    fn monotonic_us(&self) -> u64;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    origin_us: u64,
}

impl SystemClock {
    pub fn new() -> Self {
        Self { origin_us: micros(ClockId::Monotonic) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn unix_ms(&self) -> u64 {
        micros(ClockId::Realtime) / 1_000
    }

    fn monotonic_us(&self) -> u64 {
        micros(ClockId::Monotonic).saturating_sub(self.origin_us)
    }
}

/// Called a dozen times per request: the checked arithmetic of the standard
/// library's types would double the cost.
fn micros(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    // No machine of ours has a time before 1970.
    let (seconds, nanos) = (now.tv_sec.max(0).cast_unsigned(), now.tv_nsec.cast_unsigned());
    seconds.saturating_mul(1_000_000).saturating_add(nanos / 1_000)
}

/// The CPU time of this thread, which excludes what others do on a busy machine.
pub fn thread_time() -> Duration {
    Duration::from_micros(micros(ClockId::ThreadCPUTime))
}

/// A clock that moves only when set.
#[derive(Debug)]
pub struct ManualClock {
    unix_ms: AtomicU64,
    monotonic_us: AtomicU64,
}

impl ManualClock {
    pub fn at(unix_ms: u64) -> Self {
        Self { unix_ms: AtomicU64::new(unix_ms), monotonic_us: AtomicU64::new(0) }
    }

    /// Advances both clocks.
    pub fn advance_us(&self, us: u64) {
        let now = self.monotonic_us.fetch_add(us, Ordering::SeqCst);
        let ms = (now + us) / 1_000 - now / 1_000;
        self.unix_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the wall clock while the monotonic one continues, as NTP or an administrator does.
    pub fn set_unix_ms(&self, unix_ms: u64) {
        self.unix_ms.store(unix_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn unix_ms(&self) -> u64 {
        self.unix_ms.load(Ordering::SeqCst)
    }

    fn monotonic_us(&self) -> u64 {
        self.monotonic_us.load(Ordering::SeqCst)
    }
}
