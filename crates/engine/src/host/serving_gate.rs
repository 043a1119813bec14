//! Gives serving priority over background work (training).

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Taken while there are sequences to run. Background work calls `wait` before each piece of its work.
#[derive(Debug, Default)]
pub(crate) struct ServingGate {
    is_taken: Mutex<bool>,
    changed: Condvar,
}

impl ServingGate {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets whether there are sequences to run.
    pub(super) fn set(&self, is_taken: bool) {
        *self.lock() = is_taken;
        self.changed.notify_all();
    }

    /// Makes waiting threads check again whether they were cancelled.
    pub(crate) fn wake(&self) {
        // Taking the lock ensures that a thread which has just checked is already waiting.
        drop(self.lock());
        self.changed.notify_all();
    }

    /// Blocks until no sequences run. Returns `false` as soon as it is cancelled.
    pub(crate) fn wait(&self, is_called_off: impl Fn() -> bool) -> bool {
        let mut taken = self.lock();
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
        let gate = Arc::new(ServingGate::default());
        assert!(gate.wait(|| false), "nothing is answered");
        gate.set(true);
        let (is_off, checks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (sender, receiver) = channel();
        let waits = std::thread::spawn({
            let (gate, is_off, checks) = (Arc::clone(&gate), Arc::clone(&is_off), Arc::clone(&checks));
            move || {
                let goes_on = || {
                    gate.wait(|| {
                        checks.fetch_add(1, Ordering::SeqCst);
                        sender.send(()).unwrap();
                        is_off.load(Ordering::SeqCst)
                    })
                };
                (goes_on(), goes_on())
            }
        });
        receiver.recv().unwrap();
        gate.wake();
        receiver.recv().unwrap();
        assert!(checks.load(Ordering::SeqCst) >= 2, "it was woken, and waits on");
        is_off.store(true, Ordering::SeqCst);
        gate.wake();
        assert_eq!(waits.join().unwrap(), (false, false));
        gate.set(false);
        assert!(gate.wait(|| false));
    }
}
