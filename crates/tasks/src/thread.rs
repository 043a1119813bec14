//! A thread that its owner holds, to wake it and to wait for its end.

use std::io;
use std::thread::JoinHandle;

/// A running thread. It ends by itself: its owner has the flag or the channel that tells it to.
#[derive(Debug)]
pub struct Thread {
    handle: JoinHandle<()>,
}

/// The thread ended by a panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panicked;

impl Thread {
    /// # Errors
    /// The operating system can't start a thread.
    pub fn spawn(name: impl Into<String>, work: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        std::thread::Builder::new().name(name.into()).spawn(work).map(|handle| Self { handle })
    }

    /// The handle to unpark it.
    pub fn thread(&self) -> &std::thread::Thread {
        self.handle.thread()
    }

    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Blocks until it has ended.
    ///
    /// # Errors
    /// It panicked.
    pub fn join(self) -> Result<(), Panicked> {
        self.handle.join().map_err(|_| Panicked)
    }
}
