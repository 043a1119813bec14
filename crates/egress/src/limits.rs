//! What an upstream may send, and what its connections hold at most, beside the limits in `domain::limits`.

use std::time::Duration;

/// Requests that are answered at once through one tunnel: as many as the node accepts.
pub(crate) const TUNNEL_STREAMS_MAX: usize = 256;
/// Tunnels of one node for one core: the one in use, and those that finish what runs while it takes over.
pub(crate) const TUNNELS_OF_NODE_MAX: usize = 3;
/// Nodes of one workspace that have a tunnel to one gateway.
pub const TUNNELS_OF_WORKSPACE_MAX: usize = 1_024;
/// The headers of a node's answer.
pub(crate) const TUNNEL_HEADER_BYTES_MAX: u32 = 16 * 1024;
/// The segments of a request's body that are joined to one frame of a tunnel: as many bytes as a frame has.
pub(crate) const TUNNEL_JOINED_BYTES_MAX: u64 = 16 * 1024;
/// A line of the handshake: a certificate, and what the node says of itself.
pub const TUNNEL_HELLO_BYTES_MAX: usize = 16 * 1024;
/// How long the handshake may take.
pub const TUNNEL_HELLO_TIME_MAX: Duration = Duration::from_secs(5);
/// HTTP/2 frames without content that a node may send in a burst, and for long, beside those that belong to no request: the
/// heads of its answers, resets and windows. No node answers as fast.
pub(crate) const TUNNEL_FRAMES_MAX: u32 = 20_000;
pub(crate) const TUNNEL_FRAMES_PER_S: u32 = 10_000;
/// Tunnels that a node keeps open to one gateway, each for one of its serving cores.
pub const TUNNEL_CORES_MAX: u32 = 4;
/// Spare connections of a tunnel. More requests at once than that are streams of it.
pub const TUNNEL_SPARES_MAX: usize = 16;
/// How often a tunnel is measured, and how long its node may be silent then.
pub(crate) const TUNNEL_PING_EVERY: Duration = Duration::from_secs(5);
pub(crate) const TUNNEL_PING_TIME_MAX: Duration = Duration::from_secs(3);

/// Length of a URL, which people may have configured; servers commonly accept no longer ones.
pub(crate) const URL_BYTES_MAX: usize = 2048;
/// Addresses that a name may resolve to; a longer list is refused, not cut, since all are checked.
pub(crate) const ADDRESSES_MAX: usize = 64;
/// URLs that a core keeps parsed; few are in use, and the list is searched for each request.
pub(crate) const PARSED_URLS_MAX: usize = 8;

/// Headers of one answer. Upstreams send a few dozen.
pub(crate) const HEADERS_MAX: usize = 128;
/// Interim (1xx) answers before the final one; without a bound an upstream could send them forever.
pub(crate) const INTERIM_ANSWERS_MAX: u32 = 16;
/// The read buffer of a connection whose answers fill the one that they are given.
pub(crate) const READ_BYTES_MAX: usize = 64 * 1024;
/// The write buffer that an idle connection retains; a larger one is freed.
pub(crate) const WRITE_BUFFER_KEPT_BYTES_MAX: usize = 4 * 1024;
/// Segments that one write gathers: a head, and a body that was edited in a few places.
pub(crate) const SLICES_MAX: usize = 8;

/// Programs in sandboxes that one process runs at once: each is several processes with memory of its own.
pub(crate) const PROGRAMS_AT_ONCE_MAX: usize = 32;
/// Those of one workspace, so that others have some.
pub(crate) const PROGRAMS_OF_WORKSPACE_MAX: usize = 8;
/// Connections of one sandbox to the hosts that it may reach.
pub(crate) const PROXY_TUNNELS_MAX: usize = 32;
/// The head of a request to the proxy of a sandbox, and how long it may take.
pub(crate) const PROXY_HEAD_BYTES_MAX: usize = 8 * 1024;
pub(crate) const PROXY_HEAD_TIME_MAX: Duration = Duration::from_secs(10);
