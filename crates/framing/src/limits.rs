//! What one message of each format may have; each parser is bounded by itself, whatever its caller allows.

/// Size of the headers of an event stream's frame: the bound of the vendor's own clients.
pub(crate) const EVENT_STREAM_HEADERS_BYTES_MAX: usize = 128 * 1024;
/// Size of its payload: the same.
pub(crate) const EVENT_STREAM_PAYLOAD_BYTES_MAX: usize = 24 * 1024 * 1024;

/// Length of a form's boundary: the standard's maximum (RFC 2046).
pub(crate) const BOUNDARY_BYTES_MAX: usize = 70;
/// Parts of one form; the forms of the APIs have a few dozen.
pub(crate) const PARTS_MAX: usize = 128;
/// Size of the headers of one part.
pub(crate) const PART_HEAD_BYTES_MAX: usize = 4 * 1024;
/// Length of a part's name.
pub(crate) const PART_NAME_BYTES_MAX: usize = 128;

/// How far the output of a compressed body may be ahead of the ratio that it keeps as a whole, so that a bomb is known before it takes the memory of
/// the largest body.
pub(crate) const RATIO_AHEAD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The window of a zstd body, as a power of two: 8 MiB, what RFC 9659 allows on the web; with a larger
/// window, the sender would choose our memory use.
pub(crate) const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Payload of a WebSocket control frame: the protocol's maximum (RFC 6455).
pub(crate) const WEBSOCKET_CONTROL_BYTES_MAX: u64 = 125;
/// The copy buffer that a WebSocket retains; one long message is no reason to hold memory for the next.
pub(crate) const WEBSOCKET_BUFFER_KEPT_BYTES_MAX: usize = 64 * 1024;
