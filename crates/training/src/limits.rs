//! What a job and its data may have.

/// Unusable lines of a data set that are listed; of the others only the number is reported.
pub(crate) const BAD_LINES_MAX: usize = 100;
