//! Progress events of a download.

use std::cell::Cell;
use std::time::Duration;

/// A progress event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The download starts: the number of files, the total size, and the bytes that are on disk already.
    Started { revision: String, files: usize, bytes: u64, bytes_here: u64 },
    /// Bytes on disk now; sent for every piece.
    Moved { bytes_here: u64, bytes: u64 },
    /// A file is complete and verified.
    Checked { file: String, bytes: u64 },
    /// A try failed and another will follow.
    Waiting { why: String, wait: Duration },
}

/// Counts the bytes on disk over all concurrent downloads.
pub(crate) struct Meter<'a> {
    bytes: u64,
    bytes_here: Cell<u64>,
    notify: &'a dyn Fn(&Event),
}

impl<'a> Meter<'a> {
    pub(crate) fn new(bytes: u64, bytes_here: u64, notify: &'a dyn Fn(&Event)) -> Self {
        Self { bytes, bytes_here: Cell::new(bytes_here), notify }
    }

    pub(crate) fn add_bytes(&self, bytes: u64) {
        self.bytes_here.set(self.bytes_here.get().saturating_add(bytes));
        self.notify(&Event::Moved { bytes_here: self.bytes_here.get(), bytes: self.bytes });
    }

    /// Subtracts bytes that were counted but are not on disk after all.
    pub(crate) fn remove_bytes(&self, bytes: u64) {
        self.bytes_here.set(self.bytes_here.get().saturating_sub(bytes));
    }

    pub(crate) fn notify(&self, event: &Event) {
        (self.notify)(event);
    }
}
