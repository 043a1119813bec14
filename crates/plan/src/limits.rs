//! How much of a refusal is written into an error message, and what strategies assume of a request.

/// The part of a model's name that a message prints: the name comes from the client.
pub(crate) const PRINTED_NAME_CHARS_MAX: usize = 128;
/// Nearest names, and rejected candidates, that a message lists.
pub(crate) const NAMES_LISTED_MAX: usize = 3;
/// Estimated bytes per prompt token, before a provider counts them.
pub(crate) const PROMPT_BYTES_PER_TOKEN: u64 = 4;
/// Estimated length of an answer, where the request sets no maximum.
pub(crate) const ANSWER_TOKENS_ASSUMED: u64 = 512;
/// Of a thousand requests, how many may measure a seat that is not the fastest.
pub(crate) const EXPLORED_PER_MILLE: u64 = 20;
/// The expected wait for requests ahead from which a node counts as full, where its route lists something behind nodes.
pub const NODE_FULL_US: u64 = 10_000_000;
