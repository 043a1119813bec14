//! A mesh of nodes over QUIC: who may connect, requests and chunks of files between peers, and what each peer is trusted with.

mod bandwidth;
mod choose;
mod ejected;
mod fetch;
mod files;
#[cfg(feature = "fixtures")]
pub mod fixtures;
mod forward;
mod frames;
mod library;
mod limits;
mod local_network;
mod manifest;
mod members;
mod mesh;
mod partial;
mod prefixes;
mod serving;
mod signed;
mod transport;
mod usage;
mod weights;

pub use bandwidth::Bandwidth;
pub use choose::{PeerState, Wanted};
pub use ejected::Ejection;
pub use fetch::{FetchEvent, FetchOrder, FetchProgress, Fetched, Fetcher};
pub use forward::Routed;
pub use library::{Library, SharedFolder};
pub use limits::{CHUNK_BYTES, MEMBERS_MAX, RELAYS_MAX};
pub use local_network::LocalNetwork;
pub use manifest::{ChunkManifest, ChunkPlace, ChunkedFile};
pub use members::{Member, MemberSource, Roster, read_members};
pub use mesh::{Mesh, MeshSettings, PeerBody, PeerFuture, PeerService, PeerView, Relay, Relays};
pub use prefixes::{PrefixSketch, PromptBlocks};
pub use signed::{LIST_OBJECT, ListError};
pub use weights::FileDigests;
