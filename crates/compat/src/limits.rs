//! The bounds of translated calls.

/// The most pages of `/v2` that one call reads.
pub const PAGES_MAX: usize = 64;
