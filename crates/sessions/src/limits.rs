//! How much is stored of what providers keep, and how long a write pauses, beside the limits in
//! `domain::limits`.

use std::time::Duration;

/// Size of a stored summary for lists; an object with a longer one is not listed.
pub(crate) const LIST_ENTRY_BYTES_MAX: usize = 16 * 1024;
/// The longest pause between two tries to write turns or responses to the store; it bounds how late a healed
/// store gets them.
pub(crate) const WRITE_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Sessions that a process remembers to be there.
pub(crate) const SESSIONS_REMEMBERED_MAX: usize = 50_000;
/// Pieces, of 64 KiB, of the files of requests that are kept for one project: 2 GiB.
pub(crate) const FILE_PIECES_KEPT_MAX: u64 = 32_768;
/// How long a request waits for what is done with a session.
pub(crate) const SESSION_TIME_MAX: Duration = Duration::from_secs(10);
/// Events that are read at a time.
pub(crate) const EVENTS_READ_ROWS: u32 = 50;
/// A word of a dialect, such as a role or the name of a model, in the shape of a request; what is longer is a text.
pub(crate) const WORD_BYTES_MAX: usize = 64;
/// Writes of tasks that share a transaction, and those that may wait for one.
pub(crate) const TASK_WRITES_AT_ONCE: usize = 128;
pub(crate) const TASK_WRITES_WAITING_MAX: usize = 4_096;
/// How long a task waits to be written.
pub(crate) const TASK_KEEP_TIME_MAX: Duration = Duration::from_secs(10);
/// How long finished tasks gather on their way to the database, unless somebody waits to read.
pub(crate) const SPOOL_EVERY: Duration = Duration::from_millis(50);
/// Finished tasks of one file and one transaction.
pub(crate) const SPOOLED_AT_ONCE: usize = 512;
/// Finished tasks that may wait for the database, and their bytes; the next ones wait for it before their clients are answered.
pub(crate) const SPOOLED_TASKS_MAX: usize = 4_096;
pub(crate) const SPOOLED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A longer file was not written by this program.
pub(crate) const SPOOL_FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How long a reader waits for what ended before; while the store takes no writes, nobody waits.
pub(crate) const SPOOL_WAIT_MAX: Duration = Duration::from_secs(1);
/// When a task is looked for again that another gateway may still have to store.
pub(crate) const FIND_AGAIN_AFTER: [Duration; 2] = [Duration::from_millis(150), Duration::from_millis(600)];
/// How old the id of a task may be that another gateway may still have to store.
pub(crate) const SPOOLED_ELSEWHERE_MAX: Duration = Duration::from_secs(3_600);
