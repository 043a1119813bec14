//! Overload: whether a serving thread is too far behind for a request of some priority. Measured by the gateway, and
//! asked before a request is read and again once its route is known.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use domain::{Fault, FaultClass, Priority};

/// Between the end of one measurement and the start of the next.
const MEASURE_EVERY_US: u64 = 5_000;
/// How long the queue may be too long before work of a priority is refused; between these it is in proportion. A burst of
/// standard work is queued for a second, what nobody waits for is not, and what a person waits for is longer.
const PATIENCE_US: [(u8, u64); 5] =
    [(0, 0), (64, 100_000), (128, 1_000_000), (192, 3_000_000), (255, 5_000_000)];
/// A thread that was behind this recently is allowed no burst.
const RELAPSE_US: u64 = 1_000_000;
/// An older measurement is void: there were no requests meanwhile.
const STALE_US: u64 = 250_000;
const RETRY_AFTER_MS: u64 = 1_000;

/// The queue of one serving thread.
#[derive(Debug, Default)]
pub struct Overload(RefCell<QueueDelay>);

impl Overload {
    /// A queue is too long if requests wait longer in it. Zero: none is.
    pub fn bound(&self, delay_max: Duration) {
        self.0.borrow_mut().max_us = u64::try_from(delay_max.as_micros()).unwrap_or(u64::MAX);
    }

    /// Whether anything is ever refused.
    pub fn is_on(&self) -> bool {
        self.0.borrow().max_us > 0
    }

    /// Whether a measurement is to start now.
    pub fn begins(&self, now_us: u64) -> bool {
        self.0.borrow_mut().begins(now_us)
    }

    /// The measurement that began last has ended.
    pub fn ended(&self, now_us: u64) {
        self.0.borrow_mut().ended(now_us);
    }

    /// How long the queue has been too long; `None` if it is not.
    pub fn behind_for(&self, now_us: u64) -> Option<u64> {
        self.0.borrow_mut().behind_for(now_us)
    }

    /// Whether a request of this priority is refused now.
    pub fn sheds(&self, priority: Priority, now_us: u64) -> bool {
        self.0.borrow_mut().sheds(priority, now_us)
    }
}

/// What a client reads that is refused.
pub fn overloaded() -> Box<Fault> {
    let message = "The gateway gets more requests than it can serve.";
    let fault = Fault::new(FaultClass::Unavailable, "gateway_overloaded", message)
        .fix("Send the request again in a second, and fewer simultaneously; the operator of this gateway can add cores or gateways.");
    Box::new(fault.retry_after_ms(RETRY_AFTER_MS))
}

/// Decides from measurements alone, so that tests need no clock.
#[derive(Debug, Default)]
struct QueueDelay {
    max_us: u64,
    /// When the current measurement started.
    started_us: Option<u64>,
    measured_us: u64,
    /// Since then every measurement was too long.
    behind_since_us: Option<u64>,
    /// When work of each priority was last refused.
    refused_us: BTreeMap<Priority, u64>,
}

/// How long a queue may be too long before work of this priority is refused.
fn patience_us(priority: Priority) -> u64 {
    let level = u64::from(priority.0);
    let (mut from, mut from_us) = (0, 0);
    for (to, to_us) in PATIENCE_US {
        let to = u64::from(to);
        if level <= to {
            let (span, part) = (to - from, level - from);
            return (to_us - from_us).saturating_mul(part).checked_div(span).map_or(to_us, |us| from_us + us);
        }
        (from, from_us) = (to, to_us);
    }
    from_us
}

impl QueueDelay {
    /// Whether a measurement is to start now.
    fn begins(&mut self, now_us: u64) -> bool {
        let is_due = self.started_us.is_none() && now_us.saturating_sub(self.measured_us) >= MEASURE_EVERY_US;
        if is_due {
            self.started_us = Some(now_us);
        }
        is_due
    }

    fn ended(&mut self, now_us: u64) {
        let Some(started) = self.started_us.take() else { return };
        self.saw(now_us.saturating_sub(started), now_us);
    }

    fn saw(&mut self, delay_us: u64, now_us: u64) {
        let is_stale = now_us.saturating_sub(self.measured_us) > STALE_US.max(delay_us);
        self.measured_us = now_us;
        if delay_us <= self.max_us {
            self.behind_since_us = None;
        } else if is_stale || self.behind_since_us.is_none() {
            self.behind_since_us = Some(now_us);
        }
    }

    /// How long the queue has been too long; `None` if it is not.
    fn behind_for(&mut self, now_us: u64) -> Option<u64> {
        // A measurement that is overdue is too long, however long it will turn out to be.
        if let Some(started) = self.started_us
            && now_us.saturating_sub(started) > self.max_us
        {
            self.saw(now_us.saturating_sub(started), now_us);
        }
        let since = self.behind_since_us?;
        (now_us.saturating_sub(self.measured_us) <= STALE_US).then(|| now_us.saturating_sub(since))
    }

    /// Whether a request of this priority that arrives now is refused.
    fn sheds(&mut self, priority: Priority, now_us: u64) -> bool {
        let Some(behind_us) = self.behind_for(now_us) else { return false };
        let is_recent = |refused_us: &u64| now_us.saturating_sub(*refused_us) < RELAPSE_US;
        let has_relapsed = self.refused_us.range(priority..).any(|(_, refused_us)| is_recent(refused_us));
        let sheds = has_relapsed || behind_us >= patience_us(priority);
        if sheds {
            self.refused_us.insert(priority, now_us);
        }
        sheds
    }
}

#[cfg(test)]
mod tests {
    use domain::QosClass;

    use super::*;

    const STANDARD: Priority = Priority::STANDARD;

    const MAX_US: u64 = 50_000;

    fn queue() -> QueueDelay {
        QueueDelay { max_us: MAX_US, ..QueueDelay::default() }
    }

    /// One measurement from `from_us` on that takes `delay_us`; the time at its end.
    fn measure(queue: &mut QueueDelay, from_us: u64, delay_us: u64) -> u64 {
        assert!(queue.begins(from_us), "none is under way at {from_us}");
        queue.ended(from_us + delay_us);
        from_us + delay_us
    }

    /// Measurements of one length, one right after another, for this long.
    fn measure_for(queue: &mut QueueDelay, from_us: u64, delay_us: u64, for_us: u64) -> u64 {
        let mut now = from_us;
        while now < from_us + for_us {
            now = measure(queue, now + MEASURE_EVERY_US, delay_us);
        }
        now
    }

    #[test]
    fn a_queue_that_stays_too_long_is_shed_until_it_is_short() {
        let mut queue = queue();
        let now = measure_for(&mut queue, 10_000_000, 60_000, 900_000);
        assert!(!queue.sheds(STANDARD, now), "a burst is queued");
        let now = measure_for(&mut queue, now, 60_000, 200_000);
        assert!(queue.sheds(STANDARD, now));
        let now = measure(&mut queue, now + MEASURE_EVERY_US, 40_000);
        assert!(!queue.sheds(STANDARD, now), "it has caught up");
        let now = measure(&mut queue, now + MEASURE_EVERY_US, 60_000);
        assert!(queue.sheds(STANDARD, now), "a relapse isn't a burst");
    }

    #[test]
    fn what_nobody_waits_for_is_refused_first_and_what_a_person_waits_for_last() {
        let classes = [QosClass::Batch, QosClass::Background, QosClass::Standard, QosClass::Interactive];
        let priorities = classes.map(Priority::of_class).into_iter().chain([Priority(255)]);
        let mut refused_us = BTreeMap::new();
        let mut queue = queue();
        let from = 10_000_000;
        let mut now = from;
        for _ in 0..100 {
            now = measure(&mut queue, now + MEASURE_EVERY_US, 60_000);
            for priority in priorities.clone() {
                if queue.sheds(priority, now) {
                    refused_us.entry(priority).or_insert(now - from);
                }
            }
        }
        let refused: Vec<u64> = refused_us.into_values().collect();
        let [batch, background, standard, interactive, last] = refused[..] else { panic!("{refused:?}") };
        assert!(batch <= background && background < 300_000, "{refused:?}");
        assert!((1_000_000..1_300_000).contains(&standard), "{refused:?}");
        assert!((3_000_000..3_300_000).contains(&interactive), "{refused:?}");
        assert!(last >= 5_000_000, "{refused:?}");
    }

    #[test]
    fn patience_grows_with_the_priority() {
        let all: Vec<u64> = (0..=255).map(|level| patience_us(Priority(level))).collect();
        assert!(all.is_sorted_by(|one, next| one < next), "{all:?}");
        let known = [0, 32, 64, 96, 128, 192, 255].map(|level: usize| all[level]);
        assert_eq!(known, [0, 50_000, 100_000, 550_000, 1_000_000, 3_000_000, 5_000_000]);
    }

    /// What was refused lately is refused at once, and so is everything below it.
    #[test]
    fn a_relapse_refuses_what_was_refused_and_less() {
        let mut queue = queue();
        let now = measure_for(&mut queue, 10_000_000, 60_000, 1_100_000);
        assert!(queue.sheds(STANDARD, now));
        let now = measure(&mut queue, now + MEASURE_EVERY_US, 40_000);
        let now = measure(&mut queue, now + MEASURE_EVERY_US, 60_000);
        assert!(queue.sheds(Priority(127), now) && queue.sheds(STANDARD, now));
        assert!(!queue.sheds(Priority(129), now));
    }

    #[test]
    fn without_a_bound_nothing_is_too_long() {
        let overload = Overload::default();
        assert!(!overload.is_on());
        overload.bound(Duration::from_millis(50));
        assert!(overload.is_on());
    }

    #[test]
    fn one_short_queue_between_begins_the_burst_anew() {
        let mut queue = queue();
        let now = measure_for(&mut queue, 10_000_000, 60_000, 900_000);
        let now = measure(&mut queue, now + MEASURE_EVERY_US, 1_000);
        let now = measure_for(&mut queue, now, 60_000, 900_000);
        assert!(!queue.sheds(STANDARD, now));
    }

    #[test]
    fn a_measurement_that_does_not_end_is_too_long_by_itself() {
        let mut queue = queue();
        assert!(queue.begins(10_000_000));
        assert!(!queue.begins(10_100_000), "it is under way");
        for late in 1..=10 {
            assert!(!queue.sheds(STANDARD, 10_000_000 + late * 100_000), "{late}");
        }
        assert!(queue.sheds(STANDARD, 11_100_000));
    }

    /// A single long turn, for a large body, is not an overload; nor is an old queue.
    #[test]
    fn what_was_measured_long_ago_says_nothing() {
        let mut queue = queue();
        let now = measure(&mut queue, 10_000_000, 3_000_000);
        assert!(!queue.sheds(STANDARD, now));
        let now = measure_for(&mut queue, now, 60_000, 1_100_000);
        assert!(queue.sheds(STANDARD, now));
        assert!(!queue.sheds(STANDARD, now + STALE_US + 1), "nothing arrived since");
        let now = measure(&mut queue, now + 60_000_000, 60_000);
        assert!(!queue.sheds(STANDARD, now), "another burst, a minute later");
    }
}
