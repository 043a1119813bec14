//! How late each runtime wakes who asked to be woken: where that is long, something computes on its thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::{DELAY_EVERY, DELAYS_NOTED};

/// One runtime's delay, in microseconds.
#[derive(Debug, Default)]
struct Delay {
    /// When its task is to be woken next.
    due_us: AtomicU64,
    /// The longest of the current span of time, and of the one before.
    longest_us: [AtomicU64; 2],
}

type Watched = Vec<(&'static str, Arc<Delay>)>;

static WATCHED: Mutex<Watched> = Mutex::new(Vec::new());
static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Watches the runtime that polls it, until it is dropped. Runtimes that do the same have one name.
pub async fn watch_delay(runtime: &'static str) {
    let registered = Registered::new(runtime);
    let Delay { due_us, longest_us: [longest, before] } = &*registered.0;
    loop {
        for _ in 0..DELAYS_NOTED {
            due_us.store(now_us() + micros(DELAY_EVERY), Ordering::Relaxed);
            tokio::time::sleep(DELAY_EVERY).await;
            longest.fetch_max(registered.0.late_us(), Ordering::Relaxed);
        }
        before.store(longest.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// The longest delay of each runtime in the last minute or two, with the one that goes on now.
pub fn delays() -> Vec<(&'static str, Duration)> {
    let watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut all: Vec<(&'static str, Duration)> = Vec::new();
    for (name, delay) in &*watched {
        let noted = delay.longest_us.iter().map(|longest| longest.load(Ordering::Relaxed)).max();
        let longest = Duration::from_micros(delay.late_us().max(noted.unwrap_or_default()));
        match all.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = longest.max(*known),
            None => all.push((name, longest)),
        }
    }
    all
}

struct Registered(Arc<Delay>);

impl Registered {
    fn new(runtime: &'static str) -> Self {
        let delay = Arc::<Delay>::default();
        delay.due_us.store(u64::MAX, Ordering::Relaxed);
        WATCHED.lock().unwrap_or_else(PoisonError::into_inner).push((runtime, Arc::clone(&delay)));
        Self(delay)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|(_, delay)| !Arc::ptr_eq(delay, &self.0));
    }
}

impl Delay {
    fn late_us(&self) -> u64 {
        now_us().saturating_sub(self.due_us.load(Ordering::Relaxed))
    }
}

fn now_us() -> u64 {
    micros(STARTED.elapsed())
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn delay_of(runtime: &str) -> Option<Duration> {
        delays().into_iter().find(|(name, _)| *name == runtime).map(|(_, delay)| delay)
    }

    /// A thread that computes is seen while it does, and for a while afterwards; the other runtime goes on.
    #[test]
    fn a_runtime_that_is_held_up_is_late_and_the_other_is_not() {
        let (held, free) = (crate::runtime("held").unwrap(), crate::runtime("free").unwrap());
        let watching = (held.spawn(watch_delay("held")), free.spawn(watch_delay("free")));
        let until = |seen: &dyn Fn() -> bool| {
            free.block_on(async {
                while !seen() {
                    tokio::task::yield_now().await;
                }
            });
        };
        until(&|| delay_of("held").is_some() && delay_of("free").is_some());
        let (end, wait) = mpsc::channel::<()>();
        let holding = held.spawn(async move { wait.recv().unwrap() });
        let long = Duration::from_millis(500);
        until(&|| delay_of("held").unwrap() > long);
        end.send(()).unwrap();
        held.block_on(holding).unwrap();
        assert!(delay_of("held").unwrap() > long);
        watching.0.abort();
        assert!(held.block_on(watching.0).unwrap_err().is_cancelled());
        assert_eq!(delay_of("held"), None);
    }
}
