//! QUIC as this mesh uses it: silence is noticed early, and each stream has a bounded window.

use std::time::Duration;

use iroh::endpoint::{Connection, IdleTimeout, Path, QuicTransportConfig, VarInt};

use crate::limits::{KEEP_ALIVE_EVERY, SILENCE_TIMEOUT, STREAM_WINDOW_BYTES, STREAMS_MAX};

/// Why a stream or a connection is closed.
pub(crate) const REFUSED: u32 = 403;
pub(crate) const BROKEN: u32 = 500;

pub(crate) fn config() -> QuicTransportConfig {
    let idle = IdleTimeout::try_from(SILENCE_TIMEOUT).ok();
    QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(STREAMS_MAX.into())
        .max_concurrent_uni_streams(0_u32.into())
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .max_idle_timeout(idle)
        .keep_alive_interval(KEEP_ALIVE_EVERY)
        .default_path_keep_alive_interval(KEEP_ALIVE_EVERY)
        .default_path_max_idle_timeout(SILENCE_TIMEOUT)
        .build()
}

pub(crate) fn code(code: u32) -> VarInt {
    VarInt::from_u32(code)
}

/// Closes a connection whose key is in no valid list, or ejected.
pub(crate) fn refuse(connection: &Connection) {
    connection.close(code(REFUSED), b"this key is in no list of peers here");
}

pub(crate) fn rtt(connection: &Connection) -> Option<Duration> {
    of_path(connection, |path| path.rtt())
}

pub(crate) fn is_relayed(connection: &Connection) -> Option<bool> {
    of_path(connection, |path| path.is_relay())
}

/// Of the path that packets take.
fn of_path<T>(connection: &Connection, read: impl Fn(Path<'_>) -> T) -> Option<T> {
    let paths = connection.paths();
    paths.iter().find(|path| path.is_selected()).or_else(|| paths.iter().next()).map(read)
}
