//! The bounds of these calls.

/// How many rows a page has where the client names no number.
pub const PAGE_ROWS: u64 = 25;
/// The most rows of a page.
pub const PAGE_ROWS_MAX: u64 = 100;
/// The most warm sessions that the list of them holds.
pub const SESSIONS_MAX: usize = 500;
/// The most members that one list holds.
pub const MEMBERS_MAX: usize = 500;
