//! The immutable compiled configuration that every request reads, and the keeper that replaces it whole.

mod compiled;
pub mod entries;
mod index;
mod keeper;
mod source;

pub use compiled::{KeyDigest, Parts, Snapshot};
pub use entries::{
    ANY_ORIGIN, AccountEntry, AliasEntry, CanaryEntry, CapabilityEntry, CredentialEntry, CredentialState,
    HintsEntry, IpNet, KeyEntry, MinimumVersion, NodeEntry, NodeState, ProjectEntry, ReleaseEntry,
    RouteEntry, Scopes, WorkspaceEntry, WrappedKey, has_origin, origins_of,
};
pub use keeper::{BeforePublish, Keeper, KeeperSettings, KeeperStopped, Reader, nothing_first};
pub use source::{Change, Closed, DataPlaneFacts, KeyChange, NodeChange, Source, SourceError};
