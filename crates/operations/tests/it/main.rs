//! Operations, as the stages see them.

mod booking;
mod ceilings;
#[cfg(feature = "morse")]
mod morse;
mod requests;
