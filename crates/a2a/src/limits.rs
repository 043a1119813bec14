//! Bounds of messages, of lists, and of how long a request waits.

use std::time::Duration;

/// One request; the input of a turn is at most 16 MiB.
pub const MESSAGE_BYTES_MAX: usize = 20 * 1024 * 1024;
/// An id of a request, and one that a client gives to a message.
pub(crate) const ID_BYTES_MAX: usize = 256;
pub(crate) const PARTS_MAX: usize = 64;
/// Metadata of a message, which its turn keeps.
pub(crate) const METADATA_BYTES_MAX: usize = 16 * 1024;
/// Media types that a client accepts.
pub(crate) const OUTPUT_MODES_MAX: usize = 32;
/// Earlier turns of a context that are compared with a message, to find one that was sent twice.
pub(crate) const REPEATS_SEARCHED_MAX: usize = 16;

/// Tasks of a page: the protocol's own default and bound.
pub(crate) const PAGE_TASKS: usize = 50;
pub(crate) const PAGE_TASKS_MAX: usize = 100;
/// Turns of an agent that one list reads, and the versions of the agent, newest first.
pub(crate) const TURNS_LISTED_MAX: usize = 1_000;
pub(crate) const VERSIONS_LISTED_MAX: usize = 32;
/// Tasks that the store reads at once.
pub(crate) const STORED_PAGE_TASKS: usize = 100;
/// Messages of a task's history that are sent at most.
pub(crate) const HISTORY_MESSAGES_MAX: usize = 200;

/// How often a turn is read while somebody follows it.
pub(crate) const POLL_EVERY: Duration = Duration::from_millis(300);
/// How long a request waits for a turn, and a stream follows one: more than a turn may take without people.
pub(crate) const WAIT_TIME_MAX: Duration = Duration::from_secs(3_900);
/// How long a cancelled turn that runs may take to end.
pub(crate) const CANCEL_TIME_MAX: Duration = Duration::from_secs(10);
/// Less than half of what clients and proxies wait for on a silent stream.
pub(crate) const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);
/// The part of a client's text that an error repeats.
pub(crate) const EXCERPT_CHARS_MAX: usize = 100;
