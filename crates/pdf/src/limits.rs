//! Bounds of what is read of a PDF.

use std::time::Duration;

/// How long the text of a PDF may take to be extracted, with the wait for its turn.
pub(crate) const TIME_MAX: Duration = Duration::from_secs(10);
/// Memory of the process that reads one.
pub(crate) const MEMORY_MAX: u64 = 256 * 1024 * 1024;
/// How many are read at once by all cores.
pub(crate) const READ_AT_ONCE_MAX: usize = 2;
/// Pages that are read, bytes that one packed stream of it is unpacked to, values in all its objects, fonts of a page, and bytes
/// of its text.
pub(crate) const PAGES_MAX: usize = 5_000;
pub(crate) const STREAM_BYTES_MAX: usize = 2 * 1024 * 1024;
pub(crate) const OBJECTS_MAX: usize = 1_000_000;
pub(crate) const FONTS_OF_PAGE_MAX: usize = 64;
pub(crate) const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;
