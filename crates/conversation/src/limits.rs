//! What a request of any dialect may name.

/// Models that the requests of one batch name: each is resolved against the offers.
pub const BATCH_MODELS_MAX: usize = 64;
/// Length of a video in seconds: longer than any.
pub(crate) const VIDEO_SECONDS_MAX: f64 = 1e6;
