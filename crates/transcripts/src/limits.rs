//! Bounds of stored sessions.

/// How many forks a branch may be away from the session's first branch.
pub const BRANCH_DEPTH_MAX: u32 = 64;
/// Branches of one session.
pub const SESSION_BRANCHES_MAX: u32 = 1_000;
/// How long a warm session can be read after its end.
pub const WARM_KEPT_MS: u64 = 24 * 3_600_000;
/// Events of one branch, those of its history included.
pub const HISTORY_EVENTS_MAX: u64 = 100_000;
