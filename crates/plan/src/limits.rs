//! How much of a refusal is written into an error message.

/// The part of a model's name that a message prints: the name comes from the client.
pub(crate) const PRINTED_NAME_CHARS_MAX: usize = 128;
/// Nearest names, and rejected candidates, that a message lists.
pub(crate) const NAMES_LISTED_MAX: usize = 3;
