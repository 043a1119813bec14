//! Models from a hub onto this machine's disk: what a name stands for, what is fetched, how it is checked, where it lies.

mod address;
mod api;
mod choice;
mod digest;
mod error;
mod fetch;
mod limits;
mod memory;
mod meter;
mod names;
mod packed;
mod pull;
mod shelf;

pub use address::{Endpoint, Token};
pub use digest::Checksum;
pub use error::{HubError, HubErrorKind};
pub use memory::{Memory, memory_of};
pub use meter::Event;
pub use names::{Reference, short_names};
pub use pull::{Order, pull};
pub use shelf::{Entry, Manifest, Shelf, StoredFile};
