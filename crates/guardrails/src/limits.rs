//! How much of a text is looked at together.

/// The compiled size of a customer's regular expression.
pub(crate) const PATTERN_COMPILED_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Length of a run of letters and digits that may be a token; longer ones are encoded files.
pub(crate) const TOKEN_BYTES_MAX: usize = 256;
/// The end of a stream's text that is held back, since what comes next may make it a match: longer than any
/// number, and than nearly all addresses and names.
pub(crate) const HELD_BYTES: usize = 96;
/// The most that is held back of a match that goes on, such as a private key.
pub(crate) const HELD_BYTES_MAX: usize = 16 * 1024;
/// Length of a placeholder, `[NATIONAL_ID_12345]` for example.
pub(crate) const PLACEHOLDER_BYTES_MAX: usize = 32;
/// Different values of one request that are given placeholders of their own.
pub(crate) const PLACEHOLDERS_MAX: usize = 1_000;
