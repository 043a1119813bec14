//! The split data plane: a gateway elsewhere that serves what this installation configures. On this side, who they are and what
//! each is sent; on the other, what applies it, and what brings records, leases and evidence back.

mod apply;
mod builder;
mod centre;
mod document;
mod evidence;
#[cfg(feature = "fixtures")]
pub mod fixtures;
mod follow;
mod history;
mod limits;
mod link;
mod membership;
mod outbox;
mod planes;
mod rows;
mod sent;
mod source;
mod tables;
pub mod wire;

pub use builder::{BuildError, DocumentBuilder, open_key_hash, seal_key_hash};
pub use centre::RemoteCentre;
pub use document::{DocumentError, sign};
pub use evidence::{EvidenceRow, EvidenceStore};
pub use follow::{Follower, FollowerParts};
pub use limits::{
    DELIVERED_KEPT, DOCUMENT_BYTES_MAX, EVIDENCE_AT_ONCE_MAX, LIFE_DEFAULT, POLL_TIME_MAX, WORKSPACES_MAX,
};
pub use link::{Link, LinkError};
pub use membership::Membership;
pub use outbox::Outbox;
pub use planes::{DataPlaneRow, DataPlanes, Joining, PlaneState, Progress};
pub use sent::SentRows;
pub use source::{ClosingSource, Standing, Standings};
