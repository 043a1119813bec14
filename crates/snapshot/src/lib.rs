//! The immutable compiled configuration that every request reads, and the keeper that replaces it whole.

pub mod entries;

pub use entries::{
    AccountEntry, CredentialEntry, CredentialState, IpNet, KeyEntry, NodeEntry, NodeState, ProjectEntry,
    RouteEntry, Scopes, WorkspaceEntry,
};
