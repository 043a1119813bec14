//! What a read-only check of a PostgreSQL database reports, before anyone relies on it.

use std::time::Duration;

/// The findings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The version string that the server reports.
    pub server_version: String,
    pub server_major: u32,
    /// The newest migration that is applied; zero if none is.
    pub schema: u64,
    /// The newest migration that this program contains, and how many applied ones it doesn't know.
    pub schema_known: u64,
    pub schema_ahead: u64,
    /// The server's clock minus this machine's, and the query's round-trip time, which bounds the error.
    pub clock_ahead_ms: i64,
    pub round_trip_ms: u64,
    pub connections: u64,
    pub connections_max: u64,
    /// The round-trip time of a notification (`NOTIFY`); `None` if it never arrived.
    pub heard_after: Option<Duration>,
    pub size_bytes: u64,
    /// The number of weekly record partitions, and the oldest and newest week, counted from 1970.
    pub weeks: u64,
    pub week_oldest: u64,
    pub week_newest: u64,
}

/// The maximum number of connections of one gateway.
pub const CONNECTIONS_OF_A_GATEWAY: u64 = 10;
/// The oldest server version that the statements are written for.
pub const SERVER_MAJOR_MIN: u32 = 13;
