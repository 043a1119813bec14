//! Bounds of what people say of their data.

use std::time::Duration;

/// How long a data export can be downloaded.
pub(crate) const DATA_EXPORT_KEPT: Duration = Duration::from_secs(7 * 24 * 3_600);
/// The size from which on a file of an archive is followed by another, since each is made in memory.
pub(crate) const EXPORT_FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of an archive that are sealed and downloaded as one.
pub(crate) const EXPORT_PART_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of an archive.
pub(crate) const EXPORT_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;
/// Sessions that one legal hold names.
pub(crate) const HELD_SESSIONS_MAX: usize = 1_000;
/// Characters of the reason of a legal hold.
pub(crate) const REASON_CHARS_MAX: usize = 500;
/// Runs of flows that an export reads at once.
pub(crate) const FLOW_RUNS_AT_ONCE_MAX: u32 = 20;
