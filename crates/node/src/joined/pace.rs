//! When a node calls its control plane. A pure state machine: time and randomness are arguments.

use std::time::Duration;

use domain::limits::{NODE_BACKOFF_BASE, NODE_BACKOFF_MAX, NODE_REPORT_EVERY};

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Beat,
    Report,
    /// Wait until then.
    Wait {
        until_us: u64,
    },
}

#[derive(Debug)]
pub(crate) struct Pace {
    every_us: u64,
    beat_at_us: u64,
    report_from_us: u64,
    /// Consecutive failed calls.
    failures: u32,
}

fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Pace {
    /// The first heartbeat is due immediately.
    pub(crate) fn new(every: Duration, now_us: u64) -> Self {
        Self { every_us: us(every), beat_at_us: now_us, report_from_us: now_us, failures: 0 }
    }

    /// Heartbeats come first: nothing is reported while they fail.
    pub(crate) fn next(&self, now_us: u64, has_records: bool) -> Step {
        if now_us >= self.beat_at_us {
            return Step::Beat;
        }
        if self.is_away() || !has_records {
            return Step::Wait { until_us: self.beat_at_us };
        }
        if now_us >= self.report_from_us {
            return Step::Report;
        }
        Step::Wait { until_us: self.beat_at_us.min(self.report_from_us) }
    }

    /// A heartbeat succeeded; the next is due after `every`.
    pub(crate) fn heard(&mut self, now_us: u64, every: Duration) {
        self.failures = 0;
        self.every_us = us(every).max(1);
        self.beat_at_us = now_us.saturating_add(self.every_us);
    }

    /// A report succeeded; `is_more` says whether there is a backlog.
    pub(crate) fn reported(&mut self, now_us: u64, is_more: bool) {
        let pause_us = if is_more { 0 } else { us(NODE_REPORT_EVERY) };
        self.report_from_us = now_us.saturating_add(pause_us);
    }

    /// A call failed: backs off with jitter, because many nodes lose the same control plane at once. `below`
    /// returns a random number below its argument.
    pub(crate) fn missed(&mut self, now_us: u64, below: impl FnOnce(u64) -> u64) {
        let ceiling =
            us(NODE_BACKOFF_BASE).saturating_mul(1 << self.failures.min(16)).min(us(NODE_BACKOFF_MAX));
        self.failures = self.failures.saturating_add(1);
        let least = us(NODE_BACKOFF_BASE) / 4;
        self.beat_at_us = now_us.saturating_add(least).saturating_add(below(ceiling - least));
    }

    pub(crate) const fn is_away(&self) -> bool {
        self.failures > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(30);
    const SECOND: u64 = 1_000_000;

    #[test]
    fn it_beats_at_once_and_then_as_often_as_it_is_told() {
        let mut pace = Pace::new(EVERY, 5);
        assert_eq!(pace.next(5, true), Step::Beat);
        pace.heard(7, Duration::from_secs(2));
        assert_eq!(pace.next(7, false), Step::Wait { until_us: 7 + 2 * SECOND });
        assert_eq!(pace.next(7 + 2 * SECOND, false), Step::Beat);
    }

    #[test]
    fn records_are_reported_between_heartbeats_with_a_pause_where_there_are_few() {
        let mut pace = Pace::new(EVERY, 0);
        pace.heard(0, EVERY);
        assert_eq!(pace.next(1, true), Step::Report);
        pace.reported(1, true);
        assert_eq!(pace.next(1, true), Step::Report, "more of them go at once");
        pace.reported(1, false);
        assert_eq!(pace.next(2, true), Step::Wait { until_us: 1 + SECOND });
        assert_eq!(pace.next(1 + SECOND, true), Step::Report);
    }

    #[test]
    fn who_is_not_heard_waits_longer_each_time_and_reports_nothing() {
        let mut pace = Pace::new(EVERY, 0);
        let mut waits = Vec::new();
        for _ in 0..9 {
            pace.missed(0, |bound| bound - 1);
            let Step::Wait { until_us } = pace.next(1, true) else { panic!("it does not wait") };
            waits.push((until_us + 1) / SECOND);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        pace.missed(0, |_| 0);
        assert_eq!(pace.next(0, true), Step::Wait { until_us: SECOND / 4 }, "chance shortens it");
        assert_eq!(pace.next(SECOND / 4, true), Step::Beat);
        pace.heard(SECOND, EVERY);
        assert_eq!(pace.next(SECOND, true), Step::Report);
    }
}
