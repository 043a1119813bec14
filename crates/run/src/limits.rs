//! What a run accepts and reports, beside the limits in `domain::limits`.

/// The part of a document's name that the prompt shows.
pub(crate) const DOCUMENT_NAME_CHARS_MAX: usize = 128;
/// Errors of an input that are reported in one response.
pub(crate) const INPUT_ERRORS_MAX: usize = 16;
/// The longest session that may be requested, in seconds.
pub(crate) const SESSION_SECONDS_MAX: u64 = 3_600;
