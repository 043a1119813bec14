//! The client's wire grammars, each written once and both ways, and the one table of statuses.

pub mod chat;
mod error;
pub mod json;
mod problem;
mod standing;
mod status;

pub use error::{ErrorAnswer, render_error, request_id_header};
pub use standing::standing_headers;
pub use status::status;
