//! What a model's shape may be.

/// Every dimension: no model has more, and a broken file must not make us allocate it.
pub(crate) const DIMENSION_MAX: usize = 1 << 24;
