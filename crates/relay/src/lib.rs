//! The fifth room: an answer of an upstream becomes what the client is sent, pulled only as fast as the client takes.

mod delivery;
mod headers;
mod stream;

pub use delivery::{Conclusion, Delivery, Piece, deliver_failed, deliver_fault, relay};
pub use headers::served_headers;
