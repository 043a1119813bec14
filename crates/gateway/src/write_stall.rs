//! How long a client that reads its response slowly is waited for.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::Times;

/// The time that a client may let bytes wait. It is spent while the client takes none, and earned by what it
/// takes: a client below the minimum rate runs out of it, however often it takes a byte.
pub(crate) struct StallTimer {
    left: Duration,
    max: Duration,
    rate_bytes_s: u64,
    /// When bytes began to wait for the client.
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl StallTimer {
    pub(crate) fn new(times: Times) -> Self {
        let Times { write_stall: max, write_rate_bytes_s, .. } = times;
        Self { left: max, max, rate_bytes_s: write_rate_bytes_s.max(1), since: None, timer: None }
    }

    /// The client took this many bytes.
    pub(crate) fn took(&mut self, count: usize) {
        // A client that never let any wait costs no clock.
        if self.since.is_none() && self.left == self.max {
            return;
        }
        let waited = self.since.take().map_or(Duration::ZERO, |since| since.elapsed());
        let earned = Duration::from_micros((count as u64).saturating_mul(1_000_000) / self.rate_bytes_s);
        self.left = self.left.saturating_sub(waited).saturating_add(earned).min(self.max);
    }

    /// From now on bytes wait for the client.
    pub(crate) fn wait(&mut self) {
        self.since = Some(Instant::now());
    }

    /// Ready when bytes have waited for the client too long.
    pub(crate) fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.since.is_some() { self.poll_end(cx) } else { Poll::Pending }
    }

    /// Bytes wait for the client: ready when they have waited too long.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let end = *self.since.get_or_insert_with(Instant::now) + self.left;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        if timer.deadline() != end {
            timer.as_mut().reset(end);
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a client that takes `bytes` every `every` is waited for, up to an hour.
    async fn waited_for(bytes: usize, every: Duration) -> Duration {
        let (started, mut patience) = (Instant::now(), StallTimer::new(Times::default()));
        while started.elapsed() < Duration::from_secs(3_600) {
            let ending = std::future::poll_fn(|cx| patience.poll_end(cx));
            if tokio::time::timeout(every, ending).await.is_ok() {
                break;
            }
            patience.took(bytes);
        }
        started.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_is_cut_and_a_slow_reader_is_not() {
        let (second, stall) = (Duration::from_secs(1), Times::default().write_stall);
        for (bytes, every) in
            [(0, second * 3_600), (1, second), (1, second * 5), (100, second), (2_000, second * 10)]
        {
            let waited = waited_for(bytes, every).await;
            assert!(waited >= stall && waited < stall * 2, "{bytes} bytes every {every:?}: {waited:?}");
        }
        for (bytes, every) in [(1_100, second), (30_000, second * 25), (10 << 20, second * 29)] {
            let waited = waited_for(bytes, every).await;
            assert!(waited >= second * 3_600, "{bytes} bytes every {every:?}: {waited:?}");
        }
    }
}
