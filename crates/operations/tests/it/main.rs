//! Operations, as the stages see them.

#![expect(clippy::unwrap_used, reason = "a helper that fails should fail its test")]
#![expect(clippy::result_large_err, reason = "a fault ends a test as it ends a stream")]

mod booking;
mod ceilings;
mod form;
mod images;
#[cfg(feature = "morse")]
mod morse;
mod requests;
mod upload;
mod video;
