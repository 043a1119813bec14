//! What these routes keep at most, beside the limits in `domain::limits`.

/// The part of a session's `User-Agent` that is stored; it shows whose session it is.
pub(crate) const USER_AGENT_CHARS_MAX: usize = 200;
