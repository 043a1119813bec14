//! What a connection of a client may send, hold and wait for, beside the limits in `domain::limits`.

use std::time::Duration;

/// Headers of one HTTP/1 request. Clients send a few dozen; each costs a lookup.
pub(crate) const HEADERS_MAX: usize = 100;
/// The read buffer of an HTTP/1 connection while it receives a large body.
pub(crate) const READ_BYTES_MAX: usize = 64 * 1024;
/// The most that is buffered of requests that a client sends before the answer to its last one.
pub(crate) const PIPELINED_BYTES_MAX: usize = 64 * 1024;
/// A body of more is counted among those that the process holds, and again for each of these bytes.
pub(crate) const SMALL_BODY_BYTES: usize = 512 * 1024;
pub(crate) const BODY_COUNTED_EVERY_BYTES: usize = 1024 * 1024;
/// How much of them a node holds.
pub const NODE_BODY_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// When a client whose body found no room may try again.
pub(crate) const BODIES_RETRY_MS: u64 = 1_000;

/// How much of a planned request's path is repeated in an error.
pub(crate) const PLANNED_PATH_CHARS_MAX: usize = 200;

/// Concurrent streams of one HTTP/2 connection; more than the hundred that clients commonly open.
pub(crate) const H2_STREAMS_MAX: u32 = 256;
/// Streams that a client resets before they are accepted; after more, the connection gets a GOAWAY (rapid
/// reset, CVE-2023-44487).
pub(crate) const H2_RESETS_PENDING_MAX: usize = 20;
/// The same for streams that we reset because of a client's errors.
pub(crate) const H2_RESETS_LOCAL_MAX: usize = 100;
/// Size of one HTTP/2 frame from a client: the protocol's default.
pub(crate) const H2_FRAME_BYTES_MAX: u32 = 16 * 1024;

/// How long a connection may be silent between two requests before it is closed.
pub(crate) const CLIENT_IDLE_TIME_MAX: Duration = Duration::from_secs(90);
/// How long the bytes that a client still sends after a close are drained: a reset would make its kernel
/// discard our response.
pub(crate) const LINGER_TIME_MAX: Duration = Duration::from_secs(2);
/// Requests for a core's counters that may wait for it.
pub(crate) const COUNTER_QUERIES_MAX: usize = 16;
/// How long such a request waits; a core that is busy for longer is missing on the page of metrics.
pub(crate) const COUNTER_TIME_MAX: Duration = Duration::from_millis(500);
/// Connections of other cores that may wait for a core; further ones stay where they are.
pub(crate) const MOVED_WAITING_MAX: usize = 64;
/// Workspaces whose arrivals are counted while a serving thread is behind.
pub(crate) const SHARES_COUNTED_MAX: usize = 4_096;
/// After so many panics over one request, it is refused for so long after the last one; panics that are further apart don't
/// count together.
pub(crate) const PANICS_MAX: u32 = 3;
pub(crate) const QUARANTINE_US_MAX: u64 = 10 * 60 * 1_000_000;
/// Requests that panicked and are remembered.
pub(crate) const SUSPECTS_MAX: usize = 64;
/// How often a node looks whether the gateway behind its tunnel is there, and how long that may be silent then.
pub(crate) const TUNNEL_PING_EVERY: Duration = Duration::from_secs(5);
pub(crate) const TUNNEL_PING_WAIT: Duration = Duration::from_secs(3);
