//! Artifacts, which never change, and bundles, which list them in order.

use database::handle::Database;
use domain::{ArtifactId, BundleId, ProjectId, Sealed, TraceId, WorkspaceId};
use serde::{Deserialize, Serialize};

/// Content as it is stored: sealed, under the hash of the id of what it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedContent {
    pub digest: [u8; 32],
    pub project: ProjectId,
    /// The request that wrote it.
    pub request: TraceId,
    pub sealed: Sealed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactRow {
    pub id: ArtifactId,
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub kind: String,
    pub name: String,
    pub media_type: String,
    pub retention: String,
    pub content_bytes: u64,
    /// A keyed hash.
    pub content_hash: [u8; 32],
    pub content: [u8; 32],
    pub created_unix_ms: u64,
    pub until_unix_ms: Option<u64>,
    pub revoked_unix_ms: Option<u64>,
}

/// One artifact of a bundle, and what it is there for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleItem {
    pub artifact: ArtifactId,
    #[serde(default)]
    pub role: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleRow {
    pub id: BundleId,
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub name: String,
    /// In the order in which they were given.
    pub items: Vec<BundleItem>,
    pub created_unix_ms: u64,
}

#[derive(Clone, Copy)]
pub struct Artifacts<'a>(pub &'a Database);

#[derive(Clone, Copy)]
pub struct Bundles<'a>(pub &'a Database);
