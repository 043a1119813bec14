//! What this process does in the background. Its answers, by which a cancellation that reaches any of its cores finds the one
//! that makes the answer. Other requests don't come by here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::ResponseId;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// What one answer and those who cancel it wait for.
#[derive(Debug, Default)]
struct Signals {
    cancelled: Notify,
    ended: Notify,
}

/// How long batches rest after a core was behind: it serves what clients wait for first.
const PRESSED_US: u64 = 2_000_000;

/// All answers that the process makes in the background, and whether it has time for batches.
#[derive(Debug, Default)]
pub struct Background {
    answers: Mutex<HashMap<ResponseId, Arc<Signals>>>,
    /// When a core was behind last, on the monotonic clock; zero: never.
    pressed_us: AtomicU64,
}

/// One answer, until it is dropped: once it is stored.
#[derive(Debug)]
#[must_use = "the answer stops when it is dropped"]
pub struct Running {
    all: Arc<Background>,
    id: ResponseId,
    signals: Arc<Signals>,
}

/// An answer that is to end.
#[derive(Debug)]
pub struct Ending(Arc<Signals>);

impl Background {
    pub fn begin(self: &Arc<Self>, id: ResponseId) -> Running {
        let signals = Arc::default();
        self.running().insert(id, Arc::clone(&signals));
        Running { all: Arc::clone(self), id, signals }
    }

    /// Tells an answer to end; `None` where another process makes it, or where it has ended.
    pub fn cancel(&self, id: ResponseId) -> Option<Ending> {
        let signals = self.running().get(&id).map(Arc::clone)?;
        signals.cancelled.notify_one();
        Some(Ending(signals))
    }

    /// A core is behind now.
    pub fn press(&self, now_us: u64) {
        self.pressed_us.fetch_max(now_us, Ordering::Relaxed);
    }

    /// Whether a core was behind a moment ago.
    pub fn is_pressed(&self, now_us: u64) -> bool {
        let pressed_us = self.pressed_us.load(Ordering::Relaxed);
        pressed_us > 0 && now_us.saturating_sub(pressed_us) < PRESSED_US
    }

    fn running(&self) -> MutexGuard<'_, HashMap<ResponseId, Arc<Signals>>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// Resolves once it is to end, also if that was so before.
    pub async fn cancelled(&self) {
        self.signals.cancelled.notified().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.all.running().remove(&self.id);
        self.signals.ended.notify_waiters();
    }
}

impl Ending {
    /// Resolves when the answer ends after this call.
    pub fn ended(&self) -> Notified<'_> {
        self.0.ended.notified()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_cancellation_reaches_its_answer_alone_and_learns_of_its_end() {
        let all = Arc::new(Background::default());
        let [one, other] = [1, 2].map(|number| ResponseId::new(number, [1; 10]));
        let (running, beside) = (all.begin(one), all.begin(other));
        assert!(running.cancelled().now_or_never().is_none());
        let ending = all.cancel(one).unwrap();
        let ended = ending.ended();
        assert!(running.cancelled().now_or_never().is_some(), "it came before");
        assert!(beside.cancelled().now_or_never().is_none());
        assert!(ending.ended().now_or_never().is_none());
        drop(running);
        assert!(ended.now_or_never().is_some());
        assert!(all.cancel(one).is_none(), "it has ended");
        assert!(all.cancel(other).is_some());
    }
}
