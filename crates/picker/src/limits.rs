//! Bounds on what proxies and model servers may send, and times.

use std::time::Duration;

/// One gRPC message: in the mode BUFFERED a proxy sends a whole body in one.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What is held of one request's body until its end. A longer one goes where the load is least, whatever it says.
pub(crate) const BODY_BYTES_MAX: usize = 10 * 1024 * 1024;
/// What is held of all bodies and messages together.
pub(crate) const HELD_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The piece of a body that is sent back in one message.
pub(crate) const CHUNK_BYTES_MAX: usize = 62_000;
/// Messages that wait for a proxy which doesn't read.
pub(crate) const REPLIES_WAITING_MAX: usize = 16;
/// Streams of one connection: a proxy has one for each request that is being served.
pub(crate) const STREAMS_MAX: u32 = 4_096;
/// The headers of a gRPC call: its own, not those of the request that it is about.
pub(crate) const HEADER_BYTES_MAX: u32 = 16 * 1024;
pub(crate) const CONNECTIONS_MAX: usize = 256;
/// How long a proxy may send nothing of a request that is not complete.
pub(crate) const REQUEST_IDLE_TIME_MAX: Duration = Duration::from_secs(60);
pub(crate) const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// A health check is a few bytes.
pub(crate) const CHECK_BYTES_MAX: usize = 4 * 1024;
pub(crate) const CHECK_TIME_MAX: Duration = Duration::from_secs(5);

/// How long a model server has to answer with its metrics.
pub(crate) const POLL_TIME_MAX: Duration = Duration::from_secs(2);
/// The most of a page of metrics that is read.
pub(crate) const METRICS_BYTES_MAX: usize = 1024 * 1024;
/// A report and an endpoint's readiness last for so many polls.
pub(crate) const POLLS_MISSED_MAX: u32 = 3;
/// How often names are resolved and the file of endpoints is read.
pub(crate) const LOOKUP_EVERY: Duration = Duration::from_secs(2);
/// How long the addresses of a name that no longer resolves are kept.
pub(crate) const LOOKUP_KEPT_TIME_MAX: Duration = Duration::from_secs(30);
/// Endpoints of one pool.
pub(crate) const ENDPOINTS_MAX: usize = 4_096;
pub(crate) const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Adapters that are remembered for one endpoint, and for how long after it was last seen with them.
pub(crate) const ADAPTERS_MAX: usize = 1_024;
pub(crate) const ADAPTER_HELD_TIME_MAX: Duration = Duration::from_secs(20 * 60);
/// The bytes of a prompt that count as one token.
pub(crate) const PROMPT_BYTES_PER_TOKEN: u64 = 4;
/// The least prompt that is remembered.
pub(crate) const PREFIX_BYTES_MIN: usize = 2 * 1024;
/// The last elements of a conversation whose ends are remembered: the next request goes on from one of them.
pub(crate) const LAST_ENDS_MAX: usize = 8;
