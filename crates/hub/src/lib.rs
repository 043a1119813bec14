//! Downloads models from a hub: what a name refers to, which files are downloaded, how they are verified, and
//! where they are stored.

mod address;
mod api;
mod choice;
mod digest;
mod error;
mod fetch;
mod gguf;
mod limits;
mod memory;
mod meter;
mod names;
mod pull;
mod shelf;

pub use address::{Endpoint, Token};
pub use choice::stem_of;
pub use digest::Checksum;
pub use error::{HubError, HubErrorKind};
pub use memory::{Memory, memory_of};
pub use meter::Event;
pub use names::{Reference, short_names};
pub use pull::{Order, pull};
pub use shelf::{Entry, Manifest, ModelStore, Staged, StoredFile};
