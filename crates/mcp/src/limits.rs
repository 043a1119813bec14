//! Bounds of sessions, of messages, and of what a session remembers.

use std::time::Duration;

/// One message of a client; the input of a run is at most 16 MiB.
pub const MESSAGE_BYTES_MAX: usize = 20 * 1024 * 1024;
/// Messages of one batch, which the revision 2025-03-26 has.
pub(crate) const BATCH_MESSAGES_MAX: usize = 32;
/// An id of a request, and a progress token.
pub(crate) const ID_BYTES_MAX: usize = 256;

/// Sessions of one key. A further one ends the one that was used the longest time ago.
pub(crate) const SESSIONS_OF_KEY_MAX: usize = 64;
/// Sessions of one workspace, so that none takes the room of others.
pub(crate) const SESSIONS_OF_WORKSPACE_MAX: usize = 2_000;
/// Sessions of one process.
pub(crate) const SESSIONS_MAX: usize = 20_000;
/// How long a session may be unused.
pub(crate) const SESSION_IDLE_TIME_MAX: Duration = Duration::from_secs(3_600);
/// How long a session may be used.
pub(crate) const SESSION_TIME_MAX: Duration = Duration::from_secs(86_400);

/// Streams of one session that can be resumed, or whose task can be cancelled by the id of its request.
pub(crate) const STREAMS_KEPT_MAX: usize = 64;
/// Calls of one session that are in progress without a task.
pub(crate) const CALLS_OPEN_MAX: usize = 32;

/// Items of one page of a list.
pub(crate) const PAGE_ITEMS: usize = 100;
/// Tasks on one page of resources.
pub(crate) const PAGE_TASKS: usize = 50;
/// Values that a completion offers: the protocol's own bound.
pub(crate) const COMPLETIONS_MAX: usize = 100;
/// A longer data URI is left out of the JSON; its content is sent as a separate part.
pub(crate) const INLINE_URI_BYTES_MAX: usize = 1024;
/// The part of a client's text that an error repeats.
pub(crate) const EXCERPT_CHARS_MAX: usize = 100;
