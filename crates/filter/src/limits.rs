//! Bounds of a filter.

/// Length of a filter's text.
pub(crate) const FILTER_BYTES_MAX: usize = 2_000;
/// Terms in one filter.
pub(crate) const FILTER_TERMS_MAX: usize = 32;
