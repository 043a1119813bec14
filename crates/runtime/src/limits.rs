//! What one request to a runtime may hold.

/// Inputs of one request for embeddings: OpenAI's own limit.
pub(crate) const TEXTS_MAX: usize = 2_048;
/// Documents of one request for a ranking: each is a pass of the model.
pub(crate) const DOCUMENTS_MAX: usize = 1_000;
