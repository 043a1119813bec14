//! How long this process has been up, and for how long of that it was answering requests.

use std::sync::{Mutex, MutexGuard, PoisonError};

use world::Clock;

/// Counts the time in which at least one request was being answered.
#[derive(Debug)]
pub(crate) struct Hours {
    started_unix_ms: u64,
    started_us: u64,
    busy: Mutex<Busy>,
}

#[derive(Debug, Default)]
struct Busy {
    open: u64,
    since_us: u64,
    total_us: u64,
}

/// Milliseconds since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HoursCounted {
    pub since_unix_ms: u64,
    pub up_ms: u64,
    pub busy_ms: u64,
}

impl Hours {
    pub(crate) fn new(clock: &dyn Clock) -> Self {
        Self { started_unix_ms: clock.unix_ms(), started_us: clock.monotonic_us(), busy: Mutex::default() }
    }

    pub(crate) fn begin(&self, now_us: u64) {
        let mut busy = self.busy();
        if busy.open == 0 {
            busy.since_us = now_us;
        }
        busy.open += 1;
    }

    pub(crate) fn end(&self, now_us: u64) {
        let mut busy = self.busy();
        busy.open = busy.open.saturating_sub(1);
        if busy.open == 0 {
            busy.total_us = busy.total_us.saturating_add(now_us.saturating_sub(busy.since_us));
        }
    }

    pub(crate) fn counted(&self, now_us: u64) -> HoursCounted {
        let busy = self.busy();
        let open_us = if busy.open == 0 { 0 } else { now_us.saturating_sub(busy.since_us) };
        HoursCounted {
            since_unix_ms: self.started_unix_ms,
            up_ms: now_us.saturating_sub(self.started_us) / 1_000,
            busy_ms: busy.total_us.saturating_add(open_us) / 1_000,
        }
    }

    fn busy(&self) -> MutexGuard<'_, Busy> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use world::World;

    #[test]
    fn requests_at_the_same_time_are_busy_once() {
        let hours = Hours::new(&*World::system().clock);
        let start = hours.started_us;
        let busy_ms = |at_ms: u64| hours.counted(start + at_ms * 1_000).busy_ms;
        let at = |at_ms: u64| start + at_ms * 1_000;
        hours.begin(at(10));
        hours.begin(at(20));
        assert_eq!(busy_ms(25), 15, "one that is open counts");
        hours.end(at(30));
        hours.end(at(50));
        assert_eq!((busy_ms(50), busy_ms(90)), (40, 40));
        hours.begin(at(100));
        hours.end(at(105));
        assert_eq!(
            hours.counted(at(200)),
            HoursCounted { since_unix_ms: hours.started_unix_ms, up_ms: 200, busy_ms: 45 }
        );
    }
}
