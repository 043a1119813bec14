//! How well providers and nodes served: how often they answered, and how fast their streams were.

use domain::{AttemptRecord, FaultClass, Later, MeterRecord, Outcome};

/// Sums of the requests that showed whether what was asked was up. Rows of earlier versions have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServiceSums {
    /// Requests that a provider or node answered completely.
    pub answered: u64,
    /// Requests that failed because it was down, overloaded, too slow, or broke off.
    pub unavailable: u64,
    /// Attempts that failed so, and whose requests another attempt took over. Each is summed where it was made.
    pub taken_over: u64,
    /// Of streams: the tokens after the first byte, and the time they took.
    pub streamed_tokens: u64,
    pub streamed_us: u64,
}

/// The numbers of the sums among the later units of a row, beside those of reuse.
const ANSWERED: u8 = 96;
const UNAVAILABLE: u8 = 97;
const STREAMED_TOKENS: u8 = 98;
const STREAMED_US: u8 = 99;
const TAKEN_OVER: u8 = 100;

/// A stream that takes less was sent in one piece, and its rate says nothing.
const STREAMED_US_MIN: u64 = 1_000;

impl ServiceSums {
    pub(crate) fn of<Text>(record: &MeterRecord<Text>) -> Self {
        // Nobody was asked, or the gateway itself answered.
        if record.attempts.is_empty() || record.caching.is_some_and(|caching| caching.served.is_some()) {
            return Self::default();
        }
        if record.outcome != Outcome::Completed {
            return Self { unavailable: u64::from(record.fault.is_some_and(is_outage)), ..Self::default() };
        }
        let (tokens, us) = streamed(record).unwrap_or_default();
        Self { answered: 1, streamed_tokens: tokens, streamed_us: us, ..Self::default() }
    }

    pub(crate) fn plus(&mut self, other: &Self) {
        let add = |to: &mut u64, more: u64| *to = to.saturating_add(more);
        add(&mut self.answered, other.answered);
        add(&mut self.unavailable, other.unavailable);
        add(&mut self.taken_over, other.taken_over);
        add(&mut self.streamed_tokens, other.streamed_tokens);
        add(&mut self.streamed_us, other.streamed_us);
    }

    /// The answered share of the requests that showed whether what was asked was up: 0 to 1.
    pub fn uptime(&self) -> Option<f64> {
        self.answered_of(self.unavailable)
    }

    /// The same of one provider, node or account, whose failures count although others took the requests over.
    pub fn uptime_by_attempt(&self) -> Option<f64> {
        self.answered_of(self.unavailable.saturating_add(self.taken_over))
    }

    fn answered_of(&self, failed: u64) -> Option<f64> {
        let counted = self.answered.saturating_add(failed);
        (counted > 0).then(|| self.answered as f64 / counted as f64)
    }

    /// The output tokens of streams per second, from the first byte on.
    pub fn tokens_per_second(&self) -> Option<f64> {
        (self.streamed_us > 0).then(|| self.streamed_tokens as f64 * 1e6 / self.streamed_us as f64)
    }

    /// The sums that are not zero, by number.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (u8, u64)> {
        let sums = [
            (ANSWERED, self.answered),
            (UNAVAILABLE, self.unavailable),
            (TAKEN_OVER, self.taken_over),
            (STREAMED_TOKENS, self.streamed_tokens),
            (STREAMED_US, self.streamed_us),
        ];
        sums.into_iter().filter(|(_, sum)| *sum > 0)
    }

    /// The inverse of `numbered`.
    pub(crate) fn of_numbered(later: &Later) -> Self {
        let find = |number: u8| later.iter().find(|(of, _)| *of == number).map_or(0, |(_, sum)| *sum);
        Self {
            answered: find(ANSWERED),
            unavailable: find(UNAVAILABLE),
            taken_over: find(TAKEN_OVER),
            streamed_tokens: find(STREAMED_TOKENS),
            streamed_us: find(STREAMED_US),
        }
    }
}

/// The attempts that found their provider or node down, and whose request another one took over.
pub(crate) fn taken_over<Text>(record: &MeterRecord<Text>) -> impl Iterator<Item = &AttemptRecord<Text>> {
    // The last one of a request that failed is what the request failed of.
    let end = record.attempts.len().saturating_sub(usize::from(record.outcome != Outcome::Completed));
    record.attempts.iter().take(end).filter(|attempt| attempt.fault.is_some_and(is_outage))
}

pub(crate) fn latency_us<Text>(record: &MeterRecord<Text>) -> u64 {
    let by_wall = record.finished_unix_ms.saturating_sub(record.started_unix_ms).saturating_mul(1_000);
    if record.timeline.settled_us > 0 { record.timeline.settled_us } else { by_wall }
}

pub(crate) fn first_byte_us<Text>(record: &MeterRecord<Text>) -> Option<u64> {
    Some(record.timeline.first_byte_us).filter(|us| *us > 0)
}

/// Faults that say the provider or node was not up: neither the caller's limits and mistakes, nor ours.
const fn is_outage(class: FaultClass) -> bool {
    matches!(
        class,
        FaultClass::Overloaded | FaultClass::Timeout | FaultClass::Upstream | FaultClass::StreamBroken
    )
}

/// The tokens of a stream and how long they took after the first byte.
fn streamed<Text>(record: &MeterRecord<Text>) -> Option<(u64, u64)> {
    let us = latency_us(record).checked_sub(first_byte_us(record)?)?;
    let tokens = record.usage.completion_total();
    (record.stream && us >= STREAMED_US_MIN && tokens > 1).then_some((tokens, us))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_read_back() {
        let sums = ServiceSums {
            answered: 9,
            unavailable: 1,
            taken_over: 2,
            streamed_tokens: 300,
            streamed_us: 4_000_000,
        };
        assert_eq!(ServiceSums::of_numbered(&sums.numbered().collect()), sums);
        assert_eq!(ServiceSums::default().numbered().count(), 0);
    }

    #[test]
    fn rates_are_of_what_was_counted() {
        let mut sums = ServiceSums {
            answered: 3,
            streamed_tokens: 50,
            streamed_us: 1_000_000,
            ..ServiceSums::default()
        };
        sums.plus(&ServiceSums {
            unavailable: 1,
            taken_over: 2,
            streamed_tokens: 250,
            streamed_us: 2_000_000,
            ..ServiceSums::default()
        });
        assert_eq!((sums.uptime(), sums.tokens_per_second()), (Some(0.75), Some(100.0)));
        assert_eq!(sums.uptime_by_attempt(), Some(0.5));
        assert_eq!(
            (ServiceSums::default().uptime(), ServiceSums::default().tokens_per_second()),
            (None, None)
        );
    }
}
