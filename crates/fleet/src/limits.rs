//! What is passed on from a runtime, beside the limits in `domain::limits`.

/// Events of a training job on one page, like the rows of other pages.
pub(crate) const TRAINING_EVENTS_MAX: u32 = 1_000;
/// The part of a runtime's message that is passed on: it may quote many lines of a file.
pub(crate) const RUNTIME_MESSAGE_CHARS_MAX: usize = 8_192;
