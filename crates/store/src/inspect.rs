//! What can be told of a PostgreSQL database before anybody relies on it; nothing is changed by asking.

use std::time::Duration;

/// How it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// As the server says it.
    pub server_version: String,
    pub server_major: u32,
    /// The newest migration that is applied; zero is none.
    pub schema: u64,
    /// The newest that this program brings, and how many of the applied ones it doesn't know.
    pub schema_known: u64,
    pub schema_ahead: u64,
    /// The server's clock less this machine's, and how long it took to ask, which is how far that can be wrong.
    pub clock_ahead_ms: i64,
    pub asked_ms: u64,
    pub connections: u64,
    pub connections_max: u64,
    /// How long a notice took to come back, where it did.
    pub heard_after: Option<Duration>,
    pub size_bytes: u64,
    /// Partitions of records, and the oldest and newest week, counted from 1970.
    pub weeks: u64,
    pub week_oldest: u64,
    pub week_newest: u64,
}

/// Connections that one gateway takes at most.
pub const CONNECTIONS_OF_A_GATEWAY: u64 = 10;
/// The oldest server that the statements are written for.
pub const SERVER_MAJOR_MIN: u32 = 13;
