//! Gives serving priority over background work (training).

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Taken while there are sequences to run. Background work calls `wait` before each piece of its work.
#[derive(Debug, Default)]
pub(crate) struct ServingGate {
    is_taken: Mutex<bool>,
    changed: Condvar,
}

impl ServingGate {
    fn taken(&self) -> MutexGuard<'_, bool> {
        self.is_taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets whether there are sequences to run.
    pub(super) fn set(&self, is_taken: bool) {
        *self.taken() = is_taken;
        self.changed.notify_all();
    }

    /// Makes waiting threads check again whether they were cancelled.
    pub(crate) fn wake(&self) {
        // Taking the lock ensures that a thread which has just checked is already waiting.
        drop(self.taken());
        self.changed.notify_all();
    }

    /// Blocks until no sequences run. Returns `false` as soon as it is cancelled.
    pub(crate) fn wait(&self, is_called_off: impl Fn() -> bool) -> bool {
        let mut taken = self.taken();
        loop {
            if is_called_off() {
                return false;
            }
            if !*taken {
                return true;
            }
            taken = self.changed.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::mpsc::channel;

    #[test]
    fn what_has_time_waits_and_is_called_off_at_once() {
        let way = Arc::new(ServingGate::default());
        assert!(way.wait(|| false), "nothing is answered");
        way.set(true);
        let (is_off, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (said, saying) = channel();
        let waits = std::thread::spawn({
            let (way, is_off, asked) = (Arc::clone(&way), Arc::clone(&is_off), Arc::clone(&asked));
            move || {
                let goes_on = || {
                    way.wait(|| {
                        asked.fetch_add(1, Ordering::SeqCst);
                        said.send(()).unwrap();
                        is_off.load(Ordering::SeqCst)
                    })
                };
                (goes_on(), goes_on())
            }
        });
        saying.recv().unwrap();
        way.wake();
        saying.recv().unwrap();
        assert!(asked.load(Ordering::SeqCst) >= 2, "it was woken, and waits on");
        is_off.store(true, Ordering::SeqCst);
        way.wake();
        assert_eq!(waits.join().unwrap(), (false, false));
        way.set(false);
        assert!(way.wait(|| false));
    }
}
