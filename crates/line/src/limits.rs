//! How much is kept between requests.

/// Policies whose checks are kept compiled on each core.
pub(crate) const COMPILED_POLICIES_MAX: usize = 256;
