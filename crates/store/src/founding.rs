//! Atomic creation: a workspace with its first project and keys, and a database with its first workspace.

use database::act::Act;
use snapshot::WrappedKey;

use crate::api_keys::ApiKeyRow;
use crate::projects::ProjectRow;
use crate::workspaces::WorkspaceRow;

/// A workspace that can be used at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founding {
    pub workspace: WorkspaceRow,
    pub wrapped_key: WrappedKey,
    pub project: ProjectRow,
    pub keys: Vec<ApiKeyRow>,
}

/// What a fresh database contains from its first commit on.
#[derive(Debug, PartialEq, Eq)]
pub struct Foundation {
    /// The vault's records (seal check, pepper) and other facts of the installation.
    pub meta: Vec<(String, Vec<u8>)>,
    /// Seals the operator's accounts, under the nil workspace.
    pub operator_key: WrappedKey,
    pub founding: Founding,
    pub act: Act,
}
