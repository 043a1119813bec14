//! Limits of the Gemini API on a request, and ours on its batches.

/// Inputs of one request for embeddings.
pub(crate) const EMBED_INPUTS_MAX: usize = 100;
/// Stop sequences of one request.
pub(crate) const STOP_SEQUENCES_MAX: usize = 5;
/// Length of a label's name and of its value.
pub(crate) const LABEL_BYTES_MAX: usize = 63;

/// Requests of one batch. The body's size bounds memory; this bounds the work.
pub(crate) const BATCH_REQUESTS_MAX: usize = 100_000;
/// Size of one result of a batch, and of the rest of the object: each is held in memory.
pub(crate) const RESULT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Length of a member's name that is held; none that is looked for is longer.
pub(crate) const RESULT_NAME_BYTES_MAX: usize = 32;
/// How much of the response's id goes into the ids of its calls: other vendors accept at most 40 bytes in
/// all.
pub(crate) const CALL_ID_STEM_BYTES_MAX: usize = 24;
