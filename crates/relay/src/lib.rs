//! The fifth stage: turns an upstream's answer into the client's response, which is read from the upstream
//! only as fast as the client takes it.

mod client_response;
mod headers;
mod socket;
mod stream;
mod target;

pub use client_response::{
    ClientResponse, Conclusion, Piece, deliver_again, deliver_failed, deliver_fault, deliver_own,
    deliver_refused, relay, tab_headers,
};
pub use headers::{fill, served_headers};
pub use socket::{Sockets, Step, Stream};
pub use target::{target_met, target_missed};
