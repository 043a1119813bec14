//! What is told while a model comes.

use std::cell::Cell;
use std::time::Duration;

/// One thing to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// What is to come: files and bytes in all, and the bytes that are here already.
    Begun { revision: String, files: usize, bytes: u64, bytes_here: u64 },
    /// Bytes that are here now; told at every piece.
    Moved { bytes_here: u64, bytes: u64 },
    /// A file is here, and is what it should be.
    Checked { file: String, bytes: u64 },
    /// A try failed, and another follows.
    Waiting { why: String, wait: Duration },
}

/// Counts what is here, for all files that are on their way.
pub(crate) struct Meter<'a> {
    bytes: u64,
    bytes_here: Cell<u64>,
    tell: &'a dyn Fn(&Event),
}

impl<'a> Meter<'a> {
    pub(crate) fn new(bytes: u64, bytes_here: u64, tell: &'a dyn Fn(&Event)) -> Self {
        Self { bytes, bytes_here: Cell::new(bytes_here), tell }
    }

    pub(crate) fn moved(&self, bytes: u64) {
        self.bytes_here.set(self.bytes_here.get().saturating_add(bytes));
        self.tell(&Event::Moved { bytes_here: self.bytes_here.get(), bytes: self.bytes });
    }

    /// What was counted as here is not.
    pub(crate) fn lost(&self, bytes: u64) {
        self.bytes_here.set(self.bytes_here.get().saturating_sub(bytes));
    }

    pub(crate) fn tell(&self, event: &Event) {
        (self.tell)(event);
    }
}
