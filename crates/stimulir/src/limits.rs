//! The bounds of this API.

/// The most rows that one export holds.
pub const EXPORT_ROWS_MAX: usize = 50_000;
/// The most rows that a list of usage events holds.
pub const EVENTS_MAX: usize = 500;
/// The most stored objects that a list holds, as many as the client expects.
pub const OBJECTS_MAX: usize = 100;
/// How long a link to one works at most.
pub const LINK_SECONDS_MAX: u64 = 3_600;
/// The longest that a key lives that a command asks for itself.
pub const SESSION_KEY_SECONDS_MAX: u64 = 86_400;
