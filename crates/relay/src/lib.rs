//! The fifth room: an answer of an upstream becomes what the client is sent, pulled only as fast as the client takes.

mod delivery;
mod headers;
mod socket;
mod stream;

pub use delivery::{Conclusion, Delivery, Piece, deliver_failed, deliver_fault, relay, standings};
pub use headers::{fill, served_headers};
pub use socket::{Sockets, Step, Stream};
