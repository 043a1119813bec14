//! How long answers take on this node, measured from those that it completed, and what that makes a new request wait.

use domain::runtime::RuntimeLoad;

/// The weight of the newest answer: the last ten or so count.
const NEWEST: f64 = 0.2;

/// A mean in which older values fade.
#[derive(Debug, Clone, Copy, Default)]
struct Mean(Option<f64>);

/// Means over the answers of the runtime; empty until the first one is complete.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rates {
    /// Computing time for each token of an answer, its share of the prompt included.
    token_us: Mean,
    /// Tokens of an answer.
    tokens: Mean,
}

#[expect(clippy::cast_precision_loss, reason = "times and counts far below 2^52, for an estimate")]
const fn float(number: u64) -> f64 {
    number as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast saturates, and the estimate is never negative"
)]
const fn whole(number: f64) -> u64 {
    number as u64
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.0 = Some(self.0.map_or(value, |mean| mean + NEWEST * (value - mean)));
    }
}

impl Rates {
    /// A complete answer, and how long it was computed: the time in the queue does not count.
    pub(crate) fn add(&mut self, computed_us: u64, tokens: u64) {
        if tokens > 0 {
            self.tokens.add(float(tokens));
            self.token_us.add(float(computed_us) / float(tokens));
        }
    }

    /// How long an answer of at most so many tokens is computed; `None` before anything was measured.
    pub(crate) fn answer_us(&self, tokens_max: Option<u64>) -> Option<u64> {
        let (tokens, token_us) = (self.tokens.0?, self.token_us.0?);
        let tokens = tokens_max.map_or(tokens, |most| tokens.min(float(most)));
        Some(whole(tokens * token_us))
    }

    /// How long a new request waits in the queue: the running sequences end at the measured rate, one after the other,
    /// and those that wait already go first. `None` if there is a queue and nothing was measured.
    pub(crate) fn wait_us(&self, load: RuntimeLoad) -> Option<u64> {
        if load.waiting == 0 {
            return Some(0);
        }
        let answer_us = self.answer_us(None)?;
        Some(answer_us.saturating_mul(load.waiting.saturating_add(1)) / load.running.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(running: u64, waiting: u64) -> RuntimeLoad {
        RuntimeLoad { running, waiting, ..RuntimeLoad::default() }
    }

    #[test]
    fn the_wait_follows_the_queue_and_the_rate() {
        let mut rates = Rates::default();
        assert_eq!((rates.answer_us(None), rates.wait_us(load(4, 2))), (None, None));
        assert_eq!(rates.wait_us(load(4, 0)), Some(0), "nobody waits, whatever was measured");
        rates.add(100_000, 100);
        assert_eq!((rates.answer_us(None), rates.answer_us(Some(10))), (Some(100_000), Some(10_000)));
        assert_eq!(rates.answer_us(Some(5_000)), Some(100_000), "answers end earlier than they may");
        assert_eq!(rates.wait_us(load(4, 3)), Some(100_000));
        assert_eq!(rates.wait_us(load(4, 7)), Some(200_000));
        assert_eq!(rates.wait_us(load(0, 1)), Some(200_000));
    }

    #[test]
    fn newer_answers_count_more_and_one_without_tokens_has_no_rate() {
        let mut rates = Rates::default();
        rates.add(1_000, 1);
        rates.add(2_000, 1);
        assert_eq!(rates.answer_us(None), Some(1_200));
        rates.add(9_000, 0);
        assert_eq!(rates.answer_us(None), Some(1_200));
    }
}
